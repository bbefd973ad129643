"""A run is checked whole before its first job."""

from pathlib import Path

import pysam
import pytest

from ihdsi.plan import load_plan

CONFIG = "config/config.yaml"
CODEBOOK = {
    "patient": "id",
    "variables": {
        "sex": {"column": "sexe", "values": {"F": "female", "H": "male"}},
        "age": {"column": "age", "unit": "a"},
    },
}


class Project:
    """Two sites and a study in the working directory, to be changed before it is read."""

    def __init__(self, folder, study_document, write_yaml):
        self.folder = folder
        self.study = study_document
        self.write_yaml = write_yaml
        self.config = {"study": "study.yaml", "sites": ["alpha/site.yaml", "beta/site.yaml"]}
        self.study["reference"] |= {"genome": "genome.fa", "annotation": "genes.gff3"}
        for name in ("genome.fa", "genes.gff3"):
            (folder / name).touch()
        for name in ("reads_1.fq", "reads_2.fq"):
            (folder / name).write_text("@read\nACGT\n+\nIIII\n")
        columns = "CHROM POS ID REF ALT QUAL FILTER INFO FORMAT B1-T B1-N".replace(" ", "\t")
        (folder / "calls.vcf").write_text(f"##fileformat=VCFv4.2\n#{columns}\n")
        self.site("alpha", ["A1\tA1-T\ttumour\tdna\treads_1.fq\treads_2.fq\t"])
        self.site("beta", ["B1\tB1-T\ttumour\tdna\t\t\tcalls.vcf"])

    def site(self, name, rows, **changes):
        header = "patient\tsample\ttissue\tassay\tfastq_1\tfastq_2\tvcf"
        self.write_yaml(
            {
                "site": name,
                "title": name.title(),
                "country": "LU",
                "study": "tiny",
                "study_version": "1.0",
                "samples": f"{name}/samples.tsv",
            }
            | changes,
            f"{name}/site.yaml",
        )
        (self.folder / name / "samples.tsv").write_text("\n".join([header, *rows]) + "\n")

    def clinical(self, name, *rows):
        self.write_yaml(CODEBOOK, f"{name}/codebook.yaml")
        lines = ["id\tsexe\tage", *rows]
        (self.folder / name / "clinical.tsv").write_text("\n".join(lines) + "\n")
        self.site(
            name,
            ["A1\tA1-T\ttumour\tdna\treads_1.fq\treads_2.fq\t"],
            clinical=f"{name}/clinical.tsv",
            codebook=f"{name}/codebook.yaml",
        )

    def load(self):
        self.write_yaml(self.study, "study.yaml")
        return load_plan(self.config, CONFIG)


@pytest.fixture
def project(folder, study_document, write_yaml):
    return Project(folder, study_document, write_yaml)


@pytest.fixture
def refused_plan(project, refused):
    def check(**place):
        refused(project.load, **place)

    return check


def line_of(path, line):
    return 1 + Path(path).read_text().splitlines().index(line)


def test_a_good_run(project):
    plan = project.load()
    assert list(plan.sites) == list(plan.cohorts) == ["alpha", "beta"]
    assert plan.participants == ("alpha", "beta")
    assert not plan.coordinator
    assert list(plan.cohorts["alpha"].samples) == ["A1-T"]
    assert list(plan.cohorts["beta"].somatic_vcfs) == ["B1"]
    lines = plan.describe().splitlines()
    assert lines[:2] == [
        "Study tiny version 1.0: A tiny study",
        "Run here: sites alpha, beta; coordinator no",
    ]
    assert lines[2] == "DNA: aligned with bwa; whole genome, no targets"
    assert lines[3].startswith("Site alpha (Alpha): 1 patients, 1 samples, ")
    assert "    B1-T: tumour DNA from VCF calls.vcf → somatic variants taken as given" in lines


def test_a_coordinator_alone(project):
    project.config = {"study": "study.yaml", "coordinator": True}
    plan = project.load()
    assert plan.coordinator
    assert plan.cohorts == {}
    assert plan.describe().endswith("Run here: sites none; coordinator yes")


def test_nothing_to_run(project, refused_plan):
    project.config = {"study": "study.yaml"}
    refused_plan(
        file=CONFIG, row=None, column=None, text="nothing is to be run", remedy="coordinator: true"
    )


@pytest.mark.parametrize("second", ["alpha/site.yaml", "./alpha/site.yaml", "copy.yaml"])
def test_a_site_listed_twice(project, refused_plan, second):
    Path("copy.yaml").write_bytes(Path("alpha/site.yaml").read_bytes())
    project.config["sites"] = ["alpha/site.yaml", second]
    refused_plan(
        file=CONFIG,
        row=None,
        column="sites",
        text="the site 'alpha' is listed twice",
        remedy="List it once",
    )


def test_a_misspelt_key_of_the_run(project, refused_plan):
    project.config["site"] = project.config.pop("sites")
    refused_plan(file=CONFIG, row=None, column="site", text="this key is not known")


def test_no_study_file(project, refused_plan):
    project.config["study"] = "none.yaml"
    refused_plan(file="none.yaml", row=None, column=None, text="does not exist")


def test_no_site_file(project, refused_plan):
    project.config["sites"] = ["none.yaml"]
    refused_plan(file="none.yaml", row=None, column=None, text="does not exist")


def test_another_version_of_the_study(project, refused_plan):
    project.site("beta", [], study_version="0.9")
    refused_plan(
        file="beta/site.yaml",
        row=5,
        column="study_version",
        text="agreed to version '0.9', the study file is version '1.0'",
        remedy="raise study_version",
    )


def test_a_site_that_is_no_participant(project, refused_plan):
    project.study["participants"] = ["alpha"]
    refused_plan(
        file="beta/site.yaml",
        row=1,
        column="site",
        text="'beta' is not among the study's participants (alpha)",
        remedy="Correct the site's id",
    )


def test_a_fault_of_a_sheet(project, refused_plan):
    project.site("beta", ["B1\tB1-T\tblood\tdna\t\t\tcalls.vcf"])
    refused_plan(file="beta/samples.tsv", row=2, column="tissue", text="unknown tissue 'blood'")


def test_a_clinical_table_is_read_before_the_run(project):
    project.clinical("alpha", "A1\tF\t61")
    assert project.load().cohorts["alpha"].clinical == "alpha/clinical.tsv"


@pytest.mark.parametrize(
    ("rows", "row", "column", "text"),
    [
        (["A1\tX\t61"], 2, "sexe", "the code 'X' is not in the codebook"),
        (["A9\tF\t61"], None, "id", "patient 'A1' of the sample sheet has no row"),
        (["A1\tF\t161"], 2, "age", "outside the study's range 18 to 110 a"),
    ],
)
def test_a_fault_of_a_clinical_table(project, refused_plan, rows, row, column, text):
    project.clinical("alpha", *rows)
    refused_plan(file="alpha/clinical.tsv", row=row, column=column, text=text)


def test_a_fault_of_a_codebook(project, refused_plan):
    project.clinical("alpha", "A1\tF\t61")
    path = Path("alpha/codebook.yaml")
    path.write_text(path.read_text().replace("F: female", "F: woman"))
    refused_plan(
        file=path,
        row=line_of(path, "      F: woman"),
        column="variables.sex.values.F",
        text="'woman' is not a level of 'sex'",
    )


@pytest.mark.parametrize("key", ["genome", "annotation", "targets", "gene_catalogue"])
def test_a_reference_file_that_does_not_exist(project, refused_plan, key):
    project.study["reference"][key] = "gone.file"
    project.write_yaml(project.study, "study.yaml")
    refused_plan(
        file="study.yaml",
        row=line_of("study.yaml", f"  {key}: gone.file"),
        column=f"reference.{key}",
        text="the file gone.file does not exist",
        remedy=f"'reference' in {CONFIG}",
    )


def test_a_local_reference_file_that_does_not_exist(project, refused_plan):
    project.config["reference"] = {"genome": "/gone/genome.fa"}
    refused_plan(
        file=CONFIG,
        row=None,
        column="reference.genome",
        text="the file /gone/genome.fa does not exist",
    )


def test_a_local_reference_file_replaces_that_of_the_study(project):
    project.study["reference"]["genome"] = "gone.fa"
    project.config["reference"] = {"genome": "genome.fa"}
    assert project.load().study.reference.genome == "genome.fa"


def test_reference_files_of_a_simulated_study_are_made_later(project):
    project.study |= {"simulated": True}
    project.study["reference"]["genome"] = "results/tiny/simulated/genome.fa"
    project.load()


@pytest.mark.parametrize(
    ("sheet", "given", "key", "text"),
    [
        ("B1\tB1-T\ttumour\tdna\t\t\tcalls.vcf", ["annotation"], "genome", "reads or VCF"),
        ("B1\tB1-N\tnormal\tdna\t\t\tcalls.vcf", ["annotation"], "genome", "reads or VCF"),
        ("B1\tB1-T\ttumour\tdna\tb_1\tb_2\t", ["annotation"], "genome", "reads or VCF"),
        ("B1\tB1-R\ttumour\trna\tb_1\tb_2\t", ["annotation"], "transcripts", "RNA samples enter"),
        ("B1\tB1-R\ttumour\trna\tb_1\tb_2\t", ["genome"], "transcripts", "RNA samples enter"),
        ("B1\tB1-T\ttumour\tdna\t\t\tcalls.vcf", ["genome"], "gene_catalogue", "by gene"),
    ],
)
def test_a_reference_file_that_the_sheet_needs(project, refused_plan, sheet, given, key, text):
    for name in ("b_1", "b_2"):
        Path(name).write_text("@read\nACGT\n+\nIIII\n")
    project.site("beta", [sheet])
    project.config["sites"] = ["beta/site.yaml"]
    for name in {"genome", "annotation"} - set(given):
        project.study["reference"].pop(name)
    project.write_yaml(project.study, "study.yaml")
    refused_plan(
        file="study.yaml",
        row=line_of("study.yaml", "reference:"),
        column=f"reference.{key}",
        text=text,
        remedy="Add its path",
    )


@pytest.mark.parametrize(
    ("sheet", "reference"),
    [
        ("B1\tB1-R\ttumour\trna\tb_1\tb_2\t", {"transcripts": "genes.gff3"}),
        ("B1\tB1-R\ttumour\trna\tb_1\tb_2\t", {"genome": "b_1", "annotation": "b_2"}),
        ("B1\tB1-T\ttumour\tdna\t\t\tcalls.vcf", {"genome": "b_1", "gene_catalogue": "b_2"}),
        ("B1\tB1-N\tnormal\tdna\t\t\tcalls.vcf", {"genome": "b_1"}),
    ],
)
def test_reference_files_that_are_enough(project, sheet, reference):
    for name in ("b_1", "b_2"):
        Path(name).write_text("@read\nACGT\n+\nIIII\n")
    project.site("beta", [sheet])
    project.config["sites"] = ["beta/site.yaml"]
    project.study["reference"] = {"name": "build-1"} | reference
    assert project.load().study.reference.paths == reference


def test_a_signature_that_cosmic_lacks(project, refused_plan):
    project.study["variants"] = {"signatures": {"signatures": ["SBS2", "SBS400"], "groups": {}}}
    project.write_yaml(project.study, "study.yaml")
    refused_plan(
        file="study.yaml",
        row=line_of("study.yaml", "  signatures:"),
        column="variants.signatures",
        text="COSMIC version 3.4 has no signature SBS400",
    )


def known_variants(path, field, compress=True):
    header = pysam.VariantHeader()
    header.contigs.add("1", length=100)
    header.info.add(field, "A", "Float", "x")
    with pysam.VariantFile(str(path), "wz" if compress else "w", header=header):
        pass


@pytest.mark.parametrize(
    ("key", "field", "compress", "text"),
    [
        ("germline_resource", "AC", True, "holds no INFO/AF"),
        ("germline_resource", "AF", False, "is not compressed by bgzip"),
        ("clinvar", "CLNDN", True, "holds no INFO/CLNSIG"),
    ],
)
def test_known_variants_are_looked_into(project, refused_plan, key, field, compress, text):
    name = "known.vcf.gz" if compress else "known.vcf"
    path = project.folder / name
    known_variants(path, field, compress)
    project.study["reference"][key] = name
    project.write_yaml(project.study, "study.yaml")
    refused_plan(
        file="study.yaml",
        row=line_of("study.yaml", f"  {key}: {name}"),
        column=f"reference.{key}",
        text=text,
    )
    known_variants(path.with_suffix(".gz"), "AF" if key == "germline_resource" else "CLNSIG")
    project.study["reference"][key] = path.with_suffix(".gz").name
    project.load()


def test_no_variants_at_all(project, refused_plan):
    (project.folder / "known.vcf.gz").write_text("no VCF")
    project.study["reference"]["clinvar"] = "known.vcf.gz"
    project.write_yaml(project.study, "study.yaml")
    refused_plan(
        file="study.yaml",
        row=line_of("study.yaml", "  clinvar: known.vcf.gz"),
        column="reference.clinvar",
        text="cannot be read",
    )


def test_a_studys_own_hotspots_are_read_before_the_run(project, refused_plan):
    path = project.folder / "hotspots.tsv"
    header = "gene_name\tkind\tposition\treference\talternate\tsource\n"
    path.write_text(f"{header}FGFR3\tprotein\tS249\tS\tC\tChang 2016\n")
    project.study["reference"]["hotspots"] = "hotspots.tsv"
    refused_plan(file="hotspots.tsv", row=2, column="position", text="'S249' is no position")
    path.write_text(f"{header}FGFR3\tprotein\t249\tS\tC\tChang 2016\n")
    project.load()
