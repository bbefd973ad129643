"""Disclosure control of each summary table.

Every function takes the table with columns that say how it compares with earlier releases (see
`ihdsi.disclosure.differencing.Comparison.mark`): ``rule``, the rule that withholds a row already or
null, ``known``, whether the row left before, and ``few_genotypes``. It returns the table with the
rule that withholds a row, and, where cells rather than rows are withheld, with these set to null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from ihdsi.disclosure.tables.cohort_profile import control_cohort_profile
from ihdsi.disclosure.tables.gene_alterations import control_gene_alterations
from ihdsi.disclosure.tables.judging import Context, Judged, unsafe_counts
from ihdsi.disclosure.tables.means import control_cell_composition, control_mutation_burden
from ihdsi.disclosure.tables.models import (
    control_cell_expression_effects,
    control_expression_design,
    control_expression_effects,
    control_expression_moments,
    control_matrix_design,
    control_matrix_moments,
    control_survival_effects,
)
from ihdsi.disclosure.tables.qc_profile import control_qc_profile
from ihdsi.disclosure.tables.reasons import REASONS
from ihdsi.disclosure.tables.survival_curve import control_survival_curve
from ihdsi.disclosure.tables.variant_frequencies import (
    control_germline_gene_carriers,
    control_variant_frequencies,
)

__all__ = [
    "REASONS",
    "RULES",
    "Context",
    "Judged",
    "unsafe_counts",
]

#: The rules of each table. A table without an entry cannot leave.
RULES: Mapping[str, Callable[[pl.DataFrame, Context], Judged]] = {
    "cohort_profile": control_cohort_profile,
    "qc_profile": control_qc_profile,
    "variant_frequencies": control_variant_frequencies,
    "germline_gene_carriers": control_germline_gene_carriers,
    "gene_alterations": control_gene_alterations,
    "mutation_burden": control_mutation_burden,
    "expression_effects": control_expression_effects,
    "expression_design": control_expression_design,
    "expression_moments": control_expression_moments,
    "matrix_design": control_matrix_design,
    "matrix_moments": control_matrix_moments,
    "survival_effects": control_survival_effects,
    "survival_curve": control_survival_curve,
    "cell_composition": control_cell_composition,
    "cell_expression_effects": control_cell_expression_effects,
}
