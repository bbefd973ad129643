"""How a table is judged row by row, whatever the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.complementary import PRIMARY, RELEASED, protect_strata
from ihdsi.disclosure.partner_order import partner_ranks
from ihdsi.disclosure.released_frequencies import EarlierFrequencies
from ihdsi.disclosure.rules import enough_patients, few_levels, safe_part
from ihdsi.disclosure.tables.reasons import (
    COMPLEMENTARY,
    FEATURE_NOT_JUDGED,
    LEVELS,
    MINIMUM_CELL_COUNT,
    MINIMUM_N,
)
from ihdsi.study import Contrast, DisclosureSettings
from ihdsi.summaries.table import TableSpec

__all__ = [
    "Context",
    "Judged",
    "after_strata",
    "cell_ranks",
    "judge_parts",
    "known",
    "mark",
    "mark_features",
    "marked",
    "ranks",
    "unmarked",
    "unsafe_counts",
    "with_status",
    "withheld_columns",
]


@dataclass(frozen=True)
class Context:
    """What the rules need besides the table itself.

    `tables` are marked already, by `mark` (see `ihdsi.disclosure.differencing.Comparison.mark`);
    `compare_curves` takes rows of survival curves, with their bins merged, and returns what may
    leave beside earlier releases. `released_variants` left by themselves before (`VARIANT_KEY`);
    `earlier_frequencies` is what a membership attack has of earlier releases; `features` says
    which features single patients make up (see `ihdsi.disclosure.contributions.judge_features`);
    `key` is the site's secret, for the order of `ihdsi.disclosure.partner_order`; `contrasts` are
    the study's, by name.
    """

    settings: DisclosureSettings
    tables: Mapping[str, pl.DataFrame]
    parameters: Mapping[str, int]
    mark: Callable[[str, pl.DataFrame], pl.DataFrame]
    compare_curves: Callable[[pl.DataFrame], pl.DataFrame]
    released_variants: pl.DataFrame
    earlier_frequencies: EarlierFrequencies
    features: pl.DataFrame
    key: bytes
    contrasts: Mapping[str, Contrast] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """A table with its ``rule`` column, and rows of which single cells were set to null."""

    frame: pl.DataFrame
    nulled: pl.DataFrame


def mark(condition: pl.Expr, rule: str) -> pl.Expr:
    """Name the rule for rows that meet the condition and that no earlier rule withholds."""
    return (
        pl.when(pl.col("rule").is_null() & condition.fill_null(value=True))
        .then(pl.lit(rule))
        .otherwise("rule")
        .alias("rule")
    )


def unmarked(frame: pl.DataFrame) -> pl.DataFrame:
    """Say that no single cell of a table was set to null."""
    return frame.clear()


def after_strata(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn the status of `protect_strata` into a rule where none is named yet."""
    return frame.with_columns(mark(pl.col("status") != RELEASED, COMPLEMENTARY)).drop("status")


def ranks(names: Sequence[Sequence[Sequence[object]]], context: Context) -> NDArray[np.int64]:
    """Ranks of the cells of a grid by their names (see `partner_ranks`)."""
    flat = [name for row in names for name in row]
    return partner_ranks(context.key, flat).reshape(len(names), -1)


def cell_ranks(
    columns: Sequence[pl.DataFrame], table: TableSpec, context: Context
) -> NDArray[np.int64]:
    """Ranks of cells that stand in rows of each frame as a column."""
    rows = [column.select(table.keys).rows() for column in columns]
    return ranks(list(zip(*rows, strict=True)), context)


def withheld_columns(
    totals: NDArray[np.int64], n_levels: int, settings: DisclosureSettings
) -> list[str | None]:
    """Name the rule that withholds all counts of a stratum of so many patients; None if none."""
    judged = pl.DataFrame({"n": totals}).select(
        pl.when(~enough_patients(pl.col("n"), settings))
        .then(pl.lit(MINIMUM_N))
        .when(~few_levels(pl.lit(n_levels), pl.col("n"), settings))
        .then(pl.lit(LEVELS))
    )
    return judged.to_series().to_list()


def judge_parts(
    frame: pl.DataFrame, keys: Sequence[str], whole: str, part: str, context: Context
) -> pl.DataFrame:
    """Withhold small wholes, small parts of them, and what would give away a withheld part.

    Parameters
    ----------
    frame
        Counts by stratum.
    keys
        Columns that name a line of strata.
    whole, part
        Columns of patients assessed, and of those among them who are counted.
    """
    settings = context.settings

    def safe(n: pl.Expr, some: pl.Expr) -> pl.Expr:
        return safe_part(some, n, settings)

    judged = frame.with_columns(mark(~enough_patients(pl.col(whole), settings), MINIMUM_N))
    judged = judged.with_columns(mark(~safe(pl.col(whole), pl.col(part)), MINIMUM_CELL_COUNT))
    return after_strata(
        protect_strata(
            judged,
            list(keys),
            [whole, part],
            safe,
            pl.col("rule").is_not_null(),
            settings.minimum_cell_count,
            key=context.key,
        )
    )


def unsafe_counts(settings: DisclosureSettings) -> Callable[[int], bool]:
    """Say of a count whether it must be withheld: the opposite of `safe_count`, for numbers."""
    least, zero = settings.minimum_cell_count, settings.zero_cells_allowed
    return lambda count: not (count >= least or (count == 0 and zero))


def with_status(
    rows: pl.DataFrame, status: NDArray[np.int64], whole_column: str | None
) -> pl.DataFrame:
    """Turn the status of `protect_grid` into rules, for rows that no earlier rule withholds.

    Parameters
    ----------
    rows
        Rows of one column of the grid, in its order.
    status
        Status of the column's cells.
    whole_column
        The rule that withholds the column as a whole, if one does.
    """
    primary = whole_column or MINIMUM_CELL_COUNT
    names = [
        None if value == RELEASED else primary if value == PRIMARY else COMPLEMENTARY
        for value in status
    ]
    return rows.with_columns(rule=pl.coalesce("rule", pl.Series(names, dtype=pl.String)))


def marked(columns: Sequence[pl.DataFrame]) -> NDArray[np.bool_]:
    """Which cells an earlier rule withholds: rows of each frame as a column."""
    return np.stack([rows["rule"].is_not_null().to_numpy() for rows in columns], axis=1)


def known(columns: Sequence[pl.DataFrame]) -> NDArray[np.bool_]:
    """Which cells are known of an earlier release: rows of each frame as a column."""
    return np.stack([rows["known"].to_numpy() for rows in columns], axis=1)


def mark_features(
    judged: pl.DataFrame,
    table: str,
    part: pl.Expr,
    feature: pl.Expr,
    n: pl.Expr,
    context: Context,
    contrast: str = "contrast",
) -> pl.DataFrame:
    """Withhold features that single patients make up, and those that nobody has judged.

    A feature counts as judged where it was judged on as many patients as are behind the row. Which
    columns name it: `ihdsi.disclosure.contributions.judge_features`.
    """
    found = context.features.filter(table=table).select(
        _part="part",
        _contrast="contrast",
        _feature="feature",
        _feature_rule="feature_rule",
        _judged="n",
    )
    names = ["_part", "_contrast", "_feature"]
    return (
        judged.with_columns(_part=part, _contrast=contrast, _feature=feature)
        .join(found, on=names, how="left", validate="m:1", maintain_order="left")
        .with_columns(mark(n != pl.col("_judged"), FEATURE_NOT_JUDGED))
        .with_columns(rule=pl.coalesce("rule", "_feature_rule"))
        .drop(*names, "_judged", "_feature_rule")
    )
