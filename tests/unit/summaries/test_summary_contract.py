"""The contract of the tables: what is written and read fulfils it, everything else is refused."""

import subprocess
import sys

import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.summaries import TABLES, empty_table, read_table, validate_table, write_table


@pytest.fixture
def effects():
    return pl.DataFrame(
        {
            "contrast": ["a", "a"],
            "gene_id": ["ENSG00000000001", "ENSG00000000002"],
            "gene_name": ["G1", "G2"],
            "n_case": [20, 20],
            "n_control": [20, 20],
            "base_mean": [10.0, 20.0],
            "log2_fold_change": [1.0, None],
            "standard_error": [0.5, None],
            "statistic": [2.0, None],
            "p_value": [0.05, None],
        }
    )


def test_the_registry_is_light():
    code = (
        "import sys, ihdsi.summaries as s; assert len(s.TABLES) > 9;"
        "print([m for m in ('pandera', 'pandas', 'pydeseq2', 'scipy') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_whole_tables_are_written_and_read_without_pandera(effects, tmp_path):
    """It takes half a second to import, in each of a run's many jobs, and only faults need it."""
    effects.write_parquet(tmp_path / "plain.parquet")
    code = (
        "import sys, polars as pl; from ihdsi.summaries import read_table, write_table;"
        "write_table(pl.read_parquet('plain.parquet'), 'expression_effects', 't.parquet');"
        "assert read_table('t.parquet', 'expression_effects').height == 2;"
        "print('pandera' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize("name", TABLES)
def test_empty_tables_make_the_round_trip(name, tmp_path):
    path = tmp_path / "t.parquet"
    write_table(empty_table(name), name, path)
    assert read_table(path, name).schema == empty_table(name).schema
    metadata = pl.read_parquet_metadata(path)
    assert metadata["ihdsi.table"] == name
    assert metadata["ihdsi.table_version"] == str(TABLES[name].version)


@pytest.mark.parametrize("name", TABLES)
def test_every_column_says_what_it_may_disclose(name):
    roles = {"key", "coordinate", "label", "count", "statistic"}
    assert all(column.role in roles for column in TABLES[name].columns)
    assert set(TABLES[name].keys) <= set(TABLES[name].schema)


def test_round_trip_and_same_bytes(effects, tmp_path):
    for name in ("a", "b"):
        write_table(effects, "expression_effects", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_table(tmp_path / "a", "expression_effects").equals(effects)


@pytest.mark.parametrize(
    ("change", "column", "message"),
    [
        (pl.lit(1.0).alias("extra"), "extra", "no such column"),
        (pl.col("n_case").cast(pl.Int32), "n_case", "Int32"),
        (pl.lit(float("nan")).alias("base_mean"), "base_mean", "NaN"),
        (pl.lit(float("inf")).alias("log2_fold_change"), "log2_fold_change", "infinite"),
        (pl.lit(-1).cast(pl.Int64).alias("n_case"), "n_case", "below 0"),
        (pl.lit(1.5).alias("p_value"), "p_value", "above 1"),
        (pl.lit(0.0).alias("standard_error"), "standard_error", "not above 0"),
        (pl.lit("ENSG00000000001.4").alias("gene_id"), "gene_id", "does not match"),
        (pl.lit(None, dtype=pl.Int64).alias("n_case"), "n_case", "null"),
        (pl.lit("ENSG00000000001").alias("gene_id"), "contrast", "stands twice"),
        (pl.lit(None, dtype=pl.Float64).alias("log2_fold_change"), "standard_error", "together"),
    ],
)
def test_faults_are_refused_with_their_place(effects, tmp_path, change, column, message):
    bad = effects.with_columns(change)
    with pytest.raises(InputError, match=message) as caught:
        write_table(bad, "expression_effects", tmp_path / "t.parquet")
    assert column in {problem.column for problem in caught.value.problems}
    assert all(problem.remedy for problem in caught.value.problems)
    assert not (tmp_path / "t.parquet").exists()
    bad.write_parquet(
        tmp_path / "t.parquet",
        metadata={"ihdsi.table": "expression_effects", "ihdsi.table_version": "1"},
    )
    with pytest.raises(InputError, match=message) as caught:
        read_table(tmp_path / "t.parquet", "expression_effects")
    assert caught.value.problems[0].file == tmp_path / "t.parquet"


def test_the_first_bad_row_is_named(effects):
    bad = effects.with_columns(p_value=pl.Series([0.1, 7.0]))
    with pytest.raises(InputError) as caught:
        validate_table(bad, "expression_effects")
    assert caught.value.problems[0].row == 2


def test_missing_and_misplaced_columns(effects):
    with pytest.raises(InputError, match="missing"):
        validate_table(effects.drop("statistic"), "expression_effects")
    with pytest.raises(InputError, match="out of order"):
        validate_table(effects.select(reversed(effects.columns)), "expression_effects")


def test_other_tables_and_other_files_are_refused(effects, tmp_path):
    write_table(effects, "expression_effects", tmp_path / "t.parquet")
    with pytest.raises(InputError, match="expected 'survival_effects'"):
        read_table(tmp_path / "t.parquet", "survival_effects")
    effects.write_parquet(tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="says it is table None"):
        read_table(tmp_path / "plain.parquet", "expression_effects")
    (tmp_path / "junk.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(InputError, match="not readable"):
        read_table(tmp_path / "junk.parquet", "expression_effects")
    with pytest.raises(InputError, match="not a summary table"):
        empty_table("patients")


@pytest.mark.parametrize("xty", [[[1.0]], [[1.0, float("nan")]], [[1.0, None]]])
def test_lists_are_checked_inside(xty):
    frame = pl.DataFrame(
        {
            "contrast": ["a"],
            "gene_id": ["ENSG00000000001"],
            "gene_name": ["G"],
            "n": [20],
            "terms": [["intercept", "case"]],
            "xty": pl.Series(xty, dtype=pl.List(pl.Float64)),
            "yty": [1.0],
        }
    )
    with pytest.raises(InputError, match="xty"):
        validate_table(frame, "expression_moments")
