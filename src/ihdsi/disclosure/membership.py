"""Membership inference from allele frequencies: the attacks, and how many frequencies may leave.

Whoever has a person's genotypes can ask of released allele frequencies whether that person is
among those counted. Rounding and thresholds hardly hinder it; the number of frequencies relative
to the number of patients decides. `ihdsi.disclosure.frequency_release` therefore chooses how many
leave.

Strata are groups of their own, and what is released of several overlapping groups tells more than
each alone. `ReleasedGroups` names them, and they are judged together: the attacker to fear combines
all of them by least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.variants.consequences import severity_rank

__all__ = [
    "MOST_GENOTYPES",
    "PredictedPower",
    "ReleasedGroups",
    "analytic_power",
    "area_under_curve",
    "attack_power",
    "combined_power",
    "homer_scores",
    "largest_prefix",
    "likelihood_ratio_scores",
    "possible_frequencies",
    "predict_power",
    "release_priority",
]

#: Variants whose genotypes are simulated at a time.
_BLOCK = 2_000
#: Smallest share of the largest eigenvalue of the groups' overlaps that is not rounding error.
_PRECISION = 1e-10
#: Most simulated genotypes of one prediction; beyond it there are fewer draws (but always one).
MOST_GENOTYPES = 50_000_000
_MATRIX = 2
_PREFIX = "^(?i:chr)"


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
    """Share of members that a test recognises which takes `false_positive_rate` of the others.

    Where scores are equal (few variants have few genotypes), the test decides by lot at its
    threshold, so that it takes exactly that share of the others; without the lot, the power of an
    attack on few variants would be understated.

    Parameters
    ----------
    members, others
        Scores; shapes (P,) and (Q,), neither empty. Differences below 10⁻⁹ count as equal.
    false_positive_rate
        Between 0 and 1.

    Raises
    ------
    ValueError
        If there are no scores of one kind.
    """
    if not members.size or not others.size:
        raise ValueError("power needs scores of members and of others")
    members, others = np.round(members, 9), np.round(others, 9)
    threshold = np.quantile(others, 1 - false_positive_rate, method="inverted_cdf")
    lot = (false_positive_rate - np.mean(others > threshold)) / np.mean(others == threshold)
    return float(np.mean(members > threshold) + np.clip(lot, 0, 1) * np.mean(members == threshold))


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
    # Here and below: it takes half a second to import, which planning and drafting are spared.
    from scipy.stats import rankdata

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
    from scipy.stats import norm

    threshold = norm.isf(false_positive_rate)
    return float(norm.cdf(np.sqrt(n_frequencies / n_patients) - threshold))


def possible_frequencies(
    n_patients: int, maximum_power: float, false_positive_rate: float = 0.05
) -> float:
    """Largest m with `analytic_power` at most `maximum_power`: n (z_α − z_power)².

    Parameters
    ----------
    n_patients
        n, complete genotypes.
    maximum_power, false_positive_rate
        Between 0 and 1.

    Returns
    -------
    float
        A whole number; 0 where the power of chance is too much, infinity where none is.
    """
    if maximum_power <= false_positive_rate:
        return 0.0
    from scipy.stats import norm

    root = norm.isf(false_positive_rate) - norm.isf(maximum_power)
    return float(np.floor(n_patients * root**2))


@dataclass(frozen=True)
class ReleasedGroups:
    """The groups of patients of which frequencies leave.

    Parameters
    ----------
    members
        Shape (P, G): who belongs to which group.
    released
        Shape (V, G): of which groups the frequency of a variant leaves.
    cohorts
        Shape (P, K): those whom a release counts, for each of K releases, nowhere empty. Power is a
        mean over patients, and that over the cohort where it is largest counts: patients who came
        later do not dilute it. None: one of all patients.
    """

    members: NDArray[np.bool_]
    released: NDArray[np.bool_]
    cohorts: NDArray[np.bool_] | None = None

    def __getitem__(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> ReleasedGroups:
        """Return the groups of some variants."""
        return ReleasedGroups(self.members, self.released[rows], self.cohorts)


def _cohorts(groups: ReleasedGroups | None, n_patients: int) -> NDArray[np.bool_]:
    """Whom to take the power over, cohort by cohort; shape (K, P)."""
    if groups is None or groups.cohorts is None:
        return np.ones((1, n_patients), dtype=bool)
    return groups.cohorts.T


@dataclass(frozen=True)
class _Combined:
    """What all released groups together tell of a person; K kinds of people by their groups.

    With allele counts Y of the patients (variance σ² an allele), sums over groups show the part of
    Y in the span of the groups' indicators X, weighted by called alleles C. A member's alleles lie
    in that part by their leverage x′(X′CX)⁺x, which is therefore the information on membership an
    allele: 1/N for one group of N alleles; 1 for a patient by whom two groups differ. The frequency
    to compare a person with is the least-squares prediction from the groups, x′(X′CX)⁺X′Y: for the
    whole cohort its frequency, for a partition that of the person's part. The sizes of the
    groups' intersections, which X′CX holds, are taken to be known to the attacker.
    """

    kind: NDArray[np.intp]  # (P,)
    frequency: NDArray[np.float64]  # (V, K), NaN where nothing released speaks of such people
    leverage: NDArray[np.float64]  # (V, K)

    def information(self, ploidy: NDArray[np.integer]) -> NDArray[np.float64]:
        """Information on each patient, summed over variants; shape (P,)."""
        information = np.zeros(ploidy.shape[1])
        for start in range(0, len(ploidy), _BLOCK):
            rows = slice(start, start + _BLOCK)
            for kind in range(self.leverage.shape[1]):
                people = self.kind == kind
                information[people] += self.leverage[rows, kind] @ ploidy[rows][:, people]
        return information


def _combine(
    dosage: NDArray[np.integer] | None, ploidy: NDArray[np.integer], groups: ReleasedGroups | None
) -> _Combined:
    """Combine the groups; without `dosage` the frequencies stay NaN."""
    n_variants, n_patients = ploidy.shape
    if groups is None:
        groups = ReleasedGroups(np.ones((n_patients, 1), bool), np.ones((n_variants, 1), bool))
    kinds, kind = np.unique(groups.members, axis=0, return_inverse=True)
    kind = np.asarray(kind).ravel()
    members = kinds.astype(np.float64)
    frequency = np.full((n_variants, len(kinds)), np.nan)
    leverage = np.zeros((n_variants, len(kinds)))
    belongs = (kind[:, None] == np.arange(len(kinds))).astype(np.float32)
    for start in range(0, n_variants, _BLOCK):
        rows = slice(start, start + _BLOCK)
        released = groups.released[rows].astype(np.float64)
        alleles = (ploidy[rows].astype(np.float32) @ belongs).astype(np.float64)
        overlaps = np.einsum("vk,kg,kh->vgh", alleles, members, members)
        overlaps *= released[:, :, None] * released[:, None, :]
        inverse = np.linalg.pinv(overlaps, rcond=_PRECISION, hermitian=True)
        leverage[rows] = np.einsum("kg,vgh,kh->vk", members, inverse, members)
        leverage[rows][alleles == 0] = 0
        if dosage is None:
            continue
        carried = np.where(ploidy[rows] > 0, dosage[rows], 0).astype(np.float32) @ belongs
        sums = (carried.astype(np.float64) @ members) * released
        predicted = np.einsum("kg,vgh,vh->vk", members, inverse, sums)
        frequency[rows] = np.where(leverage[rows] > 0, predicted, np.nan)
    return _Combined(kind, frequency, leverage)


def combined_power(
    ploidy: NDArray[np.integer],
    groups: ReleasedGroups | None = None,
    false_positive_rate: float = 0.05,
) -> float:
    """Analytic power of the attack on one set of frequencies (see `predict_power`).

    Parameters
    ----------
    ploidy
        Called alleles, shape (V, P).
    groups
        Of which groups the frequencies leave; None: of all patients.
    false_positive_rate
        Between 0 and 1.
    """
    information = _combine(None, ploidy, groups).information(ploidy)
    cohorts = _cohorts(groups, ploidy.shape[1])
    return _power_of_information(information, cohorts, false_positive_rate)


def _power_of_information(
    information: NDArray[np.float64], cohorts: NDArray[np.bool_], false_positive_rate: float
) -> float:
    from scipy.stats import norm

    # A sum of leverages is not below zero but for rounding.
    root = np.sqrt(np.maximum(information, 0))
    power = norm.cdf(root - norm.isf(false_positive_rate))
    return float(max(power[cohort].mean() for cohort in cohorts))


@dataclass(frozen=True)
class PredictedPower:
    """What the likelihood-ratio attack achieves against one set of frequencies.

    Parameters
    ----------
    empirical, area_under_curve
        On the patients' own genotypes, against simulated people who were not counted.
    analytic
        Φ(√(m/n) − z), see `predict_power`.
    """

    empirical: float
    area_under_curve: float
    analytic: float

    @property
    def pessimistic(self) -> float:
        """The larger of both estimates of the power."""
        return max(self.empirical, self.analytic)


def predict_power(
    dosage: NDArray[np.integer],
    ploidy: NDArray[np.integer],
    population: NDArray[np.float64] | None = None,
    *,
    groups: ReleasedGroups | None = None,
    false_positive_rate: float = 0.05,
    n_draws: int = 20,
    n_others: int = 1_000,
    seed: int = 0,
) -> PredictedPower:
    """Power of the likelihood-ratio attack on the exact frequencies of all variants given.

    The attacker to fear knows the frequencies p of the population that the patients come from. The
    site knows only p̂, its own. Neither obvious stand-in for p serves. With p̂ itself the likelihood
    ratio is 0 for everybody, and the power that of chance: not conservative. With p̂ less the
    person in question (leave one out) the others cancel, and what is left is an attacker who knows
    all other patients' genotypes: it nearly always wins, and nothing could be released. The attack
    lives on δ = p̂ − p, whose size the site does know: p is drawn from what the sample says of it,
    Beta(allele count, allele number − allele count). This is the posterior under the density of
    neutral alleles, ∝ 1/(p(1 − p)) (Wright 1931, Genetics 16:97), which leans to rarer alleles,
    where more is revealed, than a flat one would. The patients' mean score is Σ δ²/(p(1 − p))
    whichever way δ came about, so that the mean power over draws estimates that of the attacker
    who knows p. Where a resource gives the frequency, the attack is tried with that as well, and
    the stronger counts: a resource of other ancestry overstates the power, one that contains the
    patients understates it.

    Others are simulated in Hardy–Weinberg proportions from the attacker's frequencies, with the
    same missing and haploid genotypes as the patients, variants independent. Variants in linkage
    disequilibrium tell this attack less than independent ones, and one that decorrelates them no
    more (its information is at most m/n, too), so that independence is the pessimistic
    choice. Relatives of a patient, who score between patients and others, are not looked at.

    The analytic power is the mean over patients i of Φ(√Σ_j c_ij/N_j − z), with c_ij called
    alleles of the patient, N_j those of all patients, and z the normal quantile of
    1 − `false_positive_rate`. With complete diploid genotypes the sum is m/n for m variants and n
    patients: `analytic_power` (Sankararaman et al. 2009, Nat Genet 41:965). Of several groups, the
    leverage of the patient in the groups' indicators stands for 1/N_j, and the prediction from all
    groups for the released frequency; a person who is not a patient is compared as a patient of the
    same groups is.

    Parameters
    ----------
    dosage, ploidy
        Alternate and called alleles; shape (V, P), P at least 1; ploidy 0 where not called, 1
        where haploid (see `ihdsi.variants.genotypes.GenotypeBlock`). Variants without a called
        genotype are not counted.
    population
        Allele frequencies of a resource, shape (V,); NaN where it does not know the variant.
    groups
        Of which groups the frequencies leave; None: of all patients.
    false_positive_rate
        Share of people not counted whom the attacker accepts to accuse.
    n_draws, n_others
        Draws of p, and people simulated for each. Above 50 million simulated genotypes there are
        fewer draws: a power that far from the limit need not be known well.
    seed
        The same seed gives the same result.

    Raises
    ------
    ValueError
        If shapes differ or there is no patient.
    """
    if dosage.ndim != _MATRIX or dosage.shape != ploidy.shape or not dosage.shape[1]:
        raise ValueError("dosage and ploidy must be variants × patients, with a patient")
    if population is not None and population.shape != dosage.shape[:1]:
        raise ValueError("population needs one frequency a variant")
    number = ploidy.sum(axis=1, dtype=np.int64)
    if not (number > 0).all():
        called = number > 0
        dosage, ploidy, number = dosage[called], ploidy[called], number[called]
        population = None if population is None else population[called]
        groups = None if groups is None else groups[called]
    if not len(number):
        return PredictedPower(false_positive_rate, 0.5, false_positive_rate)
    draws = int(np.clip(MOST_GENOTYPES // (len(number) * n_others), 1, n_draws))
    references = [None] if population is None else [None, population]
    combined = _combine(dosage, ploidy, groups)
    cohorts = _cohorts(groups, dosage.shape[1])
    attacks = [
        np.mean(
            [
                _attack(
                    dosage[:, cohort],
                    ploidy[:, cohort],
                    replace(combined, kind=combined.kind[cohort]),
                    given,
                    false_positive_rate,
                    n_others,
                    (seed, draw),
                )
                for draw in range(draws)
            ],
            axis=0,
        )
        for given in references
        for cohort in cohorts
    ]
    power, area = np.max(attacks, axis=0)
    analytic = _power_of_information(combined.information(ploidy), cohorts, false_positive_rate)
    return PredictedPower(float(power), float(area), analytic)


def _attack(
    dosage: NDArray[np.integer],
    ploidy: NDArray[np.integer],
    combined: _Combined,
    population: NDArray[np.float64] | None,
    false_positive_rate: float,
    n_others: int,
    seed: tuple[int, int],
) -> tuple[float, float]:
    """Power and area of one attack with one draw of the attacker's frequencies."""
    # Streams are consumed variant by variant, so that more variants meet the same people again.
    truths, people = (np.random.default_rng([*seed, stream]) for stream in range(2))
    number = ploidy.sum(axis=1, dtype=np.int64)
    count = dosage.sum(axis=1, dtype=np.int64, where=ploidy > 0)
    n_patients = dosage.shape[1]
    patterns = (
        np.arange(n_others) % n_patients
        if n_patients <= n_others
        else np.arange(n_others) * n_patients // n_others
    )
    members, others = np.zeros(n_patients), np.zeros(n_others)
    kinds = [
        (kind, combined.kind == kind, combined.kind[patterns] == kind)
        for kind in range(combined.frequency.shape[1])
    ]
    for start in range(0, len(number), _BLOCK):
        rows = slice(start, start + _BLOCK)
        counted, total = count[rows], number[rows]
        # An allele that everybody or nobody has: half of one, for the posterior to exist.
        reference = truths.beta(np.maximum(counted, 0.5), np.maximum(total - counted, 0.5))
        if population is not None:
            reference = np.where(np.isfinite(population[rows]), population[rows], reference)
        copies = ploidy[rows][:, patterns]
        carried = (
            people.random((len(total), 2, n_others), dtype=np.float32) < reference[:, None, None]
        )
        simulated = (carried[:, 0] & (copies > 0)).astype(np.int8) + (carried[:, 1] & (copies > 1))
        for kind, patients, alike in kinds:
            released = combined.frequency[rows, kind]
            members[patients] += likelihood_ratio_scores(
                dosage[rows][:, patients], ploidy[rows][:, patients], released, reference
            )
            others[alike] += likelihood_ratio_scores(
                simulated[:, alike], copies[:, alike], released, reference
            )
    return attack_power(members, others, false_positive_rate), area_under_curve(members, others)


def release_priority(variants: pl.DataFrame, panel: Collection[str]) -> NDArray[np.int64]:
    """Order in which variants are released: the study's genes, then severity, then position.

    The order uses nothing of the patients' genotypes, so that it tells nothing of them.

    Parameters
    ----------
    variants
        Columns chromosome, position, reference_allele, alternate_allele, gene_name, consequence
        (see `ihdsi.summaries.variant_frequencies`); V rows.
    panel
        Names of the study's genes.

    Returns
    -------
    numpy.ndarray
        Shape (V,): 0 for the variant that comes first; every number once.
    """
    consequences = variants["consequence"].unique()
    ranks = pl.DataFrame(
        {
            "consequence": consequences,
            "severity": [severity_rank(term) for term in consequences],
        },
        schema_overrides={"severity": pl.Int64},
    )
    bare = pl.col("chromosome").str.replace(_PREFIX, "")
    order = (
        variants.with_row_index("row")
        .join(ranks, on="consequence", how="left", nulls_equal=True, maintain_order="left")
        .sort(
            ~pl.col("gene_name").is_in(list(panel)).fill_null(value=False),
            "severity",
            bare.cast(pl.Int64, strict=False),
            bare,
            "position",
            "reference_allele",
            "alternate_allele",
            nulls_last=True,
        )["row"]
        .to_numpy()
    )
    priority = np.empty(variants.height, dtype=np.int64)
    priority[order] = np.arange(variants.height)
    return priority


def largest_prefix(
    n_frequencies: int,
    predict: Callable[[int], PredictedPower],
    formula: Callable[[int], float],
    maximum_power: float,
    least: int = 0,
) -> tuple[int, PredictedPower]:
    """How many frequencies of an ordered list keep the power small, found by bisection.

    Parameters
    ----------
    n_frequencies
        Length of the list.
    predict
        Power against the first so many of the list.
    formula
        The analytic power against them alone, which costs little: where it exceeds the limit
        nothing is simulated.
    maximum_power
        What `PredictedPower.pessimistic` may be.
    least
        So many of the list are known already, and cost nothing.

    Returns
    -------
    tuple
        The number, and the prediction for it. Where the power is not quite monotone there may be
        a larger number, but that found keeps the limit; `least` is found where nothing does, or
        where not one more does: so that what left does not grow when it leaves again.
    """
    known = predict(least)
    if known.pessimistic > maximum_power or least == n_frequencies:
        return least, known
    if formula(n_frequencies) <= maximum_power:
        power = predict(n_frequencies)
        if power.pessimistic <= maximum_power:
            return n_frequencies, power
    safe, unsafe, after = least, n_frequencies, known
    if least:
        power = predict(least + 1)
        if power.pessimistic > maximum_power:
            return least, known
        safe, after = least + 1, power
    while unsafe - safe > 1:
        middle = (safe + unsafe) // 2
        if formula(middle) > maximum_power:
            unsafe = middle
            continue
        power = predict(middle)
        if power.pessimistic <= maximum_power:
            safe, after = middle, power
        else:
            unsafe = middle
    return safe, after
