"""What single patients make up of a feature, against values counted one by one."""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure.contributions import (
    FEATURES_SCHEMA,
    dominated_sums,
    dominated_variation,
    few_apart,
    judge_features,
)
from ihdsi.study import (
    ClinicalDictionary,
    ClinicalVariable,
    Contrast,
    DisclosureSettings,
    Study,
)
from ihdsi.summaries.design import contrast_design, design_groups

SETTINGS = DisclosureSettings()
OFF = SETTINGS.model_copy(update={"maximum_contribution": 1.0, "dominance_k": 1.0, "p_ratio": 0.0})


def test_the_commonest_value_is_counted_as_one_by_one():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.integers(0, top, (400, 25)) for top in (1, 2, 3, 30)]).astype(
        float
    )
    values[rng.random(values.shape) < 0.3] = 0.0
    expected = []
    for row in values:
        commonest = max(int((row == value).sum()) for value in row)
        expected.append(commonest > 12 and 25 - commonest < 10)
    assert 0 < sum(expected) < len(expected)
    assert few_apart(values, 10).tolist() == expected


@pytest.mark.parametrize(
    ("apart", "n", "few"),
    [(0, 20, True), (1, 20, True), (9, 20, True), (10, 20, False), (9, 18, False), (4, 10, True)],
)
def test_fewer_than_the_minimum_beside_a_majority(apart, n, few):
    values = np.zeros((1, n))
    values[0, :apart] = np.arange(1, apart + 1)
    assert few_apart(values, 10).tolist() == [few]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0] * 10, (False, False, False)),
        ([0.0] * 10, (False, False, False)),  # a sum of zero is nobody's
        ([5.0, 1.0, 1.0, 1.0, 1.0, 1.0], (False, False, False)),  # one half is allowed
        ([5.1, 1.0, 1.0, 1.0, 1.0, 1.0], (True, False, False)),
        ([4.5, 4.5, 0.2, 0.4, 0.4], (False, True, False)),  # nine tenths are refused
        ([4.4, 4.4, 0.6, 0.5, 0.5], (False, False, False)),
        ([4.0, 4.0, 0.2, 0.1], (False, True, True)),
        ([4.0, 4.0, 0.2, 0.2], (False, True, False)),  # the rest is a tenth of the largest
        ([0.0, 0.0, 7.0, 0.0], (True, True, True)),
        ([3.0, 3.0], (False, True, True)),
        ([3.0], (True, True, True)),
    ],
)
def test_sums_that_patients_make_up(values, expected):
    for order in (values, values[::-1]):
        found = dominated_sums(np.array([order]), SETTINGS)
        assert tuple(bool(mask[0]) for mask in found) == expected
    assert not any(mask[0] for mask in dominated_sums(np.array([values]), OFF))


def test_squared_deviations_that_patients_make_up():
    level = np.tile([14.0, 16.0], 30)
    one, two, none = level.copy(), level.copy(), np.full(60, 15.0)
    one[0] = 35.0
    two[[0, 1]] = -25.0, 55.0
    for shift in (0.0, -40.0):  # of the level itself nothing depends
        by_one, by_two = dominated_variation(np.stack([level, one, two, none]) + shift, SETTINGS)
        assert by_one.tolist() == [False, True, False, False]
        assert by_two.tolist() == [False, False, True, False]
    assert not np.any(dominated_variation(np.stack([level, one, two, none]), OFF))


def test_an_unknown_deviation_is_found_with_the_error_of_its_share():
    """Of a patient who makes up the share s, with an error of √((1 − s)/s) whatever the number."""
    rng = np.random.default_rng(1)
    for n in (20, 200):
        for share in (0.5, 0.9):
            others = rng.normal(size=(4000, n - 1))
            # The sum of the others is what the attacker errs by; it varies as their squares do.
            deviation = np.sqrt(share / (1 - share) * (n - 1))
            error = others.sum(axis=1).std() / deviation
            assert error == pytest.approx(np.sqrt((1 - share) / share), rel=0.05)


VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high", "unclear")),
    "smoking": ClinicalVariable(type="categorical", levels=("never", "former", "current")),
    "age": ClinicalVariable(type="number", unit="a"),
}
CONTRAST = Contrast(variable="stage", case="high", control="low", covariates=("smoking", "age"))
N = 66
CLINICAL = pl.DataFrame(
    {
        "patient": [f"p{i}" for i in range(N)],
        "stage": ["low", "high"] * 30 + ["unclear"] * 6,
        "smoking": ["never", "former", "current"] * (N // 3),
        "age": np.random.default_rng(2).normal(60, 9, N),
    }
)
STUDY = Study.model_construct(
    contrasts={"c": CONTRAST}, clinical=ClinicalDictionary(variables=VARIABLES)
)


def test_groups_are_all_levels_with_the_reference():
    design = contrast_design(
        CLINICAL, CLINICAL["patient"].to_list(), CONTRAST, VARIABLES, full_rank=False
    )
    groups = [set(np.flatnonzero(group).tolist()) for group in design_groups(design)]
    chosen = CLINICAL.head(60)
    expected = [set(range(60))] + [
        set((chosen[name] == level).arg_true().to_list())
        for name, levels in (("stage", ("high", "low")), ("smoking", VARIABLES["smoking"].levels))
        for level in levels
    ]
    assert len(groups) == 6
    assert sorted(map(sorted, groups)) == sorted(map(sorted, expected))


def counts_of(matrix):
    labels = {"gene_id": [f"ENSG{g:011d}" for g in range(len(matrix))], "gene_name": "g"}
    return pl.DataFrame(labels | {f"p{i}": matrix[:, i] for i in range(N)})


def test_patients_whose_sample_failed_are_not_judged():
    matrix = np.random.default_rng(3).negative_binomial(5, 0.05, (40, N))
    matrix[0, 0] = 20_000
    decisions = pl.DataFrame(
        {"patient": ["p0"], "sample": ["s"], "kind": ["tumour_rna"], "decision": ["fail"]}
    )
    frames = {"clinical": CLINICAL, "counts": counts_of(matrix)}
    with_everybody = judge_features(STUDY, SETTINGS, frames)
    assert dict(with_everybody.schema) == FEATURES_SCHEMA
    of_counts = pl.col("table").str.starts_with("expression")
    assert set(with_everybody.filter(of_counts)["n"]) == {60}
    # Its moments are withheld of other genes as well: one gene takes most of this library.
    means = with_everybody.filter(table="expression_effects").drop_nulls("feature_rule")
    assert means.select("feature", "feature_rule").rows() == [("ENSG00000000000", "dominance")]
    without = judge_features(STUDY, SETTINGS, frames | {"decisions": decisions})
    assert set(without.filter(of_counts)["n"]) == {59}
    # In a clinical variable the patient is judged with the others.
    assert set(without.filter(table="cohort_profile")["n"]) == {CLINICAL["age"].count()}
    assert without["feature_rule"].null_count() == without.height


def test_donors_whose_cells_failed_are_not_judged():
    matrix = np.random.default_rng(3).negative_binomial(5, 0.05, (40, N))
    decisions = pl.DataFrame(
        {"patient": ["p0"], "sample": ["s"], "kind": ["tumour_single_cell"], "decision": ["fail"]}
    )
    frames = {"clinical": CLINICAL, "pseudobulk": {"t_cell": counts_of(matrix)}}

    def donors(**more):
        judged = judge_features(STUDY, SETTINGS, frames | more)
        return set(judged.filter(table="cell_expression_effects")["n"])

    assert donors() == {60}
    assert donors(decisions=decisions) == {59}


def test_nothing_is_judged_without_groups_patients_or_genes():
    matrix = np.random.default_rng(3).negative_binomial(5, 0.05, (40, N))
    frames = {"clinical": CLINICAL, "counts": counts_of(matrix)}
    assert judge_features(STUDY, SETTINGS, {"counts": frames["counts"]}).is_empty()
    controls = CLINICAL.filter(pl.col("stage") == "low")
    silent = frames | {"counts": counts_of(np.ones_like(matrix))}
    for given, tables in (
        ({"clinical": CLINICAL}, {"cohort_profile"}),
        (frames | {"clinical": controls}, {"cohort_profile"}),
        (silent, {"cohort_profile", "expression_design"}),
    ):
        assert set(judge_features(STUDY, SETTINGS, given)["table"]) == tables
