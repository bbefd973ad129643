"""How many reads of a sample come from another person."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ihdsi.alignment.identity import HOMOZYGOUS_ALTERNATE, HOMOZYGOUS_REFERENCE

__all__ = ["estimate_contamination"]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def estimate_contamination(
    reference: Integers,
    alternate: Integers,
    other: Integers,
    own_genotypes: NDArray[np.int8],
    allele_frequency: Floats,
    minimum_sites: int,
    allele_number: Floats | None = None,
) -> Floats:
    """Estimate the share of foreign reads from sites at which the person is homozygous.

    At such a site every read of the other allele is an error or comes from someone else, whose
    alleles are drawn from the population: of n reads, n (c f + e) are expected, where c is the
    contamination, f the population frequency of the other allele and e the rate of errors to one
    particular base. The errors are known from reads of the two bases that are neither allele. The
    estimate is the method of moments, c = (sum of reads - e sum of n) / (sum of n f), as in GATK's
    CalculateContamination; the model is that of ContEst (Cibulskis et al. 2011, Bioinformatics
    27:2601) and VerifyBamID (Jun et al. 2012, AJHG 91:839).

    Parameters
    ----------
    reference, alternate, other
        Reads, shape (n_samples, n_sites).
    own_genotypes
        Genotypes of the person, same shape: of a tumour those of its matched normal, so that lost
        alleles do not look like contamination. A sample's own serve up to about 20 %; above, sites
        drop out and the estimate is too small, though far beyond any limit.
    allele_frequency
        Population frequency of the alternate allele, shape (n_sites,).
    minimum_sites
        Fewest homozygous sites with reads.
    allele_number
        Where the frequencies were counted in the site's own patients: of how many alleles, nan
        where not. The person's own two are taken out.

    Returns
    -------
    numpy.ndarray
        Percent of the reads, shape (n_samples,), between 0 and 100; nan where undefined.
    """
    is_reference = own_genotypes == HOMOZYGOUS_REFERENCE
    is_alternate = own_genotypes == HOMOZYGOUS_ALTERNATE
    homozygous = is_reference | is_alternate
    depth = np.where(homozygous, reference + alternate, 0)
    foreign = np.where(is_reference, alternate, np.where(is_alternate, reference, 0))
    frequency = np.broadcast_to(allele_frequency, depth.shape)
    if allele_number is not None:
        number = np.broadcast_to(allele_number, depth.shape)
        own = np.where(is_alternate, 2.0, 0.0)
        rest = np.clip((frequency * number - own) / np.maximum(number - 2, 1), 0, 1)
        frequency = np.where(np.isnan(number), frequency, rest)
    expected = depth * np.where(is_reference, frequency, 1 - frequency)
    errors = np.where(homozygous, other, 0).sum(axis=1) / 2
    n_sites = (depth > 0).sum(axis=1)
    defined = (n_sites >= max(minimum_sites, 1)) & (expected.sum(axis=1) > 0)
    share = np.divide(
        foreign.sum(axis=1) - errors,
        expected.sum(axis=1),
        out=np.full(len(depth), np.nan),
        where=defined,
    )
    percent: Floats = 100 * np.clip(share, 0, 1)
    return percent
