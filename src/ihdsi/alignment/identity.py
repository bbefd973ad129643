"""Whose sample is it: genotypes from allele counts, and how well every two samples agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HETEROZYGOUS",
    "HOMOZYGOUS_ALTERNATE",
    "HOMOZYGOUS_REFERENCE",
    "NOT_CALLED",
    "call_genotypes",
    "pairwise_concordance",
]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Genotypes = NDArray[np.int8]

HOMOZYGOUS_REFERENCE, HETEROZYGOUS, HOMOZYGOUS_ALTERNATE, NOT_CALLED = 0, 1, 2, -1

#: Largest share of the other allele at a homozygous site: contamination of twice the share that
#: any study would accept still leaves most sites homozygous.
HOMOZYGOUS_SHARE = 0.2
#: Smallest share of the rarer allele at a heterozygous site; what lies between is not called.
HETEROZYGOUS_SHARE = 0.25
#: A site is homozygous only if a heterozygous one would show so few reads of one allele this
#: rarely (binomial, p = 1/2).
HETEROZYGOUS_TAIL = 0.005


def call_genotypes(reference: Integers, alternate: Integers, minimum_depth: int) -> Genotypes:
    """Call genotypes from reads of the two alleles.

    Parameters
    ----------
    reference, alternate
        Reads of each allele, of any shape.
    minimum_depth
        Fewest reads of both alleles together.

    Returns
    -------
    numpy.ndarray
        int8 of the same shape: number of alternate alleles (0, 1, 2), or -1 where not called (few
        reads, or a share between a homozygous and a heterozygous one).
    """
    # It takes more than half a second to import, and others need the constants alone.
    from scipy.stats import binom

    depth = reference + alternate
    rarer = np.minimum(reference, alternate)
    share = rarer / np.maximum(depth, 1)
    enough = depth >= minimum_depth
    homozygous = (
        enough
        & (share <= HOMOZYGOUS_SHARE)
        & (binom.cdf(rarer, np.maximum(depth, 1), 0.5) < HETEROZYGOUS_TAIL)
    )
    genotypes = np.full(depth.shape, NOT_CALLED, dtype=np.int8)
    genotypes[homozygous & (reference >= alternate)] = HOMOZYGOUS_REFERENCE
    genotypes[homozygous & (reference < alternate)] = HOMOZYGOUS_ALTERNATE
    genotypes[enough & (share >= HETEROZYGOUS_SHARE)] = HETEROZYGOUS
    return genotypes


def pairwise_concordance(
    genotypes: Genotypes, is_normal: Sequence[bool], minimum_sites: int
) -> tuple[Floats, Integers]:
    """Share of sites at which two samples have the same genotype, for every two samples.

    Only sites that are homozygous in one of the two count, because a tumour that has lost an
    allele turns heterozygous sites into homozygous ones and never the other way round (Bergmann et
    al. 2016, Bioinformatics 32:3196, Conpair). Of a tumour and a normal, the normal's homozygous
    sites count; of two samples of the same kind, those of either.
    Two samples of one person agree at nearly all of these sites, a parent and a child, or
    siblings, at 50 to 80 %, strangers at 35 to 65 % (the less, the more both sides count).

    Parameters
    ----------
    genotypes
        Shape (n_samples, n_sites), as of `call_genotypes`.
    is_normal
        Whether each sample is of normal tissue.
    minimum_sites
        Pairs with fewer sites have no concordance.

    Returns
    -------
    concordance, sites
        Both symmetric, of shape (n_samples, n_samples): percent (nan where undefined, and on the
        diagonal) and number of sites.
    """
    # Counts of sites are exact in float64, and a product of floats is a single BLAS call.
    homozygous_reference = (genotypes == HOMOZYGOUS_REFERENCE).astype(np.float64)
    homozygous_alternate = (genotypes == HOMOZYGOUS_ALTERNATE).astype(np.float64)
    homozygous = homozygous_reference + homozygous_alternate
    called = (genotypes != NOT_CALLED).astype(np.float64)
    same = (
        homozygous_reference @ homozygous_reference.T
        + homozygous_alternate @ homozygous_alternate.T
    )
    # Row: the sample that is compared; column: the sample whose homozygous sites count.
    total = called @ homozygous.T
    either = total + total.T - homozygous @ homozygous.T
    normal = np.asarray(is_normal, dtype=bool)
    by_column = normal[None, :] & ~normal[:, None]
    by_row = by_column.T
    sites = np.where(by_column, total, np.where(by_row, total.T, either))
    concordance = np.divide(
        100.0 * same, sites, out=np.full(same.shape, np.nan), where=sites >= max(minimum_sites, 1)
    )
    np.fill_diagonal(concordance, np.nan)
    return concordance, sites.astype(np.int64)
