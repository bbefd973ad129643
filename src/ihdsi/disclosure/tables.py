"""Disclosure control of each summary table.

Every function takes the table with columns that say how it compares with earlier releases (see
`ihdsi.disclosure.differencing.Comparison.mark`): ``rule``, the rule that withholds a row already or
null, ``known``, whether the row left before, and ``few_genotypes``. It returns the table with the
rule that withholds a row, and, where cells rather than rows are withheld, with these set to null.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.complementary import PRIMARY, RELEASED, protect_grid, protect_strata
from ihdsi.disclosure.compositions import released_strata, withheld_parts
from ihdsi.disclosure.curves import merge_bins
from ihdsi.disclosure.designs import Patterns, cross_products, safe_groups, unexplained
from ihdsi.disclosure.partner_order import partner_ranks
from ihdsi.disclosure.released_frequencies import EarlierFrequencies
from ihdsi.disclosure.rules import (
    dominance_rule,
    enough_degrees_of_freedom,
    enough_patients,
    few_levels,
    few_parameters,
    group_size,
    p_ratio_rule,
    safe_count,
    safe_part,
    safe_survival_step,
    small_contributions,
)
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.gene_alterations import ANY, COPY_NUMBER, PROTEIN_ALTERING
from ihdsi.summaries.matrix_moments import PATTERN
from ihdsi.summaries.mutation_burden import SHARE_PREFIX
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.strata import ALL
from ihdsi.summaries.survival_curve import CURVE
from ihdsi.summaries.table import TableSpec
from ihdsi.summaries.variant_frequencies import VARIANT_KEY

__all__ = ["REASONS", "RULES", "Context", "Judged", "unsafe_counts"]

MINIMUM_N = "minimum_n"
MINIMUM_CELL_COUNT = "minimum_cell_count"
COMPLEMENTARY = "complementary_suppression"
GENOTYPES = "genotype_counts"
ALLELES = "allele_count"
CLASSES = "alteration_classes"
PASSED = "passed_and_failed"
CONSTANT = "no_variation"
GROUPS = "model_groups"
PARAMETERS = "maximum_parameter_share"
DESIGN = "design_withheld"
ESTIMATED = "patients_without_estimate"
DOMINANCE = "dominance"
DIFFERENCING = "differencing"
OVERLAP = "overlapping_contrasts"
STRATA = "overlapping_strata"
JOINT = "joint_leverage"
PATTERNS = "missingness_patterns"
MERGED = "merged_bins"
MEMBERSHIP = "membership"
MEMBERSHIP_GENOTYPES = "membership_genotypes"
NOT_JUDGED = "membership_not_judged"
#: Not a rule: the log's entry that states the power (see `ihdsi.disclosure.frequency_release`).
MEMBERSHIP_POWER = "membership_power"
DOMINANCE_NK = "dominance_of_several"
P_RATIO = "p_ratio"
RESIDUAL = "minimum_residual_degrees_of_freedom"
LEVELS = "maximum_levels_density"
COMMONEST = "commonest_value"
FEATURE_NOT_JUDGED = "contributions_not_judged"
LEVERAGE = "leverage"
FEW_VALUES = "cells_of_few_values"

#: Columns that count samples by what was decided on them.
DECIDED = ("n_passed", "n_warned", "n_failed")

#: What each rule means, for the site's log.
REASONS: Mapping[str, str] = {
    MINIMUM_N: "fewer patients than minimum_n",
    MINIMUM_CELL_COUNT: "a count, or what remains of its total, is below minimum_cell_count",
    COMPLEMENTARY: "a withheld cell could be computed from this one and released totals",
    GENOTYPES: "n_carriers and n_homozygous would tell (by themselves or with an earlier release) "
    "too small a number of homozygotes or heterozygotes; the row stays without them",
    ALLELES: "allele_count bounds a number of homozygotes or heterozygotes that is too small",
    CLASSES: "a withheld count could be bounded or computed from the classes of this gene",
    PASSED: "n_passed, n_warned and n_failed would tell too small a number; the row stays without "
    "them",
    CONSTANT: "without variation the statistic equals the value of every patient",
    GROUPS: "a group of the design, or a cell of two groups, is too small",
    PARAMETERS: "more model parameters than maximum_parameter_share of the patients (or events)",
    DESIGN: "the design of this contrast is withheld",
    ESTIMATED: "the patients without an estimate are too small a number",
    DOMINANCE: "one patient could make up more than maximum_contribution of the sum, or of the "
    "squared deviations behind sums of products",
    DIFFERENCING: "together with an earlier release it would tell of too few patients",
    OVERLAP: "the patients of this contrast or endpoint, or of a group of it, differ by too few "
    "from those of another one, or of any of its groups, that leaves",
    STRATA: "a stratum of this variable differs by too few patients from one of another variable, "
    "or from the whole, that leaves",
    JOINT: "one patient would make up maximum_contribution or more of a combination of sums over "
    "these groups and others, of this and earlier releases",
    PATTERNS: "the patients of this missingness pattern differ by too few from those of another "
    "design, or two patterns of the assay leave already",
    MERGED: "a count of the bin is too small; it leaves as a part of a wider bin",
    MEMBERSHIP: "with this frequency a membership attack on this and all earlier releases could "
    "exceed maximum_membership_power, or strata of frequencies do not leave",
    MEMBERSHIP_GENOTYPES: "with n_carriers and n_homozygous fewer variants could leave under "
    "maximum_membership_power; the row stays without them",
    NOT_JUDGED: "without the patients' genotypes the power of a membership attack is not known",
    MEMBERSHIP_POWER: "power of the membership attack on what leaves, and on what the other rules "
    "would have let leave, both with earlier releases",
    DOMINANCE_NK: "dominance_n patients could make up dominance_k of the sum, or of the squared "
    "deviations behind sums of products, or more",
    P_RATIO: "all but the two largest values could sum up to less than p_ratio of the largest",
    RESIDUAL: "fewer patients (or events) in excess of the model parameters than "
    "minimum_residual_degrees_of_freedom",
    LEVELS: "more levels than maximum_levels_density of the patients",
    COMMONEST: "most patients, or most of a group, have the same value, and fewer than minimum_n "
    "another",
    FEATURE_NOT_JUDGED: "without the patients' values it is not known what one of them makes up",
    LEVERAGE: "a sum over the covariates could be one patient's value: the leverage of a patient "
    "in the design exceeds maximum_contribution",
    FEW_VALUES: "of a number with fewer than minimum_n different values, too small a count of "
    "patients with one of them (or with it and a level of a covariate) would be told",
}


@dataclass(frozen=True)
class Context:
    """What the rules need besides the table itself.

    `tables` are marked already, by `mark` (see `ihdsi.disclosure.differencing.Comparison.mark`);
    `compare_curves` takes rows of survival curves, with their bins merged, and returns what may
    leave beside earlier releases. `released_variants` left by themselves before (`VARIANT_KEY`);
    `earlier_frequencies` is what a membership attack has of earlier releases; `features` says
    which features single patients make up (see `ihdsi.disclosure.contributions.judge_features`);
    `key` is the site's secret, for the order of `ihdsi.disclosure.partner_order`.
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


@dataclass(frozen=True)
class Judged:
    """A table with its ``rule`` column, and rows of which single cells were set to null."""

    frame: pl.DataFrame
    nulled: pl.DataFrame


def _mark(condition: pl.Expr, rule: str) -> pl.Expr:
    """Name the rule for rows that meet the condition and that no earlier rule withholds."""
    return (
        pl.when(pl.col("rule").is_null() & condition.fill_null(value=True))
        .then(pl.lit(rule))
        .otherwise("rule")
        .alias("rule")
    )


def _unmarked(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.clear()


def _after_strata(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn the status of `protect_strata` into a rule where none is named yet."""
    return frame.with_columns(_mark(pl.col("status") != RELEASED, COMPLEMENTARY)).drop("status")


def control_cohort_profile(frame: pl.DataFrame, context: Context) -> Judged:
    """Levels and bins as two-way tables with their strata; moments by n.

    Levels leave only where the variable has few for its patients. Edges of bins are the study's,
    the outermost included: what lies outside is in n_total alone, so that no edge tells a minimum
    or maximum.

    Means and standard deviations leave with three significant digits: enough to describe a cohort,
    too few to subtract it from a model's sums.
    """
    moments = _control_moments(
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
    return Judged(pl.concat([moments, counts, bins]), _unmarked(frame))


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
            ranks=_ranks(
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
            .with_columns(_mark(pl.col("_crossed").is_not_null(), COMPLEMENTARY))
            .drop("_crossed")
        )
    return counts


def _ranks(names: Sequence[Sequence[Sequence[object]]], context: Context) -> NDArray[np.int64]:
    """Ranks of the cells of a grid by their names (see `partner_ranks`)."""
    flat = [name for row in names for name in row]
    return partner_ranks(context.key, flat).reshape(len(names), -1)


def _cell_ranks(
    columns: Sequence[pl.DataFrame], table: TableSpec, context: Context
) -> NDArray[np.int64]:
    """Ranks of cells that stand in rows of each frame as a column."""
    rows = [column.select(table.keys).rows() for column in columns]
    return _ranks(list(zip(*rows, strict=True)), context)


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
    primary = _withheld_columns(np.array([total]), n_levels, settings)
    status = protect_grid(
        counts.reshape(-1, 1),
        np.array([total]),
        settings.minimum_cell_count,
        unsafe,
        withheld_columns=np.array([rule is not None for rule in primary]),
        ranks=(
            _size_ranks(whole, by, context)
            if n_levels and not whole.is_empty()
            else _cell_ranks([whole], TABLES["cohort_profile"], context)
        ),
        marked=_marked([whole]),
        known=_known([whole]),
    )
    parts = [_with_status(whole, status[:, 0], primary[0])]
    released = status[:, 0] == RELEASED
    for part in table.filter(~is_whole).partition_by("stratum_variable", maintain_order=True):
        strata = part.partition_by("stratum", maintain_order=True)
        strata = [stratum.sort(level) for stratum in strata]
        totals = np.array([int(stratum["n_total"][0]) for stratum in strata])
        names = [(stratum["stratum_variable"][0], stratum["stratum"][0]) for stratum in strata]
        primary = _hide_sizes(
            totals,
            total,
            _withheld_columns(totals, n_levels, settings),
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
            ranks=_cell_ranks(strata, TABLES["cohort_profile"], context),
            marked=_marked(strata),
            known=_known(strata),
            whole_known=_known([whole])[:, 0],
        )
        parts += [
            _with_status(stratum, status[:, index], primary[index])
            for index, stratum in enumerate(strata)
        ]
    return pl.concat(parts)


def _withheld_columns(
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


def unsafe_counts(settings: DisclosureSettings) -> Callable[[int], bool]:
    """Say of a count whether it must be withheld: the opposite of `safe_count`, for numbers."""
    least, zero = settings.minimum_cell_count, settings.zero_cells_allowed
    return lambda count: not (count >= least or (count == 0 and zero))


def _with_status(
    rows: pl.DataFrame, status: NDArray[np.int64], whole_column: str | None
) -> pl.DataFrame:
    primary = whole_column or MINIMUM_CELL_COUNT
    names = [
        None if value == RELEASED else primary if value == PRIMARY else COMPLEMENTARY
        for value in status
    ]
    return rows.with_columns(rule=pl.coalesce("rule", pl.Series(names, dtype=pl.String)))


def _marked(columns: Sequence[pl.DataFrame]) -> NDArray[np.bool_]:
    """Which cells an earlier rule withholds: rows of each frame as a column."""
    return np.stack([rows["rule"].is_not_null().to_numpy() for rows in columns], axis=1)


def _known(columns: Sequence[pl.DataFrame]) -> NDArray[np.bool_]:
    """Which cells are known of an earlier release: rows of each frame as a column."""
    return np.stack([rows["known"].to_numpy() for rows in columns], axis=1)


def control_qc_profile(frame: pl.DataFrame, context: Context) -> Judged:
    """Bins of each metric as one column, then passes, warnings and fails against the bins."""
    settings = context.settings
    rows, nulled = [_unmarked(frame)], [_unmarked(frame)]
    for metric in frame.partition_by("metric", "assay", maintain_order=True):
        bins = metric.sort("bin_lower")
        counts, total = bins["n"].to_numpy(), int(bins["n_total"][0])
        primary = _withheld_columns(np.array([total]), 0, settings)[0]
        status = protect_grid(
            counts.reshape(-1, 1),
            np.array([total]),
            settings.minimum_cell_count,
            unsafe_counts(settings),
            withheld_columns=np.array([primary is not None]),
            ranks=_cell_ranks([bins], TABLES["qc_profile"], context),
            marked=_marked([bins]),
            known=_known([bins]),
        )[:, 0]
        judged = _with_status(bins, status, primary)
        parts = [None if (n := bins[name][0]) is None else int(n) for name in DECIDED]
        if parts[0] is not None and not _releasable(counts, status, parts, settings):
            nulled.append(judged.filter(pl.col("rule").is_null()))
            judged = judged.with_columns(
                pl.lit(None, dtype=pl.Int64).alias(name) for name in DECIDED
            )
        rows.append(judged)
    return Judged(pl.concat(rows), pl.concat(nulled).with_columns(rule=pl.lit(PASSED)))


def _releasable(
    counts: NDArray[np.int64],
    status: NDArray[np.int64],
    parts: Sequence[int | None],
    settings: DisclosureSettings,
) -> bool:
    """Whether the numbers of passes, warnings and fails may stand beside the released bins.

    Limits are edges of bins as a rule, so that what does not fail, and what passes, are bins next
    to each other. For every such choice that fits, what is withheld within it, outside it and
    between the two has to be safe in sum. A part that the study does not have (None) is no count.
    """
    unsafe = unsafe_counts(settings)
    if any(part is not None and unsafe(part) for part in parts):
        return False
    hidden = status != RELEASED
    if not hidden.any():
        return True
    passed, warned, _ = (part or 0 for part in parts)
    before = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(counts.size)

    def runs(total: int) -> list[NDArray[np.bool_]]:
        return [
            (index >= first) & (index < last)
            for first, last in combinations_with_replacement(range(counts.size + 1), 2)
            if before[last] - before[first] == total
        ]

    unfailed, passes = runs(passed + warned), runs(passed)
    between = [
        outer & ~inner for outer in unfailed for inner in passes if not (inner & ~outer).any()
    ]
    sides = [*unfailed, *(~run for run in unfailed), *passes, *(~run for run in passes), *between]
    return not any(
        part.any() and (unsafe(int(counts[part].sum())) or (part.sum() < 2 and status[part][0]))
        for part in (side & hidden for side in sides)
    )


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
        judged = judged.with_columns(_mark(condition, rule))
    judged = _after_strata(
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
    settings = context.settings
    assessed, carriers = pl.col("n_assessed"), pl.col("n_carriers")

    def safe(n: pl.Expr, part: pl.Expr) -> pl.Expr:
        return safe_part(part, n, settings)

    judged = frame.with_columns(_mark(~enough_patients(assessed, settings), MINIMUM_N))
    judged = judged.with_columns(_mark(~safe(assessed, carriers), MINIMUM_CELL_COUNT))
    judged = _after_strata(
        protect_strata(
            judged,
            ["gene_id", "consequence_group"],
            ["n_assessed", "n_carriers"],
            safe,
            pl.col("rule").is_not_null(),
            settings.minimum_cell_count,
            key=context.key,
        )
    )
    return Judged(judged, _unmarked(frame))


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


def control_gene_alterations(frame: pl.DataFrame, context: Context) -> Judged:
    """Altered and unaltered patients by stratum and by class.

    Three groups of classes, each with its own ties. The class "any" is the union of the
    protein-altering ones, so it bounds them from both sides: no class leaves without it; the
    released classes of the whole cohort must not leave a withheld one too little room. The
    copy-number classes exclude each other, so what they leave over of the assessed patients (those
    without a change, and the withheld classes) is as good as released, and has to be safe. Classes
    of either group leave by stratum only for genes all of whose cells are safe. Promoter variants
    stand alone.
    """
    settings = context.settings
    assessed, altered = pl.col("n_assessed"), pl.col("n_altered")

    def safe(n: pl.Expr, part: pl.Expr) -> pl.Expr:
        return safe_part(part, n, settings)

    judged = frame.with_columns(_mark(~enough_patients(assessed, settings), MINIMUM_N))
    judged = judged.with_columns(_mark(~safe(assessed, altered), MINIMUM_CELL_COUNT))
    judged = _after_strata(
        protect_strata(
            judged,
            ["gene_id", "alteration_class"],
            ["n_assessed", "n_altered"],
            safe,
            pl.col("rule").is_not_null(),
            settings.minimum_cell_count,
            key=context.key,
        )
    )
    is_protein = pl.col("alteration_class").is_in(PROTEIN_ALTERING)
    is_copy_number = pl.col("alteration_class").is_in(COPY_NUMBER)
    is_whole = pl.col("stratum_variable") == ALL
    cell = ["gene_id", "stratum_variable", "stratum"]
    any_row = judged.filter(pl.col("alteration_class") == ANY).select(
        *cell, any_altered="n_altered", any_open=pl.col("rule").is_null()
    )
    judged = (
        judged.join(any_row, on=cell, how="left", maintain_order="left")
        .with_columns(_mark(is_protein & ~pl.col("any_open").fill_null(value=False), CLASSES))
        .with_row_index("_row")
    )
    judged = _bound_classes(judged, settings.minimum_cell_count, context.key)
    judged = _protect_remainder(judged, cell, safe, context.key)
    for member in (is_protein, is_copy_number):
        withheld = member & pl.col("rule").is_not_null()
        judged = judged.with_columns(
            _whole=(withheld & is_whole).any().over("gene_id"),
            _strata=withheld.any().over("gene_id", "stratum_variable"),
        ).with_columns(_mark(member & ~is_whole & (pl.col("_whole") | pl.col("_strata")), CLASSES))
    judged = _unknown_remainder(judged, is_copy_number, safe)
    judged = _bound_strata(judged, settings.minimum_cell_count, safe)
    return Judged(
        judged.drop("_row", "any_altered", "any_open", "_whole", "_strata"), _unmarked(frame)
    )


def _protect_remainder(
    judged: pl.DataFrame, cell: list[str], safe: Callable[..., pl.Expr], key: bytes
) -> pl.DataFrame:
    """Withhold copy-number classes until the patients in none of the released ones are safe.

    The next class is that of a keyed order, whatever its size, even if it is empty: from the
    smallest, or the smallest that is not empty, the sizes of the withheld ones could be told.
    """
    is_open = pl.col("alteration_class").is_in(COPY_NUMBER) & pl.col("rule").is_null()
    released = pl.when(is_open).then("n_altered").otherwise(0).sum().over(cell)
    exposed = is_open.any().over(cell) & ~safe(pl.col("n_assessed"), released)
    while True:
        candidates = judged.with_columns(_exposed=exposed).filter(
            pl.col("_exposed").fill_null(value=True) & is_open
        )
        if candidates.is_empty():
            return judged
        chosen = _next_classes(candidates, cell, key)
        judged = judged.with_columns(_mark(pl.col("_row").is_in(chosen["_row"].implode()), CLASSES))


def _unknown_remainder(
    judged: pl.DataFrame, is_copy_number: pl.Expr, safe: Callable[..., pl.Expr]
) -> pl.DataFrame:
    """Withhold copy-number strata whose difference to the whole exposes who is in no stratum."""
    is_whole = pl.col("stratum_variable") == ALL
    groups = judged.filter(is_copy_number & pl.col("rule").is_null()).group_by(
        "gene_id", "stratum_variable", "stratum"
    )
    sums = groups.agg(pl.col("n_assessed").first(), pl.col("n_altered").sum())
    whole = sums.filter(is_whole).select("gene_id", whole="n_assessed", whole_altered="n_altered")
    unknown = (
        sums.filter(~is_whole)
        .group_by("gene_id", "stratum_variable")
        .agg(pl.col("n_assessed", "n_altered").sum())
        .join(whole, on="gene_id")
    )
    rest, altered = (
        pl.col("whole") - pl.col("n_assessed"),
        pl.col("whole_altered") - pl.col("n_altered"),
    )
    exposed = unknown.filter((rest > 0) & ~safe(rest, altered)).select(
        "gene_id", "stratum_variable", _exposed=pl.lit(value=True)
    )
    return (
        judged.join(exposed, on=["gene_id", "stratum_variable"], how="left", maintain_order="left")
        .with_columns(_mark(is_copy_number & pl.col("_exposed").is_not_null(), CLASSES))
        .drop("_exposed")
    )


def _next_classes(candidates: pl.DataFrame, cell: Sequence[str], key: bytes) -> pl.DataFrame:
    """Take the class of each cell that is the first in the keyed order."""
    names = candidates.select("gene_id", "stratum_variable", "stratum", "alteration_class")
    ranks = pl.Series(partner_ranks(key, names.iter_rows()))
    return (
        candidates.with_columns(_rank=ranks)
        .sort("_rank")
        .unique(list(cell), keep="first", maintain_order=True)
    )


def _bound_classes(judged: pl.DataFrame, least: int, key: bytes) -> pl.DataFrame:
    """Withhold classes of the whole cohort until the union bounds no withheld one too closely.

    The withheld classes cover at least any − (sum of released classes) patients. That is harmless
    if it is not positive, or if it is a safe count that two or more altered classes share. Further
    classes are withheld in a keyed order, not by size. Only classes with patients are taken: that a
    withheld class is not empty is known anyway, as empty ones leave or all are withheld.
    """
    open_row = pl.col("rule").is_null()
    is_class = pl.col("alteration_class").is_in(PROTEIN_ALTERING) & (
        pl.col("stratum_variable") == ALL
    )
    positive = is_class & (pl.col("n_altered") > 0)
    uncovered = pl.col("any_altered") - (
        pl.when(is_class & open_row).then("n_altered").otherwise(0).sum().over("gene_id")
    )
    n_hidden = (is_class & ~open_row).sum().over("gene_id")
    n_sharing = (positive & ~open_row).sum().over("gene_id")
    exposed = (n_hidden > 0) & (uncovered > 0) & ~((n_sharing >= 2) & (uncovered >= least))
    while True:
        candidates = judged.with_columns(_exposed=exposed).filter(
            pl.col("_exposed") & positive & open_row & pl.col("any_open")
        )
        if candidates.is_empty():
            return judged
        chosen = _next_classes(candidates, ["gene_id"], key)
        judged = judged.with_columns(_mark(pl.col("_row").is_in(chosen["_row"].implode()), CLASSES))


def _bound_strata(judged: pl.DataFrame, least: int, safe: Callable[..., pl.Expr]) -> pl.DataFrame:
    """Withhold the union's strata where they bound a class's withheld count more than sizes do.

    A class has at most as many patients in a stratum as the union, so that the whole class less
    what the union has in the other strata is a lower bound, and the union's own count an upper one.
    Without the union's strata it is the strata's sizes and the whole union, which are known anyway.
    """
    place = ["gene_id", "stratum_variable"]
    is_stratum = pl.col("stratum_variable") != ALL
    is_union = pl.col("alteration_class") == ANY
    is_open = pl.col("rule").is_null()
    size, whole_class = pl.col("n_assessed"), pl.col("_whole_class")
    wholes = judged.filter(~is_stratum)
    unions = (
        judged.filter(is_union & is_stratum)
        # A class leaves with the whole union only.
        .join(
            wholes.filter(is_union).select("gene_id", _everyone="n_assessed", _union="n_altered"),
            on="gene_id",
        )
        .with_columns(
            _most=pl.when(is_open).then("n_altered").otherwise("n_assessed"),
            _least=pl.when(is_open).then("n_altered").otherwise(0),
        )
        .select(
            *place,
            "stratum",
            "_everyone",
            "_union",
            "_most",
            # Patients of unknown stratum may all be altered.
            _others=pl.min_horizontal(
                (pl.col("_most") - size).sum().over(place) + pl.col("_everyone") - pl.col("_most"),
                pl.col("_union") - pl.col("_least"),
            ),
        )
    )
    classes = wholes.filter(is_open).select("gene_id", "alteration_class", _whole_class="n_altered")

    def width(most: pl.Expr, others: pl.Expr) -> pl.Expr:
        return pl.min_horizontal(most, whole_class) - (whole_class - others).clip(lower_bound=0)

    bounded = width(pl.col("_most"), pl.col("_others"))
    anyway = width(size, pl.min_horizontal(pl.col("_everyone") - size, "_union"))
    exposed = (
        judged.filter(
            is_stratum
            & pl.col("alteration_class").is_in(PROTEIN_ALTERING)
            & ~is_open
            & ~safe(size, pl.col("n_altered"))
        )
        .join(unions, on=[*place, "stratum"])
        .join(classes, on=["gene_id", "alteration_class"])
        .filter((bounded < least) & (bounded < anyway))
        .select(place)
        .unique()
        .with_columns(_bounded=pl.lit(value=True))
    )
    return (
        judged.join(exposed, on=place, how="left", maintain_order="left")
        .with_columns(_mark(is_union & pl.col("_bounded").fill_null(value=False), CLASSES))
        .drop("_bounded")
    )


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
    judged = _control_moments(
        sized.drop("_assessed"), "mutation_burden", "measure", pl.col("variance"), context
    )
    return Judged(judged.drop("_lacking"), _unmarked(frame))


def _control_moments(
    frame: pl.DataFrame, table: str, line: str, variance: pl.Expr, context: Context
) -> pl.DataFrame:
    """Means and variances, which give away n, sum and sum of squares of what is left over.

    The column ``_lacking``, if there is one, is the number of patients without a value: a count
    that is known with n, and left over with it. Values that few patients have are judged on the
    patients, because they do not show in the moments.
    """
    if "_lacking" not in frame.columns:
        lacking = frame.with_columns(_lacking=pl.lit(0))
        return _control_moments(lacking, table, line, variance, context).drop("_lacking")
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
        _mark(~enough_patients(n, settings), MINIMUM_N),
        _total=n * mean,
        _squares=(n - 1) * variance + n * mean**2,
    )
    for condition, rule in (
        (~(variance > 0), CONSTANT),
        (~known(pl.col("_lacking")), ESTIMATED),
        *((~holds, rule) for holds, rule in contributions(n, total, squares)),
    ):
        judged = judged.with_columns(_mark(condition, rule))
    judged = _mark_features(
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
    return _after_strata(judged).drop("_total", "_squares")


def _mark_model(
    frame: pl.DataFrame, model: str, n: pl.Expr, context: Context, terms: pl.Expr | None = None
) -> pl.DataFrame:
    """Withhold models with many parameters for their patients (or events).

    `terms` are those that the model has at the site, if these can be more than the study's.
    """
    parameters, settings = _parameters(frame, model, context), context.settings
    if terms is not None:
        parameters = pl.max_horizontal(parameters, terms)
    return frame.with_columns(
        _mark(~few_parameters(parameters, n, settings), PARAMETERS)
    ).with_columns(_mark(~enough_degrees_of_freedom(parameters, n, settings), RESIDUAL))


def _parameters(frame: pl.DataFrame, model: str, context: Context) -> pl.Expr:
    names = frame[model].unique().to_list()
    unknown = sorted(set(names) - set(context.parameters))
    if unknown:
        raise ValueError(
            f"no number of parameters was given for {model} {', '.join(unknown)}; "
            "nothing leaves without a rule"
        )
    return pl.col(model).replace_strict(
        dict(context.parameters), default=None, return_dtype=pl.Int64
    )


def _mark_features(
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
        .with_columns(_mark(n != pl.col("_judged"), FEATURE_NOT_JUDGED))
        .with_columns(rule=pl.coalesce("rule", "_feature_rule"))
        .drop(*names, "_judged", "_feature_rule")
    )


def control_expression_effects(frame: pl.DataFrame, context: Context) -> Judged:
    """Both groups are large enough, the model is small enough, and nobody makes up the mean."""
    return _control_effects(frame, "expression_effects", pl.lit(""), context)


def control_cell_expression_effects(frame: pl.DataFrame, context: Context) -> Judged:
    """Judge each cell type's effects as those of all cells."""
    return _control_effects(frame, "cell_expression_effects", pl.col("cell_type"), context)


def _control_effects(frame: pl.DataFrame, table: str, part: pl.Expr, context: Context) -> Judged:
    settings = context.settings
    least = group_size(settings)
    case, control = pl.col("n_case"), pl.col("n_control")
    judged = frame.with_columns(_mark((case < least) | (control < least), MINIMUM_N))
    judged = _mark_model(judged, "contrast", case + control, context)
    judged = _mark_features(judged, table, part, pl.col("gene_id"), case + control, context)
    return Judged(judged, _unmarked(frame))


def control_expression_design(frame: pl.DataFrame, context: Context) -> Judged:
    """Every group that a sum is over, and every cell of two groups, is large enough.

    What X'X does not show is judged on the patients: their leverage, and numeric covariates that
    have few values.
    """
    judged = _judge_designs(frame, ["contrast"], context)
    judged = _mark_features(
        judged, "expression_design", pl.lit(""), pl.lit(""), pl.col("n"), context
    )
    return Judged(judged, _unmarked(frame))


def _judge_designs(frame: pl.DataFrame, keys: Sequence[str], context: Context) -> pl.DataFrame:
    """Judge each X'X (named by `keys`) by the counts in it."""
    settings = context.settings
    judged = frame.with_columns(_mark(~enough_patients(pl.col("n"), settings), MINIMUM_N))
    # Plates and batches of the site come on top of what the study's model has.
    terms = pl.col("row_term").n_unique().over(keys).cast(pl.Int64)
    judged = _mark_model(judged, "contrast", pl.col("n"), context, terms)
    crowded = [
        part.select(keys).head(1)
        for part in frame.partition_by(keys)
        if not safe_groups(part, settings.minimum_n, unsafe_counts(settings))
    ]
    return _mark_groups(judged, keys, crowded, GROUPS)


def _mark_groups(
    judged: pl.DataFrame, keys: Sequence[str], groups: Sequence[pl.DataFrame], rule: str
) -> pl.DataFrame:
    """Name the rule for all rows of some groups, each given as one row of its keys."""
    if not groups:
        return judged
    marked = pl.concat(groups).with_columns(_marked=pl.lit(value=True))
    return (
        judged.join(marked, on=list(keys), how="left", maintain_order="left")
        .with_columns(_mark(pl.col("_marked").fill_null(value=False), rule))
        .drop("_marked")
    )


def control_matrix_design(frame: pl.DataFrame, context: Context) -> Judged:
    """Judge groups as in expression, and the differences between the designs of a contrast.

    Two missingness patterns that differ by one patient give this patient's covariates away. So the
    designs that leave (of all assays, and of expression) have to differ by as many patients as a
    statistic needs, and by safe counts in each group. Patterns with more features come first.
    """
    settings = context.settings
    judged = _judge_designs(frame, list(PATTERN), context)
    pattern = pl.col("pattern").cast(pl.String)
    judged = _mark_features(judged, "matrix_design", pl.col("assay"), pattern, pl.col("n"), context)
    expression = context.tables["expression_design"]
    leaving = control_expression_design(expression, context).frame.filter(pl.col("rule").is_null())
    sizes = context.tables["matrix_moments"].group_by(PATTERN).agg(_features=pl.len())
    order = (
        judged.filter(pl.col("rule").is_null())
        .select(PATTERN)
        .unique()
        .join(sizes, on=list(PATTERN), how="left")
        .with_columns(pl.col("_features").fill_null(0))
        .sort("_features", *PATTERN, descending=[True, False, False, False])
        .with_columns(_rank=pl.int_range(pl.len()).over("assay", "contrast"))
        .sort("_rank", maintain_order=True)
    )
    patterns = Patterns(group_size(settings), unsafe_counts(settings))
    for (contrast,), design in leaving.group_by("contrast"):
        patterns.add("expression", str(contrast), cross_products(design))
    close = []
    for row in order.select(PATTERN).iter_slices(1):
        assay, contrast, _ = row.row(0)
        products = cross_products(judged.join(row, on=list(PATTERN), how="semi"))
        if patterns.may_join(assay, contrast, products):
            patterns.add(assay, contrast, products)
        else:
            close.append(row)
    return Judged(_mark_groups(judged, PATTERN, close, PATTERNS), _unmarked(frame))


def control_expression_moments(frame: pl.DataFrame, context: Context) -> Judged:
    """Moments leave with their design or not at all, and only where nobody makes them up."""
    design = context.tables["expression_design"]
    judged = _judge_moments(frame, control_expression_design(design, context).frame, ["contrast"])
    judged = _mark_features(
        judged, "expression_moments", pl.lit(""), pl.col("gene_id"), pl.col("n"), context
    )
    return Judged(judged, _unmarked(frame))


def control_matrix_moments(frame: pl.DataFrame, context: Context) -> Judged:
    """Judge moments as in expression, with the design of their missingness pattern."""
    design = context.tables["matrix_design"]
    judged = _judge_moments(frame, control_matrix_design(design, context).frame, list(PATTERN))
    judged = _mark_features(
        judged, "matrix_moments", pl.col("assay"), pl.col("feature"), pl.col("n"), context
    )
    return Judged(judged, _unmarked(frame))


def _judge_moments(
    frame: pl.DataFrame, judged_design: pl.DataFrame, keys: Sequence[str]
) -> pl.DataFrame:
    """Hold moments to their design, and to leave residuals: without, the model tells each value."""
    released = (
        judged_design.group_by(keys)
        .agg(
            _open=pl.col("rule").is_null().all(),
            _n=pl.col("n").first(),
            _terms=pl.col("row_term").unique().sort(),
        )
        .filter("_open")
    )
    judged = (
        frame.with_row_index("_row")
        .join(released, on=list(keys), how="left", maintain_order="left")
        .with_columns(
            _mark(
                ~(
                    (pl.col("n") == pl.col("_n"))
                    & (pl.col("terms").list.sort() == pl.col("_terms"))
                ),
                DESIGN,
            )
        )
    )
    fitted = [_unmarked(judged).select("_row", _varies=pl.lit(value=True))]
    for part in judged.filter(pl.col("rule").is_null()).partition_by(*keys):
        design = judged_design.join(part.head(1), on=list(keys), how="semi")
        residual = unexplained(design, part)
        fitted.append(part.select("_row", _varies=pl.Series(residual)))
    return (
        judged.join(pl.concat(fitted), on="_row", how="left", maintain_order="left")
        .with_columns(_mark(~pl.col("_varies"), CONSTANT))
        .drop("_row", "_open", "_n", "_terms", "_varies")
    )


def control_survival_effects(frame: pl.DataFrame, context: Context) -> Judged:
    """Enough patients, events and survivors, and few parameters per event."""
    settings = context.settings
    n, events = pl.col("n"), pl.col("n_events")
    judged = frame.with_columns(_mark(~enough_patients(n, settings), MINIMUM_N)).with_columns(
        # The whole follow-up is one step, at whose end nobody is at risk any more.
        _mark(~safe_survival_step(n, events, n - events, settings), MINIMUM_CELL_COUNT)
    )
    return Judged(_mark_model(judged, "endpoint", events, context), _unmarked(frame))


def control_survival_curve(frame: pl.DataFrame, context: Context) -> Judged:
    """Bins as wide as their counts need, first of the whole cohort, then of each stratum variable.

    The strata of a variable share their edges, which are edges of the whole cohort's curve; see
    `merge_bins` for what is required of them. What would leave is then compared with the curves of
    earlier releases.
    """
    settings = context.settings
    judged = [_unmarked(frame)]
    for endpoint in frame.partition_by("endpoint", maintain_order=True):
        bins = _curve_bins(endpoint)
        whole = endpoint.filter(pl.col("stratum_variable") == ALL)
        if whole.is_empty():
            raise ValueError("a survival curve lacks the whole cohort, which its rules need")
        counts = _curve_counts([whole], bins)
        runs = merge_bins(counts, unsafe_counts(settings), settings.minimum_n)
        edges = np.zeros(bins.height + 1, dtype=bool)
        edges[[stop for _, stop in runs[0]]] = True
        groups = [([whole], runs)]
        for variable in endpoint.filter(pl.col("stratum_variable") != ALL).partition_by(
            "stratum_variable", maintain_order=True
        ):
            strata = variable.partition_by("stratum", maintain_order=True)
            groups.append(
                (
                    strata,
                    merge_bins(
                        _curve_counts(strata, bins),
                        unsafe_counts(settings),
                        settings.minimum_n,
                        edges,
                        counts[:, :, 0],
                    )
                    if runs[0]
                    else [[] for _ in strata],
                )
            )
        for curves, found in groups:
            for curve, run in zip(curves, found, strict=True):
                judged.append(_merged_curve(curve.sort("time_lower"), run, settings))
    merged_curves = pl.concat(judged)
    safe = merged_curves.filter(pl.col("rule").is_null())
    left = context.compare_curves(safe)
    ends = left.group_by(CURVE).agg(_end=pl.col("time_upper").fill_null(np.inf).max())
    told = pl.col("time_lower") < pl.col("_end")
    gone = (
        safe.join(ends, on=list(CURVE), how="left", maintain_order="left")
        .filter(~told.fill_null(value=False))
        .with_columns(rule=pl.lit(DIFFERENCING))
        .drop("_end")
    )
    merged = (
        frame.join(ends, on=list(CURVE), how="inner", maintain_order="left")
        .filter(told)
        .drop("_end")
        .join(left, on=[*CURVE, "time_lower", "time_upper"], how="anti", nulls_equal=True)
    )
    withheld = merged_curves.filter(pl.col("rule").is_not_null())
    return Judged(pl.concat([left, withheld, gone]), merged.with_columns(rule=pl.lit(MERGED)))


def _curve_bins(endpoint: pl.DataFrame) -> pl.DataFrame:
    return endpoint.select("time_lower", "time_upper").unique().sort("time_lower", "time_upper")


def _curve_counts(curves: Sequence[pl.DataFrame], bins: pl.DataFrame) -> NDArray[np.int64]:
    """Events and censored patients (2 x bins x curves) of curves on the same bins.

    Whatever does not add up, or leaves open what comes after the last bin, is refused.
    """
    counts = []
    for curve in curves:
        ordered = curve.sort("time_lower")
        cells = ordered.select("n_events", "n_censored").to_numpy()
        expected = cells.sum(axis=1)[::-1].cumsum()[::-1]
        if not ordered.select(bins.columns).equals(bins, null_equal=True) or not np.array_equal(
            ordered["n_at_risk"].to_numpy(), expected
        ):
            raise ValueError("the bins of a survival curve do not hold each patient once")
        counts.append(cells.T)
    return np.stack(counts, axis=2).astype(np.int64)


def _merged_curve(
    curve: pl.DataFrame, runs: Sequence[tuple[int, int]], settings: DisclosureSettings
) -> pl.DataFrame:
    """One curve with its bins merged, then what is withheld."""
    left = []
    for first, stop in runs:
        part = curve[first:stop]
        left.append(
            part.head(1).with_columns(
                time_upper=part["time_upper"].tail(1),
                n_events=pl.lit(part["n_events"].sum(), dtype=pl.Int64),
                n_censored=pl.lit(part["n_censored"].sum(), dtype=pl.Int64),
            )
        )
    rest = curve[runs[-1][1] if runs else 0 :]
    events, censored = rest["n_events"].sum(), rest["n_censored"].sum()
    rest = rest.with_columns(
        _mark(~enough_patients(pl.col("n_at_risk"), settings), MINIMUM_N)
    ).with_columns(
        _mark(
            ~(safe_count(pl.lit(events), settings) & safe_count(pl.lit(censored), settings)),
            MINIMUM_CELL_COUNT,
        )
    )
    rest = rest.with_columns(_mark(pl.lit(value=True), COMPLEMENTARY))
    return pl.concat([*left, rest])


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
        judged = judged.with_columns(_mark(condition, rule))
    is_whole = pl.col("stratum_variable") == ALL
    whole = judged.filter(is_whole)
    kept = withheld_parts(whole, safe, settings, (), context.key)
    parts = [whole.with_columns(_mark(pl.col("cell_type").is_in(kept), COMPLEMENTARY))]
    for strata in judged.filter(~is_whole).partition_by("stratum_variable", maintain_order=True):
        names, columns = released_strata(strata, whole, settings, context.key)
        types = withheld_parts(columns, safe, settings, kept, context.key)
        withheld = pl.col("cell_type").is_in(types) | ~pl.col("stratum").is_in(names)
        parts.append(strata.with_columns(_mark(withheld, COMPLEMENTARY)))
    return Judged(pl.concat(parts).drop("_total", "_squares"), _unmarked(frame))


#: The rules of each table. A table without an entry cannot leave.
RULES: Mapping[str, Callable[[pl.DataFrame, Context], Judged]] = {
    "cohort_profile": control_cohort_profile,
    "qc_profile": control_qc_profile,
    "variant_frequencies": control_variant_frequencies,
    "germline_gene_carriers": control_germline_gene_carriers,
    "gene_alterations": control_gene_alterations,
    "mutation_burden": control_mutation_burden,
    "expression_effects": control_expression_effects,
    "expression_design": control_expression_design,
    "expression_moments": control_expression_moments,
    "matrix_design": control_matrix_design,
    "matrix_moments": control_matrix_moments,
    "survival_effects": control_survival_effects,
    "survival_curve": control_survival_curve,
    "cell_composition": control_cell_composition,
    "cell_expression_effects": control_cell_expression_effects,
}
