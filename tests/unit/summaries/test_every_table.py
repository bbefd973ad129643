"""Each column of each table, in each accepted version, broken in turn, at write and at read."""

import io
import re

import polars as pl
import pytest
from every_table import CONTRACTS, faults, metadata, valid_row

from ihdsi.errors import InputError
from ihdsi.summaries import TABLES, read_table, read_table_bytes, validate_table, write_table
from ihdsi.summaries.table import (
    UNIT_OF_ROW,
    UNIT_OF_ROW_SQUARED,
    UNIT_OF_TERMS,
    Predecessor,
    TableSpec,
)

FAULTS = [
    pytest.param(key, column.name, wrong, id=f"{key}-{column.name}-{fault}")
    for key, spec in CONTRACTS.items()
    for column in spec.columns
    for fault, wrong in faults(column)
]
UPGRADED = [name for name, spec in TABLES.items() if spec.predecessor]


def file_of(frame, spec, version=None):
    stream = io.BytesIO()
    frame.write_parquet(stream, metadata=metadata(spec, version))
    return stream.getvalue()


@pytest.mark.parametrize("key", CONTRACTS)
def test_a_valid_row_is_accepted(key, tmp_path):
    spec = CONTRACTS[key]
    frame = valid_row(spec)
    read = read_table_bytes(file_of(frame, spec), spec.name, "t")
    assert read.schema == pl.Schema(TABLES[spec.name].schema)
    if spec is TABLES[spec.name]:
        write_table(frame, spec.name, tmp_path / "t.parquet")
        assert read_table(tmp_path / "t.parquet", spec.name).equals(frame)
        assert read.equals(frame)


@pytest.mark.parametrize(("key", "column", "wrong"), FAULTS)
def test_a_broken_column_is_refused(key, column, wrong, tmp_path):
    spec = CONTRACTS[key]
    bad = valid_row(spec).with_columns(wrong.alias(column))
    with pytest.raises(InputError) as at_read:
        read_table_bytes(file_of(bad, spec), spec.name, "t.parquet")
    assert column in {problem.column for problem in at_read.value.problems}
    if spec is TABLES[spec.name]:
        with pytest.raises(InputError) as at_write:
            write_table(bad, spec.name, tmp_path / "t.parquet")
        assert column in {problem.column for problem in at_write.value.problems}
        assert not (tmp_path / "t.parquet").exists()


@pytest.mark.parametrize("key", CONTRACTS)
def test_unknown_missing_and_misplaced_columns_are_refused(key, tmp_path):
    spec = CONTRACTS[key]
    good = valid_row(spec)
    for bad, message in (
        (good.with_columns(patient=pl.lit("P1")), "no such column"),
        (good.drop(good.columns[-1]), "missing"),
        (good.select(reversed(good.columns)), "out of order"),
    ):
        with pytest.raises(InputError, match=message):
            read_table_bytes(file_of(bad, spec), spec.name, "t")
        if spec is TABLES[spec.name]:
            with pytest.raises(InputError, match=message):
                write_table(bad, spec.name, tmp_path / "t.parquet")


@pytest.mark.parametrize("name", TABLES)
def test_only_this_version_and_the_one_before_are_accepted(name):
    spec = TABLES[name]
    oldest = spec.predecessor.spec.version if spec.predecessor else spec.version
    for version in (oldest - 1, spec.version + 1, f"0{spec.version}", f"{spec.version}.0", ""):
        with pytest.raises(InputError, match="expected"):
            read_table_bytes(file_of(valid_row(spec), spec, version), name, "t")
    assert spec.of_version(spec.version) is spec
    assert spec.of_version(oldest - 1) is spec.of_version(None) is None


def test_the_tables_at_version_2_have_a_version_1():
    assert [name for name, spec in TABLES.items() if spec.version > 1] == UPGRADED
    assert {"variant_frequencies", "gene_alterations", "mutation_burden", "qc_profile"} <= set(
        UPGRADED
    )


@pytest.mark.parametrize("name", UPGRADED)
def test_an_old_file_is_held_to_its_own_version(name):
    """Neither may columns of the new version stand in an old file, nor the other way round."""
    new, old = TABLES[name], TABLES[name].predecessor.spec
    if new.schema != old.schema:
        with pytest.raises(InputError, match="no such column"):
            read_table_bytes(file_of(valid_row(new), new, old.version), name, "t")
        with pytest.raises(InputError, match="missing"):
            read_table_bytes(file_of(valid_row(old), old, new.version), name, "t")
    for version in (old.version, new.version):
        frame = file_of(valid_row(new.of_version(version)), new, version)
        read_table_bytes(frame, name, "t", 1, version)
        with pytest.raises(InputError, match="expected"):
            read_table_bytes(frame, name, "t", 1, old.version + new.version - version)


def test_words_of_version_2_are_refused_in_version_1():
    for name, column, word in (
        ("gene_alterations", "alteration_class", "hotspot"),
        ("mutation_burden", "measure", "all_mutations"),
    ):
        old = TABLES[name].predecessor.spec
        bad = valid_row(old).with_columns(pl.lit(word).alias(column))
        with pytest.raises(InputError, match=column):
            read_table_bytes(file_of(bad, old), name, "t")


def test_old_rows_keep_their_numbers():
    def upgraded(name, **values):
        old = TABLES[name].predecessor.spec
        frame = valid_row(old).with_columns(
            pl.lit(number, dtype=old.schema[column]).alias(column)
            for column, number in values.items()
        )
        return read_table_bytes(file_of(frame, old), name, "t", 1, 1).row(0, named=True)

    variant = upgraded("variant_frequencies", n_samples_called=9, allele_number=18)
    assert (variant["n_samples_called"], variant["allele_number"]) == (9, 18)
    assert variant["population_frequency"] is variant["clinical_significance"] is None
    metric = upgraded("qc_profile", n_total=9, n_passed=7, n_failed=2)
    assert (metric["n_passed"], metric["n_warned"], metric["n_failed"]) == (7, None, 2)
    assert upgraded("mutation_burden", mean=3.5)["mean"] == 3.5
    assert upgraded("gene_alterations", n_assessed=9)["n_assessed"] == 9
    with pytest.raises(InputError, match="allele_number = 2"):
        upgraded("variant_frequencies", n_samples_called=9, allele_number=17)


def test_classes_whose_meaning_changed_are_not_pooled_with_the_new_ones():
    old = TABLES["gene_alterations"].predecessor.spec
    frame = pl.concat(
        valid_row(old).with_columns(alteration_class=pl.lit(name))
        for name in ("any", "missense", "truncating")
    )
    read = read_table_bytes(file_of(frame, old), "gene_alterations", "t", 3, 1)
    assert read["alteration_class"].to_list() == ["any"]


def test_a_predecessor_is_the_version_before():
    spec = TABLES["qc_profile"]
    with pytest.raises(ValueError, match="does not precede"):
        TableSpec(
            "qc_profile",
            3,
            "",
            spec.columns,
            spec.keys,
            predecessor=Predecessor(spec.predecessor.spec, lambda frame: frame, ""),
        )


def test_present_frames_are_held_to_the_present_version():
    old = TABLES["qc_profile"].predecessor.spec
    with pytest.raises(InputError, match="n_warned"):
        validate_table(valid_row(old), "qc_profile")


@pytest.mark.parametrize("key", CONTRACTS)
def test_every_column_has_a_description_and_every_number_a_unit(key):
    known = {UNIT_OF_ROW, UNIT_OF_ROW_SQUARED, UNIT_OF_TERMS}
    for column in CONTRACTS[key].columns:
        assert column.description.endswith("."), column.name
        if column.is_numeric:
            # A UCUM code has no blanks.
            assert column.unit in known or re.fullmatch(r"[^\s]+", column.unit), column.name
        else:
            assert not column.unit, column.name
    if any(column.unit.startswith(UNIT_OF_ROW) for column in CONTRACTS[key].columns):
        assert "unit" in CONTRACTS[key].schema
