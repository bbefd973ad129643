"""Moderation of variances against limma, against the model that it assumes, and at its limits."""

import logging

import numpy as np
import pytest
from scipy import stats

from ihdsi.meta.moderation import moderate_variances, natural_spline_basis
from r_programs import run_r

SQUEEZE = """
for (file in Sys.glob("*.tsv")) {
  d <- read.delim(file, header = FALSE)
  arguments <- list(var = d$V1, df = d$V2)
  if ("legacy" %in% names(formals(squeezeVar))) arguments$legacy <- TRUE
  for (trend in 0:1) {
    covariate <- if (trend == 1) d$V3
    out <- suppressWarnings(do.call(squeezeVar, c(arguments, list(covariate = covariate))))
    columns <- cbind(out$df.prior, rep_len(out$var.prior, nrow(d)), out$var.post)
    write.table(columns, sub("tsv", trend, file), row.names = FALSE, col.names = FALSE)
  }
}
"""


def features(n, prior, seed=1):
    """Variances, degrees of freedom and covariates, the prior variance falling with the last."""
    rng = np.random.default_rng(seed)
    degrees = rng.integers(3, 40, n).astype(float)
    covariate = rng.normal(8, 2, n)
    spread = 1.0 if np.isinf(prior) else prior / rng.chisquare(prior, n)
    variance = np.exp(-0.2 * (covariate - 8)) * spread * rng.chisquare(degrees) / degrees
    return variance, degrees, covariate


def with_zeros():
    variance, degrees, covariate = features(60, 4)
    variance[[3, 17]] = 0.0
    degrees[5] = 0.0
    # The feature without degrees of freedom lies beyond the knots, where the trend is a line.
    covariate[5] = covariate.max() + 3
    return variance, degrees, covariate


def mostly_zeros():
    variance, degrees, covariate = features(40, 4)
    variance[:25] = 0.0
    return variance, degrees, covariate


def few_means():
    variance, degrees, covariate = features(80, 4)
    return variance, degrees, np.round(covariate / 4)


CASES = {
    **{f"{n} features": features(n, 4) for n in (2, 3, 5, 6, 10, 29, 30, 500)},
    "vague prior": features(300, 0.5),
    "no more spread than chance": features(300, np.inf, seed=5),
    "equal variances": (np.full(12, 2.5), np.full(12, 7.0), np.arange(12.0)),
    "zeros": with_zeros(),
    "more than half zero": mostly_zeros(),
    "four different means": few_means(),
    "one mean": (*features(50, 4)[:2], np.full(50, 7.0)),
}


@pytest.fixture(scope="module")
def squeezed(tmp_path_factory):
    """Folder with what limma makes of each case."""
    folder = tmp_path_factory.mktemp("limma")
    for name, columns in CASES.items():
        np.savetxt(folder / f"{name}.tsv", np.column_stack(columns), "%.17g", "\t")
    run_r(SQUEEZE, folder, "limma")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_it_is_limmas(name, squeezed):
    variance, degrees, covariate = CASES[name]
    for trend, given in enumerate([None, covariate]):
        theirs = np.loadtxt(squeezed / f"{name}.{trend}")
        ours = moderate_variances(variance, degrees, given)
        assert ours.prior_degrees_of_freedom == pytest.approx(theirs[0, 0], rel=1e-8)
        np.testing.assert_allclose(ours.prior_variance, theirs[:, 1], rtol=1e-8)
        np.testing.assert_allclose(ours.posterior_variance, theirs[:, 2], rtol=1e-8)


def test_without_r_it_is_what_limma_gave():
    """Values that the program SQUEEZE printed for these eight features with limma 3.54.1."""
    variance = np.arange(1, 9) ** 2 / 10 * np.tile([1.0, 5.0], 4)
    degrees = np.tile([14.0, 9.0], 4)
    constant = moderate_variances(variance, degrees)
    assert constant.prior_degrees_of_freedom == pytest.approx(1.3056785697488988, rel=1e-8)
    np.testing.assert_allclose(constant.prior_variance, 1.3669133502117514, rtol=1e-8)
    trend = moderate_variances(variance, degrees, np.sqrt(np.arange(8)))
    assert trend.prior_degrees_of_freedom == pytest.approx(3.616783899056736, rel=1e-8)
    posterior = [
        *(0.099107375286362903, 1.641995976269907453, 1.061595868882329929, 6.579656599553659113),
        *(2.989810818975673801, 14.927562958052915221, 6.019339459049154684, 26.912749975093060328),
    ]
    np.testing.assert_allclose(trend.posterior_variance, posterior, rtol=1e-8)


def test_the_prior_is_found_again():
    """Variances drawn from the model: d0 = 6, s0² = 2 at covariate 0 and e times as much per 1."""
    rng = np.random.default_rng(3)
    n, degrees = 20_000, 8
    covariate = rng.uniform(-1, 1, n)
    true = 2 * np.exp(covariate) * 6 / rng.chisquare(6, n)
    found = moderate_variances(true * rng.chisquare(degrees, n) / degrees, degrees, covariate)
    assert found.prior_degrees_of_freedom == pytest.approx(6, rel=0.05)
    np.testing.assert_allclose(found.prior_variance, 2 * np.exp(covariate), rtol=0.08)
    np.testing.assert_allclose(found.degrees_of_freedom, 8 + found.prior_degrees_of_freedom)
    # Over the posterior variance, the coefficient of a null feature is t distributed.
    statistic = rng.normal(0, np.sqrt(true)) / np.sqrt(found.posterior_variance)
    p = stats.t.sf(np.abs(statistic), found.degrees_of_freedom) * 2
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_degrees_of_freedom_are_at_most_those_of_all_features():
    variance, degrees, _ = CASES["equal variances"]
    found = moderate_variances(variance, degrees)
    assert found.prior_degrees_of_freedom == np.inf
    np.testing.assert_allclose(found.posterior_variance, 2.5)
    np.testing.assert_array_equal(found.degrees_of_freedom, 12 * 7.0)


def test_one_variance_is_its_own():
    found = moderate_variances([np.nan, 4.0], [3.0, 5.0], [1.0, 2.0])
    assert found.prior_degrees_of_freedom == 0
    np.testing.assert_array_equal(found.posterior_variance, [np.nan, 4.0])
    np.testing.assert_array_equal(found.degrees_of_freedom, [np.nan, 5.0])


@pytest.mark.parametrize("variance", [[], [np.nan, np.inf], [-1.0]])
def test_no_usable_variance_gives_nothing(variance):
    found = moderate_variances(variance, 5.0)
    assert np.isnan(found.prior_degrees_of_freedom)
    assert found.posterior_variance.shape == (len(variance),)
    assert np.isnan(found.posterior_variance).all()


def test_features_without_a_variance_take_no_part():
    variance, degrees, covariate = CASES["30 features"]
    padded = moderate_variances(
        np.append(variance, [np.nan, 1.0]),
        np.append(degrees, [4.0, 4.0]),
        np.append(covariate, [5.0, np.nan]),
    )
    alone = moderate_variances(variance, degrees, covariate)
    np.testing.assert_array_equal(padded.posterior_variance[:30], alone.posterior_variance)
    np.testing.assert_array_equal(padded.posterior_variance[30:], np.nan)


def test_many_zero_variances_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        moderate_variances(*CASES["more than half zero"])
    assert "More than half of the residual variances are zero" in caplog.text


def test_natural_splines_are_cubic_between_knots_and_straight_beyond():
    x = np.linspace(0, 10, 41)
    basis = natural_spline_basis(x, 4)
    assert basis.shape == (41, 4)
    np.testing.assert_allclose(basis.sum(axis=1), 1.0)
    np.testing.assert_allclose(basis @ [0, 10 / 3, 20 / 3, 10], x, atol=1e-12)
    beyond = natural_spline_basis(x, 4, np.array([-3.0, -2.0, -1.0, 11.0, 12.0, 13.0]))
    np.testing.assert_allclose(np.diff(beyond[:3], 2, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(beyond[3:], 2, axis=0), 0, atol=1e-12)
    assert natural_spline_basis([1.0, 1.0, 1.0, 1.0, 5.0], 4).shape == (5, 2)
    assert natural_spline_basis([1.0, 1.0], 4).shape == (2, 1)
