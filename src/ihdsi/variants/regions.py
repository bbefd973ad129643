"""Split the genome or the targets into parts that are called side by side."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.errors import InputError, Problem
from ihdsi.files import atomic_output

__all__ = [
    "check_targets",
    "covered_bases",
    "merge_regions",
    "read_targets",
    "shared_megabases",
    "split_regions",
    "within_targets",
    "write_regions",
]

#: How far a border may move to an edge, as a share of a part.
LARGEST_SHIFT = 0.1


def split_regions(regions: pl.DataFrame, parts: int) -> list[pl.DataFrame]:
    """Cut regions into consecutive parts of about the same number of bases.

    Parameters
    ----------
    regions
        chromosome, start (0-based), end (exclusive); sorted, not overlapping. The border of a part
        is moved to the nearest edge of a region where one is near, so that targets stay whole; a
        chromosome is cut. Callers report a variant by its first base, so that each variant is
        called in exactly one part.
    parts
        Number of parts; those at the end may be empty when there are fewer bases than parts.

    Returns
    -------
    list of polars.DataFrame
        `parts` tables with the same columns.
    """
    sized = regions.with_columns(length=pl.col("end") - pl.col("start")).with_columns(
        offset=pl.col("length").cum_sum() - pl.col("length")
    )
    total = int(regions.select((pl.col("end") - pl.col("start")).sum()).item() or 0)
    edges = np.append(sized["offset"].to_numpy(), total)
    borders = [_border(edges, total * number / parts, total / parts) for number in range(parts + 1)]
    return [
        sized.with_columns(
            start=pl.max_horizontal("start", pl.col("start") + low - pl.col("offset")),
            end=pl.min_horizontal("end", pl.col("start") + high - pl.col("offset")),
        )
        .filter(pl.col("start") < pl.col("end"))
        .select("chromosome", "start", "end")
        for low, high in pairwise(borders)
    ]


def _border(edges: NDArray[np.int64], wanted: float, part: float) -> int:
    nearest = int(edges[np.argmin(np.abs(edges - wanted))])
    return nearest if abs(nearest - wanted) <= LARGEST_SHIFT * part else round(wanted)


def write_regions(
    index: Path | str, targets: Path | str | None, outputs: Sequence[Path | str]
) -> None:
    """Write one BED a part.

    Parameters
    ----------
    index
        ``.fai`` of the genome.
    targets
        BED of the sequenced regions, or None for the whole genome.
    outputs
        The parts' BED files.
    """
    source = read_targets(targets) if targets else _chromosomes(index)
    parts = split_regions(merge_regions(source), len(outputs))
    for part, path in zip(parts, outputs, strict=True):
        with atomic_output(path) as temporary:
            part.write_csv(temporary, separator="\t", include_header=False)


def _chromosomes(index: Path | str) -> pl.DataFrame:
    frame = pl.read_csv(index, separator="\t", has_header=False, infer_schema=False)
    name, length = frame.columns[:2]
    return frame.select(
        chromosome=name, start=pl.lit(0, dtype=pl.Int64), end=pl.col(length).cast(pl.Int64)
    )


def merge_regions(regions: pl.DataFrame) -> pl.DataFrame:
    """Join regions that overlap or touch, so that no base is in two of them.

    Chromosomes keep the order of their first region.
    """
    order = regions.select("chromosome").unique(maintain_order=True).with_row_index("order")
    return (
        regions.join(order, on="chromosome")
        .sort("order", "start", "end")
        .with_columns(reach=pl.col("end").cum_max().over("order"))
        .with_columns(
            begins=(pl.col("start") > pl.col("reach").shift(1).over("order")).fill_null(True)
        )
        .with_columns(region=pl.col("begins").cum_sum())
        .group_by("region", maintain_order=True)
        .agg(pl.col("chromosome").first(), pl.col("start").min(), pl.col("end").max())
        .select("chromosome", "start", "end")
    )


def check_targets(path: Path | str) -> None:
    """Refuse a BED file that does not name regions.

    Lines that begin with ``#``, ``track`` or ``browser``, and empty ones, are no regions (UCSC,
    BED format). The file may be gzipped.

    Raises
    ------
    InputError
        With file, row and column of the first line that is no region, or if there is none at all.
    """

    def refuse(what: str, row: int | None = None, column: str | None = None) -> InputError:
        return InputError(
            Problem(
                what,
                "Give chromosome, start (0-based) and end, separated by tabs (BED).",
                path,
                row,
                column,
            )
        )

    opener = gzip.open if str(path).endswith(".gz") else open
    found = False
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for row, line in enumerate(lines, start=1):
                if not line.strip() or line.startswith(("#", "track", "browser")):
                    continue
                fields = line.rstrip("\r\n").split("\t")
                if len(fields) < 3:
                    raise refuse(f"{len(fields)} columns, at least 3 are needed", row)
                for name, text in (("start", fields[1]), ("end", fields[2])):
                    if not (text.isascii() and text.isdigit()):
                        raise refuse(f"'{text[:40]}' is no position", row, name)
                if int(fields[1]) >= int(fields[2]):
                    raise refuse(f"start {fields[1]} is not before end {fields[2]}", row, "end")
                found = True
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise refuse(f"the file cannot be read as text ({error})") from error
    if not found:
        raise refuse("the file names no region")


def read_targets(path: Path | str) -> pl.DataFrame:
    """Read the first three columns of a BED: chromosome, start (0-based), end."""
    frame = pl.read_csv(
        path, separator="\t", has_header=False, comment_prefix="#", infer_schema=False
    )
    chromosome, start, end = frame.columns[:3]
    return frame.select(
        chromosome=chromosome, start=pl.col(start).cast(pl.Int64), end=pl.col(end).cast(pl.Int64)
    )


def shared_megabases(*region_sets: pl.DataFrame) -> float:
    """Measure what lies in every one of the sets; regions of one set may overlap each other."""
    edges = pl.concat(
        regions.select("chromosome", position=edge, of=pl.lit(number), step=pl.lit(step))
        for number, regions in enumerate(region_sets)
        for edge, step in (("start", 1), ("end", -1))
    ).sort("chromosome", "position")
    # Every region ends on its chromosome, so that a running sum is 0 from one to the next.
    inside = pl.all_horizontal(
        (pl.col("step") * (pl.col("of") == number)).cum_sum() > 0
        for number in range(len(region_sets))
    )
    length = pl.col("position").shift(-1) - pl.col("position")
    return float(edges.select(length.filter(inside).sum()).item()) / 1e6


def within_targets(variants: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    """Keep variants that replace a base of a target.

    Parameters
    ----------
    variants
        chromosome, position (1-based) and any other columns. Where there is a reference_allele, its
        last base decides as well as its first: a deletion is written with the base before it, which
        may lie just outside.
    targets
        chromosome, start, end (0-based, half-open); they may overlap.
    """
    length = (
        pl.col("reference_allele").str.len_bytes().cast(pl.Int64).fill_null(1)
        if "reference_allele" in variants.columns
        else pl.lit(1, dtype=pl.Int64)
    )
    candidates = (
        variants.with_row_index("row")
        .with_columns(last=pl.col("position") + length - 1)
        .sort("last")
    )
    regions = (
        merge_regions(targets).select("chromosome", "end", begin=pl.col("start") + 1).sort("begin")
    )
    inside = candidates.join_asof(
        regions,
        left_on="last",
        right_on="begin",
        by="chromosome",
        strategy="backward",
        check_sortedness=False,
    ).filter(pl.col("position") <= pl.col("end"))
    return inside.sort("row").select(variants.columns)


def covered_bases(intervals: pl.DataFrame, regions: pl.DataFrame) -> pl.Series:
    """Count the bases of each interval that lie in the regions.

    Parameters
    ----------
    intervals, regions
        chromosome, start (0-based), end (exclusive); either may overlap itself.

    Returns
    -------
    polars.Series
        Bases, one number an interval, in their order.
    """
    merged = (
        merge_regions(regions)
        .sort("chromosome", "start")
        .with_columns(length=pl.col("end") - pl.col("start"))
        .with_columns(before=(pl.col("length").cum_sum() - pl.col("length")).over("chromosome"))
        .select("chromosome", "start", "length", "before", edge="start")
    )

    def below(column: str) -> pl.DataFrame:
        """Bases of the regions below each coordinate of the column, by row."""
        return (
            intervals.select("chromosome", edge=pl.col(column).cast(pl.Int64))
            .with_row_index("row")
            .sort("edge")
            .join_asof(merged.sort("edge"), on="edge", by="chromosome", check_sortedness=False)
            .select(
                "row",
                bases=pl.col("before")
                + pl.min_horizontal(pl.col("edge") - pl.col("start"), "length"),
            )
            .sort("row")
        )

    return (below("end")["bases"].fill_null(0) - below("start")["bases"].fill_null(0)).rename(
        "covered"
    )
