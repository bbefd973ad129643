"""Subtypes and signature scores leave under the rules of the cohort profile."""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control, judge_features
from ihdsi.disclosure.differencing import EarlierRelease, populations_of
from ihdsi.study import ClinicalVariable, DisclosureSettings, Study
from ihdsi.summaries import validate_table
from ihdsi.summaries.cohort_profile import build_cohort_profile

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5)
STUDY = Study(
    study="s",
    version="1",
    title="t",
    participants=("a",),
    reference={"name": "r"},
    clinical={"variables": {"stage": {"type": "categorical", "levels": ["low", "high"]}}},
    strata=("stage",),
    disclosure=SETTINGS,
)
VARIABLES = STUDY.clinical.variables | STUDY.expression.profile_variables


def site(counts=None, n_unknown=0):
    """Clinical table and profile of patients with so many of each subtype, in both stages."""
    counts = counts or {"luminal": 24, "basal": 20, "neuroendocrine_like": 3, "unassigned": 13}
    subtypes = [name for name, n in counts.items() for _ in range(n)] + [None] * n_unknown
    rng = np.random.default_rng(5)
    patients = [f"p{number}" for number in range(len(subtypes))]
    stages = [("low", "high")[number % 2] for number in range(len(patients))]
    clinical = pl.DataFrame({"patient": patients, "stage": stages})
    scores = {
        name: rng.uniform(0.3, 0.9, len(patients)).round(6)
        for name in VARIABLES
        if name.startswith("signature_")
    }
    profile = pl.DataFrame({"patient": patients, "molecular_subtype": subtypes, **scores})
    return clinical, profile


def cleared(clinical, profile, earlier=(), settings=SETTINGS):
    table = build_cohort_profile(clinical, VARIABLES, ["stage"], profile)
    validate_table(table, "cohort_profile")
    populations = populations_of(STUDY, clinical=clinical, expression_profile=profile)
    tables, log = apply_disclosure_control(
        {"cohort_profile": table},
        settings,
        [],
        {},
        earlier=earlier,
        populations=populations.rename({"patient": "patient_hash"}),
        features=judge_features(
            STUDY, settings, {"clinical": clinical, "expression_profile": profile}
        ),
    )
    return tables["cohort_profile"], log, populations


def test_a_rare_subtype_is_withheld_and_cannot_be_computed():
    released, log, _ = cleared(*site())
    whole = released.filter(variable="molecular_subtype", stratum="all")
    kept = dict(whole.select("level", "n").iter_rows())
    assert "neuroendocrine_like" not in kept
    # Its count would follow from n_total and all other levels, so another is withheld as well.
    assert len(kept) == 2
    assert kept.items() < {"luminal": 24, "basal": 20, "unassigned": 13}.items()
    rules = set(log.filter(pl.col("key").str.contains("molecular_subtype"))["rule"])
    assert {"minimum_cell_count", "complementary_suppression"} <= rules


def test_frequencies_and_mean_scores_leave():
    clinical, profile = site({"luminal": 24, "basal": 20, "unassigned": 16})
    released, _, _ = cleared(
        clinical, profile, settings=SETTINGS.model_copy(update={"zero_cells_allowed": True})
    )
    assert dict(
        released.filter(variable="molecular_subtype", stratum="all")
        .select("level", "n")
        .iter_rows()
    ) == {"luminal": 24, "basal": 20, "neuroendocrine_like": 0, "unassigned": 16}
    means = released.filter(variable="signature_basal", kind="moments")
    assert means["stratum"].sort().to_list() == ["all", "high", "low"]
    whole = means.filter(stratum="all").row(0, named=True)
    assert whole["n"] == whole["n_total"] == 60
    assert whole["mean"] == pytest.approx(profile["signature_basal"].mean(), rel=5e-3)
    assert whole["mean"] != profile["signature_basal"].mean()
    assert released.filter(pl.col("kind") == "bin").is_empty()


def test_scores_of_patients_without_clinical_data_hold_nothing_back():
    clinical, profile = site({"luminal": 24, "basal": 20, "unassigned": 16})
    released, _, _ = cleared(clinical.head(50), profile)
    means = released.filter(variable="signature_basal", kind="moments", stratum="all")
    assert means["n"].to_list() == [50]


def test_one_dominating_score_is_withheld():
    clinical, profile = site()
    lone = pl.Series(np.r_[0.95, np.full(clinical.height - 1, 0.001)])
    released, log, _ = cleared(clinical, profile.with_columns(signature_basal=lone))
    assert released.filter(variable="signature_basal").is_empty()
    assert "dominance" in set(log.filter(pl.col("key").str.contains("signature_basal"))["rule"])


def test_patients_whose_sample_failed_or_was_not_scored_are_not_counted():
    clinical, profile = site(n_unknown=12)
    table = build_cohort_profile(clinical, VARIABLES, [], profile.head(30))
    subtype = table.filter(variable="molecular_subtype")
    assert subtype["n_total"].unique().to_list() == [30]
    everybody = build_cohort_profile(clinical, VARIABLES, [], profile)
    assert everybody.filter(variable="molecular_subtype")["n_total"].unique().to_list() == [60]
    assert everybody.filter(variable="signature_emt")["n"].to_list() == [72]
    without = build_cohort_profile(clinical, VARIABLES, [])
    assert without["variable"].unique().to_list() == ["stage"]
    decisions = pl.DataFrame(
        {"patient": ["p0"], "sample": ["p0-R"], "kind": ["tumour_rna"], "decision": ["fail"]}
    )
    found = populations_of(
        STUDY, clinical=clinical, decisions=decisions, expression_profile=profile
    )
    counted = found.filter(population="clinical:molecular_subtype", stratum="all")["patient"]
    assert set(counted) == {f"p{number}" for number in range(1, 60)}


def test_one_more_scored_patient_does_not_leave_as_a_difference():
    clinical, profile = site({"luminal": 30, "basal": 30})
    settings = SETTINGS.model_copy(update={"zero_cells_allowed": True})
    first, _, populations = cleared(clinical, profile.head(59), settings=settings)
    assert first.filter(variable="molecular_subtype", stratum="all").height == 4
    earlier = EarlierRelease(
        1, {"cohort_profile": first}, populations.rename({"patient": "patient_hash"})
    )
    second, log, _ = cleared(clinical, profile, [earlier], settings)
    assert second.filter(pl.col("variable") != "stage").is_empty()
    assert second.filter(variable="stage").equals(first.filter(variable="stage"))
    assert "differencing" in set(log["rule"])
    # The same patients once more tell nothing new.
    again, _, _ = cleared(clinical, profile.head(59), [earlier], settings)
    assert again.equals(first)


def test_clinical_variables_cannot_take_a_computed_name():
    document = STUDY.model_dump()
    document["clinical"]["variables"]["signature_basal"] = ClinicalVariable(
        type="number", unit="1"
    ).model_dump()
    with pytest.raises(ValueError, match="computed from expression"):
        Study.model_validate(document)
