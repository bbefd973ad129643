"""Read and write summary tables: validated, with their name and version in the file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from ihdsi.errors import InputError, Problem
from ihdsi.files import atomic_output
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.table import Column, TableSpec

__all__ = [
    "check_table_footer",
    "empty_table",
    "read_table",
    "read_table_bytes",
    "validate_table",
    "write_table",
]

_REMEDY = "Rebuild the table with this version of the pipeline; nothing is coerced."
#: Any failure of the parser on foreign bytes means the same to the user; polars' panics are not
#: derived from Exception.
_UNREADABLE = (Exception, pl.exceptions.PanicException)


def empty_table(name: str) -> pl.DataFrame:
    """Return the summary table `name` without rows."""
    return pl.DataFrame(schema=_spec(name).schema)


def write_table(frame: pl.DataFrame, name: str, path: Path | str) -> None:
    """Validate a summary table and write it as zstd Parquet, atomically.

    The file's key-value metadata hold ``ihdsi.table`` and ``ihdsi.table_version``. The same frame
    gives the same bytes.

    Raises
    ------
    InputError
        If the frame does not fulfil the contract of `name`.
    """
    spec = _spec(name)
    validate_table(frame, name, path)
    with atomic_output(path) as temporary:
        frame.write_parquet(
            temporary,
            compression="zstd",
            metadata={"ihdsi.table": name, "ihdsi.table_version": str(spec.version)},
        )


def read_table(path: Path | str, name: str) -> pl.DataFrame:
    """Read a summary table and validate it.

    Raises
    ------
    InputError
        If the file is not Parquet, holds another table, a version that is neither the present one
        nor the one before, or does not fulfil the contract of its version.
    """
    return read_table_bytes(Path(path).read_bytes(), name, path)


def read_table_bytes(
    data: bytes,
    name: str,
    path: Path | str,
    rows: int | None = None,
    version: int | None = None,
) -> pl.DataFrame:
    """Read a summary table from the bytes of its file; `path` is for messages only.

    Parameters
    ----------
    data
        The whole file.
    name
        The table that it must be.
    rows
        Refuse a file of another number of rows; one whose footer announces more is refused before
        any column is unpacked.
    version
        Refuse a file of another version; without it, the table's version and the one before it
        are accepted.

    Returns
    -------
    polars.DataFrame
        The table in its present version. A file of the version before is validated against that
        version's contract first, and the upgraded table against the present one.

    Raises
    ------
    InputError
        As `read_table`.
    """
    spec = _spec(name)
    written = check_table_footer(data, name, path, rows, version)
    try:
        frame = pl.read_parquet(io.BytesIO(data), use_statistics=False)
    except _UNREADABLE as error:
        raise InputError(
            Problem("the file's columns cannot be read", "Transfer it again.", file=path)
        ) from error
    if rows is not None and frame.height != rows:
        raise InputError(
            Problem(
                f"the file holds {frame.height} rows, {rows} are expected",
                "Release the bundle again.",
                file=path,
            )
        )
    _validate(frame, written, path)
    if written is not spec and spec.predecessor is not None:
        frame = spec.predecessor.upgrade(frame)
        _validate(frame, spec, path)
    return frame


def check_table_footer(
    data: bytes,
    name: str,
    path: Path | str,
    rows: int | None = None,
    version: int | None = None,
) -> TableSpec:
    """Do what `read_table_bytes` does before any column is unpacked; parameters are the same.

    Returns
    -------
    TableSpec
        The contract that the file says it follows.

    Raises
    ------
    InputError
        If the footer is unreadable, of another table or version, or announces other columns or
        more rows.
    """
    spec = _spec(name)
    try:
        metadata = pl.read_parquet_metadata(io.BytesIO(data))
        schema = pl.read_parquet_schema(io.BytesIO(data))
        announced = pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect().item()
    except _UNREADABLE as error:
        raise InputError(
            Problem(
                "the file is not readable Parquet",
                "Transfer it again, or rebuild it.",
                file=path,
            )
        ) from error
    written = _written_spec(metadata, spec, version, path)
    if rows is not None and announced > rows:
        raise InputError(
            Problem(
                f"the file holds {announced} rows, more than the {rows} that are expected",
                "Release the bundle again.",
                file=path,
            )
        )
    _check_schema(dict(schema), written, path)
    return written


def _written_spec(
    metadata: dict[str, str], spec: TableSpec, version: int | None, path: Path | str
) -> TableSpec:
    """Return the contract that the file says it follows, if a reader of `spec` accepts it."""
    found = (metadata.get("ihdsi.table"), metadata.get("ihdsi.table_version"))
    before = [] if spec.predecessor is None else [spec.predecessor.spec]
    accepted = [s for s in (spec, *before) if version is None or s.version == version]
    for written in accepted:
        if found == (written.name, str(written.version)):
            return written
    versions = " or ".join(repr(str(written.version)) for written in accepted) or repr(version)
    raise InputError(
        Problem(
            f"the file says it is table {found[0]!r} version {found[1]!r}; expected "
            f"{spec.name!r} version {versions}",
            _REMEDY,
            file=path,
        )
    )


def validate_table(frame: pl.DataFrame, name: str, path: Path | str | None = None) -> None:
    """Check a frame against the contract of a summary table.

    Parameters
    ----------
    frame
        The table; exactly the contract's columns in the contract's order and types.
    name
        Name in `TABLES`.
    path
        File for the error message; the table's name if it is not given.

    Raises
    ------
    InputError
        With one problem a column: unknown, missing or mistyped columns; null, NaN or infinite
        values, values out of range or vocabulary; repeated keys; broken relations between columns.
        `row` counts the table's rows from 1.
    """
    _validate(frame, _spec(name), path if path is not None else name)


def _validate(frame: pl.DataFrame, spec: TableSpec, path: Path | str) -> None:
    _check_schema(dict(frame.schema), spec, path)
    problems = _model_problems(frame, spec, path)
    if not problems:
        problems = _row_problems(frame, spec, path)
    if problems:
        raise InputError(problems)


def _spec(name: str) -> TableSpec:
    if name not in TABLES:
        raise InputError(
            Problem(
                f"'{name}' is not a summary table of this version",
                f"Known tables: {', '.join(TABLES)}.",
            )
        )
    return TABLES[name]


def _check_schema(found: dict[str, Any], spec: TableSpec, path: Path | str) -> None:
    expected = spec.schema
    problems = [
        Problem(f"table {spec.name} has no such column", _REMEDY, path, column=column)
        for column in found
        if column not in expected
    ]
    problems += [
        Problem("this column is missing", _REMEDY, path, column=column)
        for column in expected
        if column not in found
    ]
    problems += [
        Problem(f"the type is {found[column]}, expected {dtype}", _REMEDY, path, column=column)
        for column, dtype in expected.items()
        if column in found and found[column] != dtype
    ]
    if not problems and list(found) != list(expected):
        problems.append(
            Problem(f"the columns are out of order; expected {', '.join(expected)}", _REMEDY, path)
        )
    if problems:
        raise InputError(problems)


@dataclass(frozen=True)
class _Rule:
    """What every value of a column fulfils (null counts as fulfilled), and how it is told."""

    holds: pl.Expr
    description: str


def _rules_of(column: Column) -> list[_Rule]:
    value = pl.col(column.name)
    rules = []
    if column.dtype == pl.Float64:
        rules.append(_Rule(value.is_finite(), "NaN or infinite value"))
    if column.dtype == pl.List(pl.Float64):
        finite = pl.element().is_finite().fill_null(value=False)
        rules.append(
            _Rule(value.list.eval(finite).list.all(), "null, NaN or infinite element"),
        )
    if column.minimum is not None:
        rules.append(_Rule(value >= column.minimum, f"value below {column.minimum:g}"))
    if column.maximum is not None:
        rules.append(_Rule(value <= column.maximum, f"value above {column.maximum:g}"))
    if column.positive:
        rules.append(_Rule(value > 0, "value not above 0"))
    if column.pattern is not None:
        # Anchored at the start, as patterns of the contract are meant.
        pattern = "^" + column.pattern.removeprefix("^")
        rules.append(
            _Rule(value.str.contains(pattern), f"value does not match {column.pattern}"),
        )
    if column.allowed:
        allowed = ", ".join(column.allowed)
        rules.append(_Rule(value.is_in(list(column.allowed)), f"value not among {allowed}"))
    return rules


@cache
def _model(spec: TableSpec) -> Any:  # noqa: ANN401 - pandera is untyped
    """Build the strict pandera model of a table, on first use because pandera imports slowly."""
    from pandera.polars import Check, DataFrameSchema
    from pandera.polars import Column as ModelColumn

    def check(rule: _Rule) -> Check:
        return Check(lambda data: data.lazyframe.select(rule.holds), error=rule.description)

    return DataFrameSchema(
        {
            column.name: ModelColumn(
                column.dtype,
                checks=[check(rule) for rule in _rules_of(column)],
                nullable=column.nullable,
            )
            for column in spec.columns
        },
        strict=True,
        ordered=True,
        name=spec.name,
    )


@cache
def _every_rule(spec: TableSpec) -> tuple[pl.Expr, ...]:
    """One truth value for all that the model of a table asks beyond names, order and types."""
    complete = [~pl.col(c.name).has_nulls() for c in spec.columns if not c.nullable]
    rules = [rule.holds.all() for column in spec.columns for rule in _rules_of(column)]
    return tuple(expression.alias(str(n)) for n, expression in enumerate([*complete, *rules]))


def _model_problems(frame: pl.DataFrame, spec: TableSpec, path: Path | str) -> list[Problem]:
    # Nearly every table is whole. One pass tells, and spares each job the half second of
    # importing pandera, which says what is wrong, and where, of a table that is not.
    if all(frame.select(_every_rule(spec)).row(0)):
        return []

    from pandera.errors import SchemaErrors

    try:
        _model(spec).validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases.select(
            column=pl.col("column").cast(pl.String),
            check=pl.col("check").cast(pl.String),
            index=pl.col("index").cast(pl.Int64),
        )
        first = cases.group_by("column", "check", maintain_order=True).agg(
            pl.col("index").min(), n=pl.len()
        )
        return [
            Problem(
                f"{'null value' if check == 'not_nullable' else check} ({n} in all)",
                _REMEDY,
                path,
                row=None if index is None else index + 1,
                column=column,
            )
            for column, check, index, n in first.iter_rows()
        ]
    return []


def _row_problems(frame: pl.DataFrame, spec: TableSpec, path: Path | str) -> list[Problem]:
    problems = []
    repeated = frame.select(spec.keys).is_duplicated().arg_true()
    if repeated.len():
        problems.append(
            Problem(
                f"a row with this key stands twice (key: {', '.join(spec.keys)}; "
                f"{repeated.len()} rows in all)",
                _REMEDY,
                path,
                row=int(repeated[0]) + 1,
                column=spec.keys[0],
            )
        )
    for constraint in spec.constraints:
        broken = frame.select(~constraint.holds().fill_null(value=True)).to_series().arg_true()
        if broken.len():
            problems.append(
                Problem(
                    f"{constraint.description} does not hold ({broken.len()} in all)",
                    _REMEDY,
                    path,
                    row=int(broken[0]) + 1,
                    column=constraint.column,
                )
            )
    return problems
