"""A name that a given file does not hold is said with the sheet's row, before any job."""

import gzip

import pysam
import pytest

from ihdsi.given_files import absent_names
from ihdsi.sheets import read_cohort
from ihdsi.study import Site


@pytest.fixture
def cohort(folder, tiny_study):
    header = pysam.VariantHeader()
    header.contigs.add("chr1", length=1000)
    for name in ("TUMOR", "NORMAL"):
        header.add_sample(name)
    with pysam.VariantFile(str(folder / "calls.vcf.gz"), "wz", header=header):
        pass
    (folder / "counts.tsv").write_text("# made elsewhere\ngene_id\tS1\tS2\nENSG1\t1\t2\n")
    with gzip.open(folder / "counts.tsv.gz", "wt") as target:
        target.write("gene_id\tS1\n")

    def read(*rows):
        lines = ["patient\tsample\ttissue\tassay\tvcf\tvcf_sample\tcounts\tcounts_sample"]
        (folder / "samples.tsv").write_text("\n".join([*lines, *rows]) + "\n")
        site = Site(
            site="alpha",
            title="Alpha",
            country="LU",
            study="tiny",
            study_version="1.0",
            samples="samples.tsv",
        )
        return read_cohort(site, tiny_study)

    return read


def test_names_that_are_there(cohort):
    rows = (
        "P1\tP1-T\ttumour\tdna\tcalls.vcf.gz\tTUMOR\t\t",
        "P1\tP1-N\tnormal\tdna\tcalls.vcf.gz\tNORMAL\t\t",
        "P1\tP1-R\ttumour\trna\t\t\tcounts.tsv\tS2",
        "P2\tP2-R\ttumour\trna\t\t\tcounts.tsv.gz\tS1",
    )
    assert absent_names(cohort(*rows)) == []


@pytest.mark.parametrize(
    ("row", "column", "held"),
    [
        ("P1\tP1-T\ttumour\tdna\tcalls.vcf.gz\tTUMOUR\t\t", "vcf_sample", "TUMOR, NORMAL"),
        ("P1\tP1-N\tnormal\tdna\tcalls.vcf.gz\t\t\t", "vcf_sample", "TUMOR, NORMAL"),
        ("P1\tP1-R\ttumour\trna\t\t\tcounts.tsv\tS3", "counts_sample", "gene_id, S1, S2"),
    ],
)
def test_names_that_are_not(cohort, row, column, held):
    (problem,) = absent_names(cohort(row))
    assert (str(problem.file), problem.row, problem.column) == ("samples.tsv", 2, column)
    assert f"it holds: {held}" in problem.what
    assert column in problem.remedy


def test_a_file_that_is_no_vcf(cohort, folder):
    (folder / "other.vcf").write_text("not a VCF\n")
    (problem,) = absent_names(cohort("P1\tP1-T\ttumour\tdna\tother.vcf\tX\t\t"))
    assert (problem.row, problem.column) == (2, "vcf")
    assert "cannot be read" in problem.what


def test_files_that_a_simulation_makes_later_are_not_opened(cohort, folder):
    good = cohort("P1\tP1-T\ttumour\tdna\tcalls.vcf.gz\tX\t\t")
    assert absent_names(good, simulated="calls") == []
