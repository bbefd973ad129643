"""Disclosure control of `cohort_profile`."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.complementary import RELEASED, protect_grid
from ihdsi.disclosure.partner_order import partner_ranks
from ihdsi.disclosure.tables.judging import (
    Context,
    Judged,
    cell_ranks,
    known,
    mark,
    marked,
    ranks,
    unmarked,
    unsafe_counts,
    with_status,
    withheld_columns,
)
from ihdsi.disclosure.tables.means import control_moments
from ihdsi.disclosure.tables.reasons import COMPLEMENTARY
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.strata import ALL

__all__ = [
    "control_cohort_profile",
]


def control_cohort_profile(frame: pl.DataFrame, context: Context) -> Judged:
    """Levels and bins as two-way tables with their strata; moments by n.

    Levels leave only where the variable has few for its patients. Edges of bins are the study's,
    the outermost included: what lies outside is in n_total alone, so that no edge tells a minimum
    or maximum.

    Means and standard deviations leave with three significant digits: enough to describe a cohort,
    too few to subtract it from a model's sums.
    """
    moments = control_moments(
        frame.filter(pl.col("kind") == "moments"),
        "cohort_profile",
        "variable",
        pl.col("standard_deviation") ** 2,
        context,
    ).with_columns(pl.col("mean", "standard_deviation").round_sig_figs(3))
    by = set(frame["stratum_variable"]) - {ALL}
    counts, bins = (
        pl.concat(
            [
                frame.filter(pl.col("kind") == kind).clear(),
                *(
                    _control_levels(table, by, context)
                    for table in frame.filter(pl.col("kind") == kind).partition_by(
                        "variable", maintain_order=True
                    )
                ),
            ]
        )
        for kind in ("count", "bin")
    )
    counts = _protect_crossed(counts, context)
    return Judged(pl.concat([moments, counts, bins]), unmarked(frame))


def _protect_crossed(counts: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Withhold the cells of two stratum variables in both tables that hold them.

    Levels of one by strata of the other are the same numbers as levels of the other by strata of
    the one, and the strata's sizes in either are the margins of both. So the table is protected
    with both margins known, and what is withheld in one place is withheld in the other.
    """
    settings = context.settings
    by = set(counts["stratum_variable"]) - {ALL}
    for first, second in combinations(sorted(by & set(counts["variable"])), 2):
        place = {"variable": [first, second], "stratum_variable": [second, first]}
        tables = counts.join(pl.DataFrame(place), on=list(place), how="semi")
        of_first = pl.col("variable") == first
        cells = tables.with_columns(
            _first=pl.when(of_first).then("level").otherwise("stratum"),
            _second=pl.when(of_first).then("stratum").otherwise("level"),
        )
        shared = (
            cells.group_by("_first", "_second")
            .agg(n=pl.col("n").first(), _closed=pl.col("rule").is_not_null().any())
            .sort("_first", "_second")
        )
        grid = shared.pivot("_second", index="_first", values="n").fill_null(0)
        levels, strata = grid["_first"], grid.columns[1:]
        numbers = grid.select(strata).to_numpy()
        status = protect_grid(
            numbers,
            numbers.sum(axis=0),
            settings.minimum_cell_count,
            unsafe_counts(settings),
            numbers.sum(axis=1),
            int(numbers.sum()),
            np.ones(levels.len(), dtype=bool),
            ranks=ranks(
                [
                    [(first, second, level, stratum) for stratum in strata]
                    for level in levels.to_list()
                ],
                context,
            ),
        )
        hidden = pl.DataFrame(
            {
                "_first": levels.gather(np.repeat(np.arange(levels.len()), len(strata))),
                "_second": strata * levels.len(),
                "_hidden": (status != RELEASED).ravel(),
            }
        )
        keys = [*place, "level", "stratum"]
        closed = (
            cells.join(
                shared.join(hidden, on=["_first", "_second"]).filter(
                    pl.col("_closed") | pl.col("_hidden")
                ),
                on=["_first", "_second"],
                how="semi",
            )
            .select(keys)
            .with_columns(_crossed=pl.lit(value=True))
        )
        counts = (
            counts.join(closed, on=keys, how="left", maintain_order="left")
            .with_columns(mark(pl.col("_crossed").is_not_null(), COMPLEMENTARY))
            .drop("_crossed")
        )
    return counts


def _size_ranks(whole: pl.DataFrame, by: Collection[str], context: Context) -> NDArray[np.int64]:
    """Ranks of a variable's levels in the whole cohort.

    Levels of a stratum variable are the sizes of strata, which stand in all tables. They are taken
    as strata are, so that no two tables withhold different ones: first those that have fewer than
    `minimum_n` patients, which is known as no table has their stratum, then in the order of strata.
    """
    variable = str(whole["variable"][0])
    ranks = partner_ranks(context.key, [(variable, level) for level in whole["level"]])
    if variable in by:
        large = (whole["n"] >= context.settings.minimum_n).to_numpy()
        ranks = ranks + len(ranks) * large
    return ranks.reshape(-1, 1)


def _control_levels(table: pl.DataFrame, by: Collection[str], context: Context) -> pl.DataFrame:
    """One variable's levels (or bins): first the whole cohort, then each stratum variable."""
    settings = context.settings
    level = ["level", "bin_lower", "bin_upper"]
    unsafe = unsafe_counts(settings)
    is_whole = pl.col("stratum_variable") == ALL
    whole = table.filter(is_whole).sort(level)
    counts, total = whole["n"].to_numpy(), int(whole["n_total"].max() or 0)  # type: ignore[arg-type]
    n_levels = table["level"].drop_nulls().n_unique()  # bins are the study's, and no levels
    primary = withheld_columns(np.array([total]), n_levels, settings)
    status = protect_grid(
        counts.reshape(-1, 1),
        np.array([total]),
        settings.minimum_cell_count,
        unsafe,
        withheld_columns=np.array([rule is not None for rule in primary]),
        ranks=(
            _size_ranks(whole, by, context)
            if n_levels and not whole.is_empty()
            else cell_ranks([whole], TABLES["cohort_profile"], context)
        ),
        marked=marked([whole]),
        known=known([whole]),
    )
    parts = [with_status(whole, status[:, 0], primary[0])]
    released = status[:, 0] == RELEASED
    for part in table.filter(~is_whole).partition_by("stratum_variable", maintain_order=True):
        strata = part.partition_by("stratum", maintain_order=True)
        strata = [stratum.sort(level) for stratum in strata]
        totals = np.array([int(stratum["n_total"][0]) for stratum in strata])
        names = [(stratum["stratum_variable"][0], stratum["stratum"][0]) for stratum in strata]
        primary = _hide_sizes(
            totals,
            total,
            withheld_columns(totals, n_levels, settings),
            settings,
            partner_ranks(context.key, names),
        )
        status = protect_grid(
            np.stack([stratum["n"].to_numpy() for stratum in strata], axis=1),
            totals,
            settings.minimum_cell_count,
            unsafe,
            counts,
            total,
            released,
            np.array([rule is not None for rule in primary]),
            ranks=cell_ranks(strata, TABLES["cohort_profile"], context),
            marked=marked(strata),
            known=known(strata),
            whole_known=known([whole])[:, 0],
        )
        parts += [
            with_status(stratum, status[:, index], primary[index])
            for index, stratum in enumerate(strata)
        ]
    return pl.concat(parts)


def _hide_sizes(
    totals: NDArray[np.int64],
    total: int,
    withheld: list[str | None],
    settings: DisclosureSettings,
    ranks: NDArray[np.int64],
) -> list[str | None]:
    """Withhold further strata while the withheld ones' size follows from the others' n_total.

    They are taken in the order of `ranks`, which does not depend on their sizes.
    """
    rules = list(withheld)
    while any(rules):
        released = [index for index, rule in enumerate(rules) if rule is None]
        rest = total - int(totals[released].sum())
        if not released or not 0 < rest < settings.minimum_cell_count:
            break
        rules[min(released, key=lambda index: int(ranks[index]))] = COMPLEMENTARY
    return rules
