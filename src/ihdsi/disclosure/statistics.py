"""What each released statistic is. None is a minimum, a maximum or another patient's value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

__all__ = ["COUNTS", "STATISTICS", "Statistic"]

#: Kinds of statistics that may leave a site: every patient's value enters each of them. Order
#: statistics (minimum, maximum, range, median, quantiles, mode) are values of single patients and
#: are no kinds here, so a column of them cannot be declared and does not leave: Brandt et al. 2010,
#: Guidelines for the checking of output based on microdata research, on maxima, minima and
#: percentiles; the class "Endpoints" of ACRO.
Statistic = Literal[
    "mean",
    "variance",
    "standard_deviation",
    "sum_of_products",
    "estimate",
    "standard_error",
    "test_statistic",
    "p_value",
]

#: Kind of every column of the role ``statistic``, by table and column. Edges of bins are no
#: statistics: they are the study's, and a value beyond the outermost moves none of them.
STATISTICS: Mapping[tuple[str, str], Statistic] = {
    ("cohort_profile", "mean"): "mean",
    ("cohort_profile", "standard_deviation"): "standard_deviation",
    ("mutation_burden", "mean"): "mean",
    ("mutation_burden", "variance"): "variance",
    ("expression_effects", "base_mean"): "mean",
    ("expression_effects", "log2_fold_change"): "estimate",
    ("expression_effects", "standard_error"): "standard_error",
    ("expression_effects", "statistic"): "test_statistic",
    ("expression_effects", "p_value"): "p_value",
    ("expression_design", "value"): "sum_of_products",
    ("expression_moments", "xty"): "sum_of_products",
    ("expression_moments", "yty"): "sum_of_products",
    ("survival_effects", "log_hazard_ratio"): "estimate",
    ("survival_effects", "standard_error"): "standard_error",
    ("survival_effects", "statistic"): "test_statistic",
    ("survival_effects", "p_value"): "p_value",
    ("matrix_design", "value"): "sum_of_products",
    ("matrix_moments", "xty"): "sum_of_products",
    ("matrix_moments", "yty"): "sum_of_products",
    ("cell_composition", "mean"): "mean",
    ("cell_composition", "variance"): "variance",
    ("cell_expression_effects", "base_mean"): "mean",
    ("cell_expression_effects", "log2_fold_change"): "estimate",
    ("cell_expression_effects", "standard_error"): "standard_error",
    ("cell_expression_effects", "statistic"): "test_statistic",
    ("cell_expression_effects", "p_value"): "p_value",
}

#: Columns of the role ``count`` that the rules of each table look at. A count that is not listed
#: has no rule, whatever its role, and does not leave.
COUNTS: Mapping[str, frozenset[str]] = {
    "cohort_profile": frozenset(["n", "n_total"]),
    "qc_profile": frozenset(["n", "n_total", "n_passed", "n_warned", "n_failed"]),
    "variant_frequencies": frozenset(
        ["n_samples_called", "allele_count", "allele_number", "n_carriers", "n_homozygous"]
    ),
    "germline_gene_carriers": frozenset(["n_assessed", "n_carriers"]),
    "gene_alterations": frozenset(["n_assessed", "n_altered"]),
    "mutation_burden": frozenset(["n"]),
    "expression_effects": frozenset(["n_case", "n_control"]),
    "expression_design": frozenset(["n"]),
    "expression_moments": frozenset(["n"]),
    "matrix_design": frozenset(["n"]),
    "matrix_moments": frozenset(["n"]),
    "survival_effects": frozenset(["n", "n_events"]),
    "survival_curve": frozenset(["n_at_risk", "n_events", "n_censored"]),
    "cell_composition": frozenset(["n_donors"]),
    "cell_expression_effects": frozenset(["n_case", "n_control"]),
}
