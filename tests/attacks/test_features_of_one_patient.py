"""Attacks on one patient through a feature that the other patients hardly have.

The attacker has the released tables and knows what level the others have: nothing, a limit of
detection, or the level of a control. Each attack succeeds on the summaries and fails on what
control leaves of them, and ordinary features leave.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control, judge_features
from ihdsi.expression.normalisation import expressed_genes, median_of_ratios
from ihdsi.simulate.cohort import DEMO_SITES
from ihdsi.simulate.genome import gene_list, read_gene_panel
from ihdsi.simulate.patients import simulate_cohort
from ihdsi.study import (
    ClinicalDictionary,
    ClinicalVariable,
    Contrast,
    DisclosureSettings,
    Study,
)
from ihdsi.summaries.cell_composition import build_cell_composition
from ihdsi.summaries.cell_expression_effects import estimate_cell_expression_effects
from ihdsi.summaries.expression_effects import estimate_expression_effects
from ihdsi.summaries.expression_moments import build_expression_moments
from ihdsi.summaries.matrix_moments import build_matrix_moments

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5)
N, GENES = 80, 60
VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    "age": ClinicalVariable(type="number", unit="a"),
}
CONTRASTS = {
    "invasion": Contrast(variable="stage", case="high", control="low", covariates=("age",))
}
PLANTED, CONTROL = "ENSG00000000000", "ENSG00000000001"
PATIENTS = [f"p{i}" for i in range(N)]
CLINICAL = pl.DataFrame(
    {
        "patient": PATIENTS,
        "stage": ["high" if i % 2 else "low" for i in range(N)],
        "age": np.random.default_rng(4).normal(68, 9, N).round(1),
    }
)
STUDY = Study.model_construct(
    contrasts=CONTRASTS,
    endpoints={},
    strata=(),
    clinical=ClinicalDictionary(variables=VARIABLES),
)


def gene_counts(reads):
    """Counts of a gene that the first patient alone has more of, and of a control in everybody."""
    matrix = np.random.default_rng(11).negative_binomial(4, 0.02, (GENES, N))
    matrix[:2] = 12
    matrix[0, 0] = reads
    labels = {"gene_id": [f"ENSG{g:011d}" for g in range(GENES)], "gene_name": "g"}
    return pl.DataFrame(labels | dict(zip(PATIENTS, matrix.T, strict=True)))


def cleared(features, settings=SETTINGS, **tables):
    return apply_disclosure_control(tables, settings, [], {"invasion": 3}, features=features)


def rules_of(log, table, feature):
    rows = log.filter(pl.col("table") == table, pl.col("key").str.contains(f'"{feature}"'))
    return rows["rule"].to_list()


def log2_ratio(moments):
    """Planted less control: the sum over patients in which all but the first cancel out."""
    xty = dict(moments.select("gene_id", pl.col("xty").list.first()).iter_rows())
    return xty[PLANTED] - xty[CONTROL] if {PLANTED, CONTROL} <= set(xty) else None


def test_sums_over_a_gene_that_one_patient_has():
    counts = gene_counts(3000)
    design, moments = build_expression_moments(counts, CLINICAL, CONTRASTS, VARIABLES, 10)
    assert 12.5 * 2 ** log2_ratio(moments) - 0.5 == pytest.approx(3000)
    features = judge_features(STUDY, SETTINGS, {"clinical": CLINICAL, "counts": counts})
    released, log = cleared(features, expression_design=design, expression_moments=moments)
    assert log2_ratio(released["expression_moments"]) is None
    left = set(released["expression_moments"]["gene_id"])
    assert left == set(counts["gene_id"]) - {PLANTED, CONTROL}
    assert rules_of(log, "expression_moments", PLANTED) == ["commonest_value"]


@pytest.mark.parametrize("cells", [False, True])
def test_the_mean_of_a_gene_that_one_patient_has(cells):
    counts = gene_counts(3000)
    if cells:
        name, pseudobulk = "cell_expression_effects", {"T cell": counts}
        table = estimate_cell_expression_effects(pseudobulk, CLINICAL, CONTRASTS, VARIABLES, 10)
        features = judge_features(STUDY, SETTINGS, {"clinical": CLINICAL, "pseudobulk": pseudobulk})
    else:
        name = "expression_effects"
        table = estimate_expression_effects(counts, CLINICAL, CONTRASTS, VARIABLES, 10)
        features = judge_features(STUDY, SETTINGS, {"clinical": CLINICAL, "counts": counts})
    mean = dict(table.select("gene_id", "base_mean").iter_rows())
    found = N * (mean[PLANTED] - mean[CONTROL]) + 12
    factors = median_of_ratios(counts.drop("gene_id", "gene_name").to_numpy().astype(float))
    assert found * factors[0] == pytest.approx(3000, rel=0.01)
    released, log = cleared(features, **{name: table})
    left = set(released[name]["gene_id"])
    assert left == set(counts["gene_id"]) - {PLANTED}
    assert rules_of(log, name, PLANTED) == ["dominance"]


def test_the_mean_of_a_group_in_which_one_patient_has_a_gene():
    """The cases have the gene as well, so that it is the mean of the controls that tells."""
    rng = np.random.default_rng(1)
    matrix = rng.negative_binomial(4, 0.02, (GENES, N))
    case = (CLINICAL["stage"] == "high").to_numpy()
    matrix[0] = np.where(case, 10 + rng.negative_binomial(10, 0.05, N), 5)
    matrix[0, 0] = 3000
    labels = {"gene_id": [f"ENSG{g:011d}" for g in range(GENES)], "gene_name": "g"}
    counts = pl.DataFrame(labels | dict(zip(PATIENTS, matrix.T, strict=True)))
    table = estimate_expression_effects(counts, CLINICAL, CONTRASTS, VARIABLES, 10)
    row = table.row(0, named=True)
    ratio = 2 ** row["log2_fold_change"]
    of_controls = N * row["base_mean"] / (1 + ratio) - 5 * (~case).sum()
    factor = median_of_ratios(matrix.astype(float))[0]
    assert of_controls * factor == pytest.approx(3000, rel=0.3)
    assert 3000 / factor < 0.5 * N * row["base_mean"]
    features = judge_features(STUDY, SETTINGS, {"clinical": CLINICAL, "counts": counts})
    released, log = cleared(features, expression_effects=table)
    assert PLANTED not in set(released["expression_effects"]["gene_id"])
    assert rules_of(log, "expression_effects", PLANTED) == ["dominance"]


def matrix_of(values):
    return pl.DataFrame(
        {"feature": ["F1", "F2"], "feature_name": ["F1", "F2"], "gene_id": [None, None]},
        schema_overrides={"gene_id": pl.String},
    ).hstack(pl.DataFrame(values, schema=PATIENTS))


def released_protein(values):
    """X'y of the first protein as built and as cleared, and the rules that withhold it."""
    other = np.random.default_rng(5).normal(20, 1, N)
    matrices = {"protein": matrix_of(np.stack([values, other]))}
    design, moments = build_matrix_moments(matrices, CLINICAL, CONTRASTS, VARIABLES, 10)
    features = judge_features(STUDY, SETTINGS, {"clinical": CLINICAL, "matrices": matrices})
    released, log = cleared(features, matrix_design=design, matrix_moments=moments)
    assert "F2" in set(released["matrix_moments"]["feature"])
    before, after = (t.filter(feature="F1") for t in (moments, released["matrix_moments"]))
    return before["xty"][0], after["xty"].to_list(), rules_of(log, "matrix_moments", "F1")


def test_sums_over_a_protein_above_its_limit_of_detection_in_one_patient():
    limit, value = 15.0, 24.3
    values = np.full(N, limit)
    values[0] = value
    xty, released, rules = released_protein(values)
    assert xty[0] - (N - 1) * limit == pytest.approx(value)
    assert (released, rules) == ([], ["commonest_value"])


def test_sums_over_a_protein_that_the_others_have_about_as_much_of():
    values = np.random.default_rng(6).normal(15, 0.01, N)
    values[0] = 24.3
    xty, released, rules = released_protein(values)
    assert xty[0] - (N - 1) * 15 == pytest.approx(24.3, abs=0.5)
    assert (released, rules) == ([], ["dominance"])


def test_sums_over_a_group_in_which_one_patient_has_a_protein():
    """The others of the group have its limit of detection; the other group hides them."""
    values = np.random.default_rng(7).normal(20, 2, N)
    case = (CLINICAL["stage"] == "high").to_numpy()
    values[case] = 15.0
    values[1] = 24.3
    xty, released, rules = released_protein(values)
    assert xty[1] - (case.sum() - 1) * 15 == pytest.approx(24.3)
    assert (released, rules) == ([], ["commonest_value"])
    # Nor where the others are only near it.
    values[case] += np.random.default_rng(8).normal(0, 0.01, case.sum())
    assert released_protein(values)[1:] == ([], ["dominance_of_several"])


@pytest.mark.parametrize(("apart", "left"), [(9, 0), (10, 1)])
def test_a_feature_above_the_commonest_value_in_enough_patients_leaves(apart, left):
    values = np.full(N, 15.0)
    values[np.r_[: 2 * apart : 2]] = 20 + np.random.default_rng(9).normal(0, 0.5, apart)
    values[1 : 2 * apart : 2] = 20 + np.random.default_rng(10).normal(0, 0.5, apart)
    # So many cases and so many controls have it.
    _, released, rules = released_protein(values)
    assert len(released) == left
    assert rules == ([] if left else ["commonest_value"])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, ["dominance"]),
        ({"maximum_contribution": 1.0}, ["dominance_of_several"]),
        ({"maximum_contribution": 1.0, "dominance_k": 1.0}, ["p_ratio"]),
        ({"maximum_contribution": 1.0, "dominance_k": 1.0, "p_ratio": 0.0}, []),
    ],
)
def test_a_mean_share_that_two_donors_make_up(change, rule):
    shares = np.zeros((60, 5))
    shares[:, :4] = np.random.default_rng(3).dirichlet([8.0] * 4, 60)
    # Each of the two has half of all; the others have next to nothing.
    shares[:2] *= 0.7
    shares[:2, 4] = 0.3
    shares[2:, 4] = 1e-4
    counts = pl.DataFrame(
        {"patient": [f"p{i}" for i in range(60)]}
        | {name: np.rint(1e6 * shares[:, i]).astype(int) for i, name in enumerate("abcde")}
    )
    table = build_cell_composition(counts, None, [])
    row = table.filter(cell_type="e")
    assert (row["n_donors"] * row["mean"])[0] - 0.3 == pytest.approx(0.3, abs=0.01)
    released, log = cleared(None, SETTINGS.model_copy(update=change), cell_composition=table)
    assert ("e" in set(released["cell_composition"]["cell_type"])) is not bool(rule)
    assert rules_of(log, "cell_composition", "e") == rule


def test_features_that_nobody_judged_do_not_leave():
    counts = gene_counts(12)
    design, moments = build_expression_moments(counts, CLINICAL, CONTRASTS, VARIABLES, 10)
    tables = {"expression_design": design, "expression_moments": moments}
    ordinary = pl.col("gene_id").is_in([PLANTED, CONTROL]).not_()
    tables["expression_moments"] = moments.filter(ordinary)
    released, log = cleared(None, **tables)
    assert released["expression_moments"].is_empty()
    assert released["expression_design"].is_empty()
    assert set(log["rule"]) == {"contributions_not_judged", "design_withheld"}
    # Nor those that were judged on other patients.
    fewer = {"clinical": CLINICAL.head(N - 1), "counts": counts}
    released, log = cleared(judge_features(STUDY, SETTINGS, fewer), **tables)
    assert released["expression_moments"].is_empty()
    assert set(log["rule"]) == {"contributions_not_judged", "design_withheld"}


@pytest.fixture(scope="module")
def demo():
    """Counts and clinical table of each site of the demonstration, of all its simulated genes."""
    panel = read_gene_panel(Path(__file__).parents[2] / "resources/bladder_gene_panel.tsv")
    cohort = simulate_cohort(20260401, gene_list(panel), DEMO_SITES)
    genes = cohort.parameters.select("gene_id", "gene_name")
    sites = {}
    for (site,), rows in cohort.patients.with_row_index("row").group_by("site"):
        fragments = cohort.expression.fragments[rows["row"].to_numpy()]
        sites[site] = (rows, genes, fragments)
    return sites


def test_ordinary_genes_leave(demo):
    """Of the demonstration's genes only those leave not of which one patient has hardly a read."""
    study = Study.model_construct(
        contrasts={
            "invasion": Contrast(
                variable="stage_group", case="MIBC", control="NMIBC", covariates=("sex", "age")
            )
        },
        clinical=ClinicalDictionary(
            variables={
                "stage_group": ClinicalVariable(type="categorical", levels=("NMIBC", "MIBC")),
                "sex": ClinicalVariable(type="categorical", levels=("female", "male")),
                "age": ClinicalVariable(type="number", unit="a"),
            }
        ),
    )
    for patients, genes, fragments in demo.values():
        numbered = [f"ENSG{i:011d}" for i in range(genes.height)]
        counts = genes.with_columns(gene_id=pl.Series(numbered)).hstack(
            pl.DataFrame(fragments.T, schema=patients["patient"].to_list())
        )
        frames = {"clinical": patients.drop("row", "site"), "counts": counts}
        features = judge_features(study, SETTINGS, frames)
        in_ten = expressed_genes(fragments.T, SETTINGS.minimum_n).sum()
        found = dict(features.group_by("table").len().iter_rows())
        assert in_ten >= found["expression_moments"] == found["expression_effects"] > 280
        withheld = features.filter(pl.col("feature_rule").is_not_null())
        assert set(withheld["table"]) <= {"expression_moments"}
        assert withheld.height <= 2
        for gene in withheld["feature"]:
            reads = np.sort(fragments[:, numbered.index(gene)])
            assert reads[0] < np.median(reads) / 10
