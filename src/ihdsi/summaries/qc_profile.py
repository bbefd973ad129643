"""How good the data are: histograms of quality metrics."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.summaries.table import Column, Constraint, TableSpec

if TYPE_CHECKING:
    from ihdsi.study import QualityMetric

__all__ = ["SPEC", "build_qc_profile"]

SPEC = TableSpec(
    name="qc_profile",
    version=1,
    description="Histogram of each quality metric over a site's samples, with passes and fails.",
    columns=(
        Column("metric", pl.String, "key", description="Quality metric of the study."),
        Column("assay", pl.String, "key", allowed=("dna", "rna")),
        Column("unit", pl.String, "label", nullable=True, description="UCUM unit."),
        Column("bin_lower", pl.Float64, "key", description="Inclusive edge of the study."),
        Column("bin_upper", pl.Float64, "key", description="Exclusive edge of the study."),
        Column("n", pl.Int64, "count", minimum=0, description="Samples in the bin."),
        Column("n_total", pl.Int64, "count", minimum=0, description="Samples with a value."),
        Column("n_passed", pl.Int64, "count", nullable=True, minimum=0, description="Samples."),
        Column("n_failed", pl.Int64, "count", nullable=True, minimum=0, description="Samples."),
    ),
    keys=("metric", "assay", "bin_lower", "bin_upper"),
    constraints=(
        Constraint("n", lambda: pl.col("n") <= pl.col("n_total"), "n ≤ n_total"),
        Constraint(
            "n_passed",
            lambda: pl.col("n_passed") + pl.col("n_failed") == pl.col("n_total"),
            "n_passed + n_failed = n_total",
        ),
        Constraint(
            "bin_upper", lambda: pl.col("bin_lower") < pl.col("bin_upper"), "bin_lower < bin_upper"
        ),
    ),
)


def build_qc_profile(metrics: pl.DataFrame, limits: Mapping[str, QualityMetric]) -> pl.DataFrame:
    """Summarise a site's quality metrics.

    Parameters
    ----------
    metrics
        patient, sample, assay, metric, value, unit, status (pass | fail | unlimited).
    limits
        The study's metrics with their bin edges; other metrics stay at the site. The outermost
        bins are open-ended: a value below the first edge counts in the first bin and a value at or
        above the last edge in the last bin, so that the bins add up to n_total.

    Returns
    -------
    polars.DataFrame
        The table `qc_profile`. n_passed and n_failed are null where the study sets no limit.
        The numbers count samples, of which a patient may have two (tumour and normal).
    """
    known = metrics.filter(pl.col("value").is_finite(), pl.col("metric").is_in(list(limits)))
    edges = pl.DataFrame(
        [
            (name, limit.assay, limit.unit, lower, upper, index, len(limit.bins) - 2)
            for name, limit in limits.items()
            for index, (lower, upper) in enumerate(pairwise(limit.bins))
        ],
        schema={
            "metric": pl.String,
            "assay": pl.String,
            "unit": pl.String,
            "bin_lower": pl.Float64,
            "bin_upper": pl.Float64,
            "index": pl.Int64,
            "last": pl.Int64,
        },
        orient="row",
    )
    judged = pl.col("status").is_in(["pass", "fail"])
    totals = known.group_by("metric", "assay").agg(
        n_total=pl.len(),
        n_passed=pl.when(judged.all()).then((pl.col("status") == "pass").sum()),
        n_failed=pl.when(judged.all()).then((pl.col("status") == "fail").sum()),
    )
    counts = (
        known.select("metric", "assay", "value")
        .join(edges, on=["metric", "assay"])
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
        .with_columns(pl.col("n").fill_null(0))
        .select(pl.col(name).cast(dtype) for name, dtype in SPEC.schema.items())
        .sort(SPEC.keys)
    )
