"""Estimators against statsmodels, scipy and published results."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.proportion import proportion_confint

from ihdsi.meta.estimators import (
    benjamini_hochberg,
    genomic_control_lambda,
    leave_one_site_out,
    log_odds_ratio,
    pool_effects,
    wilson_interval,
)

# BCG vaccine trials: Colditz GA et al. (1994) JAMA 271:698-702; tuberculosis and no tuberculosis,
# vaccinated then control.
BCG = np.array(
    [
        [4, 119, 11, 128],
        [6, 300, 29, 274],
        [3, 228, 11, 209],
        [62, 13536, 248, 12619],
        [33, 5036, 47, 5761],
        [180, 1361, 372, 1079],
        [8, 2537, 10, 619],
        [505, 87886, 499, 87892],
        [29, 7470, 45, 7232],
        [17, 1699, 65, 1600],
        [186, 50448, 141, 27197],
        [5, 2493, 3, 2338],
        [27, 16886, 29, 17825],
    ],
    dtype=float,
)


def _random_sites(n_features=200, n_sites=5, missing=0.3, seed=7):
    random = np.random.default_rng(seed)
    effect = random.normal(0.2, 0.6, (n_features, n_sites))
    error = random.uniform(0.05, 0.8, (n_features, n_sites))
    gone = random.random((n_features, n_sites)) < missing
    return np.where(gone, np.nan, effect), np.where(gone, np.nan, error)


def test_pooling_equals_statsmodels_with_missing_sites():
    effect, error = _random_sites()
    pooled = pool_effects(effect, error)
    compared = truncated = 0
    for row in range(effect.shape[0]):
        here = ~np.isnan(effect[row])
        if here.sum() < 2:
            continue
        compared += 1
        reference = combine_effects(effect[row, here], error[row, here] ** 2, method_re="dl")
        table = reference.summary_frame()
        ours = [
            pooled.fixed_effect[row],
            pooled.fixed_standard_error[row],
            pooled.fixed_confidence_low[row],
            pooled.fixed_confidence_high[row],
            pooled.random_effect[row],
            pooled.random_standard_error[row],
            pooled.random_confidence_low[row],
            pooled.random_confidence_high[row],
            pooled.tau_squared[row],
            pooled.q_statistic[row],
            pooled.q_p_value[row],
            pooled.h_squared[row],
            pooled.i_squared[row],
        ]
        # DerSimonian and Laird truncate tau² at zero, where the two models are one; statsmodels
        # keeps a negative tau².
        fixed = table.loc["fixed effect"]
        random = table.loc["random effect"] if reference.tau2 > 0 else fixed
        truncated += reference.tau2 <= 0
        theirs = [
            *fixed[["eff", "sd_eff", "ci_low", "ci_upp"]],
            *random[["eff", "sd_eff", "ci_low", "ci_upp"]],
            max(reference.tau2, 0.0),
            reference.q,
            reference.test_homogeneity().pvalue,
            reference.h2,
            max(reference.i2, 0.0),
        ]
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    assert compared > 150
    assert 0 < truncated < compared / 2


def test_bcg_log_risk_ratios_give_the_published_pooled_values():
    # DerSimonian-Laird results of these data as printed by R's metafor, rma(method="DL").
    a, b, c, d = BCG.T
    effect = np.log(a / (a + b)) - np.log(c / (c + d))
    error = np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    pooled = pool_effects(effect[None, :], error[None, :])
    assert pooled.random_effect[0] == pytest.approx(-0.7141, abs=5e-5)
    assert pooled.random_standard_error[0] == pytest.approx(0.1787, abs=5e-5)
    assert pooled.tau_squared[0] == pytest.approx(0.3088, abs=5e-5)
    assert pooled.q_statistic[0] == pytest.approx(152.2330, abs=5e-5)
    assert pooled.i_squared[0] == pytest.approx(0.9212, abs=5e-5)
    assert pooled.fixed_effect[0] == pytest.approx(-0.4303, abs=5e-5)


def test_bcg_log_odds_ratios_are_those_of_van_houwelingen():
    # van Houwelingen HC et al. (2002) Stat Med 21:589-624, table I.
    a, b, c, d = BCG.T
    effect, error = log_odds_ratio(a, a + b, c, c + d)
    published = [-0.9387, -1.6662, -1.3863, -1.4564, -0.2191, -0.9581, -1.6338]
    np.testing.assert_allclose(effect[:7], published, atol=5e-5)
    np.testing.assert_allclose(
        error[:7] ** 2, [0.3571, 0.2081, 0.4334, 0.0203, 0.0520, 0.0099, 0.2270], atol=5e-5
    )


def test_one_site_gives_its_own_estimate_without_heterogeneity():
    pooled = pool_effects([[0.7, np.nan]], [[0.2, np.nan]])
    assert pooled.n_sites[0] == 1
    assert pooled.random_effect[0] == pooled.fixed_effect[0] == 0.7
    assert pooled.random_standard_error[0] == pytest.approx(0.2, rel=1e-14)
    for name in ("tau_squared", "q_statistic", "q_p_value", "i_squared", "h_squared"):
        assert np.isnan(getattr(pooled, name)[0])
    assert np.isnan(pooled.same_direction[0])


@pytest.mark.parametrize("bad", [0.0, -0.3, np.inf, np.nan])
def test_a_bad_standard_error_makes_the_site_missing_and_is_counted(bad):
    effect, error = [[0.5, 9.0, 0.4]], [[0.1, bad, 0.2]]
    pooled = pool_effects(effect, error)
    without = pool_effects([[0.5, 0.4]], [[0.1, 0.2]])
    assert pooled.random_effect[0] == pytest.approx(without.random_effect[0], rel=1e-14)
    assert (pooled.n_sites[0], pooled.n_unusable[0]) == (2, 1)


def test_no_site_gives_nothing():
    pooled = pool_effects([[np.nan, np.nan]], [[np.nan, np.nan]])
    assert pooled.n_sites[0] == 0
    assert np.isnan(pooled.fixed_p_value[0])
    assert np.isnan(pooled.random_effect[0])


def test_identical_estimates_have_no_heterogeneity():
    pooled = pool_effects([[0.3, 0.3, 0.3]], [[0.1, 0.2, 0.3]])
    assert pooled.q_statistic[0] == pytest.approx(0.0, abs=1e-20)
    assert pooled.i_squared[0] == 0.0
    assert pooled.same_direction[0] == 1.0


def test_direction_agreement_needs_one_sign_at_every_site():
    pooled = pool_effects([[0.3, -0.1], [-0.3, -0.1], [0.0, 0.2]], np.full((3, 2), 0.1))
    assert pooled.same_direction.tolist() == [0.0, 1.0, 0.0]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="features, sites"):
        pool_effects(np.zeros(3), np.ones(3))


def test_leaving_a_site_out_equals_pooling_the_others():
    effect, error = _random_sites(20, 4, 0.0)
    left = leave_one_site_out(effect, error)
    assert len(left) == 4
    others = pool_effects(effect[:, [0, 2, 3]], error[:, [0, 2, 3]])
    np.testing.assert_array_equal(left[1].random_effect, others.random_effect)


def test_null_features_stay_null():
    random = np.random.default_rng(20)
    error = random.uniform(0.1, 0.5, (2000, 3))
    pooled = pool_effects(random.normal(0.0, error), error)
    assert stats.kstest(pooled.fixed_p_value, "uniform").pvalue > 0.01
    # DerSimonian-Laird is conservative with three homogeneous sites; it must not be the reverse.
    assert (pooled.random_p_value < 0.05).mean() < 0.06
    assert (benjamini_hochberg(pooled.random_p_value) < 0.05).sum() <= 1
    assert genomic_control_lambda(pooled.fixed_p_value) == pytest.approx(1.0, abs=0.1)


def test_benjamini_hochberg_works_within_groups_and_passes_missing_tests():
    random = np.random.default_rng(3)
    p = random.random(60)
    p[[4, 40]] = np.nan
    groups = np.repeat(["a", "b"], 30)
    ours = benjamini_hochberg(p, groups)
    assert np.isnan(ours[[4, 40]]).all()
    for label in ("a", "b"):
        family = (groups == label) & ~np.isnan(p)
        # By definition: min over j >= i of m p_(j) / j.
        order = np.argsort(p[family])
        raw = p[family][order] * family.sum() / np.arange(1, family.sum() + 1)
        expected = np.minimum.accumulate(raw[::-1])[::-1]
        np.testing.assert_allclose(ours[family][order], expected, rtol=1e-12)


def test_genomic_control_sees_inflation():
    p = 2 * stats.norm.sf(np.abs(np.random.default_rng(1).normal(0, 1.5, 20_000)))
    assert genomic_control_lambda(p) == pytest.approx(2.25, abs=0.1)
    assert np.isnan(genomic_control_lambda([]))


def test_odds_ratio_corrects_zero_cells_and_refuses_empty_tables():
    effect, error = log_odds_ratio([0, 0, 10], [10, 10, 20], [5, 0, 5], [10, 10, 20])
    assert effect[0] == pytest.approx(np.log(0.5 * 5.5 / (10.5 * 5.5)))
    assert np.isnan(effect[1])
    assert np.isnan(error[1])
    assert effect[2] == pytest.approx(np.log(10 * 15 / (10 * 5)))


def test_wilson_interval_equals_statsmodels():
    k, n = np.array([0, 3, 50, 10]), np.array([10, 12, 80, 10])
    low, high = wilson_interval(k, n)
    expected = proportion_confint(k, n, method="wilson")
    np.testing.assert_allclose(low, expected[0], atol=1e-12)
    np.testing.assert_allclose(high, expected[1], atol=1e-12)
    assert np.isnan(wilson_interval([0], [0])[0][0])
