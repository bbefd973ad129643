"""Cell types, composition and pseudobulk of a site, against what was simulated."""

import anndata as ad
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import sparse

from ihdsi.errors import InputError
from ihdsi.quality_control import METRICS_SCHEMA
from ihdsi.single_cell import clusters
from ihdsi.single_cell.cell_types import (
    CLUSTERS_SCHEMA,
    UNASSIGNED,
    call_clusters,
    read_markers,
    score_cells,
)
from ihdsi.single_cell.clusters import (
    CELLS_SCHEMA,
    analyse_cells,
    cluster_metrics,
    count_types,
    sum_by_donor,
)
from ihdsi.study import ClinicalVariable, Contrast, SingleCellSettings
from ihdsi.summaries import validate_table
from ihdsi.summaries.cell_composition import build_cell_composition
from ihdsi.summaries.cell_expression_effects import (
    estimate_cell_expression_effects,
    pseudobulk_by_type,
)
from simulated_cells import GENES, MARKERS, ROOT, SETTINGS, TYPES, as_cells, draw_cells

DONORS, PER_DONOR = 6, 150


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Six donors of 150 cells; the second three have twice the T cells of the first."""
    folder = tmp_path_factory.mktemp("site")
    rng = np.random.default_rng(8)
    truth, paths = [], []
    for donor in range(DONORS):
        weight = np.array([1, 1, 2, 1, 1 if donor < 3 else 3, 4.0])
        types = rng.choice(TYPES, PER_DONOR, p=weight / weight.sum())
        counts = draw_cells(types, rng)
        cells = as_cells(counts, f"D{donor}-T")
        cells.obs["patient"], cells.obs["sample"] = f"D{donor}", f"D{donor}-T"
        path = folder / f"D{donor}-T.h5ad"
        cells.write_h5ad(path)
        paths.append(path)
        truth.append(
            pl.DataFrame({"cell": cells.obs_names.to_list(), "type": types, "patient": f"D{donor}"})
        )
    empty = as_cells(np.zeros((0, GENES.height), dtype=np.int32), "D9-T")
    empty.obs["patient"], empty.obs["sample"] = "D9", "D9-T"
    empty.write_h5ad(folder / "D9-T.h5ad")
    paths.append(folder / "D9-T.h5ad")
    return paths, pl.concat(truth), analyse_cells(paths, MARKERS, SETTINGS)


def test_types_are_recovered(site):
    _, truth, found = site
    assert dict(found.cells.schema) == CELLS_SCHEMA
    assert dict(found.clusters.schema) == CLUSTERS_SCHEMA
    joined = found.cells.join(truth, on="cell")
    assert joined.height == DONORS * PER_DONOR
    assert (joined["type"] == joined["cell_type"]).mean() >= 0.97
    assert found.clusters["n_cells"].sum() == joined.height


def test_composition_is_recovered_donor_by_donor(site):
    _, truth, found = site
    expected = count_types(truth.with_columns(cell_type="type"))
    shares = found.composition.select(pl.col(TYPES) / PER_DONOR).to_numpy()
    np.testing.assert_allclose(shares, expected.select(TYPES).to_numpy() / PER_DONOR, atol=0.03)
    assert found.composition["patient"].to_list() == [f"D{i}" for i in range(DONORS)]
    table = build_cell_composition(found.composition, None, [])
    validate_table(table, "cell_composition")
    assert set(table["cell_type"]) >= set(TYPES)
    assert table["n_donors"].unique().to_list() == [DONORS]


def test_pseudobulk_is_the_sum_of_the_cells(site):
    paths, _, found = site
    tables = pseudobulk_by_type(found.pseudobulk)
    assert set(tables) == set(found.cells["cell_type"]) - {UNASSIGNED}
    for donor, path in enumerate(paths[:2]):
        cells = ad.read_h5ad(path)
        for name in ("tumour", "fibroblast"):
            chosen = found.cells.filter(cell_type=name, patient=f"D{donor}")["cell"].to_list()
            sums = tables[name].select("gene_id", pl.col(f"D{donor}"))
            direct = np.asarray(cells[chosen].X.sum(axis=0)).ravel()
            ours = dict(sums.iter_rows())
            assert [ours[gene] for gene in cells.var_names] == direct.tolist()


def test_the_same_seed_gives_the_same_bytes(site, tmp_path):
    paths, _, found = site
    again = analyse_cells(paths, MARKERS, SETTINGS)
    for name in ("cells", "clusters", "composition", "pseudobulk"):
        getattr(found, name).write_parquet(tmp_path / "a")
        getattr(again, name).write_parquet(tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes(), name


def test_a_site_of_no_cells_has_empty_tables(site):
    found = analyse_cells(site[0][-1:], MARKERS, SETTINGS)
    assert found.cells.is_empty()
    assert found.composition.columns == ["patient"]
    assert pseudobulk_by_type(found.pseudobulk) == {}
    assert build_cell_composition(found.composition, None, []).is_empty()
    assert "no sample has enough" in found.notes[0]


def test_the_search_for_many_cells_finds_the_same_types(site, monkeypatch):
    monkeypatch.setattr(clusters, "EXACT_CELLS", 100)
    found = analyse_cells(site[0], MARKERS, SETTINGS)
    both = found.cells.join(site[2].cells, on="cell")
    assert (both["cell_type"] == both["cell_type_right"]).mean() >= 0.97


def test_genes_that_a_sample_lacks_are_left_out_and_said(site, tmp_path, caplog):
    cells = ad.read_h5ad(site[0][0])
    cells[:, 10:].copy().write_h5ad(tmp_path / "a.h5ad")
    found = analyse_cells([tmp_path / "a.h5ad", site[0][1]], MARKERS, SETTINGS)
    assert "10 of 500 genes are not in every sample" in caplog.text
    assert found.pseudobulk["gene_id"].n_unique() == 490


def test_few_cells_of_a_type_give_no_sum():
    cells = pl.DataFrame(
        {"patient": ["a"] * 3 + ["b"] * 4, "cell_type": ["x", "x", "y", "x", "y", "y", UNASSIGNED]}
    )
    genes = pl.DataFrame({"gene_id": ["g1", "g2"], "gene_name": ["G1", "G2"]})
    counts = sparse.csr_matrix(np.arange(14).reshape(7, 2).astype(np.int32))
    sums = sum_by_donor(counts, cells, genes, 2)
    assert sums.rows() == [
        ("x", "g1", "G1", 2, None),
        ("x", "g2", "G2", 4, None),
        ("y", "g1", "G1", None, 18),
        ("y", "g2", "G2", None, 20),
    ]
    tables = pseudobulk_by_type(sums)
    assert tables["x"].columns == ["gene_id", "gene_name", "a"]
    assert sum_by_donor(counts, cells, genes, 9).is_empty()


NAMES = ["a", "b", "c"]


def called(means, **settings):
    means = np.array(means, dtype=float)
    clusters = [str(index) for index in range(len(means))]
    return call_clusters(
        means, NAMES[: means.shape[1]], clusters, ["d"] * len(means), SingleCellSettings(**settings)
    )


def test_a_cluster_without_a_margin_is_unassigned():
    means = [[2, 0, 0], [0, 2, 0], [1, 1, 0], [0, 0, 2], [0, 0, 0]]
    table = called(means)
    assert table["cell_type"].to_list() == ["a", "b", UNASSIGNED, "c", UNASSIGNED]
    assert table.row(2, named=True) | {"score": 1.0} == table.row(2, named=True)
    assert table["margin"].to_list() == [None, None, 0.0, None, None]
    assert table["next_type"].to_list() == [None, None, "b", None, None]
    assert called([[2, 1.9, 0], [0, 2, 0], [0, 0, 2]], minimum_margin=0.0)["cell_type"][0] == "a"
    assert called([[2, 1.9, 0], [0, 2, 0], [0, 0, 2]], minimum_margin=5.0)["cell_type"][0] == (
        UNASSIGNED
    )


def test_standardised_scores_decide_between_types():
    """Type b scores high everywhere, so that its scores say less than a's."""
    table = called([[1.0, 1.2, 0], [0, 1.1, 0], [0, 1.3, 0], [0, 1.4, 0]])
    assert table["cell_type"].to_list() == ["a", "b", "b", "b"]


def test_neither_a_type_of_nobody_nor_one_of_nearly_all_is_mistaken():
    noise = [[2.0, 0.0, 0.02], [0.0, 2.0, -0.01], [0.9, 0.0, 0.05], [2.0, 0.1, 0.03]]
    assert called(noise)["cell_type"].to_list() == ["a", "b", "a", "a"]
    assert called([[0.5, 0.1, 0.0]])["cell_type"].to_list() == ["a"]
    assert called([[0.05, 0.0, 0.0]])["cell_type"].to_list() == [UNASSIGNED]
    assert called(np.zeros((3, 0)))["cell_type"].to_list() == [UNASSIGNED] * 3


def test_types_of_which_markers_are_not_measured_are_named(caplog):
    rng = np.random.default_rng(1)
    mast = MARKERS.filter(cell_type="mast_cell")["gene_id"].to_list()
    cells = as_cells(draw_cells(rng.choice(TYPES, 60), rng))
    cells = cells[:, ~cells.var_names.isin(mast[1:])].copy()
    cells.X = sparse.csr_matrix(np.log1p(cells.X.toarray()))
    _, types, notes = score_cells(cells, MARKERS, SETTINGS)
    assert "mast_cell" not in types
    assert len(types) == 11
    assert notes == ["mast_cell is not looked for: 1 of 5 markers are measured, 2 are needed"]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("ENSG00000186081", "KRT5", "no Ensembl gene id"),
        ("ENSG00000186081", "ENSG00000186081.2", "without version"),
        ("ENSG00000128422", "ENSG00000186081", "listed twice"),
        ("urothelial_basal\tKRT5", "unassigned\tKRT5", "no type can be called so"),
        ("gene_id\tsource", "gene\tsource", "column is missing"),
    ],
)
def test_faulty_marker_tables_are_refused(tmp_path, old, new, text):
    content = (ROOT / "resources/cell_type_markers.tsv").read_text()
    assert old in content
    (tmp_path / "markers.tsv").write_text(content.replace(old, new, 1))
    with pytest.raises(InputError, match=text):
        read_markers(tmp_path / "markers.tsv")


def test_every_marker_has_a_publication_and_every_type_enough_markers():
    assert MARKERS["source"].str.contains(r", doi:10\.\d{4,}/\S+$").all()
    assert MARKERS.group_by("cell_type").len()["len"].min() >= 3
    assert MARKERS["cell_type"].n_unique() == 12


def test_a_null_contrast_stays_null_and_a_planted_shift_is_found(tmp_path):
    """24 donors of one type, by their pseudobulk; one gene doubles in half of them."""
    rng = np.random.default_rng(21)
    donors = [f"D{i:02d}" for i in range(24)]
    shift = np.ones(GENES.height)
    planted = GENES["gene_name"].to_list().index("OTHER5")
    shift[planted] = 2.0
    matrices, rows = [], []
    for index, donor in enumerate(donors):
        own = rng.gamma(20, 1 / 20, GENES.height)
        matrices.append(draw_cells(["tumour"] * 25, rng, own * (shift if index < 12 else 1)))
        rows += [(donor, "tumour")] * 25
    cells = pl.DataFrame(rows, schema=["patient", "cell_type"], orient="row")
    counts = sparse.csr_matrix(np.vstack(matrices))
    sums = sum_by_donor(counts, cells, GENES.select("gene_id", "gene_name"), 10)
    tables = pseudobulk_by_type(sums)
    clinical = pl.DataFrame(
        {
            "patient": donors,
            "stage": ["high"] * 12 + ["low"] * 12,
            "coin": ["high", "low"] * 12,
        }
    )
    levels = ClinicalVariable(type="categorical", levels=("low", "high"))
    effects = estimate_cell_expression_effects(
        tables,
        clinical,
        {name: Contrast(variable=name, case="high", control="low") for name in ("stage", "coin")},
        {"stage": levels, "coin": levels},
        10,
    )
    validate_table(effects, "cell_expression_effects")
    null = effects.filter(contrast="coin").drop_nulls("p_value")["p_value"]
    assert null.len() > 300
    assert 0.02 <= (null < 0.05).mean() <= 0.08
    found = effects.filter(contrast="stage").sort("p_value").row(0, named=True)
    assert found["gene_name"] == "OTHER5"
    assert found["log2_fold_change"] == pytest.approx(1.0, abs=0.35)


def test_shifted_types_make_a_shifted_composition(site):
    _, _, found = site
    clinical = pl.DataFrame(
        {"patient": [f"D{i}" for i in range(DONORS)], "stage": ["low"] * 3 + ["high"] * 3}
    )
    table = build_cell_composition(found.composition, clinical, ["stage"])
    mean = dict(table.filter(cell_type="t_cell").select("stratum", "mean").iter_rows())
    assert mean["low"] == pytest.approx(0.1, abs=0.05)
    assert mean["high"] == pytest.approx(0.25, abs=0.06)
    assert_frame_equal(table, build_cell_composition(found.composition, clinical, ["stage"]))


def test_the_share_of_cells_without_a_type_is_a_metric_of_each_sample():
    cells = pl.DataFrame(
        {
            "cell": list("abcde"),
            "patient": ["P1"] * 4 + ["P2"],
            "sample": ["s1"] * 4 + ["s2"],
            "cluster": "0",
            "cell_type": ["t_cell", UNASSIGNED, "t_cell", "b_cell", UNASSIGNED],
            "umap_1": 0.0,
            "umap_2": 0.0,
        },
        schema=CELLS_SCHEMA,
    )
    assert cluster_metrics(cells).rows() == [
        ("P1", "s1", "single_cell", "unassigned_percent", 25.0, None),
        ("P2", "s2", "single_cell", "unassigned_percent", 100.0, None),
    ]
    assert cluster_metrics(cells.clear()).schema == METRICS_SCHEMA
