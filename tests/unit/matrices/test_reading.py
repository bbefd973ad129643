"""Matrices as sites write them: every form gives the same values, every fault its cell."""

import gzip
import math

import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.matrices.reading import matrix_columns, read_matrix
from ihdsi.matrices.scales import beta_to_m
from ihdsi.study import MatrixSettings

PATIENTS = {"S2": "p2", "S1": "p1"}
TABLE = pl.DataFrame(
    {
        "accession": ["P1", "P2", "P3"],
        "name": ["one", None, "three"],
        "gene": ["ENSG00000000001.7", "TP53", None],
        "S1": [8.0, None, 2.0],
        "S2": [16.0, 4.0, None],
        "S3": [1.0, 1.0, 1.0],
    }
)


def settings(**changes):
    return MatrixSettings(
        **{"feature": "accession", "feature_name": "name", "gene_id": "gene", "unit": "ug/L"}
        | changes
    )


def write(path, table=TABLE):
    if path.suffix == ".parquet":
        table.write_parquet(path)
        return path
    text = table.write_csv(separator="," if ".csv" in path.suffixes else "\t", null_value="NA")
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["m.tsv", "m.tsv.gz", "m.csv", "m.csv.gz", "m.parquet"])
def test_every_form_gives_the_same_values(tmp_path, name):
    path = write(tmp_path / name)
    assert matrix_columns(path) == TABLE.columns
    assert read_matrix(path, settings(), PATIENTS).equals(
        pl.DataFrame(
            {
                "feature": ["P1", "P2", "P3"],
                "feature_name": ["one", None, "three"],
                "gene_id": ["ENSG00000000001", None, None],
                "p2": [16.0, 4.0, None],
                "p1": [8.0, None, 2.0],
            }
        )
    )


def test_labels_are_optional_and_logarithms_are_taken(tmp_path):
    only = settings(feature_name=None, gene_id=None, transform="log2")
    found = read_matrix(write(tmp_path / "m.tsv"), only, PATIENTS)
    assert found["feature_name"].to_list() == found["gene_id"].to_list() == [None] * 3
    assert found["p1"].to_list() == [3.0, None, 1.0]
    assert only.modelled_unit == "log2(ug/L)"


@pytest.mark.parametrize("name", ["m.tsv", "m.parquet"])
@pytest.mark.parametrize("value", [0.0, -1.5])
def test_what_has_no_logarithm_is_refused_or_missing(tmp_path, name, value):
    path = write(tmp_path / name, TABLE.with_columns(S2=pl.Series([16.0, value, None])))
    with pytest.raises(InputError, match="no place on the scale") as caught:
        read_matrix(path, settings(transform="log2"), PATIENTS)
    (problem,) = caught.value.problems
    assert (problem.file, problem.column) == (path, "S2")
    assert problem.row == (3 if name == "m.tsv" else 2)
    kept = read_matrix(path, settings(transform="log2", nonpositive="missing"), PATIENTS)
    assert kept["p2"].to_list() == [4.0, None, None]


def test_infinite_values_are_refused_on_any_scale(tmp_path):
    path = write(tmp_path / "m.tsv", TABLE.with_columns(S1=pl.Series([1.0, math.inf, 2.0])))
    with pytest.raises(InputError, match="inf has no place") as caught:
        read_matrix(path, settings(), PATIENTS)
    assert caught.value.problems[0].row == 3


def test_beta_values_become_m_values(tmp_path):
    """M of Du et al. 2010: 0 at one half, odd about it, and bounded by the clip."""
    beta = pl.Series([0.5, 0.8, 0.2, 0.0, 1.0])
    m = pl.DataFrame({"b": beta}).select(beta_to_m(pl.col("b"), 0.001)).to_series().to_numpy()
    np.testing.assert_allclose(m, [0, 2, -2, math.log2(0.001 / 0.999), math.log2(999)], atol=1e-12)
    table = TABLE.with_columns(S1=pl.Series([0.8, None, 1.02]), S2=0.5)
    methylation = settings(unit="1", transform="m_value")
    with pytest.raises(InputError, match=r"1\.02 has no place"):
        read_matrix(write(tmp_path / "m.tsv", table), methylation, PATIENTS)
    assert methylation.modelled_unit == "M value"
    with pytest.raises(ValueError, match='unit: "1"'):
        settings(transform="m_value")


@pytest.mark.parametrize("written", ["1,5", "high", "1.5 "])
def test_what_is_no_number_is_named_by_its_cell(tmp_path, written):
    path = tmp_path / "m.tsv"
    path.write_text(f"accession\tname\tgene\tS1\tS2\nP1\t\t\t1\t2\nP2\t\t\t3\t{written}\n")
    with pytest.raises(InputError, match="is not a number") as caught:
        read_matrix(path, settings(), PATIENTS)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.column) == (path, 3, "S2")
    assert f"'{written}'" in problem.what


def test_columns_of_parquet_need_numbers(tmp_path):
    path = write(tmp_path / "m.parquet", TABLE.with_columns(S1=pl.lit(value=True)))
    with pytest.raises(InputError, match="holds Boolean"):
        read_matrix(path, settings(), PATIENTS)
    text = write(tmp_path / "t.parquet", TABLE.with_columns(S1=pl.Series(["1.5", "NA", "x"])))
    with pytest.raises(InputError, match="'x' is not a number") as caught:
        read_matrix(text, settings(), PATIENTS)
    assert caught.value.problems[0].row == 3


def test_other_codes_for_missing(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text("accession\tname\tgene\tS1\tS2\nP1\t\t\t-\tNaN\nP2\t\t\t2\t3\n")
    with pytest.raises(InputError, match="'-' is not a number"):
        read_matrix(path, settings(), PATIENTS)
    found = read_matrix(path, settings(missing=("", "-")), PATIENTS)
    assert found["p1"].to_list() == [None, 2.0]
    assert found["p2"].to_list() == [None, 3.0]  # a number's own word for no number


@pytest.mark.parametrize(
    ("features", "what", "row"),
    [
        (["P1", "P2", "P1"], "'P1' occurs twice", 4),
        (["P1", None, "P3"], "'' cannot identify", 3),
        (["lactic acid", "P2", "P3"], "'lactic acid' cannot identify", 2),
        (["P1", "P2", "é"], "'é' cannot identify", 4),
    ],
)
def test_features_need_one_identifier_each(tmp_path, features, what, row):
    path = write(tmp_path / "m.tsv", TABLE.with_columns(accession=pl.Series(features)))
    with pytest.raises(InputError, match=what) as caught:
        read_matrix(path, settings(), PATIENTS)
    (problem,) = caught.value.problems
    assert (problem.row, problem.column) == (row, "accession")


def test_columns_that_are_absent_or_repeated(tmp_path):
    path = write(tmp_path / "m.tsv", TABLE.drop("name", "S2"))
    with pytest.raises(InputError) as caught:
        read_matrix(path, settings(), PATIENTS)
    assert [p.column for p in caught.value.problems] == ["name", "S2"]
    twice = tmp_path / "twice.tsv"
    twice.write_text("accession\tname\tgene\tS1\tS2\tS1\nP1\t\t\t1\t2\t3\n")
    with pytest.raises(InputError, match="'S1': the column occurs twice"):
        read_matrix(twice, settings(), PATIENTS)


@pytest.mark.parametrize("name", ["m.tsv", "m.parquet", "m.tsv.gz"])
def test_files_that_cannot_be_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\xff\xfe\x00 no such file")
    with pytest.raises(InputError, match="cannot be read"):
        read_matrix(path, settings(), PATIENTS)
    with pytest.raises(InputError, match="cannot be read"):
        read_matrix(tmp_path / f"absent.{name}", settings(), PATIENTS)


@pytest.mark.parametrize("name", ["m.tsv", "m.tsv.gz", "m.csv"])
@pytest.mark.parametrize(
    ("row", "n_fields"), [("P1,,,1", 4), ("P1,,,1,2,3,4", 7), ("P1", 1), ('"P1,x",,,1', 4)]
)
def test_ragged_rows_are_refused(tmp_path, name, row, n_fields):
    text = f'accession,name,gene,S1,S2\nP0,"a, b",,1,2\n{row}\nP2,,,1,2\n'
    if ".tsv" in name:
        text = text.replace(", ", "; ").replace(",", "\t")
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    # Fewer or more fields than the header, in columns that are read and in others.
    for patients in (PATIENTS, {"S1": "p1"}):
        with pytest.raises(InputError) as caught:
            read_matrix(path, settings(), patients)
        (problem,) = caught.value.problems
        assert (problem.file, problem.row) == (path, 3)
        assert problem.what == f"the row has {n_fields} fields where the header has 5"


def test_one_error_says_how_many_rows_are_short(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text("accession\tname\tgene\tS1\tS2\n" + "P\t\t\t1\n" * 9)
    with pytest.raises(InputError, match="8 further rows are faulty") as caught:
        read_matrix(path, settings(), PATIENTS)
    assert len(caught.value.problems) == 1


def test_quotes_that_do_not_close_are_placed(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text('accession\tname\tgene\tS1\tS2\nP1\t"a\nb"\t\t1\t2\n')
    with pytest.raises(InputError, match="not closed properly") as caught:
        read_matrix(path, settings(), PATIENTS)
    assert caught.value.problems[0].row == 2


@pytest.mark.parametrize(("name", "separator"), [("m.tsv", "\t"), ("m.csv", ",")])
def test_headers_with_a_byte_order_mark_and_quoted_separators(tmp_path, name, separator):
    path = tmp_path / name
    sample = f"S{separator}1"
    header = separator.join(["accession", "name", "gene", f'"{sample}"', '"S2"'])
    row = separator.join(["P1", "one", "", "8", "16"])
    path.write_bytes(f"\ufeff{header}\r\n{row}\r\n".encode())
    assert matrix_columns(path) == ["accession", "name", "gene", sample, "S2"]
    found = read_matrix(path, settings(), {sample: "p1", "S2": "p2"})
    assert found.row(0) == ("P1", "one", None, 8.0, 16.0)


def test_columns_of_no_sample_of_the_sheet_are_named(tmp_path, caplog):
    path = write(tmp_path / "m.tsv")
    read_matrix(path, settings(), PATIENTS)
    assert "1 columns are of no sample of the sheet and are not read: S3" in caplog.text
    caplog.clear()
    read_matrix(path, settings(), PATIENTS | {"S3": "p3"})
    assert "no sample of the sheet" not in caplog.text
