"""Membership attacks on simulated cohorts: known power, and none where there is no member."""

import numpy as np
import pytest

from ihdsi.disclosure.membership import (
    analytic_power,
    area_under_curve,
    attack_power,
    homer_scores,
    likelihood_ratio_scores,
)

N, M, OTHERS = 200, 1000, 2000


def attack(score, seed, m=M, alter=lambda p: p, copies=2, missing=0.0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.005, 0.5, m)  # some allele counts fall below ten
    people = rng.binomial(copies, truth[:, None], (m, 2 * N + OTHERS))
    ploidy = np.where(rng.random(people.shape) < missing, 0, copies)
    people = np.where(ploidy > 0, people, 0)
    released = alter(people[:, :N].sum(axis=1) / ploidy[:, :N].sum(axis=1))
    scores = score(people, ploidy, released, truth)
    return scores[:N], scores[N : 2 * N], scores[2 * N :]


def mean_power(score, **kwargs):
    return np.mean([attack_power(*attack(score, seed, **kwargs)[::2]) for seed in range(3)])


def test_likelihood_ratio_attack_succeeds_on_exact_and_on_controlled_frequencies():
    exact = mean_power(likelihood_ratio_scores)
    rounded = mean_power(likelihood_ratio_scores, alter=lambda p: np.round(p, 2))
    withheld = []

    def at_least_ten(p):
        withheld.append(int((p * 2 * N < 10).sum()))
        return np.where(p * 2 * N >= 10, p, np.nan)

    common = mean_power(likelihood_ratio_scores, alter=at_least_ten)
    assert min(withheld) > 10
    assert 0.6 < exact < 0.8
    assert rounded > 0.55
    assert common > 0.55
    assert abs(exact - analytic_power(M, N)) < 0.08


def test_homer_attack_succeeds():
    assert mean_power(homer_scores) > 0.15


@pytest.mark.parametrize("score", [likelihood_ratio_scores, homer_scores])
def test_people_who_were_not_counted_are_not_found(score):
    _, fresh, others = attack(score, 5)
    assert attack_power(fresh, others) < 0.11
    assert abs(area_under_curve(fresh, others) - 0.5) < 0.08


def test_power_grows_with_the_number_of_frequencies():
    powers = [mean_power(likelihood_ratio_scores, m=m) for m in (20, 200, 1000)]
    assert powers == sorted(powers)
    assert powers[0] < 0.15


def test_haploid_and_missing_genotypes():
    assert 0.6 < mean_power(likelihood_ratio_scores, copies=1) < 0.85
    # Half the genotypes of half the people: m and n both halve, and m/n is what matters.
    assert 0.6 < mean_power(likelihood_ratio_scores, missing=0.5) < 0.85
    one, none = np.array([[1]]), np.array([[0]])
    p, q = np.array([0.5]), np.array([0.25])
    for score in (likelihood_ratio_scores, homer_scores):
        assert score(none, none, p, q) == 0
    assert likelihood_ratio_scores(one, one, p, q) == pytest.approx(np.log(2))


def test_no_scores_are_refused():
    for measure in (attack_power, area_under_curve):
        with pytest.raises(ValueError, match="needs scores"):
            measure(np.empty(0), np.ones(1))
