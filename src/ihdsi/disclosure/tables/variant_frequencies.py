"""Disclosure control of `variant_frequencies` and `germline_gene_carriers`."""

from __future__ import annotations

import polars as pl

from ihdsi.disclosure.complementary import protect_strata
from ihdsi.disclosure.rules import enough_patients, safe_count, safe_part
from ihdsi.disclosure.tables.judging import (
    Context,
    Judged,
    after_strata,
    judge_parts,
    mark,
    unmarked,
)
from ihdsi.disclosure.tables.reasons import ALLELES, GENOTYPES, MINIMUM_CELL_COUNT, MINIMUM_N
from ihdsi.summaries.strata import ALL
from ihdsi.summaries.variant_frequencies import VARIANT_KEY

__all__ = [
    "control_germline_gene_carriers",
    "control_variant_frequencies",
]


def control_variant_frequencies(frame: pl.DataFrame, context: Context) -> Judged:
    """Carriers and non-carriers by stratum, then the genotype counts behind them.

    n_homozygous is allele_count − n_carriers, so these two are released together or not at all; not
    where they alone differ by few from an earlier release. Where they are not, allele_count still
    bounds them: the row stays only if the interval is as wide as minimum_cell_count. allele_number
    tells how many haploid genotypes there are (on X: men): where they are too few in any stratum,
    or in what the strata leave of the cohort, no row of the variant leaves.
    """
    settings = context.settings
    line = list(VARIANT_KEY)

    def genotypes_safe(carriers: pl.Expr, homozygous: pl.Expr) -> pl.Expr:
        return safe_count(homozygous, settings) & safe_count(carriers - homozygous, settings)

    def bounded(called: pl.Expr, carriers: pl.Expr, alleles: pl.Expr, number: pl.Expr) -> pl.Expr:
        """Whether genotypes are unsafe and allele_count leaves them little room."""
        low, high = _homozygous_range(called, alleles, number)
        narrow = (number > called) & (high - low < settings.minimum_cell_count)
        return ~genotypes_safe(carriers, alleles - carriers) & narrow

    def safe(n: pl.Expr, carriers: pl.Expr, alleles: pl.Expr, number: pl.Expr) -> pl.Expr:
        return safe_part(carriers, n, settings) & ~bounded(n, carriers, alleles, number)

    additive = ["n_samples_called", "n_carriers", "allele_count", "allele_number"]
    called, carriers, alleles, number = (pl.col(name) for name in additive)
    judged = frame
    for condition, rule in (
        (~enough_patients(called, settings), MINIMUM_N),
        (~safe_part(carriers, called, settings), MINIMUM_CELL_COUNT),
        (bounded(called, carriers, alleles, number), ALLELES),
        (_few_haploid(settings.minimum_cell_count), MINIMUM_CELL_COUNT),
    ):
        judged = judged.with_columns(mark(condition, rule))
    judged = after_strata(
        protect_strata(
            judged,
            line,
            additive,
            safe,
            pl.col("rule").is_not_null(),
            settings.minimum_cell_count,
            key=context.key,
        )
    )
    detail = [*additive, "n_homozygous"]
    is_whole = pl.col("stratum_variable") == ALL
    whole = judged.filter(is_whole).select(
        *line,
        *(pl.col(name).alias(f"_whole_{name}") for name in detail),
        _whole_open=pl.col("rule").is_null(),
    )
    group = [*line, "stratum_variable"]
    unknown = {name: pl.col(f"_whole_{name}") - pl.col(name).sum().over(group) for name in detail}

    def unsafe_genotypes(n: pl.Expr, carriers: pl.Expr, homozygous: pl.Expr) -> pl.Expr:
        return (n > 0) & ~genotypes_safe(carriers, homozygous)

    judged = (
        judged.join(whole, on=line, how="left", maintain_order="left")
        .with_columns(
            _own=unsafe_genotypes(called, carriers, pl.col("n_homozygous"))
            | pl.col("few_genotypes"),
            _unknown=~is_whole
            & unsafe_genotypes(
                unknown["n_samples_called"], unknown["n_carriers"], unknown["n_homozygous"]
            ).fill_null(value=True),
        )
        .with_columns(_null=pl.col("_own").any().over(group) | pl.col("_unknown"))
        # Where the cohort has none of a genotype, no stratum has: with allele_count that gives the
        # strata's genotypes, so the cohort's are withheld with them; likewise where the cohort's
        # number of homozygotes leaves a stratum's too little room.
        .with_columns(
            _null=pl.col("_null")
            | (pl.col("_null").any().over(line) & _without_a_genotype())
            | _narrowed_by_the_whole(group, settings.minimum_cell_count).any().over(line)
        )
        .drop(*(f"_whole_{name}" for name in detail), "_whole_open", "_own", "_unknown")
    )
    nulled = judged.filter(pl.col("_null") & pl.col("rule").is_null()).drop("_null")
    judged = judged.with_columns(
        pl.when(~pl.col("_null")).then(name).alias(name) for name in ("n_carriers", "n_homozygous")
    ).drop("_null")
    return Judged(judged, nulled.with_columns(rule=pl.lit(GENOTYPES)))


def control_germline_gene_carriers(frame: pl.DataFrame, context: Context) -> Judged:
    """Carriers and non-carriers by stratum; the membership attack is judged where it is made."""
    keys = ["gene_id", "consequence_group"]
    judged = judge_parts(frame, keys, "n_assessed", "n_carriers", context)
    return Judged(judged, unmarked(frame))


def _homozygous_range(
    called: pl.Expr, alleles: pl.Expr, number: pl.Expr
) -> tuple[pl.Expr, pl.Expr]:
    """Fewest and most homozygotes that fit so many alleles in so many genotypes."""
    diploid = number - called
    return (
        pl.max_horizontal(pl.lit(0), alleles - called),
        pl.min_horizontal(alleles // 2, diploid),
    )


def _narrowed_by_the_whole(group: list[str], least: int) -> pl.Expr:
    """Whether an unsafe number of homozygotes is narrowed down by that of the whole cohort.

    The strata's numbers, each in the range that its alleles allow, add up to the cohort's; what is
    withheld and who is in no stratum are one more summand, whose alleles are known by subtraction.
    """
    is_open = pl.col("rule").is_null()
    size = ("n_samples_called", "allele_count", "allele_number")
    low, high = _homozygous_range(*(pl.col(name) for name in size))
    rest_low, rest_high = _homozygous_range(
        *(
            pl.col(f"_whole_{name}") - pl.when(is_open).then(name).otherwise(0).sum().over(group)
            for name in size
        )
    )
    total_low = pl.when(is_open).then(low).otherwise(0).sum().over(group) + rest_low
    total_high = pl.when(is_open).then(high).otherwise(0).sum().over(group) + rest_high
    whole = pl.col("_whole_n_homozygous")

    def narrow(low: pl.Expr, high: pl.Expr) -> pl.Expr:
        return (
            pl.min_horizontal(high, whole - (total_low - low))
            - pl.max_horizontal(low, whole - (total_high - high))
        ) < least

    hidden = (pl.col("_own") & ~is_open).any().over(group) | pl.col("_unknown")
    return (
        (pl.col("stratum_variable") != ALL)
        & pl.col("_whole_open")
        & ((pl.col("_own") & is_open & narrow(low, high)) | (hidden & narrow(rest_low, rest_high)))
    ).fill_null(value=False)


def _without_a_genotype() -> pl.Expr:
    """Whether nobody of the whole cohort is a non-carrier, or heterozygous, or homozygous."""
    called, carriers, homozygous = (
        pl.col(f"_whole_{name}") for name in ("n_samples_called", "n_carriers", "n_homozygous")
    )
    return ((called == carriers) | (carriers == homozygous) | (homozygous == 0)).fill_null(
        value=False
    )


def _few_haploid(least: int) -> pl.Expr:
    """Whether a stratum of the variant, or the rest of the cohort, has few haploid genotypes.

    All or none of the genotypes haploid is the rule of the chromosome and tells of nobody.
    """
    line = list(VARIANT_KEY)
    called = pl.col("n_samples_called")
    haploid = 2 * called - pl.col("allele_number")
    is_whole = pl.col("stratum_variable") == ALL
    group = [*line, "stratum_variable"]

    def rest(number: pl.Expr) -> pl.Expr:
        whole = number.filter(is_whole).sum().over(line)
        return pl.when(is_whole).then(0).otherwise(whole - number.sum().over(group))

    def few(part: pl.Expr, total: pl.Expr) -> pl.Expr:
        return (
            ((part > 0) & (part < total) & ((part < least) | (total - part < least)))
            .any()
            .over(line)
        )

    return few(haploid, called) | few(rest(haploid), rest(called))
