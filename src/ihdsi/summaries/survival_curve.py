"""Survival curves: who is at risk, who has the event and who is censored, bin by bin."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.errors import InputError, Problem
from ihdsi.summaries.strata import stratify
from ihdsi.summaries.table import ENDPOINT_COLUMN, STRATUM_COLUMNS, Column, Constraint, TableSpec

if TYPE_CHECKING:
    from ihdsi.study import Endpoint

__all__ = ["CURVE", "SPEC", "build_survival_curve"]

logger = logging.getLogger(__name__)

#: Columns that name one curve.
CURVE = ("endpoint", "stratum_variable", "stratum")


def _next(column: str) -> pl.Expr:
    return pl.col(column).shift(-1).over(CURVE, order_by="time_lower")


SPEC = TableSpec(
    name="survival_curve",
    version=1,
    description="Patients at risk, events and censored patients of each endpoint, by time bin.",
    columns=(
        ENDPOINT_COLUMN,
        *STRATUM_COLUMNS,
        Column(
            "time_lower",
            pl.Float64,
            "key",
            minimum=0,
            unit="d",
            description="Inclusive edge; one of the study's edges.",
        ),
        Column(
            "time_upper",
            pl.Float64,
            "key",
            nullable=True,
            positive=True,
            unit="d",
            description="Exclusive edge, one of the study's, not always the next; null of a bin "
            "without end.",
        ),
        Column(
            "n_at_risk",
            pl.Int64,
            "count",
            minimum=0,
            unit="1",
            description="Patients who are followed up at time_lower, before what happens then.",
        ),
        Column(
            "n_events",
            pl.Int64,
            "count",
            minimum=0,
            unit="1",
            description="Patients with the event within the bin.",
        ),
        Column(
            "n_censored",
            pl.Int64,
            "count",
            minimum=0,
            unit="1",
            description="Patients whose follow-up ends within the bin without the event.",
        ),
    ),
    keys=(*CURVE, "time_lower", "time_upper"),
    constraints=(
        Constraint(
            "time_upper",
            lambda: pl.col("time_lower") < pl.col("time_upper"),
            "time_lower < time_upper",
        ),
        Constraint(
            "n_events",
            lambda: pl.col("n_events") + pl.col("n_censored") <= pl.col("n_at_risk"),
            "n_events + n_censored ≤ n_at_risk",
        ),
        Constraint(
            "time_lower",
            lambda: _next("time_lower").is_null() | (pl.col("time_upper") <= _next("time_lower")),
            "the bins of a curve do not overlap",
        ),
        Constraint(
            "n_at_risk",
            lambda: (
                (pl.col("time_upper") != _next("time_lower"))
                | (
                    _next("n_at_risk")
                    == pl.col("n_at_risk") - pl.col("n_events") - pl.col("n_censored")
                )
            ),
            "n_at_risk of the bin that follows = n_at_risk − n_events − n_censored",
        ),
    ),
)


def build_survival_curve(
    clinical: pl.DataFrame, endpoints: Mapping[str, Endpoint], strata: Sequence[str]
) -> pl.DataFrame:
    """Count patients at risk, events and censored patients between the study's edges.

    Parameters
    ----------
    clinical
        ``patient`` and clinical variables: times in days (Float64), events yes or no. Patients of
        unknown time or event are left out.
    endpoints
        The study's outcomes; those without `curve_bins`, or without columns, have no curve.
    strata
        Categorical variables by whose levels the curves are broken down.

    Returns
    -------
    polars.DataFrame
        The table `survival_curve`. Bins are half-open [lower, upper), the last of each curve has
        no end, so that each patient ends in exactly one bin.

    Raises
    ------
    InputError
        If a time is negative.

    References
    ----------
    Cutler & Ederer 1958, J Chronic Dis 8:699 (the life table of a follow-up study).
    """
    membership = stratify(clinical["patient"], clinical, strata)
    parts = [pl.DataFrame(schema=SPEC.schema)]
    for name, endpoint in endpoints.items():
        if not endpoint.curve_bins:
            continue
        absent = {endpoint.time, endpoint.event} - set(clinical.columns)
        if absent:
            logger.warning("endpoint %s has no curve: no %s", name, ", ".join(sorted(absent)))
            continue
        known = clinical.select(
            "patient",
            time=pl.col(endpoint.time).cast(pl.Float64),
            event=pl.col(endpoint.event) == "yes",
        ).drop_nulls()
        if (known["time"] < 0).any():
            raise InputError(
                Problem(
                    f"endpoint '{name}' has patients with a negative time",
                    "Correct the dates behind it, or give the variable the minimum 0.",
                    column=endpoint.time,
                )
            )
        edges = list(endpoint.curve_bins)
        bins = pl.DataFrame(
            {"time_lower": edges, "time_upper": [*edges[1:], None]},
            schema={"time_lower": pl.Float64, "time_upper": pl.Float64},
        )
        # The bin of a time is the last whose lower edge is not later.
        stratified = (
            known.sort("time")
            .join_asof(bins, left_on="time", right_on="time_lower", strategy="backward")
            .join(membership, on="patient")
        )
        counts = stratified.group_by("stratum_variable", "stratum", "time_lower").agg(
            n_events=pl.col("event").sum(), n_censored=(~pl.col("event")).sum()
        )
        group = ["stratum_variable", "stratum"]
        leaving = pl.col("n_events") + pl.col("n_censored")
        parts.append(
            stratified.select(group)
            .unique()
            .join(bins, how="cross")
            .join(counts, on=[*group, "time_lower"], how="left")
            .with_columns(
                pl.col("n_events", "n_censored").fill_null(0).cast(pl.Int64),
                endpoint=pl.lit(name),
            )
            .sort("time_lower")
            .with_columns(n_at_risk=leaving.cum_sum(reverse=True).over(group))
            .select(pl.col(column).cast(dtype) for column, dtype in SPEC.schema.items())
        )
    return pl.concat(parts).sort(SPEC.keys)
