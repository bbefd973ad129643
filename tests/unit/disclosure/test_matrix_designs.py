"""Designs of missingness patterns: no patient follows from the difference of two."""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.study import ClinicalVariable, Contrast, DisclosureSettings
from ihdsi.summaries.expression_moments import build_expression_moments
from ihdsi.summaries.matrix_moments import build_matrix_moments
from judged_features import nobody_makes_up

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    "sex": ClinicalVariable(type="categorical", levels=("female", "male")),
}
CONTRASTS = {"c": Contrast(variable="stage", case="high", control="low", covariates=("sex",))}
N = 120
#: Groups of four: case and sex in every combination.
CLINICAL = pl.DataFrame(
    {
        "patient": [f"p{i}" for i in range(N)],
        "stage": ["low", "high"] * (N // 2),
        "sex": ["female", "female", "male", "male"] * (N // 4),
    }
)


def matrix(*missing, seed=0, features=1):
    """Complete features, then one for each list of patients (numbers) who lack it."""
    rng = np.random.default_rng(seed)
    values = rng.normal(20, 1, (features + len(missing), N))
    for row, patients in enumerate(missing, start=features):
        values[row, list(patients)] = np.nan
    names = [f"F{i}" for i in range(len(values))]
    return (
        pl.DataFrame({"feature": names, "feature_name": names})
        .with_columns(gene_id=pl.lit(None, dtype=pl.String))
        .hstack(pl.DataFrame(values, schema=CLINICAL["patient"].to_list()).fill_nan(None))
    )


def clear(matrices, expression=None, plates=None):
    tables = dict(
        zip(
            ("matrix_design", "matrix_moments"),
            build_matrix_moments(
                matrices, CLINICAL, CONTRASTS, VARIABLES, 10, site_covariates=plates
            ),
            strict=True,
        )
    )
    if expression is not None:
        built = build_expression_moments(expression, CLINICAL, CONTRASTS, VARIABLES, 10)
        tables |= dict(zip(("expression_design", "expression_moments"), built, strict=True))
    features = nobody_makes_up(tables)
    cleared, log = apply_disclosure_control(tables, SETTINGS, [], {"c": 3}, features=features)
    released = cleared["matrix_moments"]
    patterns = set(released.select("assay", "pattern").iter_rows())
    assert patterns == set(cleared["matrix_design"].select("assay", "pattern").iter_rows())
    return released, log


@pytest.mark.parametrize(
    ("missing", "left"),
    [
        (range(40), True),
        (range(1), False),  # one patient's covariates
        (range(8), False),
        (range(0, 40, 4), True),  # ten women without the case: zero cells elsewhere
        ([*range(0, 40, 4), 1, 2], False),  # and one of two other groups
        ([*range(20), 20, 24], True),  # seven of one group, five of the others
        ([*range(0, 20, 4), *range(2, 42, 4)], False),  # five women: their sums would leave
    ],
)
def test_a_pattern_leaves_if_it_differs_by_enough_patients(missing, left):
    released, log = clear({"protein": matrix(missing, features=2)})
    assert set(released["feature"]) == {"F0", "F1"} | ({"F2"} if left else set())
    assert (set(log["rule"]) == {"missingness_patterns", "design_withheld"}) is not left


def test_the_pattern_with_most_features_comes_first():
    some = range(1)
    released, _ = clear({"protein": matrix(some, some, some, features=2)})
    assert set(released["feature"]) == {"F2", "F3", "F4"}


def test_patterns_of_as_many_but_other_patients_do_not_leave_together():
    """X'X of two sets that exchange one patient for another differ by these two patients."""
    released, _ = clear({"protein": matrix(range(40), [*range(1, 40), 41], features=0)})
    assert released.height == 1
    # p40 is of the stage and sex of p0: the designs are equal and tell nothing.
    released, _ = clear({"protein": matrix(range(40), range(1, 41), features=0)})
    assert released.height == 2


def test_two_patterns_at_most_leave_of_an_assay():
    """All, and three parts of 40 patients: the sum of the parts' designs would be that of all."""
    parts = [[i for i in range(N) if i // 40 != part] for part in range(3)]
    released, _ = clear({"protein": matrix(*parts, features=2)})
    assert released["pattern"].n_unique() <= 2


def test_other_assays_and_expression_count_as_well():
    rng = np.random.default_rng(1)
    ids = [f"ENSG{i:011d}" for i in range(4)]
    counts = pl.DataFrame({"gene_id": ids, "gene_name": ids}).hstack(
        pl.DataFrame(rng.negative_binomial(20, 0.02, (4, N)), schema=CLINICAL["patient"].to_list())
    )
    all_but_one = matrix(range(1), features=0)
    assert clear({"protein": all_but_one})[0].height == 1
    assert clear({"protein": all_but_one}, counts)[0].is_empty()
    assert clear({"protein": all_but_one}, counts.drop("p0"))[0].height == 1
    two = clear({"protein": all_but_one, "methylation": matrix(features=2)})[0]
    assert set(two["assay"]) == {"methylation"}
    same = clear({"protein": matrix(features=1), "methylation": matrix(features=2)})[0]
    assert set(same["assay"]) == {"protein", "methylation"}


@pytest.mark.parametrize("flat", ["constant", "by group"])
def test_a_feature_without_residuals_is_every_patients_value(flat):
    table = matrix(features=3)
    case = (CLINICAL["stage"] == "high").cast(pl.Float64).to_list()
    values = [7.0] * N if flat == "constant" else [7.0 + 2 * c for c in case]
    frame = table.to_dict(as_series=False)
    for patient, value in zip(CLINICAL["patient"], values, strict=True):
        frame[patient][1] = value
    released, log = clear({"protein": pl.DataFrame(frame, schema=table.schema)})
    assert set(released["feature"]) == {"F0", "F2"}
    assert log["rule"].to_list() == ["no_variation"]


def test_small_groups_within_a_pattern():
    few_men = [i for i in range(N) if i % 4 >= 2 and i > 30]
    released, log = clear({"protein": matrix(few_men, features=0)})
    assert released.height == 1
    fewer = [i for i in range(N) if i % 4 >= 2 and i > 14]
    released, log = clear({"protein": matrix(fewer, features=0)})
    assert released.is_empty()
    assert "model_groups" in set(log["rule"])


def plates(of, assay="protein"):
    """Plate of each patient, by number."""
    codes = [f"plate_{of(i)}" for i in range(N)]
    return {assay: pl.DataFrame({"patient": CLINICAL["patient"], f"site:{assay}_plate": codes})}


def expression():
    rng = np.random.default_rng(1)
    ids = [f"ENSG{i:011d}" for i in range(4)]
    return pl.DataFrame({"gene_id": ids, "gene_name": ids}).hstack(
        pl.DataFrame(rng.negative_binomial(20, 0.02, (4, N)), schema=CLINICAL["patient"].to_list())
    )


def test_plates_leave_with_their_codes_beside_the_expression_of_the_same_patients():
    by_block = plates(lambda i: 1 + i // 60)
    released, _ = clear({"protein": matrix(features=2)}, expression(), by_block)
    assert set(released["feature"]) == {"F0", "F1"}
    assert released["terms"][0].to_list() == [
        *("intercept", "case", "sex=male", "site:protein_plate=plate_2")
    ]
    # Each assay has plates of its own, which are no groups of the other's.
    both = {"protein": matrix(features=2), "methylation": matrix(features=2)}
    of_both = by_block | plates(lambda i: 1 + i // 40, "methylation")
    assert set(clear(both, expression(), of_both)[0]["assay"]) == {"protein", "methylation"}


def test_plates_hide_no_patient_who_is_in_one_design_only():
    by_block = plates(lambda i: 1 + i // 60)
    one_less = {"protein": matrix(range(1), features=0)}
    assert clear(one_less, None, by_block)[0].height == 1
    assert clear(one_less, expression(), by_block)[0].is_empty()
    released, _ = clear({"protein": matrix(range(1), features=2)}, None, by_block)
    assert set(released["feature"]) == {"F0", "F1"}


def test_small_groups_of_plates_do_not_leave():
    """Three women of 40 on plate 2, or a plate of eight."""
    few_women = plates(lambda i: 2 if i < 12 or (i < 80 and i % 4 >= 2) else 1)
    assert clear({"protein": matrix(features=2)}, None, few_women)[0].height == 2
    fewer = plates(lambda i: 2 if i < 6 or (i < 80 and i % 4 >= 2) else 1)
    released, log = clear({"protein": matrix(features=2)}, None, fewer)
    assert released.is_empty()
    assert "model_groups" in set(log["rule"])
    released, log = clear({"protein": matrix(features=2)}, None, plates(lambda i: 1 + (i < 8)))
    assert released.is_empty()
    assert "model_groups" in set(log["rule"])


def test_plates_count_among_the_parameters():
    """Twelve plates of ten make 14 parameters of 120 patients: more than a tenth."""
    many = plates(lambda i: 1 + i // 10)
    tables = dict(
        zip(
            ("matrix_design", "matrix_moments"),
            build_matrix_moments(
                {"protein": matrix(features=2)},
                CLINICAL,
                CONTRASTS,
                VARIABLES,
                10,
                site_covariates=many,
            ),
            strict=True,
        )
    )
    loose = SETTINGS.model_copy(update={"minimum_cell_count": 1, "maximum_parameter_share": 0.1})
    features = nobody_makes_up(tables)
    _, log = apply_disclosure_control(tables, loose, [], {"c": 3}, features=features)
    assert set(log.filter(table="matrix_design")["rule"]) == {"maximum_parameter_share"}
    wide = loose.model_copy(update={"maximum_parameter_share": 0.2})
    cleared, _ = apply_disclosure_control(tables, wide, [], {"c": 3}, features=features)
    assert cleared["matrix_moments"].height == 2
