"""Each rule on its own, against the values that it must not need."""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import rules
from ihdsi.study import DisclosureSettings

SETTINGS = DisclosureSettings(zero_cells_allowed=True)


def value(expression):
    return pl.select(expression).item()


def sums(values):
    values = np.asarray(values, dtype=float)
    return pl.lit(values.size), pl.lit(values.sum()), pl.lit((values**2).sum())


def cohorts(seed, number=150):
    """Values that are not negative, of very different shapes and sizes."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n = int(rng.integers(3, 40))
        yield rng.choice(
            [rng.gamma(0.2, 1, n), rng.random(n), rng.pareto(1.1, n), rng.integers(0, 3, n) * 1.0]
        )


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0), (1.0, 1.0, 1.0), (1.1, 1.0)])
def test_a_weighted_sum_of_the_largest_values_keeps_its_bound(weights):
    for values in cohorts(1):
        n, total, squares = sums(values)
        bound = value(rules.largest_weighted_sum(weights, n, total, squares))
        largest = np.sort(values)[::-1][: len(weights)] @ weights
        assert largest <= bound * (1 + 1e-9) + 1e-9
        # Never wider than Cauchy-Schwarz without centring.
        assert bound <= np.sqrt(np.square(weights).sum() * value(squares)) * (1 + 1e-9)


def test_the_bound_is_attained():
    """Two large values and equal others are the worst that their sums allow."""
    n, total, squares = sums([7.0, 7.0] + [1.0] * 20)
    assert value(rules.largest_weighted_sum([1, 1], n, total, squares)) == pytest.approx(14)
    n, total, squares = sums([9.0] + [2.0] * 11)
    assert value(rules.largest_weighted_sum([1], n, total, squares)) == pytest.approx(9)


def test_dominance_refuses_whatever_the_values_break():
    refused = passed = 0
    for values in cohorts(2):
        holds = value(rules.dominance_rule(*sums(values), SETTINGS))
        broken = np.sort(values)[-2:].sum() >= 0.9 * values.sum()
        assert not (holds and broken)
        refused, passed = refused + broken, passed + holds
    assert refused > 5
    assert passed > 50


def test_p_ratio_refuses_whatever_the_values_break():
    refused = passed = 0
    for values in cohorts(3):
        holds = value(rules.p_ratio_rule(*sums(values), SETTINGS))
        first, second = np.sort(values)[::-1][:2]
        broken = values.sum() - first - second < 0.1 * first
        assert not (holds and broken)
        refused, passed = refused + broken, passed + holds
    assert refused > 5
    assert passed > 50


@pytest.mark.parametrize(
    ("values", "dominance", "p_ratio"),
    [
        ([45.0, 45.0] + [0.5] * 20, False, True),  # 90 % itself is refused, as ACRO does
        ([40.0, 40.0] + [1.0] * 20, True, True),
        ([60.0, 30.0] + [0.5] * 11, False, False),
        ([5.0, 5.0], False, False),  # all of the sum is of two
        ([0.0] * 12, False, False),
    ],
)
def test_dominance_and_p_ratio_on_known_values(values, dominance, p_ratio):
    assert value(rules.dominance_rule(*sums(values), SETTINGS)) is dominance
    assert value(rules.p_ratio_rule(*sums(values), SETTINGS)) is p_ratio


def test_rules_of_dominance_can_be_turned_off():
    off = SETTINGS.model_copy(update={"dominance_k": 1.0, "p_ratio": 0.0})
    assert value(rules.dominance_rule(*sums([9.0, 0.0, 0.0]), off))
    assert value(rules.p_ratio_rule(*sums([9.0, 0.0, 0.0]), off))


def test_by_default_one_patients_limit_implies_the_others():
    """A study that keeps the defaults loses nothing to the rules on two patients."""
    for values in cohorts(4):
        n, total, squares = sums(values)
        if value(rules.small_contributions(total, squares, SETTINGS)) and values.sum() > 0:
            assert value(rules.dominance_rule(n, total, squares, SETTINGS))
            assert value(rules.p_ratio_rule(n, total, squares, SETTINGS))


@pytest.mark.parametrize(
    ("parameters", "n", "left"), [(3, 13, True), (3, 12, False), (0, 10, True)]
)
def test_residual_degrees_of_freedom(parameters, n, left):
    holds = rules.enough_degrees_of_freedom(pl.lit(parameters), pl.lit(n), SETTINGS)
    assert value(holds) is left


@pytest.mark.parametrize(("levels", "n", "left"), [(3, 10, True), (4, 12, False), (33, 100, True)])
def test_density_of_levels(levels, n, left):
    assert value(rules.few_levels(pl.lit(levels), pl.lit(n), SETTINGS)) is left


@pytest.mark.parametrize(
    ("at_risk", "events", "censored", "left"),
    [
        (40, 10, 5, True),
        (40, 4, 10, False),
        (40, 10, 4, False),
        (40, 10, 26, False),  # four remain
        (40, 20, 20, True),  # the last step
        (9, 0, 0, False),
        (40, 0, 0, True),
        (40, 41, 0, False),
    ],
)
def test_steps_of_survival(at_risk, events, censored, left):
    step = (pl.lit(at_risk), pl.lit(events), pl.lit(censored))
    assert value(rules.safe_survival_step(*step, SETTINGS)) is left
    no_zeros = SETTINGS.model_copy(update={"zero_cells_allowed": False})
    if 0 in (events, censored):
        assert value(rules.safe_survival_step(*step, no_zeros)) is False
