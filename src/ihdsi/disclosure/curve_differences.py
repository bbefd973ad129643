"""Differences between survival curves of two releases, over the edges that they share or do not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.summaries.strata import ALL
from ihdsi.summaries.survival_curve import CURVE

__all__ = ["compare_curves"]

_CELLS = ("n_events", "n_censored")

IntArray = NDArray[np.int64]
Line = tuple[str, str, str]


@dataclass(frozen=True)
class _Curve:
    """What a reader knows of a line: by edge, events and censored patients before it.

    Parameters
    ----------
    before
        At each edge, events and censored patients from time 0 on.
    n
        Patients at risk at time 0.
    """

    before: Mapping[float, IntArray]
    n: int

    @property
    def edges(self) -> list[float]:
        return sorted(self.before)

    def within(self, edges: Collection[float]) -> _Curve:
        """Take out the edges that are not among `edges`."""
        return _Curve({edge: sums for edge, sums in self.before.items() if edge in edges}, self.n)

    def coarse(self, edges: Collection[float]) -> _Curve:
        """Take out the edges that are not among `edges`, but for the first and the last."""
        own = self.edges
        return self.within({*edges, *own[:1], *own[-1:]})


def _curves(table: pl.DataFrame) -> dict[Line, _Curve]:
    """Read the lines of a table; bins of a line follow each other from its first edge on."""
    found: dict[Line, _Curve] = {}
    ordered = table.sort(*CURVE, "time_lower")
    for key, rows in ordered.group_by(CURVE, maintain_order=True):
        lower = rows["time_lower"].to_list()
        upper = [np.inf if time is None else time for time in rows["time_upper"]]
        cells = rows.select(_CELLS).to_numpy().astype(np.int64)
        sums = np.concatenate([np.zeros((1, 2), dtype=np.int64), cells.cumsum(axis=0)])
        before = dict(zip([lower[0], *upper], sums, strict=True))
        endpoint, variable, stratum = (str(part) for part in key)
        found[endpoint, variable, stratum] = _Curve(before, int(rows["n_at_risk"][0]))
    return found


def compare_curves(
    now: pl.DataFrame,
    earlier: Sequence[pl.DataFrame],
    least: int,
    unsafe: Callable[[int], bool],
    endpoints: Collection[str] = (),
) -> pl.DataFrame:
    """Merge further bins of `survival_curve`, or withhold lines, for the sake of earlier releases.

    Between any two edges that a line had before and has now, the events, the censored patients and
    both together must be as many as before, or differ by at least `least`; so must those who are at
    risk. Where the edges differ, what lies between an old edge and a new one is told as well: the
    events and the censored patients there must be safe counts, as if the bins were one release's.
    What the strata of a variable leave over of the whole cohort is known, too, and so is their sum,
    which is the whole if everybody's stratum is known: neither may change by few.

    Edges that would tell of few are taken out, of the whole cohort first, then of all strata of a
    variable together. A line whose sums from its first to its last edge tell of few already is
    withheld altogether.

    Parameters
    ----------
    now
        Rows of `survival_curve` that are to leave, their bins merged within the release, and
        further columns, of which rows that become one keep the first.
    earlier
        The table of each earlier release.
    least
        Smallest number of patients of whom a sum may be known.
    unsafe
        Whether a count must be withheld.
    endpoints
        Endpoints with a curve at the site at hand, those of `now` included anyway. An endpoint that
        an earlier release has not is compared with all of its endpoints that are gone since, as it
        may be one of them by another name.

    Returns
    -------
    polars.DataFrame
        The rows that may leave.

    References
    ----------
    Hundepool et al. 2012, Statistical Disclosure Control: disclosure by differencing, and recoding
    of frequency tables.
    """
    ours = _curves(now)
    here = {*endpoints, *(line[0] for line in ours)}
    releases = [renamed for table in earlier for renamed in _by_names_at_hand(_curves(table), here)]
    comparison = _Comparison(releases, least, unsafe)
    kept: dict[Line, _Curve] = {}
    for endpoint in sorted({line[0] for line in ours}):
        line = (endpoint, ALL, ALL)
        kept |= comparison.coarsened({line: ours[line]} if line in ours else {}, line, None)
        whole = kept.get(line)
        for variable in sorted({v for e, v, _ in ours if e == endpoint} - {ALL}):
            strata = {
                other: curve if whole is None else curve.within(whole.edges)
                for other, curve in ours.items()
                if other[:2] == (endpoint, variable)
            }
            kept |= comparison.coarsened(strata, line, whole)
    parts = [now.clear()]
    for key, rows in now.sort(*CURVE, "time_lower").group_by(CURVE, maintain_order=True):
        endpoint, variable, stratum = (str(part) for part in key)
        if (curve := kept.get((endpoint, variable, stratum))) is not None:
            parts.append(_merged(rows, curve.edges))
    return pl.concat(parts)


def _by_names_at_hand(
    curves: Mapping[Line, _Curve], here: Collection[str]
) -> list[Mapping[Line, _Curve]]:
    """Add to a release's curves those of each endpoint that is gone, by every name that is new."""
    named = {line[0] for line in curves}
    return [
        curves,
        *(
            {(new, *line[1:]): curve for line, curve in curves.items() if line[0] == gone}
            for gone in sorted(named - set(here))
            for new in sorted(set(here) - named)
        ),
    ]


def _merged(rows: pl.DataFrame, edges: Sequence[float]) -> pl.DataFrame:
    """Merge the bins of a line (in their order) between the edges; none beyond the last."""
    upper = pl.col("time_upper").fill_null(np.inf)
    inside = rows.filter(upper <= edges[-1])
    number = pl.Series(np.searchsorted(edges, inside["time_lower"].to_numpy(), side="right"))
    others = [name for name in rows.columns if name not in ("time_upper", *_CELLS)]
    return (
        inside.group_by(number.alias("_bin"), maintain_order=True)
        .agg(
            *(pl.col(name).first() for name in others),
            pl.col("time_upper").last(),
            *(pl.col(name).sum() for name in _CELLS),
        )
        .select(rows.columns)
    )


class _Comparison:
    """Curves at hand compared with those of all earlier releases."""

    def __init__(
        self,
        releases: Sequence[Mapping[Line, _Curve]],
        least: int,
        unsafe: Callable[[int], bool],
    ) -> None:
        self._releases, self._least, self._unsafe = releases, least, unsafe

    def coarsened(
        self, group: Mapping[Line, _Curve], whole_line: Line, whole: _Curve | None
    ) -> dict[Line, _Curve]:
        """Take out the edges, for all lines of a group, that tell of few; lines that are left."""
        group = {
            line: curve
            for line, curve in group.items()
            if len(curve.edges) > 1 and not self._unsafe_line(line, curve.coarse(()))
        }
        chosen: set[float] = set()
        for edge in sorted({edge for curve in group.values() for edge in curve.edges}):
            trial = {line: curve.coarse(chosen | {edge}) for line, curve in group.items()}
            if not self._unsafe_group(trial, whole_line, whole):
                chosen.add(edge)
        found = {line: curve.coarse(chosen) for line, curve in group.items()}
        return {} if self._unsafe_group(found, whole_line, whole) else found

    def _unsafe_line(self, line: Line, curve: _Curve) -> bool:
        return any(
            _unsafe_pair(curve, theirs[line], self._least, self._unsafe)
            for theirs in self._releases
            if line in theirs
        )

    def _unsafe_group(
        self, group: Mapping[Line, _Curve], whole_line: Line, whole: _Curve | None
    ) -> bool:
        if any(self._unsafe_line(line, curve) for line, curve in group.items()):
            return True
        for theirs in self._releases:
            changes = [
                _changes(curve, theirs[line]) for line, curve in group.items() if line in theirs
            ]
            if _few_in_sum(changes, self._least):
                return True
            if whole is not None and whole_line in theirs:
                of_whole = _changes(whole, theirs[whole_line])
                if _few_left_over(of_whole, changes, self._least):
                    return True
        return False


def _few(change: IntArray, least: int) -> bool:
    return bool(((change != 0) & (np.abs(change) < least)).any())


def _unsafe_pair(now: _Curve, before: _Curve, least: int, unsafe: Callable[[int], bool]) -> bool:
    if any(_few(change, least) for change in _changes(now, before).values()):
        return True
    return any(unsafe(int(count)) for count in _between(now, before))


def _changes(now: _Curve, before: _Curve) -> dict[tuple[float, float], IntArray]:
    """By how much events, censored patients and both changed between any two shared edges.

    Those who are at risk at an edge are the one number of the key (edge, edge).
    """
    shared = [edge for edge in now.edges if edge in before.before]
    cumulative = {edge: now.before[edge] - before.before[edge] for edge in shared}
    changes: dict[tuple[float, float], IntArray] = {}
    for index, start in enumerate(shared):
        at_risk = now.n - before.n - cumulative[start].sum()
        changes[start, start] = np.array([at_risk])
        for stop in shared[index + 1 :]:
            change = cumulative[stop] - cumulative[start]
            changes[start, stop] = np.array([*change, change.sum()])
    return changes


def _between(now: _Curve, before: _Curve) -> IntArray:
    """Events and censored patients who lie between an edge of one curve and an edge of the other.

    They follow from two intervals that have the other edge in common. A line that ends earlier than
    the other one has no edge there.
    """
    shared = [edge for edge in now.edges if edge in before.before]
    counts = []
    for common in shared:
        for new in now.edges:
            for old in before.edges:
                if new in before.before or old in now.before:
                    continue
                if (new - common) * (old - common) <= 0:
                    continue
                difference = (now.before[new] - now.before[common]) - (
                    before.before[old] - before.before[common]
                )
                counts.append(np.abs(difference))
    return np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)


def _few_left_over(
    whole: Mapping[tuple[float, float], IntArray],
    strata: Sequence[Mapping[tuple[float, float], IntArray]],
    least: int,
) -> bool:
    """Whether what the strata leave of the whole cohort changed by few between two edges."""
    return any(
        _few(change - sum(stratum[key] for stratum in strata if key in stratum), least)
        for key, change in whole.items()
    )


def _few_in_sum(strata: Sequence[Mapping[tuple[float, float], IntArray]], least: int) -> bool:
    """Whether the strata together changed by few between two edges that all of them share."""
    if len(strata) < 2:
        return False
    keys = set.intersection(*(set(stratum) for stratum in strata))
    return any(_few(np.sum([stratum[key] for stratum in strata], axis=0), least) for key in keys)
