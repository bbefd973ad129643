"""What share one patient can have in a combination of sums that leave over groups of patients.

Whoever has the sums over groups of patients can add them up with any weights. With the indicators
of the groups as columns of X, a combination of sums is Σ cᵢ yᵢ with c in the column space of X, and
one patient's largest share in the squares of its weights, cᵢ² / Σ cⱼ², is the patient's leverage
xᵢ'(X'X)⁺xᵢ (Hoaglin and Welsch 1978, The hat matrix in regression and ANOVA, Am Stat 32:17). Where
it is 1 the patient's value is told exactly, however many sums that takes and however different
every two groups are. Where k patients follow as one sum, it is at least 1/k for each of them.

Two groups that differ by few patients are looked for besides, because the difference of two sums
over up to nine patients is below the smallest group of which a sum may leave, though nobody's
leverage need be large.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

import numpy as np

from ihdsi.disclosure.members import Group
from ihdsi.summaries.design import leverage

__all__ = [
    "JOINT_LEVERAGE",
    "NEARLY_EQUAL",
    "harmless",
    "leverages",
    "nearly_equal",
    "refusal",
]

#: What `refusal` says.
NEARLY_EQUAL, JOINT_LEVERAGE = "nearly_equal", "joint_leverage"
#: Singular values below this share of the largest are rounding errors: those of matrices of zeros
#: and ones are far larger.
_RANK = 1e-9
#: Rounding errors of a leverage; on the border the rule refuses.
_ROUNDING = 1e-6


def leverages(groups: Iterable[Group]) -> dict[str, float]:
    """Compute each patient's leverage in the column space of the groups' indicators.

    Parameters
    ----------
    groups
        Groups of patients over which sums leave.

    Returns
    -------
    dict
        Of each patient who is in a group, the largest share (0 to 1) in the squared weights of any
        combination of the sums.
    """
    return dict(_leverages(frozenset(group for group in groups if group)))


# The strata of most populations are the same patients.
@lru_cache(maxsize=256)
def _leverages(groups: frozenset[Group]) -> Mapping[str, float]:
    columns = list(groups)
    place = {patient: row for row, patient in enumerate(sorted(frozenset().union(*columns)))}
    if not place:
        return {}
    indicators = np.zeros((len(place), len(columns)))
    for column, group in enumerate(columns):
        indicators[[place[patient] for patient in group], column] = 1
    # Patients of the same groups have the same leverage, so that each such row is needed once.
    rows, row_of, size = np.unique(indicators, axis=0, return_inverse=True, return_counts=True)
    of_row = leverage(np.sqrt(size)[:, None] * rows, _RANK) / size
    return dict(zip(place, of_row[row_of.ravel()].tolist(), strict=True))


def nearly_equal(ours: Iterable[Group], theirs: Collection[Group], least: int) -> bool:
    """Whether two groups differ by at least one patient and fewer than `least`.

    The difference of two sums is one over all the patients who are in one of the groups only, so
    that those who are in either count together.
    """
    return any(0 < len(one ^ other) < least for one in ours for other in theirs)


def harmless(
    groups: Collection[Group],
    admitted: Collection[Group],
    told: Collection[Group],
    least: int,
    limit: float,
) -> bool:
    """Whether neither these groups nor any part of them and of the others can be refused.

    Parameters are those of `refusal`. Leverages grow with the groups, so that what is below the
    limit here is so with fewer of them.
    """
    if nearly_equal(set(groups) - set(admitted), admitted, least):
        return False
    shares = _leverages(frozenset({*groups, *admitted, *told}))
    return limit >= 1 or max(shares.values(), default=0.0) <= limit - _ROUNDING


def refusal(
    groups: Collection[Group],
    admitted: Collection[Group],
    told: Collection[Group],
    least: int,
    limit: float,
) -> str | None:
    """Say why sums over further groups cannot leave; None if they can.

    Parameters
    ----------
    groups
        Groups of sums that leave together or not at all.
    admitted
        Groups of which sums of the same values leave in the same release.
    told
        Groups of which sums of the same values left before.
    least
        Smallest number of patients of whom a sum may be known.
    limit
        Largest leverage, which is refused itself; 1 turns the rule off.

    Returns
    -------
    str or None
        `NEARLY_EQUAL` or `JOINT_LEVERAGE`. Sums that tell nothing new can leave: those over known
        groups, and those that raise the leverage of nobody.
    """
    known = {*admitted, *told}
    new = set(groups) - known
    if nearly_equal(new, admitted, least):
        return NEARLY_EQUAL
    if not new or limit >= 1:
        return None
    before = _leverages(frozenset(known))
    reached = any(
        share > limit - _ROUNDING and share > before.get(patient, 0.0) + _ROUNDING
        for patient, share in _leverages(frozenset(known | new)).items()
    )
    return JOINT_LEVERAGE if reached else None
