"""The contract of the summary tables in words: for the command line and for docs/tables.md."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Sequence

import polars as pl

from ihdsi.disclosure.tables import REASONS, RULES
from ihdsi.errors import InputError, Problem
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.table import Column, TableSpec

__all__ = ["describe_table", "list_tables", "tables_document"]

_INTRODUCTION = """\
# Summary tables

<!-- Made by `ihdsi tables --markdown`; edit the tables' modules in src/ihdsi/summaries instead. -->

These tables are all that leaves a site. A bundle holds each of them once, empty where a site has
no data or where disclosure control lets nothing pass. Files are Parquet (zstd); their metadata name
the table (`ihdsi.table`) and its version (`ihdsi.table_version`).

A table is refused, when it is written and when it is read, if a column is unknown, missing, of
another type or out of order; if a value is null where it may not be, NaN, infinite, out of its
range, pattern or vocabulary; if two rows have the same key; or if a relation between columns does
not hold. Nothing is coerced. A reader accepts the present version of a table and, where this page
names one, the version before: such a file is checked against its own version and then upgraded.

Units are UCUM codes; `1` stands for counts, ratios and logarithms, text in braces says what is
counted. A stratum is a level of one of the study's stratum variables; `all` is the whole cohort.

A column's role tells disclosure control what it is:

| Role | Meaning |
| --- | --- |
| key | names a row in the words of the study |
| coordinate | names a place or an allele of the genome |
| label | describes the key, from public reference data |
| count | a number of patients, samples or alleles |
| statistic | computed from the values of several patients |
"""


def list_tables() -> str:
    """Return the registry as lines: name, version, keys and description of each table."""
    rows = [
        (spec.name, str(spec.version), ", ".join(spec.keys), spec.description)
        for spec in TABLES.values()
    ]
    return _aligned([("table", "version", "keys", "description"), *rows])


def describe_table(name: str) -> str:
    """Return one table's columns as lines.

    Raises
    ------
    InputError
        If there is no such table.
    """
    if name not in TABLES:
        raise InputError(
            Problem(
                f"'{name}' is not a summary table of this version",
                f"Known tables: {', '.join(TABLES)}.",
            )
        )
    spec = TABLES[name]
    header = ("column", "type", "role", "unit", "range", "nullable", "description")
    lines = [
        f"{spec.name}, version {spec.version}: {spec.description}",
        f"key: {', '.join(spec.keys)}",
        *(f"relation: {constraint.description}" for constraint in spec.constraints),
        *(
            [f"accepted as well: version {spec.predecessor.spec.version}"]
            if spec.predecessor
            else []
        ),
        "",
        _aligned([header, *(_cells(column) for column in spec.columns)]),
    ]
    return "\n".join(lines)


def tables_document() -> str:
    """Return the whole contract as Markdown (GitHub flavour): docs/tables.md."""
    contents = [
        f"| [{spec.name}](#{spec.name}) | {spec.version} | {_escaped(spec.description)} |"
        for spec in TABLES.values()
    ]
    parts = [
        _INTRODUCTION,
        "| Table | Version | Content |\n| --- | --- | --- |\n" + "\n".join(contents) + "\n",
        *(_section(spec) for spec in TABLES.values()),
        _rules(),
    ]
    return "\n".join(parts)


def _section(spec: TableSpec) -> str:
    header = ("Column", "Type", "Role", "Unit", "Range", "Null", "Meaning")
    rows = []
    for column in spec.columns:
        name, kind, role, unit, limits, nullable, meaning = _cells(column)
        limits = f"`{limits}`" if column.pattern is not None else limits
        rows.append((f"`{name}`", kind, role, unit, limits, nullable, meaning))
    parts = [
        f"## {spec.name}\n",
        f"Version {spec.version}. {spec.description}\n",
        f"Key: {_names(spec.keys)}.\n",
        _markdown_table(header, rows),
    ]
    if spec.constraints:
        lines = [f"- {_escaped(constraint.description)}" for constraint in spec.constraints]
        parts.append("Relations:\n\n" + "\n".join(lines) + "\n")
    if spec.predecessor is not None:
        parts.append(_previous(spec))
    rule = RULES.get(spec.name)
    text = inspect.getdoc(rule) if rule is not None else None
    parts.append(f"Disclosure control: {text or 'no rule, so that nothing of it leaves.'}\n")
    return "\n".join(parts)


def _previous(spec: TableSpec) -> str:
    """Say what the accepted version before was, and what becomes of it."""
    assert spec.predecessor is not None
    before = spec.predecessor.spec
    old = {column.name: column for column in before.columns}
    lacking = [column.name for column in spec.columns if column.name not in old]
    gone = [name for name in old if name not in spec.schema]
    changed = [
        f"`{column.name}` was {_range(old[column.name])}"
        for column in spec.columns
        if column.name in old and _range(old[column.name]) != _range(column)
    ]
    differences = [
        *([f"it lacks {_names(lacking)}"] if lacking else []),
        *([f"it has {_names(gone)}"] if gone else []),
        *changed,
    ]
    own = {c.description for c in before.constraints} - {c.description for c in spec.constraints}
    differences += sorted(own)
    words = "; ".join(_escaped(difference) for difference in differences)
    return (
        f"Version {before.version} is accepted as well: {words}. Upgrade: "
        f"{_escaped(spec.predecessor.description)}\n"
    )


def _rules() -> str:
    settings = [
        (
            f"`{name}`",
            str(field.default).lower()
            if isinstance(field.default, bool)
            else "—"
            if field.is_required()
            else str(field.default),
            field.description or "",
        )
        for name, field in DisclosureSettings.model_fields.items()
    ]
    return "\n".join(
        [
            "## Disclosure rules\n",
            "Thresholds of the study; a site may only be stricter.\n",
            _markdown_table(("Setting", "Default", "Meaning"), settings),
            "The log of a site names each withheld row with one of these rules; the bundle says "
            "by which rules\nrows of each table were withheld, and about how many (1 to 9, 10 to "
            "99, 100 to 999, 1,000 or more).\n",
            _markdown_table(
                ("Rule", "Meaning"), [(f"`{rule}`", text) for rule, text in REASONS.items()]
            ).rstrip("\n")
            + "\n",
        ]
    )


def _type(column: Column) -> str:
    names = {pl.String: "text", pl.Int64: "integer", pl.Float64: "float"}
    if isinstance(column.dtype, pl.List):
        return f"list of {names[column.dtype.inner]}"  # type: ignore[index]
    return names[column.dtype]


def _range(column: Column) -> str:
    if column.allowed:
        return ", ".join(column.allowed)
    if column.pattern is not None:
        return column.pattern
    limits = [
        *(["> 0"] if column.positive else []),
        *([f"≥ {column.minimum:g}"] if column.minimum is not None else []),
        *([f"≤ {column.maximum:g}"] if column.maximum is not None else []),
    ]
    return ", ".join(limits) or ("finite" if column.is_numeric else "any")


def _cells(column: Column) -> tuple[str, ...]:
    return (
        column.name,
        _type(column),
        column.role,
        column.unit,
        _range(column),
        "yes" if column.nullable else "no",
        column.description,
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _escaped(text: str) -> str:
    """Escape what Markdown would read as emphasis or as the border of a cell."""
    return text if text.startswith("`") else text.replace("*", r"\*").replace("|", r"\|")


def _cell(text: str) -> str:
    return text.replace("|", r"\|") if text.startswith("`") else _escaped(text)


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Set rows in columns; the last one is wrapped and not filled."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    # A long pattern or vocabulary must not push everything else off the screen.
    widths = [min(width, 34) for width in widths]
    lines = []
    for row in rows:
        cells = [
            textwrap.wrap(text, width, break_on_hyphens=False) or [""]
            for text, width in zip(row, [*widths, 60], strict=True)
        ]
        height = max(len(cell) for cell in cells)
        for line in range(height):
            shown = [cell[line] if line < len(cell) else "" for cell in cells]
            filled = [text.ljust(width) for text, width in zip(shown, widths, strict=False)]
            lines.append("  ".join([*filled, shown[-1]]).rstrip())
    return "\n".join(lines)
