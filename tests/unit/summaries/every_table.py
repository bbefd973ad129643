"""A valid row of each summary table, and what is wrong with a column that breaks its contract."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from ihdsi.summaries import TABLES, Column, TableSpec

#: Every contract that readers know: the present versions and the ones before.
CONTRACTS = {
    f"{spec.name}-{spec.version}": spec
    for table in TABLES.values()
    for spec in (table, *([table.predecessor.spec] if table.predecessor else []))
}
#: Values that patterns and relations between columns ask for.
VALUES: dict[str, Any] = {
    "chromosome": "chr1",
    "reference_allele": "A",
    "alternate_allele": "T",
    "allele_number": 2,
    "n_at_risk": 2,
    "gene_id": "ENSG00000000001",
    "measure": "nonsynonymous_mutations",
    "bin_upper": 2.0,
    "level": "a",
}
WRONG_TYPE = {
    pl.String: pl.lit(1, dtype=pl.Int64),
    pl.Int64: pl.lit(2, dtype=pl.Int32),
    pl.Float64: pl.lit(1.0, dtype=pl.Float32),
    pl.List(pl.String): pl.lit("intercept"),
    pl.List(pl.Float64): pl.lit([1], dtype=pl.List(pl.Int64)),
}


def value(column: Column) -> Any:
    """A value that the column allows."""
    if column.name in VALUES and (not column.nullable or column.name == "level"):
        return VALUES[column.name]
    if column.nullable:
        return None
    if column.dtype == pl.String:
        return column.allowed[0] if column.allowed else column.name
    if column.dtype == pl.List(pl.String):
        return ["intercept"]
    if column.dtype == pl.List(pl.Float64):
        return [1.0]
    number = max(1, column.minimum or 0)
    return float(number) if column.dtype == pl.Float64 else int(number)


def valid_row(spec: TableSpec) -> pl.DataFrame:
    """One row that fulfils the contract."""
    return pl.DataFrame({c.name: [value(c)] for c in spec.columns}, schema=spec.schema)


def faults(column: Column) -> Iterator[tuple[str, pl.Expr]]:
    """Every way in which one value breaks the column's contract, with a name for it."""

    def literal(wrong: Any) -> pl.Expr:
        return pl.lit(wrong, dtype=column.dtype)

    yield "type", WRONG_TYPE[column.dtype]
    if not column.nullable:
        yield "null", literal(None)
    if column.dtype == pl.Float64:
        for name in ("nan", "inf", "-inf"):
            yield name, literal(float(name))
    if column.dtype == pl.List(pl.Float64):
        for name in ("nan", "inf", "-inf"):
            yield name, literal([float(name)])
        yield "null inside", literal([None])
    if column.minimum is not None:
        yield "below", literal(column.minimum - 1)
    if column.maximum is not None:
        yield "above", literal(column.maximum + 1)
    if column.positive:
        yield "zero", literal(0)
    if column.pattern is not None:
        yield "pattern", literal("\nno value of this column?")
    if column.allowed:
        yield "vocabulary", literal("no word of this column")


def metadata(spec: TableSpec, version: object = None) -> dict[str, str]:
    """What the file of a table says of itself."""
    return {
        "ihdsi.table": spec.name,
        "ihdsi.table_version": str(spec.version if version is None else version),
    }
