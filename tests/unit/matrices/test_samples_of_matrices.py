"""Samples of matrices in the sheet: what is refused, and what the cohort knows of them."""

import gzip

import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.given_files import faults_of_given_files
from ihdsi.sheet_description import describe_cohort, outline_cohort
from ihdsi.sheets import read_cohort
from ihdsi.study import MatrixSettings, Site

PROTEIN = MatrixSettings(feature="id", unit="1")
COLUMNS = ("patient", "sample", "tissue", "assay", "counts", "matrix", "matrix_sample")


def row(patient, letter="P", assay="protein", tissue="tumour", **values):
    given = {} if "counts" in values else {"matrix": "m.tsv"}
    return (
        {"patient": patient, "sample": f"{patient}-{letter}", "tissue": tissue, "assay": assay}
        | given
        | values
    )


@pytest.fixture
def read(folder, tiny_study):
    """Read a sheet of these rows beside two matrices of samples A, B and C."""
    (folder / "m.tsv").write_text("id\tP1-P\tP2-P\tA\tB\n")
    with gzip.open("m.csv.gz", "wt") as target:
        target.write('"id","A","B"\n')
    pl.DataFrame({"id": ["x"], "A": [1.0]}).write_parquet("m.parquet")

    def cohort_of(*rows, settings=PROTEIN, assays=("protein", "metabolite"), **site):
        lines = ["\t".join(COLUMNS)]
        lines += ["\t".join(given.get(column, "") for column in COLUMNS) for given in rows]
        (folder / "samples.tsv").write_text("\n".join(lines) + "\n")
        study = tiny_study.model_copy(update={"matrices": dict.fromkeys(assays, settings)})
        described = {"site": "alpha", "title": "Alpha", "country": "LU", "study": "tiny"}
        described |= {"study_version": "1.0", "samples": "samples.tsv"}
        return read_cohort(Site(**described | site), study)

    return cohort_of


def test_what_a_cohort_knows(read):
    cohort = read(
        row("P1"),
        row("P2", matrix="m.csv.gz", matrix_sample="A"),
        row("P3", matrix="m.csv.gz", matrix_sample="B"),
        row("P2", "M", "metabolite", matrix="m.parquet", matrix_sample="A"),
        row("P1", "N", tissue="normal", matrix_sample="B"),
        clinical="clinical.tsv",
        codebook="codebook.yaml",
    )
    assert faults_of_given_files(cohort) == []
    assert cohort.matrix_assays == ("protein", "metabolite")
    protein = {
        first: {s.name_in_file: s.patient for s in samples}
        for first, samples in cohort.matrices("protein").items()
    }
    assert protein == {"P1": {"P1-P": "P1"}, "P2": {"A": "P2", "B": "P3"}}
    assert not cohort.matrices("methylation")
    assert cohort.sample_of("tumour_metabolite") == {"P2": "P2-M"}
    assert {"matrix_design", "matrix_moments"} <= set(cohort.summary_tables)
    assert cohort.is_measured
    text = describe_cohort(cohort)
    assert "protein from matrices: 3; metabolite from matrices: 1; skipped: 1" in text
    assert "P2-P: tumour protein from matrix m.csv.gz, there named A → values taken" in text
    assert "P1-N skipped: values of normal tissue take no part" in text
    assert "2 patients" not in outline_cohort(cohort)  # each patient has other samples


def test_a_site_without_matrices_is_as_before(read, folder):
    (folder / "c.tsv").write_text("gene_id\tP1-R\n")
    cohort = read(row("P1", "R", "rna", counts="c.tsv"), clinical="c", codebook="c")
    assert cohort.matrix_assays == ()
    assert not {"matrix_design", "matrix_moments"} & set(cohort.summary_tables)
    assert "matrices" not in describe_cohort(cohort).replace("count matrices", "")


def refused(read, *rows, **changes):
    with pytest.raises(InputError) as caught:
        read(*rows, **changes)
    return [(p.row, p.column, p.what) for p in caught.value.problems]


@pytest.mark.parametrize(
    ("rows", "column", "text"),
    [
        ([row("P1", assay="methylation")], "assay", "says nothing of methylation matrices"),
        ([row("P1", matrix="m.xlsx")], "matrix", "does not tell what kind of file"),
        ([row("P1", assay="dna")], "matrix", "a dna sample cannot enter as matrix"),
        ([row("P1", counts="m.tsv", matrix="m.tsv")], "matrix", "2 entry points"),
        ([row("P1", matrix="")], "matrix", "no entry point"),
        ([row("P1", matrix="absent.tsv")], "matrix", "absent.tsv does not exist"),
        ([row("P1"), row("P2", matrix_sample="P1-P")], "matrix", "already read as sample 'P1-P'"),
        ([row("P1"), row("P1", "Q", matrix_sample="A")], "sample", "two tumour protein samples"),
    ],
)
def test_faults_of_the_sheet(read, folder, rows, column, text):
    (folder / "m.xlsx").touch()
    (found,) = refused(read, *rows)
    assert found[:2] == (len(rows) + 1, column)
    assert text in found[2]


@pytest.mark.parametrize("matrix", ["m.tsv", "m.csv.gz", "m.parquet"])
def test_samples_that_the_matrix_lacks(read, matrix):
    cohort = read(row("P7", matrix=matrix), row("P8", matrix=matrix, matrix_sample="A"))
    (problem,) = faults_of_given_files(cohort)
    assert (problem.row, problem.column) == (2, "matrix_sample")
    assert f"{matrix} holds no sample 'P7-P'" in problem.what


def test_matrices_that_cannot_be_read(read, folder):
    (folder / "m.parquet").write_bytes(b"PAR1 and no more")
    (problem,) = faults_of_given_files(read(row("P1", matrix="m.parquet")))
    assert (problem.row, problem.column) == (2, "matrix")
    assert "cannot be read" in problem.what


def test_plates_that_the_study_asks_for(read, folder):
    plated = PROTEIN.model_copy(update={"covariates": ("plate",)})
    (lacking,) = refused(read, row("P1"), settings=plated)
    assert lacking[:2] == (2, "matrix")
    assert "the site file names no table" in lacking[2]
    (folder / "plates.tsv").write_text("sample\tplate\nP1-P\ta\n")
    refusals = refused(read, row("P1"), row("P2"), settings=plated, plates="plates.tsv")
    assert refusals == [(None, "sample", "sample 'P2-P' is missing")]
    assert read(row("P1"), settings=plated, plates="plates.tsv").matrix_assays == ("protein",)
    # A normal takes no part, so that nobody needs to know its plate.
    normal = row("P2", tissue="normal")
    assert read(row("P1"), normal, settings=plated, plates="plates.tsv").matrices("protein")
