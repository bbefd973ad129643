"""Attack the released tables: what is withheld must not follow from what is not.

The attackers know the protocol and the released rows, and solve for the withheld cells by linear
programming. They succeed where only the small cells themselves are withheld.
"""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import linprog

from cohort_in_memory import Cohort, block
from ihdsi.disclosure import apply_disclosure_control
from ihdsi.study import ClinicalVariable, DisclosureSettings
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.gene_alterations import (
    COPY_NUMBER,
    PROTEIN_ALTERING,
    build_gene_alterations,
)
from ihdsi.summaries.mutation_burden import build_mutation_burden
from judged_features import nobody_makes_up
from somatic_mutations import missense

# Membership is attacked in test_frequency_release.py; here no frequency is withheld for it.
SETTINGS = DisclosureSettings(
    minimum_n=10,
    minimum_cell_count=5,
    zero_cells_allowed=True,
    maximum_membership_power=1.0,
    stratified_frequencies=True,
)
LEAST = SETTINGS.minimum_cell_count
STRATA = ("low", "high", "third")


def small(count):
    return 0 < count < LEAST


def clear(name, table, genotypes=None):
    made = {name: table}
    cleared, _ = apply_disclosure_control(
        made, SETTINGS, [], {}, genotypes=genotypes, features=nobody_makes_up(made)
    )
    return cleared[name]


def clinical(rng, n, unknown=0):
    stage = rng.choice(STRATA, n, p=[0.5, 0.35, 0.15]).astype(object)
    stage[:unknown] = None
    return pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "stage": pl.Series(stage.tolist(), dtype=pl.String),
        }
    )


class Attacker:
    """Unknown non-negative numbers, and linear facts about them."""

    def __init__(self):
        self.names, self.equal, self.at_most = {}, [], []

    def index(self, name):
        return self.names.setdefault(name, len(self.names))

    def knows(self, terms, value, inequality=False):
        facts = self.at_most if inequality else self.equal
        facts.append(([(self.index(name), factor) for name, factor in terms], value))

    def _matrix(self, facts):
        matrix = np.zeros((len(facts), len(self.names)))
        for row, (terms, _) in enumerate(facts):
            for column, factor in terms:
                matrix[row, column] += factor
        return matrix, np.array([value for _, value in facts])

    def range(self, terms):
        target = np.zeros(len(self.names))
        for name, factor in terms:
            target[self.index(name)] += factor
        target = np.pad(target, (0, len(self.names) - len(target)))
        a, b = self._matrix(self.equal)
        c, d = self._matrix(self.at_most) if self.at_most else (None, None)
        found = [
            linprog(s * target, A_ub=c, b_ub=d, A_eq=a, b_eq=b, bounds=(0, None)) for s in (1, -1)
        ]
        assert all(result.status == 0 for result in found)
        return found[0].fun, -found[1].fun


def recovered_levels(truth, released, levels):
    """Small counts of level by stratum that the released rows of a variable determine."""
    attacker = Attacker()
    totals = dict(truth.select("stratum", "n_total").unique().iter_rows())
    strata = [stratum for stratum in totals if stratum != "all"]
    columns = [*strata, "unknown"]
    totals["unknown"] = totals["all"] - sum(totals[s] for s in strata)
    for stratum in columns:
        attacker.knows([((level, stratum), 1) for level in levels], totals[stratum])
    for level, stratum, n in released.select("level", "stratum", "n").iter_rows():
        cells = columns if stratum == "all" else [stratum]
        attacker.knows([((level, s), 1) for s in cells], n)
    hits = []
    for level, stratum, n in truth.select("level", "stratum", "n").iter_rows():
        if small(n):
            cells = columns if stratum == "all" else [stratum]
            low, high = attacker.range([((level, s), 1) for s in cells])
            hits += [(level, stratum)] * (high - low < 1 - 1e-6)
    return hits


LEVELS = ("never", "former", "current", "other")
SMOKING = {"smoking": ClinicalVariable(type="categorical", levels=LEVELS)}


def smoking_profile(seed, unknown):
    rng = np.random.default_rng(seed)
    table = clinical(rng, 60, unknown).with_columns(
        smoking=pl.Series(rng.choice(LEVELS, 60, p=[0.4, 0.35, 0.15, 0.1]).tolist())
    )
    return build_cohort_profile(table, SMOKING, ["stage"])


@pytest.mark.parametrize("unknown", [0, 3])
@pytest.mark.parametrize("seed", range(12))
def test_levels_by_strata(seed, unknown):
    truth = smoking_profile(seed, unknown)
    assert recovered_levels(truth, clear("cohort_profile", truth), LEVELS) == []


def test_the_attack_on_levels_works_without_complementary_suppression():
    hits = []
    for seed in range(6):
        truth = smoking_profile(seed, 0)
        primary = truth.filter(~pl.col("n").is_between(1, LEAST - 1))
        hits += recovered_levels(truth, primary, LEVELS)
    assert hits


def test_control_leaves_safe_tables_alone():
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(400)],
            "stage": rng.choice(["low", "high"], 400),
            "smoking": rng.choice(LEVELS, 400),
        }
    )
    truth = build_cohort_profile(table, SMOKING, ["stage"])
    assert clear("cohort_profile", truth).equals(truth)


@pytest.mark.parametrize("seed", range(8))
def test_bins_cannot_be_recovered_from_the_total(seed):
    rng = np.random.default_rng(seed)
    ages = {"age": ClinicalVariable(type="number", unit="a", bins=(18, 55, 65, 75, 111))}
    table = pl.DataFrame({"patient": [f"p{i}" for i in range(40)], "age": rng.normal(68, 8, 40)})
    truth = build_cohort_profile(table, ages, []).filter(kind="bin")
    released = clear("cohort_profile", truth)
    withheld = truth.join(released, on="bin_lower", how="anti")
    if truth["n"].is_between(1, LEAST - 1).any():
        # What is missing from the total is the sum of several bins and no small number.
        assert withheld.height >= 2
        assert withheld["n"].sum() >= LEAST
    else:
        assert withheld.is_empty()


@pytest.mark.parametrize("unknown", [0, 1, 12])
def test_sums_of_few_patients_cannot_be_had_by_subtraction(unknown):
    rng = np.random.default_rng(3)
    patients = clinical(rng, 60, unknown).with_columns(
        stage=pl.when(pl.int_range(60) > 52)
        .then(pl.lit("third"))
        .when(pl.col("stage") == "third")
        .then(pl.lit("low"))
        .otherwise("stage")
    )
    assessed = patients.select("patient", callable_megabases=pl.lit(1.0))
    variants = missense(rng.choice(patients["patient"], 300))
    burden = build_mutation_burden(variants, assessed, patients, ["stage"])
    truth = burden.filter(measure="nonsynonymous_mutations")
    # Every mutation is protein-altering here, so that both burdens are the same numbers.
    assert truth.drop("measure").equals(burden.filter(measure="all_mutations").drop("measure"))
    both = clear("mutation_burden", burden)
    released = both.filter(measure="nonsynonymous_mutations")
    assert released.drop("measure").equals(both.filter(measure="all_mutations").drop("measure"))
    assert "all" in released["stratum"]
    assert "third" not in released["stratum"]
    rest = 60 - released.filter(pl.col("stratum") != "all")["n"].sum()
    assert rest == 0 or rest >= SETTINGS.minimum_n
    primary_rest = 60 - truth.filter(pl.col("n") >= 10, pl.col("stratum") != "all")["n"].sum()
    assert unknown == 12 or 0 < primary_rest < SETTINGS.minimum_n  # the attack was possible


def alterations(seed, unknown, genes=25):
    rng = np.random.default_rng(seed)
    patients = clinical(rng, 70, unknown)
    rows = [
        (patient, f"ENSG{gene:011d}", kind)
        for gene in range(genes)
        for patient in patients["patient"]
        for kind in PROTEIN_ALTERING
        if rng.random() < (0.02, 0.3, 0.0, 0.05, 0.12)[(gene + PROTEIN_ALTERING.index(kind)) % 5]
    ]
    variants = pl.DataFrame(rows, schema=["patient", "gene_id", "alteration_class"], orient="row")
    catalogue = pl.DataFrame({"gene_id": [f"ENSG{g:011d}" for g in range(genes)], "gene_name": "g"})
    return build_gene_alterations(
        variants, patients.select("patient"), catalogue, patients, ["stage"]
    )


def recovered_alterations(truth, released):
    """Cells with few altered or few unaltered patients that the released rows determine."""
    hits = []
    sizes = dict(truth.select("stratum", "n_assessed").unique().iter_rows())
    strata = [s for s in sizes if s != "all"]
    sizes["unknown"] = sizes["all"] - sum(sizes[s] for s in strata)
    columns = [*strata, "unknown"]
    for (gene,), part in truth.group_by("gene_id"):
        known = released.filter(gene_id=gene)
        attacker = Attacker()
        for s in columns:
            for kind in PROTEIN_ALTERING:
                attacker.knows([((kind, s), 1), (("any", s), -1)], 0, inequality=True)
            attacker.knows(
                [(("any", s), 1), *(((k, s), -1) for k in PROTEIN_ALTERING)], 0, inequality=True
            )
            attacker.knows([(("any", s), 1)], sizes[s], inequality=True)
        for kind, s, n in known.select("alteration_class", "stratum", "n_altered").iter_rows():
            attacker.knows([((kind, c), 1) for c in (columns if s == "all" else [s])], n)
        cells = part.select("alteration_class", "stratum", "n_altered", "n_assessed")
        for kind, s, n, total in cells.iter_rows():
            if small(n) or small(total - n):
                low, high = attacker.range(
                    [((kind, c), 1) for c in (columns if s == "all" else [s])]
                )
                hits += [(gene, kind, s)] * (high - low < 1 - 1e-6)
    return hits


@pytest.mark.parametrize("unknown", [0, 4])
@pytest.mark.parametrize("seed", range(3))
def test_alterations_by_class_and_stratum(seed, unknown):
    truth = alterations(seed, unknown)
    released = clear("gene_alterations", truth)
    assert 0 < released.height < truth.height
    assert recovered_alterations(truth, released) == []


def test_the_attack_on_alterations_works_without_complementary_suppression():
    truth = alterations(0, 0)
    rest = pl.col("n_assessed") - pl.col("n_altered")
    primary = truth.filter(
        ~pl.col("n_altered").is_between(1, LEAST - 1) & ~rest.is_between(1, LEAST - 1)
    )
    assert recovered_alterations(truth, primary)


def copy_numbers(seed, unknown, genes=25):
    """Copy-number classes and promoter variants of some genes."""
    rng = np.random.default_rng(seed)
    patients = clinical(rng, 70, unknown)
    kinds = (*COPY_NUMBER, "neutral")
    shares = [
        (0.05, 0.3, 0.2, 0.03, 0.42),
        (0.3, 0.3, 0.2, 0.15, 0.05),
        (0.0, 0.5, 0.46, 0.0, 0.04),
        (0.02, 0.02, 0.02, 0.02, 0.92),
        (0.25, 0.25, 0.25, 0.25, 0.0),
    ]
    rows = [
        (patient, f"ENSG{gene:011d}", "g", kind)
        for gene in range(genes)
        for patient, kind in zip(
            patients["patient"], rng.choice(kinds, 70, p=shares[gene % 5]), strict=True
        )
    ]
    table = pl.DataFrame(
        rows, schema=["patient", "gene_id", "gene_name", "copy_number_class"], orient="row"
    )
    variants = pl.DataFrame(
        [
            (patient, f"ENSG{gene:011d}", "promoter")
            for gene in range(genes)
            for patient in patients["patient"]
            if rng.random() < gene / genes
        ],
        schema=["patient", "gene_id", "alteration_class"],
        orient="row",
    )
    catalogue = pl.DataFrame({"gene_id": [f"ENSG{g:011d}" for g in range(genes)], "gene_name": "g"})
    counts = build_gene_alterations(
        variants,
        patients.select("patient"),
        catalogue,
        patients,
        ["stage"],
        copy_number=table,
        promoter_genes=["g"],
    )
    return counts.filter(pl.col("alteration_class").is_in([*COPY_NUMBER, "promoter"]))


def recovered_copy_numbers(truth, released):
    """Small cells (the unchanged patients among them) that the released rows determine."""
    hits = []
    sizes = dict(truth.select("stratum", "n_assessed").unique().iter_rows())
    strata = [s for s in sizes if s != "all"]
    sizes["unknown"] = sizes["all"] - sum(sizes[s] for s in strata)
    columns = [*strata, "unknown"]
    for group in (COPY_NUMBER, ("promoter",)):
        for (gene,), part in truth.filter(pl.col("alteration_class").is_in(group)).group_by(
            "gene_id"
        ):
            known = released.filter(pl.col("alteration_class").is_in(group), gene_id=gene)
            attacker = Attacker()
            for s in columns:
                attacker.knows([((kind, s), 1) for kind in (*group, "none")], sizes[s])
            for kind, s, n in known.select("alteration_class", "stratum", "n_altered").iter_rows():
                attacker.knows([((kind, c), 1) for c in (columns if s == "all" else [s])], n)
            cells = part.select("alteration_class", "stratum", "n_altered", "n_assessed").rows()
            cells += [
                ("none", s, sizes[s] - part.filter(stratum=s)["n_altered"].sum(), sizes[s])
                for s in ("all", *strata)
            ]
            for kind, s, n, total in cells:
                if small(n) or small(total - n):
                    low, high = attacker.range(
                        [((kind, c), 1) for c in (columns if s == "all" else [s])]
                    )
                    hits += [(gene, kind, s)] * (high - low < 1 - 1e-6)
    return hits


@pytest.mark.parametrize("unknown", [0, 4, 12])
@pytest.mark.parametrize("seed", range(2))
def test_copy_numbers_and_promoters(seed, unknown):
    truth = copy_numbers(seed, unknown)
    released = clear("gene_alterations", truth)
    assert 0 < released.height < truth.height
    assert set(released["alteration_class"]) == {*COPY_NUMBER, "promoter"}
    assert recovered_copy_numbers(truth, released) == []


def test_the_attack_on_copy_numbers_works_without_complementary_suppression():
    truth = copy_numbers(0, 0)
    rest = pl.col("n_assessed") - pl.col("n_altered")
    primary = truth.filter(
        ~pl.col("n_altered").is_between(1, LEAST - 1) & ~rest.is_between(1, LEAST - 1)
    )
    assert recovered_copy_numbers(truth, primary)


def genotypes(seed, unknown):
    rng = np.random.default_rng(seed)
    patients = clinical(rng, 80, unknown)
    frequency = rng.beta(0.6, 1.5, 60)
    dosage = rng.binomial(2, frequency[:, None], (60, 80)).astype(np.int8)
    return patients, block(patients["patient"], dosage)


def frequencies(patients, genotypes):
    return Cohort(patients, (genotypes,)).frequencies()


def recovered_genotypes(truth, released):
    """Numbers of carriers, homozygotes and heterozygotes too small, yet determined."""
    hits = []
    for (position,), part in truth.group_by("position"):
        known = released.filter(position=position)
        attacker = Attacker()
        numbers = dict(part.select("stratum", "n_samples_called").iter_rows())
        columns = [s for s in numbers if s != "all"]
        if numbers["all"] > sum(numbers[s] for s in columns):
            columns.append("unknown")
        for s in columns:
            attacker.index(("het", s))
            attacker.index(("hom", s))
            limit = numbers.get(s, numbers["all"] - sum(numbers.get(c, 0) for c in columns))
            attacker.knows([(("het", s), 1), (("hom", s), 1)], limit, inequality=True)
        for s, alleles, carriers, homozygous in known.select(
            "stratum", "allele_count", "n_carriers", "n_homozygous"
        ).iter_rows():
            where = columns if s == "all" else [s]
            attacker.knows(
                [(("het", c), 1) for c in where] + [(("hom", c), 2) for c in where], alleles
            )
            if homozygous is not None:
                attacker.knows([(("hom", c), 1) for c in where], homozygous)
            if carriers is not None:
                attacker.knows([((k, c), 1) for c in where for k in ("het", "hom")], carriers)
        for s, n, carriers, homozygous in part.select(
            "stratum", "n_samples_called", "n_carriers", "n_homozygous"
        ).iter_rows():
            where = columns if s == "all" else [s]
            for kinds, count in (
                (("hom",), homozygous),
                (("het",), carriers - homozygous),
                (("het", "hom"), carriers),
                (("het", "hom"), n - carriers),
            ):
                if small(count):
                    low, high = attacker.range([((k, c), 1) for c in where for k in kinds])
                    hits += [(position, s, kinds)] * (high - low < 1 - 1e-6)
    return hits


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("unknown", [0, 3])
def test_genotypes(seed, unknown):
    """Among the variants of seed 1 is one that everybody carries, few of them heterozygous."""
    patients, table = genotypes(seed, unknown)
    truth = frequencies(patients, table)
    released = clear("variant_frequencies", truth, Cohort(patients, (table,)))
    assert 0 < released.height < truth.height
    assert released["n_homozygous"].null_count() > 0
    assert released["n_homozygous"].drop_nulls().len() > 0
    assert recovered_genotypes(truth, released) == []


def test_the_attack_on_genotypes_works_when_only_homozygotes_are_hidden():
    patients, table = genotypes(1, 0)
    truth = frequencies(patients, table)
    carriers, rest = pl.col("n_carriers"), pl.col("n_samples_called") - pl.col("n_carriers")
    naive = truth.filter(
        ~carriers.is_between(1, LEAST - 1) & ~rest.is_between(1, LEAST - 1)
    ).with_columns(
        n_homozygous=pl.when(~pl.col("n_homozygous").is_between(1, LEAST - 1)).then("n_homozygous")
    )
    assert recovered_genotypes(truth, naive)


@pytest.mark.parametrize(("men", "released"), [(0, 1), (20, 1), (80, 1), (2, 0), (78, 0)])
def test_few_haploid_genotypes_do_not_show_in_allele_number(men, released):
    """On X, 2 · n_samples_called − allele_number is the number of men."""
    patients = pl.DataFrame({"patient": [f"p{i}" for i in range(80)], "stage": ["a", "b"] * 40})
    ploidy = np.full((1, 80), 2, dtype=np.int8)
    ploidy[:, :men] = 1
    dosage = np.zeros((1, 80), dtype=np.int8)
    dosage[:, 20:60] = 1
    cohort = Cohort(patients, (block(patients["patient"], dosage, ploidy, "X"),))
    truth = cohort.frequencies()
    kept = clear("variant_frequencies", truth, cohort)
    assert kept.height == released * truth.height


def test_haploid_genotypes_outside_the_strata_are_the_rest_of_the_cohort():
    """Both strata have ten men, the cohort 22: two are of unknown stage."""
    stages = ["a"] * 35 + ["b"] * 35 + [None] * 10
    patients = pl.DataFrame({"patient": [f"p{i}" for i in range(80)], "stage": stages})
    ploidy = np.full((1, 80), 2, dtype=np.int8)
    for first, last in ((0, 10), (35, 45), (70, 72)):
        ploidy[:, first:last] = 1
    dosage = np.zeros((1, 80), dtype=np.int8)
    dosage[:, ::2] = 1
    cohort = Cohort(patients, (block(patients["patient"], dosage, ploidy, "X"),))
    assert clear("variant_frequencies", cohort.frequencies(), cohort).is_empty()
    ploidy[:, 70:72] = 2
    cohort = Cohort(patients, (block(patients["patient"], dosage, ploidy, "X"),))
    whole = cohort.frequencies()
    assert clear("variant_frequencies", whole, cohort).height == whole.height
