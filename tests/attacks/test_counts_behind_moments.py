"""Attacks on withheld counts through means and deviations of variables that have few values.

The attacker lists the counts that give the released mean and standard deviation. Each attack
succeeds with the judgement of the values off and fails with it on.
"""

from itertools import product

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control, judge_features
from ihdsi.study import (
    ClinicalDictionary,
    ClinicalVariable,
    DisclosureSettings,
    Study,
)
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.mutation_burden import build_mutation_burden
from judged_features import nobody_makes_up
from somatic_mutations import missense

SETTINGS = DisclosureSettings()
#: Rules of dominance are conservative; without them the judgement of values is seen alone.
NO_DOMINANCE = SETTINGS.model_copy(
    update={"maximum_contribution": 1.0, "dominance_k": 1.0, "p_ratio": 0.0}
)
N = 80
VARIABLES = {
    "ecog": ClinicalVariable(type="number", unit="1", bins=(0, 1, 2, 3)),
    "sex": ClinicalVariable(type="categorical", levels=("f", "m")),
}
STUDY = Study.model_construct(
    contrasts={},
    endpoints={},
    strata=("sex",),
    clinical=ClinicalDictionary(variables=VARIABLES),
)


def moments_of(values, sexes=None, on=True, settings=SETTINGS):
    """Rows of moments that leave, and the rules of those that do not by stratum."""
    n = len(values)
    sexes = ["f", "m"] * (n // 2) if sexes is None else sexes
    clinical = pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "ecog": np.asarray(values, dtype=float),
            "sex": pl.Series(sexes, dtype=pl.String),
        }
    )
    tables = {"cohort_profile": build_cohort_profile(clinical, VARIABLES, ["sex"])}
    features = judge_features(STUDY, settings, {"clinical": clinical}, key=b"site")
    cleared, log = apply_disclosure_control(
        tables, settings, [], {}, features=features if on else nobody_makes_up(tables)
    )
    moments = cleared["cohort_profile"].filter(kind="moments", variable="ecog")
    withheld = log.filter(pl.col("key").str.contains('"moments"')).select(
        pl.col("key").str.json_path_match("$.stratum"), "rule"
    )
    return moments, dict(withheld.iter_rows())


def fitting_counts(row, values):
    """Counts of the values that give the row's n, mean and standard deviation (three digits)."""
    n, mean, deviation = row["n"], row["mean"], row["standard_deviation"]
    found = []
    for first in product(range(n + 1), repeat=len(values) - 1):
        if sum(first) > n:
            continue
        counts = np.array([*first, n - sum(first)])
        m = counts @ values / n
        sd = np.sqrt(max(counts @ (values - m) ** 2, 0) / (n - 1))
        if float(f"{m:.3g}") == mean and float(f"{sd:.3g}") == deviation:
            found.append(tuple(counts.tolist()))
    return found


@pytest.mark.parametrize("rare", [1, 2, 3, 9])
def test_a_value_that_few_have_follows_from_the_mean(rare):
    values = np.ones(N)
    values[:rare] = 2
    row = moments_of(values, on=False)[0].filter(stratum="all").row(0, named=True)
    assert fitting_counts(row, np.array([1.0, 2.0])) == [(N - rare, rare)]
    left, rules = moments_of(values)
    assert left.is_empty()
    assert rules["all"] == "commonest_value"


def test_a_third_value_follows_from_mean_and_deviation():
    """No value is that of most patients here."""
    values = np.random.default_rng(1).permutation(np.repeat([0.0, 1.0, 2.0], [33, 30, 3]))
    row = moments_of(values, on=False)[0].filter(stratum="all").row(0, named=True)
    assert fitting_counts(row, np.array([0.0, 1.0, 2.0])) == [(33, 30, 3)]
    left, rules = moments_of(values)
    assert left.is_empty()
    assert rules["all"] == "cells_of_few_values"


def test_what_the_strata_leave_of_the_cohort_is_judged_as_well():
    """Twelve patients of unknown sex, all but one with the same value."""
    values = np.concatenate([np.tile([0.0, 1.0], 40), np.zeros(11), [1.0]])
    sexes = [*np.repeat(["f", "m"], 40).tolist(), *[None] * 12]
    left, _ = moments_of(values, sexes, on=False, settings=NO_DOMINANCE)
    assert set(left["stratum"]) == {"all", "f", "m"}
    sums = {row["stratum"]: row["n"] * row["mean"] for row in left.iter_rows(named=True)}
    assert sums["all"] - sums["f"] - sums["m"] == pytest.approx(1, abs=0.3)
    left, rules = moments_of(values, sexes, settings=NO_DOMINANCE)
    # One stratum, with those of unknown sex, is enough patients with either value.
    assert left.height == 2
    assert set(left["stratum"]) & {"f", "m"}
    assert list(rules.values()) == ["complementary_suppression"]


def test_the_union_of_what_is_safe_is_safe():
    """Strata that later rules withhold are not judged again with the rest."""
    from ihdsi.disclosure.contributions import few_apart

    rng = np.random.default_rng(5)
    joined = 0
    for _ in range(3000):
        groups = [
            rng.choice(4, rng.integers(1, 40), p=rng.dirichlet([0.5] * 4)).astype(float)
            for _ in range(2)
        ]
        if any(few_apart(group[None, :], 10)[0] for group in groups):
            continue
        joined += 1
        assert not few_apart(np.concatenate(groups)[None, :], 10)[0]
    assert joined > 100


def test_ordinary_variables_leave():
    rng = np.random.default_rng(7)
    for values in (rng.normal(65, 9, N).round(), rng.integers(0, 3, N).astype(float)):
        left, rules = moments_of(values)
        assert set(left["stratum"]) == {"all", "f", "m"}
        assert rules == {}


def test_moments_that_nobody_judged_do_not_leave():
    clinical = pl.DataFrame({"patient": [f"p{i}" for i in range(N)], "ecog": np.arange(N) * 1.0})
    table = {"cohort_profile": build_cohort_profile(clinical, VARIABLES, [])}
    cleared, log = apply_disclosure_control(table, SETTINGS, [], {})
    assert cleared["cohort_profile"].filter(kind="moments").is_empty()
    assert "contributions_not_judged" in log["rule"].to_list()


@pytest.mark.parametrize(("mutated", "leaves"), [(9, False), (10, True)])
def test_a_burden_that_few_patients_have(mutated, leaves):
    """All have the same territory; the mean of the burden counts the mutations of the few."""
    patients = [f"p{i}" for i in range(N)]
    each = np.arange(1, mutated + 1) % 3 + 6
    variants = missense(np.repeat(patients[:mutated], each))
    assessed = pl.DataFrame({"patient": patients, "callable_megabases": 30.0})
    if leaves:
        # Different territories, so that there are many values.
        assessed = assessed.with_columns(
            callable_megabases=pl.Series(np.random.default_rng(1).uniform(25, 35, N))
        )
    table = {"mutation_burden": build_mutation_burden(variants, assessed, None, [])}
    settings = NO_DOMINANCE
    off, _ = apply_disclosure_control(table, settings, [], {}, features=nobody_makes_up(table))
    assert off["mutation_burden"].height == 2
    row = off["mutation_burden"].row(0, named=True)
    if not leaves:
        assert round(30 * N * row["mean"]) == each.sum()
    study = Study.model_construct(
        contrasts={}, endpoints={}, strata=(), clinical=ClinicalDictionary(variables={})
    )
    frames = {"variants": variants, "assessed": assessed}
    features = judge_features(study, settings, frames)
    cleared, log = apply_disclosure_control(table, settings, [], {}, features=features)
    assert cleared["mutation_burden"].height == (2 if leaves else 0)
    assert set(log["rule"]) == (set() if leaves else {"commonest_value"})
