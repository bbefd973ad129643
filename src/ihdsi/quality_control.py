"""One table of quality metrics per site, judged by the study's limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ihdsi.alignment.quality import alignment_metrics
from ihdsi.expression.counts import salmon_metrics
from ihdsi.study import QualityMetric

__all__ = [
    "METRICS_SCHEMA",
    "alignment_quality",
    "expression_quality",
    "gather_quality",
    "germline_quality",
    "judge_metrics",
    "mapping_quality",
    "metric_rows",
    "somatic_quality",
]

METRICS_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    "sample": pl.String,
    "assay": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
}


def metric_rows(patient: str, sample: str, assay: str, values: Mapping[str, float]) -> pl.DataFrame:
    """Lay out the metrics of one sample as rows of `METRICS_SCHEMA`."""
    return pl.DataFrame(
        [(patient, sample, assay, metric, value) for metric, value in values.items()],
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


def mapping_quality(quantifications: Sequence[tuple[tuple[str, str], Path | str]]) -> pl.DataFrame:
    """Read how many read pairs salmon saw and assigned.

    `quantifications` holds (patient, sample) and salmon's ``aux_info/meta_info.json``.
    """
    return pl.concat(
        [pl.DataFrame(schema=METRICS_SCHEMA)]
        + [
            metric_rows(patient, sample, "rna", salmon_metrics(meta_info))
            for (patient, sample), meta_info in quantifications
        ]
    )


def gather_quality(
    alignments: Sequence[tuple[tuple[str, str], Path | str, Path | str]],
    quantifications: Sequence[tuple[tuple[str, str], Path | str]],
    samples: Mapping[str, Mapping[str, str]],
    somatic_variants: pl.DataFrame | None = None,
    somatic_assessed: pl.DataFrame | None = None,
    germline_statistics: Sequence[Path | str] = (),
    gene_counts: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Gather the metrics of all assays of a site.

    Parameters
    ----------
    alignments, quantifications
        As in `alignment_quality` and `mapping_quality`.
    samples
        Patient to sample, by kind (tumour_dna, normal_dna, tumour_rna).
    somatic_variants, somatic_assessed, gene_counts
        Patient-level tables of the site, where it has them.
    germline_statistics
        As in `germline_quality`.

    Returns
    -------
    polars.DataFrame
        Columns of `METRICS_SCHEMA`.
    """
    frames = [alignment_quality(alignments), mapping_quality(quantifications)]
    if somatic_variants is not None and somatic_assessed is not None:
        frames.append(somatic_quality(somatic_variants, somatic_assessed, samples["tumour_dna"]))
    frames += [germline_quality(path, samples["normal_dna"]) for path in germline_statistics]
    if gene_counts is not None:
        frames.append(expression_quality(gene_counts, samples["tumour_rna"]))
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
            library_size=pl.col("count").sum().cast(pl.Float64),
        )
        .unpivot(index="patient", variable_name="metric", value_name="value")
    )
    return _as_metrics(long, samples, "rna")


def _as_metrics(frame: pl.DataFrame, samples: Mapping[str, str], assay: str) -> pl.DataFrame:
    return frame.with_columns(
        sample=pl.col("patient").replace_strict(
            dict(samples), default=None, return_dtype=pl.String
        ),
        assay=pl.lit(assay),
    ).select(pl.col(name).cast(kind) for name, kind in METRICS_SCHEMA.items())


def judge_metrics(metrics: pl.DataFrame, limits: Mapping[str, QualityMetric]) -> pl.DataFrame:
    """Judge each value by the study's limits.

    Returns
    -------
    polars.DataFrame
        `metrics` with unit, status (``pass``, ``fail``, or ``unlimited`` where the study sets no
        limit for the metric) and limit in words.
    """
    rows = [
        (
            name,
            limit.unit,
            limit.minimum if limit.minimum is not None else float("-inf"),
            limit.maximum if limit.maximum is not None else float("inf"),
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
            "limit": pl.String,
        },
        orient="row",
    )
    return (
        metrics.join(table, on="metric", how="left", maintain_order="left")
        .with_columns(
            status=pl.when(pl.col("limit").is_null())
            .then(pl.lit("unlimited"))
            .when(pl.col("value").is_between("low", "high"))
            .then(pl.lit("pass"))
            .otherwise(pl.lit("fail"))
        )
        .drop("low", "high")
        .sort("assay", "metric", "sample")
    )


def _limit_text(limit: QualityMetric) -> str | None:
    parts = []
    if limit.minimum is not None:
        parts.append(f"at least {limit.minimum:g}")
    if limit.maximum is not None:
        parts.append(f"at most {limit.maximum:g}")
    return ", ".join(parts) or None
