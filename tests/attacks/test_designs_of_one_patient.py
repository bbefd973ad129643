"""Attacks on one patient, or few, through the design of a single contrast.

Two covariates that are the same but in one patient span this patient; a covariate of few values
that the study calls a number is a group whose cells X'X holds. Each attack succeeds with its rule
off and fails with it on.
"""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control, contributions, judge_features
from ihdsi.expression.normalisation import log2_cpm
from ihdsi.study import (
    ClinicalDictionary,
    ClinicalVariable,
    Contrast,
    DisclosureSettings,
    Study,
)
from ihdsi.summaries.design import INTERCEPT, contrast_design, leverage, refusal
from ihdsi.summaries.expression_effects import estimate_expression_effects
from ihdsi.summaries.expression_moments import build_expression_moments
from ihdsi.summaries.matrix_moments import build_matrix_moments

SETTINGS = DisclosureSettings()
OFF = SETTINGS.model_copy(update={"maximum_contribution": 1.0})
N, GENES = 80, 20
PATIENTS = [f"p{i}" for i in range(N)]
NUMBER = ClinicalVariable(type="number", unit="1")
VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    "kit": ClinicalVariable(type="categorical", levels=("A", "B")),
    "hiv": ClinicalVariable(type="categorical", levels=("negative", "positive")),
    **dict.fromkeys(("age", "sampling", "year", "ecog"), NUMBER),
}
AGE = np.random.default_rng(3).normal(65, 9, N).round(1)
INDEX = np.arange(N)
CLINICAL = pl.DataFrame(
    {
        "patient": PATIENTS,
        "stage": np.where(INDEX % 2, "high", "low"),
        "age": AGE,
        "sampling": AGE + 2.5 * (INDEX == 7),
        "kit": np.where(INDEX % 4 < 2, "B", "A"),
        "year": 2019.0 + ((INDEX % 4 < 2) & (INDEX != 4)),
        # HIV is positive where ECOG is 0, but in three patients.
        "hiv": np.where(INDEX % 4 < 2, "positive", "negative"),
        "ecog": 1.0 * ((INDEX % 4 >= 2) | np.isin(INDEX, (4, 8, 13))),
    }
)


def counts():
    matrix = np.random.default_rng(1).negative_binomial(4, 0.02, (GENES, N))
    labels = {"gene_id": [f"ENSG{g:011d}" for g in range(GENES)], "gene_name": "g"}
    return pl.DataFrame(labels | dict(zip(PATIENTS, matrix.T, strict=True)))


def contrast_with(*covariates):
    return {
        "invasion": Contrast(variable="stage", case="high", control="low", covariates=covariates)
    }


def released(covariates, settings, builder_settings=None):
    """Design and moments of expression that leave, and the rules that withhold others."""
    contrasts = contrast_with(*covariates)
    study = Study.model_construct(
        contrasts=contrasts,
        endpoints={},
        strata=(),
        clinical=ClinicalDictionary(variables=VARIABLES),
    )
    expression = counts()
    design, moments = build_expression_moments(
        expression,
        CLINICAL,
        contrasts,
        VARIABLES,
        settings.minimum_n,
        (builder_settings or settings).maximum_contribution,
    )
    features = judge_features(study, settings, {"clinical": CLINICAL, "counts": expression})
    tables, log = apply_disclosure_control(
        {"expression_design": design, "expression_moments": moments},
        settings,
        [],
        {"invasion": 4},
        features=features,
    )
    rules = set(log.filter(table="expression_design")["rule"])
    return tables["expression_design"], tables["expression_moments"].sort("gene_id"), rules


def products(design):
    """Entries of X'X by their terms."""
    rows = design.select("row_term", "column_term", "value").iter_rows()
    return {(row, column): value for row, column, value in rows}


def profile_of_the_patient(design, moments, one, other):
    """Read the log2-CPM of the patient in whom two columns differ (both signs of the difference).

    The difference of the columns, about its mean, is d (e − 1/N) with e the patient's unit vector.
    """
    xtx = products(design)
    terms = moments["terms"][0].to_list()
    xty = {term: moments["xty"].list.get(terms.index(term)).to_numpy() for term in terms}
    share = xtx[INTERCEPT, one] / N
    squares = (
        xtx[one, one] - N * share**2 - 2 * xtx[one, other] + xtx[other, other]
    )  # of numbers centred by the site
    size = np.sqrt(squares / (1 - 1 / N))
    mean = xty[INTERCEPT] / N
    product = xty[one] - share * N * mean - xty[other]
    return [sign * product / size + mean for sign in (1, -1)]


@pytest.mark.parametrize(
    ("covariates", "columns", "patient"),
    [
        (("age", "sampling"), ("sampling", "age"), 7),
        (("kit", "year"), ("kit=B", "year"), 4),
    ],
)
def test_covariates_that_differ_in_one_patient_tell_the_patients_expression(
    covariates, columns, patient, monkeypatch
):
    truth = log2_cpm(counts().drop("gene_id", "gene_name").to_numpy())[:, patient]
    with monkeypatch.context() as off:
        off.setattr(contributions, "few_valued_cells_safe", lambda *_: True)
        design, moments, _ = released(covariates, OFF)
    assert moments.height == GENES
    found = profile_of_the_patient(design, moments, *columns)
    assert min(np.abs(values - truth).max() for values in found) < 1e-6
    # Neither is the model fitted,
    design, moments, rules = released(covariates, SETTINGS)
    assert (design.height, moments.height, rules) == (0, 0, set())
    # nor does it leave if it is.
    design, moments, rules = released(covariates, SETTINGS, builder_settings=OFF)
    assert (design.height, moments.height, rules) == (0, 0, {"leverage"})


def test_the_refusal_names_covariates_that_the_study_can_drop(caplog):
    design = contrast_design(
        CLINICAL, PATIENTS, contrast_with("age", "sampling", "hiv")["invasion"], VARIABLES, True
    )
    reason = refusal(design, 10)
    assert reason.endswith("without age or sampling")
    assert refusal(design, 10, maximum_contribution=1.0) is None
    contrasts = contrast_with("age", "sampling")
    assert estimate_expression_effects(counts(), CLINICAL, contrasts, VARIABLES, 10).is_empty()
    values = np.random.default_rng(5).normal(20, 1, (1, N))
    labels = pl.DataFrame(
        {"feature": ["F"], "feature_name": ["F"], "gene_id": [None]},
        schema_overrides={"gene_id": pl.String},
    )
    matrix = labels.hstack(pl.DataFrame(values, schema=PATIENTS, orient="row"))
    tables = build_matrix_moments({"protein": matrix}, CLINICAL, contrasts, VARIABLES, 10)
    assert all(table.is_empty() for table in tables)
    assert caplog.text.count("without age or sampling") == 2


def test_a_level_of_one_patient_does_not_cost_the_site_its_effects():
    """No sum of the design leaves; the effect of the case does not depend on the patient."""
    alone = CLINICAL.with_columns(
        hiv=pl.when(pl.int_range(N) == 0).then(pl.lit("positive")).otherwise(pl.lit("negative"))
    )
    fitted = contrast_design(
        alone, PATIENTS, contrast_with("hiv", "age")["invasion"], VARIABLES, True
    )
    assert leverage(fitted.matrix).max() == pytest.approx(1)
    assert refusal(fitted, 10) is None
    # A patient who alone tells cases from controls is the effect, whatever the sizes of groups.
    same = alone.with_columns(
        kit=pl.when(pl.col("stage") == "high")
        .then(pl.lit("B"))
        .otherwise(pl.when(pl.int_range(N) == 2).then(pl.lit("B")).otherwise(pl.lit("A")))
    )
    fitted = contrast_design(
        same, PATIENTS, contrast_with("hiv", "kit")["invasion"], VARIABLES, True
    )
    reason = refusal(fitted, 10)
    assert "the difference between cases and controls" in reason
    assert reason.endswith("without kit")


@pytest.mark.parametrize("n", [20, 30, 40, 60])
def test_ordinary_designs_leave(n):
    rng = np.random.default_rng(n)
    covariates = ("hiv",) if n == 20 else ("hiv", "kit", "age", "sampling")
    passed = 0
    for _ in range(40):
        ordinary = pl.DataFrame(
            {
                "patient": PATIENTS[:n],
                "stage": np.where(np.arange(n) % 2, "high", "low"),
                "hiv": rng.choice(["positive", "negative"], n, p=[0.2, 0.8]),
                "kit": rng.choice(["A", "B"], n),
                "age": rng.normal(68, 9, n).round(1),
                "sampling": rng.normal(26, 4, n).round(1),
            }
        )
        contrast = contrast_with(*covariates)["invasion"]
        design = contrast_design(ordinary, PATIENTS[:n], contrast, VARIABLES, True)
        passed += refusal(design, 10) is None
    assert passed >= 39


def test_leverage_is_the_diagonal_of_the_hat_matrix():
    rng = np.random.default_rng(2)
    matrix = np.column_stack([np.ones(30), rng.normal(size=(30, 4)) * [1, 1e-6, 1e6, 1]])
    scaled = matrix / np.abs(matrix).max(axis=0)
    expected = np.diag(scaled @ np.linalg.pinv(scaled))
    assert np.allclose(leverage(matrix), expected)
    # Columns that are sums of others, or empty, add nothing.
    more = np.column_stack([matrix, matrix[:, :2].sum(axis=1), np.zeros(30)])
    assert np.allclose(leverage(more), expected)
    assert leverage(matrix).sum() == pytest.approx(5)


def cell_of_hiv_and_ecog(design):
    """Patients who are HIV-positive and have ECOG 1, from X'X: numbers are centred."""
    xtx = products(design)
    # k (N − k) / N is the sum of squares of an indicator of k patients.
    sizes = [k for k in range(N + 1) if abs(k * (N - k) / N - xtx["ecog", "ecog"]) < 1e-6]
    positive = xtx["hiv=positive", INTERCEPT]
    return [xtx["hiv=positive", "ecog"] + positive * k / N for k in sizes]


def test_the_cells_of_a_number_with_two_values(monkeypatch):
    truth = CLINICAL.filter(hiv="positive", ecog=1).height
    assert truth == 3
    with monkeypatch.context() as off:
        off.setattr(contributions, "few_valued_cells_safe", lambda *_: True)
        design, moments, _ = released(("hiv", "ecog"), SETTINGS)
    assert moments.height > 0
    assert min(abs(cell - truth) for cell in cell_of_hiv_and_ecog(design)) < 1e-6
    design, moments, rules = released(("hiv", "ecog"), SETTINGS)
    assert (design.height, moments.height, rules) == (0, 0, {"cells_of_few_values"})
    # Where every cell has enough patients it leaves.
    assert released(("kit", "age"), SETTINGS)[1].height > 0


@pytest.mark.parametrize(
    ("cells", "safe"),
    [
        ([[10, 10], [10, 10]], True),
        ([[5, 15], [15, 5]], True),
        ([[4, 16], [16, 4]], False),
        ([[20, 0], [10, 10]], False),
        ([[10, 10], [10, 10], [5, 5]], True),
        ([[10, 10], [10, 10], [4, 0]], False),
    ],
)
def test_cells_of_few_values_are_counted(cells, safe):
    """Values (rows) by level; the case is spread evenly."""
    rows = [(v, k) for v, line in enumerate(cells) for k, n in enumerate(line) for _ in range(n)]
    frame = pl.DataFrame(
        {
            "patient": [f"q{i}" for i in range(len(rows))],
            "ecog": [float(v) for v, _ in rows],
            "hiv": [("negative", "positive")[k] for _, k in rows],
        }
    ).with_columns(stage=pl.col("hiv").replace({"negative": "low", "positive": "high"}))
    contrast = contrast_with("ecog")["invasion"]
    design = contrast_design(frame, frame["patient"].to_list(), contrast, VARIABLES, False)
    assert contributions.few_valued_cells_safe(design, SETTINGS) == safe
    zeros = SETTINGS.model_copy(update={"zero_cells_allowed": True})
    allowed = all(n == 0 or n >= 5 for line in cells for n in line)
    allowed &= all(sum(line) >= 5 for line in cells)
    assert contributions.few_valued_cells_safe(design, zeros) == allowed
