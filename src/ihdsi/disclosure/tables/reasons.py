"""The rules' names, and what they mean to a reader of the log."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "ALLELES",
    "CLASSES",
    "COMMONEST",
    "COMPLEMENTARY",
    "CONSTANT",
    "DESIGN",
    "DIFFERENCING",
    "DOMINANCE",
    "DOMINANCE_NK",
    "ESTIMATED",
    "FEATURE_NOT_JUDGED",
    "FEW_VALUES",
    "GENOTYPES",
    "GROUPS",
    "JOINT",
    "LEVELS",
    "LEVERAGE",
    "MEMBERSHIP",
    "MEMBERSHIP_GENOTYPES",
    "MEMBERSHIP_POWER",
    "MERGED",
    "MINIMUM_CELL_COUNT",
    "MINIMUM_N",
    "NOT_JUDGED",
    "OVERLAP",
    "PARAMETERS",
    "PASSED",
    "PATTERNS",
    "P_RATIO",
    "REASONS",
    "RESIDUAL",
    "STRATA",
    "TOTALS",
    "TYPES",
]

MINIMUM_N = "minimum_n"
MINIMUM_CELL_COUNT = "minimum_cell_count"
COMPLEMENTARY = "complementary_suppression"
GENOTYPES = "genotype_counts"
ALLELES = "allele_count"
CLASSES = "alteration_classes"
PASSED = "passed_and_failed"
CONSTANT = "no_variation"
GROUPS = "model_groups"
PARAMETERS = "maximum_parameter_share"
DESIGN = "design_withheld"
ESTIMATED = "patients_without_estimate"
DOMINANCE = "dominance"
DIFFERENCING = "differencing"
OVERLAP = "overlapping_contrasts"
STRATA = "overlapping_strata"
JOINT = "joint_leverage"
PATTERNS = "missingness_patterns"
MERGED = "merged_bins"
MEMBERSHIP = "membership"
MEMBERSHIP_GENOTYPES = "membership_genotypes"
NOT_JUDGED = "membership_not_judged"
#: Not a rule: the log's entry that states the power (see `ihdsi.disclosure.frequency_release`).
MEMBERSHIP_POWER = "membership_power"
DOMINANCE_NK = "dominance_of_several"
P_RATIO = "p_ratio"
RESIDUAL = "minimum_residual_degrees_of_freedom"
LEVELS = "maximum_levels_density"
COMMONEST = "commonest_value"
FEATURE_NOT_JUDGED = "contributions_not_judged"
LEVERAGE = "leverage"
FEW_VALUES = "cells_of_few_values"
TYPES = "donors_without_cells"
TOTALS = "numbers_of_samples"

#: What each rule means, for the site's log.
REASONS: Mapping[str, str] = {
    MINIMUM_N: "fewer patients than minimum_n",
    MINIMUM_CELL_COUNT: "a count, or what remains of its total, is below minimum_cell_count",
    COMPLEMENTARY: "a withheld cell could be computed from this one and released totals",
    GENOTYPES: "n_carriers and n_homozygous would tell (by themselves or with an earlier release) "
    "too small a number of homozygotes or heterozygotes; the row stays without them",
    ALLELES: "allele_count bounds a number of homozygotes or heterozygotes that is too small",
    CLASSES: "a withheld count could be bounded or computed from the classes of this gene",
    PASSED: "n_passed, n_warned and n_failed would tell too small a number; the row stays without "
    "them",
    CONSTANT: "without variation the statistic equals the value of every patient",
    GROUPS: "a group of the design, or a cell of two groups, is too small",
    PARAMETERS: "more model parameters than maximum_parameter_share of the patients (or events)",
    DESIGN: "the design of this contrast is withheld",
    ESTIMATED: "the patients without an estimate are too small a number",
    DOMINANCE: "one patient could make up more than maximum_contribution of the sum, or of the "
    "squared deviations behind sums of products",
    DIFFERENCING: "together with an earlier release it would tell of too few patients",
    OVERLAP: "the patients of this contrast or endpoint, or of a group of it, differ by too few "
    "from those of another one, or of any of its groups, that leaves",
    STRATA: "a stratum of this variable differs by too few patients from one of another variable, "
    "or from the whole, that leaves",
    JOINT: "one patient would make up maximum_contribution or more of a combination of sums over "
    "these groups and others, of this and earlier releases",
    PATTERNS: "the patients of this missingness pattern differ by too few from those of another "
    "design, or two patterns of the assay leave already",
    MERGED: "a count of the bin is too small; it leaves as a part of a wider bin",
    MEMBERSHIP: "with this frequency a membership attack on this and all earlier releases could "
    "exceed maximum_membership_power, or strata of frequencies do not leave",
    MEMBERSHIP_GENOTYPES: "with n_carriers and n_homozygous fewer variants could leave under "
    "maximum_membership_power; the row stays without them",
    NOT_JUDGED: "without the patients' genotypes the power of a membership attack is not known",
    MEMBERSHIP_POWER: "power of the membership attack on what leaves, and on what the other rules "
    "would have let leave, both with earlier releases",
    DOMINANCE_NK: "dominance_n patients could make up dominance_k of the sum, or of the squared "
    "deviations behind sums of products, or more",
    P_RATIO: "all but the two largest values could sum up to less than p_ratio of the largest",
    RESIDUAL: "fewer patients (or events) in excess of the model parameters than "
    "minimum_residual_degrees_of_freedom",
    LEVELS: "more levels than maximum_levels_density of the patients",
    COMMONEST: "most patients, or most of a group, have the same value, and fewer than minimum_n "
    "another",
    FEATURE_NOT_JUDGED: "without the patients' values it is not known what one of them makes up",
    LEVERAGE: "a sum over the covariates could be one patient's value: the leverage of a patient "
    "in the design exceeds maximum_contribution",
    FEW_VALUES: "of a number with fewer than minimum_n different values, too small a count of "
    "patients with one of them (or with it and a level of a covariate) would be told",
    TYPES: "the donors who lack cells of this type, or of another one that leaves, are too small a "
    "number, and n_case and n_control would tell it",
    TOTALS: "with the number of samples of another metric, or of patients in the results of the "
    "assay, n_total would tell too small a number (of those who failed, say)",
}
