"""Membership inference from released allele frequencies, with disclosure control off and on.

Cohorts of n patients and 1,000 independent variants (population frequencies uniform from 0.005 to
0.5, Hardy–Weinberg proportions) are simulated. The attacker knows the population's frequencies and
a person's genotypes, and asks by Homer's statistic or the likelihood ratio whether the person is
among the patients, accepting 5 % false positives of 4,000 simulated people who are not. What is
released is: all frequencies exactly (control off); all rounded to two decimals; those with an
allele count of at least 10; those that `select_frequencies` lets leave at a power of at most 0.10
(control on), which knows the patients' genotypes only. Power and AUC are means over cohorts, with
the standard error of the power of the likelihood ratio. The last line is one JSON object: ours is
the power with control on, the reference that with control off, at n = 200, both of the likelihood
ratio. With ``--quick`` there are 5 cohorts of each size instead of 40.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from numpy.typing import NDArray

from ihdsi.disclosure.membership import (
    analytic_power,
    area_under_curve,
    attack_power,
    homer_scores,
    likelihood_ratio_scores,
    select_frequencies,
)

N_PATIENTS = (100, 200, 500)
N_VARIANTS = 1_000
N_OTHERS = 4_000
JUDGED = 200
SCORES = {"Homer": homer_scores, "LR": likelihood_ratio_scores}
RELEASES = ("off", "rounded", "count ≥ 10", "on")


def releases(dosage: NDArray[np.int8], ploidy: NDArray[np.int8], seed: int) -> dict:
    """Frequencies as released, by kind of control; NaN where withheld."""
    frequency = dosage.sum(axis=1) / ploidy.sum(axis=1)
    selection = select_frequencies(dosage, ploidy, np.arange(len(dosage)), seed=seed)
    return {
        "off": frequency,
        "rounded": frequency.round(2),
        "count ≥ 10": np.where(dosage.sum(axis=1) >= 10, frequency, np.nan),
        "on": np.where(selection.mask, frequency, np.nan),
    }


def attack_cohort(n_patients: int, seed: int) -> dict:
    """Simulate a cohort and attack each release: (released, AUC and power of each statistic)."""
    rng = np.random.default_rng([n_patients, seed])
    truth = rng.uniform(0.005, 0.5, N_VARIANTS)
    people = rng.binomial(2, truth[:, None], (N_VARIANTS, n_patients + N_OTHERS)).astype(np.int8)
    ploidy = np.full_like(people, 2)
    members, others = people[:, :n_patients], people[:, n_patients:]
    results = {}
    for kind, released in releases(members, ploidy[:, :n_patients], seed).items():
        known = np.isfinite(released)
        numbers = [float(known.sum())]
        for score in SCORES.values():
            ours, theirs = (
                score(group[known], np.full_like(group[known], 2), released[known], truth[known])
                for group in (members, others)
            )
            numbers += [area_under_curve(ours, theirs), attack_power(ours, theirs)]
        results[kind] = numbers
    return results


def main() -> None:
    """Attack, print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 cohorts of each size")
    parser.add_argument("--cohorts", type=int, default=40)
    arguments = parser.parse_args()
    n_cohorts = 5 if arguments.quick else arguments.cohorts
    heads = ("frequencies", "AUC Homer", "power Homer", "AUC LR", "power LR", "± s.e.")
    print(f"{'n':>4}  {'control':<10}  " + "  ".join(f"{head:>11}" for head in heads))
    powers = {}
    for n_patients in N_PATIENTS:
        cohorts = [attack_cohort(n_patients, seed) for seed in range(n_cohorts)]
        for kind in RELEASES:
            numbers = np.array([cohort[kind] for cohort in cohorts])
            n_released, *rates = numbers.mean(axis=0)
            error = numbers[:, -1].std(ddof=1) / np.sqrt(n_cohorts)
            cells = [f"{n_released:.1f}", *(f"{value:.3f}" for value in (*rates, error))]
            print(f"{n_patients:>4}  {kind:<10}  " + "  ".join(f"{cell:>11}" for cell in cells))
            powers[n_patients, kind] = float(rates[-1])
        formula = analytic_power(N_VARIANTS, n_patients)
        print(f"{n_patients:>4}  {'off, formula':<62}  {formula:>11.3f}")
    on, off = powers[JUDGED, "on"], powers[JUDGED, "off"]
    result = {
        "name": "membership_inference",
        "ours": round(on, 3),
        "reference": round(off, 3),
        "unit": "power at 5 % false positives",
        "ratio": round(on / off, 3),
        "reference_is": "likelihood-ratio attack on all exact frequencies of the same cohorts "
        f"({JUDGED} patients, {N_VARIANTS} variants)",
        "power_off": round(off, 3),
        "power_on": round(on, 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
