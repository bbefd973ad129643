"""Sex from the coverage of the sex chromosomes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from ihdsi.alignment.common_sites import AUTOSOME
from ihdsi.alignment.quality import region_coverage
from ihdsi.study import SexCheck

__all__ = ["observed_sex", "sex_chromosome_coverage"]


def sex_chromosome_coverage(regions: Path | str) -> dict[str, float]:
    """Mean coverage of X and of Y relative to the autosomes.

    Parameters
    ----------
    regions
        ``PREFIX.regions.bed.gz`` of mosdepth (targets, or windows of the genome).

    Returns
    -------
    dict
        x_coverage_ratio (about 1 with two X, 0.5 with one) and y_coverage_ratio (about 0.5 with a
        Y on targets, about 0.2 over the whole Y of GRCh38, half of which is unsequenced; near 0
        without). A chromosome without regions, or an autosomal coverage of 0, gives no ratio.
    """
    means = (
        region_coverage(regions)
        .with_columns(
            kind=pl.when(pl.col("chromosome").str.contains(AUTOSOME))
            .then(pl.lit("autosome"))
            .when(pl.col("chromosome").is_in(["X", "chrX"]))
            .then(pl.lit("x"))
            .when(pl.col("chromosome").is_in(["Y", "chrY"]))
            .then(pl.lit("y")),
            bases=pl.col("end") - pl.col("start"),
        )
        .drop_nulls("kind")
        .group_by("kind")
        .agg(coverage=(pl.col("mean") * pl.col("bases")).sum() / pl.col("bases").sum())
    )
    by_kind = dict(means.iter_rows())
    autosome = by_kind.pop("autosome", 0.0)
    if not autosome > 0:
        return {}
    return {f"{kind}_coverage_ratio": by_kind[kind] / autosome for kind in sorted(by_kind)}


def observed_sex(
    x_ratio: float | None, y_ratio: float | None, check: SexCheck
) -> Literal["female", "male"] | None:
    """Tell the sex of a sample from its coverage ratios; None where they do not tell.

    Both chromosomes have to agree where both are measured, so that a Y that was lost (frequent in
    blood of old men and in bladder tumours) does not make a man a woman.
    """
    if x_ratio is None:
        return "male" if y_ratio is not None and y_ratio >= check.minimum_male_y_ratio else None
    has_y = None if y_ratio is None else y_ratio >= check.minimum_male_y_ratio
    if x_ratio >= check.minimum_female_x_ratio and has_y is not True:
        return "female"
    if x_ratio <= check.maximum_male_x_ratio and has_y is not False:
        return "male"
    return None
