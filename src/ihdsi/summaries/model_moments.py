"""What the tables of sufficient statistics have in common: columns, relations and rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ihdsi.summaries.table import UNIT_OF_TERMS, Column, Constraint, TableSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ihdsi.summaries.design import Design

    FloatArray = NDArray[np.float64]

__all__ = ["DESIGN_COLUMNS", "MOMENT_CONSTRAINTS", "moment_columns", "moment_rows"]

DESIGN_COLUMNS = (
    Column("n", pl.Int64, "count", minimum=0, unit="1", description="Patients."),
    Column("row_term", pl.String, "key", description="Term of the model."),
    Column("column_term", pl.String, "key", description="Term of the model."),
    Column(
        "value",
        pl.Float64,
        "statistic",
        unit=UNIT_OF_TERMS,
        description="Sum over patients of the product of both terms.",
    ),
)

MOMENT_CONSTRAINTS = (
    Constraint(
        "xty",
        lambda: pl.col("xty").list.len() == pl.col("terms").list.len(),
        "xty has one value a term",
    ),
    Constraint(
        "terms",
        lambda: ~pl.col("terms").list.eval(pl.element().is_null()).list.any(),
        "no term is null",
    ),
)


def moment_columns(response: str) -> tuple[Column, ...]:
    """Columns n, terms, xty and yty; `response` says in words what y is."""
    return (
        Column("n", pl.Int64, "count", minimum=0, unit="1", description="Patients."),
        Column(
            "terms",
            pl.List(pl.String),
            "key",
            description="Terms of the model, in the order of xty.",
        ),
        Column(
            "xty",
            pl.List(pl.Float64),
            "statistic",
            unit=UNIT_OF_TERMS,
            description=f"X'y: sum over patients of term times {response}, one value a term.",
        ),
        Column(
            "yty",
            pl.Float64,
            "statistic",
            minimum=0,
            unit="1",
            description=f"y'y: sum over patients of {response} squared.",
        ),
    )


def moment_rows(
    design: Design,
    features: pl.DataFrame,
    responses: FloatArray,
    keys: Mapping[str, Any],
    specs: tuple[TableSpec, TableSpec],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of a design table and of its moments table.

    Parameters
    ----------
    design
        X of the model.
    features
        Key and label columns of each row of `responses`.
    responses
        y of every feature, features x patients of the design, finite.
    keys
        Values of the key columns that all rows share.
    specs
        The contracts of the design table and of the moments table.

    Returns
    -------
    tuple of polars.DataFrame
        X'X in long form; n, terms, X'y and y'y of each feature.
    """
    from ihdsi.expression.moments import linear_moments

    xtx, xty, yty = linear_moments(design.matrix, responses)
    n, terms = len(design.patients), list(design.terms)
    shared = [pl.lit(value).alias(name) for name, value in {**keys, "n": n}.items()]
    design_spec, moments_spec = specs
    rows = pl.DataFrame(
        [
            (row, column, float(xtx[i, j]))
            for i, row in enumerate(terms)
            for j, column in enumerate(terms)
        ],
        schema=["row_term", "column_term", "value"],
        orient="row",
    ).with_columns(shared)
    moments = features.with_columns(
        *shared,
        terms=pl.lit(terms, dtype=pl.List(pl.String)),
        xty=pl.Series(xty, dtype=pl.Array(pl.Float64, len(terms))).arr.to_list(),
        yty=pl.Series(yty),
    )
    return (
        rows.select(pl.col(name).cast(dtype) for name, dtype in design_spec.schema.items()),
        moments.select(pl.col(name).cast(dtype) for name, dtype in moments_spec.schema.items()),
    )
