"""Combination of layers and tiers."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from ihdsi.biomarkers.evidence import (
    BIOMARKER_SCHEMA,
    EVIDENCE_SCHEMA,
    combine_p_values,
    evidence_table,
    rank_biomarkers,
)
from ihdsi.meta.pool import pool_expression_effects
from ihdsi.study import Tier

TIERS = (
    Tier(
        name="tier 1",
        maximum_fdr=0.05,
        same_direction=True,
        maximum_i_squared=0.5,
        minimum_sites=2,
    ),
    Tier(name="tier 2", maximum_fdr=0.05),
)


def _evidence(rows):
    return pl.DataFrame(rows, schema=EVIDENCE_SCHEMA, orient="row")


def _row(gene, layer="expression", p=1e-8, i_squared=0.1, sites=2, same=True, contrast="c"):
    return (gene, gene, layer, contrast, 1.0, p, p, i_squared, sites, same)


def test_combination_is_the_cauchy_tail_of_the_mean():
    random = np.random.default_rng(1)
    p = random.random((100, 3))
    expected = stats.cauchy.sf(stats.cauchy.isf(p).mean(axis=1))
    np.testing.assert_allclose(combine_p_values(p), expected, rtol=1e-9)


def test_tiny_p_values_keep_their_size():
    combined = combine_p_values([[1e-200, 0.5], [1e-40, 1e-40], [0.0, 0.3]])
    assert combined[0] == pytest.approx(2e-200, rel=1e-9)
    assert combined[1] == pytest.approx(1e-40, rel=1e-9)
    assert 0 < combined[2] < 1e-299


def test_missing_and_unit_p_values():
    combined = combine_p_values([[np.nan, np.nan], [0.03, np.nan], [1.0, 1e-6], [1.0, np.nan]])
    assert np.isnan(combined[0])
    assert combined[1] == pytest.approx(0.03, rel=1e-12)
    assert combined[2] == pytest.approx(2e-6, rel=1e-3)  # 1 enters as 1 - 1/2
    assert combined[3] == pytest.approx(1.0)


def test_null_combination_stays_uniform_in_the_tail():
    p = np.random.default_rng(4).random((20_000, 4))
    assert (combine_p_values(p) < 0.01).mean() == pytest.approx(0.01, abs=0.003)


def test_tiers_ask_for_agreement_of_the_leading_evidence():
    evidence = _evidence(
        [
            _row("agrees"),
            _row("heterogeneous", i_squared=0.9),
            _row("opposed", same=False),
            _row("single", i_squared=None, sites=1, same=None),
            _row("weak", p=0.9),
            _row("recurrent", layer="recurrence", i_squared=None, contrast="all"),
        ]
    )
    ranked = {row["gene_id"]: row for row in rank_biomarkers(evidence, TIERS).to_dicts()}
    assert {gene: row["tier"] for gene, row in ranked.items()} == {
        "agrees": "tier 1",
        "recurrent": "tier 1",
        "heterogeneous": "tier 2",
        "opposed": "tier 2",
        "single": "tier 2",
        "weak": None,
    }
    assert "I² above 0.5" in ranked["heterogeneous"]["reason"]
    assert "disagree in direction" in ranked["opposed"]["reason"]
    assert "fewer than 2 sites" in ranked["single"]["reason"]
    assert "FDR above 0.05" in ranked["weak"]["reason"]
    assert "not tier 1" not in ranked["agrees"]["reason"]
    assert ranked["weak"]["rank"] == 6


def test_the_lead_is_the_smallest_p_value_over_layers():
    evidence = _evidence(
        [
            _row("gene", layer="expression", p=1e-3),
            _row("gene", layer="survival", p=1e-9, i_squared=0.8, contrast="os"),
        ]
    )
    row = rank_biomarkers(evidence, TIERS).row(0, named=True)
    assert (row["lead_layer"], row["lead_contrast"], row["n_layers"]) == ("survival", "os", 2)
    assert row["expression_fdr"] == 1e-3
    assert row["tier"] == "tier 2"


def test_no_evidence_gives_a_typed_empty_table():
    ranked = rank_biomarkers(_evidence([]), TIERS)
    assert ranked.is_empty()
    assert dict(ranked.schema) == BIOMARKER_SCHEMA


def _pooled(effect, error):
    genes = [f"ENSG{number:011d}" for number in range(effect.shape[0])]
    tables = {
        f"s{site}": pl.DataFrame(
            {
                "contrast": "c",
                "gene_id": genes,
                "gene_name": genes,
                "n_case": 20,
                "n_control": 20,
                "base_mean": 1.0,
                "log2_fold_change": effect[:, site],
                "standard_error": error[:, site],
            }
        )
        for site in range(effect.shape[1])
    }
    return pool_expression_effects(tables, "fixed")


def _empty(columns):
    return pl.DataFrame(schema=dict.fromkeys(columns, pl.Float64))


SURVIVAL = [*EVIDENCE_SCHEMA, "endpoint"]
ALTERATION = dict.fromkeys(EVIDENCE_SCHEMA, pl.Float64) | {"alteration_class": pl.String}
DRIVER = [*EVIDENCE_SCHEMA, "frequency", "expected"]


def _rank(pooled):
    evidence = evidence_table(
        pooled, _empty(SURVIVAL), pl.DataFrame(schema=ALTERATION), _empty(DRIVER)
    )
    return rank_biomarkers(evidence, TIERS)


def test_null_genes_reach_no_tier():
    random = np.random.default_rng(11)
    error = random.uniform(0.1, 0.4, (2000, 3))
    ranked = _rank(_pooled(random.normal(0, error), error))
    assert stats.kstest(ranked["combined_p_value"].to_numpy(), "uniform").pvalue > 0.01
    assert ranked["tier"].is_not_null().sum() <= 1


def test_heterogeneous_genes_do_not_reach_the_strictest_tier():
    random = np.random.default_rng(12)
    error = np.full((200, 3), 0.1)
    # Each site has its own large effect of the same sign: significant, but not shared.
    effect = random.permuted(np.tile([0.4, 1.5, 3.0], (200, 1)), axis=1)
    ranked = _rank(_pooled(effect + random.normal(0, error), error))
    assert (ranked["fdr"] < 0.05).all()
    assert set(ranked["tier"]) == {"tier 2"}


MATRICES = pl.DataFrame(
    [
        ("protein", "a", "P1", "alpha", "G1", 0.01, 0.8),
        ("protein", "a", "P1-2", "alpha 2", "G1", 0.001, 1.2),
        ("protein", "a", "P2", "beta", "G2", 0.5, -0.1),
        ("protein", "a", "P3", "no gene", None, 1e-9, 3.0),
        ("protein", "a", "P4", "not estimated", "G4", None, None),
        ("methylation", "a", "cg1", "cg1", "G3", 0.04, -0.5),
    ],
    schema=[
        *("assay", "contrast", "feature", "feature_name", "gene_id"),
        *("moderated_p_value", "coefficient"),
    ],
    orient="row",
).with_columns(
    # The ordinary p-values would not do.
    p_value=pl.lit(0.9),
    n_sites=pl.lit(2),
    i_squared=pl.lit(0.1),
    same_direction=pl.lit(value=True),
)


def test_matrices_are_layers_of_genes():
    expression = pl.DataFrame(
        {name: [None] for name in EVIDENCE_SCHEMA}, schema=EVIDENCE_SCHEMA
    ).with_columns(
        gene_id=pl.lit("G1"), gene_name=pl.lit("GENE1"), contrast=pl.lit("a"), p_value=pl.lit(0.3)
    )
    others = (_empty(SURVIVAL), pl.DataFrame(schema=ALTERATION), _empty(DRIVER))
    evidence = evidence_table(expression, *others, MATRICES)
    rows = {(row["gene_id"], row["layer"]): row for row in evidence.iter_rows(named=True)}
    assert set(rows) == {
        *(("G1", "expression"), ("G1", "protein"), ("G2", "protein"), ("G3", "methylation"))
    }
    two = rows["G1", "protein"]
    assert two["gene_name"] == "GENE1"  # as the other layers name it, not as its protein
    assert rows["G2", "protein"]["gene_name"] == "beta"
    assert two["p_value"] == pytest.approx(combine_p_values([0.01, 0.001])[0])
    assert two["effect"] == 1.2
    assert two["fdr"] == pytest.approx(2 * two["p_value"])
    assert rows["G3", "methylation"]["fdr"] == rows["G3", "methylation"]["p_value"] == 0.04
    ranked = rank_biomarkers(evidence, TIERS)
    first = ranked.row(0, named=True)
    assert (first["gene_id"], first["lead_layer"], first["n_layers"]) == ("G1", "protein", 2)
    assert (first["protein_effect"], first["metabolite_effect"]) == (1.2, None)


def test_without_matrices_nothing_changes():
    others = (_empty(SURVIVAL), pl.DataFrame(schema=ALTERATION), _empty(DRIVER))
    without_genes = MATRICES.filter(pl.col("gene_id").is_null())
    for matrices in (None, MATRICES.clear(), without_genes):
        evidence = evidence_table(_empty(EVIDENCE_SCHEMA), *others, matrices)
        assert evidence.is_empty()
        assert evidence.schema == pl.Schema(EVIDENCE_SCHEMA)


CELLS = pl.DataFrame(
    [
        ("fibroblast", "muscle_invasion", "G1", 0.001, 1.2, 0.3, True),
        ("t_cell", "muscle_invasion", "G1", 0.2, -0.4, 0.9, False),
        ("fibroblast", "muscle_invasion", "G2", 0.5, 0.1, None, None),
        ("t_cell", "muscle_invasion", "G2", None, None, None, None),
        ("t_cell", "smoking", "G1", 0.03, 0.7, 0.0, True),
    ],
    schema={
        "cell_type": pl.String,
        "contrast": pl.String,
        "gene_id": pl.String,
        "p_value": pl.Float64,
        "effect": pl.Float64,
        "i_squared": pl.Float64,
        "same_direction": pl.Boolean,
    },
    orient="row",
).with_columns(gene_name=pl.format("N{}", "gene_id"), n_sites=pl.lit(2))


def test_cell_types_are_one_layer_of_genes():
    others = (_empty(SURVIVAL), pl.DataFrame(schema=ALTERATION), _empty(DRIVER))
    evidence = evidence_table(_empty(EVIDENCE_SCHEMA), *others, None, CELLS)
    rows = {(row["gene_id"], row["contrast"]): row for row in evidence.iter_rows(named=True)}
    assert set(rows) == {
        ("G1", "muscle_invasion in fibroblast"),
        ("G2", "muscle_invasion in fibroblast"),
        ("G1", "smoking in t_cell"),
    }
    first = rows["G1", "muscle_invasion in fibroblast"]
    assert set(evidence["layer"]) == {"cell_expression"}
    assert first["p_value"] == pytest.approx(combine_p_values([0.001, 0.2])[0])
    assert (first["effect"], first["i_squared"], first["same_direction"]) == (1.2, 0.3, True)
    # One family a contrast, whatever cell type leads a gene.
    assert first["fdr"] == pytest.approx(2 * first["p_value"])
    assert rows["G1", "smoking in t_cell"]["fdr"] == pytest.approx(0.03)
    assert rows["G2", "muscle_invasion in fibroblast"]["p_value"] == 0.5
    best = rank_biomarkers(evidence, TIERS).row(0, named=True)
    assert (best["gene_id"], best["gene_name"], best["lead_layer"]) == (
        *("G1", "NG1", "cell_expression"),
    )
    assert best["cell_expression_effect"] == 1.2
    assert "led by cell expression (muscle invasion in fibroblast) of 2 lines" in best["reason"]


def test_without_cells_nothing_changes():
    others = (_empty(SURVIVAL), pl.DataFrame(schema=ALTERATION), _empty(DRIVER))
    for cells in (None, CELLS.clear(), CELLS.filter(pl.col("p_value").is_null())):
        evidence = evidence_table(_empty(EVIDENCE_SCHEMA), *others, MATRICES, cells)
        assert set(evidence["layer"]) == {"protein", "methylation"}
        assert evidence.schema == pl.Schema(EVIDENCE_SCHEMA)
