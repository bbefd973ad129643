"""Membership inference from released germline frequencies, with disclosure control off and on.

Cohorts of n patients and 1,000 independent variants are simulated in Hardy–Weinberg proportions:
880 with population frequencies uniform from 0.005 to 0.5, of which 12 are stop gains in the six
genes of a panel, and 120 rare stop gains (0.001 to 0.005) in these genes. The attacker knows the
population's frequencies and a person's genotypes, and asks by Homer's statistic or the likelihood
ratio whether the person is among the patients, accepting 5 % false positives of 4,000 simulated
people who are not. What is released is: all frequencies exactly (control off); all rounded to two
decimals; those with an allele count of at least 10; and what `apply_disclosure_control`, which the
workflow runs, lets leave under a study's default settings (control on): allele frequencies, and for
each gene the number of carriers of its other variants. It is attacked by all of these together.

Power and AUC are means over cohorts, with the standard error of the power of the likelihood ratio.
The last line is one JSON object: ours is the power with control on, the reference that with control
off, at n = 200, both of the likelihood ratio. With ``--quick`` there are 3 cohorts of each size
instead of 40.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.disclosure.membership import (
    analytic_power,
    area_under_curve,
    attack_power,
    homer_scores,
    likelihood_ratio_scores,
)
from ihdsi.study import DisclosureSettings, GermlineFilters
from ihdsi.summaries.strata import stratify
from ihdsi.summaries.variant_frequencies import count_alleles
from ihdsi.variants.genotypes import GenotypeBlock

N_PATIENTS = (100, 200, 500)
N_VARIANTS, N_RARE, N_COMMON_OF_PANEL = 1_000, 120, 12
N_OTHERS = 4_000
#: What an attacker takes a frequency for that was rounded to 0.00: the middle of what it may be.
ROUNDED_TO_0 = 0.0025
JUDGED = 200
SCORES = {"Homer": homer_scores, "LR": likelihood_ratio_scores}
RELEASES = ("off", "rounded", "count ≥ 10", "on")
PANEL = pl.DataFrame(
    {
        "gene_id": [f"ENSG{number:011d}" for number in range(1, 7)],
        "gene_name": [f"GENE{number}" for number in range(1, 7)],
    }
)
#: Gene of each variant, from 0; -1 outside the panel.
GENE = np.full(N_VARIANTS, -1)
GENE[: N_RARE + N_COMMON_OF_PANEL] = np.arange(N_RARE + N_COMMON_OF_PANEL) % PANEL.height


@dataclass(frozen=True)
class SimulatedCohort:
    """Patients behind the frequencies (see `ihdsi.disclosure.frequency_release.GenotypeSource`)."""

    patients: tuple[str, ...]
    dosage: NDArray[np.int8]
    strata: pl.DataFrame
    panel: pl.DataFrame = field(default_factory=lambda: PANEL)
    minimum_call_rate: float = 0.95

    def read(self, variants: pl.DataFrame) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Dosage and ploidy of variants, whose position is their number from 1."""
        dosage = self.dosage[variants["position"].to_numpy() - 1]
        return dosage, np.full_like(dosage, 2)

    def frequencies(self) -> pl.DataFrame:
        """Table variant_frequencies of everything."""
        names = PANEL["gene_name"]
        block = GenotypeBlock(
            patients=self.patients,
            chromosome="1",
            position=np.arange(1, N_VARIANTS + 1),
            reference_alleles=["A"] * N_VARIANTS,
            alternate_alleles=["C"] * N_VARIANTS,
            consequences=[
                None if gene < 0 else f"*stop_gained|{names[int(gene)]}|T|protein_coding"
                for gene in GENE
            ],
            population_frequency=np.full(N_VARIANTS, np.nan),
            clinical_significance=[None] * N_VARIANTS,
            dosage=self.dosage,
            ploidy=np.full_like(self.dosage, 2),
            absent=np.zeros(self.dosage.shape, dtype=bool),
        )
        everything = GermlineFilters(minimum_call_rate=0, minimum_hardy_weinberg_p_value=0)
        return count_alleles([block], self.patients, everything, None, [], PANEL)


@dataclass(frozen=True)
class Released:
    """Frequencies as an attacker has them.

    `variants` are those that left with their `frequency`; of each row of `genes` (a gene of the
    panel) left the share of carriers of its variants that are not among them.
    """

    variants: NDArray[np.intp]
    frequency: NDArray[np.float64]
    genes: NDArray[np.intp]
    carriers: NDArray[np.float64]

    def attack(
        self, dosage: NDArray[np.int8], truth: NDArray[np.float64]
    ) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
        """Arguments of the scores: alleles and carriers (as one allele) of people, known to all."""
        folded = [np.setdiff1d(np.flatnonzero(gene == GENE), self.variants) for gene in self.genes]
        n_people = dosage.shape[1]
        carries = [(dosage[rows] > 0).any(axis=0) for rows in folded]
        own = np.array(carries, dtype=np.int8).reshape(len(folded), n_people)
        theirs = np.array([1 - np.prod((1 - truth[rows]) ** 2) for rows in folded])
        alleles = dosage[self.variants]
        return (
            np.concatenate([alleles, own]),
            np.concatenate([np.full_like(alleles, 2), np.ones_like(own)]),
            np.concatenate([self.frequency, self.carriers]),
            np.concatenate([truth[self.variants], theirs]),
        )


def cleared(dosage: NDArray[np.int8]) -> Released:
    """Clear the frequencies as the workflow does, and read what leaves."""
    patients = tuple(f"patient{number:05d}" for number in range(dosage.shape[1]))
    cohort = SimulatedCohort(patients, dosage, stratify(pl.Series("patient", patients), None, []))
    tables, _ = apply_disclosure_control(
        {"variant_frequencies": cohort.frequencies()},
        DisclosureSettings(),
        patients,
        {},
        genotypes=cohort,
    )
    variants, carriers = (
        tables[name].filter(stratum="all")
        for name in ("variant_frequencies", "germline_gene_carriers")
    )
    if variants["n_carriers"].count():
        raise RuntimeError("genotype counts left, which this attack does not read")
    names = PANEL["gene_name"].to_list()
    return Released(
        variants["position"].to_numpy() - 1,
        (variants["allele_count"] / variants["allele_number"]).to_numpy(),
        np.array([names.index(name) for name in carriers["gene_name"]], dtype=np.intp),
        (carriers["n_carriers"] / carriers["n_assessed"]).to_numpy(),
    )


def releases(dosage: NDArray[np.int8]) -> dict[str, Released]:
    """Release frequencies under each kind of control."""
    count = dosage.sum(axis=1)
    frequency = count / (2 * dosage.shape[1])
    none = np.zeros(0, dtype=np.intp)

    def alleles(rows: NDArray[np.intp], values: NDArray[np.float64]) -> Released:
        return Released(rows, values[rows], none, none.astype(np.float64))

    everything = np.arange(N_VARIANTS)
    return {
        "off": alleles(everything, frequency),
        "rounded": alleles(everything, frequency.round(2).clip(ROUNDED_TO_0, 1 - ROUNDED_TO_0)),
        "count ≥ 10": alleles(np.flatnonzero(count >= 10), frequency),
        "on": cleared(dosage),
    }


def attack_cohort(n_patients: int, seed: int) -> dict[str, list[float]]:
    """Simulate a cohort and attack each release.

    Gives the numbers of allele frequencies and of gene rows, then AUC and power of each statistic.
    """
    rng = np.random.default_rng([n_patients, seed])
    truth = rng.uniform(0.005, 0.5, N_VARIANTS)
    truth[:N_RARE] = rng.uniform(0.001, 0.005, N_RARE)
    people = rng.binomial(2, truth[:, None], (N_VARIANTS, n_patients + N_OTHERS)).astype(np.int8)
    members, others = people[:, :n_patients], people[:, n_patients:]
    results = {}
    for kind, released in releases(members).items():
        numbers = [float(released.variants.size), float(released.genes.size)]
        for score in SCORES.values():
            ours, theirs = (score(*released.attack(group, truth)) for group in (members, others))
            numbers += [area_under_curve(ours, theirs), attack_power(ours, theirs)]
        results[kind] = numbers
    return results


def main() -> None:
    """Attack, print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 cohorts of each size")
    parser.add_argument("--cohorts", type=int, default=40)
    arguments = parser.parse_args()
    n_cohorts = 3 if arguments.quick else arguments.cohorts
    heads = ("alleles", "gene rows", "AUC Homer", "power Homer", "AUC LR", "power LR", "± s.e.")
    print(f"{'n':>4}  {'control':<10}  " + "  ".join(f"{head:>11}" for head in heads))
    powers = {}
    for n_patients in N_PATIENTS:
        cohorts = [attack_cohort(n_patients, seed) for seed in range(n_cohorts)]
        for kind in RELEASES:
            numbers = np.array([cohort[kind] for cohort in cohorts])
            n_alleles, n_genes, *rates = numbers.mean(axis=0)
            error = numbers[:, -1].std(ddof=1) / np.sqrt(n_cohorts)
            cells = [
                f"{n_alleles:.1f}",
                f"{n_genes:.1f}",
                *(f"{value:.3f}" for value in (*rates, error)),
            ]
            print(f"{n_patients:>4}  {kind:<10}  " + "  ".join(f"{cell:>11}" for cell in cells))
            powers[n_patients, kind] = float(rates[-1])
        formula = analytic_power(N_VARIANTS, n_patients)
        print(f"{n_patients:>4}  {'off, formula':<75}  {formula:>11.3f}", flush=True)
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
