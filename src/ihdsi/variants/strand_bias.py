"""Fisher's exact test of many two-by-two tables at once: alleles by strand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

__all__ = ["fisher_exact_p_values"]

#: Terms of the hypergeometric sums that are held in memory at once.
TERMS_AT_ONCE = 4_000_000
#: Tables count as at least as extreme up to this relative difference, as in R's fisher.test.
TIE = 1e-7


def fisher_exact_p_values(tables: ArrayLike) -> NDArray[np.float64]:
    """Two-sided p-values of Fisher's exact test.

    The p-value is the probability, given the margins, of all tables that are no more probable
    than the one seen (Fisher 1922, J R Stat Soc 85:87; the definition of R and scipy). The
    hypergeometric probabilities of all tables are computed as arrays.

    Parameters
    ----------
    tables
        Whole numbers of shape (n, 4): reference forward, reference reverse, alternate forward,
        alternate reverse.

    Returns
    -------
    numpy.ndarray
        p-values of shape (n,); 1 for a table with an empty margin.
    """
    counts = np.asarray(tables, dtype=np.int64).reshape(-1, 4)
    forward = counts[:, 0] + counts[:, 2]
    alternate = counts[:, 2] + counts[:, 3]
    total = counts.sum(axis=1)
    # The cell that varies is alternate forward, between the limits that the margins set.
    lowest = np.maximum(0, alternate - (total - forward))
    n_terms = np.minimum(alternate, forward) - lowest + 1
    log_factorial = gammaln(np.arange(int(total.max(initial=0)) + 1) + 1.0)
    p_values = np.empty(len(counts))
    chunk = (np.cumsum(n_terms) - 1) // TERMS_AT_ONCE
    borders = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(counts)]
    for start, end in pairwise(borders):
        rows = slice(start, end)
        p_values[rows] = _p_values(
            counts[rows, 2],
            forward[rows],
            alternate[rows],
            total[rows],
            lowest[rows],
            n_terms[rows],
            log_factorial,
        )
    return p_values


def _p_values(
    seen: NDArray[np.int64],
    forward: NDArray[np.int64],
    alternate: NDArray[np.int64],
    total: NDArray[np.int64],
    lowest: NDArray[np.int64],
    n_terms: NDArray[np.int64],
    log_factorial: NDArray[np.float64],
) -> NDArray[np.float64]:
    if not len(seen):
        return np.empty(0)
    first = np.cumsum(n_terms) - n_terms
    table = np.repeat(np.arange(len(seen)), n_terms)
    cell = np.arange(int(n_terms.sum())) - first[table] + lowest[table]

    def log_probability(k: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.float64]:
        n, a, t = forward[of], alternate[of], total[of]
        result: NDArray[np.float64] = (
            log_factorial[n]
            + log_factorial[t - n]
            + log_factorial[a]
            + log_factorial[t - a]
            - log_factorial[t]
            - log_factorial[k]
            - log_factorial[n - k]
            - log_factorial[a - k]
            - log_factorial[t - n - a + k]
        )
        return result

    terms = log_probability(cell, table)
    limit = log_probability(seen, np.arange(len(seen))) + TIE
    extreme = np.where(terms <= limit[table], np.exp(terms), 0.0)
    p_values: NDArray[np.float64] = np.minimum(np.add.reduceat(extreme, first), 1.0)
    return p_values
