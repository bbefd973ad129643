"""Disclosure control of `gene_alterations`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from ihdsi.disclosure.partner_order import partner_ranks
from ihdsi.disclosure.rules import safe_part
from ihdsi.disclosure.tables.judging import (
    Context,
    Judged,
    judge_parts,
    mark,
    unmarked,
)
from ihdsi.disclosure.tables.reasons import CLASSES
from ihdsi.summaries.gene_alterations import ANY, COPY_NUMBER, PROTEIN_ALTERING
from ihdsi.summaries.strata import ALL

__all__ = [
    "control_gene_alterations",
]


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

    def safe(n: pl.Expr, part: pl.Expr) -> pl.Expr:
        return safe_part(part, n, settings)

    keys = ["gene_id", "alteration_class"]
    judged = judge_parts(frame, keys, "n_assessed", "n_altered", context)
    is_protein = pl.col("alteration_class").is_in(PROTEIN_ALTERING)
    is_copy_number = pl.col("alteration_class").is_in(COPY_NUMBER)
    is_whole = pl.col("stratum_variable") == ALL
    cell = ["gene_id", "stratum_variable", "stratum"]
    any_row = judged.filter(pl.col("alteration_class") == ANY).select(
        *cell, any_altered="n_altered", any_open=pl.col("rule").is_null()
    )
    judged = (
        judged.join(any_row, on=cell, how="left", maintain_order="left")
        .with_columns(mark(is_protein & ~pl.col("any_open").fill_null(value=False), CLASSES))
        .with_row_index("_row")
    )
    judged = _bound_classes(judged, settings.minimum_cell_count, context.key)
    judged = _protect_remainder(judged, cell, safe, context.key)
    for member in (is_protein, is_copy_number):
        withheld = member & pl.col("rule").is_not_null()
        judged = judged.with_columns(
            _whole=(withheld & is_whole).any().over("gene_id"),
            _strata=withheld.any().over("gene_id", "stratum_variable"),
        ).with_columns(mark(member & ~is_whole & (pl.col("_whole") | pl.col("_strata")), CLASSES))
    judged = _unknown_remainder(judged, is_copy_number, safe)
    judged = _bound_strata(judged, settings.minimum_cell_count, safe)
    return Judged(
        judged.drop("_row", "any_altered", "any_open", "_whole", "_strata"), unmarked(frame)
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
        judged = judged.with_columns(mark(pl.col("_row").is_in(chosen["_row"].implode()), CLASSES))


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
        .with_columns(mark(is_copy_number & pl.col("_exposed").is_not_null(), CLASSES))
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
        judged = judged.with_columns(mark(pl.col("_row").is_in(chosen["_row"].implode()), CLASSES))


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
        .with_columns(mark(is_union & pl.col("_bounded").fill_null(value=False), CLASSES))
        .drop("_bounded")
    )
