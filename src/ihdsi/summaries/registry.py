"""The tables that may leave a site, by name."""

from __future__ import annotations

from ihdsi.summaries import (
    cell_composition,
    cell_expression_effects,
    cohort_profile,
    expression_effects,
    expression_moments,
    gene_alterations,
    germline_gene_carriers,
    matrix_moments,
    mutation_burden,
    qc_profile,
    survival_curve,
    survival_effects,
    variant_frequencies,
)
from ihdsi.summaries.table import TableSpec

__all__ = ["TABLES"]

TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        cohort_profile.SPEC,
        qc_profile.SPEC,
        variant_frequencies.SPEC,
        germline_gene_carriers.SPEC,
        gene_alterations.SPEC,
        mutation_burden.SPEC,
        expression_effects.SPEC,
        expression_moments.DESIGN_SPEC,
        expression_moments.MOMENTS_SPEC,
        matrix_moments.DESIGN_SPEC,
        matrix_moments.MOMENTS_SPEC,
        survival_effects.SPEC,
        survival_curve.SPEC,
        cell_composition.SPEC,
        cell_expression_effects.SPEC,
    )
}
