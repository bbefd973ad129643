"""Attacks by sums over groups that overlap: each succeeds without the rules on overlaps, only.

The attacker has the released tables of one or several releases and subtracts sums over groups of
patients from each other until one patient is left.
"""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control, control, curve_differences, differencing
from ihdsi.disclosure.differencing import EarlierRelease, populations_of
from ihdsi.expression.normalisation import log2_cpm
from ihdsi.study import (
    ClinicalDictionary,
    ClinicalVariable,
    Contrast,
    DisclosureSettings,
    Endpoint,
    Study,
)
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.design import model_parameters
from ihdsi.summaries.expression_effects import estimate_expression_effects
from ihdsi.summaries.expression_moments import build_expression_moments
from ihdsi.summaries.gene_alterations import build_gene_alterations
from ihdsi.summaries.matrix_moments import build_matrix_moments
from ihdsi.summaries.mutation_burden import build_mutation_burden
from ihdsi.summaries.survival_curve import build_survival_curve
from judged_features import nobody_makes_up
from somatic_mutations import missense

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5)
N, GENES = 81, 20
TARGET, PATIENTS = "p0", [f"p{i}" for i in range(N)]
STAGE = ["high" if i % 2 else "low" for i in range(N)]
BY_STAGE = Contrast(variable="stage", case="high", control="low")


def categorical(*levels):
    return ClinicalVariable(type="categorical", levels=levels)


def variables_of(clinical):
    return {
        name: categorical(*clinical[name].drop_nulls().unique().sort())
        if clinical[name].dtype == pl.String
        else ClinicalVariable(type="number", unit="d")
        for name in clinical.columns
        if name != "patient"
    }


def study_of(clinical, contrasts=None, endpoints=None, strata=()):
    return Study.model_construct(
        contrasts=contrasts or {},
        endpoints=endpoints or {},
        strata=strata,
        quality_control={},
        clinical=ClinicalDictionary(variables=variables_of(clinical)),
    )


def release(study, tables, earlier=(), **measured):
    populations = populations_of(study, **measured).with_columns(patient_hash="patient")
    cleared, log = apply_disclosure_control(
        tables,
        SETTINGS,
        [],
        model_parameters(study),
        earlier=earlier,
        populations=populations,
        features=nobody_makes_up(tables),
        strata=study.strata,
    )
    return EarlierRelease(len(earlier) + 1, cleared, populations), set(log["rule"])


def counts_of(patients, seed=1):
    matrix = np.random.default_rng(seed).negative_binomial(4, 0.02, (GENES, len(patients)))
    return pl.DataFrame(
        {"gene_id": [f"ENSG{g:011d}" for g in range(GENES)], "gene_name": "g"}
        | dict(zip(patients, matrix.T, strict=True))
    )


COUNTS = counts_of(PATIENTS)
TRUTH = log2_cpm(COUNTS.drop("gene_id", "gene_name").to_numpy())[:, 0]


def expression(clinical, contrasts, earlier=(), measured=PATIENTS):
    """Release of the moments of some contrasts, and the rules that withheld anything."""
    study = study_of(clinical, contrasts)
    counts = COUNTS.select("gene_id", "gene_name", *measured)
    built = build_expression_moments(
        counts, clinical, contrasts, study.clinical.variables, SETTINGS.minimum_n
    )
    tables = dict(zip(("expression_design", "expression_moments"), built, strict=True))
    return release(study, tables, earlier, clinical=clinical, counts=counts)


def sums(made, contrast, term="intercept", table="expression_moments"):
    """Sums over a group of a contrast, by feature; nan where they did not leave."""
    rows = made.tables[table].filter(contrast=contrast)
    if rows.is_empty():
        return np.full(GENES, np.nan)
    place = rows["terms"][0].to_list().index(term)
    return rows.sort("gene_id" if "gene_id" in rows.columns else "feature")["xty"].list.get(place)


def told(found, truth=TRUTH):
    """Whether the attack has the truth; that it has nothing is no."""
    return bool(np.allclose(np.asarray(found, dtype=float), truth))


@pytest.fixture
def off(monkeypatch):
    """Rules on overlaps, and on what has another name, that can be turned off."""

    def turn_off():
        monkeypatch.setattr(control, "find_overlaps", lambda *arguments: arguments[-1])
        monkeypatch.setattr(differencing, "_under_another_name", lambda *_: set())
        monkeypatch.setattr(curve_differences, "_by_names_at_hand", lambda curves, _: [curves])

    return turn_off


@pytest.fixture(params=[False, True], ids=["off", "on"])
def rules(request, off):
    """Whether the rules are on."""
    if not request.param:
        off()
    return request.param


def test_contrasts_on_two_variables_that_differ_by_one_patient(rules):
    grade = ["g3" if i % 2 or i == 0 else "g12" for i in range(N)]
    clinical = pl.DataFrame({"patient": PATIENTS, "stage": STAGE, "grade": grade})
    by_grade = Contrast(variable="grade", case="g3", control="g12")
    made, why = expression(clinical, {"stage": BY_STAGE, "a_grade": by_grade})
    found = sums(made, "a_grade", "case") - sums(made, "stage", "case")
    assert told(found) is not rules
    assert ("overlapping_contrasts" in why) is rules
    # The study's last is withheld, not that of the last name.
    contrasts = made.tables["expression_design"]["contrast"].unique().sort().to_list()
    assert contrasts == (["stage"] if rules else ["a_grade", "stage"])


def test_three_contrasts_of_which_any_two_are_far_apart(rules):
    grade = [None] + [f"g{i % 4 + 1}" for i in range(1, N)]
    clinical = pl.DataFrame({"patient": PATIENTS, "stage": STAGE, "grade": grade})
    contrasts = {
        "stage": BY_STAGE,
        "lower": Contrast(variable="grade", case="g2", control="g1"),
        "upper": Contrast(variable="grade", case="g4", control="g3"),
    }
    made, why = expression(clinical, contrasts)
    assert told(sums(made, "stage") - sums(made, "lower") - sums(made, "upper")) is not rules
    assert ("joint_leverage" in why) is rules
    left = set(made.tables["expression_design"]["contrast"])
    assert left == ({"stage", "lower"} if rules else set(contrasts))


def with_unknown_smoking():
    smoking = [None] + ["never" if i % 4 < 2 else "former" for i in range(1, N)]
    return pl.DataFrame({"patient": PATIENTS, "stage": STAGE, "smoking": smoking})


ADJUSTED = BY_STAGE.model_copy(update={"covariates": ("smoking",)})


def test_contrasts_of_a_matrix_that_differ_by_one_patient(rules):
    clinical, contrasts = with_unknown_smoking(), {"plain": BY_STAGE, "smoking": ADJUSTED}
    values = np.random.default_rng(1).normal(20, 2, (GENES, N))
    labels = {"feature": [f"P{i:05d}" for i in range(GENES)], "feature_name": "f"}
    matrix = pl.DataFrame(labels).with_columns(gene_id=pl.lit(None, pl.String))
    matrices = {"protein": matrix.hstack(pl.DataFrame(values, schema=PATIENTS))}
    study = study_of(clinical, contrasts)
    built = build_matrix_moments(matrices, clinical, contrasts, study.clinical.variables, 10)
    tables = dict(zip(("matrix_design", "matrix_moments"), built, strict=True))
    made, why = release(study, tables, clinical=clinical, matrices=matrices)
    plain, smoking = (sums(made, name, table="matrix_moments") for name in contrasts)
    assert told(plain - smoking, values[:, 0]) is not rules
    assert ("overlapping_contrasts" in why) is rules


def test_mean_counts_of_contrasts_that_differ_by_one_patient(rules):
    clinical, contrasts = with_unknown_smoking(), {"plain": BY_STAGE, "smoking": ADJUSTED}
    study = study_of(clinical, contrasts)
    effects = estimate_expression_effects(COUNTS, clinical, contrasts, study.clinical.variables, 10)
    made, why = release(study, {"expression_effects": effects}, clinical=clinical, counts=COUNTS)
    means = made.tables["expression_effects"].pivot("contrast", index="gene_id", values="base_mean")
    # The target's normalised counts follow but for the size factors, which differ a little.
    both = set(contrasts) <= set(means.columns)
    if both:
        found = means.select(N * pl.col("plain") - (N - 1) * pl.col("smoking")).to_series()
        raw = COUNTS.sort("gene_id")[TARGET]
        assert np.corrcoef(found, raw)[0, 1] > 0.99
    assert both is not rules
    assert ("overlapping_contrasts" in why) is rules


def test_a_contrast_by_another_name_in_a_second_release(rules):
    clinical = with_unknown_smoking()
    first, _ = expression(clinical, {"by_smoking": ADJUSTED})
    second, why = expression(clinical, {"stage": BY_STAGE}, [first])
    assert told(sums(second, "stage") - sums(first, "by_smoking")) is not rules
    assert ("differencing" in why) is rules


def test_a_contrast_on_another_variable_in_a_second_release(rules):
    grade = ["g3" if i % 2 or i == 0 else "g12" for i in range(N)]
    clinical = pl.DataFrame({"patient": PATIENTS, "stage": STAGE, "grade": grade})
    by_grade = Contrast(variable="grade", case="g3", control="g12")
    first, _ = expression(clinical, {"stage": BY_STAGE})
    second, why = expression(clinical, {"grade": by_grade}, [first])
    assert told(sums(second, "grade", "case") - sums(first, "stage", "case")) is not rules
    assert ("differencing" in why) is rules


def survivors():
    rng = np.random.default_rng(8)
    return pl.DataFrame(
        {
            "patient": PATIENTS,
            "time": rng.exponential(900, N).round() + 1,
            "event": ["yes", *rng.choice(["no", "yes"], N - 1)],
            "hiv": ["positive", *rng.choice(["negative", "positive"], N - 1)],
        }
    )


def followed(clinical, endpoint, earlier=()):
    endpoints = {endpoint: Endpoint(time="time", event="event", curve_bins=(0, 365, 730, 1460))}
    study = study_of(clinical, endpoints=endpoints)
    tables = {
        "cohort_profile": build_cohort_profile(clinical, study.clinical.variables, []),
        "survival_curve": build_survival_curve(clinical, endpoints, []),
    }
    return release(study, tables, earlier, clinical=clinical)


def test_a_variable_and_an_endpoint_by_other_names_in_a_second_release(rules):
    everyone = survivors()
    first, _ = followed(everyone[1:], "survival")
    second, _ = followed(everyone.rename({"hiv": "status"}), "overall", [first])

    def positive(made, variable):
        rows = made.tables["cohort_profile"].filter(variable=variable, level="positive")
        return rows["n"].sum() if rows.height else None

    def events(made):
        rows = made.tables["survival_curve"]
        return rows["n_events"].sum() if rows.height else None

    found = [positive(second, "status"), events(second)]
    if rules:
        assert found == [None, None]
    else:
        # One more, who is positive and had the event.
        assert found == [positive(first, "hiv") + 1, events(first) + 1]


def test_curves_of_an_endpoint_by_another_name_are_compared_with_those_of_before(monkeypatch):
    """Thirteen newcomers, of whom one has the event in the first year."""
    everyone = survivors().with_columns(
        time=pl.when(pl.int_range(N) == 0)
        .then(100.0)
        .when(pl.int_range(N) < 13)
        .then(5000.0)
        .otherwise("time"),
        event=pl.when(pl.int_range(N) == 0)
        .then(pl.lit("yes"))
        .when(pl.int_range(N) < 13)
        .then(pl.lit("no"))
        .otherwise("event"),
    )

    def first_year(made):
        rows = made.tables["survival_curve"].filter(time_lower=0, time_upper=365)
        return rows["n_events"][0] if rows.height else None

    first, _ = followed(everyone[13:], "survival")
    second, _ = followed(everyone, "overall", [first])
    assert first_year(first) is not None
    assert first_year(second) is None
    monkeypatch.setattr(curve_differences, "_by_names_at_hand", lambda curves, _: [curves])
    assert first_year(followed(everyone, "overall", [first])[0]) == first_year(first) + 1


def test_strata_of_two_variables_that_differ_by_one_patient(rules):
    """One man among the patients with breast cancer; nobody else is in but one of the groups."""
    rng = np.random.default_rng(5)
    clinical = pl.DataFrame(
        {
            "patient": PATIENTS,
            "sex": ["male"] + ["female"] * 45 + ["male"] * 35,
            "diagnosis": ["breast"] * 46 + ["lung"] * 35,
            "time": rng.exponential(900, N).round() + 1,
            "event": rng.choice(["no", "yes"], N),
        }
    )
    strata = ("sex", "diagnosis")
    endpoints = {"survival": Endpoint(time="time", event="event", curve_bins=(0, 365, 730, 1460))}
    study = study_of(clinical, endpoints=endpoints, strata=strata)
    assessed = clinical.select("patient", callable_megabases=pl.lit(30.0))
    genes = [f"ENSG{g:011d}" for g in range(GENES)]
    altered = missense(rng.choice(PATIENTS, 1200)).with_columns(
        gene_id=pl.Series(rng.choice(genes, 1200))
    )
    catalogue = pl.DataFrame({"gene_id": genes, "gene_name": genes})
    tables = {
        "cohort_profile": build_cohort_profile(clinical, study.clinical.variables, strata),
        "mutation_burden": build_mutation_burden(altered, assessed, clinical, strata),
        "gene_alterations": build_gene_alterations(altered, assessed, catalogue, clinical, strata),
        "survival_curve": build_survival_curve(clinical, endpoints, strata),
    }
    made, why = release(study, tables, clinical=clinical, assessed=assessed)

    def of_stratum(table, stratum, **conditions):
        return made.tables[table].filter(stratum=stratum, **conditions)

    def mutations(stratum):
        rows = of_stratum("mutation_burden", stratum, measure="all_mutations")
        return (rows["n"] * rows["mean"]).sum() * 30 if rows.height else np.nan

    truth = altered.filter(patient=TARGET).height
    assert told(mutations("breast") - mutations("female"), truth) is not rules
    of_breast, of_women = (
        of_stratum("gene_alterations", stratum, alteration_class="any")
        for stratum in ("breast", "female")
    )
    status = of_breast.join(of_women, on="gene_id").select(
        "gene_id", altered=pl.col("n_altered") - pl.col("n_altered_right")
    )
    genes_of_target = set(altered.filter(patient=TARGET)["gene_id"])
    assert all((n == 1) == (gene in genes_of_target) for gene, n in status.iter_rows())
    assert bool(status.height) is not rules
    lines = set(made.tables["survival_curve"]["stratum"])
    assert {"female", "breast"} <= lines if not rules else lines == {"all", "female", "male"}
    assert ("overlapping_strata" in why) is rules
    # The first of the variables leaves in all tables.
    assert of_stratum("mutation_burden", "female").height
    assert of_stratum("gene_alterations", "female").height


def test_three_releases_of_which_any_two_are_far_apart(rules):
    """Two years' patients, then both years' and one more."""
    clinical = pl.DataFrame({"patient": PATIENTS, "stage": STAGE})
    rng = np.random.default_rng(5)
    altered = missense(rng.choice(PATIENTS, 900))
    made = []
    for patients in (PATIENTS[1:41], PATIENTS[41:], PATIENTS):
        cohort = clinical.filter(pl.col("patient").is_in(patients))
        assessed = cohort.select("patient", callable_megabases=pl.lit(30.0))
        counts = COUNTS.select("gene_id", "gene_name", *patients)
        study = study_of(cohort, {"stage": BY_STAGE}, strata=("stage",))
        built = build_expression_moments(
            counts, cohort, study.contrasts, study.clinical.variables, SETTINGS.minimum_n
        )
        burden = build_mutation_burden(
            altered.filter(pl.col("patient").is_in(patients)), assessed, cohort, ["stage"]
        )
        tables = dict(zip(("expression_design", "expression_moments"), built, strict=True))
        tables["mutation_burden"] = burden
        last, why = release(
            study, tables, tuple(made), clinical=cohort, counts=counts, assessed=assessed
        )
        made.append(last)
    first, second, third = (sums(one, "stage") for one in made)
    assert told(third - first - second) is not rules

    def mutations(one):
        rows = one.tables["mutation_burden"].filter(measure="all_mutations", stratum="all")
        return (rows["n"] * rows["mean"]).sum() * 30 if rows.height else np.nan

    first, second, third = map(mutations, made)
    truth = altered.filter(patient=TARGET).height
    assert told(third - first - second, truth) is not rules
    assert ("joint_leverage" in why) is rules
