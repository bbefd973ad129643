"""The workflow on real public data: reads, an alignment, and a cohort with published counts."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from project_copy import copy_project, need_tools

pytestmark = [pytest.mark.workflow, pytest.mark.realdata]

#: Patients mutated, of 394 (../shared/realdata/INDEX.tsv; TTN is a long-gene passenger).
PUBLISHED = {
    "TP53": 196,
    "KDM6A": 103,
    "ARID1A": 97,
    "PIK3CA": 86,
    "RB1": 70,
    "FGFR3": 56,
    "STAG2": 56,
    "ERCC2": 38,
    "TTN": 189,
}


@pytest.fixture(scope="module")
def federation(tmp_path_factory, shared):
    """TCGA bladder cancer, split by collecting hospital, run as a federation."""
    project = copy_project(tmp_path_factory.mktemp("tcga") / "project")
    data = shared / "realdata/tcga_blca"
    subprocess.run(
        [
            *(Path(sys.executable).with_name("ihdsi"), "public-cohort", "split"),
            *("--maf", data / "tcga_blca.maf.tsv.gz"),
            *("--clinical", data / "tcga_blca.clinical.tsv.gz"),
            *("--study", "config/studies/tcga_blca.yaml"),
            *("--codebook", "config/sites/tcga_blca/codebook.yaml"),
            *("--output", "results/tcga_blca/input"),
        ],
        cwd=project.root,
        check=True,
    )
    project.run(
        *("--configfile", "results/tcga_blca/input/config.yaml", "--cores", "2"),
        *("--quiet", "all", "--"),
        "results/tcga_blca/meta/gene_alterations.parquet",
        "results/tcga_blca/report/index.html",
    )
    return project.root


@pytest.mark.xdist_group("tcga")
def test_the_federation_gives_the_real_pooled_counts_exactly(federation, shared):
    pooled = pl.read_parquet(federation / "results/tcga_blca/meta/gene_alterations.parquet")
    anywhere = pooled.filter(alteration_class="any", stratum="all")
    assert anywhere["n_assessed"].unique().to_list() == [394]
    assert anywhere["n_sites"].unique().to_list() == [35]
    counts = dict(anywhere.select("gene_name", "n_altered").iter_rows())
    assert {gene: counts[gene] for gene in PUBLISHED} == PUBLISHED

    # Every gene of the panel, and every class, against the undivided file.
    maf = pl.read_csv(
        shared / "realdata/tcga_blca/tcga_blca.maf.tsv.gz",
        separator="\t",
        infer_schema=False,
        quote_char=None,
    )
    truth = maf.group_by("Hugo_Symbol").agg(
        n=pl.col("Tumor_Sample_Barcode").n_unique(),
        missense=pl.col("Tumor_Sample_Barcode")
        .filter(pl.col("Variant_Classification") == "Missense_Mutation")
        .n_unique(),
    )
    both = anywhere.join(truth, left_on="gene_name", right_on="Hugo_Symbol", how="left")
    assert both.height >= 50
    assert both.filter(pl.col("n_altered") != pl.col("n").fill_null(0)).is_empty()
    missense = pooled.filter(alteration_class="missense", stratum="all").join(
        truth, left_on="gene_name", right_on="Hugo_Symbol", how="left"
    )
    assert missense.filter(pl.col("n_altered") != pl.col("missense").fill_null(0)).is_empty()


@pytest.mark.xdist_group("tcga")
def test_strata_of_the_federation_add_up(federation, shared):
    pooled = pl.read_parquet(federation / "results/tcga_blca/meta/gene_alterations.parquet")
    by_sex = (
        pooled.filter(alteration_class="any", stratum_variable="sex")
        .group_by("gene_id")
        .agg(pl.col("n_assessed", "n_altered").sum())
    )
    everyone = pooled.filter(alteration_class="any", stratum="all")
    both = everyone.join(by_sex, on="gene_id", suffix="_by_sex")
    assert both.height == everyone.height
    assert (both["n_assessed"] == both["n_assessed_by_sex"]).all()
    assert (both["n_altered"] == both["n_altered_by_sex"]).all()


@pytest.mark.xdist_group("realreads")
def test_rna_counts_equal_a_salmon_run_by_hand(project, shared, tmp_path):
    need_tools("salmon", "fastp")
    project.run("--configfile", "config/ngs_chr21.yaml", "--cores", "2", IHDSI_SHARED=str(shared))
    data = shared / "realdata/ngs_chr21"
    index = tmp_path / "index"
    transcripts = data / "transcriptome.chr21.fa.gz"
    by_hand = [f"salmon index -t {transcripts} -i {index} -k 31 --keepDuplicates -p 2"]
    for sample in "ab":
        given = [data / f"{sample}.chr21.{mate}.fq.gz" for mate in (1, 2)]
        trimmed = [tmp_path / f"{sample}{mate}.fq.gz" for mate in (1, 2)]
        by_hand += [
            f"fastp --detect_adapter_for_pe --thread 2 --in1 {given[0]} --in2 {given[1]}"
            f" --out1 {trimmed[0]} --out2 {trimmed[1]} --json {tmp_path}/fastp.json"
            f" --html {tmp_path}/fastp.html",
            f"salmon quant -i {index} -l A --validateMappings --gcBias --seqBias -p 2"
            f" -1 {trimmed[0]} -2 {trimmed[1]} -o {tmp_path / sample}",
        ]
    for command in by_hand:
        subprocess.run(command.split(), check=True, capture_output=True)
    site = project.root / "results/ngs_chr21/sites/public_rna"
    counts = pl.read_parquet(site / "expression/gene_counts.parquet")
    assert counts.select("a", "b").sum().row(0) > (500, 500)
    for sample in "ab":
        ours = site / f"expression/salmon/{sample}-R"
        quantified = pl.read_csv(ours / "quant.sf", separator="\t")
        hand = pl.read_csv(tmp_path / sample / "quant.sf", separator="\t")
        assigned = [
            pl.read_csv(folder / "aux_info/ambig_info.tsv", separator="\t")
            for folder in (ours, tmp_path / sample)
        ]
        # What each transcript is credited with, alone and shared, is the same read for read.
        assert assigned[0].equals(assigned[1])
        both = hand.hstack(assigned[1]).join(counts, left_on="Name", right_on="gene_id")
        assert both.height == hand.height == quantified.height
        # Salmon splits shared reads by an optimiser that does not repeat itself to the last read.
        alone = both.filter(pl.col("AmbigCount") == 0)
        assert alone["NumReads"].sum() > 100
        assert (alone[sample] - alone["NumReads"]).abs().max() < 1e-3
        assert abs(both[sample].sum() - both["NumReads"].sum()) < 0.1
        # Nothing is lost between salmon's own output and the counts.
        read = quantified.join(counts, left_on="Name", right_on="gene_id")
        assert (read[sample] - read["NumReads"]).abs().max() < 1e-9
    # Two patients are too few: nothing of them leaves.
    bundle = project.root / "exchange/ngs_chr21/public_rna/tables"
    assert sum(pl.read_parquet(path).height for path in bundle.glob("*.parquet")) == 0


@pytest.mark.xdist_group("realreads")
def test_a_real_alignment_is_judged_and_called(project, shared):
    need_tools("bcftools", "samtools", "mosdepth")
    project.run(
        "--configfile", "config/na12878_chrm.yaml", "--cores", "2", IHDSI_SHARED=str(shared)
    )
    site = project.root / "results/na12878_chrm/sites/na12878"
    metrics = pl.read_parquet(site / "quality_control/qc_metrics.parquet")
    value = dict(metrics.select("metric", "value").iter_rows())
    assert value["mapped_percent"] > 99.9
    assert 60 < value["mean_target_coverage"] < 75
    calls = pl.read_parquet(site / "variants/germline_genotypes.parquet").filter(
        pl.col("allele_dosage") > 0
    )
    ours = set(calls.select("position", "reference_allele", "alternate_allele").iter_rows())
    given = set()
    calls_of_strelka = shared / "realdata/na12878_chrM/genome.vcf.gz"
    text = subprocess.run(
        [*["bcftools", "view", "-H", "--include"], 'FILTER="PASS" & ALT!="."', calls_of_strelka],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for line in text.splitlines():
        _, position, _, reference, alternate, *_ = line.split("\t")
        given.add((int(position), reference, alternate))
    assert given
    assert given <= ours, f"Strelka2 gives {given}, called here {ours}"
