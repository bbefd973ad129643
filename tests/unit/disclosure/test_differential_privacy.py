"""Noise of known distribution, the sensitivity by brute force, the contract, and the budget.

The noise is random and has no seed: tests of its distribution fail by chance once in a million.
"""

import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare, dlaplace

from ihdsi.bundle.manifest import DisclosureStatement
from ihdsi.disclosure import apply_disclosure_control, disclosure_summary, stricter_of
from ihdsi.disclosure.differential_privacy import (
    cells_of,
    discrete_laplace,
    privatise,
    require_budget,
)
from ihdsi.errors import InputError
from ihdsi.study import (
    DifferentialPrivacy,
    DisclosureOverrides,
    DisclosureSettings,
    GermlineFilters,
)
from ihdsi.summaries.gene_alterations import (
    COPY_NUMBER,
    PROTEIN_ALTERING,
    build_gene_alterations,
)
from ihdsi.summaries.parquet import validate_table
from ihdsi.summaries.variant_frequencies import count_alleles
from ihdsi.variants.genotypes import GenotypeBlock

CHANCE = 1e-6
BOTH = ("gene_alterations", "variant_frequencies")


def settings(epsilon=1.0, budget=10.0, tables=BOTH):
    return DifferentialPrivacy(epsilon=epsilon, budget=budget, tables=tables)


class People:
    """Patients with alterations and genotypes; two stratum variables, one of them with gaps."""

    def __init__(self, n=60, genes=4, variants=5, seed=0):
        rng = np.random.default_rng(seed)
        self.names = [f"p{i}" for i in range(n)]
        self.clinical = pl.DataFrame(
            {
                "patient": self.names,
                "stage": rng.choice(["low", "high"], n).tolist(),
                "grade": pl.Series(rng.choice(["a", "b", "c", None], n).tolist(), dtype=pl.String),
            }
        )
        self.genes = [f"ENSG{g:011d}" for g in range(genes)]
        self.altered = rng.random((genes, len(PROTEIN_ALTERING), n)) < 0.4
        self.copies = rng.choice([*COPY_NUMBER, "neutral"], (genes, n))
        self.dosage = rng.integers(0, 3, (variants, n))
        self.haploid = rng.random(n) < 0.5

    def alterations(self, patients):
        rows = [
            (name, gene, kind)
            for name in patients
            for g, gene in enumerate(self.genes)
            for k, kind in enumerate(PROTEIN_ALTERING)
            if self.altered[g, k, self.names.index(name)]
        ]
        copied = [
            (name, gene, "g", self.copies[g, self.names.index(name)])
            for name in patients
            for g, gene in enumerate(self.genes[:2])
        ]
        return build_gene_alterations(
            pl.DataFrame(rows, schema=["patient", "gene_id", "alteration_class"], orient="row"),
            pl.DataFrame({"patient": patients}),
            pl.DataFrame({"gene_id": self.genes, "gene_name": "g"}),
            self.clinical,
            ["stage", "grade"],
            copy_number=pl.DataFrame(
                copied,
                schema=["patient", "gene_id", "gene_name", "copy_number_class"],
                orient="row",
            ),
        )

    def frequencies(self, patients, chromosome="1"):
        columns = [self.names.index(name) for name in patients]
        dosage = self.dosage[:, columns].astype(np.int8)
        ploidy = np.full_like(dosage, 2)
        if chromosome == "X":
            haploid = self.haploid[columns]
            ploidy[:, haploid] = 1
            dosage[:, haploid] = np.minimum(dosage[:, haploid], 1)
        n = len(dosage)
        block = GenotypeBlock(
            patients=tuple(patients),
            chromosome=chromosome,
            position=np.arange(1, n + 1),
            reference_alleles=["A"] * n,
            alternate_alleles=["T"] * n,
            consequences=[None] * n,
            population_frequency=np.full(n, np.nan),
            clinical_significance=[None] * n,
            dosage=dosage,
            ploidy=ploidy,
            absent=np.zeros(dosage.shape, dtype=bool),
        )
        filters = GermlineFilters(minimum_hardy_weinberg_p_value=0)
        return count_alleles([block], patients, filters, self.clinical, ["stage", "grade"])

    def table(self, kind, patients):
        if kind == "alterations":
            return "gene_alterations", self.alterations(patients)
        frame = self.frequencies(patients, "X" if kind == "X" else "1")
        if kind == "nulled":
            nothing = [
                pl.lit(None, dtype=pl.Int64).alias(c) for c in ("n_carriers", "n_homozygous")
            ]
            frame = frame.with_columns(nothing)
        return "variant_frequencies", frame


@pytest.fixture(scope="module")
def people():
    return People()


KINDS = ("alterations", "autosomes", "X", "nulled")


@pytest.mark.parametrize(("sensitivity", "epsilon"), [(1, 0.5), (3, 1.0), (20, 7.0)])
def test_the_noise_is_discrete_laplace(sensitivity, epsilon):
    counts = np.full(20_000, 1_000)
    noise = discrete_laplace(counts, sensitivity, epsilon) - counts
    law = dlaplace(epsilon / sensitivity)
    edges = np.arange(*(int(law.ppf(q)) for q in (0.002, 0.998)))
    expected = np.diff(np.concatenate([[0], law.cdf(edges), [1]])) * noise.size
    observed = np.histogram(noise, np.concatenate([[-np.inf], edges + 0.5, [np.inf]]))[0]
    assert chisquare(observed, expected).pvalue > CHANCE
    # The same test tells a scale that is 15 % off.
    wrong = dlaplace(epsilon / sensitivity * 1.15)
    expected = np.diff(np.concatenate([[0], wrong.cdf(edges), [1]])) * noise.size
    assert chisquare(observed, expected).pvalue < CHANCE


def test_opendp_vouches_for_the_loss():
    import opendp.prelude as dp

    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    # The plain quotient of these is refused by OpenDP's own arithmetic, which rounds up.
    assert not dp.m.make_laplace(*space, scale=20 / 0.7).check(20, 0.7)
    assert discrete_laplace(np.zeros(3, dtype=np.int64), 20, 0.7).shape == (3,)


@pytest.mark.parametrize(("sensitivity", "epsilon"), [(0, 1.0), (1, 0.0), (1, -1.0), (1, np.nan)])
def test_impossible_noise_is_refused(sensitivity, epsilon):
    with pytest.raises(ValueError, match="positive"):
        discrete_laplace(np.zeros(1, dtype=np.int64), sensitivity, epsilon)


def test_no_cells_need_no_noise():
    assert discrete_laplace(np.zeros(0, dtype=np.int64), 1, 1.0).size == 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_patient_changes_the_cells_by_more_than_the_sensitivity(people, kind):
    name, everybody = people.table(kind, people.names)
    cells = cells_of(name, everybody)
    changes = []
    for left_out in people.names:
        fewer = people.table(kind, [p for p in people.names if p != left_out])[1]
        assert fewer.height == everybody.height
        changes.append(np.abs(cells.counts - cells_of(name, fewer).counts).sum())
    assert max(changes) <= cells.sensitivity
    assert min(changes) > 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Three strata (all, stage, grade), in each: 4 genes × 7 classes, 2 genes' copy number,
        # n_assessed of small variants, of 2 genes' copy numbers.
        ("alterations", 3 * (4 * 7 + 2 + 1 + 2)),
        ("autosomes", 3 * 5),
        ("X", 3 * 5 * 2),
        ("nulled", 3 * 5 * 3),
    ],
)
def test_the_sensitivity_is_reached_by_a_patient_who_has_everything(people, kind, expected):
    whole = People()
    whole.altered[:, :, 0] = True
    whole.copies[:, 0] = "gain"
    whole.dosage[:, 0] = 1 if kind == "X" else 2
    whole.haploid[0] = True
    whole.clinical = whole.clinical.with_columns(
        grade=pl.when(pl.col("patient") == "p0").then(pl.lit("a")).otherwise("grade")
    )
    name, everybody = whole.table(kind, whole.names)
    fewer = whole.table(kind, whole.names[1:])[1]
    cells = cells_of(name, everybody)
    assert cells.sensitivity == expected
    assert np.abs(cells.counts - cells_of(name, fewer).counts).sum() == expected


def test_rows_that_are_not_there_need_no_noise(people):
    frame = people.alterations(people.names)
    part = frame.filter(pl.col("stratum") == "all", alteration_class="any")
    assert cells_of("gene_alterations", part).sensitivity == 4 + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [0.01, 5.0])
def test_noisy_tables_fulfil_the_contract(people, kind, epsilon):
    name, frame = people.table(kind, people.names)
    for _ in range(5):
        noisy = privatise({name: frame}, settings(epsilon, tables=(name,)))[name]
        validate_table(noisy, name)
        labels = [c for c in frame.columns if not c.startswith(("n_", "allele_"))]
        assert noisy.select(labels).equals(frame.select(labels))
        size = "n_assessed" if name == "gene_alterations" else "n_samples_called"
        assert (noisy[size] >= 1).all()
        if kind != "X" and name == "variant_frequencies":
            assert (noisy["allele_number"] == 2 * noisy["n_samples_called"]).all()
        if name == "variant_frequencies":
            assert noisy["n_carriers"].null_count() == frame["n_carriers"].null_count()


def test_little_noise_returns_the_table(people):
    for kind in KINDS:
        name, frame = people.table(kind, people.names)
        generous = settings(1e6, 1e6, (name,))
        assert privatise({name: frame}, generous)[name].equals(frame), kind


def test_rows_share_the_noise_of_the_number_of_assessed(people):
    frame = people.alterations(people.names)
    noisy = privatise({"gene_alterations": frame}, settings(0.5, tables=BOTH[:1]))
    small = noisy["gene_alterations"].filter(~pl.col("alteration_class").is_in(COPY_NUMBER))
    assert small.group_by("stratum").agg(n=pl.col("n_assessed").n_unique())["n"].max() == 1


def test_the_epsilon_is_shared_between_tables():
    """With half the epsilon, the noise of each table has twice the scale."""
    n = 4_000
    frame = pl.DataFrame(
        {
            "gene_id": [f"ENSG{g:011d}" for g in range(n)],
            "gene_name": "g",
            "coding_length": pl.Series([None] * n, dtype=pl.Int64),
            "alteration_class": "any",
            "stratum_variable": "all",
            "stratum": "all",
            "n_assessed": 10**9,
            "n_altered": 5 * 10**8,
        }
    )
    tables = {"gene_alterations": frame}
    scales = [
        (
            privatise(tables, settings(1.0, tables=chosen))["gene_alterations"]["n_altered"]
            - frame["n_altered"]
        )
        .abs()
        .mean()
        for chosen in (BOTH[:1], BOTH)
    ]
    # The mean of 4,000 absolute values has a relative error of 1.6 %.
    assert scales == pytest.approx([n + 1, 2 * (n + 1)], rel=0.1)


def test_other_tables_cannot_be_chosen(people):
    with pytest.raises(ValueError, match="cohort_profile"):
        cells_of("cohort_profile", people.alterations(people.names))
    with pytest.raises(ValueError, match="tables"):
        settings(tables=("mutation_burden",))


def test_genes_of_a_stratum_must_share_the_number_of_assessed(people):
    frame = people.alterations(people.names)
    odd = frame.with_columns(
        n_assessed=pl.when(pl.col("gene_id") == people.genes[0]).then(999).otherwise("n_assessed")
    )
    with pytest.raises(ValueError, match="differs between the genes"):
        cells_of("gene_alterations", odd)


@pytest.mark.parametrize(("spent", "fits"), [(0.0, True), (0.9, True), (0.91, False), (1.0, False)])
def test_the_budget_is_the_sum_of_epsilons(spent, fits):
    chosen = settings(0.1, 1.0)
    if fits:
        require_budget(chosen, spent)
        return
    with pytest.raises(InputError, match=r"budget is exhausted.* of 1 is spent") as error:
        require_budget(chosen, spent)
    assert "epsilon" in str(error.value)


def test_ten_tenths_fit_into_one():
    spent = 0.0
    for _ in range(10):
        require_budget(settings(0.1, 1.0), spent)
        spent += 0.1
    with pytest.raises(InputError):
        require_budget(settings(0.1, 1.0), spent)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="exceeds the budget"):
        settings(2.0, 1.0)
    with pytest.raises(ValueError, match="twice"):
        settings(tables=("gene_alterations", "gene_alterations"))
    with pytest.raises(ValueError, match="epsilon"):
        settings(0.0)
    assert DisclosureSettings().differential_privacy is None


def test_the_more_private_of_study_and_site_is_in_force():
    study = DisclosureSettings(differential_privacy=settings(1.0, 5.0, BOTH[:1]))
    site = DisclosureOverrides(differential_privacy=settings(2.0, 3.0, BOTH[1:]))
    chosen = stricter_of(study, site).differential_privacy
    assert (chosen.epsilon, chosen.budget, chosen.tables) == (1.0, 3.0, BOTH)
    assert stricter_of(study, DisclosureOverrides()) == study
    alone = stricter_of(DisclosureSettings(), site).differential_privacy
    assert alone == site.differential_privacy
    tight = DisclosureOverrides(differential_privacy=settings(0.2, 0.5))
    assert stricter_of(study, tight).differential_privacy.epsilon == 0.2


def test_the_last_step_of_disclosure_control_is_the_noise(people):
    tables = {
        "gene_alterations": people.alterations(people.names),
        "variant_frequencies": people.frequencies(people.names),
    }
    off = DisclosureSettings(zero_cells_allowed=True)
    on = off.model_copy(update={"differential_privacy": settings(5.0, 10.0, BOTH[:1])})
    exact, log = apply_disclosure_control(tables, off, [], {})
    noisy, noisy_log = apply_disclosure_control(tables, on, [], {}, spent_epsilon=5.0)
    again = apply_disclosure_control(tables, on, [], {})[0]
    assert noisy_log.equals(log)
    counts = ["n_assessed", "n_altered"]
    name = "gene_alterations"
    assert exact[name].height >= 15
    assert noisy[name].drop(counts).equals(exact[name].drop(counts))
    # Each of 15 counts or more has a chance of less than one half to be the same again.
    assert not noisy[name].equals(exact[name])
    assert not noisy[name].equals(again[name])
    assert noisy["variant_frequencies"].equals(exact["variant_frequencies"])
    with pytest.raises(InputError, match="budget is exhausted"):
        apply_disclosure_control(tables, on, [], {}, spent_epsilon=5.5)


def test_the_statement_says_what_noise_there_is(people):
    log = apply_disclosure_control({}, DisclosureSettings(), [], {})[1]
    plain = disclosure_summary(log, DisclosureSettings())
    assert not [key for key in plain["settings"] if key.startswith("differential_privacy")]
    noisy = DisclosureSettings(differential_privacy=settings(0.5, 1.0))
    statement = disclosure_summary(log, noisy)
    DisclosureStatement.model_validate_json(json.dumps(statement))
    assert statement["settings"]["differential_privacy_epsilon"] == 0.5
    assert statement["settings"]["differential_privacy_budget"] == 1.0
    assert statement["settings"]["differential_privacy_of_variant_frequencies"] is True
