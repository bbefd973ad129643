"""The pooled model of matrices against ordinary least squares on all patients at once."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy import stats

from ihdsi.errors import InputError
from ihdsi.meta import harmonise
from ihdsi.meta.linear import (
    MATRIX_LINEAR_SCHEMA,
    MINIMUM_FEATURES_TO_MODERATE,
    NOT_ALONE,
    NOT_IN_THE_STUDY,
    fit_pooled_matrix_model,
    matrix_site_effects,
)
from ihdsi.summaries.matrix_moments import build_matrix_moments
from r_programs import run_r
from stage_contrast import CONTRASTS, VARIABLES

SIZES = {"north": 70, "south": 55, "west": 40}
FEATURES = [f"F{i:02d}" for i in range(14)]
#: Plates of each site; those of different sites bear the same codes and have nothing in common.
PLATES = {"north": 3, "south": 2, "west": 1}


def site(name, n, seed):
    """A site's clinical data, plates and values: many patterns of missing values, big plates."""
    rng = np.random.default_rng(seed)
    patients = [f"{name}{i}" for i in range(n)]
    smoking = ["never", "former"] if name == "west" else ["never", "former", "current"]
    clinical = pl.DataFrame(
        {
            "patient": patients,
            "stage": rng.choice(["low", "high"], n),
            "smoking": rng.choice(smoking, n),
            "age": rng.normal(68, 9, n),
        }
    )
    plate = rng.integers(1, PLATES[name] + 1, n)
    case = (clinical["stage"] == "high").to_numpy()
    values = rng.normal(22 + seed, 1, (len(FEATURES), n)) + rng.normal(0, 2, (14, 4))[:, plate]
    values[:4] += 0.8 * case
    for row in range(6, 12):  # each of these has a pattern of its own
        values[row, rng.random(n) < 0.05 * (row - 5)] = np.nan
    values[12, plate == 1] = np.nan  # a panel that one plate lacks; at west, all patients do
    if name == "south":
        values[13] = np.nan
    matrix = pl.DataFrame(
        {
            "feature": FEATURES,
            "feature_name": [None] * 14,
            "gene_id": [None, *(f"ENSG{i:011d}" for i in range(1, 14))],
        },
        schema_overrides={"feature_name": pl.String},
    ).hstack(pl.DataFrame(values, schema=patients).fill_nan(None))
    covariates = pl.DataFrame(
        {"patient": patients, "site:protein_plate": [f"plate_{number}" for number in plate]}
    )
    return clinical, covariates, matrix, values, plate


SITES = {name: site(name, n, seed) for seed, (name, n) in enumerate(SIZES.items(), 1)}


def released(names=tuple(SITES), assay="protein", sites=SITES):
    designs, moments = {}, {}
    for name in names:
        clinical, covariates, matrix, *_ = sites[name]
        designs[name], moments[name] = build_matrix_moments(
            {assay: matrix},
            clinical,
            CONTRASTS,
            VARIABLES,
            5,
            site_covariates={assay: covariates},
        )
    return designs, moments


def individual_data(feature):
    """Values, and X with an intercept and plates of each site's own, of those with a value."""
    y, rows = [], []
    own = [(name, plate) for name in SITES for plate in range(1, PLATES[name] + 1)]
    for name, (clinical, _, _, values, plate) in SITES.items():
        for i, patient in enumerate(clinical.iter_rows(named=True)):
            if np.isnan(values[feature, i]):
                continue
            y.append(values[feature, i])
            rows.append(
                [
                    patient["stage"] == "high",
                    patient["smoking"] == "former",
                    patient["smoking"] == "current",
                    patient["age"],
                    # One indicator a plate and none of the site: the same space.
                    *((name, plate[i]) == which for which in own),
                ]
            )
    x = np.array(rows, dtype=float)
    return np.array(y), x[:, np.ptp(x, axis=0) > 0]


@pytest.fixture(scope="module")
def pooled():
    return fit_pooled_matrix_model(*released(), {"protein": "log2(intensity)"})


def test_it_is_least_squares_on_all_patients(pooled):
    assert pooled.schema == pl.Schema(MATRIX_LINEAR_SCHEMA)
    assert pooled["feature"].to_list() == FEATURES
    for number, row in enumerate(pooled.iter_rows(named=True)):
        y, x = individual_data(number)
        reference = sm.OLS(y, x).fit()
        assert row["n"] == len(y)
        assert row["degrees_of_freedom"] == reference.df_resid
        assert row["coefficient"] == pytest.approx(reference.params[0], abs=1e-8)
        assert row["standard_error"] == pytest.approx(reference.bse[0], rel=1e-8)
        assert row["p_value"] == pytest.approx(reference.pvalues[0], rel=1e-7)
        assert row["residual_variance"] == pytest.approx(reference.scale, rel=1e-8)
    assert pooled["fdr"].to_list() == pytest.approx(
        stats.false_discovery_control(pooled["p_value"])
    )
    assert (pooled["fdr"].head(4) < 0.05).all()


def test_sites_without_a_feature_are_not_counted(pooled):
    by_feature = {row["feature"]: row for row in pooled.iter_rows(named=True)}
    assert [by_feature[name]["n_sites"] for name in ("F00", "F12", "F13")] == [3, 2, 2]
    assert by_feature["F00"]["n"] == sum(SIZES.values())
    assert by_feature["F13"]["n"] == SIZES["north"] + SIZES["west"]


def test_labels_and_unit(pooled):
    first, second = pooled.head(2).iter_rows(named=True)
    assert (first["feature_name"], first["gene_id"]) == ("F00", None)
    assert second["gene_id"] == "ENSG00000000001"
    assert set(pooled["unit"]) == {"log2(intensity)"}


def test_agreement_of_sites_is_that_of_their_own_fits(pooled):
    """Cochran's Q of the sites' coefficients, each from least squares there."""
    effects, errors = [], []
    for name, (clinical, _, _, values, plate) in SITES.items():
        x = np.column_stack(
            [
                clinical["stage"] == "high",
                clinical["smoking"] == "former",
                clinical["smoking"] == "current",
                clinical["age"],
                *(plate == number for number in range(1, PLATES[name] + 1)),
            ]
        ).astype(float)
        fit = sm.OLS(values[0], x[:, (np.ptp(x, axis=0) > 0) | (x[0] == 1)]).fit()
        effects.append(fit.params[0])
        errors.append(fit.bse[0])
    weights = 1 / np.square(errors)
    mean = np.average(effects, weights=weights)
    q = (weights * (effects - mean) ** 2).sum()
    row = pooled.row(0, named=True)
    assert row["i_squared"] == pytest.approx(max(0, 1 - 2 / q), abs=1e-8)
    assert row["same_direction"] == (len(set(np.sign(effects))) == 1)


def test_one_site_has_no_agreement():
    alone = fit_pooled_matrix_model(*released(["south"]), {"protein": "1"})
    assert alone["n_sites"].unique().to_list() == [1]
    assert alone["i_squared"].null_count() == alone["same_direction"].null_count() == alone.height


def test_assays_are_fitted_apart_and_false_discoveries_counted_within():
    designs, moments = released()
    others = released(["north"], "metabolite")
    both = fit_pooled_matrix_model(
        {**designs, "north": pl.concat([designs["north"], others[0]["north"]])},
        {**moments, "north": pl.concat([moments["north"], others[1]["north"]])},
        {"protein": "a", "metabolite": "b"},
    )
    alone = fit_pooled_matrix_model(designs, moments, {"protein": "a"})
    assert both.filter(assay="protein").equals(alone)
    assert both.filter(assay="metabolite")["n_sites"].unique().to_list() == [1]
    nothing = fit_pooled_matrix_model(designs, moments, {})
    assert nothing.is_empty()
    assert nothing.schema == pl.Schema(MATRIX_LINEAR_SCHEMA)


def test_moments_that_do_not_fit_their_design_are_refused():
    designs, moments = released(["north", "south"])
    wrong = moments | {"south": moments["south"].with_columns(n=pl.col("n") + 1)}
    with pytest.raises(InputError, match=r"'south', protein.*pattern 1.*rebuild matrix_design"):
        fit_pooled_matrix_model(designs, wrong, {"protein": "1"})
    lacking = designs | {"south": designs["south"].filter(pl.col("row_term") != "age")}
    with pytest.raises(InputError, match="'south', protein"):
        fit_pooled_matrix_model(lacking, moments, {"protein": "1"})


LIMMA = """
x <- as.matrix(read.delim("x.tsv", header = FALSE))
y <- as.matrix(read.delim("y.tsv", header = FALSE, na.strings = "nan"))
arguments <- list(fit = lmFit(y, x), trend = TRUE)
if ("legacy" %in% names(formals(eBayes))) arguments$legacy <- TRUE
fit <- do.call(eBayes, arguments)
out <- cbind(fit$coefficients[, 1], fit$stdev.unscaled[, 1] * fit$sigma, fit$df.residual,
             fit$Amean, fit$df.prior, fit$s2.post, fit$t[, 1], fit$p.value[, 1])
write.table(out, "fit.tsv", row.names = FALSE, col.names = FALSE, sep = "\\t")
"""


def test_it_is_what_limma_fits_and_moderates(pooled, tmp_path):
    # Missing values stay in y, as limma fits each row in those who have one.
    own = [(name, plate) for name in SITES for plate in range(1, PLATES[name] + 1)]
    x, y = [], []
    for name, (clinical, _, _, values, plate) in SITES.items():
        y.append(values)
        for i, patient in enumerate(clinical.iter_rows(named=True)):
            x.append(
                [
                    patient["stage"] == "high",
                    patient["smoking"] == "former",
                    patient["smoking"] == "current",
                    patient["age"],
                    *((name, plate[i]) == which for which in own),
                ]
            )
    np.savetxt(tmp_path / "x.tsv", np.array(x, dtype=float), "%.17g", "\t")
    np.savetxt(tmp_path / "y.tsv", np.concatenate(y, axis=1), "%.17g", "\t")
    run_r(LIMMA, tmp_path, "limma")
    columns = (
        *("coefficient", "standard_error", "degrees_of_freedom", "mean"),
        *("prior_degrees_of_freedom", "posterior_variance"),
        *("moderated_statistic", "moderated_p_value"),
    )
    fitted = np.loadtxt(tmp_path / "fit.tsv")
    for name, theirs in zip(columns, fitted.T, strict=True):
        np.testing.assert_allclose(pooled[name], theirs, rtol=1e-8, atol=1e-8, err_msg=name)
    assert pooled["moderated_fdr"].to_list() == pytest.approx(
        stats.false_discovery_control(fitted[:, -1])
    )


def test_few_features_are_not_moderated():
    few = {
        name: (clinical, covariates, matrix.head(MINIMUM_FEATURES_TO_MODERATE - 1), *rest)
        for name, (clinical, covariates, matrix, *rest) in SITES.items()
    }
    fit = fit_pooled_matrix_model(*released(sites=few), {"protein": "1"})
    assert fit.height == MINIMUM_FEATURES_TO_MODERATE - 1
    assert set(fit["prior_degrees_of_freedom"]) == {0.0}
    for name in ("statistic", "p_value", "fdr"):
        assert fit[f"moderated_{name}"].equals(fit[name])
    assert fit["posterior_variance"].equals(fit["residual_variance"])


def test_a_feature_that_does_not_vary_is_moderated_as_limma_does():
    """limma: t is the coefficient over √(u · posterior), the own variance being 0 in it."""
    constant = {
        name: (
            clinical,
            covariates,
            matrix.with_columns(
                pl.when(pl.col("feature") == "F02").then(21.7).otherwise(column).alias(column)
                for column in matrix.columns[3:]
            ),
            *rest,
        )
        for name, (clinical, covariates, matrix, *rest) in SITES.items()
    }
    fit = fit_pooled_matrix_model(*released(sites=constant), {"protein": "1"})
    row = fit.filter(feature="F02").row(0, named=True)
    assert row["residual_variance"] == 0
    assert row["standard_error"] is row["statistic"] is row["p_value"] is None
    assert row["posterior_variance"] > 0
    assert row["moderated_statistic"] == pytest.approx(0, abs=1e-9)
    assert row["moderated_p_value"] == pytest.approx(1)


def test_the_account_says_what_became_of_each_feature(pooled):
    designs, moments = released()
    effects = matrix_site_effects(designs, moments, ["protein"])
    assert effects.schema == pl.Schema(harmonise.SITE_EFFECT_SCHEMA)
    assert effects["used"].all()
    # One row a feature and site that released it, as the pooled fit counts them.
    counted = effects.group_by("feature").agg(n_sites=pl.len().cast(pl.Int64)).sort("feature")
    assert counted.rows() == pooled.select("feature", "n_sites").rows()
    summed = effects.group_by("feature").agg(pl.col("n").sum()).sort("feature")
    assert summed.rows() == pooled.select("feature", "n").rows()
    account = harmonise.harmonisation_account(effects, list(SITES))
    assert account.height == len(FEATURES) * len(SITES)
    refused = account.filter(~pl.col("used"))
    assert refused.select("feature", "site", "reason").rows() == [
        ("F12", "west", harmonise.NOT_RELEASED),
        ("F13", "south", harmonise.NOT_RELEASED),
    ]
    clinical, _, _, values, plate = SITES["west"]
    own = effects.filter(site="west", feature="F00").row(0, named=True)
    x = np.column_stack(
        [
            (clinical["stage"] == "high").to_numpy(),
            np.ones(len(plate)),
            (clinical["smoking"] == "former").to_numpy(),
            clinical["age"].to_numpy(),
        ]
    ).astype(float)
    reference = sm.OLS(values[0], x).fit()
    assert own["effect"] == pytest.approx(reference.params[0])
    assert own["standard_error"] == pytest.approx(reference.bse[0])
    assert (own["n_case"], own["n"]) == (x[:, 0].sum(), len(x))
    assert own["n_control"] == len(x) - x[:, 0].sum()


def test_the_account_names_what_is_not_pooled_and_what_no_site_determines_alone():
    designs, moments = released(("north",))
    elsewhere = matrix_site_effects(designs, moments, ["methylation"])
    assert not elsewhere["used"].any()
    assert set(elsewhere["reason"]) == {NOT_IN_THE_STUDY}
    assert elsewhere.height == moments["north"].height

    # Every patient of the site is a case: the case term equals the intercept.
    design, moment = designs["north"], moments["north"].filter(feature="F00")
    terms = moment["terms"][0].to_list()
    pattern = design.filter(pattern=moment["pattern"][0])
    cells = {
        (r, c): v for r, c, v in pattern.select("row_term", "column_term", "value").iter_rows()
    }

    def cell(row, column):
        names = tuple("intercept" if name == "case" else name for name in (row, column))
        return cells.get(names, cells.get(names[::-1]))

    confounded = pattern.with_columns(
        value=pl.Series(
            [cell(r, c) for r, c in pattern.select("row_term", "column_term").iter_rows()]
        )
    )
    xty = moment["xty"][0].to_list()
    xty[terms.index("case")] = xty[terms.index("intercept")]
    only = moment.with_columns(xty=pl.Series([xty]))
    effects = matrix_site_effects({"north": confounded}, {"north": only}, ["protein"])
    assert effects.select("effect", "used", "reason").rows() == [(None, True, NOT_ALONE)]
    pooled, account = harmonise.account_for_sites([effects], ["north"])
    assert pooled.is_empty()
    assert account.select("used", "reason").rows() == [(True, NOT_ALONE)]
    nothing = {"north": moments["north"].clear()}
    assert matrix_site_effects({"north": design.clear()}, nothing, ["protein"]).is_empty()
