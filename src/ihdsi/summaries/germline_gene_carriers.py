"""Germline variants that do not leave one by one: how many patients carry one, by gene.

Unlike the other tables this one is made by disclosure control, in
`ihdsi.disclosure.frequency_release`, because only there is it known which variants do not leave.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.summaries.table import GENE_COLUMNS, STRATUM_COLUMNS, Column, Constraint, TableSpec
from ihdsi.variants.consequences import alteration_class, severity_rank

__all__ = [
    "GROUPS",
    "SPEC",
    "carriers_of_rows",
    "consequence_group",
    "group_severity",
]

#: Groups of protein-altering consequences, most severe first, and the least severe term of each.
GROUPS: Mapping[str, str] = {
    "truncating": "start_lost",
    "missense": "missense",
    "other": "coding_sequence",
}

SPEC = TableSpec(
    name="germline_gene_carriers",
    version=1,
    description="Patients with a germline variant that the site does not release by itself, by "
    "gene of the panel and kind of variant.",
    columns=(
        *GENE_COLUMNS,
        Column(
            "consequence_group",
            pl.String,
            "key",
            allowed=tuple(GROUPS),
            description="other: splice sites, in-frame changes, lost stops.",
        ),
        *STRATUM_COLUMNS,
        Column(
            "n_assessed",
            pl.Int64,
            "count",
            minimum=0,
            unit="1",
            description="Patients with called genotypes at these variants.",
        ),
        Column(
            "n_carriers",
            pl.Int64,
            "count",
            minimum=0,
            unit="1",
            description="Of these, patients who carry at least one of the variants that have no "
            "row in variant_frequencies.",
        ),
    ),
    keys=("gene_id", "consequence_group", "stratum_variable", "stratum"),
    constraints=(
        Constraint(
            "n_carriers",
            lambda: pl.col("n_carriers") <= pl.col("n_assessed"),
            "n_carriers ≤ n_assessed",
        ),
    ),
)


def consequence_group(consequence: str | None) -> str | None:
    """Group of a consequence as ``bcftools csq`` writes it; None where the protein stays."""
    found = alteration_class(consequence or "")
    if found in ("splice", "inframe"):
        return "other"
    return found if found in GROUPS else None


def group_severity(group: str) -> float:
    """Place of a group in the order of severity: behind the single variants of the group."""
    return severity_rank(GROUPS[group]) + 0.5


def carriers_of_rows(
    dosage: NDArray[np.integer],
    ploidy: NDArray[np.integer],
    row: NDArray[np.integer],
    n_rows: int,
    minimum_call_rate: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Who carries a variant of a row, and who was assessed for it.

    Parameters
    ----------
    dosage, ploidy
        Alternate and called alleles; shape (V, P).
    row
        Shape (V,): the row (gene and group) to which a variant counts.
    n_rows
        R.
    minimum_call_rate
        Share of a row's variants at which a patient needs a genotype to be assessed.

    Returns
    -------
    tuple
        Carriers and assessed patients, shape (R, P); nobody is either in a row without variants.
    """
    n_patients = dosage.shape[1]
    carriers = np.zeros((n_rows, n_patients), dtype=bool)
    called = np.zeros((n_rows, n_patients), dtype=np.int64)
    if len(row):
        order = np.argsort(row, kind="stable")
        present, start = np.unique(row[order], return_index=True)
        is_called = ploidy[order] > 0
        carriers[present] = np.logical_or.reduceat(is_called & (dosage[order] > 0), start, axis=0)
        called[present] = np.add.reduceat(is_called, start, axis=0, dtype=np.int64)
    n_variants = np.bincount(row, minlength=n_rows)[:, None]
    assessed = (called >= minimum_call_rate * n_variants) & (called > 0)
    return carriers & assessed, assessed
