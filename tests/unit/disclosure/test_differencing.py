"""Subtract one release from another: what few patients have must not follow from the difference.

The attackers have both releases. They succeed where the second is cleared as if it were the first.
"""

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from cohort_in_memory import Cohort, block
from ihdsi.disclosure import apply_disclosure_control, judge_features
from ihdsi.disclosure.differencing import (
    Comparison,
    EarlierRelease,
    changed_strata,
    earlier_releases,
    populations_of,
    read_measured,
)
from ihdsi.study import (
    ClinicalVariable,
    Contrast,
    DisclosureSettings,
    Endpoint,
    QualityMetric,
    Study,
)
from ihdsi.summaries import TABLES
from ihdsi.summaries.cell_composition import build_cell_composition
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.design import endpoint_cases, model_parameters
from ihdsi.summaries.expression_moments import build_expression_moments
from ihdsi.summaries.gene_alterations import build_gene_alterations
from ihdsi.summaries.matrix_moments import build_matrix_moments
from ihdsi.summaries.mutation_burden import build_mutation_burden
from ihdsi.summaries.parquet import empty_table
from ihdsi.summaries.qc_profile import build_qc_profile
from ihdsi.summaries.survival_curve import build_survival_curve
from judged_features import nobody_makes_up

#: The attacks on frequencies need frequencies of few patients, which a limit of the power of
#: membership attacks would withhold.
SETTINGS = DisclosureSettings(
    minimum_n=10,
    minimum_cell_count=5,
    zero_cells_allowed=True,
    maximum_membership_power=1.0,
    stratified_frequencies=True,
)
K = 10
STAGES, GRADES, SMOKING = ("low", "high", "third"), ("g1", "g2"), ("never", "former", "current")
VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=STAGES),
    "grade": ClinicalVariable(type="categorical", levels=GRADES),
    "smoking": ClinicalVariable(type="categorical", levels=SMOKING),
    "age": ClinicalVariable(type="number", unit="a", bins=(18, 55, 65, 75, 111)),
    "time": ClinicalVariable(type="number", unit="d"),
    "event": ClinicalVariable(type="categorical", levels=("no", "yes")),
}
METRICS = {"mapped": QualityMetric(assay="dna", unit="%", minimum=90, bins=(80, 90, 95, 98, 100))}
STUDY = Study.model_construct(
    clinical=type("Clinical", (), {"variables": VARIABLES})(),
    strata=("stage", "grade"),
    contrasts={
        "grade": Contrast(variable="grade", case="g2", control="g1", covariates=("smoking", "age"))
    },
    endpoints={
        "death": Endpoint(
            time="time",
            event="event",
            covariates=("age",),
            curve_bins=(0, 365, 730, 1095, 1460, 1825),
        )
    },
    quality_control=METRICS,
)
N_GENES, N_VARIANTS = 12, 30


def gene(number):
    return f"ENSG{number:011d}"


class People:
    """Simulated patients, of whom any subset makes a release."""

    def __init__(self, n, seed=0):
        rng = np.random.default_rng(seed)
        self.names = [f"p{i}" for i in range(n)]
        self.clinical = pl.DataFrame(
            {
                "patient": self.names,
                "stage": rng.choice(STAGES, n, p=[0.4, 0.35, 0.25]).tolist(),
                "grade": rng.choice(GRADES, n).tolist(),
                "smoking": rng.choice(SMOKING, n).tolist(),
                "age": rng.normal(66, 9, n).round(1).clip(20, 100),
                "time": rng.integers(10, 3000, n).astype(float),
                "event": rng.choice(["no", "yes"], n).tolist(),
            }
        )
        self.dosage = rng.binomial(2, rng.uniform(0.3, 0.7, (N_VARIANTS, 1)), (N_VARIANTS, n))
        self.altered = rng.random((N_GENES, n)) < rng.uniform(0.35, 0.65, (N_GENES, 1))
        self.burden = rng.integers(20, 60, n)
        self.mapped = rng.uniform(85, 99.9, n)
        self.reads = rng.negative_binomial(5, 0.02, (8, n))

    def index(self, patients):
        return [self.names.index(patient) for patient in patients]

    def tables(self, patients):
        """Summary tables of these patients, before disclosure control."""
        clinical = self.clinical.filter(pl.col("patient").is_in(patients))
        columns = self.index(patients)
        mutations = [
            (patient, g, 1000 * g + m)
            for patient, column in zip(patients, columns, strict=True)
            for g in range(N_GENES)
            if self.altered[g, column]
            for m in range(1 + int(self.burden[column]) // N_GENES)
        ]
        variants = pl.DataFrame(
            mutations, schema=["patient", "gene", "position"], orient="row"
        ).select(
            "patient",
            pl.lit("ENSG") + pl.col("gene").cast(pl.String).str.zfill(11).alias("gene_id"),
            "position",
            chromosome=pl.lit("1"),
            reference_allele=pl.lit("A"),
            alternate_allele=pl.lit("T"),
            alteration_class=pl.lit("missense"),
        )
        variants = variants.rename({variants.columns[1]: "gene_id"})
        catalogue = pl.DataFrame({"gene_id": [gene(g) for g in range(N_GENES)], "gene_name": "g"})
        assessed = self.assessed(patients)
        strata = list(STUDY.strata)
        design, moments = build_expression_moments(
            self.counts(patients), clinical, STUDY.contrasts, VARIABLES, K
        )
        cases = endpoint_cases(clinical, patients, STUDY.endpoints["death"])
        survival = (
            empty_table("survival_effects")
            .clear(1)
            .with_columns(
                pl.lit("death").alias("endpoint"),
                pl.lit("expression").alias("feature_type"),
                pl.lit(gene(1)).alias("gene_id"),
                pl.lit("g").alias("gene_name"),
                pl.lit(cases.height, dtype=pl.Int64).alias("n"),
                pl.lit((cases["event"] == "yes").sum(), dtype=pl.Int64).alias("n_events"),
            )
        )
        return {
            "cohort_profile": build_cohort_profile(clinical, VARIABLES, strata),
            "qc_profile": build_qc_profile(
                self.metrics(patients), METRICS, self.decisions(patients)
            ),
            "variant_frequencies": self.genotypes(patients).frequencies(),
            "gene_alterations": build_gene_alterations(
                variants, assessed, catalogue, clinical, strata
            ),
            "mutation_burden": build_mutation_burden(variants, assessed, clinical, strata),
            "expression_design": design,
            "expression_moments": moments,
            "survival_effects": survival,
            "survival_curve": build_survival_curve(clinical, STUDY.endpoints, strata),
        }

    def genotypes(self, patients):
        clinical = self.clinical.filter(pl.col("patient").is_in(patients))
        return Cohort(
            clinical.select("patient", *STUDY.strata),
            (block(patients, self.dosage[:, self.index(patients)]),),
        )

    def assessed(self, patients):
        return pl.DataFrame({"patient": patients, "callable_megabases": 1.0})

    def counts(self, patients):
        reads = self.reads[:, self.index(patients)]
        labels = {"gene_id": [gene(g) for g in range(8)], "gene_name": ["g"] * 8}
        return pl.DataFrame(labels | dict(zip(patients, reads.T, strict=True)))

    def metrics(self, patients):
        value = self.mapped[self.index(patients)]
        return pl.DataFrame(
            {
                "patient": patients,
                "sample": patients,
                "assay": "dna",
                "metric": "mapped",
                "value": value,
                "unit": "%",
                "status": np.where(value < 90, "fail", "pass").tolist(),
            }
        )

    def decisions(self, patients):
        rows = {"patient": patients, "sample": patients, "kind": "normal_dna", "decision": "pass"}
        return pl.DataFrame(rows)

    def populations(self, patients):
        """Whom the tables count; names serve as hashes."""
        return populations_of(
            STUDY,
            clinical=self.clinical.filter(pl.col("patient").is_in(patients)),
            decisions=self.decisions(patients),
            metrics=self.metrics(patients),
            germline=patients,
            assessed=self.assessed(patients),
            counts=self.counts(patients),
        ).rename({"patient": "patient_hash"})

    def release(self, patients, earlier=(), sequence=1, settings=SETTINGS):
        """Clear, compared with `earlier` releases."""
        populations = self.populations(patients)
        tables = self.tables(patients)
        burden = {"mutation_burden": tables["mutation_burden"]}
        clinical = self.clinical.filter(pl.col("patient").is_in(patients))
        cleared, log = apply_disclosure_control(
            tables,
            settings,
            [],
            model_parameters(STUDY),
            earlier=earlier,
            populations=populations,
            genotypes=self.genotypes(patients),
            features=pl.concat(
                [
                    judge_features(
                        STUDY, settings, {"clinical": clinical, "counts": self.counts(patients)}
                    ),
                    nobody_makes_up(burden),
                ]
            ),
        )
        return EarlierRelease(sequence, cleared, populations), log


def differences(first, second, table, columns):
    """What an attacker computes: rows of the whole cohort, second minus first."""
    keys = [key for key in TABLES[table].keys if key != "terms"]
    rows = first.tables[table].join(
        second.tables[table], on=keys, suffix="_now", nulls_equal=True, maintain_order="left"
    )
    if "stratum" in keys:
        rows = rows.filter(stratum="all")
    return rows.select(*keys, *((pl.col(f"{c}_now") - pl.col(c)).alias(c) for c in columns))


def recovered_values(people, patient, first, second):
    """True values of a patient that follow exactly from two releases, by kind."""
    column = people.names.index(patient)
    alleles = differences(first, second, "variant_frequencies", ["allele_count"])
    genes = differences(first, second, "gene_alterations", ["n_altered"]).filter(
        alteration_class="any"
    )
    levels = differences(first, second, "cohort_profile", ["n"]).filter(
        pl.col("n") == 1, kind="count", variable="smoking"
    )
    burden = differences(first, second, "mutation_burden", ["n"])
    found = {
        "genotypes": [
            n == people.dosage[position - 1, column]
            for position, n in alleles.select("position", "allele_count").iter_rows()
        ],
        "alterations": [
            n == people.altered[int(name[4:]), column]
            for name, n in genes.select("gene_id", "n_altered").iter_rows()
        ],
        "smoking": [
            level == people.clinical["smoking"][column] for level in levels["level"].to_list()
        ],
    }
    if burden.height:
        total = [
            release.tables["mutation_burden"]
            .filter(measure="all_mutations", stratum="all")
            .select(pl.col("n") * pl.col("mean"))
            .item()
            for release in (first, second)
        ]
        n_mutations = people.altered[:, column].sum() * (1 + people.burden[column] // N_GENES)
        found["burden"] = [abs(total[1] - total[0] - n_mutations) < 1e-6]
    moments = differences(first, second, "expression_moments", ["yty"])
    found["expression"] = [True] * moments.height
    return found


@pytest.fixture(scope="module")
def people():
    return People(300)


@pytest.fixture(scope="module")
def first(people):
    return people.release(people.names[:150])[0]


def test_one_new_patient_is_told_by_subtraction_without_the_rule_and_not_with_it(people, first):
    patients = people.names[:151]
    found = recovered_values(people, "p150", first, people.release(patients)[0])
    assert len(found["genotypes"]) >= 25
    assert len(found["alterations"]) == N_GENES
    assert len(found["smoking"]) == len(found["burden"]) == 1
    assert len(found["expression"]) == 8
    assert all(all(values) for values in found.values())
    second, log = people.release(patients, [first])
    assert not any(recovered_values(people, "p150", first, second).values())
    assert all(table.is_empty() for table in second.tables.values())
    assert set(log["rule"]) >= {"differencing"}


def test_a_leaver_and_a_newcomer_are_not_told_apart_by_subtraction(people, first):
    swapped = [*people.names[1:150], "p150"]
    off = people.release(swapped)[0]
    expected = people.dosage[:, 150] - people.dosage[:, 0]
    told = differences(first, off, "variant_frequencies", ["allele_count", "n_samples_called"])
    assert told.height >= 25
    assert (told["n_samples_called"] == 0).all()
    assert (told["allele_count"] == expected[told["position"] - 1]).all()
    on = people.release(swapped, [first])[0]
    assert all(table.is_empty() for table in on.tables.values())


def test_one_new_patient_in_a_contrast_would_tell_the_sum_of_expression(people, first):
    off = people.release(people.names[:151])[0]
    rows = first.tables["expression_moments"].join(
        off.tables["expression_moments"], on=["contrast", "gene_id"], suffix="_now"
    )
    single = people.counts(["p150"])["p150"].to_numpy()
    exact = np.log2((single + 0.5) / (single.sum() + 1) * 1e6)
    told = rows.select("gene_id", y=pl.col("xty_now").list.get(0) - pl.col("xty").list.get(0)).sort(
        "gene_id"
    )
    assert told.height == 8
    assert np.allclose(told["y"], exact, atol=1e-6) or np.ptp(told["y"] - exact) < 0.1


def test_equal_patients_lose_nothing(people, first):
    again, log = people.release(people.names[:150], [first])
    for name, table in first.tables.items():
        assert again.tables[name].equals(table), name
    assert "differencing" not in set(log["rule"])
    assert sum(table.height for table in first.tables.values()) > 200


def test_many_new_patients_leave_with_what_differs_by_many(people, first):
    everyone = people.names
    off, on = people.release(everyone)[0], people.release(everyone, [first])[0]
    for name, table in off.tables.items():
        # 150 newcomers: nearly all counts differ by ten or more. Bins of curves become wider.
        part = 0.3 if name == "survival_curve" else 0.8
        assert on.tables[name].height >= part * table.height, name
        assert table.height or name not in people.tables(everyone), name
    for name, (size, *_) in {
        "gene_alterations": ("n_assessed", "n_altered"),
        "variant_frequencies": ("n_samples_called", "n_carriers"),
    }.items():
        assert (differences(first, on, name, [size])[size].abs() >= K).all()


def test_counts_that_differ_by_few_are_withheld_though_many_patients_are_new(people, first):
    altered = people.altered.copy()
    try:
        people.altered[0, 150:] = False
        people.altered[0, 150:154] = True  # four altered newcomers of 150
        people.altered[1, 150:] = False  # none
        off, on = people.release(people.names)[0], people.release(people.names, [first])[0]
        strict = SETTINGS.model_copy(update={"zero_cells_allowed": False})
        strictly = people.release(people.names, [first], settings=strict)[0]
    finally:
        people.altered[:] = altered
    whole = pl.col("stratum") == "all"
    told = {
        kind: set(release.tables["gene_alterations"].filter(whole)["gene_id"])
        for kind, release in {"off": off, "on": on, "strictly": strictly}.items()
    }
    assert {gene(0), gene(1)} <= told["off"]
    assert gene(0) not in told["on"]
    assert gene(1) in told["on"]
    assert gene(1) not in told["strictly"]
    # A stratum of a gene must not be had from the whole and the others either.
    strata = on.tables["gene_alterations"].filter(~whole, gene_id=gene(0))
    assert strata.is_empty()


def test_a_corrected_call_of_one_patient_withholds_its_rows_only(people, first):
    row = people.altered[3].copy()
    try:
        people.altered[3, 0] = not people.altered[3, 0]
        on = people.release(people.names[:150], [first])[0]
    finally:
        people.altered[3] = row
    before = first.tables["gene_alterations"]
    after = on.tables["gene_alterations"]
    assert after.filter(gene_id=gene(3), alteration_class="any").is_empty()
    assert after.filter(pl.col("gene_id") != gene(3)).equals(
        before.filter(pl.col("gene_id") != gene(3))
    )
    assert on.tables["variant_frequencies"].equals(first.tables["variant_frequencies"])


#: A hundred patients of whatever a row counts.
PEOPLE = pl.DataFrame(
    [
        (population, variable, stratum, f"h{number}")
        for population, variable, stratum in [
            *(
                (name, "all", "all")
                for name in ("germline", "somatic", "copy_number", "burden", "cells")
            ),
            *((f"{kind}:x", "all", "all") for kind in ("contrast", "design", "endpoint", "curve")),
            ("matrix:50:dna:x", "all", "all"),
            ("cell_contrast:dna:x", "all", "all"),
            ("clinical:x", "all", "all"),
            ("quality:dna", "metric", "x"),
        ]
        for number in range(100)
    ],
    schema=["population", "stratum_variable", "stratum", "patient_hash"],
    orient="row",
)


def every_row(name):
    """One row of a table, of the whole cohort and the model x."""
    values = {"stratum_variable": "all", "stratum": "all", "alteration_class": "any"}
    values |= dict.fromkeys(("variable", "metric", "contrast", "endpoint", "measure"), "x")
    row = {
        column: values.get(
            column, 50 if dtype == pl.Int64 else 1.0 if dtype == pl.Float64 else "dna"
        )
        if dtype in (pl.String, pl.Int64, pl.Float64)
        else None
        for column, dtype in TABLES[name].schema.items()
    }
    return pl.DataFrame([row], schema=TABLES[name].schema)


# --- Strata --------------------------------------------------------------------------------------


def counted(patients):
    """Alterations of twelve genes, everybody altered at random, with populations."""
    rng = np.random.default_rng(1)
    altered = rng.random((N_GENES, 1000)) < 0.5
    variants = pl.DataFrame(
        [
            (name, gene(g), "missense")
            for name in patients["patient"]
            for g in range(N_GENES)
            if altered[g, int(name[1:])]
        ],
        schema=["patient", "gene_id", "alteration_class"],
        orient="row",
    )
    catalogue = pl.DataFrame({"gene_id": [gene(g) for g in range(N_GENES)], "gene_name": "g"})
    assessed = patients.select("patient", callable_megabases=pl.lit(1.0))
    table = build_gene_alterations(variants, assessed, catalogue, patients, ["stage"])
    study = STUDY.model_copy(update={"strata": ("stage",)})
    populations = populations_of(study, assessed=assessed, clinical=patients)
    return table, populations.rename({"patient": "patient_hash"})


def release_of(patients, earlier=(), key=b""):
    table, populations = counted(patients)
    cleared = apply_disclosure_control(
        {"gene_alterations": table},
        SETTINGS,
        [],
        {},
        earlier=earlier,
        populations=populations,
        key=key,
    )[0]
    return EarlierRelease(1 + len(earlier), cleared, populations)


def told_of_few(*releases):
    """Genes whose released rows have a combination that is about fewer than K patients.

    Columns of a matrix are groups of patients who were in the same strata of every release, its
    rows the released ones. A combination of rows that vanishes outside some small groups exists if
    leaving these groups out lowers the rank.
    """
    hits = []
    for number in range(N_GENES):
        rows = []
        for release in releases:
            strata = (
                release.tables["gene_alterations"]
                .filter(gene_id=gene(number), alteration_class="any")
                .select("stratum_variable", "stratum")
            )
            somatic = release.populations.filter(population="somatic")
            rows += [
                set(somatic.filter(stratum_variable=v, stratum=s)["patient_hash"])
                for v, s in strata.iter_rows()
            ]
        if not rows:
            continue
        groups = {}
        for patient in set().union(*rows):
            groups.setdefault(tuple(patient in row for row in rows), set()).add(patient)
        matrix = np.array(list(groups), dtype=float).T
        sizes = [len(members) for members in groups.values()]
        few = [index for index, size in enumerate(sizes) if size < K]
        rank = np.linalg.matrix_rank(matrix)
        for n in range(1, len(few) + 1):
            for chosen in combinations(few, n):
                if sum(sizes[index] for index in chosen) < K:
                    rest = np.delete(matrix, chosen, axis=1)
                    left = np.linalg.matrix_rank(rest) if rest.size else 0
                    hits += [number] * int(left < rank)
    return set(hits)


def staged(n, sizes=(0.45, 0.35, 0.2), unknown=0, seed=0):
    rng = np.random.default_rng(seed)
    stage = rng.choice(STAGES, n, p=sizes).astype(object)
    stage[:unknown] = None
    return pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "stage": pl.Series(stage.tolist(), dtype=pl.String),
        }
    )


def change(patients, seed):
    """Newcomers, leavers, and patients whose stratum changes or becomes known."""
    rng = np.random.default_rng(seed)
    n = patients.height
    leavers = rng.choice(n, rng.choice([0, 0, 1, 12]), replace=False)
    stage = patients["stage"].to_list()
    for index in rng.choice(n, rng.choice([0, 1, 3, 12]), replace=False):
        stage[index] = rng.choice([*STAGES, None])
    new = staged(int(rng.choice([0, 1, 15, 60])), unknown=int(rng.choice([0, 1])), seed=seed)
    new = new.with_columns(patient=pl.format("p{}", pl.int_range(n, n + new.height)))
    kept = patients.with_columns(stage=pl.Series(stage, dtype=pl.String)).filter(
        ~pl.int_range(n).is_in(leavers.tolist())
    )
    return pl.concat([kept, new])


@pytest.mark.parametrize("seed", range(24))
def test_no_combination_of_released_strata_is_about_few_patients(seed):
    before = staged(110, unknown=(0, 1, 12)[seed % 3], seed=seed)
    after = change(before, seed)
    earlier = release_of(before)
    assert not told_of_few(earlier, release_of(after, [earlier]))


def test_the_attack_on_strata_works_without_the_rule():
    hits = 0
    for seed in range(6):
        before = staged(110, unknown=(0, 1, 12)[seed % 3], seed=seed)
        hits += bool(told_of_few(release_of(before), release_of(change(before, seed))))
    assert hits >= 3


def test_a_stratum_that_becomes_known_of_the_last_patient_is_not_had_from_the_whole():
    before = staged(120, unknown=1)
    after = before.with_columns(
        stage=pl.when(pl.col("patient") == "p0").then(pl.lit("low")).otherwise("stage")
    )
    earlier = release_of(before)
    assert told_of_few(earlier, release_of(after))
    assert not told_of_few(earlier, release_of(after, [earlier]))


def test_another_choice_of_hidden_strata_does_not_uncover_those_of_before():
    """The stratum that hides the small one is known of an earlier release, in which it left."""
    before = staged(100, (0.4, 0.5, 0.1), seed=2)
    sizes = dict(before["stage"].value_counts().iter_rows())
    assert sizes["third"] < K <= sizes["low"] < sizes["high"]
    # Earlier "low" hides "third", later "high" does; forty newcomers are of stage low.
    newcomers = staged(40, (1.0, 0.0, 0.0)).with_columns(
        patient=pl.format("p{}", pl.int_range(100, 140))
    )
    after = pl.concat([before, newcomers])
    # A site that has lost its ledger has another order, too.
    keys = {
        frozenset(release_of(before, key=key).tables["gene_alterations"]["stratum"]): key
        for key in (b"1", b"2", b"3", b"4", b"5", b"6")
    }
    low, high = keys[frozenset({"all", "high"})], keys[frozenset({"all", "low"})]
    earlier = release_of(before, key=low)
    assert told_of_few(earlier, release_of(after, key=high))
    assert not told_of_few(earlier, release_of(after, [earlier], key=high))


def test_three_releases_are_compared_with_each_other():
    everyone = staged(160, seed=4)
    one = release_of(everyone.head(120))
    two = release_of(everyone.head(121), [one])
    assert two.tables["gene_alterations"].is_empty()
    # Nothing left of the second, so that only the first is to be subtracted.
    three = release_of(everyone, [one, two])
    assert three.tables["gene_alterations"].height
    assert not told_of_few(one, two, three)
    four = release_of(everyone.head(159), [one, two, three])
    assert four.tables["gene_alterations"].is_empty()


# --- Sets ----------------------------------------------------------------------------------------


def population(name, **strata):
    return pl.DataFrame(
        [
            (name, "all" if stratum == "all" else "v", stratum, patient)
            for stratum, patients in strata.items()
            for patient in patients
        ],
        schema=["population", "stratum_variable", "stratum", "patient_hash"],
        orient="row",
    )


def names(*numbers):
    return [f"h{number}" for number in numbers]


def withheld(now, before, released=None):
    released = before if released is None else released
    rows = changed_strata(now, before, K, released.drop("patient_hash").unique())
    return set(rows.filter("withheld")["stratum"])


@pytest.mark.parametrize(
    ("gained", "lost", "few"),
    [
        *[(0, 0, False), (1, 0, True), (9, 0, True), (10, 0, False), (0, 9, True), (0, 10, False)],
        *[(1, 1, True), (10, 1, True), (1, 10, True), (10, 10, False)],
    ],
)
def test_gains_and_losses_of_few_are_withheld(gained, lost, few):
    before = population("somatic", all=names(*range(100)))
    now = population("somatic", all=names(*range(lost, 100 + gained)))
    assert withheld(now, before) == ({"all"} if few else set())


def test_what_never_left_cannot_be_subtracted():
    before = population("somatic", all=names(*range(100)))
    now = population("somatic", all=names(*range(101)))
    assert withheld(now, before, before.clear()) == set()


def test_rows_that_left_without_a_record_of_their_patients_close_the_population():
    before = population("somatic", all=names(*range(100)))
    assert withheld(before, before.clear(), before) == {"all"}


def test_a_whole_that_is_nearly_a_stratum_of_before_is_withheld():
    people = range(100)
    before = population("somatic", all=names(*people, *range(200, 240)), a=names(*people))
    now = population("somatic", all=names(*people, 100))
    assert withheld(now, before) == {"all"}


@pytest.mark.parametrize("name", ["contrast:x", "design:x", "endpoint:x"])
def test_groups_of_a_model_leave_together(name):
    before = population(name, all=names(*range(100)), case=names(*range(50)))
    now = population(name, all=names(*range(100)), case=names(*range(51)))
    assert withheld(now, before) == {"all", "case"}


@pytest.mark.parametrize(
    ("now", "before", "same_kind"),
    [
        ("design:x", "design:y", True),
        ("design:x", "contrast:y", True),
        ("contrast:x", "design:y", True),
        ("matrix:1:protein:x", "matrix:3:protein:y", True),
        ("matrix:1:protein:x", "matrix:1:metabolite:y", False),
        ("matrix:1:protein:x", "design:y", False),
        ("cell_contrast:T:x", "cell_contrast:T:y", True),
        ("cell_contrast:T:x", "cell_contrast:B:y", False),
        ("clinical:x", "clinical:y", True),
        ("curve:x", "curve:y", True),
        ("endpoint:x", "endpoint:y", True),
        ("endpoint:x", "design:y", False),
        ("clinical:x", "curve:x", False),
    ],
)
def test_what_is_new_by_name_is_compared_with_all_of_its_kind(now, before, same_kind):
    left = population(before, all=names(*range(100)))
    one_more = population(now, all=names(*range(101)))
    assert withheld(one_more, left) == ({"all"} if same_kind else set())
    # The same patients, or many others, tell of nobody.
    assert withheld(population(now, all=names(*range(100))), left) == set()
    assert withheld(population(now, all=names(*range(110))), left) == set()
    # Nor does what never left.
    assert withheld(one_more, left, left.clear()) == set()
    # Without a record of whom it counted nobody knows.
    assert withheld(one_more, left.clear(), left) == ({"all"} if same_kind else set())


def test_a_contrast_is_compared_in_all_groups_with_those_of_other_names():
    everybody = names(*range(100))
    before = population("design:y", all=everybody, case=names(*range(50)))
    now = population("design:x", all=everybody, other=names(*range(51)))
    assert withheld(now, before) == {"all", "other"}
    # Groups that exchange many patients for a few are far apart: what differs counts together.
    far = population("design:x", all=names(*range(5, 200)), other=names(*range(20, 80)))
    assert withheld(far, before) == set()


def test_metrics_are_compared_one_by_one():
    before = population("quality:dna", a=names(*range(50)), b=names(*range(50)))
    now = population("quality:dna", a=names(*range(50)), b=names(*range(49)))
    assert withheld(now, before) == {"b"}


def test_rows_need_a_population_if_there_are_earlier_releases(people, first):
    table = people.tables(people.names[:150])["variant_frequencies"]
    with pytest.raises(ValueError, match="populations are given"):
        Comparison(SETTINGS, [first])
    lacking = first.populations.filter(pl.col("population") != "germline")
    comparison = Comparison(SETTINGS, [first], lacking)
    with pytest.raises(ValueError, match=r"rows germline, .* of the table 'variant_frequencies'"):
        comparison.mark("variant_frequencies", table)
    with pytest.raises(ValueError, match="whom the table 'another' counts"):
        comparison.mark("another", table)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_populations_and_counts(name, first):
    """Nothing of a table without earlier rows is marked, and no table is unknown."""
    comparison = Comparison(SETTINGS, [EarlierRelease(1, {}, first.populations.clear())], PEOPLE)
    marked = comparison.mark(name, every_row(name))
    assert marked["rule"].null_count() == marked.height == 1
    assert not marked["known"].any()
    comparison = Comparison(SETTINGS, [EarlierRelease(1, {name: every_row(name)}, PEOPLE)], PEOPLE)
    marked = comparison.mark(name, every_row(name))
    assert marked["rule"].null_count() == 1
    assert marked["known"].all()


def test_noise_is_not_compared_but_patients_are(people, first):
    patients = people.names[:150]
    table = people.tables(patients)["gene_alterations"].with_columns(pl.col("n_altered") + 1)
    name, n = "gene_alterations", table.height
    exact = Comparison(SETTINGS, [first], first.populations).mark(name, table)
    noisy = Comparison(SETTINGS, [first], first.populations, noisy=(name,)).mark(name, table)
    assert exact["rule"].null_count() < noisy["rule"].null_count() == n
    more = people.populations(people.names[:151])
    assert (
        Comparison(SETTINGS, [first], more, noisy=(name,)).mark(name, table)["rule"].null_count()
        == 0
    )


def test_genotype_counts_that_differ_by_few_leave_the_row_without_them(people, first):
    row = people.dosage[0].copy()
    try:
        # Of 150 newcomers 3 are homozygous and 57 heterozygous.
        people.dosage[0, 150:] = [2] * 3 + [1] * 57 + [0] * 90
        off, on = people.release(people.names)[0], people.release(people.names, [first])[0]
    finally:
        people.dosage[0] = row
    name, whole = "variant_frequencies", {"position": 1, "stratum": "all"}
    told = differences(first, off, name, ["n_homozygous", "n_carriers"]).filter(position=1)
    assert told["n_homozygous"].item() == 3
    kept = on.tables[name].filter(**whole)
    assert kept["n_homozygous"].to_list() == kept["n_carriers"].to_list() == [None]
    assert kept["allele_count"].equals(off.tables[name].filter(**whole)["allele_count"])


# --- Populations ---------------------------------------------------------------------------------


def test_populations_are_those_whom_the_builders_count(people):
    patients = people.names[:150]
    tables = people.tables(patients)
    sizes = {
        row[:3]: row[3]
        for row in people.populations(patients)
        .group_by("population", "stratum_variable", "stratum")
        .len()
        .iter_rows()
    }
    for variable, v, s, n in (
        tables["cohort_profile"].select("variable", "stratum_variable", "stratum", "n_total").rows()
    ):
        assert sizes[f"clinical:{variable}", v, s] == n
    for name, table, size in (
        ("germline", "variant_frequencies", "n_samples_called"),
        ("somatic", "gene_alterations", "n_assessed"),
        ("burden", "mutation_burden", "n"),
    ):
        for v, s, n in tables[table].select("stratum_variable", "stratum", size).iter_rows():
            assert sizes[name, v, s] == n
    assert sizes["design:grade", "all", "all"] == tables["expression_moments"]["n"][0]
    assert {"smoking", "grade"} == {v for p, v, _ in sizes if p == "design:grade" and v != "all"}
    xtx = tables["expression_design"].filter(row_term="case", column_term="case")["value"].item()
    assert sizes["contrast:grade", "grade", "g2"] == xtx
    assert sizes["endpoint:death", "all", "all"] == tables["survival_effects"]["n"].item()
    assert sizes["endpoint:death", "event", "yes"] == tables["survival_effects"]["n_events"].item()
    mapped = tables["qc_profile"].filter(metric="mapped")["n_total"][0]
    assert sizes["quality:dna", "metric", "mapped"] == mapped


def test_patients_whose_sample_failed_are_in_no_population_of_that_sample(people):
    patients = people.names[:40]
    decisions = pl.DataFrame(
        {
            "patient": ["p0", "p1", "p2"],
            "sample": ["a", "b", "c"],
            "kind": ["normal_dna", "tumour_dna", "tumour_rna"],
            "decision": "fail",
        }
    )
    found = populations_of(
        STUDY,
        clinical=people.clinical.head(40),
        decisions=decisions,
        germline=patients,
        assessed=people.assessed(patients).with_columns(
            callable_megabases=pl.when(pl.col("patient") == "p3").then(0.0).otherwise(1.0)
        ),
        exposures=pl.DataFrame({"patient": ["p0", "p4", "p4", "p99"]}),
        copy_number=pl.DataFrame({"patient": ["p1", "p5"]}),
        counts=people.counts(patients),
    )

    def members(name):
        return set(found.filter(population=name, stratum="all")["patient"])

    assert set(patients) - members("germline") == {"p0"}
    assert set(patients) - members("somatic") == {"p0", "p1"}
    assert set(patients) - members("burden") == {"p0", "p1", "p3"}
    assert members("signatures") == {"p4"}
    assert members("copy_number") == {"p5"}
    assert set(patients) - members("contrast:grade") == {"p2"}
    assert found.is_duplicated().sum() == 0


def test_samples_are_counted_in_the_quality_of_their_assay():
    kinds = {
        "normal_dna": "dna",
        "tumour_rna": "rna",
        "tumour_protein": "protein",
        "tumour_single_cell": "single_cell",
    }
    decisions = pl.DataFrame(
        {"patient": [f"p-{kind}" for kind in kinds], "kind": list(kinds), "decision": "pass"}
    )
    found = populations_of(STUDY, decisions=decisions)
    assert set(found.select("population", "stratum", "patient").rows()) == {
        (f"quality:{assay}", "failed_limits", f"p-{kind}") for kind, assay in kinds.items()
    }


def test_donors_of_cells_are_those_of_the_sums(people, tmp_path):
    donors = people.names[:30]
    cells = pl.DataFrame({"patient": donors, "T cell": [0, *(5 for _ in donors[1:])]})
    sums = pl.DataFrame(
        {
            "cell_type": ["T cell", "T cell", "B cell"],
            "gene_id": ["g1", "g2", "g1"],
            "gene_name": ["G1", "G2", "G1"],
            **{donor: [1, 0, 1] for donor in donors},
        }
    ).with_columns(
        pl.when(pl.col("cell_type") == "T cell").then(None).otherwise(donors[0]).alias(donors[0])
    )
    clinical = people.clinical.head(30)
    tables = {
        "T cell": sums.filter(cell_type="T cell").drop("cell_type", donors[0]),
        "B cell": sums.filter(cell_type="B cell").drop("cell_type"),
    }
    sums.write_parquet(tmp_path / "pseudobulk.parquet")
    read = read_measured({"pseudobulk": [tmp_path / "pseudobulk.parquet"]}, ["pseudobulk"])
    assert read["pseudobulk"].keys() == tables.keys()
    assert all(read["pseudobulk"][name].equals(table) for name, table in tables.items())
    found = populations_of(STUDY, clinical=clinical, cells=cells, pseudobulk=tables)

    def members(name):
        return set(found.filter(population=name, stratum="all")["patient"])

    assert members("cells") == set(donors[1:])
    failed = pl.DataFrame(
        {"patient": donors[2:3], "kind": "tumour_single_cell", "decision": "fail"}
    )
    fewer = populations_of(
        STUDY, clinical=clinical, cells=cells, pseudobulk=tables, decisions=failed
    ).filter(~pl.col("population").str.starts_with("clinical"))
    left = found.filter(
        pl.col("population").str.starts_with("cell"), pl.col("patient") != donors[2]
    )
    assert fewer.filter(pl.col("population").str.starts_with("cell")).equals(left)
    assert members("cell_contrast:B cell:grade") - members("cell_contrast:T cell:grade") == {
        donors[0]
    }


def test_a_site_without_measurements_has_no_populations():
    assert populations_of(STUDY).filter(pl.col("population") != "germline").is_empty()
    assert populations_of(STUDY).is_empty()


def test_every_release_of_a_ledger_is_read(first):
    class Ledger:
        def releases(self):
            return [type("Release", (), {"sequence": n})() for n in (1, 2)]

        def released_tables(self, sequence):
            return {"qc_profile": first.tables["qc_profile"].head(sequence)}

        def populations(self, sequence):
            return first.populations.head(sequence)

    found = earlier_releases(Ledger())
    assert [release.sequence for release in found] == [1, 2]
    assert [release.tables["qc_profile"].height for release in found] == [1, 2]
    assert [release.populations.height for release in found] == [1, 2]


def proteins(people, patients):
    values = np.log2(people.reads[:4, people.index(patients)] + 1.0)
    labels = {"feature": [f"P{n:05d}" for n in range(4)], "feature_name": "p", "gene_id": None}
    return pl.DataFrame(labels | dict(zip(patients, values.T, strict=True)))


def cells_of(people, patients):
    counts = people.reads[:3, people.index(patients)] + 1
    return pl.DataFrame({"patient": patients} | dict(zip("abc", counts, strict=True)))


def measured(people, patients, earlier=()):
    """Release of a protein matrix and of cell shares."""
    clinical = people.clinical.filter(pl.col("patient").is_in(patients))
    matrices, cells = {"protein": proteins(people, patients)}, cells_of(people, patients)
    design, moments = build_matrix_moments(matrices, clinical, STUDY.contrasts, VARIABLES, K)
    populations = populations_of(
        STUDY,
        clinical=clinical,
        matrices=matrices,
        cells=cells,
        pseudobulk={"T cell": people.counts(patients)},
    ).rename({"patient": "patient_hash"})
    cleared, _ = apply_disclosure_control(
        {
            "matrix_design": design,
            "matrix_moments": moments,
            "cell_composition": build_cell_composition(cells, clinical, STUDY.strata),
        },
        SETTINGS,
        [],
        model_parameters(STUDY),
        earlier=earlier,
        populations=populations,
        features=judge_features(STUDY, SETTINGS, {"clinical": clinical, "matrices": matrices}),
    )
    return EarlierRelease(1 + len(earlier), cleared, populations)


def test_matrices_and_cells_of_one_patient_more_do_not_leave(people):
    names = ("matrix_design", "matrix_moments", "cell_composition")
    first = measured(people, people.names[:150])
    again = measured(people, people.names[:150], [first])
    many = measured(people, people.names, [first])
    one = measured(people, people.names[:151], [first])
    for name in names:
        assert first.tables[name].height > 3
        assert again.tables[name].equals(first.tables[name])
        assert many.tables[name].height
        assert one.tables[name].is_empty()
    unseen = measured(people, people.names[:151])
    told = differences(first, unseen, "matrix_moments", ["n", "yty"])
    assert (told["n"] == 1).all()
    sizes = {
        row[:3]: row[3]
        for row in first.populations.group_by("population", "stratum_variable", "stratum")
        .len()
        .iter_rows()
    }
    n = first.tables["matrix_moments"]["n"][0]
    assert sizes["matrix:1:protein:grade", "all", "all"] == n
    assert sizes["cell_contrast:T cell:grade", "all", "all"] == n
    for v, s, n in (
        first.tables["cell_composition"].select("stratum_variable", "stratum", "n_donors").rows()
    ):
        assert sizes["cells", v, s] == n


def test_patients_of_matrices_are_grouped_by_plate_as_well(people):
    patients = people.names[:40]
    values = [1.0] * 36 + [None] * 4
    matrix = pl.DataFrame(
        {"feature": ["a", "b"], "feature_name": ["a", "b"], "gene_id": None}
    ).hstack(pl.DataFrame([dict.fromkeys(patients, 1.0), dict(zip(patients, values, strict=True))]))
    plates = pl.DataFrame(
        {"patient": patients, "site:protein_plate": ["plate_1"] * 20 + ["plate_2"] * 20}
    )
    found = populations_of(
        STUDY,
        clinical=people.clinical.head(40),
        matrices={"protein": matrix},
        site_covariates={"protein": plates},
    )
    second = found.filter(
        population="matrix:2:protein:grade", stratum_variable="site:protein_plate"
    )
    assert dict(second.group_by("stratum").len().iter_rows()) == {"plate_1": 20, "plate_2": 16}
    assert set(found.filter(population="matrix:1:protein:grade")["patient"]) == set(patients)
