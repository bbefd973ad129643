import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pysam
import pytest

from ihdsi.given_cells import files_of_cells
from ihdsi.simulate.cells import cell_donors
from ihdsi.simulate.cohort import DEMO_SITES, SiteDesign, simulate_patients
from ihdsi.simulate.copy_number import ALTERED_GENES, haplotype_doses
from ihdsi.simulate.demo_study import simulate_demo_study, simulated_files
from ihdsi.simulate.genome import gene_list, read_gene_panel, read_targets
from ihdsi.simulate.patients import simulate_cohort
from ihdsi.simulate.sheets import LOCAL_WORDS, sample_sheet, write_demo_sheets
from ihdsi.study import load_study
from ihdsi.variants.regions import within_targets

PROJECT = Path(__file__).parents[3]
PANEL = PROJECT / "resources/bladder_gene_panel.tsv"
MARKERS = PROJECT / "resources/cell_type_markers.tsv"
SEED = 20260401


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    simulate_demo_study(SEED, PANEL, MARKERS, folder)
    return folder


@pytest.fixture(scope="module")
def somatic(root):
    return pl.read_parquet(root / "truth/somatic.parquet")


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_files_are_those_announced_and_the_seed_decides_them(root, tmp_path):
    announced = {path for paths in simulated_files(str(root), SEED).values() for path in paths}
    present = {str(path) for path in root.rglob("*") if path.is_file()}
    assert present == announced
    simulate_demo_study(SEED, PANEL, MARKERS, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(root)


def test_another_seed_gives_another_study(root, tmp_path, somatic):
    simulate_demo_study(SEED + 1, PANEL, MARKERS, tmp_path)
    other = pl.read_parquet(tmp_path / "truth/somatic.parquet")
    assert not other.equals(somatic)


def test_a_further_patient_changes_no_other(root, tmp_path):
    larger = (
        SiteDesign("lih", "LIH", 61, 3, DEMO_SITES[0].two_lane_samples, 1.0),
        DEMO_SITES[1],
    )
    simulate_demo_study(SEED, PANEL, MARKERS, tmp_path, larger)
    for name in ("patients", "somatic", "germline", "copy_number", "expression"):
        before = pl.read_parquet(root / f"truth/{name}.parquet")
        after = pl.read_parquet(tmp_path / f"truth/{name}.parquet")
        assert after.filter(pl.col("patient") != "LIH-0061").equals(before)
    proteins = pl.read_csv(tmp_path / "lih/protein_matrix.tsv", separator="\t")
    assert proteins.drop("LIH-0061-P").equals(
        pl.read_csv(root / "lih/protein_matrix.tsv", separator="\t")
    )
    for name in ("truth/cells.parquet", "truth/cell_shares.tsv", "truth/cell_effects.tsv"):
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()
    vcf = "lih/vcf/LIH-0060-T.somatic.vcf.gz"
    assert (tmp_path / vcf).read_bytes() == (root / vcf).read_bytes()


def test_committed_sheets_are_what_the_seed_gives(tmp_path):
    seed = load_study(PROJECT / "config/studies/demo.yaml").simulation.seed
    write_demo_sheets(seed, tmp_path, PANEL)
    for site in ("lih", "ncck"):
        for name in ("samples.tsv", "clinical.tsv"):
            committed = PROJECT / "config/sites" / site / name
            assert (tmp_path / "sites" / site / name).read_bytes() == committed.read_bytes()


def test_sample_sheets_name_simulated_files_only(root):
    files = simulated_files("results/demo/simulated", SEED)
    known = {path for paths in files.values() for path in paths}
    patients = simulate_patients(SEED)
    for design in DEMO_SITES:
        sheet = sample_sheet(design, cell_donors(patients, design))
        assert sheet["patient"].n_unique() == design.n_patients
        for column in ("vcf", "counts", "matrix"):
            assert set(sheet[column].drop_nulls()) <= known
        entries = sheet["cells"].drop_nulls()
        assert {path for entry in entries for path in files_of_cells(entry)} <= known
        by_fastq = sheet.filter(pl.col("fastq_1").is_not_null())["patient"].unique().sort()
        assert by_fastq.to_list() == design.fastq_patients
        lanes = dict(sheet.group_by("sample").len().iter_rows())
        assert {s for s, n in lanes.items() if n == 2} == set(design.two_lane_samples)


def test_clinical_tables_hold_each_missing_code():
    for site, words in LOCAL_WORDS.items():
        table = pl.read_csv(
            PROJECT / f"config/sites/{site}/clinical.tsv", separator="\t", infer_schema=False
        )
        assert table.columns == list(words.columns.values())
        assert (table["grade" if site == "lih" else "등급"] == words.missing["grade"]).sum() == 1
        assert (
            table["hémoglobine" if site == "lih" else "혈색소"] == words.missing["haemoglobin"]
        ).sum() == 2
    assert (
        pl.read_csv(PROJECT / "config/sites/lih/clinical.tsv", separator="\t", infer_schema=False)[
            "âge"
        ]
        .str.contains(r"^\d+,\d$")
        .all()
    )


def test_cohort_is_plausible():
    cohort = simulate_cohort(SEED, gene_list(read_gene_panel(PANEL)), DEMO_SITES)
    patients = cohort.patients
    share = (patients["overall_survival_event"] == "yes").mean()
    assert 0.45 <= share <= 0.60
    assert 0.4 <= (patients["stage_group"] == "MIBC").mean() <= 0.6
    parameters = cohort.parameters
    common = parameters.filter("is_differential", ~pl.col("site_specific"))
    assert common.height == 60
    assert common["log2_fold_change"].abs().is_between(0.8, 2.0).all()
    assert (parameters["survival_log_hazard_ratio"] != 0).sum() == 6
    effect = dict(parameters.select("gene_name", "log2_fold_change").iter_rows())
    assert effect["UPK2"] < 0 < effect["KRT5"]
    total = np.log2(cohort.expression.abundance).mean(axis=0)
    assert total.max() - total.min() > np.log2(1000)


def test_abundance_carries_the_planted_effects():
    cohort = simulate_cohort(SEED, gene_list(read_gene_panel(PANEL)), DEMO_SITES)
    invasive = (cohort.patients["stage_group"] == "MIBC").to_numpy()
    deviation = cohort.expression.deviation
    observed = deviation[invasive].mean(axis=0) - deviation[~invasive].mean(axis=0)
    planted = cohort.parameters["log2_fold_change"].to_numpy()
    keep = ~cohort.parameters["site_specific"].to_numpy()
    assert np.polyfit(planted[keep], observed[keep], 1)[0] == pytest.approx(1.0, abs=0.05)


def test_somatic_variants_lie_in_targets_apart_from_each_other_and_the_germline(root, somatic):
    targets = read_targets(root / "reference/targets.bed")
    assert within_targets(somatic, targets).height == somatic.height
    germline = pl.read_parquet(root / "truth/germline.parquet")
    everything = pl.concat(
        [
            somatic.select("patient", "chromosome", "position", "reference_allele", s=pl.lit(1)),
            germline.select("patient", "chromosome", "position", "reference_allele", s=pl.lit(0)),
        ]
    ).sort("patient", "chromosome", "position")
    gaps = everything.with_columns(
        gap=pl.col("position")
        - (pl.col("position") + pl.col("reference_allele").str.len_bytes()).shift(1),
        either=pl.col("s").rolling_max(2),
        same=pl.struct("patient", "chromosome").rle_id().diff() == 0,
    ).filter("same", pl.col("either") == 1)
    assert gaps["gap"].min() >= 14
    patients = pl.read_parquet(root / "truth/patients.parquet").select("patient", "sex")
    haploid = (pl.col("chromosome") == "chrX") & (pl.col("sex") == "male")
    placed = somatic.join(patients, on="patient").with_columns(haploid=haploid)
    assert placed["haploid"].sum() > 20
    # One of two copies carries a variant, and the only copy of X in males.
    fraction = pl.col("cell_fraction") / pl.when("haploid").then(1).otherwise(2)
    assert placed.select((pl.col("allele_fraction") - fraction).abs().max()).item() == 0
    assert placed["cell_fraction"].is_between(0.04, 1.0).all()
    assert (placed.filter("haploid")["haplotype"] == 0).all()
    assert not (placed["chromosome"] == "chrY").any()


def test_drivers_follow_the_stage(root, somatic):
    patients = pl.read_parquet(root / "truth/patients.parquet")
    hit = somatic.filter("is_driver").join(patients.select("patient", "stage_group"), on="patient")
    counts = {
        (gene, stage): n
        for gene, stage, n in hit.group_by("gene_name", "stage_group").len().iter_rows()
    }
    assert counts["FGFR3", "NMIBC"] > 2 * counts["FGFR3", "MIBC"]
    assert counts["TP53", "MIBC"] > 2 * counts["TP53", "NMIBC"]
    assert hit["gene_name"].n_unique() == 13
    by_stage = dict(patients["stage_group"].value_counts().iter_rows())
    for stage, n in by_stage.items():
        assert counts["TERT", stage] / n == pytest.approx(0.6, abs=0.12)
    assert set(hit.filter(pl.col("gene_name") == "TERT")["consequence"]) == {"promoter"}
    truncating = {"stop_gained", "frameshift"}
    assert set(hit.filter(pl.col("gene_name") == "KDM6A")["consequence"]) == truncating
    fgfr3 = hit.filter(pl.col("gene_name") == "FGFR3")
    assert fgfr3["position"].value_counts()["count"].max() >= 10


def test_passengers_are_enriched_at_apobec_sites(root, somatic):
    with pysam.FastaFile(str(root / "reference/genome.fa")) as fasta:
        snvs = somatic.filter(pl.col("kind") == "snv", ~pl.col("is_driver"))
        contexts = [
            fasta.fetch(chromosome, position - 2, position + 1)
            for chromosome, position in snvs.select("chromosome", "position").iter_rows()
        ]
    tcw = sum(context in ("TCA", "TCT", "TGA", "AGA") for context in contexts)
    assert tcw / len(contexts) > 0.35  # 4 of 32 folded contexts would give about 0.12


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_csq_agrees_with_the_planted_consequences_and_norm_with_the_alleles(root, tmp_path):
    truth = pl.read_parquet(root / "truth/somatic.parquet")
    alleles = ["chromosome", "position", "reference_allele", "alternate_allele"]
    sites = truth.unique(alleles).sort("chromosome", "position")
    lines = ["##fileformat=VCFv4.2"]
    with pysam.FastaFile(str(root / "reference/genome.fa")) as fasta:
        lines += [
            f"##contig=<ID={name},length={length}>"
            for name, length in zip(fasta.references, fasta.lengths, strict=True)
        ]
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    lines += [f"{c}\t{p}\t.\t{r}\t{a}\t.\tPASS\t." for c, p, r, a in sites.select(alleles).rows()]
    vcf = tmp_path / "truth.vcf"
    vcf.write_text("\n".join(lines) + "\n")
    fasta_path = str(root / "reference/genome.fa")
    norm = subprocess.run(
        ["bcftools", "norm", "-c", "e", "-f", fasta_path, "-o", "/dev/null", str(vcf)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"{sites.height}/0/0/0" in norm.stderr
    csq = subprocess.run(
        [
            *("bcftools", "csq", "-l", "-p", "a", "-f", fasta_path),
            *("-g", str(root / "reference/annotation.gff3"), str(vcf)),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split("\t") for line in csq.stdout.splitlines() if not line.startswith("#")]
    called = pl.DataFrame(
        [(r[0], int(r[1]), r[3], r[4], r[7]) for r in rows], schema=[*alleles, "bcsq"], orient="row"
    )
    joined = sites.join(called, on=alleles)
    assert joined.height == sites.height
    term = pl.col("consequence").replace({"inframe": "inframe_", "splice": "splice_"})
    agrees = (
        joined.filter(
            pl.col("consequence").is_in(["missense", "synonymous", "stop_gained", "frameshift"])
            | pl.col("is_driver")
        )
        .filter(pl.col("consequence") != "promoter")
        .with_columns(same=pl.col("bcsq").str.contains(term, literal=True))
    )
    # Amino acids of the hotspot table are those that csq gives (5P>5L); one of them may recur in
    # nobody, and no other missense driver of these genes recurs.
    hotspots = pl.read_csv(root / "reference/hotspots.tsv", separator="\t").filter(
        pl.col("kind") == "protein"
    )
    listed = hotspots.select(
        "gene_name", pl.format("{}{}>{}{}", "position", "reference", "position", "alternate")
    ).rows()
    recurrent = (
        truth.filter("is_driver", pl.col("gene_name").is_in(["FGFR3", "PIK3CA", "TP53"]))
        .group_by("gene_name", *alleles)
        .len()
        .filter(pl.col("len") >= 3)
        .join(called, on=alleles)
        .select("gene_name", pl.col("bcsq").str.extract(r"\|(\d+[A-Z]>\d+[A-Z])\|"))
        .rows()
    )
    assert set(recurrent) <= set(listed)
    assert len(recurrent) >= 7
    # A passenger indel over the start codon may be called by its other effect.
    assert agrees.filter("is_driver")["same"].all()
    assert agrees["same"].mean() > 0.99


def test_vcfs_hold_the_truth_and_filtered_artefacts(root, somatic):
    patient = "NCCK-0010"
    truth = set(
        somatic.filter(pl.col("patient") == patient)
        .select("chromosome", "position", "reference_allele", "alternate_allele")
        .rows()
    )
    with pysam.VariantFile(str(root / f"ncck/vcf/{patient}-T.somatic.vcf.gz")) as vcf:
        assert list(vcf.header.samples) == [f"{patient}-T", f"{patient}-N"]
        records = list(vcf)
        for record in records:
            depths = record.samples[f"{patient}-T"]
            assert sum(depths["AD"]) == depths["DP"]
    passed = {(r.chrom, r.pos, r.ref, r.alts[0]) for r in records if r.filter.keys() == ["PASS"]}
    assert passed <= truth
    assert len(passed) >= 0.7 * len(truth)
    total = filtered = 0
    for path in sorted((root / "lih/vcf").glob("*.somatic.vcf.gz")):
        with pysam.VariantFile(str(path)) as vcf:
            keys = [record.filter.keys() for record in vcf]
        total += len(keys)
        filtered += sum(key != ["PASS"] for key in keys)
    assert 0.05 < filtered / total < 0.5


def test_germline_vcf_genotypes_are_the_truth(root):
    truth = pl.read_parquet(root / "truth/germline.parquet")
    dosage = {
        tuple(row[:5]): row[5]
        for row in truth.select(
            "patient", "chromosome", "position", "reference_allele", "alternate_allele", "dosage"
        ).rows()
    }
    missing = n = 0
    with pysam.VariantFile(str(root / "lih/vcf/lih.germline.vcf.gz")) as vcf:
        assert len(vcf.header.samples) == 57
        for record in vcf:
            for name, sample in record.samples.items():
                n += 1
                if None in sample["GT"]:
                    missing += 1
                    continue
                key = (name[:-2], record.chrom, record.pos, record.ref, record.alts[0])
                assert sum(sample["GT"]) == dosage.get(key, 0)
    assert 0.005 < missing / n < 0.05


def test_males_have_one_x(root):
    patients = pl.read_parquet(root / "truth/patients.parquet").select("patient", "sex")
    germline = pl.read_parquet(root / "truth/germline.parquet").join(patients, on="patient")
    on_x = germline.filter(pl.col("chromosome") == "chrX")
    male, female = (on_x.filter(pl.col("sex") == sex) for sex in ("male", "female"))
    assert set(male["dosage"]) == {2}
    assert set(female["dosage"]) == {1, 2}
    assert not (germline["chromosome"] == "chrY").any()
    # Given files show half the depth.
    depth = {"chrX": [], "chr1": []}
    sexes = dict(patients.iter_rows())
    with pysam.VariantFile(str(root / "lih/vcf/lih.germline.vcf.gz")) as vcf:
        for record in vcf:
            if record.chrom in depth:
                depth[record.chrom] += [
                    s["DP"] for name, s in record.samples.items() if sexes[name[:-2]] == "male"
                ]
    assert np.mean(depth["chrX"]) / np.mean(depth["chr1"]) == pytest.approx(0.5, abs=0.03)


def test_copy_number_is_altered_in_patients_with_reads_where_nothing_else_is(root, somatic):
    altered = pl.read_parquet(root / "truth/copy_number.parquet")
    patients = pl.read_parquet(root / "truth/patients.parquet")
    assert altered.height >= 8
    with_reads = set(patients.filter(pl.col("entry") == "fastq")["patient"])
    assert set(altered["patient"]) <= with_reads
    assert altered.group_by("patient").len()["len"].max() < len(ALTERED_GENES)
    for copies_1, copies_2, total, kind, name in altered.select(
        "copies_1", "copies_2", "copy_number", "copy_number_class", "gene_name"
    ).iter_rows():
        assert copies_1 + copies_2 == total
        assert kind == {0: "deletion", 1: "loss", 3: "gain"}.get(total, "amplification")
        assert (total > 2) == (ALTERED_GENES[name] == "gain")
        assert total <= 8
    assert somatic.join(altered, on=["patient", "gene_name"], how="semi").is_empty()
    # The genes do have somatic variants in others.
    assert somatic.join(altered, on="gene_name", how="semi").height > 20


def test_doses_of_targets_follow_sex_purity_and_copy_number():
    targets = pl.DataFrame(
        {"chromosome": ["chr1", "chr1", "chrX", "chrY"], "gene_name": ["A", "B", "C", "D"]}
    )
    altered = pl.DataFrame({"gene_name": ["B"], "copies_1": [1], "copies_2": [6]})
    tumour = haplotype_doses(targets, "male", 0.5, altered)
    assert tumour.tolist() == [[1, 1, 1, 1], [1, 3.5, 0, 0]]
    assert haplotype_doses(targets, "female", 0.0, altered).tolist() == [[1, 1, 1, 0]] * 2
    deleted = altered.with_columns(copies_1=0, copies_2=0)
    assert haplotype_doses(targets, "male", 0.8, deleted)[:, 1].tolist() == pytest.approx([0.2] * 2)


def test_hotspots_are_where_drivers_recur(root, somatic):
    hotspots = pl.read_csv(root / "reference/hotspots.tsv", separator="\t")
    assert hotspots.columns == [
        "gene_name", "kind", "position", "reference", "alternate", "source"
    ]  # fmt: skip
    promoter = hotspots.filter(pl.col("kind") == "promoter")
    assert promoter.rows() == [("TERT", "promoter", -124, "C", "T", "simulated")]
    protein = hotspots.filter(pl.col("kind") == "protein")
    assert dict(protein["gene_name"].value_counts().iter_rows()) == {
        "FGFR3": 3, "PIK3CA": 3, "TP53": 3
    }  # fmt: skip
    tert = somatic.filter(pl.col("gene_name") == "TERT", pl.col("is_driver"))
    alleles = tert.select("position", "reference_allele", "alternate_allele").unique()
    assert alleles.height == 1
    assert alleles.row(0)[1:] in (("C", "T"), ("G", "A"))


def test_genotypes_follow_hardy_weinberg(root):
    patients = pl.read_parquet(root / "truth/patients.parquet").height
    germline = pl.read_parquet(root / "truth/germline.parquet")
    germline = germline.filter(pl.col("chromosome") != "chrX")
    per_site = germline.group_by("chromosome", "position").agg(
        frequency=pl.col("dosage").sum() / (2 * patients),
        heterozygous=(pl.col("dosage") == 1).sum(),
    )
    expected = (2 * pl.col("frequency") * (1 - pl.col("frequency")) * patients).sum()
    observed, theory = per_site.select(pl.col("heterozygous").sum(), expected).row(0)
    assert observed == pytest.approx(theory, rel=0.03)


def test_count_matrices_and_parameters(root):
    matrix = pl.read_csv(root / "ncck/gene_counts.tsv", separator="\t")
    assert matrix.shape == (300, 2 + 53)
    assert matrix.columns[:3] == ["gene_id", "gene_name", "NCCK-0004-R"]
    assert 100 < matrix.select(pl.col("NCCK-0004-R").mean()).item() < 500
    parameters = json.loads((root / "truth/parameters.json").read_text())
    assert parameters["seed"] == SEED
    assert parameters["reads"]["duplicate_share"] == 0.08


def test_protein_matrices(root):
    truth = pl.read_csv(root / "truth/proteins.tsv", separator="\t")
    planted = (truth["log2_difference"] != 0).to_numpy()
    assert (truth.height, planted.sum(), truth["gene_id"].null_count()) == (60, 16, 1)
    patients = pl.read_parquet(root / "truth/patients.parquet")
    missing, errors, medians = [], [], []
    for design in DEMO_SITES:
        matrix = pl.read_csv(root / design.site / "protein_matrix.tsv", separator="\t")
        assert matrix["accession"].equals(truth["feature"])
        own = patients.filter(site=design.site)
        plates = pl.read_csv(root / design.site / "plates.tsv", separator="\t")
        assert plates["sample"].to_list() == [f"{p}-P" for p in own["patient"]]
        assert plates["plate"].value_counts()["count"].is_between(25, 35).all()
        values = matrix.select(plates["sample"].to_list()).cast(pl.Float64).to_numpy()
        log2 = np.log2(values)
        missing.append(np.isnan(values))
        # Adjusted for the plate, as both stages are spread evenly over plates.
        case = (own["stage_group"] == "MIBC").to_numpy()
        plate = (plates["plate"] == plates["plate"][0]).to_numpy()
        complete = ~np.isnan(values).any(axis=1)
        x = np.column_stack([np.ones(len(case)), case, plate])
        fitted = np.linalg.lstsq(x, log2[complete].T, rcond=None)[0]
        errors.append(fitted[1] - truth["log2_difference"].to_numpy()[complete])
        medians.append(np.abs(fitted[2]).mean())
    share = np.concatenate(missing, axis=1)
    assert 0.06 <= share.mean() <= 0.1
    # What is missing is what is low.
    ranks = truth["log2_mean"].rank().to_numpy()
    assert np.corrcoef(ranks, share.mean(axis=1))[0, 1] < -0.4
    # A standard error of 0.16 a site: noise of 0.6, two groups of 30.
    assert np.std(np.concatenate(errors)) == pytest.approx(0.16, abs=0.04)
    assert min(medians) > 0.3  # two plates' effects of 0.5 each
