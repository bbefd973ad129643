"""How likely a call of a tumour without a normal is germline."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["germline_log_odds"]


def germline_log_odds(
    reference_depth: ArrayLike,
    alternate_depth: ArrayLike,
    error: ArrayLike,
    population_frequency: ArrayLike,
    somatic_prior: float,
) -> NDArray[np.float64]:
    r"""Log10 posterior odds of a germline against a somatic variant, from the tumour alone.

    With k of n reads alternate, population frequency p of the allele, error e and prior
    probability s of a somatic variant at a base,

    .. math::

        \log_{10} \frac{2 p (1-p) \, B(k; n, 1/2) + p^2 \, B(k; n, 1-e)}
                       {(1-p)^2 \, s \, / (n+1)}

    where B is the binomial probability: a germline variant is heterozygous or homozygous with the
    Hardy–Weinberg prior; a somatic variant has an unknown allele fraction, uniform between 0 and
    1, whose beta-binomial probability is 1/(n+1) for every k. This is the germline model of
    Mutect2 (Benjamin et al. 2019, bioRxiv 861054, "germline filter") with a minor allele fraction
    of one half, that is, without copy-number changes.

    Parameters
    ----------
    reference_depth, alternate_depth
        Reads of each allele, shape (n,).
    error
        Probability that a base is wrong, shape (n,) or a number.
    population_frequency
        Of the alternate allele, above 0 and below 1, shape (n,) or a number.
    somatic_prior
        Probability of a somatic variant at a base.

    Returns
    -------
    numpy.ndarray
        Log10 odds, shape (n,); positive favours germline.
    """
    # It takes more than half a second to import, which samples with a normal are spared.
    from scipy.special import logsumexp
    from scipy.stats import binom

    k = np.asarray(alternate_depth, dtype=np.int64)
    n = np.asarray(reference_depth, dtype=np.int64) + k
    p = np.clip(np.asarray(population_frequency, dtype=np.float64), 1e-12, 1 - 1e-9)
    germline = logsumexp(
        np.stack(
            np.broadcast_arrays(
                np.log(2 * p * (1 - p)) + binom.logpmf(k, n, 0.5),
                2 * np.log(p) + binom.logpmf(k, n, 1 - np.asarray(error, dtype=np.float64)),
            )
        ),
        axis=0,
    )
    somatic = 2 * np.log1p(-p) + np.log(somatic_prior) - np.log(n + 1.0)
    odds: NDArray[np.float64] = (germline - somatic) / np.log(10)
    return odds
