"""Optional differential privacy of count tables: noise by OpenDP, and its budget.

Neighbours are two cohorts of which one has one more patient. A table is taken apart into integer
cells such that it follows from them; each cell gets discrete Laplace noise, whose scale is the
largest number of cells a patient can count in (the L1 sensitivity) over epsilon; the table is put
together again from the noisy cells and forced into its contract (Dwork & Roth 2014, Foundations
and Trends in Theoretical Computer Science 9:211, sections 3.3 and 3.5; Ghosh et al. 2012, SIAM J
Comput 41:1673, for the discrete distribution).

What it does not do. No patient's contribution is clamped: the tables are made from everybody, and
the sensitivity is the worst case, a patient who counts in every row of each of their strata. It
grows with the number of genes or variants and of stratum variables, so that this is for tables of
few rows. Which rows are there is decided before, by the other rules, on the patients' true
values, and is not protected by the noise; nor are tables that were not chosen, in this release or
an earlier one. Epsilons of releases add up (basic composition).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.errors import InputError, Problem
from ihdsi.study import DifferentialPrivacy
from ihdsi.summaries.gene_alterations import COPY_NUMBER
from ihdsi.summaries.variant_frequencies import VARIANT_KEY
from ihdsi.variants.hardy_weinberg import is_autosome

__all__ = ["Cells", "cells_of", "discrete_laplace", "privatise", "require_budget"]

IntArray = NDArray[np.int64]

#: A patient adds two to a count of alternate alleles, and one to a count of patients.
_ALLELES = 2


@dataclass(frozen=True)
class Cells:
    """A table as integer cells.

    Parameters
    ----------
    counts
        Values of the cells; shape (C,).
    sensitivity
        Most that one patient, added or removed, changes the sum of the absolute values of the
        cells by.
    """

    counts: IntArray
    sensitivity: int


def require_budget(settings: DifferentialPrivacy, spent: float) -> None:
    """Refuse a release whose epsilon the budget does not hold any more.

    Parameters
    ----------
    settings
        epsilon of the release, and the budget of all releases of the site for the study.
    spent
        Sum of the epsilons of earlier releases.

    Raises
    ------
    InputError
        If spent + epsilon exceeds the budget.
    """
    # Sums of decimal fractions exceed what they are meant to be by rounding.
    if spent + settings.epsilon > settings.budget * (1 + 1e-9):
        raise InputError(
            Problem(
                f"the privacy budget is exhausted: {spent:g} of {settings.budget:g} is spent, and "
                f"this release would spend {settings.epsilon:g}",
                "Lower disclosure.differential_privacy.epsilon, agree on a larger budget, or "
                "release nothing more of this study.",
            )
        )


def discrete_laplace(counts: IntArray, sensitivity: int, epsilon: float) -> IntArray:
    """Add discrete Laplace noise, P(z) ∝ exp(−|z| epsilon / sensitivity), to each count.

    The noise is OpenDP's and comes from its cryptographically secure generator: there is no seed.

    Parameters
    ----------
    counts
        Shape (C,).
    sensitivity
        L1 distance of the counts of neighbours, at least 1.
    epsilon
        Privacy loss, positive.

    Raises
    ------
    ValueError
        If sensitivity or epsilon is not positive.
    """
    if sensitivity < 1 or not epsilon > 0:
        raise ValueError("sensitivity and epsilon must be positive")
    if not counts.size:
        return counts.copy()
    # The library takes a while to load, and few releases need it.
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    scale = sensitivity / epsilon
    mechanism = dp.m.make_laplace(*space, scale=scale)
    while not mechanism.check(sensitivity, epsilon):
        # OpenDP's arithmetic rounds the loss up, so that the quotient may be short by an ulp.
        scale = float(np.nextafter(scale, np.inf))
        mechanism = dp.m.make_laplace(*space, scale=scale)
    return np.array(mechanism(counts.tolist()), dtype=np.int64)


def cells_of(table: str, frame: pl.DataFrame) -> Cells:
    """Take a cleared table apart.

    gene_alterations: n_altered of each row, and n_assessed once for all rows that share it (all
    genes of a stratum; of copy numbers, each gene). A patient has one stratum of each variable; in
    it they can be counted in each class of each gene, of copy-number classes in one.

    variant_frequencies: of each row those without the allele, with one, and with two, of which a
    patient is one; beyond the autosomes also the haploid genotypes. Where n_carriers is withheld,
    the called patients and the alternate alleles, to which a patient adds three.

    Parameters
    ----------
    table
        ``gene_alterations`` or ``variant_frequencies``.
    frame
        As it would leave without noise.

    Raises
    ------
    ValueError
        If the table is another one.
    """
    layout = _layout(table, frame)
    reach = (
        layout.group_by("bound", "stratum_variable", "stratum")
        .agg(pl.col("weight").sum(), pl.col("limit").first())
        .with_columns(reach=pl.min_horizontal("weight", "limit"))
        .group_by("stratum_variable", "stratum")
        .agg(pl.col("reach").sum())
        # A patient belongs to one stratum of each variable.
        .group_by("stratum_variable")
        .agg(pl.col("reach").max())
    )
    return Cells(layout["count"].to_numpy(), int(reach["reach"].sum()))


def privatise(
    tables: Mapping[str, pl.DataFrame], settings: DifferentialPrivacy
) -> dict[str, pl.DataFrame]:
    """Replace the counts of the chosen tables by noisy ones; the others stay as they are.

    The release's epsilon is shared equally between the chosen tables. Whole cohort and strata get
    noise of their own, and do not add up any more. Counts are forced into what the contract says
    (0 ≤ n_altered ≤ n_assessed and the like), which costs no privacy, and at least one patient was
    assessed or called.

    Parameters
    ----------
    tables
        Cleared tables by name.
    settings
        Tables and epsilon; see `require_budget` for the budget.
    """
    share = settings.epsilon / len(settings.tables)
    noisy = dict(tables)
    for name in settings.tables:
        frame = tables.get(name)
        if frame is None or frame.is_empty():
            continue
        cells = cells_of(name, frame)
        counts = discrete_laplace(cells.counts, cells.sensitivity, share)
        layout = _layout(name, frame).select("row", "kind", count=pl.Series(counts))
        noisy[name] = _ASSEMBLE[name](frame, layout)
    return noisy


def _layout(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Cells of a table.

    Columns: row (number of the row, or of the first row of those that share the cell), kind, count,
    stratum_variable, stratum, weight (what a patient can add), and bound and limit: cells of a
    stratum with the same bound together get at most the limit from a patient.
    """
    if table == "gene_alterations":
        return _alteration_cells(frame)
    if table == "variant_frequencies":
        return _variant_cells(frame)
    raise ValueError(f"differential privacy of the table '{table}' is not available")


def _assessed_group() -> list[pl.Expr]:
    """Return what names the rows that share n_assessed."""
    copied = pl.col("alteration_class").is_in(COPY_NUMBER)
    return [
        pl.when(copied).then("gene_id").otherwise(pl.lit("")).alias("shared"),
        pl.col("stratum_variable"),
        pl.col("stratum"),
    ]


def _alteration_cells(frame: pl.DataFrame) -> pl.DataFrame:
    rows = frame.with_row_index("row").with_columns(_assessed_group()[0])
    key = ["shared", "stratum_variable", "stratum"]
    if rows.group_by(key).agg(pl.col("n_assessed").n_unique())["n_assessed"].max() != 1:
        raise ValueError("n_assessed of small variants differs between the genes of a stratum")
    copied = pl.col("alteration_class").is_in(COPY_NUMBER)
    shared = ["row", "kind", "count", "stratum_variable", "stratum", "weight", "bound", "limit"]
    altered = rows.with_columns(
        kind=pl.lit("n_altered"),
        count=pl.col("n_altered"),
        weight=pl.lit(1),
        bound=pl.when(copied)
        .then(pl.lit("copy number of ") + pl.col("gene_id"))
        .otherwise(pl.col("gene_id") + pl.lit(" ") + pl.col("alteration_class")),
        limit=pl.lit(1),
    ).select(shared)
    assessed = (
        rows.unique(key, keep="first", maintain_order=True)
        .with_columns(
            kind=pl.lit("n_assessed"),
            count=pl.col("n_assessed"),
            weight=pl.lit(1),
            bound=pl.lit("assessed ") + pl.col("shared"),
            limit=pl.lit(1),
        )
        .select(shared)
    )
    return pl.concat([altered, assessed])


def _assemble_alterations(frame: pl.DataFrame, noisy: pl.DataFrame) -> pl.DataFrame:
    rows = frame.with_row_index("row").with_columns(_assessed_group()[0])
    altered = noisy.filter(kind="n_altered").select("row", _altered="count")
    assessed = noisy.filter(kind="n_assessed").select("row", _assessed="count")
    key = ["shared", "stratum_variable", "stratum"]
    sizes = rows.join(assessed, on="row", maintain_order="left").select(*key, "_assessed")
    return (
        rows.join(altered, on="row", how="left", maintain_order="left")
        .join(sizes, on=key, how="left", maintain_order="left")
        .with_columns(n_assessed=pl.max_horizontal("_assessed", 1))
        .with_columns(n_altered=pl.col("_altered").clip(0, pl.col("n_assessed")))
        .select(frame.columns)
        .cast(frame.schema)  # type: ignore[arg-type]
    )


def _variant_cells(frame: pl.DataFrame) -> pl.DataFrame:
    called, carriers, homozygous = (
        pl.col(name) for name in ("n_samples_called", "n_carriers", "n_homozygous")
    )
    whole = carriers.is_not_null()
    chromosomes = frame["chromosome"].unique().to_list()
    sexual = [name for name in chromosomes if not is_autosome(name)]
    haploid = pl.col("chromosome").is_in(sexual)
    rows = frame.with_row_index("row").with_columns(
        variant=pl.concat_str(list(VARIANT_KEY), separator=" ")
    )
    # (kind, count, what a patient can add, rows that have the cell, bound, most within the bound)
    kinds = (
        ("none", called - carriers, 1, whole, "genotype", 1),
        ("one", carriers - homozygous, 1, whole, "genotype", 1),
        ("two", homozygous, 1, whole, "genotype", 1),
        ("called", called, 1, ~whole, "called", 1),
        ("alleles", pl.col("allele_count"), _ALLELES, ~whole, "alleles", _ALLELES),
        ("haploid", _ALLELES * called - pl.col("allele_number"), 1, haploid, "haploid", 1),
    )
    return pl.concat(
        rows.filter(present).select(
            "row",
            pl.lit(kind).alias("kind"),
            count.alias("count"),
            "stratum_variable",
            "stratum",
            pl.lit(weight).alias("weight"),
            (pl.col("variant") + pl.lit(f" {bound}")).alias("bound"),
            pl.lit(limit).alias("limit"),
        )
        for kind, count, weight, present, bound, limit in kinds
    )


def _assemble_variants(frame: pl.DataFrame, noisy: pl.DataFrame) -> pl.DataFrame:
    kinds = ("none", "one", "two", "called", "alleles", "haploid")
    cells = noisy.with_columns(pl.col("count").clip(lower_bound=0)).pivot(
        "kind", index="row", values="count"
    )
    cells = cells.with_columns(
        pl.lit(None, dtype=pl.Int64).alias(kind) for kind in kinds if kind not in cells.columns
    )
    given = pl.col("one").is_not_null()
    called = pl.when(given).then(pl.sum_horizontal("none", "one", "two")).otherwise("called")
    rows = (
        frame.with_row_index("row")
        .join(cells, on="row", how="left", maintain_order="left")
        .with_columns(n_samples_called=pl.max_horizontal(called, 1))
    )
    size = pl.col("n_samples_called")
    # Haploid genotypes are of patients without the allele or with one.
    most = pl.when(given).then(size - pl.col("two")).otherwise(size)
    return (
        rows.with_columns(
            allele_number=_ALLELES * size - pl.min_horizontal(pl.col("haploid").fill_null(0), most),
            n_carriers=pl.when(given).then(pl.col("one") + pl.col("two")),
            n_homozygous=pl.when(given).then("two"),
        )
        .with_columns(
            allele_count=pl.when(given)
            .then(pl.col("n_carriers") + pl.col("n_homozygous"))
            .otherwise(pl.min_horizontal("alleles", "allele_number"))
        )
        .select(frame.columns)
        .cast(frame.schema)  # type: ignore[arg-type]
    )


_ASSEMBLE = {
    "gene_alterations": _assemble_alterations,
    "variant_frequencies": _assemble_variants,
}
