"""The pooled model of expression, from the sites' released moments, against the patients' own fit.

The fit is limma's and, where R is not installed, that of ordinary least squares alone. Three small
sites, so that moderation matters; nobody smokes at one of them, and each has genes that another
does not release.
"""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from ihdsi.expression.normalisation import log2_cpm
from ihdsi.meta.linear import LINEAR_SCHEMA, fit_pooled_linear_model
from ihdsi.meta.moderation import moderate_variances
from ihdsi.summaries.expression_moments import build_expression_moments
from r_programs import run_r
from stage_contrast import CONTRASTS, VARIABLES

SIZES = {"north": 16, "south": 14, "west": 18}
GENES = [f"ENSG{i:011d}" for i in range(120)]
DISPERSIONS = np.linspace(0.6, 0.05, 120) * np.random.default_rng(0).lognormal(0, 0.5, 120)
#: First and last gene that a site's annotation has not.
ABSENT = {"north": (0, 0), "south": (0, 15), "west": (10, 30)}
#: What limma's eBayes gives, and what it is called here.
COLUMNS = {
    "fit$coefficients[, 1]": "coefficient",
    "fit$stdev.unscaled[, 1] * fit$sigma": "standard_error",
    "fit$df.residual": "degrees_of_freedom",
    "fit$sigma^2": "residual_variance",
    "fit$Amean": "mean",
    "fit$df.prior": "prior_degrees_of_freedom",
    "fit$s2.post": "posterior_variance",
    "fit$t[, 1]": "moderated_statistic",
    "fit$p.value[, 1]": "moderated_p_value",
    'p.adjust(fit$p.value[, 1], "BH")': "moderated_fdr",
    "rep_len(fit$s2.prior, nrow(y))": "prior_variance",
    "fit$df.total": "total",
}
#: What ordinary least squares gives, which needs no R.
COMPARED = (
    *("coefficient", "standard_error", "statistic", "p_value"),
    *("degrees_of_freedom", "residual_variance", "mean"),
)
LIMMA = f"""
x <- as.matrix(read.delim("x.tsv", header = FALSE))
y <- as.matrix(read.delim("y.tsv", header = FALSE, na.strings = "nan"))
for (trend in c(TRUE, FALSE)) {{
  arguments <- list(fit = lmFit(y, x), trend = trend)
  if ("legacy" %in% names(formals(eBayes))) arguments$legacy <- TRUE
  fit <- do.call(eBayes, arguments)
  columns <- cbind({", ".join(COLUMNS)})
  write.table(columns, sprintf("%s.tsv", trend), row.names = FALSE, col.names = FALSE, sep = "\\t")
}}
"""


def site(name, seed):
    """Clinical data and counts, noisier for genes of few reads; the first genes differ by stage."""
    rng = np.random.default_rng(seed)
    n = SIZES[name]
    patients = [f"{name}{i}" for i in range(n)]
    smoking = ["never"] if name == "west" else ["never", "former", "current"]
    clinical = pl.DataFrame(
        {
            "patient": patients,
            "stage": rng.permutation(["low", "high"] * n)[:n],
            "smoking": rng.choice(smoking, n),
            "age": rng.normal(68, 9, n),
        }
    )
    case = (clinical["stage"] == "high").to_numpy()
    mean = np.exp(np.linspace(4, 9, len(GENES)))[:, None] * rng.lognormal(0, 0.3, n)
    mean[:8] *= np.where(case, 6, 1)
    shape = 1 / DISPERSIONS[:, None]
    counts = rng.negative_binomial(shape, shape / (shape + mean))
    first, last = ABSENT[name]
    kept = [i for i in range(len(GENES)) if not first <= i < last]
    table = pl.DataFrame(
        {"gene_id": [GENES[i] for i in kept], "gene_name": [f"G{i}" for i in kept]}
    ).hstack(pl.DataFrame(counts[kept], schema=patients))
    return clinical, table


SITES = {name: site(name, seed) for seed, name in enumerate(SIZES, 7)}


@pytest.fixture(scope="module")
def pooled():
    released = {
        name: build_expression_moments(table, clinical, CONTRASTS, VARIABLES, 5)
        for name, (clinical, table) in SITES.items()
    }
    return fit_pooled_linear_model(
        {name: design for name, (design, _) in released.items()},
        {name: moments for name, (_, moments) in released.items()},
    )


@pytest.fixture(scope="module")
def patients(pooled):
    """The patients of all sites: design (case, a mean a site, covariates) and log2-CPM by gene."""
    x, y = [], []
    for name, (clinical, table) in SITES.items():
        counts = table.select(clinical["patient"].to_list()).to_numpy()
        expression = pl.DataFrame(log2_cpm(counts.astype(float))).insert_column(0, table["gene_id"])
        placed = pooled.select("gene_id").join(
            expression, on="gene_id", how="left", maintain_order="left"
        )
        y.append(placed.drop("gene_id").cast(pl.Float64).fill_null(np.nan).to_numpy())
        x += [
            [
                patient["stage"] == "high",
                *(name == other for other in SITES),
                patient["smoking"] == "former",
                patient["smoking"] == "current",
                patient["age"],
            ]
            for patient in clinical.iter_rows(named=True)
        ]
    return np.array(x, dtype=float), np.hstack(y)


@pytest.fixture(scope="module")
def limma(patients, tmp_path_factory):
    """What limma gives on the patients themselves, with and without a trend."""
    folder = tmp_path_factory.mktemp("limma")
    x, y = patients
    np.savetxt(folder / "x.tsv", x, "%.17g", "\t")
    np.savetxt(folder / "y.tsv", y, "%.17g", "\t")
    run_r(LIMMA, folder, "limma")
    return {
        trend: dict(
            zip(COLUMNS.values(), np.loadtxt(folder / f"{str(trend).upper()}.tsv").T, strict=True)
        )
        for trend in (True, False)
    }


def test_sites_release_different_genes(pooled):
    assert pooled.schema == pl.Schema(LINEAR_SCHEMA)
    assert set(pooled["n_sites"]) == {1, 2, 3}
    assert pooled["degrees_of_freedom"].n_unique() >= 3


def test_it_is_least_squares_on_all_patients(pooled, patients):
    x, y = patients
    for row, values in zip(pooled.iter_rows(named=True), y, strict=True):
        known = ~np.isnan(values)
        # The intercept of a site without the gene, and a level that none of the others has.
        design = x[known][:, x[known].any(axis=0)]
        reference = sm.OLS(values[known], design).fit()
        ours = [row[name] for name in COMPARED]
        theirs = [
            *(reference.params[0], reference.bse[0], reference.tvalues[0], reference.pvalues[0]),
            *(reference.df_resid, reference.scale, values[known].mean()),
        ]
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8, err_msg=row["gene_id"])


def test_it_is_limma_trend_on_all_patients(pooled, limma):
    for name in COLUMNS.values():
        if name in LINEAR_SCHEMA:
            np.testing.assert_allclose(
                pooled[name], limma[True][name], rtol=1e-8, atol=1e-8, err_msg=name
            )
    # Enough of the method is seen here: the prior is worth something, and its variance differs.
    assert 1 < pooled["prior_degrees_of_freedom"][0] < 50
    assert np.ptp(np.log(limma[True]["prior_variance"])) > 0.5
    assert (pooled["moderated_fdr"].head(8) < 0.05).sum() >= 4


def test_small_p_values_are_limmas_too(pooled, limma):
    np.testing.assert_allclose(
        pooled["moderated_p_value"], limma[True]["moderated_p_value"], rtol=1e-7
    )


def test_the_hyperparameters_are_limmas_with_and_without_a_trend(pooled, limma):
    for trend, theirs in limma.items():
        found = moderate_variances(
            pooled["residual_variance"],
            pooled["degrees_of_freedom"],
            pooled["mean"] if trend else None,
        )
        prior = theirs["prior_degrees_of_freedom"][0]
        assert found.prior_degrees_of_freedom == pytest.approx(prior, rel=1e-8)
        np.testing.assert_allclose(found.prior_variance, theirs["prior_variance"], rtol=1e-8)
        np.testing.assert_allclose(
            found.posterior_variance, theirs["posterior_variance"], rtol=1e-8
        )
        np.testing.assert_allclose(found.degrees_of_freedom, theirs["total"], rtol=1e-8)


def test_the_mean_is_of_all_patients_with_the_gene(pooled):
    gene = GENES[60]
    values = []
    for clinical, table in SITES.values():
        counts = table.select(clinical["patient"].to_list()).to_numpy().astype(float)
        values.append(log2_cpm(counts)[table["gene_id"].to_list().index(gene)])
    row = pooled.filter(gene_id=gene).row(0, named=True)
    assert row["mean"] == pytest.approx(np.concatenate(values).mean(), rel=1e-12)
