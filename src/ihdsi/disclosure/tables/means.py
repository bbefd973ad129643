"""Disclosure control of tables of means: `mutation_burden` and `cell_composition`."""

from __future__ import annotations

import polars as pl

from ihdsi.disclosure.complementary import protect_strata
from ihdsi.disclosure.compositions import released_strata, withheld_parts
from ihdsi.disclosure.rules import (
    dominance_rule,
    enough_patients,
    p_ratio_rule,
    small_contributions,
)
from ihdsi.disclosure.tables.judging import (
    Context,
    Judged,
    after_strata,
    mark,
    mark_features,
    unmarked,
)
from ihdsi.disclosure.tables.reasons import (
    COMPLEMENTARY,
    CONSTANT,
    DOMINANCE,
    DOMINANCE_NK,
    ESTIMATED,
    MINIMUM_N,
    P_RATIO,
)
from ihdsi.summaries.gene_alterations import ANY
from ihdsi.summaries.mutation_burden import SHARE_PREFIX
from ihdsi.summaries.strata import ALL

__all__ = [
    "control_cell_composition",
    "control_moments",
    "control_mutation_burden",
]


def control_mutation_burden(frame: pl.DataFrame, context: Context) -> Judged:
    """Means by n, by what a few patients can contribute, and by what the other strata leave over.

    A patient with few mutations has no signature share, so that the assessed patients of a
    stratum minus those with a share are a count of their own.
    """
    stratum = ["stratum_variable", "stratum"]
    assessed = (
        context.tables["gene_alterations"]
        .filter(pl.col("alteration_class") == ANY)
        .select(*stratum, n="n_assessed")
    )
    sizes = (
        pl.concat([assessed, frame.select(*stratum, "n")])
        .group_by(stratum)
        .agg(_assessed=pl.col("n").max())
    )
    is_share = pl.col("measure").str.starts_with(SHARE_PREFIX)
    sized = frame.join(sizes, on=stratum, how="left", maintain_order="left").with_columns(
        _lacking=pl.when(is_share).then(pl.col("_assessed") - pl.col("n")).otherwise(0)
    )
    judged = control_moments(
        sized.drop("_assessed"), "mutation_burden", "measure", pl.col("variance"), context
    )
    return Judged(judged.drop("_lacking"), unmarked(frame))


def control_moments(
    frame: pl.DataFrame, table: str, line: str, variance: pl.Expr, context: Context
) -> pl.DataFrame:
    """Means and variances, which give away n, sum and sum of squares of what is left over.

    The column ``_lacking``, if there is one, is the number of patients without a value: a count
    that is known with n, and left over with it. Values that few patients have are judged on the
    patients, because they do not show in the moments.
    """
    if "_lacking" not in frame.columns:
        lacking = frame.with_columns(_lacking=pl.lit(0))
        return control_moments(lacking, table, line, variance, context).drop("_lacking")
    settings = context.settings

    def known(lacking: pl.Expr) -> pl.Expr:
        return (lacking == 0) | (lacking >= settings.minimum_cell_count)

    def contributions(n: pl.Expr, total: pl.Expr, squares: pl.Expr) -> list[tuple[pl.Expr, str]]:
        return [
            (small_contributions(total, squares, settings), DOMINANCE),
            (dominance_rule(n, total, squares, settings), DOMINANCE_NK),
            (p_ratio_rule(n, total, squares, settings), P_RATIO),
        ]

    def safe(n: pl.Expr, total: pl.Expr, squares: pl.Expr, lacking: pl.Expr) -> pl.Expr:
        # Sums of squares of equal values differ from zero by rounding.
        varies = squares - total**2 / n > 1e-9 * squares
        spread = [holds for holds, _ in contributions(n, total, squares)]
        return pl.all_horizontal(enough_patients(n, settings), varies, known(lacking), *spread)

    n, mean = pl.col("n"), pl.col("mean")
    total, squares = pl.col("_total"), pl.col("_squares")
    judged = frame.with_columns(
        mark(~enough_patients(n, settings), MINIMUM_N),
        _total=n * mean,
        _squares=(n - 1) * variance + n * mean**2,
    )
    for condition, rule in (
        (~(variance > 0), CONSTANT),
        (~known(pl.col("_lacking")), ESTIMATED),
        *((~holds, rule) for holds, rule in contributions(n, total, squares)),
    ):
        judged = judged.with_columns(mark(condition, rule))
    judged = mark_features(
        judged, table, pl.col("stratum_variable"), pl.col(line), n, context, "stratum"
    )
    judged = protect_strata(
        judged,
        [line],
        ["n", "_total", "_squares", "_lacking"],
        safe,
        pl.col("rule").is_not_null(),
        key=context.key,
    )
    return after_strata(judged).drop("_total", "_squares")


def control_cell_composition(frame: pl.DataFrame, context: Context) -> Judged:
    """Means by n and by what a few donors can contribute, and by what strata and types leave over.

    The shares of a donor add up to one. So the types that are withheld in a stratum have a known
    mean in sum: there are at least two of them, and a few donors do not make up too much of it.
    All strata of a variable release the same types, and no type without the whole cohort.
    """
    settings = context.settings
    n, mean = pl.col("n_donors"), pl.col("mean")
    total, squares = pl.col("_total"), pl.col("_squares")
    safe = (
        enough_patients(n, settings)
        & (squares - total**2 / n > 1e-9 * squares)
        & small_contributions(total, squares, settings)
        & dominance_rule(n, total, squares, settings)
        & p_ratio_rule(n, total, squares, settings)
    )
    judged = frame.with_columns(
        _total=n * mean, _squares=(n - 1) * pl.col("variance") + n * mean**2
    )
    for condition, rule in (
        (~enough_patients(n, settings), MINIMUM_N),
        (~(pl.col("variance") > 0), CONSTANT),
        (~small_contributions(total, squares, settings), DOMINANCE),
        (~dominance_rule(n, total, squares, settings), DOMINANCE_NK),
        (~p_ratio_rule(n, total, squares, settings), P_RATIO),
    ):
        judged = judged.with_columns(mark(condition, rule))
    is_whole = pl.col("stratum_variable") == ALL
    whole = judged.filter(is_whole)
    kept = withheld_parts(whole, safe, settings, (), context.key)
    parts = [whole.with_columns(mark(pl.col("cell_type").is_in(kept), COMPLEMENTARY))]
    for strata in judged.filter(~is_whole).partition_by("stratum_variable", maintain_order=True):
        names, columns = released_strata(strata, whole, settings, context.key)
        types = withheld_parts(columns, safe, settings, kept, context.key)
        withheld = pl.col("cell_type").is_in(types) | ~pl.col("stratum").is_in(names)
        parts.append(strata.with_columns(mark(withheld, COMPLEMENTARY)))
    return Judged(pl.concat(parts).drop("_total", "_squares"), unmarked(frame))
