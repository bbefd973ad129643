"""Leverages against least squares, and what is refused of overlapping groups."""

import numpy as np
import pytest

from ihdsi.disclosure.joint_leverage import (
    JOINT_LEVERAGE,
    NEARLY_EQUAL,
    harmless,
    leverages,
    nearly_equal,
    refusal,
)


def group(*numbers):
    return frozenset(f"p{number}" for number in numbers)


def hat_diagonal(groups, n):
    """Diagonal of X(X'X)^+X' from the pseudo-inverse."""
    x = np.array([[f"p{i}" in g for g in groups] for i in range(n)], dtype=float)
    return np.diag(x @ np.linalg.pinv(x.T @ x) @ x.T)


@pytest.mark.parametrize("seed", range(5))
def test_leverages_are_those_of_the_hat_matrix(seed):
    rng = np.random.default_rng(seed)
    groups = [group(*np.flatnonzero(rng.random(40) < 0.4)) for _ in range(6)]
    groups.append(groups[0] | groups[1])  # columns that depend on each other do no harm
    groups.append(group(*range(40)))
    expected = hat_diagonal(groups, 40)
    found = leverages(groups)
    assert found == pytest.approx({f"p{i}": value for i, value in enumerate(expected)})
    # The trace of the hat matrix is the rank.
    x = np.array([[f"p{i}" in g for g in groups] for i in range(40)], dtype=float)
    assert sum(found.values()) == pytest.approx(np.linalg.matrix_rank(x))


def test_no_groups_have_no_leverages():
    assert leverages([]) == {}
    assert leverages([frozenset()]) == {}


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_patients_whose_sum_follows_share_it(k):
    """All, less two parts that leave k patients over: no two groups are near each other."""
    everyone = group(*range(60 + k))
    parts = [group(*range(30)), group(*range(30, 60))]
    found = leverages([everyone, *parts])
    assert [found[f"p{60 + i}"] for i in range(k)] == pytest.approx([1 / k] * k)


def test_differences_count_patients_of_either_group():
    one = group(*range(50))
    assert nearly_equal([one], [group(*range(49))], 10)
    assert not nearly_equal([one], [one], 10)
    # Five and four patients, then five and five.
    assert nearly_equal([one], [group(*range(5, 54))], 10)
    assert not nearly_equal([one], [group(*range(5, 55))], 10)
    # One patient against many: the difference is a sum over all of them.
    assert not nearly_equal([one], [group(*range(1, 80))], 10)


def test_what_is_new_is_refused_if_it_is_near_or_leaves_one_patient():
    everyone = group(*range(61))
    lower, upper = group(*range(30)), group(*range(30, 60))
    assert refusal([lower, everyone], [], [], 10, 0.5) is None
    assert refusal([upper], [lower], [], 10, 0.5) is None
    assert refusal([everyone], [lower, upper], [], 10, 0.5) == JOINT_LEVERAGE
    assert refusal([everyone], [lower], [upper], 10, 0.5) == JOINT_LEVERAGE
    assert refusal([everyone], [lower, upper], [], 10, 1.0) is None
    assert refusal([group(*range(60))], [everyone], [], 10, 0.5) == NEARLY_EQUAL
    # A share on the border is refused: with the sum of two whoever is one of them has the other.
    two_over = group(*range(62))
    assert refusal([two_over], [lower, upper], [], 10, 0.5) == JOINT_LEVERAGE
    assert refusal([group(*range(63))], [lower, upper], [], 10, 0.5) is None


def test_what_is_known_can_leave_again():
    everyone, parts = group(*range(61)), [group(*range(30)), group(*range(30, 60))]
    assert refusal([everyone], [], [everyone, *parts], 10, 0.5) is None
    assert refusal([everyone], parts, [everyone], 10, 0.5) is None
    # Nor is anything told of p60 by a group that follows from the known ones.
    assert refusal([group(*range(60))], [], [everyone, *parts], 10, 0.5) is None
    # Of another patient it is.
    other = group(*range(29), *range(30, 60))
    assert refusal([other], [], [everyone, *parts], 10, 0.5) == JOINT_LEVERAGE


@pytest.mark.parametrize("seed", range(20))
def test_no_part_of_what_is_harmless_is_refused(seed):
    rng = np.random.default_rng(seed)
    groups = [group(*np.flatnonzero(rng.random(30) < 0.5)) for _ in range(8)]
    split = rng.integers(0, 3, 8)
    new, admitted, told = (
        [g for g, k in zip(groups, split, strict=True) if k == i] for i in range(3)
    )
    limit = float(rng.uniform(0.3, 1))
    if harmless(new, admitted, told, 4, limit):
        for _ in range(20):
            parts = [[g for g in kind if rng.random() < 0.6] for kind in (new, admitted, told)]
            assert refusal(*parts, 4, limit) is None
    else:
        near = nearly_equal(set(new) - set(admitted), admitted, 4)
        assert near or max(leverages(groups).values()) > limit - 1e-6


def test_what_is_refused_is_not_harmless():
    everyone, parts = group(*range(61)), [group(*range(30)), group(*range(30, 60))]
    assert not harmless([everyone], parts, [], 10, 0.5)
    assert not harmless([group(*range(60))], [everyone], [], 10, 0.5)
    assert harmless(parts, [everyone - {"p60"}], [], 10, 0.5)
