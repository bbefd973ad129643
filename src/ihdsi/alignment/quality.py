"""Alignment metrics from the files of samtools stats and mosdepth."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl

__all__ = ["alignment_metrics", "callable_intervals", "region_coverage"]

#: Uniformity counts bases that are covered at least this share of the mean.
UNIFORM_SHARE = 0.2


def alignment_metrics(stats: Path | str, thresholds: Path | str) -> dict[str, float]:
    """Summarise one alignment.

    Parameters
    ----------
    stats
        Output of ``samtools stats``.
    thresholds
        ``PREFIX.thresholds.bed.gz`` of ``mosdepth --by … --thresholds 20,100``; its companions
        ``PREFIX.regions.bed.gz`` and ``PREFIX.mosdepth.region.dist.txt`` are read too.

    Returns
    -------
    dict
        mapped_percent, duplicate_percent (of primary reads), insert_size_mean (bp),
        mean_target_coverage (reads per base), target_20x_percent, target_100x_percent and
        coverage_uniformity_percent (target bases covered at least 0.2 times the mean). Shares of
        nothing are 0, so that an empty alignment fails its limits instead of vanishing; single-end
        reads have no insert size.
    """
    summary = _summary_numbers(stats)
    reads = summary.get("raw total sequences", 0.0)
    depth = _bed(thresholds, ["chromosome", "start", "end", "region", "at_20", "at_100"])
    prefix = str(thresholds).removesuffix(".thresholds.bed.gz")
    regions = region_coverage(f"{prefix}.regions.bed.gz")
    bases = float(depth.select(pl.col("end") - pl.col("start")).sum().item())
    covered = float(regions.select((pl.col("end") - pl.col("start")) * pl.col("mean")).sum().item())
    mean = covered / bases if bases else 0.0
    metrics = {
        "mapped_percent": _percent(summary.get("reads mapped", 0.0), reads),
        "duplicate_percent": _percent(summary.get("reads duplicated", 0.0), reads),
        "insert_size_mean": summary.get("insert size average", 0.0),
        "mean_target_coverage": mean,
        "target_20x_percent": _percent(float(depth["at_20"].sum()), bases),
        "target_100x_percent": _percent(float(depth["at_100"].sum()), bases),
        "coverage_uniformity_percent": _share_at_depth(
            f"{prefix}.mosdepth.region.dist.txt", UNIFORM_SHARE * mean
        ),
    }
    if reads and summary.get("reads paired") == 0:
        del metrics["insert_size_mean"]
    return metrics


def region_coverage(regions: Path | str) -> pl.DataFrame:
    """Mean coverage of each region of ``PREFIX.regions.bed.gz`` of mosdepth.

    Returns
    -------
    polars.DataFrame
        chromosome, start (0-based), end, region (absent where windows were used), mean.
    """
    return _bed(regions, ["chromosome", "start", "end", "region", "mean"])


def _share_at_depth(distribution: Path | str, depth: float) -> float:
    """Percent of the bases of mosdepth's cumulative distribution that reach a depth above 0."""
    if depth <= 0:
        return 0.0
    frame = pl.read_csv(
        distribution,
        separator="\t",
        has_header=False,
        new_columns=["chromosome", "depth", "share"],
        schema_overrides={"chromosome": pl.String, "depth": pl.Int64, "share": pl.Float64},
    )
    # Depths that no base reaches have no row.
    reached = frame.filter(chromosome="total", depth=math.ceil(depth))["share"]
    return 100.0 * float(reached.sum())


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else 0.0


def _summary_numbers(stats: Path | str) -> dict[str, float]:
    numbers = {}
    with Path(stats).open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("SN\t"):
                _, key, value, *_ = line.rstrip("\n").split("\t")
                numbers[key.rstrip(":")] = float(value)
    return numbers


def _bed(path: Path | str, columns: list[str]) -> pl.DataFrame:
    """Read a BED of mosdepth; the region's name is absent when windows were used."""
    frame = pl.read_csv(
        path, separator="\t", has_header=False, comment_prefix="#", infer_schema=False
    )
    if frame.width == len(columns) - 1:
        columns = [name for name in columns if name != "region"]
    return frame.rename(dict(zip(frame.columns, columns, strict=True))).with_columns(
        pl.exclude("chromosome", "region").cast(pl.Float64)
    )


def callable_intervals(quantized: Path | str, minimum_depth: int = 20) -> pl.DataFrame:
    """Intervals covered at least `minimum_depth` times: chromosome, start (0-based), end.

    `quantized` is ``PREFIX.quantized.bed.gz`` of ``mosdepth --quantize 0:DEPTH:``.
    """
    frame = pl.read_csv(
        quantized,
        separator="\t",
        has_header=False,
        new_columns=["chromosome", "start", "end", "label"],
        schema_overrides={"chromosome": pl.String, "label": pl.String},
    )
    return frame.filter(pl.col("label") == f"{minimum_depth}:inf").select(
        "chromosome", "start", "end"
    )
