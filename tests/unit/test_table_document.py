"""The contract in words: it is current, and leaves no column, unit, range or rule out."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ihdsi.cli import app
from ihdsi.disclosure.tables import REASONS
from ihdsi.study import DisclosureSettings
from ihdsi.summaries import TABLES

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"


def answer(*arguments, code=0):
    result = CliRunner().invoke(app, ["tables", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def section(text, name):
    return text.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]


def test_the_page_is_current():
    # Not part of the assertion, whose difference would fill the screen.
    current = answer("--markdown") == PAGE.read_text(encoding="utf-8")
    assert current, "run: ihdsi tables --markdown > docs/tables.md"


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_a_row_for_every_column(name):
    rows = [
        [cell.strip() for cell in line.replace(r"\|", "¦").strip("|").split("|")]
        for line in section(PAGE.read_text(encoding="utf-8"), name).splitlines()
        if line.startswith("| `")
    ]
    spec = TABLES[name]
    assert [row[0].strip("`") for row in rows] == list(spec.schema)
    for row, column in zip(rows, spec.columns, strict=True):
        assert len(row) == 7
        _, kind, role, unit, limits, null, _ = row
        assert role == column.role
        assert unit == column.unit
        assert (null == "yes") == column.nullable
        assert ("list" in kind) == str(column.dtype).startswith("List")
        if column.minimum is not None:
            assert f"≥ {column.minimum:g}" in limits
        if column.maximum is not None:
            assert f"≤ {column.maximum:g}" in limits
        if column.positive:
            assert "> 0" in limits
        assert all(word in limits for word in column.allowed)


@pytest.mark.parametrize("name", TABLES)
def test_the_page_says_which_version_is_accepted_and_which_rules_apply(name):
    text = section(PAGE.read_text(encoding="utf-8"), name)
    spec = TABLES[name]
    assert f"\nVersion {spec.version}. " in text
    before = f"Version {spec.version - 1} is accepted as well"
    assert (before in text) == (spec.predecessor is not None)
    assert "Disclosure control: " in text
    assert "no rule" not in text


def test_the_page_has_every_threshold_and_reason():
    text = section(PAGE.read_text(encoding="utf-8"), "Disclosure rules")
    for name in [*DisclosureSettings.model_fields, *REASONS]:
        assert f"| `{name}` |" in text


def test_the_command_lists_tables_and_columns():
    listed = answer()
    for name, spec in TABLES.items():
        assert any(line.split()[:2] == [name, str(spec.version)] for line in listed.splitlines())
        shown = answer(name)
        first = [line.split()[0] for line in shown.splitlines() if line and line[0] != " "]
        assert [word for word in first if word in spec.schema] == list(spec.schema)
    assert "Int64" not in listed


def test_what_is_no_table_is_an_error_in_words():
    result = CliRunner().invoke(app, ["tables", "patients"])
    assert result.exit_code == 1
    assert "Known tables: cohort_profile" in result.stderr
    assert CliRunner().invoke(app, ["tables", "qc_profile", "--markdown"]).exit_code == 1
