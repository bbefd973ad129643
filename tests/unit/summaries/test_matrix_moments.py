"""Moments of matrices with missing values, against statsmodels and the expression tables."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from ihdsi.errors import InputError
from ihdsi.expression.normalisation import log2_cpm
from ihdsi.study import ClinicalVariable, Contrast
from ihdsi.summaries import validate_table
from ihdsi.summaries.expression_moments import build_expression_moments
from ihdsi.summaries.matrix_moments import MAXIMUM_PATTERNS_BUILT, build_matrix_moments

VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    "sex": ClinicalVariable(type="categorical", levels=("female", "male")),
    "age": ClinicalVariable(type="number", unit="a"),
}
CONTRASTS = {
    "stage": Contrast(variable="stage", case="high", control="low", covariates=("sex", "age"))
}
N, FEATURES = 80, 12
EFFECT = 1.5


@pytest.fixture(scope="module")
def cohort():
    """Feature 0 differs between the stages; 4 to 7 lack plate 2, 8 one patient, 9 all but five."""
    rng = np.random.default_rng(3)
    clinical = pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(N)],
            "stage": rng.choice(["low", "high"], N),
            "sex": rng.choice(["female", "male"], N),
            "age": rng.normal(68, 9, N),
        }
    ).with_columns(age=pl.when(pl.col("patient") == "p2").then(None).otherwise("age"))
    values = rng.normal(20, 1, (FEATURES, N))
    values[0] += EFFECT * (clinical["stage"] == "high").to_numpy()
    values[4:8, 60:] = np.nan
    values[8, 7] = np.nan
    values[9, 5:] = np.nan
    # Patient p2 takes part in no model, so what is missing there makes no pattern.
    values[10, 2] = np.nan
    matrix = pl.DataFrame(
        {
            "feature": [f"P{i:05d}" for i in range(FEATURES)],
            "feature_name": [None, *(f"protein {i}" for i in range(1, FEATURES))],
            "gene_id": [f"ENSG{i:011d}" if i else None for i in range(FEATURES)],
        }
    ).hstack(pl.DataFrame(values, schema=clinical["patient"].to_list()).fill_nan(None))
    return matrix, clinical, values


def coefficients(design, moments, feature):
    """Case coefficient and residual sum of squares, from the tables alone."""
    row = moments.filter(feature=feature).row(0, named=True)
    cells = design.filter(pattern=row["pattern"])
    place = {term: i for i, term in enumerate(row["terms"])}
    xtx = np.zeros((len(place), len(place)))
    for a, b, value in cells.select("row_term", "column_term", "value").iter_rows():
        xtx[place[a], place[b]] = value
    beta = np.linalg.solve(xtx, row["xty"])
    return beta[place["case"]], row["yty"] - beta @ row["xty"]


def test_each_feature_is_fitted_in_those_in_whom_it_was_measured(cohort):
    matrix, clinical, values = cohort
    design, moments = build_matrix_moments(
        {"protein": matrix}, clinical, CONTRASTS, VARIABLES, minimum_n=5
    )
    validate_table(design, "matrix_design")
    validate_table(moments, "matrix_moments")
    assert moments.height == FEATURES - 1  # five patients do not make two groups
    x = sm.add_constant(
        np.column_stack(
            [
                (clinical["stage"] == "high").cast(float),
                (clinical["sex"] == "male").cast(float),
                clinical["age"].fill_null(np.nan),
            ]
        )
    )
    for feature in (0, 5, 8, 11):
        known = np.isfinite(values[feature]) & np.isfinite(x).all(axis=1)
        reference = sm.OLS(values[feature][known], x[known]).fit()
        effect, residual = coefficients(design, moments, f"P{feature:05d}")
        assert effect == pytest.approx(reference.params[1], abs=1e-9)
        assert residual == pytest.approx(reference.ssr, rel=1e-8)
        assert moments.filter(feature=f"P{feature:05d}")["n"].item() == known.sum()
    assert coefficients(design, moments, "P00000")[0] == pytest.approx(EFFECT, abs=0.7)


def test_features_of_the_same_patients_share_a_design(cohort):
    matrix, clinical, _ = cohort
    design, moments = build_matrix_moments({"protein": matrix}, clinical, CONTRASTS, VARIABLES, 5)
    patterns = dict(moments.select("feature", "pattern").iter_rows())
    groups = {}
    for feature, pattern in patterns.items():
        groups.setdefault(pattern, set()).add(int(feature[1:]))
    assert groups == {1: {0, 1, 2, 3, 10, 11}, 2: {4, 5, 6, 7}, 3: {8}}
    assert design["pattern"].unique().sort().to_list() == [1, 2, 3]
    assert design.height == 3 * 4 * 4
    assert moments.group_by("pattern").agg(pl.col("n").n_unique())["n"].to_list() == [1, 1, 1]


def test_patterns_without_groups_are_left_out_with_a_reason(cohort, caplog):
    matrix, clinical, _ = cohort
    design, moments = build_matrix_moments({"protein": matrix}, clinical, CONTRASTS, VARIABLES, 31)
    assert "protein, contrast stage: 4 features: a group has" in caplog.text
    assert set(moments["feature"]) == {f"P{i:05d}" for i in (0, 1, 2, 3, 8, 10, 11)}
    assert set(design["pattern"]) == set(moments["pattern"])


def test_labels(cohort):
    matrix, clinical, _ = cohort
    _, moments = build_matrix_moments({"protein": matrix}, clinical, CONTRASTS, VARIABLES, 5)
    first, second = moments.sort("feature").head(2).rows(named=True)
    assert (first["feature_name"], first["gene_id"]) == ("P00000", None)
    assert (second["feature_name"], second["gene_id"]) == ("protein 1", "ENSG00000000001")


def test_complete_log_counts_give_the_moments_of_expression():
    rng = np.random.default_rng(5)
    patients = [f"p{i}" for i in range(50)]
    counts = rng.negative_binomial(20, 0.02, (6, 50)).astype(float)
    clinical = pl.DataFrame(
        {
            "patient": patients,
            "stage": rng.choice(["low", "high"], 50),
            "sex": rng.choice(["female", "male"], 50),
            "age": rng.normal(68, 9, 50),
        }
    )
    ids = [f"ENSG{i:011d}" for i in range(6)]
    table = pl.DataFrame({"gene_id": ids, "gene_name": ids}).hstack(
        pl.DataFrame(counts, schema=patients)
    )
    matrix = pl.DataFrame({"feature": ids, "feature_name": ids, "gene_id": ids}).hstack(
        pl.DataFrame(log2_cpm(counts), schema=patients)
    )
    theirs = build_expression_moments(table, clinical, CONTRASTS, VARIABLES, 5)
    ours = build_matrix_moments({"metabolite": matrix}, clinical, CONTRASTS, VARIABLES, 5)
    assert ours[0].drop("assay", "pattern").equals(theirs[0])
    shared = ["contrast", "gene_id", "n", "terms", "xty", "yty"]
    assert ours[1].select(shared).equals(theirs[1].select(shared))


def test_assays_stand_side_by_side_and_may_be_empty(cohort):
    matrix, clinical, _ = cohort
    both = build_matrix_moments(
        {"protein": matrix, "methylation": matrix.clear()}, clinical, CONTRASTS, VARIABLES, 5
    )
    alone = build_matrix_moments({"protein": matrix}, clinical, CONTRASTS, VARIABLES, 5)
    assert all(a.equals(b) for a, b in zip(both, alone, strict=True))
    nobody = build_matrix_moments(
        {"protein": matrix.select("feature", "feature_name", "gene_id")},
        clinical,
        CONTRASTS,
        VARIABLES,
        5,
    )
    assert all(table.is_empty() for table in nobody)
    assert all(t.is_empty() for t in build_matrix_moments({}, clinical, CONTRASTS, VARIABLES, 5))


def test_unknown_assays_and_infinite_values_are_refused(cohort):
    matrix, clinical, _ = cohort
    with pytest.raises(InputError, match="'lipids' is no assay"):
        build_matrix_moments({"lipids": matrix}, clinical, CONTRASTS, VARIABLES, 5)
    infinite = matrix.with_columns(p4=pl.Series([*[1.0] * 5, -np.inf, *[1.0] * 6]))
    with pytest.raises(InputError, match="infinite") as caught:
        build_matrix_moments({"protein": infinite}, clinical, CONTRASTS, VARIABLES, 5)
    assert caught.value.problems[0].row == 6


@pytest.mark.parametrize(
    ("term", "coded"),
    [
        ("site:protein_plate=plate_12", True),
        ("site:methylation_batch=batch_rare", True),
        ("stage=high", True),
        ("site:protein_plate=run of Dr. Smith", False),
        ("site:plate=plate_1", False),
    ],
)
def test_names_of_plates_are_refused_by_the_contract(cohort, term, coded):
    matrix, clinical, _ = cohort
    tables = build_matrix_moments({"protein": matrix}, clinical, CONTRASTS, VARIABLES, 5)
    named = {"sex=male": term}
    design = tables[0].with_columns(pl.col("row_term", "column_term").replace(named))
    moments = tables[1].with_columns(pl.col("terms").list.eval(pl.element().replace(named)))
    for table, name in ((design, "matrix_design"), (moments, "matrix_moments")):
        if coded:
            validate_table(table, name)
            continue
        with pytest.raises(InputError, match="are codes of plates and batches"):
            validate_table(table, name)


def test_only_the_commonest_patterns_are_built(cohort, caplog):
    """Sixty features that one patient each lacks, and three that two patients lack."""
    _, clinical, _ = cohort
    values = np.random.default_rng(1).normal(20, 1, (63, N))
    others = [i for i in range(N) if i != 2][:60]  # p2 is in no model
    values[range(60), others] = np.nan
    values[60:, 70:72] = np.nan
    names = [f"F{i:02d}" for i in range(63)]
    matrix = (
        pl.DataFrame({"feature": names, "feature_name": names})
        .with_columns(gene_id=pl.lit(None, dtype=pl.String))
        .hstack(pl.DataFrame(values, schema=clinical["patient"].to_list()).fill_nan(None))
    )
    _, moments = build_matrix_moments({"protein": matrix}, clinical, CONTRASTS, VARIABLES, 5)
    assert moments["pattern"].n_unique() == MAXIMUM_PATTERNS_BUILT
    assert set(moments.filter(pattern=1)["feature"]) == {"F60", "F61", "F62"}
    assert moments.height == MAXIMUM_PATTERNS_BUILT + 2
    assert "11 features: not among the 50 commonest patterns" in caplog.text
