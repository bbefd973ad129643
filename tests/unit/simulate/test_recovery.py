import json
from dataclasses import replace

import polars as pl
import pytest
from scipy.stats import spearmanr

from ihdsi.simulate.recovery import (
    Truth,
    burden_recovery,
    cell_expression_recovery,
    cell_recovery,
    composition_recovery,
    copy_number_recovery,
    driver_recovery,
    evaluate_recovery,
    expression_effect_recovery,
    expression_recovery,
    format_recovery,
    germline_recovery,
    protein_recovery,
    somatic_recovery,
    subtype_recovery,
    survival_recovery,
)

TARGETS = pl.DataFrame(
    {
        "chromosome": ["chr1", "chr1", "chr2"],
        "start": [99, 499, 0],
        "end": [200, 600, 50],
        "gene_name": ["A", "B", "C"],
    }
)


def variants(rows, extra):
    name, dtype = extra
    schema = {
        "patient": pl.String,
        "chromosome": pl.String,
        "position": pl.Int64,
        "reference_allele": pl.String,
        "alternate_allele": pl.String,
        name: dtype,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


SOMATIC = variants(
    [
        ("P1", "chr1", 100, "A", "C", 0.30),
        ("P1", "chr1", 150, "G", "T", 0.06),
        ("P1", "chr2", 10, "G", "T", 0.40),
        ("P2", "chr1", 100, "A", "C", 0.20),
        ("P1", "chr1", 550, "AT", "A", 0.30),
    ],
    ("allele_fraction", pl.Float64),
)


def test_somatic_counts_by_hand():
    called = variants(
        [
            ("P1", "chr1", 100, "A", "C", 0.33),
            ("P1", "chr1", 100, "A", "C", 0.33),  # the same variant in a second gene
            ("P1", "chr2", 10, "G", "A", 0.09),  # another allele: false
            ("P2", "chr1", 100, "A", "C", 0.22),
            ("P2", "chr1", 300, "A", "C", 0.22),  # outside the targets: not assessed
            ("P9", "chr1", 120, "A", "C", 0.22),  # another patient: not assessed
        ],
        ("allele_fraction", pl.Float64),
    )
    result = somatic_recovery(SOMATIC, called, ["P1", "P2"], TARGETS)
    assert result["somatic_snv_truth_n"] == 4
    assert result["somatic_snv_called_n"] == 3
    assert result["somatic_snv_found_n"] == 2
    assert result["somatic_snv_precision"] == pytest.approx(2 / 3)
    assert result["somatic_snv_recall"] == pytest.approx(1 / 2)
    assert result["somatic_snv_f1"] == pytest.approx(4 / 7)
    assert result["somatic_snv_recall_af10"] == pytest.approx(2 / 3)
    # The false call is seen at 9 %, so that it does not count from 10 % on.
    assert result["somatic_snv_precision_af10"] == 1.0
    assert result["somatic_snv_f1_af10"] == pytest.approx(4 / 5)
    assert result["somatic_recall_af_05_to_075"] == 0.0
    assert result["somatic_recall_af_075_to_10"] is None
    assert result["somatic_recall_af_from_20"] == pytest.approx(2 / 4)
    assert result["somatic_recall_af_from_20_truth_n"] == 4
    # 101 + 101 + 50 target bases, two patients.
    assert result["somatic_false_per_megabase"] == pytest.approx(1 / (2 * 252e-6))
    assert result["somatic_indel_recall"] == 0.0
    assert result["somatic_indel_precision"] is None
    assert result["somatic_indel_f1"] is None


def test_germline_concordance_by_hand():
    truth = variants(
        [
            ("P1", "chr1", 100, "A", "C", 1),
            ("P1", "chr1", 120, "A", "C", 2),
            ("P1", "chr1", 140, "A", "C", 1),
        ],
        ("dosage", pl.Int64),
    )
    genotypes = variants(
        [
            ("P1", "chr1", 100, "A", "C", 1),
            ("P1", "chr1", 120, "A", "C", 1),
            ("P1", "chr1", 140, "A", "C", None),
            ("P1", "chr1", 160, "A", "C", 1),
            ("P1", "chr1", 170, "A", "C", 0),
        ],
        ("allele_dosage", pl.Int64),
    )
    result = germline_recovery(truth, genotypes, ["P1"], TARGETS)
    assert result["germline_precision"] == pytest.approx(2 / 3)
    assert result["germline_recall"] == pytest.approx(2 / 3)
    assert result["germline_genotype_concordance"] == pytest.approx(1 / 2)


def copy_number(rows):
    schema = {"patient": pl.String, "gene_id": pl.String, "copy_number_class": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


COPY_NUMBER = copy_number(
    [("P1", "a", "amplification"), ("P1", "b", "loss"), ("P2", "a", "deletion")]
)


def test_copy_number_counts_by_hand():
    called = copy_number(
        [
            ("P1", "a", "gain"),  # in the right direction: found
            ("P1", "b", "gain"),  # in the wrong one: false, and missed
            ("P1", "c", "neutral"),
            ("P2", "a", "loss"),
            ("P2", "b", "amplification"),
            ("P9", "a", "loss"),  # another patient: not assessed
        ]
    )
    result = copy_number_recovery(COPY_NUMBER, called, ["P1", "P2"])
    counts = [result[f"copy_number_{n}_n"] for n in ("truth", "called", "found")]
    assert counts == [3, 4, 2]
    assert result["copy_number_precision"] == pytest.approx(1 / 2)
    assert result["copy_number_recall"] == pytest.approx(2 / 3)
    assert result["copy_number_f1"] == pytest.approx(4 / 7)


def test_expression_correlation_is_that_of_scipy_and_missing_genes_are_zero():
    true_counts, counts = [5, 100, 30, 0, 7], [6, 90, 35, 2]
    truth = pl.DataFrame(
        {
            "patient": ["P1"] * 5,
            "gene_id": ["a", "b", "c", "d", "e"],
            "true_fragments": true_counts,
            "abundance": true_counts,
        }
    )
    matrix = pl.DataFrame(
        {"gene_id": ["a", "b", "c", "d"], "gene_name": list("abcd"), "P1": counts, "P8": counts}
    )
    result = expression_recovery(truth, [matrix, matrix.drop("P1")], ["P1"])
    assert result["expression_patients_n"] == 1
    assert result["expression_spearman"] == pytest.approx(
        spearmanr(true_counts, [*counts, 0]).statistic
    )


GENES = pl.DataFrame(
    {
        "gene_id": ["a", "b", "c", "d", "e"],
        "is_differential": [True, True, False, False, True],
        "site_specific": [False, False, False, False, True],
        "log2_fold_change": [1.0, -1.0, 0.0, 0.0, 0.7],
        "survival_log_hazard_ratio": [0.0, 0.0, 0.5, -0.5, 0.0],
        "is_driver": [True, False, True, False, False],
    }
)


def test_differential_expression_by_hand():
    effects = pl.DataFrame(
        {
            "contrast": ["m"] * 5 + ["other"],
            "gene_id": ["a", "b", "c", "d", "e", "d"],
            "effect": [0.9, 0.8, 0.2, None, 0.5, 3.0],
            "fdr": [0.01, 0.05, 0.04, None, 0.01, 0.0],
        }
    )
    result = expression_effect_recovery(GENES, effects, "m")
    assert result["de_power_at_fdr5"] == 1.0
    assert result["de_false_discovery"] == pytest.approx(1 / 3)
    assert result["de_sign_agreement"] == pytest.approx(1 / 2)
    assert (result["de_truth_n"], result["de_called_n"], result["de_found_n"]) == (2, 3, 2)


def test_survival_and_drivers_by_hand():
    survival = pl.DataFrame(
        {
            "endpoint": ["os"] * 4,
            "gene_id": ["a", "c", "d", "b"],
            "effect": [0.3, 0.4, 0.4, 0.1],
            "fdr": [0.01, 0.02, 0.03, 0.9],
        }
    )
    assert survival_recovery(GENES, survival, "os") == {
        "survival_genes_found": 1,  # d is significant in the wrong direction
        "survival_genes_planted": 2,
        "survival_genes_through_stage": 1,
        "survival_false_discoveries": 0,
    }
    drivers = pl.DataFrame({"gene_id": ["a", "b", "c"], "fdr": [0.01, 0.02, None]})
    assert driver_recovery(GENES, drivers) == {
        "driver_genes_found": 1,
        "driver_genes_planted": 2,
        "driver_false_discoveries": 1,
    }


PROTEINS = pl.DataFrame({"feature": ["a", "b", "c", "d"], "log2_difference": [1.0, -0.5, 0.0, 0.0]})


def pooled_proteins(rows):
    schema = {"feature": pl.String, "coefficient": pl.Float64, "fdr": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        assay=pl.lit("protein"), contrast=pl.lit("m")
    )


CELLS = pl.DataFrame(
    [
        ("s:1", "cell", "tumour"),
        ("s:2", "cell", "tumour"),
        ("s:3", "cell", "fibroblast"),
        ("s:4", "cell", "fibroblast"),
        ("s:5", "doublet", "tumour+fibroblast"),
        ("s:6", "doublet", "tumour+tumour"),
        ("s:7", "dying", "tumour"),
        ("s:8", "empty", None),
    ],
    schema={"cell": pl.String, "kind": pl.String, "cell_type": pl.String},
    orient="row",
)
COMPOSITION = pl.DataFrame(
    {"cell_type": ["fibroblast", "umbrella", "t_cell"], "difference": [0.1, -0.1, 0.0]}
)
CELL_EFFECTS = pl.DataFrame(
    [
        ("fibroblast", "a", 1.0),
        ("fibroblast", "b", 0.0),
        ("tumour", "a", 0.0),
        ("tumour", "b", -2.0),
    ],
    schema={"cell_type": pl.String, "gene_id": pl.String, "log2_fold_change": pl.Float64},
    orient="row",
)


def named_cells(rows):
    return pl.DataFrame(rows, schema={"cell": pl.String, "cell_type": pl.String}, orient="row")


def pooled_shares(rows):
    schema = {"cell_type": pl.String, "difference": pl.Float64, "fdr": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(contrast=pl.lit("m"))


def pooled_cell_effects(rows):
    schema = {
        "cell_type": pl.String,
        "gene_id": pl.String,
        "effect": pl.Float64,
        "fdr": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(contrast=pl.lit("m"))


TUMOURS = pl.DataFrame(
    {
        "patient": ["P1", "P2", "P3", "P4"],
        "stage_group": ["MIBC", "NMIBC", "MIBC", "NMIBC"],
        "mutations": [3, 1, 4, 0],
    }
)


def profile(rows):
    schema = {
        "patient": pl.String,
        "molecular_subtype": pl.String,
        "signature_luminal": pl.Float64,
        "signature_basal": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def pooled_burden(rows):
    schema = {"measure": pl.String, "stratum": pl.String, "site": pl.String, "mean": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_burden_is_that_of_all_patients_together():
    # 252 bases of targets and 2 mutations a patient.
    true = 2 / 252e-6
    pooled = pooled_burden(
        [
            ("all_mutations", "all", "lih", 1.0),
            ("all_mutations", "MIBC", None, 2.0),
            ("nonsynonymous_mutations", "all", None, 3.0),
            ("all_mutations", "all", None, 0.9 * true),
        ]
    )
    assert burden_recovery(TUMOURS, TARGETS, pooled) == {
        "burden_truth_mean": pytest.approx(true),
        "burden_pooled_mean": pytest.approx(0.9 * true),
        "burden_relative_error": pytest.approx(-0.1),
    }


def test_subtypes_are_compared_within_a_site_and_with_the_planted_direction():
    first = profile(
        [
            ("P1", "basal", 0.2, 0.6),
            ("P2", "basal", 0.5, 0.6),
            ("P3", "unassigned", 0.5, 0.5),
            ("P4", None, None, None),
        ]
    )
    # Alone at its site, a tumour is compared with nobody; other subtypes are not judged.
    second = profile([("P4", "neuroendocrine", 0.0, 1.0)])
    assert subtype_recovery(TUMOURS, [first, second]) == {
        "subtype_direction_auc": 0.5,
        "subtype_pairs_n": 2,
        "subtype_direction_agreement": 0.5,
        "subtype_called_n": 2,
    }


def test_a_cell_is_right_only_if_it_passed_with_its_type():
    found = [
        ("s:1", "tumour"),
        ("s:2", "fibroblast"),
        ("s:3", "unassigned"),
        ("s:5", "tumour"),
    ]
    assert cell_recovery(CELLS, named_cells(found)) == {
        "cell_type_accuracy": 0.25,
        "cell_passed_share": 0.75,
        "cell_truth_n": 4,
        "cell_empty_found": 1.0,
        "cell_empty_truth_n": 1,
        "cell_dying_found": 1.0,
        "cell_dying_truth_n": 1,
        "cell_doublet_found": 0.5,
        "cell_doublet_truth_n": 2,
    }


def test_composition_recovery_counts_by_hand():
    # The umbrella cells were not released; T cells and what nobody simulated are false.
    found = [
        ("fibroblast", -0.2, 0.01),
        ("t_cell", 0.04, 0.05),
        ("mast_cell", 0.02, 0.0),
        ("unassigned", 0.01, 0.9),
    ]
    result = composition_recovery(COMPOSITION, pooled_shares(found), "m")
    assert result == {
        "composition_power_at_fdr5": 1.0,
        "composition_false_discovery": pytest.approx(2 / 3),
        "composition_sign_agreement": 0.0,
        "composition_mean_absolute_error": pytest.approx((0.3 + 0.04 + 0.02 + 0.01) / 4),
        "composition_truth_n": 2,
        "composition_released_n": 4,
        "composition_planted_released_n": 1,
        "composition_called_n": 3,
        "composition_found_n": 1,
    }
    other = composition_recovery(COMPOSITION, pooled_shares(found), "other")
    assert (other["composition_released_n"], other["composition_power_at_fdr5"]) == (0, None)


def test_an_effect_counts_in_its_own_cell_type_only():
    found = [
        ("fibroblast", "a", 1.5, 0.01),
        ("fibroblast", "b", 0.1, 0.5),
        ("tumour", "a", 1.0, 0.02),
        ("tumour", "b", None, None),
        ("mast_cell", "a", 1.0, 0.03),
    ]
    result = cell_expression_recovery(CELL_EFFECTS, pooled_cell_effects(found), "m")
    assert result["cell_expression_power_at_fdr5"] == 0.5
    assert result["cell_expression_false_discovery"] == pytest.approx(2 / 3)
    assert result["cell_expression_sign_agreement"] == 1.0
    assert result["cell_expression_mean_absolute_error"] == pytest.approx(2.6 / 4)
    assert (result["cell_expression_truth_n"], result["cell_expression_called_n"]) == (2, 3)
    assert (result["cell_expression_released_n"], result["cell_expression_types_n"]) == (5, 3)


def test_protein_recovery_counts_what_left_the_sites():
    found = [("a", 0.8, 0.01), ("c", 0.3, 0.02), ("d", 0.1, 0.5)]
    result = protein_recovery(PROTEINS, pooled_proteins(found), "m")
    assert result == {
        "protein_power_at_fdr5": 1.0,
        "protein_false_discovery": 0.5,
        "protein_sign_agreement": 1.0,
        "protein_mean_absolute_error": pytest.approx((0.2 + 0.3 + 0.1) / 3),
        "protein_truth_n": 2,
        "protein_released_n": 3,
        "protein_planted_released_n": 1,
        "protein_called_n": 2,
        "protein_found_n": 1,
    }
    wrong = protein_recovery(PROTEINS, pooled_proteins([("a", -1.0, 0.0), ("b", -1.0, 0.2)]), "m")
    assert (wrong["protein_power_at_fdr5"], wrong["protein_sign_agreement"]) == (0.5, 0.0)
    assert protein_recovery(PROTEINS, pooled_proteins(found), "other")["protein_released_n"] == 0


def test_nothing_called_is_null_and_not_perfect():
    truth = Truth(
        patients=["P1", "P2"],
        tumours=TUMOURS,
        targets=TARGETS,
        genes=GENES,
        somatic=SOMATIC,
        germline=variants([("P1", "chr1", 100, "A", "C", 1)], ("dosage", pl.Int64)),
        copy_number=COPY_NUMBER,
        expression=pl.DataFrame(
            {"patient": ["P1"], "gene_id": ["a"], "true_fragments": [3], "abundance": [3.0]}
        ),
        proteins=PROTEINS,
        cells=CELLS,
        cell_composition=COMPOSITION,
        cell_effects=CELL_EFFECTS,
    )
    called = {
        "somatic_variants": [variants([], ("allele_fraction", pl.Float64))],
        "germline_genotypes": [variants([], ("allele_dosage", pl.Int64))],
        "copy_number_genes": [COPY_NUMBER.clear()],
        "gene_counts": [pl.DataFrame(schema={"gene_id": pl.String, "gene_name": pl.String})],
        "expression_effects": pl.DataFrame(
            schema={
                "contrast": pl.String,
                "gene_id": pl.String,
                "effect": pl.Float64,
                "fdr": pl.Float64,
            }
        ),
        "survival_effects": pl.DataFrame(
            schema={
                "endpoint": pl.String,
                "gene_id": pl.String,
                "effect": pl.Float64,
                "fdr": pl.Float64,
            }
        ),
        "driver_genes": pl.DataFrame(schema={"gene_id": pl.String, "fdr": pl.Float64}),
        "matrix_linear_model": pooled_proteins([]),
        "expression_profiles": [profile([])],
        "mutation_burden": pooled_burden([]),
        "cells": [named_cells([])],
        "cell_composition_contrasts": pooled_shares([]),
        "cell_expression_effects": pooled_cell_effects([]),
        "contrast": "m",
        "endpoint": "os",
    }
    result = evaluate_recovery(truth, **called)
    undefined = (
        "somatic_snv_precision",
        "somatic_snv_f1",
        "germline_precision",
        "germline_genotype_concordance",
        "copy_number_precision",
        "expression_spearman",
        "de_false_discovery",
        "de_sign_agreement",
        "protein_power_at_fdr5",
        "protein_false_discovery",
        "subtype_direction_auc",
        "subtype_direction_agreement",
        "burden_relative_error",
        "composition_power_at_fdr5",
        "composition_mean_absolute_error",
        "cell_expression_false_discovery",
    )
    for name in undefined:
        assert result[name] is None
    assert result["somatic_snv_recall"] == 0.0
    assert result["de_power_at_fdr5"] == 0.0
    assert (result["cell_type_accuracy"], result["cell_doublet_found"]) == (0.0, 1.0)
    assert json.loads(json.dumps(result)) == result
    text = format_recovery(result)
    assert "somatic_snv_precision" in text
    assert len(text.splitlines()) == len(result)

    nothing = evaluate_recovery(
        replace(truth, somatic=SOMATIC.clear(), germline=truth.germline.clear()), **called
    )
    assert nothing["somatic_snv_recall"] is None
    assert nothing["germline_recall"] is None


def test_the_truth_itself_scores_one():
    truth = Truth(
        patients=["P1", "P2"],
        tumours=TUMOURS,
        targets=TARGETS,
        genes=GENES,
        somatic=SOMATIC,
        germline=variants([("P1", "chr1", 120, "A", "C", 2)], ("dosage", pl.Int64)),
        copy_number=COPY_NUMBER,
        expression=pl.DataFrame(
            {
                "patient": ["P1"] * 3,
                "gene_id": ["a", "b", "c"],
                "true_fragments": [3, 9, 27],
                "abundance": [3.0, 9.0, 27.0],
            }
        ),
        proteins=PROTEINS,
        cells=CELLS,
        cell_composition=COMPOSITION,
        cell_effects=CELL_EFFECTS,
    )
    # Callers use narrower integers; positions and alleles still have to meet.
    called = SOMATIC.with_columns(pl.col("position").cast(pl.UInt32))
    result = evaluate_recovery(
        truth,
        somatic_variants=[called.filter(pl.col("patient") == p) for p in ("P1", "P2")],
        germline_genotypes=[
            truth.germline.rename({"dosage": "allele_dosage"}).with_columns(
                pl.col("allele_dosage").cast(pl.Int8)
            )
        ],
        copy_number_genes=[COPY_NUMBER.filter(pl.col("patient") == p) for p in ("P1", "P2")],
        gene_counts=[pl.DataFrame({"gene_id": ["a", "b", "c"], "P1": [3.0, 9.0, 27.0]})],
        expression_effects=GENES.filter("is_differential").select(
            "gene_id", contrast=pl.lit("m"), effect="log2_fold_change", fdr=pl.lit(0.0)
        ),
        survival_effects=GENES.select(
            "gene_id",
            endpoint=pl.lit("os"),
            effect="survival_log_hazard_ratio",
            fdr=pl.when(pl.col("survival_log_hazard_ratio") == 0).then(1.0).otherwise(0.0),
        ),
        driver_genes=GENES.filter("is_driver").select("gene_id", fdr=pl.lit(0.0)),
        matrix_linear_model=pooled_proteins([("a", 1.0, 0.0), ("b", -0.5, 0.0), ("c", 0.0, 0.9)]),
        expression_profiles=[profile([("P1", "basal", 0.1, 0.9), ("P2", "luminal", 0.9, 0.1)])],
        mutation_burden=pooled_burden([("all_mutations", "all", None, 2 / 252e-6)]),
        cells=[CELLS.filter(kind="cell").select("cell", "cell_type")],
        cell_composition_contrasts=pooled_shares(
            [("fibroblast", 0.1, 0.0), ("umbrella", -0.1, 0.0), ("t_cell", 0.0, 0.9)]
        ),
        cell_expression_effects=CELL_EFFECTS.select(
            "cell_type",
            "gene_id",
            contrast=pl.lit("m"),
            effect="log2_fold_change",
            fdr=pl.when(pl.col("log2_fold_change") == 0).then(1.0).otherwise(0.0),
        ),
        contrast="m",
        endpoint="os",
    )
    shares = ("precision", "recall", "f1", "concordance", "af10", "power_at_fdr5", "agreement")
    assert [v for k, v in result.items() if k.endswith(shares)] == [1.0] * 28
    assert result["expression_spearman_minimum"] == pytest.approx(1.0)
    assert result["de_false_discovery"] == 0.0
    assert (result["cell_type_accuracy"], result["cell_passed_share"]) == (1.0, 1.0)
    assert [result[f"cell_{kind}_found"] for kind in ("empty", "dying", "doublet")] == [1.0] * 3
    assert result["composition_mean_absolute_error"] == 0.0
    assert result["subtype_direction_auc"] == 1.0
    assert result["burden_relative_error"] == pytest.approx(0)
    assert result["cell_expression_false_discovery"] == 0.0
    assert result["survival_genes_found"] == result["survival_genes_planted"] == 2
    assert (result["driver_genes_found"], result["driver_false_discoveries"]) == (2, 0)
