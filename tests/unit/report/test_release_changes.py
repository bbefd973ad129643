"""What changed between two releases is found by key, in every kind of column."""

import polars as pl
import pytest

from ihdsi.report.release_changes import CHANGE_COLUMNS, compare_tables
from ihdsi.summaries import TABLES

GENES = [f"ENSG{number:011d}" for number in range(6)]


def _alterations(altered, genes=GENES):
    return pl.DataFrame(
        {
            "gene_id": genes,
            "gene_name": [f"G{gene[-1]}" for gene in genes],
            "coding_length": [1000] * len(genes),
            "alteration_class": "any",
            "stratum_variable": "all",
            "stratum": "all",
            "n_assessed": 50,
            "n_altered": altered,
        },
        schema=TABLES["gene_alterations"].schema,
    )


def test_rows_are_matched_by_key_whatever_their_order():
    before = _alterations([10, 11, 12, 13, 14], GENES[:5])
    now = _alterations([10, 11, 15, 20, 30], GENES[1:])[::-1]
    # G1: 11 → 10, G2: 12 → 11, G3: 13 → 15, G4: 14 → 20; G0 gone, G5 new.
    found = compare_tables(TABLES["gene_alterations"], before, now)
    assert (found.added, found.removed, found.changed, found.unchanged) == (1, 1, 4, 0)
    assert found.smallest_count_change == 1
    rows = {row["gene_id"]: row for row in found.rows.iter_rows(named=True)}
    assert set(rows) == set(GENES)
    assert rows[GENES[4]]["values"] == "n_altered 14 → 20"
    assert rows[GENES[4]]["largest_relative_change"] == pytest.approx(30.0)
    assert rows[GENES[4]]["smallest_count_change"] == 6
    assert rows[GENES[5]]["change"] == "added"
    assert rows[GENES[5]]["values"] == "n_assessed 50; n_altered 30"
    assert rows[GENES[0]]["change"] == "removed"
    assert rows[GENES[0]]["values"] == "n_assessed 50; n_altered 10"
    assert found.rows["gene_id"][0] == GENES[4]  # the largest change comes first
    assert found.rows.columns == [
        *TABLES["gene_alterations"].keys,
        *(column.name for column in CHANGE_COLUMNS),
    ]


@pytest.mark.parametrize("name", list(TABLES))
def test_no_table_differs_from_itself(name):
    empty = pl.DataFrame(schema=TABLES[name].schema)
    found = compare_tables(TABLES[name], empty, empty)
    assert not found.any
    assert found.unchanged == 0


def test_null_keys_and_null_values_are_equal_to_themselves():
    spec = TABLES["cohort_profile"]
    row = {"variable": "age", "kind": "moments", "stratum_variable": "all", "stratum": "all"} | {
        "n": 20,
        "n_total": 20,
        "mean": 60.0,
    }
    frame = pl.DataFrame([row], schema=spec.schema)
    assert compare_tables(spec, frame, frame).unchanged == 1
    given = frame.with_columns(standard_deviation=pl.lit(7.5))
    found = compare_tables(spec, frame, given)
    assert (found.changed, found.added, found.removed) == (1, 0, 0)
    assert found.rows["values"].to_list() == ["standard_deviation none → 7.5"]
    # Nothing that was there before changed in size.
    assert found.smallest_count_change is None
    assert found.rows["largest_relative_change"].to_list() == [None]


def test_lists_are_compared_whole():
    spec = TABLES["expression_moments"]
    row = {"contrast": "c", "gene_id": GENES[0], "gene_name": "G0", "n": 20, "yty": 3.0}
    before = pl.DataFrame([row | {"terms": ["a", "b"], "xty": [1.0, 2.0]}], schema=spec.schema)
    now = pl.DataFrame([row | {"terms": ["a", "b"], "xty": [1.0, -2.5]}], schema=spec.schema)
    assert compare_tables(spec, before, before).unchanged == 1
    found = compare_tables(spec, before, now)
    assert found.rows["values"].to_list() == ["xty 1.0, 2.0 → 1.0, -2.5"]


def test_from_zero_is_the_whole_of_it():
    before = _alterations([0], GENES[:1])
    found = compare_tables(TABLES["gene_alterations"], before, _alterations([9], GENES[:1]))
    assert found.rows["largest_relative_change"].to_list() == [100.0]
    assert found.rows["smallest_count_change"].to_list() == [9]
