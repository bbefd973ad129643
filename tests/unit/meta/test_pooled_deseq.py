"""Effects estimated by site and pooled, against PyDESeq2 on the patients of all sites at once.

Three sites draw counts from one negative binomial model of known fold changes, with sequencing
depths and shifts of expression of their own, and with covariates that matter.
"""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pydeseq2.dds import DeseqDataSet
from pydeseq2.default_inference import DefaultInference
from pydeseq2.ds import DeseqStats
from scipy import stats

from ihdsi.meta.pool import pool_expression_effects
from ihdsi.study import ClinicalVariable, Contrast
from ihdsi.summaries.expression_effects import estimate_expression_effects

VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    "sex": ClinicalVariable(type="categorical", levels=("female", "male")),
    "age": ClinicalVariable(type="number", unit="a"),
}
CONTRASTS = {
    "stage": Contrast(variable="stage", case="high", control="low", covariates=("sex", "age"))
}
#: Patients of each site, and how deeply it sequences.
SITES = {"north": (24, 0.6), "south": (26, 1.0), "west": (28, 1.7)}
N_GENES = 500
GENES = [f"ENSG{i:011d}" for i in range(N_GENES)]
#: True log2 fold changes: none in 350 genes, then 150 from 0.5 to 1.5 in either direction.
TRUTH = np.concatenate(
    [np.zeros(350), np.linspace(0.5, 1.5, 150) * np.where(np.arange(150) % 2, 1, -1)]
)


def simulate(seed: int = 4) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
    """Clinical data and counts by site."""
    rng = np.random.default_rng(seed)
    base = rng.lognormal(5.5, 1.0, (N_GENES, 1))
    dispersion = (0.06 + 10 / base) * rng.lognormal(0, 0.3, (N_GENES, 1))
    of_sex, of_decade = rng.normal(0, 0.4, (2, N_GENES, 1))
    sites = {}
    for name, (n, depth) in SITES.items():
        patients = [f"{name}{i}" for i in range(n)]
        high = rng.permutation(np.arange(n) % 2 == 0)
        # Covariates confound: men are more often, and the old, of high stage.
        male = rng.random(n) < np.where(high, 0.65, 0.4)
        age = rng.normal(66, 8, n) + 4 * high
        log2_mean = (
            rng.normal(0, 0.7, (N_GENES, 1))
            + TRUTH[:, None] * high
            + of_sex * male
            + of_decade * (age - 68) / 10
        )
        mean = base * 2.0**log2_mean * depth * rng.lognormal(0, 0.25, n)
        counts = rng.poisson(mean * rng.gamma(1 / dispersion, dispersion, mean.shape))
        clinical = pl.DataFrame(
            {
                "patient": patients,
                "stage": np.where(high, "high", "low").tolist(),
                "sex": np.where(male, "male", "female").tolist(),
                "age": age,
            }
        )
        table = pl.DataFrame({"gene_id": GENES, "gene_name": GENES}).hstack(
            pl.DataFrame(counts, schema=patients)
        )
        sites[name] = clinical, table
    return sites


@pytest.fixture(scope="module")
def compared() -> pl.DataFrame:
    """One row a gene: estimates pooled over sites, those of all patients together, the truth."""
    sites = simulate()
    pooled = pool_expression_effects(
        {
            name: estimate_expression_effects(table, clinical, CONTRASTS, VARIABLES, 5)
            for name, (clinical, table) in sites.items()
        }
    )
    metadata = (
        pl.concat(clinical.with_columns(site=pl.lit(name)) for name, (clinical, _) in sites.items())
        .to_pandas()
        .set_index("patient")
    )
    counts = np.hstack(
        [table.drop("gene_id", "gene_name").to_numpy() for _, table in sites.values()]
    )
    inference = DefaultInference(n_cpus=1)
    dataset = DeseqDataSet(
        counts=pd.DataFrame(counts.T, index=metadata.index, columns=GENES),
        metadata=metadata,
        design="~ site + sex + age + stage",
        inference=inference,
        quiet=True,
    )
    dataset.deseq2()
    result = DeseqStats(
        dataset,
        contrast=["stage", "high", "low"],
        independent_filter=False,
        inference=inference,
        quiet=True,
    )
    result.summary()
    together = pl.from_pandas(result.results_df.rename_axis("gene_id").reset_index()).select(
        "gene_id",
        together=pl.col("log2FoldChange"),
        together_error=pl.col("lfcSE"),
        together_p=pl.col("pvalue"),
        together_fdr=pl.col("padj"),
    )
    return (
        pooled.join(together, on="gene_id")
        .join(pl.DataFrame({"gene_id": GENES, "truth": TRUTH}), on="gene_id")
        .drop_nulls(["effect", "together", "together_p"])
    )


def significant(p_values: pl.Series) -> np.ndarray:
    return stats.false_discovery_control(p_values.to_numpy()) < 0.05


# Limits leave some room around what this draw gives, which comments state.


def test_effects_are_those_of_all_patients_together(compared):
    assert compared.height >= 495  # 499: one is expressed nowhere
    ours, theirs = compared["effect"].to_numpy(), compared["together"].to_numpy()
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99  # 0.996
    assert abs(stats.linregress(theirs, ours).slope - 1) < 0.02  # 1.006
    apart = np.abs(ours - theirs) / compared["together_error"].to_numpy()
    assert np.median(apart) < 0.25  # 0.16 standard errors
    assert apart.max() < 3  # 1.84
    ratio = np.median(compared["standard_error"] / compared["together_error"])
    assert 0.95 < ratio < 1.12  # 1.045 (fixed effect: 1.006)


def test_the_same_genes_are_significant(compared):
    ours, theirs = significant(compared["p_value"]), significant(compared["together_p"])
    assert (ours & theirs).sum() >= 0.93 * (ours | theirs).sum()  # 0.967, of 147 and 148 genes


def test_the_truth_is_found(compared):
    truth, effect = compared["truth"].to_numpy(), compared["effect"].to_numpy()
    assert abs(stats.linregress(truth, effect).slope - 1) < 0.03  # 1.007
    inside = (compared["confidence_low"] <= compared["truth"]) & (
        compared["truth"] <= compared["confidence_high"]
    )
    assert 0.92 < inside.mean() < 0.99  # 0.970
    found = significant(compared["p_value"])
    assert found[truth != 0].mean() > 0.92  # 0.966
    assert (truth[found] == 0).mean() < 0.06  # 0.020


def test_genes_without_an_effect_stay_null(compared):
    null = compared.filter(truth=0)
    # 350 genes: a standard error of 0.012 around 0.05.
    assert 0.015 < (null["fixed_p_value"] < 0.05).mean() < 0.075  # 0.037
    assert (null["p_value"] < 0.05).mean() < 0.075  # 0.023
    assert (null["together_p"] < 0.05).mean() < 0.075  # 0.029
    assert abs(null["effect"].mean()) < 0.05
