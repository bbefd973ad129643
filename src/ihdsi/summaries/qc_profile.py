"""How good the data are: histograms of quality metrics."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.summaries.table import UNIT_OF_ROW, Column, Constraint, Predecessor, TableSpec

if TYPE_CHECKING:
    from ihdsi.study import QualityMetric

__all__ = ["ASSAYS", "FAILED_LIMITS", "SPEC", "assay_of_kind", "build_qc_profile"]

#: Metric that counts the limits which a sample fails; its rows count samples by decision.
FAILED_LIMITS = "failed_limits"
#: The last bin holds all samples that fail three limits or more.
FAILED_LIMITS_BINS = (0.0, 1.0, 2.0, 3.0, 4.0)

#: Assays of samples, as sample sheets name them.
ASSAYS = ("dna", "rna", "protein", "methylation", "metabolite", "single_cell")


def assay_of_kind() -> pl.Expr:
    """Assay of the samples of a ``kind`` (``tumour_single_cell``, for example)."""
    return pl.col("kind").str.replace("^(tumour|normal)_", "")


_COLUMNS = (
    Column(
        "metric",
        pl.String,
        "key",
        description="Metric of the study, or failed_limits: limits that a sample fails.",
    ),
    Column("assay", pl.String, "key", allowed=ASSAYS, description="What was measured."),
    Column("unit", pl.String, "label", nullable=True, description="UCUM unit."),
    Column(
        "bin_lower", pl.Float64, "key", unit=UNIT_OF_ROW, description="Inclusive edge of the study."
    ),
    Column(
        "bin_upper", pl.Float64, "key", unit=UNIT_OF_ROW, description="Exclusive edge of the study."
    ),
    Column("n", pl.Int64, "count", minimum=0, unit="1", description="Samples in the bin."),
    Column("n_total", pl.Int64, "count", minimum=0, unit="1", description="Samples with a value."),
    Column(
        "n_passed",
        pl.Int64,
        "count",
        nullable=True,
        minimum=0,
        unit="1",
        description="Samples within the limits; null without limits, or withheld.",
    ),
    Column(
        "n_warned",
        pl.Int64,
        "count",
        nullable=True,
        minimum=0,
        unit="1",
        description="Samples; null where the study sets no limit that warns.",
    ),
    Column(
        "n_failed",
        pl.Int64,
        "count",
        nullable=True,
        minimum=0,
        unit="1",
        description="Samples beyond a limit that fails; null without limits, or withheld.",
    ),
)

_KEYS = ("metric", "assay", "bin_lower", "bin_upper")
_CONSTRAINTS = (
    Constraint("n", lambda: pl.col("n") <= pl.col("n_total"), "n ≤ n_total"),
    Constraint(
        "bin_upper", lambda: pl.col("bin_lower") < pl.col("bin_upper"), "bin_lower < bin_upper"
    ),
)


def _upgraded(frame: pl.DataFrame) -> pl.DataFrame:
    """Add n_warned as null: version 1 had no limits that warn."""
    return frame.with_columns(n_warned=pl.lit(None, dtype=pl.Int64)).select(
        column.name for column in _COLUMNS
    )


_PREDECESSOR = Predecessor(
    TableSpec(
        name="qc_profile",
        version=1,
        description="Histogram of each quality metric over a site's samples, passes and fails.",
        columns=tuple(column for column in _COLUMNS if column.name != "n_warned"),
        keys=_KEYS,
        constraints=(
            *_CONSTRAINTS,
            Constraint(
                "n_passed",
                lambda: pl.col("n_passed") + pl.col("n_failed") == pl.col("n_total"),
                "n_passed + n_failed = n_total",
            ),
        ),
    ),
    _upgraded,
    "n_warned is null, because no limit warned; there is no metric failed_limits.",
)

SPEC = TableSpec(
    name="qc_profile",
    version=2,
    description="Histogram of each quality metric over a site's samples, with what was decided.",
    columns=_COLUMNS,
    keys=_KEYS,
    constraints=(
        *_CONSTRAINTS,
        Constraint(
            "n_passed",
            lambda: (
                pl.col("n_passed") + pl.col("n_warned").fill_null(0) + pl.col("n_failed")
                == pl.col("n_total")
            ),
            "n_passed + n_warned + n_failed = n_total",
        ),
    ),
    predecessor=_PREDECESSOR,
)


def build_qc_profile(
    metrics: pl.DataFrame, limits: Mapping[str, QualityMetric], decisions: pl.DataFrame
) -> pl.DataFrame:
    """Summarise a site's quality metrics and what was decided on its samples.

    Parameters
    ----------
    metrics
        patient, sample, assay, metric, value, unit, status (pass | warn | fail | unlimited).
    limits
        The study's metrics with their bin edges; other metrics stay at the site. The outermost
        bins are open-ended: a value below the first edge counts in the first bin and a value at or
        above the last edge in the last bin, so that the bins add up to n_total.
    decisions
        sample, kind (as of `ihdsi.quality_control.KINDS`), decision (pass | warn | fail). They
        make the metric `failed_limits` of each assay, whose n_failed are the samples that left the
        summaries.

    Returns
    -------
    polars.DataFrame
        The table `qc_profile`. n_passed, n_warned and n_failed are null where the study sets no
        limit, n_warned also where none warns. The numbers count samples, of which a patient may
        have two (tumour and normal).
    """
    known = metrics.filter(
        pl.col("value").is_finite(), pl.col("metric").is_in(list(limits))
    ).select("metric", "assay", "value", "status")
    known = pl.concat([known, _failed_limits(metrics, decisions)])
    bins = {
        (name, limit.assay): (limit.unit, limit.bins, limit.warns) for name, limit in limits.items()
    } | {(FAILED_LIMITS, assay): ("1", FAILED_LIMITS_BINS, True) for assay in ASSAYS}
    edges = pl.DataFrame(
        [
            (name, assay, unit, lower, upper, index, len(ends) - 2, warns)
            for (name, assay), (unit, ends, warns) in bins.items()
            for index, (lower, upper) in enumerate(pairwise(ends))
        ],
        schema={
            "metric": pl.String,
            "assay": pl.String,
            "unit": pl.String,
            "bin_lower": pl.Float64,
            "bin_upper": pl.Float64,
            "index": pl.Int64,
            "last": pl.Int64,
            "warns": pl.Boolean,
        },
        orient="row",
    )
    is_judged = pl.col("status").is_in(["pass", "warn", "fail"]).all()
    totals = known.group_by("metric", "assay").agg(
        pl.len().alias("n_total"),
        *(
            pl.when(is_judged).then((pl.col("status") == status).sum()).alias(name)
            for name, status in (("n_passed", "pass"), ("n_warned", "warn"), ("n_failed", "fail"))
        ),
    )
    counts = (
        known.join(edges, on=["metric", "assay"])
        .filter(
            ((pl.col("value") >= pl.col("bin_lower")) | (pl.col("index") == 0))
            & ((pl.col("value") < pl.col("bin_upper")) | (pl.col("index") == pl.col("last")))
        )
        .group_by("metric", "assay", "bin_lower")
        .agg(n=pl.len())
    )
    return (
        edges.join(totals, on=["metric", "assay"])
        .join(counts, on=["metric", "assay", "bin_lower"], how="left")
        .with_columns(pl.col("n").fill_null(0), n_warned=pl.when("warns").then("n_warned"))
        .select(pl.col(name).cast(dtype) for name, dtype in SPEC.schema.items())
        .sort(SPEC.keys)
    )


def _failed_limits(metrics: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """Count the limits that each sample fails, as rows of a metric whose status is the decision."""
    failed = (
        metrics.filter(pl.col("status") == "fail")
        .group_by("sample")
        .agg(value=pl.len().cast(pl.Float64))
    )
    return (
        decisions.join(failed, on="sample", how="left")
        .with_columns(
            pl.col("value").fill_null(0.0),
            metric=pl.lit(FAILED_LIMITS),
            assay=assay_of_kind(),
            status="decision",
        )
        .select("metric", "assay", "value", "status")
    )
