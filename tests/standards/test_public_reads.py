"""The workflow on real public reads: RNA from FASTQ, DNA from an alignment."""

import subprocess

import polars as pl
import pytest

from ihdsi.study import GermlineFilters
from ihdsi.summaries import TABLES
from ihdsi.variants.germline import read_genotypes
from project_copy import need_tools

pytestmark = [pytest.mark.workflow, pytest.mark.realdata]


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
    cleared = project.root / "results/ngs_chr21/sites/public_rna/cleared"
    tables = [pl.read_parquet(cleared / f"{table}.parquet") for table in TABLES]
    assert sum(table.height for table in tables) == 0
    # The site has no keys, so nothing is drafted, and nothing is in the exchange.
    assert not (cleared.parent / "candidate").exists()
    assert not (project.root / "exchange").exists()


def test_a_real_alignment_is_judged_and_called(project, shared):
    """Joint calling of one normal against the calls that Illumina published with the reads.

    Strelka2 passes three variants in these reads, all homozygous; ours are the same three with the
    same genotypes, and no other: concordance is 3 of 3 in both directions.
    """
    need_tools("bcftools", "samtools", "mosdepth")
    project.run(
        "--configfile", "config/na12878_chrm.yaml", "--cores", "2", IHDSI_SHARED=str(shared)
    )
    site = project.root / "results/na12878_chrm/sites/na12878"
    metrics = pl.read_parquet(site / "quality_control/qc_metrics.parquet")
    value = dict(metrics.select("metric", "value").iter_rows())
    assert value["mapped_percent"] > 99.9
    assert 60 < value["mean_target_coverage"] < 75
    ours = read_genotypes(
        site / "variants/germline/cohort.bcf", ["NA12878"], GermlineFilters()
    ).filter(pl.col("allele_dosage") > 0)
    called = set(
        ours.select("position", "reference_allele", "alternate_allele", "allele_dosage").iter_rows()
    )
    command = ["bcftools", "view", "--no-header", "--include", 'FILTER="PASS" & ALT!="."']
    text = subprocess.run(
        [*command, shared / "realdata/na12878_chrM/genome.vcf.gz"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    given = set()
    for line in text.splitlines():
        _, position, _, reference, alternate, *_, sample = line.split("\t")
        given.add((int(position), reference, alternate, sample.partition(":")[0].count("1")))
    assert given == {(150, "T", "C", 2), (152, "T", "C", 2), (195, "C", "T", 2)}
    assert called == given
    # The depth differs by design: Strelka2 saw up to 7,398 reads, the study's maximum_depth is
    # 2,000 at a position. Both are homozygous throughout, so nothing depends on it.
    statistics = (site / "quality_control/germline/joint.bcftools_stats.txt").read_text()
    assert "number of SNPs:\t3" in statistics
