"""The germline odds of a tumour without a normal."""

import numpy as np
import pytest
from scipy.stats import binom

from ihdsi.variants.tumour_only import germline_log_odds

SOMATIC = 3e-6


def test_by_hand():
    # 1 of 2 reads: B(1; 2, 1/2) = 1/2; at e = 0.1 a homozygous one shows it with 0.18.
    p = 0.2
    germline = 2 * p * (1 - p) / 2 + p**2 * 0.18
    somatic = (1 - p) ** 2 * 1e-3 / 3
    odds = germline_log_odds([1], [1], [0.1], [p], 1e-3)
    assert odds[0] == pytest.approx(np.log10(germline / somatic))


def test_posterior_is_calibrated_on_simulated_counts():
    """Among simulated variants with odds near a value, germline ones are as many as it says."""
    rng = np.random.default_rng(5)
    n_variants, prior, p = 400_000, 0.02, 0.01
    depth = rng.poisson(60, size=n_variants) + 1
    weights = np.array([2 * p * (1 - p), p**2, (1 - p) ** 2 * prior])
    kind = rng.choice(3, size=n_variants, p=weights / weights.sum())
    fraction = np.select([kind == 0, kind == 1], [0.5, 0.999], rng.random(n_variants))
    alternate = binom.rvs(depth, fraction, random_state=rng)
    odds = germline_log_odds(depth - alternate, alternate, 0.001, p, prior)
    posterior = 1 / (1 + 10**-odds)
    for low in np.arange(0.05, 0.95, 0.1):
        chosen = (posterior >= low) & (posterior < low + 0.1)
        expected, n = posterior[chosen].mean(), chosen.sum()
        assert n > 100
        tolerance = 4 * np.sqrt(expected * (1 - expected) / n)
        assert (kind[chosen] < 2).mean() == pytest.approx(expected, abs=tolerance)


def test_heterozygous_and_homozygous_fractions_speak_for_germline():
    depth = 150
    alternate = np.array([75, 150, 30, 10])
    odds = germline_log_odds(depth - alternate, alternate, 1e-3, 0.0005, SOMATIC)
    assert (odds[:2] > 1).all()
    assert (odds[2:] < -2).all()


def test_a_rarer_allele_is_less_likely_germline():
    odds = germline_log_odds([50] * 3, [50] * 3, 1e-3, [1e-6, 1e-3, 0.3], SOMATIC)
    assert (np.diff(odds) > 2).all()


def test_deep_sites_stay_finite():
    odds = germline_log_odds([0, 20_000], [20_000, 0], 1e-4, [1.0, 1e-9], SOMATIC)
    assert np.isfinite(odds).all()
