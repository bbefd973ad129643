"""Filtering of cells, against planted outliers and doublets."""

import warnings

import numpy as np
import polars as pl
import pytest
import scanpy as sc

from ihdsi.quality_control import (
    CELL_METRICS,
    METRICS_SCHEMA,
    decide_samples,
    failed_samples,
    judge_metrics,
)
from ihdsi.single_cell.quality import (
    DECISIONS_SCHEMA,
    cell_metrics,
    count_reasons,
    filter_cells,
    sample_notes,
)
from simulated_cells import GENES, SETTINGS, TYPES, as_cells, draw_cells

N, N_DOUBLETS = 240, 16
MITOCHONDRIAL = GENES["gene_name"].str.starts_with("MT-").to_numpy()


@pytest.fixture(scope="module")
def judged():
    """Cells 0–11 are planted outliers of four kinds, three of each, the last 16 are doublets."""
    rng = np.random.default_rng(11)
    counts = draw_cells(rng.choice(TYPES, N), rng)
    first = rng.integers(0, len(TYPES), N_DOUBLETS)
    second = (first + rng.integers(1, len(TYPES), N_DOUBLETS)) % len(TYPES)
    pairs = sum(draw_cells([TYPES[i] for i in types], rng) for types in (first, second))
    counts[0:3] = 0
    counts[0:3, :5] = 1
    counts[3:6] *= 40
    counts[6:9, ~MITOCHONDRIAL] = rng.binomial(counts[6:9, ~MITOCHONDRIAL], 0.6)
    counts[6:9, MITOCHONDRIAL] += 40
    counts[9:12] = rng.binomial(counts[9:12], 0.1)
    cells = as_cells(np.vstack([counts, pairs]))
    kept, decisions, notes = filter_cells(cells, "P1", "s", SETTINGS)
    return cells, kept, decisions, notes


def test_planted_outliers_are_found_by_their_reason(judged):
    _, _, decisions, notes = judged
    assert dict(decisions.schema) == DECISIONS_SCHEMA
    reasons = decisions.sort("cell")["reasons"]
    for rows, text in (
        (range(3), "few genes"),
        (range(3, 6), "outlier in counts"),
        (range(6, 9), "mitochondrial"),
        (range(9, 12), "outlier in"),
    ):
        assert all(text in reasons[row] for row in rows), (text, reasons[:12].to_list())
    assert notes == []


def test_most_planted_doublets_and_few_other_cells_are_taken_out(judged):
    _, _, decisions, _ = judged
    is_doublet = decisions.sort("cell")["reasons"].str.contains("doublet").to_numpy()
    assert is_doublet[N:].mean() >= 0.8
    # Scrublet sets its limit between two modes of scores, which few cells place only roughly.
    assert is_doublet[12:N].mean() <= 0.1
    failed = (decisions.sort("cell")["decision"] == "fail").to_numpy()
    assert failed[12:N].mean() <= 0.15


def test_what_is_kept_is_what_passes(judged):
    cells, kept, decisions, _ = judged
    passing = decisions.filter(decision="pass")["cell"].to_list()
    assert sorted(kept.obs_names) == passing
    assert (kept.X != cells[kept.obs_names].X).nnz == 0
    assert set(kept.obs["patient"]) == {"P1"}
    counted = dict(count_reasons(decisions).select("reason", "n").iter_rows())
    assert counted["barcodes"] == N + N_DOUBLETS
    assert counted["pass"] == len(passing)
    assert counted["few genes"] == 3
    assert counted["doublet"] == decisions["reasons"].str.contains("doublet").sum()
    assert list(counted)[:3] == ["barcodes", "pass", "few genes"]


def test_the_same_seed_decides_the_same(judged):
    cells, _, decisions, _ = judged
    again = filter_cells(cells.copy(), "P1", "s", SETTINGS)[1]
    assert again.equals(decisions)


def test_more_doublets_than_the_study_allows_are_a_wrong_threshold(judged):
    cells, _, decisions, _ = judged
    found = decisions["reasons"].str.contains("doublet").sum()
    looked_at = decisions["doublet_score"].drop_nulls().len()
    for limit, taken in ((found / looked_at, found), ((found - 1) / looked_at, 0)):
        settings = SETTINGS.model_copy(update={"maximum_doublet_share": limit})
        _, again, notes = filter_cells(cells.copy(), "P1", "s", settings)
        assert again["reasons"].str.contains("doublet").sum() == taken
        assert any("does not part doublets from cells" in note for note in notes) == (taken == 0)


def test_a_sample_of_few_cells_is_set_aside_and_has_no_doublets_looked_for():
    rng = np.random.default_rng(2)
    cells = as_cells(draw_cells(rng.choice(TYPES, 40), rng))
    kept, decisions, notes = filter_cells(cells, "P1", "s", SETTINGS)
    assert kept.n_obs == 0
    assert decisions.height == 40
    assert decisions["doublet_score"].null_count() == 40
    assert any("no doublets are looked for among" in note for note in notes)
    assert any(note.startswith("set aside: ") and "50 are needed" in note for note in notes)


def test_genes_of_the_mitochondrion_are_known_by_id_and_their_lack_is_said():
    rng = np.random.default_rng(4)
    counts = draw_cells(rng.choice(TYPES, 120), rng)
    unnamed = GENES.with_columns(gene_name="gene_id")
    decisions = filter_cells(as_cells(counts, genes=unnamed), "P1", "s", SETTINGS)[1]
    share = counts[:, MITOCHONDRIAL].sum(axis=1) / counts.sum(axis=1)
    np.testing.assert_allclose(decisions["mitochondrial_percent"], 100 * share, rtol=1e-6)
    nuclear = as_cells(counts[:, ~MITOCHONDRIAL], genes=GENES.filter(pl.Series(~MITOCHONDRIAL)))
    assert "no mitochondrial gene" in filter_cells(nuclear, "P1", "s", SETTINGS)[2][0]


def test_a_type_that_a_limit_takes_out_is_noted():
    """A fifth of the cells has half of its counts in five genes, as plasma cells do."""
    rng = np.random.default_rng(14)
    counts = draw_cells(["t_cell"] * 200, rng)
    counts[:40, -5:] += 200
    _, decisions, notes = filter_cells(as_cells(counts), "P1", "s", SETTINGS)
    taken = decisions.sort("cell")["reasons"].str.contains("outlier in highest genes")
    assert taken.to_list()[:40] == [True] * 40
    assert "outlier in highest genes takes out 20 % of the cells, which may be a type of cells" in (
        notes
    )


def test_equal_cells_are_no_outliers():
    counts = np.ones((60, GENES.height), dtype=np.int32)
    counts[0] = 2
    decisions = filter_cells(as_cells(counts), "P1", "s", SETTINGS)[1]
    assert decisions["decision"].unique().to_list() == ["pass"]


def test_notes_of_samples_name_what_is_no_gene():
    notes = sample_notes(
        [
            {"patient": "b", "sample": "b1", "notes": ["x", "y"], "unmapped": []},
            {"patient": "a", "sample": "a1", "notes": [], "unmapped": ["ERCC1", "GFP"]},
            {"patient": "c", "sample": "c1", "notes": [], "unmapped": [f"x{i}" for i in range(21)]},
        ]
    )
    assert notes["note"][-1].startswith("21 features")
    assert notes["note"][-1].endswith("x19, …")
    assert notes.rows()[:-1] == [
        ("a", "a1", "2 features name no gene of the study and are left out: ERCC1, GFP"),
        ("b", "b1", "x"),
        ("b", "b1", "y"),
    ]
    assert sample_notes([]).columns == ["patient", "sample", "note"]


def as_dict(metrics):
    assert metrics.schema == METRICS_SCHEMA
    assert set(metrics["assay"]) == {"single_cell"}
    assert set(metrics["metric"]) <= set(CELL_METRICS)
    return {row["metric"]: (row["value"], row["note"]) for row in metrics.iter_rows(named=True)}


def test_metrics_of_a_sample_are_those_of_its_cells(judged):
    cells, kept, decisions, notes = judged
    found = as_dict(cell_metrics("P1", "s", decisions, notes))
    assert set(found) == set(CELL_METRICS)
    counts = cells.X.toarray()[3:]  # the first three barcodes have too few genes for a cell
    total = counts.sum(axis=1)
    assert found["cells_passed"] == found["cells_kept"] == (kept.n_obs, None)
    assert found["median_counts_per_cell"][0] == np.median(total)
    assert found["median_genes_per_cell"][0] == np.median((counts > 0).sum(axis=1))
    share = 100 * counts[:, MITOCHONDRIAL].sum(axis=1) / total
    assert found["median_mitochondrial_percent"][0] == pytest.approx(np.median(share), rel=1e-6)
    scored = decisions["doublet_score"].drop_nulls().len()
    n_doublets = decisions["reasons"].str.contains("doublet").sum()
    assert found["doublet_percent"][0] == pytest.approx(100 * n_doublets / scored)


def test_a_sample_that_is_set_aside_fails_whatever_the_limits():
    rng = np.random.default_rng(2)
    cells = as_cells(draw_cells(rng.choice(TYPES, 40), rng))
    _, decisions, notes = filter_cells(cells, "P1", "s", SETTINGS)
    metrics = cell_metrics("P1", "s", decisions, notes)
    found = as_dict(metrics)
    assert found["cells_passed"][0] > 30
    assert "doublet_percent" not in found  # of few cells
    decided = decide_samples(judge_metrics(metrics, {}), {"tumour_single_cell": {"P1": "s"}})
    reason = failed_samples(decided)["s"]
    assert reason.startswith("fail: cells kept 0.0 (above 0), set aside: ")
    assert "50 are needed" in reason


def test_what_no_sample_measures_has_no_row():
    rng = np.random.default_rng(4)
    counts = draw_cells(rng.choice(TYPES, 120), rng)
    nuclear = as_cells(counts[:, ~MITOCHONDRIAL], genes=GENES.filter(pl.Series(~MITOCHONDRIAL)))
    _, decisions, notes = filter_cells(nuclear, "P1", "s", SETTINGS)
    assert "median_mitochondrial_percent" not in as_dict(cell_metrics("P1", "s", decisions, notes))
    # Scores without a threshold say nothing of the share of doublets.
    scored = decisions.with_columns(doublet_score=pl.lit(0.1))
    assert as_dict(cell_metrics("P1", "s", scored, []))["doublet_percent"][0] >= 0
    parted = [*notes, "no doublets are taken out: simulated scores have no two modes to part them"]
    assert "doublet_percent" not in as_dict(cell_metrics("P1", "s", scored, parted))


@pytest.mark.parametrize("n_genes", [0, 5])
def test_a_sample_of_empty_droplets_has_no_medians(n_genes):
    rng = np.random.default_rng(6)
    counts = draw_cells(["t_cell"] * 30, rng)
    counts[:, n_genes:] = 0
    _, decisions, notes = filter_cells(as_cells(counts), "P1", "s", SETTINGS)
    found = as_dict(cell_metrics("P1", "s", decisions, notes))
    assert set(found) == {"cells_passed", "cells_kept"}
    assert found["cells_kept"][0] == 0


def test_warnings_of_scrublet_are_heard_but_for_cells_without_variable_genes(monkeypatch):
    equal = np.ones((90, len(GENES)), dtype=np.int32)
    equal[:, ::2] = 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, _, notes = filter_cells(as_cells(equal), "P1", "s", SETTINGS)
    assert any("too few genes vary" in note for note in notes)
    scrublet = sc.pp.scrublet

    def warning(*given, **options):
        warnings.warn("scores are not finite", RuntimeWarning, stacklevel=2)
        return scrublet(*given, **options)

    monkeypatch.setattr(sc.pp, "scrublet", warning)
    rng = np.random.default_rng(2)
    cells = as_cells(draw_cells(rng.choice(TYPES, 100), rng))
    with pytest.warns(RuntimeWarning, match="scores are not finite"):
        filter_cells(cells, "P1", "s", SETTINGS)
