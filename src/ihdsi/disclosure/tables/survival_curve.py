"""Disclosure control of `survival_curve`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.curves import merge_bins
from ihdsi.disclosure.rules import enough_patients, safe_count
from ihdsi.disclosure.tables.judging import Context, Judged, mark, unmarked, unsafe_counts
from ihdsi.disclosure.tables.reasons import (
    COMPLEMENTARY,
    DIFFERENCING,
    MERGED,
    MINIMUM_CELL_COUNT,
    MINIMUM_N,
)
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.strata import ALL
from ihdsi.summaries.survival_curve import CURVE

__all__ = [
    "control_survival_curve",
]


def control_survival_curve(frame: pl.DataFrame, context: Context) -> Judged:
    """Bins as wide as their counts need, first of the whole cohort, then of each stratum variable.

    The strata of a variable share their edges, which are edges of the whole cohort's curve; see
    `merge_bins` for what is required of them. What would leave is then compared with the curves of
    earlier releases.
    """
    settings = context.settings
    judged = [unmarked(frame)]
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
        mark(~enough_patients(pl.col("n_at_risk"), settings), MINIMUM_N)
    ).with_columns(
        mark(
            ~(safe_count(pl.lit(events), settings) & safe_count(pl.lit(censored), settings)),
            MINIMUM_CELL_COUNT,
        )
    )
    rest = rest.with_columns(mark(pl.lit(value=True), COMPLEMENTARY))
    return pl.concat([*left, rest])
