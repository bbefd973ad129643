"""Moments and normalisation against statsmodels and hand calculation."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from ihdsi.expression.moments import linear_moments
from ihdsi.expression.normalisation import expressed_genes, log2_cpm
from ihdsi.summaries.expression_moments import build_expression_moments
from stage_contrast import CONTRASTS, VARIABLES


def site(seed, n, smoking=("never", "former", "current")):
    rng = np.random.default_rng(seed)
    patients = [f"p{seed}_{i}" for i in range(n)]
    clinical = pl.DataFrame(
        {
            "patient": patients,
            "stage": rng.choice(["low", "high"], n),
            "smoking": rng.choice(list(smoking), n),
            "age": rng.normal(68, 9, n),
        }
    )
    counts = pl.DataFrame(
        {
            "gene_id": [f"ENSG{i:011d}" for i in range(8)],
            "gene_name": [f"G{i}" for i in range(8)],
            **{p: rng.negative_binomial(5, 0.01, 8) for p in patients},
        }
    )
    return counts, clinical


def test_log2_cpm_is_vooms():
    counts = np.array([[0.0, 9.0], [99.0, 1.0]])
    expected = np.log2(
        np.array([[0.5 / 100 * 1e6, 9.5 / 11 * 1e6], [99.5 / 100 * 1e6, 1.5 / 11 * 1e6]])
    )
    np.testing.assert_allclose(log2_cpm(counts), expected)


def test_expressed_genes_counts_patients_with_ten_reads():
    counts = np.array([[10, 10, 0], [9, 10, 9], [1000, 0, 0]])
    assert expressed_genes(counts, 2).tolist() == [True, False, False]


def test_coefficients_equal_least_squares_of_each_gene():
    rng = np.random.default_rng(0)
    design = np.column_stack([np.ones(40), rng.integers(0, 2, 40), rng.normal(size=40)])
    responses = rng.normal(8, 2, (5, 40))
    xtx, xty, yty = linear_moments(design, responses)
    coefficients = np.linalg.solve(xtx, xty.T).T
    residual = yty - (coefficients * xty).sum(axis=1)
    for g in range(5):
        reference = sm.OLS(responses[g], design).fit()
        np.testing.assert_allclose(coefficients[g], reference.params, atol=1e-10)
        assert residual[g] == pytest.approx(reference.ssr, rel=1e-9)


def stacked(tables, terms):
    """Sum moments over sites by term, with one intercept a site."""
    names = [f"intercept{s}" for s in range(len(tables))] + terms
    xtx, xty = np.zeros((len(names), len(names))), np.zeros((8, len(names)))
    for number, (design, moments) in enumerate(tables):

        def place(term, number=number):
            return names.index(f"intercept{number}" if term == "intercept" else term)

        for row, column, value in design.select("row_term", "column_term", "value").iter_rows():
            xtx[place(row), place(column)] += value
        order = [place(term) for term in moments["terms"][0]]
        xty[:, order] += np.array(moments["xty"].to_list())
    return xtx, xty, names


def test_sums_over_sites_equal_the_pooled_fit_with_site_intercepts():
    # The second site has nobody in the reference group of smoking, the third nobody in another.
    cohorts = [site(1, 50), site(2, 45, ("former", "current")), site(3, 40, ("never", "former"))]
    tables = [build_expression_moments(c, k, CONTRASTS, VARIABLES, 5) for c, k in cohorts]
    assert all(moments.height == 8 for _, moments in tables)
    terms = ["case", "smoking=former", "smoking=current", "age"]
    xtx, xty, names = stacked(tables, terms)
    ours = np.linalg.lstsq(xtx, xty.T, rcond=None)[0].T[:, names.index("case")]

    clinical = pl.concat([k.with_columns(site=pl.lit(s)) for s, (_, k) in enumerate(cohorts)])
    design = np.column_stack(
        [
            *((clinical["site"] == s).cast(float) for s in range(3)),
            (clinical["stage"] == "high").cast(float),
            (clinical["smoking"] == "former").cast(float),
            (clinical["smoking"] == "current").cast(float),
            clinical["age"],
        ]
    )
    y = np.hstack([log2_cpm(c.drop("gene_id", "gene_name").to_numpy()) for c, _ in cohorts])
    reference = [sm.OLS(row, design).fit().params[3] for row in y]
    np.testing.assert_allclose(ours, reference, atol=1e-10)


def test_small_groups_are_skipped_with_a_reason(caplog):
    counts, clinical = site(4, 30)
    design, moments = build_expression_moments(counts, clinical, CONTRASTS, VARIABLES, 29)
    assert design.is_empty()
    assert moments.is_empty()
    assert "fewer than 29" in caplog.text


def test_a_covariate_that_equals_the_contrast_is_rank_deficient(caplog):
    counts, clinical = site(5, 40)
    clinical = clinical.with_columns(
        smoking=pl.when(pl.col("stage") == "high").then(pl.lit("former")).otherwise(pl.lit("never"))
    )
    design, _ = build_expression_moments(counts, clinical, CONTRASTS, VARIABLES, 5)
    assert design.is_empty()
    assert "rank deficient: smoking=former is determined by case\n" in caplog.text


def test_features_that_are_no_ensembl_genes_are_left_out(caplog):
    counts, clinical = site(6, 40)
    counts = counts.with_columns(gene_id=pl.lit("ENSG00000000001.4")).head(1).vstack(counts[1:])
    _, moments = build_expression_moments(counts, clinical, CONTRASTS, VARIABLES, 5)
    assert moments.height == 7
    assert "1 of 8 features" in caplog.text
