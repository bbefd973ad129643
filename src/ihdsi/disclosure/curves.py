"""Bins of survival curves that are wide enough to leave, also by subtraction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["merge_bins"]

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def merge_bins(
    counts: IntArray,
    unsafe: Callable[[int], bool],
    minimum_n: int,
    edges: BoolArray | None = None,
    whole: IntArray | None = None,
) -> list[list[tuple[int, int]]]:
    """Merge the bins of curves, from the first on, until what they tell is safe.

    All curves share their edges. A bin ends at the first edge where, for each curve, the events and
    the censored patients within it are safe counts, and so are those that are still to come (their
    sums are known: totals leave with other tables). The same holds for what the curves leave of
    `whole`: the patients of unknown stratum, of withheld curves and of curves that have ended.
    A curve ends before the bin that fewer than `minimum_n` of its patients reach. Where what is
    left of the whole is more than nobody and fewer than that, the smallest curve ends as well.

    Every cell that is withheld (a count of one curve between edges of the whole) then lies in a
    table of which both margins are zero or safe counts. The values that such a cell can take span
    at least the smallest of these margins.

    Parameters
    ----------
    counts
        Events and censored patients (2 x bins x curves). The last bin has no end, so that each
        patient is in exactly one cell.
    unsafe
        Whether a count must be withheld.
    minimum_n
        Fewest patients behind a statistic.
    edges
        Whether the lower edge of each bin, and the end after the last, may end a bin (bins + 1); a
        bin can always reach the end. All of them by default.
    whole
        Events and censored patients of the whole cohort (2 x bins), of which the curves are
        disjoint parts.

    Returns
    -------
    list of list of tuple
        For each curve its bins: the first of the merged ones, and the one after the last.

    References
    ----------
    Hundepool et al. 2012, Statistical Disclosure Control: recoding of frequency tables. For the
    bounds of a cell given its margins, Fréchet 1940, and Dobra & Fienberg 2000, PNAS 97:11885.
    """
    _, n_bins, n_curves = counts.shape
    allowed = np.ones(n_bins + 1, dtype=bool) if edges is None else edges

    def coming(cells: IntArray) -> IntArray:
        """Events and censored patients from each bin on (2 x (bins + 1) x curves)."""
        sums = cells[:, ::-1].cumsum(axis=1)[:, ::-1]
        return np.concatenate([sums, np.zeros_like(sums[:, :1])], axis=1)

    def safe(cells: IntArray) -> bool:
        return not any(unsafe(int(count)) for count in cells.ravel())

    left = coming(counts)
    whole_left = None if whole is None else coming(whole[:, :, None])
    at_risk = left.sum(axis=0)
    runs: list[list[tuple[int, int]]] = [[] for _ in range(n_curves)]
    active = np.array([safe(left[:, 0, curve]) for curve in range(n_curves)], dtype=bool)
    start = 0
    while start < n_bins:
        active &= at_risk[start] >= minimum_n
        columns = left
        while active.any():
            columns = left[:, :, active]
            if whole_left is None:
                break
            rest = whole_left - columns.sum(axis=2, keepdims=True)
            n_rest = int(rest[:, start].sum())
            if n_rest == 0:
                break
            if n_rest >= minimum_n and safe(rest[:, start]):
                columns = np.concatenate([columns, rest], axis=2)
                break
            active[np.flatnonzero(active)[np.argmin(at_risk[start, active])]] = False
        if not active.any():
            break
        stop = next(
            edge
            for edge in range(start + 1, n_bins + 1)
            if edge == n_bins
            or (
                allowed[edge]
                and safe(columns[:, start] - columns[:, edge])
                and safe(columns[:, edge])
            )
        )
        for curve in np.flatnonzero(active):
            runs[curve].append((start, stop))
        start = stop
    return runs
