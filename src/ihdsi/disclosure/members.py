"""Whom a release counts, as sets of patients by population and stratum."""

from __future__ import annotations

import polars as pl

__all__ = ["GROUP_COLUMNS", "Group", "Stratum", "members_of"]

#: Columns that name a group of patients.
GROUP_COLUMNS = ("population", "stratum_variable", "stratum")

Stratum = tuple[str, str]
Group = frozenset[str]


def members_of(populations: pl.DataFrame) -> dict[str, dict[Stratum, Group]]:
    """Collect the patients of each population and stratum.

    Parameters
    ----------
    populations
        `GROUP_COLUMNS`, and patient_hash, or patient where there are no hashes.

    Returns
    -------
    dict
        Sets of patients by stratum variable and stratum, by population; both in order.
    """
    person = "patient_hash" if "patient_hash" in populations.columns else "patient"
    members: dict[str, dict[Stratum, Group]] = {}
    groups = populations.group_by(GROUP_COLUMNS).agg(pl.col(person)).sort(GROUP_COLUMNS)
    for population, variable, stratum, patients in groups.iter_rows():
        members.setdefault(population, {})[variable, stratum] = frozenset(patients)
    return members
