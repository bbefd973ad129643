"""Complementary suppression: withheld cells must not be computable from released ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.partner_order import partner_ranks
from ihdsi.summaries.strata import ALL

__all__ = ["PRIMARY", "RELEASED", "SECONDARY", "feasible_range", "protect_grid", "protect_strata"]

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

RELEASED, PRIMARY, SECONDARY = 0, 1, 2


def protect_strata(
    frame: pl.DataFrame,
    line: Sequence[str],
    additive: Sequence[str],
    safe: Callable[..., pl.Expr],
    withheld: pl.Expr,
    width: int = 0,
    *,
    key: bytes = b"",
) -> pl.DataFrame:
    """Withhold further strata until what is withheld is itself safe in sum, for all lines at once.

    The whole cohort minus the released strata of a variable is known to everybody. It is the sum
    over the withheld strata and over the patients whose stratum is unknown, and it is as good as
    released; so it has to fulfil the rule of a released row. While it does not, a further stratum
    is withheld, in the keyed order of `partner_ranks`: which one it is tells nothing of its size.

    A safe sum can still bound a withheld count: of a sum R over N patients, of which n are in the
    stratum, between max(0, R − (N − n)) and min(n, R) are in it, an interval of width
    min(n, R, N − R, N − n). Only the last of these, the patients that the stratum shares its sum
    with, does not follow from the rule; with `width` they have to be that many (or n, if those are
    fewer).

    Parameters
    ----------
    frame
        Rows with stratum_variable and stratum; (all, all) is the whole cohort. In the column
        ``known`` the rows that an earlier release told: they hide nothing, released or not.
    line
        Columns that, with the stratum variable, name the rows that add up to the whole; one or
        more.
    additive
        Columns that add up (counts, sums); the first is the number of patients.
    safe
        The rule of a released row: takes one expression for each column in `additive`.
    withheld
        Rows that are withheld in any case.
    width
        Smallest width of the interval in which a withheld count may be known to lie; 0 for sums
        that are no counts.
    key
        The site's secret.

    Returns
    -------
    polars.DataFrame
        `frame` with the column ``status`` (RELEASED, PRIMARY, SECONDARY). Where the whole is not
        released its strata are judged on their own: they are safe or zero then, and add up to
        a safe whole or to less than the whole. The whole is withheld only where strata that are
        known leave too little of it and no other stratum can hide that.

    References
    ----------
    Hundepool et al. 2012, Statistical Disclosure Control, secondary suppression:
    the sum of a line's suppressed cells has to be safe.
    """
    size, group = additive[0], [*line, "stratum_variable"]
    judged = frame.with_columns(
        status=pl.when(withheld).then(PRIMARY).otherwise(RELEASED).cast(pl.Int8)
    ).with_row_index("_row")
    is_whole = pl.col("stratum_variable") == ALL
    seen = (pl.col("status") == RELEASED) | pl.col("known")
    whole = judged.filter(is_whole).select(
        *line,
        *(pl.when(seen).then(name).alias(f"_whole_{name}") for name in additive),
        _everyone=pl.col(size),
    )
    strata = judged.filter(~is_whole).join(whole, on=list(line), how="left", nulls_equal=True)
    open_rows = pl.col("status") == RELEASED
    sums = {
        name: pl.col(f"_whole_{name}") - pl.when(seen).then(name).otherwise(0).sum().over(group)
        for name in additive
    }
    unsafe_sum = ((sums[size] > 0) & ~safe(*sums.values())).fill_null(value=False)
    if width:
        largest = pl.when(~seen).then(size).max().over(group)
        others = sums[size] - largest
        outside = pl.col("_everyone") - pl.when(seen).then(size).otherwise(0).sum().over(group)
        unsafe_sum = pl.any_horizontal(
            unsafe_sum,
            (others < pl.min_horizontal(pl.lit(width), largest)).fill_null(value=False),
            (pl.col(f"_whole_{size}").is_null() & (outside < width)).fill_null(value=False),
        )
    while True:
        candidates = strata.with_columns(_unsafe=unsafe_sum).filter(
            pl.col("_unsafe") & open_rows & ~pl.col("known")
        )
        if candidates.is_empty():
            break
        # The same in all lines and tables: two lines with other strata would tell all the sizes.
        names = candidates.select("stratum_variable", "stratum").iter_rows()
        chosen = (
            candidates.with_columns(_rank=pl.Series(partner_ranks(key, names)))
            .sort("_rank")
            .unique(group, keep="first", maintain_order=True)
        )
        strata = strata.with_columns(
            status=pl.when(pl.col("_row").is_in(chosen["_row"].implode()))
            .then(pl.lit(SECONDARY, dtype=pl.Int8))
            .otherwise("status")
        )
    exposed = (
        strata.filter(unsafe_sum & pl.col("known").any().over(group))
        .select(*line, _exposed=pl.lit(value=True))
        .unique()
    )
    wholes = (
        judged.filter(is_whole)
        .join(exposed, on=list(line), how="left", nulls_equal=True)
        .with_columns(
            status=pl.when(pl.col("_exposed").fill_null(value=False) & open_rows & ~pl.col("known"))
            .then(pl.lit(SECONDARY, dtype=pl.Int8))
            .otherwise("status")
        )
    )
    return (
        pl.concat([wholes.select(judged.columns), strata.select(judged.columns)])
        .sort("_row")
        .drop("_row")
    )


def feasible_range(
    equations: FloatArray, values: FloatArray, target: FloatArray
) -> tuple[float, float]:
    """Smallest and largest value of a sum of cells that an attacker can derive.

    Parameters
    ----------
    equations, values
        What is known: equations (equations x cells) times cells equals values.
    target
        Coefficients of the sum (cells).

    Returns
    -------
    tuple
        Bounds over all non-negative tables that fit what is known.
    """
    from scipy.optimize import linprog

    def extreme(sign: float) -> float:
        result = linprog(
            sign * target, A_eq=equations, b_eq=values, bounds=(0, None), method="highs"
        )
        if result.fun is None:
            raise RuntimeError(f"the audit of a table failed: {result.message}")
        return sign * float(result.fun)

    return extreme(1.0), extreme(-1.0)


def protect_grid(
    cells: IntArray,
    totals: IntArray,
    threshold: int,
    unsafe: Callable[[int], bool],
    whole: IntArray | None = None,
    whole_total: int = 0,
    whole_released: BoolArray | None = None,
    withheld_columns: BoolArray | None = None,
    *,
    ranks: IntArray,
    marked: BoolArray | None = None,
    known: BoolArray | None = None,
    whole_known: BoolArray | None = None,
) -> IntArray:
    """Choose the cells of one two-way table that are withheld.

    Rows are levels (or bins), columns are strata. Not in the table, but in the attacker's
    equations, are two kinds of cells: values outside all levels, and patients whose stratum is
    unknown. Everybody is assumed to know the column totals, and the row totals of the whole cohort
    that are released. A cell is protected when its values in the tables that fit all of this span
    at least `threshold` (or as much as its margins allow).

    Parameters
    ----------
    cells
        Levels x strata.
    totals
        Patients with a known value, by stratum.
    threshold
        Smallest safe count.
    unsafe
        Whether a count must be withheld.
    whole, whole_total, whole_released
        Counts of the whole cohort by level, their total with unknown strata and outside values, and
        which of them are released. Without `whole` the columns stand alone.
    withheld_columns
        Strata that are withheld altogether.
    ranks
        Order in which safe cells (levels x strata) of the same level or stratum are withheld to
        hide an unsafe one. It must not depend on the counts (see `partner_ranks`): of the smallest
        safe cell it would be known that it is small.
    marked, known
        Cells (levels x strata) that an earlier rule withholds, and that have to be protected
        whatever their count; and cells that an earlier release told, which hide nothing.
    whole_known
        Levels of the whole cohort that an earlier release told.

    Returns
    -------
    ndarray
        RELEASED, PRIMARY or SECONDARY for each cell.

    References
    ----------
    Hundepool et al. 2012, Statistical Disclosure Control, secondary cell suppression
    with an interval audit by linear programming (Fischetti & Salazar 2001, Manag Sci 47:1008).
    """
    n_levels = cells.shape[0]
    status = np.full(cells.shape, RELEASED)
    status[np.vectorize(unsafe, otypes=[bool])(cells) if cells.size else cells > 0] = PRIMARY
    if withheld_columns is not None:
        status[:, withheld_columns] = PRIMARY
    told = np.zeros(cells.shape, dtype=bool) if known is None else known
    sensitive = np.zeros(cells.shape, dtype=bool) if marked is None else marked
    status[sensitive] = PRIMARY
    full, column_totals = _with_hidden(cells, totals, whole, whole_total)
    known_rows = np.zeros(n_levels, dtype=bool) if whole_released is None else whole_released
    if whole is not None:
        # A withheld row of the whole is smaller than the threshold, so each of its parts is.
        status[~known_rows[:, None] & (status == RELEASED)] = SECONDARY
    if whole_known is not None:
        known_rows = known_rows | whole_known
    while True:
        exposed = _exposed(
            full, status, column_totals, whole, known_rows, threshold, unsafe, sensitive, told
        )
        if exposed is None:
            return status
        level, stratum = exposed
        open_cells = np.argwhere((status == RELEASED) & ~told)
        if not open_cells.size:
            return status
        near = (open_cells[:, 0] == level) | (open_cells[:, 1] == stratum)
        pool = open_cells[near] if near.any() else open_cells
        row, column = pool[ranks[pool[:, 0], pool[:, 1]].argmin()]
        status[row, column] = SECONDARY


def _with_hidden(
    cells: IntArray, totals: IntArray, whole: IntArray | None, whole_total: int
) -> tuple[IntArray, IntArray]:
    """Add the row of outside values and, if there is a whole, the column of unknown strata."""
    table, column_totals = cells, totals
    if whole is not None:
        table = np.column_stack([cells, whole - cells.sum(axis=1)])
        column_totals = np.append(totals, whole_total - totals.sum())
    return np.vstack([table, column_totals - table.sum(axis=0)]), column_totals


def _exposed(
    full: IntArray,
    status: IntArray,
    column_totals: IntArray,
    whole: IntArray | None,
    known_rows: BoolArray,
    threshold: int,
    unsafe: Callable[[int], bool],
    sensitive: BoolArray,
    told: BoolArray,
) -> tuple[int, int] | None:
    """Find the first unsafe cell that the released ones pin down; None if there is none."""
    n_levels, n_strata = status.shape
    fixed = np.zeros(full.shape, dtype=bool)
    # Of a sensitive cell it is the difference from what was told that is hidden.
    fixed[:n_levels, :n_strata] = (status == RELEASED) | (told & ~sensitive)
    # A column without patients, and a row that is known to be empty, hide nothing. Whoever knows
    # the study's bins knows that no value lies outside them, where none does.
    fixed[:, column_totals == 0] = True
    fixed[n_levels, full[n_levels] == 0] = True
    if whole is not None:
        fixed[:n_levels][known_rows & (whole == 0)] = True
    hidden = ~fixed
    positions = np.argwhere(hidden)
    if not len(positions):
        return None
    in_column = positions[:, 1][None, :] == np.arange(full.shape[1])[:, None]
    equations, values = [in_column], [np.where(hidden, full, 0).sum(axis=0)]
    limits = column_totals[positions[:, 1]]
    if whole is not None:
        rows = np.flatnonzero(known_rows)
        equations.append(positions[:, 0][None, :] == rows[:, None])
        values.append(np.where(hidden, full, 0).sum(axis=1)[rows])
        row_limit = np.append(np.where(known_rows, whole, column_totals.sum()), column_totals.sum())
        limits = np.minimum(limits, row_limit[positions[:, 0]])
    matrix = np.vstack(equations).astype(float)
    right = np.concatenate(values).astype(float)
    for index, (row, column) in enumerate(positions):
        is_sensitive = row < n_levels and column < n_strata and bool(sensitive[row, column])
        harmless = not unsafe(int(full[row, column])) and not is_sensitive
        if harmless or (row == n_levels and full[row, column] == 0):
            continue
        target = np.zeros(len(positions))
        target[index] = 1.0
        low, high = feasible_range(matrix, right, target)
        if high - low < min(threshold, limits[index]) - 1e-6:
            return int(row), int(column)
    return None
