"""Quality metrics of a site's samples, judged by the study's limits, and what follows from it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.alignment.quality import alignment_metrics
from ihdsi.study import QualityMetric

__all__ = [
    "CELLS_KEPT",
    "CELL_METRICS",
    "DECISIONS_SCHEMA",
    "KINDS",
    "METRICS_SCHEMA",
    "MINIMUM_SAMPLES",
    "USABLE_VALUES",
    "alignment_quality",
    "decide_samples",
    "distance_scores",
    "excluded_patients",
    "expression_quality",
    "failed_samples",
    "gather_quality",
    "germline_quality",
    "judge_metrics",
    "metric_rows",
    "somatic_quality",
    "without_patients",
]

#: Kinds of samples that reach a summary.
KINDS = (
    "tumour_dna",
    "normal_dna",
    "tumour_rna",
    "tumour_protein",
    "tumour_methylation",
    "tumour_metabolite",
    "tumour_single_cell",
)

#: Metric of the sum of a sample's gene counts.
LIBRARY_SIZE = "library_size"
#: Metric of the cells of a sample that are clustered: none where the sample is set aside.
CELLS_KEPT = "cells_kept"
#: Metrics of single cells, all known before cells are clustered.
CELL_METRICS = (
    "cells_passed",
    CELLS_KEPT,
    "median_counts_per_cell",
    "median_genes_per_cell",
    "median_mitochondrial_percent",
    "doublet_percent",
)
#: End of the metric of the values of a matrix that tell anything of a sample.
USABLE_VALUES = "_usable_values"
#: Fewest samples among which one can be an outlier, or unlike the others in another way.
MINIMUM_SAMPLES = 10
#: Features of the largest variance, as in DESeq2's ``plotPCA``.
_VARIABLE_FEATURES = 500
#: Ratio of the median absolute deviation to the standard deviation of a normal distribution.
_NORMAL_MAD = 0.6745

METRICS_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    "sample": pl.String,
    "assay": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "note": pl.String,
}

DECISIONS_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    "sample": pl.String,
    "kind": pl.String,
    "decision": pl.String,
    "reasons": pl.String,
}

logger = logging.getLogger(__name__)


def metric_rows(patient: str, sample: str, assay: str, values: Mapping[str, float]) -> pl.DataFrame:
    """Lay out the metrics of one sample as rows of `METRICS_SCHEMA`."""
    return pl.DataFrame(
        [(patient, sample, assay, metric, value, None) for metric, value in values.items()],
        schema=METRICS_SCHEMA,
        orient="row",
    )


def alignment_quality(
    alignments: Sequence[tuple[tuple[str, str], Path | str, Path | str]],
) -> pl.DataFrame:
    """Read the metrics of each alignment.

    `alignments` holds (patient, sample), the file of ``samtools stats`` and mosdepth's thresholds.
    """
    return pl.concat(
        [pl.DataFrame(schema=METRICS_SCHEMA)]
        + [
            metric_rows(patient, sample, "dna", alignment_metrics(stats, thresholds))
            for (patient, sample), stats, thresholds in alignments
        ]
    )


def gather_quality(
    alignments: Sequence[tuple[tuple[str, str], Path | str, Path | str]],
    samples: Mapping[str, Mapping[str, str]],
    somatic_variants: pl.DataFrame | None = None,
    somatic_assessed: pl.DataFrame | None = None,
    germline_statistics: Sequence[Path | str] = (),
    gene_counts: pl.DataFrame | None = None,
    sample_checks: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Gather the metrics of all assays of a site.

    Parameters
    ----------
    alignments
        As in `alignment_quality`.
    samples
        Patient to sample, by kind (tumour_dna, normal_dna, tumour_rna).
    somatic_variants, somatic_assessed, gene_counts
        Patient-level tables of the site, where it has them.
    germline_statistics
        As in `germline_quality`.
    sample_checks
        Metrics that are measured elsewhere: those of `ihdsi.sample_checks`, where the site has
        samples with reads, of `ihdsi.expression.quality`, where it has gene counts, of
        `ihdsi.single_cell.quality` and of `ihdsi.matrices.quality`.

    Returns
    -------
    polars.DataFrame
        Columns of `METRICS_SCHEMA`.
    """
    frames = [alignment_quality(alignments)]
    if somatic_variants is not None and somatic_assessed is not None:
        frames.append(somatic_quality(somatic_variants, somatic_assessed, samples["tumour_dna"]))
    frames += [germline_quality(path, samples["normal_dna"]) for path in germline_statistics]
    if gene_counts is not None:
        frames.append(expression_quality(gene_counts, samples["tumour_rna"]))
    if sample_checks is not None:
        frames.append(sample_checks)
    return pl.concat(frames)


def somatic_quality(
    variants: pl.DataFrame, assessed: pl.DataFrame, samples: Mapping[str, str]
) -> pl.DataFrame:
    """Count the somatic variants of each assessed patient (metric somatic_variants).

    `variants` holds one row per variant and gene; a variant over two genes counts once. `samples`
    maps patient to tumour sample.
    """
    key = ["patient", "chromosome", "position", "reference_allele", "alternate_allele"]
    counts = variants.unique(key).group_by("patient").agg(value=pl.len().cast(pl.Float64))
    return _as_metrics(
        assessed.select("patient")
        .join(counts, on="patient", how="left")
        .with_columns(pl.col("value").fill_null(0.0), metric=pl.lit("somatic_variants")),
        samples,
        "dna",
    )


def germline_quality(statistics: Path | str, samples: Mapping[str, str]) -> pl.DataFrame:
    """Share of a call set's variants that each patient has a genotype for, in percent.

    Parameters
    ----------
    statistics
        Output of ``bcftools stats --samples -`` on one call set with patients as samples: its line
        "number of records", and column nMissing (14th) of its lines PSC.
    samples
        Patient to normal sample.

    Returns
    -------
    polars.DataFrame
        Columns of `METRICS_SCHEMA`, metric germline_call_rate; without rows if there is no record.
    """
    lines = [line.split("\t") for line in Path(statistics).read_text("utf-8").splitlines()]
    n_records = next(
        (int(line[3]) for line in lines if line[0] == "SN" and line[2] == "number of records:"), 0
    )
    missing = {line[2]: int(line[13]) for line in lines if line[0] == "PSC"} if n_records else {}
    return _as_metrics(
        pl.DataFrame(
            {
                "patient": list(missing),
                "value": [100.0 * (1 - count / n_records) for count in missing.values()],
            },
            schema={"patient": pl.String, "value": pl.Float64},
        ).with_columns(metric=pl.lit("germline_call_rate")),
        samples,
        "dna",
    )


def expression_quality(counts: pl.DataFrame, samples: Mapping[str, str]) -> pl.DataFrame:
    """Count detected genes (at least one read pair) and the library size of each tumour.

    `counts` is gene_id, gene_name and a column a patient; `samples` maps patient to RNA sample.
    """
    long = (
        counts.drop("gene_id", "gene_name")
        .unpivot(variable_name="patient", value_name="count")
        .group_by("patient")
        .agg(
            detected_genes=(pl.col("count") >= 1).sum().cast(pl.Float64),
            **{LIBRARY_SIZE: pl.col("count").sum().cast(pl.Float64)},
        )
        .unpivot(index="patient", variable_name="metric", value_name="value")
    )
    return _as_metrics(long, samples, "rna")


def distance_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each sample lies from the middle of all, in robust standard deviations.

    The distance is that of DESeq2's principal components, on the 500 features of the largest
    variance among those that most samples have a value of, in all components and not in two: from
    the median of each feature. Distances are centred at their median and scaled by their median
    absolute deviation (MAD), so that an outlier does not hide itself. Keeping all components finds
    degraded samples better than few components scaled by their own MAD do, and large groups of
    patients move it less.

    Parameters
    ----------
    values
        Features x samples, on a scale on which differences add up; NaN where a value is missing,
        and everywhere in samples that are not to be judged. A sample's squared distance is the
        mean over the features that it has.

    Returns
    -------
    ndarray
        One score a sample; NaN for samples without values, and for all where fewer than
        `MINIMUM_SAMPLES` have values or most are alike.

    References
    ----------
    Love, Huber & Anders 2014, Genome Biology 15:550 (the genes of ``plotPCA``); Leys et al. 2013, J
    Exp Soc Psychol 49:764 (MAD in place of the standard deviation).
    """
    scores = np.full(values.shape[1], np.nan)
    present = np.isfinite(values).any(axis=0)
    if present.sum() < MINIMUM_SAMPLES:
        return scores
    known = values[:, present]
    known = known[2 * np.isfinite(known).sum(axis=1) > known.shape[1]]
    if not len(known):
        return scores
    order = np.argsort(-np.nanvar(known, axis=1), kind="stable")[:_VARIABLE_FEATURES]
    squares = (known[order] - np.nanmedian(known[order], axis=1, keepdims=True)) ** 2
    n_values = np.isfinite(squares).sum(axis=0)
    distance = np.sqrt(np.nansum(squares, axis=0) / np.where(n_values, n_values, np.nan))
    centred = distance - np.nanmedian(distance)
    spread = np.nanmedian(np.abs(centred)) / _NORMAL_MAD
    if spread > 0:
        scores[present] = centred / spread
    return scores


def _as_metrics(frame: pl.DataFrame, samples: Mapping[str, str], assay: str) -> pl.DataFrame:
    return frame.with_columns(
        sample=pl.col("patient").replace_strict(
            dict(samples), default=None, return_dtype=pl.String
        ),
        assay=pl.lit(assay),
        note=pl.lit(None, dtype=pl.String),
    ).select(pl.col(name).cast(kind) for name, kind in METRICS_SCHEMA.items())


def judge_metrics(metrics: pl.DataFrame, limits: Mapping[str, QualityMetric]) -> pl.DataFrame:
    """Judge each value by the study's limits.

    Returns
    -------
    polars.DataFrame
        `metrics` with unit, status (``pass``, ``warn``, ``fail``, or ``unlimited`` where the study
        sets no limit for the metric) and limit in words. A sample without counts, cells or usable
        values fails whatever the limits: nothing can be computed of it. What could not be judged
        (null, with a note that says why) is a warning: it proves no fault, and must not pass in
        silence. Any other value that is not there fails.
    """

    def bound(limit: float | None, absent: float) -> float:
        return absent if limit is None else limit

    low, high = float("-inf"), float("inf")
    rows = [
        (
            name,
            limit.unit,
            bound(limit.minimum, low),
            bound(limit.maximum, high),
            bound(limit.warn_minimum, low),
            bound(limit.warn_maximum, high),
            _limit_text(limit),
        )
        for name, limit in limits.items()
    ]
    table = pl.DataFrame(
        rows,
        schema={
            "metric": pl.String,
            "unit": pl.String,
            "low": pl.Float64,
            "high": pl.Float64,
            "warn_low": pl.Float64,
            "warn_high": pl.Float64,
            "limit": pl.String,
        },
        orient="row",
    )
    return (
        metrics.join(table, on="metric", how="left", maintain_order="left")
        .with_columns(limit=pl.when(_is_empty()).then(pl.lit("above 0")).otherwise("limit"))
        .with_columns(
            status=pl.when(_is_empty())
            .then(pl.lit("fail"))
            .when(pl.col("limit").is_null())
            .then(pl.lit("unlimited"))
            .when(pl.col("value").is_null() & pl.col("note").is_not_null())
            .then(pl.lit("warn"))
            .when(~pl.col("value").is_between("low", "high").fill_null(value=False))
            .then(pl.lit("fail"))
            .when(~pl.col("value").is_between("warn_low", "warn_high"))
            .then(pl.lit("warn"))
            .otherwise(pl.lit("pass"))
        )
        .drop("low", "high", "warn_low", "warn_high")
        .sort("assay", "metric", "sample")
    )


def _is_empty() -> pl.Expr:
    """Whether a row says that a sample has no counts, cells or values at all."""
    metric = pl.col("metric")
    needed = metric.is_in([LIBRARY_SIZE, CELLS_KEPT]) | metric.str.ends_with(USABLE_VALUES)
    return needed & (pl.col("value") <= 0)


def _limit_text(limit: QualityMetric) -> str | None:
    words = {
        "minimum": "at least",
        "maximum": "at most",
        "warn_minimum": "warning below",
        "warn_maximum": "warning above",
    }
    parts = [
        f"{word} {value:g}"
        for name, word in words.items()
        if (value := getattr(limit, name)) is not None
    ]
    return ", ".join(parts) or None


def decide_samples(judged: pl.DataFrame, samples: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    """Decide for each sample: it fails with its worst metric, and every reason is said.

    Parameters
    ----------
    judged
        As of `judge_metrics`.
    samples
        Patient to sample, by kind; other samples (normal RNA) reach no summary.

    Returns
    -------
    polars.DataFrame
        Columns of `DECISIONS_SCHEMA`, a row for every sample that has a metric: decision is
        ``pass``, ``warn`` or ``fail``; reasons holds the metrics that fail, then those that warn,
        each with its value, its limits and what else is known; empty for ``pass``.
    """
    known = pl.DataFrame(
        [
            (patient, sample, kind)
            for kind in KINDS
            for patient, sample in samples.get(kind, {}).items()
        ],
        schema={name: DECISIONS_SCHEMA[name] for name in ("patient", "sample", "kind")},
        orient="row",
    )
    value = pl.col("value").round_sig_figs(4).cast(pl.String)
    with_unit = pl.when(pl.col("unit") == "%").then(pl.format("{} %", value)).otherwise(value)
    reason = pl.format(
        "{}: {} {} ({}){}",
        "status",
        pl.col("metric").str.replace("_percent$", "").str.replace_all("_", " "),
        with_unit.fill_null("not there"),
        "limit",
        pl.format(", {}", "note").fill_null(""),
    )
    decided = (
        judged.with_columns(reason=reason, fails=pl.col("status") == "fail")
        .sort("fails", "metric", descending=[True, False])
        .group_by("sample", maintain_order=True)
        .agg(
            decision=pl.when(pl.col("fails").any())
            .then(pl.lit("fail"))
            .when((pl.col("status") == "warn").any())
            .then(pl.lit("warn"))
            .otherwise(pl.lit("pass")),
            reasons=pl.col("reason")
            .filter(pl.col("status").is_in(["fail", "warn"]))
            .str.join("; "),
        )
    )
    decisions = (
        known.join(decided, on="sample", how="inner", maintain_order="left")
        .select(pl.col(name).cast(kind) for name, kind in DECISIONS_SCHEMA.items())
        .sort("patient", "sample")
    )
    for row in decisions.filter(pl.col("decision") != "pass").iter_rows(named=True):
        logger.warning("%s of %s: %s", row["sample"], row["patient"], row["reasons"])
    return decisions


def excluded_patients(decisions: pl.DataFrame, kinds: Collection[str]) -> list[str]:
    """Patients of whom a sample of one of the kinds failed, and whom a summary therefore leaves.

    Parameters
    ----------
    decisions
        Columns of `DECISIONS_SCHEMA`.
    kinds
        Of `KINDS`: what the summary is made from.

    Raises
    ------
    ValueError
        If a kind is none of these, because nobody would be left out.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: not among {', '.join(KINDS)}")
    failed = decisions.filter(pl.col("decision") == "fail", pl.col("kind").is_in(list(kinds)))
    return sorted(set(failed["patient"]))


def failed_samples(decisions: pl.DataFrame) -> dict[str, str]:
    """Failed samples of all kinds with their reasons.

    `decisions` has the columns of `DECISIONS_SCHEMA`.
    """
    failed = decisions.filter(pl.col("decision") == "fail")
    return dict(failed.select("sample", "reasons").iter_rows())


def without_patients(frame: pl.DataFrame, excluded: Collection[str]) -> pl.DataFrame:
    """Leave patients out of a patient-level table.

    `frame` has a column ``patient``, or (a matrix of counts) a column for each patient.
    """
    if "patient" in frame.columns:
        return frame.filter(~pl.col("patient").is_in(list(excluded)))
    return frame.drop(*excluded, strict=False)
