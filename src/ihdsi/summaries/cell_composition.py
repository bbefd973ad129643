"""Shares of cell types, donor by donor."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import polars as pl

from ihdsi.summaries.strata import stratify
from ihdsi.summaries.table import STRATUM_COLUMNS, Column, Constraint, TableSpec

__all__ = ["CELL_TYPE", "SPEC", "build_cell_composition", "donors_of"]

logger = logging.getLogger(__name__)

CELL_TYPE = Column(
    "cell_type",
    pl.String,
    "key",
    pattern=r"^[!-~][ -~]{0,99}$",
    description="Cell type of the study's vocabulary.",
)

#: Rounding that sums of shares may show.
ROUNDING = 1e-6

SPEC = TableSpec(
    name="cell_composition",
    version=1,
    description="Mean and variance of the share of each cell type among a donor's cells.",
    columns=(
        CELL_TYPE,
        *STRATUM_COLUMNS,
        Column(
            "n_donors",
            pl.Int64,
            "count",
            minimum=2,
            unit="1",
            description="Donors, whether or not they have cells of the type.",
        ),
        Column(
            "mean",
            pl.Float64,
            "statistic",
            minimum=0,
            maximum=1,
            unit="1",
            description="Mean over donors of the share.",
        ),
        Column(
            "variance",
            pl.Float64,
            "statistic",
            minimum=0,
            unit="1",
            description="Of the sample of donors (n − 1).",
        ),
    ),
    keys=("cell_type", "stratum_variable", "stratum"),
    constraints=(
        Constraint(
            "mean",
            lambda: pl.col("mean").sum().over("stratum_variable", "stratum") <= 1 + ROUNDING,
            "the means of a stratum add up to at most 1",
        ),
        Constraint(
            "n_donors",
            lambda: (
                pl.col("n_donors") == pl.col("n_donors").max().over("stratum_variable", "stratum")
            ),
            "all cell types of a stratum have the same donors",
        ),
    ),
)


def donors_of(counts: pl.DataFrame) -> pl.DataFrame:
    """Choose the donors who have cells, with ``_cells``, the number of all their cells.

    Parameters
    ----------
    counts
        As for `build_cell_composition`; types without a count get 0.
    """
    cell_types = [name for name in counts.columns if name != "patient"]
    return (
        counts.with_columns(pl.col(cell_types).fill_null(0))
        .with_columns(_cells=pl.sum_horizontal(cell_types))
        .filter(pl.col("_cells") > 0)
    )


def build_cell_composition(
    counts: pl.DataFrame,
    clinical: pl.DataFrame | None,
    strata: Sequence[str],
) -> pl.DataFrame:
    """Summarise the shares of cell types; each donor counts once, however many cells it has.

    Parameters
    ----------
    counts
        ``patient`` (the donor) and one column of counts a cell type, of all cells of the donor.
        Donors without a cell are left out.
    clinical, strata
        Donors' clinical variables, and those whose levels are strata.

    Returns
    -------
    polars.DataFrame
        The table `cell_composition`; strata with fewer than two donors have no variance and no row.
    """
    cell_types = [name for name in counts.columns if name != "patient"]
    if not cell_types:
        return pl.DataFrame(schema=SPEC.schema)
    kept = donors_of(counts)
    if kept.height < counts.height:
        logger.warning(
            "%d of %d donors have no cells and are left out",
            counts.height - kept.height,
            counts.height,
        )
    shares = kept.select("patient", pl.col(cell_types).cast(pl.Float64) / pl.col("_cells")).unpivot(
        index="patient", variable_name="cell_type", value_name="share"
    )
    return (
        shares.join(stratify(kept["patient"], clinical, strata), on="patient")
        # Sums of floats depend on their order, and equal donors must give equal bytes.
        .sort("patient")
        .group_by("cell_type", "stratum_variable", "stratum")
        .agg(
            n_donors=pl.len(),
            mean=pl.col("share").mean(),
            variance=pl.col("share").var(ddof=1),
        )
        .filter(pl.col("n_donors") >= 2)
        # A type that is all of every donor's cells has a mean of 1 only up to rounding.
        .with_columns(mean=pl.min_horizontal("mean", 1.0))
        .select(pl.col(name).cast(dtype) for name, dtype in SPEC.schema.items())
        .sort(SPEC.keys)
    )
