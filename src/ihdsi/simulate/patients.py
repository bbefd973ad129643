"""Patients with the expression of their tumours and the survival that depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ihdsi.simulate.cohort import SiteDesign, simulate_patients, simulate_survival
from ihdsi.simulate.expression import (
    Expression,
    expression_parameters,
    simulate_expression,
    survival_log_hazard,
)

__all__ = ["Cohort", "simulate_cohort"]


@dataclass(frozen=True)
class Cohort:
    """Patients (with survival), the planted parameters of genes and the drawn expression."""

    patients: pl.DataFrame
    parameters: pl.DataFrame
    expression: Expression


def simulate_cohort(seed: int, genes: pl.DataFrame, sites: Sequence[SiteDesign]) -> Cohort:
    """Simulate everything about the patients that needs no genome sequence.

    Parameters
    ----------
    genes
        Result of `ihdsi.simulate.genome.gene_list`.
    """
    patients = simulate_patients(seed, sites)
    parameters = expression_parameters(seed, genes, sites)
    expression = simulate_expression(
        seed, patients, parameters, {design.site: design.library_size for design in sites}
    )
    hazard = survival_log_hazard(expression, parameters)
    return Cohort(simulate_survival(seed, patients, hazard), parameters, expression)
