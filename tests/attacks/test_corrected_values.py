"""Attacks by subtraction of two releases of the same patients, of whom one has other values.

Each reads the values of the target back from the differences of the sums. With control off that is
the comparison of patients by name alone; with control on, by name and by value.
"""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control, judge_features
from ihdsi.disclosure.differencing import EarlierRelease
from ihdsi.disclosure.patient_values import count_patients
from ihdsi.expression.normalisation import log2_cpm
from ihdsi.study import ClinicalDictionary, ClinicalVariable, Contrast, DisclosureSettings, Study
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.expression_moments import build_expression_moments
from ihdsi.summaries.mutation_burden import build_mutation_burden
from somatic_mutations import missense

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5)
N, GENES, TARGET = 80, 60, "p7"
PATIENTS = [f"p{i}" for i in range(N)]
VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    "sex": ClinicalVariable(type="categorical", levels=("female", "male")),
    "age": ClinicalVariable(type="number", unit="a", bins=(18, 60, 70, 111)),
}
CONTRASTS = {
    "invasion": Contrast(variable="stage", case="high", control="low", covariates=("sex", "age"))
}
STUDY = Study.model_construct(
    contrasts=CONTRASTS,
    endpoints={},
    strata=("stage",),
    quality_control={},
    clinical=ClinicalDictionary(variables=VARIABLES),
)


def site(age_change=0.0, sequenced=(), recalled=False, seed=3):
    """Patient-level tables of a site; some libraries sequenced anew, an age or a call set other."""
    rng = np.random.default_rng(seed)
    ages = rng.normal(65, 9, N).round(1)
    ages[PATIENTS.index(TARGET)] += age_change
    clinical = pl.DataFrame(
        {
            "patient": PATIENTS,
            "stage": ["high" if i % 2 else "low" for i in range(N)],
            "sex": ["male" if i % 4 < 2 else "female" for i in range(N)],
            "age": ages,
        }
    )
    reads = rng.negative_binomial(4, 0.02, (GENES, N))
    again = np.random.default_rng(99)
    for patient in sequenced:
        reads[:, PATIENTS.index(patient)] = again.negative_binomial(4, 0.02, GENES)
    genes = [f"ENSG{gene:011d}" for gene in range(GENES)]
    counts = pl.DataFrame(
        {"gene_id": genes, "gene_name": genes} | dict(zip(PATIENTS, reads.T, strict=True))
    )
    variants = missense(rng.choice(PATIENTS, 900))
    if recalled:
        variants = variants.filter((pl.col("patient") != TARGET) | (pl.col("position") % 3 > 0))
    assessed = clinical.select("patient", callable_megabases=pl.lit(30.0))
    return {"clinical": clinical, "counts": counts, "variants": variants, "assessed": assessed}


def summaries(frames):
    clinical = frames["clinical"]
    design, moments = build_expression_moments(
        frames["counts"], clinical, CONTRASTS, VARIABLES, SETTINGS.minimum_n
    )
    return {
        "cohort_profile": build_cohort_profile(clinical, VARIABLES, ["stage"]),
        "expression_design": design,
        "expression_moments": moments,
        "mutation_burden": build_mutation_burden(
            frames["variants"], frames["assessed"], clinical, ["stage"]
        ),
    }


def release(frames, earlier=(), by_value=True):
    """What control lets leave, and whom it counts."""
    populations = count_patients(STUDY, (), frames).rename(
        {"patient": "patient_hash", "value": "value_hash"}
    )
    if not by_value:
        populations = populations.drop("value_hash")
    tables, _ = apply_disclosure_control(
        summaries(frames),
        SETTINGS,
        [],
        {"invasion": 4},
        earlier=earlier,
        populations=populations,
        features=judge_features(STUDY, SETTINGS, frames),
    )
    return tables, populations


def two_releases(second, by_value):
    first, populations = release(site(), by_value=by_value)
    before = EarlierRelease(1, first, populations)
    return first, release(second, [before], by_value)[0]


def sums(tables, term):
    moments = tables["expression_moments"].sort("gene_id")
    place = moments["terms"][0].to_list().index(term)
    return np.array([values[place] for values in moments["xty"].to_list()])


def profile(frames):
    reads = frames["counts"].drop("gene_id", "gene_name").to_numpy()
    return log2_cpm(reads)[:, PATIENTS.index(TARGET)]


def sequenced_again(first, second):
    """New profile of the target: from the difference of the sums and that of the squares."""
    change = sums(second, "intercept") - sums(first, "intercept")
    squares = (
        second["expression_moments"].sort("gene_id")["yty"]
        - first["expression_moments"].sort("gene_id")["yty"]
    ).to_numpy()
    return (squares / change + change) / 2


def older(first, second):
    """Profile of the target, whose age changed: X'y of age tells the deviation from the mean."""
    change = sums(second, "age") - sums(first, "age")
    return change / (3 * (1 - 1 / N) + 0) + sums(first, "intercept") / N


@pytest.mark.parametrize(
    ("second", "attack", "tolerance"),
    [
        (site(sequenced=[TARGET]), sequenced_again, 1e-6),
        (site(age_change=3.0), older, 0.2),
    ],
    ids=["a library sequenced anew", "an age corrected"],
)
def test_one_patient_of_other_values_tells_the_profile(second, attack, tolerance):
    first, changed = two_releases(second, by_value=False)
    assert changed["expression_moments"].height == first["expression_moments"].height > 50
    assert np.abs(attack(first, changed) - profile(second)).max() < tolerance

    _, changed = two_releases(second, by_value=True)
    assert changed["expression_moments"].is_empty()
    assert changed["expression_design"].is_empty()


def test_one_call_set_made_anew_tells_the_number_of_mutations():
    second = site(recalled=True)

    def whole(tables):
        return tables["mutation_burden"].filter(
            measure="nonsynonymous_mutations", stratum_variable="all"
        )

    first, changed = two_releases(second, by_value=False)
    before, after = whole(first), whole(changed)
    total = N * (after["mean"] - before["mean"]).item()

    def squares(row):
        return ((N - 1) * row["variance"] + N * row["mean"] ** 2).item()

    found = ((squares(after) - squares(before)) / total + total) / 2 * 30
    assert found == pytest.approx(second["variants"].filter(patient=TARGET).height, abs=1e-6)

    _, changed = two_releases(second, by_value=True)
    assert changed["mutation_burden"].is_empty()


def test_a_corrected_age_takes_the_mean_age_along_and_nothing_else():
    first, changed = two_releases(site(age_change=3.0), by_value=True)
    variables = set(first["cohort_profile"]["variable"])
    assert set(changed["cohort_profile"]["variable"]) == variables - {"age"}
    assert changed["mutation_burden"].equals(first["mutation_burden"])


@pytest.mark.parametrize(
    ("sequenced", "leaves"), [((), True), (PATIENTS[:9], False), (PATIENTS, True)]
)
def test_nobody_or_many_of_other_values_are_no_difference_of_few(sequenced, leaves):
    first, changed = two_releases(site(sequenced=sequenced), by_value=True)
    assert (changed["expression_moments"].height > 0) == leaves
    assert changed["cohort_profile"].equals(first["cohort_profile"])


def test_a_new_patient_is_seen_though_all_values_are_new():
    everything = site(sequenced=PATIENTS)
    without = {
        name: frame.drop(TARGET) if name == "counts" else frame.filter(pl.col("patient") != TARGET)
        for name, frame in site().items()
    }
    first, populations = release(without)
    assert first["expression_moments"].height
    changed, _ = release(everything, [EarlierRelease(1, first, populations)])
    assert changed["expression_moments"].is_empty()
