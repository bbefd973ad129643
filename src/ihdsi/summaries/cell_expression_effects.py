"""Differential expression per cell type, contrast and gene, on donor pseudobulk."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.summaries import expression_effects
from ihdsi.summaries.cell_composition import CELL_TYPE
from ihdsi.summaries.table import TableSpec

if TYPE_CHECKING:
    from ihdsi.study import ClinicalVariable, Contrast

__all__ = ["SPEC", "estimate_cell_expression_effects", "pseudobulk_by_type"]

logger = logging.getLogger(__name__)

_DESCRIPTIONS = {
    "n_case": "Donors of the case level with cells of the type.",
    "n_control": "Donors of the control level with cells of the type.",
    "base_mean": "Mean over donors of normalised counts.",
}

SPEC = TableSpec(
    name="cell_expression_effects",
    version=1,
    description="PyDESeq2 estimates (unshrunken) of each cell type, contrast and gene, from the "
    "counts of each donor's cells added up.",
    columns=(
        CELL_TYPE,
        *(
            replace(column, description=_DESCRIPTIONS.get(column.name, column.description))
            for column in expression_effects.SPEC.columns
        ),
    ),
    keys=("cell_type", *expression_effects.SPEC.keys),
    constraints=expression_effects.SPEC.constraints,
)


def pseudobulk_by_type(sums: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Divide a table of sums into one a cell type, with the donors that have cells of it.

    Parameters
    ----------
    sums
        As of `ihdsi.single_cell.clusters.sum_by_donor`.

    Returns
    -------
    dict
        As `estimate_cell_expression_effects` takes it.
    """
    return {
        str(cell_type): rows.select(
            column.name for column in rows.drop("cell_type") if column.null_count() < rows.height
        )
        for (cell_type,), rows in sums.partition_by(
            "cell_type", as_dict=True, maintain_order=True
        ).items()
    }


def estimate_cell_expression_effects(
    pseudobulk: Mapping[str, pl.DataFrame],
    clinical: pl.DataFrame,
    contrasts: Mapping[str, Contrast],
    variables: Mapping[str, ClinicalVariable],
    minimum_n: int,
    n_cpus: int = 1,
    maximum_contribution: float = 0.5,
) -> pl.DataFrame:
    """Estimate every contrast in every cell type with PyDESeq2, donors being the replicates.

    Parameters
    ----------
    pseudobulk
        By cell type: gene_id, gene_name and one column a donor of raw counts, summed over the
        donor's cells of the type. Donors with too few of them have no column.
    clinical, contrasts, variables, minimum_n, n_cpus, maximum_contribution
        As for `estimate_expression_effects`.

    Returns
    -------
    polars.DataFrame
        The table `cell_expression_effects`.

    References
    ----------
    Squair et al. 2021, Nature Communications 12:5692: cells of one donor are no replicates, and
    tests that take them for such find differences where there are none.
    """
    parts = [pl.DataFrame(schema=SPEC.schema)]
    for cell_type, counts in pseudobulk.items():
        logger.info("cell type %s", cell_type)
        effects = expression_effects.estimate_expression_effects(
            counts, clinical, contrasts, variables, minimum_n, n_cpus, maximum_contribution
        )
        parts.append(effects.with_columns(cell_type=pl.lit(cell_type)).select(list(SPEC.schema)))
    return pl.concat(parts).sort(SPEC.keys)
