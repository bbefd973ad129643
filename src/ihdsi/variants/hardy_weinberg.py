"""The exact test of Hardy–Weinberg proportions, for many variants at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["NON_AUTOSOMES", "hardy_weinberg_p_values", "is_autosome"]

#: Chromosomes without two copies in every person, where the proportions do not hold.
NON_AUTOSOMES = frozenset({"X", "Y", "M", "MT"})

_CELLS = 4_000_000
#: Two tables that are equally probable must compare as equal in spite of rounding.
_EQUAL = 1 + 1e-9


def is_autosome(chromosome: str) -> bool:
    """Whether everybody has two copies: any name but X, Y, M and MT, with or without ``chr``."""
    return chromosome.removeprefix("chr").upper() not in NON_AUTOSOMES


def hardy_weinberg_p_values(
    n_reference: ArrayLike, n_heterozygous: ArrayLike, n_homozygous: ArrayLike
) -> NDArray[np.float64]:
    """Exact p-values of Hardy–Weinberg equilibrium.

    Given n genotypes with a copies of the rarer allele, the number h of heterozygotes has

        P(h) = n! / (((a-h)/2)! h! (n-(a+h)/2)!) · 2^h · a! (2n-a)! / (2n)!

    and the p-value is the sum of P over all h (of the parity of a) that are no more probable than
    the observed one (Wigginton, Cutler & Abecasis 2005, Am J Hum Genet 76:887, equation 1).
    Variants with the same counts share the computation.

    Parameters
    ----------
    n_reference, n_heterozygous, n_homozygous
        Genotypes of each variant, shape (V,): counts of homozygous reference, heterozygous and
        homozygous alternate. Which homozygote is which does not matter.

    Returns
    -------
    numpy.ndarray
        Shape (V,), in (0, 1]; 1 where there is no genotype.

    Raises
    ------
    ValueError
        If a count is negative.
    """
    first, heterozygous, second = (
        np.atleast_1d(np.asarray(counts, dtype=np.int64))
        for counts in (n_reference, n_heterozygous, n_homozygous)
    )
    if any((counts < 0).any() for counts in (first, heterozygous, second)):
        raise ValueError("a number of genotypes is negative")
    n = first + heterozygous + second
    rare = 2 * np.minimum(first, second) + heterozygous
    if n.size == 0:
        return np.ones(0)
    # One line for each distinct (a, n, h); sorted by a, the number of terms of the sum.
    base = int(n.max()) + 1
    key, line_of = np.unique((rare * base + n) * base + heterozygous, return_inverse=True)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 2 * base - 1)))])
    p_values = np.empty(len(key))
    stop = len(key)
    while stop > 0:
        width = int(key[stop - 1] // base**2) // 2 + 1
        lines = slice(max(0, stop - max(1, _CELLS // width)), stop)
        p_values[lines] = _p_values(
            key[lines] // base % base, key[lines] // base**2, key[lines] % base, log_factorial
        )
        stop = lines.start
    return p_values[line_of]


def _p_values(
    n: NDArray[np.int64],
    rare: NDArray[np.int64],
    observed: NDArray[np.int64],
    log_factorial: NDArray[np.float64],
) -> NDArray[np.float64]:
    size, copies = n[:, None], rare[:, None]
    possible = copies % 2 + 2 * np.arange(int(rare.max()) // 2 + 1)[None, :]
    inside = possible <= copies
    h = np.where(inside, possible, copies)
    log_probability = (
        log_factorial[size]
        - log_factorial[(copies - h) // 2]
        - log_factorial[h]
        - log_factorial[size - (copies + h) // 2]
        + h * np.log(2)
        + log_factorial[copies]
        + log_factorial[2 * size - copies]
        - log_factorial[2 * size]
    )
    probability = np.where(inside, np.exp(log_probability), 0.0)
    own = np.take_along_axis(probability, observed[:, None] // 2, axis=1)
    no_more_probable = np.where(probability <= own * _EQUAL, probability, 0.0)
    return np.asarray(np.minimum(no_more_probable.sum(axis=1), 1.0))
