"""Insertions and deletions of repeat units, which polymerases make by themselves."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pysam
from numpy.typing import ArrayLike, NDArray

__all__ = ["repeat_units", "slippage_log_odds"]

#: How far a repeat is followed, in bases.
LONGEST_REPEAT = 200


def repeat_units(variants: pl.DataFrame, reference: pysam.FastaFile) -> NDArray[np.int64]:
    """Count how often the unit that an indel adds or removes stands in the reference there.

    Parameters
    ----------
    variants
        chromosome, position (1-based), reference_allele, alternate_allele; left-aligned.
    reference
        The genome.

    Returns
    -------
    numpy.ndarray
        Consecutive units after the anchor base, shape (n,); 0 for substitutions and for indels
        that add or remove something else.
    """
    return np.array(
        [
            _units(reference, *variant)
            for variant in variants.select(
                "chromosome", "position", "reference_allele", "alternate_allele"
            ).iter_rows()
        ],
        dtype=np.int64,
    )


def _units(
    genome: pysam.FastaFile, chromosome: str, position: int, reference: str, alternate: str
) -> int:
    longer, shorter = sorted((reference, alternate), key=len, reverse=True)
    if len(shorter) != 1 or len(longer) == 1 or longer[0] != shorter:
        return 0
    # The shortest unit that the added or removed bases consist of: ATAT is two of AT.
    match = re.fullmatch(r"(.+?)\1*", longer[1:])
    assert match is not None
    unit = match.group(1)
    following = genome.fetch(chromosome, position, position + LONGEST_REPEAT).upper()
    run = re.match(f"(?:{unit})*", following)
    assert run is not None
    return len(run.group()) // len(unit)


def slippage_log_odds(
    reference_depth: ArrayLike, alternate_depth: ArrayLike, rate: float
) -> NDArray[np.float64]:
    r"""Log10 odds of the allele fraction seen against slippage at a given rate.

    .. math:: k \log_{10} (f / s) + (n - k) \log_{10} ((1 - f) / (1 - s)), \quad f = k / n

    for k of n reads, and 0 where f is not above the rate s. As in Mutect2 (Benjamin et al. 2019,
    "polymerase slippage"), an error in a long repeat is no longer an error of a base.

    Parameters
    ----------
    reference_depth, alternate_depth
        Reads of each allele, shape (n,).
    rate
        Share of molecules in which the polymerase slipped.
    """
    k = np.asarray(alternate_depth, dtype=np.float64)
    n = np.asarray(reference_depth, dtype=np.float64) + k
    f = np.clip(np.divide(k, n, out=np.zeros(len(n)), where=n > 0), rate, 1 - 1e-12)
    odds: NDArray[np.float64] = k * np.log10(f / rate) + (n - k) * np.log10((1 - f) / (1 - rate))
    return odds
