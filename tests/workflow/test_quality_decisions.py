"""A swapped normal, a contaminated tumour and a shallow sample are each caught, and left out."""

import gzip
from itertools import islice

import polars as pl
import pytest
import yaml

from ihdsi.simulate import reads as simulated_reads
from ihdsi.simulate.cohort import SiteDesign
from ihdsi.simulate.demo_study import simulate_demo_study
from ihdsi.simulate.reads import simulate_sample_reads
from project_copy import PROJECT, copy_project, need_tools

pytestmark = pytest.mark.workflow

SEED = 20261125
TUMOUR_DEPTH, NORMAL_DEPTH, SHALLOW_DEPTH = 80, 50, 8
CONTAMINATION = 0.10
# The sixth person takes no part in the study; their blood is where it should not be.
PATIENTS = [f"P-{number:04d}" for number in range(1, 6)]
SWAPPED, CONTAMINATED, SHALLOW, *SOUND = PATIENTS
STRANGER = "P-0006"
DESIGN = SiteDesign("hospital", "P", 7, 6, frozenset(), 1.0)

STUDY = {
    "study": "decisions",
    "version": "1.0",
    "title": "Three bad samples among ten",
    "participants": ["hospital"],
    "reference": {
        "name": "simulated",
        "genome": "made/reference/genome.fa",
        "annotation": "made/reference/annotation.gff3",
        "targets": "made/reference/targets.bed",
        "common_sites": "made/common_sites.vcf",
    },
    "clinical": {"variables": {"sex": {"type": "categorical", "levels": ["female", "male"]}}},
    "disclosure": {},
    "sample_checks": {"sex": {"variable": "sex", "female": "female", "male": "male"}},
    "quality_control": {
        name: {"assay": "dna", "unit": unit, "bins": [0, 50, 100], **limits}
        for name, unit, limits in (
            ("mapped_percent", "%", {"minimum": 90}),
            ("duplicate_percent", "%", {"maximum": 50}),
            ("mean_target_coverage", "1", {"minimum": 20, "warn_minimum": 30}),
            ("coverage_uniformity_percent", "%", {"minimum": 70}),
            ("identity_concordance_percent", "%", {"minimum": 90, "warn_minimum": 95}),
            ("foreign_concordance_percent", "%", {"warn_maximum": 90}),
            ("contamination_percent", "%", {"maximum": 5, "warn_maximum": 3}),
            ("sex_discordance", "1", {"maximum": 0}),
            ("oxidation_artefact_rate", "[ppm]", {"maximum": 1000, "warn_maximum": 100}),
            ("deamination_artefact_rate", "[ppm]", {"maximum": 1000, "warn_maximum": 200}),
        )
    },
}
SITE = {
    "site": "hospital",
    "title": "Hospital",
    "country": "LU",
    "study": "decisions",
    "study_version": "1.0",
    "samples": "made/samples.tsv",
    "clinical": "made/clinical.tsv",
    "codebook": "made/codebook.yaml",
}
CODEBOOK = {
    "patient": "patient",
    "variables": {"sex": {"column": "sex", "values": {"female": "female", "male": "male"}}},
}


def make_reads(made, sample, depth):
    """Both FASTQ files of a sample at a depth."""
    names = [made / "fastq" / f"{sample}_{depth}_R{mate}.fastq.gz" for mate in (1, 2)]
    simulate_sample_reads(
        SEED,
        sample,
        "L001",
        ("L001",),
        genome=made / "reference/genome.fa",
        targets=made / "reference/targets.bed",
        truth=made / "truth",
        fastq_1=names[0],
        fastq_2=names[1],
    )
    return names


def records(path):
    with gzip.open(path, "rt") as lines:
        return sum(1 for _ in lines) // 4


def add_reads(source, target, number):
    """Append the first reads of a file, under names that the other file does not have."""
    with gzip.open(source, "rt") as lines, gzip.open(target, "at", compresslevel=1) as out:
        out.writelines(line.replace(":FC1:", ":FC2:") for line in islice(lines, 4 * number))


def write_common_sites(made):
    """Common SNVs of the population with their frequency, as a public resource would list them."""
    frequencies = pl.read_parquet(made / "truth/germline.parquet").filter(kind="snv")
    header = ["##fileformat=VCFv4.2", '##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency">']
    lengths = (made / "reference/genome.fa.fai").read_text().splitlines()
    header += [
        f"##contig=<ID={name},length={length}>"
        for name, length in (line.split("\t")[:2] for line in lengths)
    ]
    # The seven persons stand for the population; half a count keeps frequencies from 0 and 1.
    sites = (
        frequencies.group_by(
            "chromosome", "position", "reference_allele", "alternate_allele", maintain_order=True
        )
        .agg(frequency=(pl.col("dosage").sum() + 0.5) / (2 * 7 + 1))
        .sort("chromosome", "position")
    )
    rows = [
        f"{chromosome}\t{position}\t.\t{reference}\t{alternate}\t.\tPASS\tAF={frequency:.4f}"
        for chromosome, position, reference, alternate, frequency in sites.iter_rows()
    ]
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    (made / "common_sites.vcf").write_text("\n".join([*header, columns, *rows]) + "\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The site's results of one run."""
    need_tools("art_illumina", "bwa", "samtools", "bcftools", "freebayes", "fastp", "mosdepth")
    project = copy_project(tmp_path_factory.mktemp("decisions") / "project")
    made = project.root / "made"
    resources = PROJECT / "resources"
    panel, markers = (
        resources / f"{name}.tsv" for name in ("bladder_gene_panel", "cell_type_markers")
    )
    simulate_demo_study(SEED, panel, markers, made, [DESIGN])
    write_common_sites(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated_reads, "TUMOUR_DNA_DEPTH", float(TUMOUR_DEPTH))
        patch.setattr(simulated_reads, "NORMAL_DNA_DEPTH", float(NORMAL_DEPTH))
        tumours = {p: make_reads(made, f"{p}-T", TUMOUR_DEPTH) for p in PATIENTS}
        normals = {
            p: make_reads(made, f"{p}-N", NORMAL_DEPTH)
            for p in (*PATIENTS, STRANGER)
            if p not in (SWAPPED, SHALLOW)
        }
        patch.setattr(simulated_reads, "NORMAL_DNA_DEPTH", float(SHALLOW_DEPTH))
        normals[SHALLOW] = make_reads(made, f"{SHALLOW}-N", SHALLOW_DEPTH)
    foreign = round(records(tumours[CONTAMINATED][0]) * CONTAMINATION / (1 - CONTAMINATION))
    for source, target in zip(normals[STRANGER], tumours[CONTAMINATED], strict=True):
        assert records(source) > foreign
        add_reads(source, target, foreign)
    normals[SWAPPED] = normals.pop(STRANGER)
    rows = [
        "\t".join([p, f"{p}-{letter}", tissue, "dna", *map(str, files[p])])
        for p in PATIENTS
        for letter, tissue, files in (("T", "tumour", tumours), ("N", "normal", normals))
    ]
    head = "\t".join(["patient", "sample", "tissue", "assay", "fastq_1", "fastq_2"])
    (made / "samples.tsv").write_text("\n".join([head, *rows]) + "\n")
    pl.read_parquet(made / "truth/patients.parquet").select("patient", "sex").write_csv(
        made / "clinical.tsv", separator="\t"
    )
    run = {"study": "made/study.yaml", "sites": ["made/site.yaml"], "regions": 1}
    documents = {"study": STUDY, "site": SITE, "codebook": CODEBOOK, "run": run}
    for name, document in documents.items():
        (made / f"{name}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    results = "results/decisions/sites/hospital"
    project.run(
        *("--configfile", "made/run.yaml", "--cores", 2),
        f"{results}/quality_control/sample_decisions.tsv",
        *(
            f"{results}/summaries/{table}.parquet"
            for table in (
                "qc_profile",
                "gene_alterations",
                "mutation_burden",
                "variant_frequencies",
            )
        ),
    )
    return project.root / results


@pytest.fixture(scope="module")
def decisions(finished):
    return pl.read_parquet(finished / "quality_control/sample_decisions.parquet")


def reasons(decisions, sample):
    return decisions.row(by_predicate=pl.col("sample") == sample, named=True)["reasons"]


def test_each_bad_sample_fails_and_every_other_passes(decisions):
    assert decisions.height == 2 * len(PATIENTS)
    failed = decisions.filter(decision="fail")["sample"].to_list()
    assert sorted(failed) == [f"{SWAPPED}-N", f"{SWAPPED}-T", f"{CONTAMINATED}-T", f"{SHALLOW}-N"]
    # Beside a normal that is too shallow a tumour cannot be judged, and does not pass in silence.
    warned = decisions.filter(decision="warn")
    assert warned["sample"].to_list() == [f"{SHALLOW}-T"], warned["reasons"].to_list()
    others = decisions.filter(decision="pass")
    assert others.height == decisions.height - 5
    assert set(others["reasons"]) == {""}


def test_reasons_name_what_is_wrong(decisions):
    for sample in (f"{SWAPPED}-T", f"{SWAPPED}-N"):
        assert "identity concordance" in reasons(decisions, sample)
        assert "matches no other patient's sample" in reasons(decisions, sample)
        assert "contamination" not in reasons(decisions, sample)
    contaminated = reasons(decisions, f"{CONTAMINATED}-T")
    assert contaminated.startswith("fail: contamination")
    assert "identity" not in contaminated
    shallow = reasons(decisions, f"{SHALLOW}-N")
    assert "fail: mean target coverage" in shallow
    assert "fail: contamination" not in shallow
    assert "fail: identity" not in shallow
    for sample in (f"{SHALLOW}-T", f"{SHALLOW}-N"):
        for metric in ("identity concordance", "contamination"):
            assert f"warn: {metric} not there" in reasons(decisions, sample)
        assert "homozygous common sites with enough reads, 20 are needed" in reasons(
            decisions, sample
        )


def test_measures_are_near_the_truth(finished):
    metrics = pl.read_parquet(finished / "quality_control/qc_metrics.parquet")

    def values(metric):
        found = metrics.filter(pl.col("value").is_not_null(), metric=metric)
        return dict(found.select("sample", "value").iter_rows())

    contamination = values("contamination_percent")
    # The share is a draw of whole genotypes at some tens of sites.
    assert contamination.pop(f"{CONTAMINATED}-T") == pytest.approx(10, abs=4)
    assert max(contamination.values()) < 2
    identity = values("identity_concordance_percent")
    assert identity.pop(f"{SWAPPED}-T") == identity.pop(f"{SWAPPED}-N") < 80
    assert min(identity.values()) > 97
    assert values("mean_target_coverage")[f"{SHALLOW}-N"] == pytest.approx(SHALLOW_DEPTH, abs=2)


def test_failed_samples_leave_the_summaries_and_are_counted(finished):
    tables = {
        name: pl.read_parquet(finished / f"summaries/{name}.parquet")
        for name in ("gene_alterations", "mutation_burden", "variant_frequencies", "qc_profile")
    }
    whole = pl.col("stratum") == "all"
    assert set(tables["gene_alterations"].filter(whole)["n_assessed"]) == {len(SOUND)}
    assert set(tables["mutation_burden"].filter(whole)["n"]) <= {len(SOUND)}
    # The contaminated patient's normal is sound.
    called = tables["variant_frequencies"].filter(whole)["n_samples_called"]
    assert called.max() == len(SOUND) + 1
    counted = tables["qc_profile"].filter(metric="failed_limits", assay="dna")
    assert counted.select("n_total", "n_passed", "n_warned", "n_failed").row(0) == (10, 5, 1, 4)
    assert counted.sort("bin_lower")["n"][0] == 6
