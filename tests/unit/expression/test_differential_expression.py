"""The site's estimates are PyDESeq2's."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pydeseq2.dds import DeseqDataSet
from pydeseq2.default_inference import DefaultInference
from pydeseq2.ds import DeseqStats

from ihdsi.expression.normalisation import median_of_ratios
from ihdsi.study import ClinicalVariable, Contrast
from ihdsi.summaries import validate_table
from ihdsi.summaries.expression_effects import estimate_expression_effects

VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    "sex": ClinicalVariable(type="categorical", levels=("female", "male")),
    "age": ClinicalVariable(type="number", unit="a"),
}
CONTRASTS = {
    "stage": Contrast(variable="stage", case="high", control="low", covariates=("sex", "age"))
}
TRUTH = np.r_[np.full(10, 2.0), np.zeros(50)]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(7)
    n = 44
    clinical = pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "stage": ["high"] * 22 + ["low"] * 22,
            "sex": rng.choice(["female", "male"], n),
            "age": rng.normal(68, 9, n),
        }
    ).with_columns(age=pl.when(pl.col("patient") == "p43").then(None).otherwise("age"))
    mean = rng.lognormal(5, 1, (60, 1)) * 2 ** (TRUTH[:, None] * (np.arange(n) < 22))
    counts = pl.DataFrame(
        {
            "gene_id": [f"ENSG{i:011d}" for i in range(60)],
            "gene_name": [f"G{i}" for i in range(60)],
            **{f"p{i}": rng.negative_binomial(8, 8 / (8 + mean[:, i])) for i in range(n)},
        }
    )
    return counts, clinical


@pytest.fixture(scope="module")
def effects(data):
    return estimate_expression_effects(*data, CONTRASTS, VARIABLES, 10)


def test_effects_equal_a_direct_call(data, effects):
    counts, clinical = data
    known = clinical.drop_nulls().to_pandas().set_index("patient")
    matrix = counts.select(list(known.index)).to_numpy()
    kept = (matrix >= 10).sum(axis=1) >= 21
    dataset = DeseqDataSet(
        counts=pd.DataFrame(
            matrix[kept].T, index=known.index, columns=counts["gene_id"].to_numpy()[kept]
        ),
        metadata=known,
        design="~ sex + age + stage",
        inference=DefaultInference(n_cpus=1),
        quiet=True,
    )
    dataset.deseq2()
    stats = DeseqStats(
        dataset, contrast=["stage", "high", "low"], independent_filter=False, quiet=True
    )
    stats.summary()
    direct = stats.results_df.loc[effects["gene_id"].to_list()]
    assert effects.height == kept.sum()
    for ours, theirs in (
        ("base_mean", "baseMean"),
        ("log2_fold_change", "log2FoldChange"),
        ("standard_error", "lfcSE"),
        ("p_value", "pvalue"),
    ):
        np.testing.assert_allclose(effects[ours].to_numpy(), direct[theirs], rtol=1e-3, atol=1e-6)


def test_planted_effects_are_found_and_null_genes_stay_null(effects):
    validate_table(effects, "expression_effects")
    number = effects["gene_id"].str.slice(4).cast(int).to_numpy()
    planted = number < 10
    assert effects["n_case"].unique().to_list() == [22]
    assert effects["n_control"].unique().to_list() == [21]  # one has no age
    assert (np.sign(effects["log2_fold_change"].to_numpy()[planted]) == 1).all()
    error = effects["log2_fold_change"].to_numpy() - TRUTH[number]
    # Ten of sixty genes rise, so medians of ratios see the others a little lower.
    assert np.abs(np.median(error)) < 0.35
    assert (effects["p_value"].to_numpy()[planted] < 1e-3).all()
    assert (effects["p_value"].to_numpy()[~planted] < 1e-3).mean() < 0.1


def test_a_small_group_is_skipped(data, caplog):
    assert estimate_expression_effects(*data, CONTRASTS, VARIABLES, 23).is_empty()
    assert "fewer than 23" in caplog.text


def test_size_factors_are_those_of_the_test(data):
    counts, clinical = data
    matrix = counts.select(clinical["patient"].to_list()).to_numpy().astype(float)
    dataset = DeseqDataSet(
        counts=pd.DataFrame(matrix.T.astype(int)),
        metadata=clinical.to_pandas()[["stage"]].set_axis(map(str, range(len(clinical)))),
        design="~ stage",
        quiet=True,
    )
    dataset.fit_size_factors()
    factors = median_of_ratios(matrix + 0.25)  # estimated counts are rounded
    assert np.allclose(factors, dataset.obs["size_factors"])


def test_without_a_gene_in_everybody_size_factors_are_sums():
    matrix = np.array([[0.0, 10.0, 30.0], [20.0, 0.0, 50.0], [0.0, 0.0, 0.0]])
    factors = median_of_ratios(matrix)
    assert np.allclose(factors / factors[1], [2, 1, 8])
    matrix[:, 0] = 0
    assert (median_of_ratios(matrix) > 0).all()
