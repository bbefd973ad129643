"""Attacks that ask of released allele frequencies whether a person is among those counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

__all__ = [
    "analytic_power",
    "area_under_curve",
    "attack_power",
    "homer_scores",
    "likelihood_ratio_scores",
]


def likelihood_ratio_scores(
    dosage: NDArray[np.integer],
    ploidy: NDArray[np.integer],
    released: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Log likelihood ratio of membership: alleles drawn from the released against the reference.

    Parameters
    ----------
    dosage, ploidy
        Alternate and called alleles; shape (V, P); ploidy 0 where not called, 1 where haploid.
    released, reference
        Allele frequencies of the cohort and of the population; shape (V,). NaN in either leaves
        the variant out. Both must lie strictly between 0 and 1 to be compared, so that an allele
        absent from one of them is taken as very rare (10⁻⁶), not impossible.

    Returns
    -------
    numpy.ndarray
        Shape (P,), natural logarithm. Sankararaman et al. 2009, Nat Genet 41:965; variants are
        taken as independent.
    """
    known = np.isfinite(released) & np.isfinite(reference)
    ours, theirs = (np.clip(p[known], 1e-6, 1 - 1e-6) for p in (released, reference))
    alternate = np.where(ploidy[known] > 0, dosage[known], 0).astype(np.float64)
    other = ploidy[known] - alternate
    return np.asarray(
        np.log(ours / theirs) @ alternate + np.log((1 - ours) / (1 - theirs)) @ other,
        dtype=np.float64,
    )


def homer_scores(
    dosage: NDArray[np.integer],
    ploidy: NDArray[np.integer],
    released: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sum over variants of how much nearer a person is to the released frequencies.

    Parameters
    ----------
    dosage, ploidy, released, reference
        As in `likelihood_ratio_scores`.

    Returns
    -------
    numpy.ndarray
        Shape (P,): Σ |y − reference| − |y − released| over called genotypes, y the person's own
        allele frequency (Homer et al. 2008, PLoS Genet 4:e1000167, not standardised).
    """
    known = np.isfinite(released) & np.isfinite(reference)
    called = ploidy[known] > 0
    own = dosage[known] / np.maximum(ploidy[known], 1)
    nearer = np.abs(own - reference[known][:, None]) - np.abs(own - released[known][:, None])
    return np.asarray(np.where(called, nearer, 0.0).sum(axis=0), dtype=np.float64)


def attack_power(
    members: NDArray[np.float64],
    others: NDArray[np.float64],
    false_positive_rate: float = 0.05,
) -> float:
    """Share of members above the threshold that `false_positive_rate` of the others exceed.

    Parameters
    ----------
    members, others
        Scores; shapes (P,) and (Q,), neither empty.
    false_positive_rate
        Between 0 and 1.

    Raises
    ------
    ValueError
        If there are no scores of one kind.
    """
    if not members.size or not others.size:
        raise ValueError("power needs scores of members and of others")
    return float(np.mean(members > np.quantile(others, 1 - false_positive_rate)))


def area_under_curve(members: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Probability that a member scores above another person; ties count half.

    Parameters
    ----------
    members, others
        Scores; shapes (P,) and (Q,), neither empty.

    Raises
    ------
    ValueError
        If there are no scores of one kind.
    """
    if not members.size or not others.size:
        raise ValueError("the area needs scores of members and of others")
    n = members.size
    ranks = rankdata(np.concatenate([members, others]))[:n].sum()
    return float((ranks - n * (n + 1) / 2) / (n * others.size))


def analytic_power(n_frequencies: int, n_patients: int, false_positive_rate: float = 0.05) -> float:
    """Power of the likelihood-ratio attack on independent common variants: Φ(√(m/n) − z).

    z is the normal quantile of 1 − `false_positive_rate`; from √(m/n) ≈ z_α + z_{1−β}
    (Sankararaman et al. 2009, Nat Genet 41:965).

    Parameters
    ----------
    n_frequencies, n_patients
        m released frequencies of n people; n at least 1.
    false_positive_rate
        Between 0 and 1.
    """
    threshold = norm.isf(false_positive_rate)
    return float(norm.cdf(np.sqrt(n_frequencies / n_patients) - threshold))
