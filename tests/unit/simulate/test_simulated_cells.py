"""Single cells of the demo: what is planted is in the counts, and in the files as they are read."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from ihdsi.simulate import cells as cells_model
from ihdsi.simulate.cells import (
    CELL_TYPE_SHARES,
    MITOCHONDRIAL_GENE_IDS,
    cell_donors,
    cell_effect_truth,
    cell_model,
    cell_sample_rows,
    cell_truth,
    composition_truth,
    read_cell_markers,
    share_truth,
    simulate_donor_cells,
    write_site_cells,
)
from ihdsi.simulate.cohort import DEMO_SITES, simulate_patients
from ihdsi.simulate.expression import expression_parameters
from ihdsi.simulate.genome import gene_list, read_gene_panel
from ihdsi.single_cell.genes import ENSEMBL_ID, MITOCHONDRIAL_GENES
from ihdsi.single_cell.quality import filter_cells
from ihdsi.single_cell.reading import read_cells
from ihdsi.study import load_study

PROJECT = Path(__file__).parents[3]
SEED = 20260401
LIH, NCCK = DEMO_SITES


@pytest.fixture(scope="module")
def markers():
    return read_cell_markers(PROJECT / "resources/cell_type_markers.tsv")


@pytest.fixture(scope="module")
def parameters():
    genes = gene_list(read_gene_panel(PROJECT / "resources/bladder_gene_panel.tsv"))
    return expression_parameters(SEED, genes, DEMO_SITES)


@pytest.fixture(scope="module")
def model(parameters, markers):
    return cell_model(SEED, parameters, markers, DEMO_SITES)


@pytest.fixture(scope="module")
def many(model):
    """Sixty donors of one laboratory in each stage group, none of them a patient of the demo."""
    return {
        stage: [simulate_donor_cells(SEED, f"{stage}-{i}", "lih", stage, model) for i in range(60)]
        for stage in ("NMIBC", "MIBC")
    }


def test_donors_are_as_many_women_as_men_of_each_stage():
    patients = simulate_patients(SEED)
    for design in DEMO_SITES:
        chosen = patients.filter(pl.col("patient").is_in(cell_donors(patients, design)))
        counts = chosen.group_by("stage_group", "sex").len()["len"].to_list()
        assert counts == [6] * 4
        assert set(chosen["site"]) == {design.site}


def test_the_genes_are_the_demos_the_markers_and_the_mitochondrial_ones(model, parameters, markers):
    genes = model.genes
    assert genes["gene_id"][: parameters.height].equals(parameters["gene_id"])
    assert set(markers["gene_id"]) <= set(genes["gene_id"])
    assert set(MITOCHONDRIAL_GENE_IDS.values()) == MITOCHONDRIAL_GENES
    assert genes["gene_id"].is_unique().all()
    assert genes["gene_id"].str.contains(ENSEMBL_ID).all()
    assert model.mitochondrial.sum() == 13


def test_shares_of_each_stage_are_whole_and_the_shifts_cancel():
    truth = composition_truth()
    assert truth["share_nmibc"].sum() == pytest.approx(1)
    assert truth["share_mibc"].sum() == pytest.approx(1)
    shifted = truth.filter(pl.col("difference") != 0)
    assert dict(shifted.select("cell_type", "difference").iter_rows()) == pytest.approx(
        {"urothelial_umbrella": -0.12, "fibroblast": 0.07, "myeloid": 0.05}
    )


def test_drawn_shares_follow_the_stage(many, model):
    truth = composition_truth()
    mean = {}
    for stage, donors in many.items():
        shares = np.array(
            [
                [(donor.cell_type[donor.kind == "cell"] == name).mean() for name in model.types]
                for donor in donors
            ]
        )
        mean[stage] = shares.mean(axis=0)
        expected = np.array([CELL_TYPE_SHARES[name][stage] for name in model.types])
        error = shares.std(axis=0, ddof=1) / np.sqrt(len(donors))
        assert (np.abs(mean[stage] - expected) < 4 * error).all()
        # Donors differ by more than what the number of cells leaves to chance.
        noise = expected * (1 - expected) / cells_model.CELLS_PER_DONOR
        assert (shares.var(axis=0, ddof=1) > 1.5 * noise).all()
    difference = mean["MIBC"] - mean["NMIBC"]
    assert np.corrcoef(difference, truth["difference"].to_numpy())[0, 1] > 0.95


def pseudobulk(donors, name):
    """Mean counts of a donor's healthy cells of a type, donors x genes."""
    return np.stack(
        [
            donor.counts[(donor.kind == "cell") & (donor.cell_type == name)].mean(axis=0)
            for donor in donors
        ]
    )


def log2_change(many, name):
    groups = [np.log2(pseudobulk(many[stage], name) + 0.01) for stage in ("MIBC", "NMIBC")]
    return groups[0].mean(axis=0) - groups[1].mean(axis=0), stats.ttest_ind(*groups).pvalue


def test_planted_effects_are_in_the_counts_of_their_type(many, model):
    for name, n in (("tumour", 40), ("fibroblast", 16)):
        planted = model.effect[model.types.index(name)]
        assert (planted != 0).sum() >= n
        change, p_value = log2_change(many, name)
        assert np.abs(change - planted)[planted != 0].mean() < 0.15
        assert (np.sign(change) == np.sign(planted))[planted != 0].all()
        assert (p_value[planted != 0] < 0.001).mean() > 0.95


@pytest.mark.parametrize("name", ["t_cell", "myeloid"])
def test_a_null_type_stays_null(many, model, name):
    assert not model.effect[model.types.index(name)].any()
    _, p_value = log2_change(many, name)
    expressed = model.mean[model.types.index(name)] > 0.5
    # Of some 250 tests about 5 % are below 0.05.
    assert 0.01 < (p_value[expressed] < 0.05).mean() < 0.10


def test_markers_and_genes_of_one_hospital_carry_no_effect(model, parameters, markers):
    planted = model.genes.filter(pl.Series((model.effect != 0).any(axis=0)))["gene_id"]
    assert not set(planted) & set(markers["gene_id"])
    assert not set(planted) & set(parameters.filter("site_specific")["gene_id"])
    table = cell_effect_truth(model)
    assert table.height == len(model.types) * model.genes.height
    tumour = table.filter(cell_type="tumour").join(parameters, on="gene_id", suffix="_bulk")
    changed = tumour.filter(pl.col("log2_fold_change") != 0)
    assert changed["log2_fold_change"].equals(
        changed["log2_fold_change_bulk"].alias("log2_fold_change")
    )


def test_donors_differ_beyond_their_cells(many, model):
    """The variance of pseudobulk has a part that more cells would not take away."""
    means = pseudobulk(many["MIBC"], "tumour")
    clear = (model.mean[model.types.index("tumour")] > 2) & (means > 0).all(axis=0)
    spread = np.log2(means[:, clear]).std(axis=0, ddof=1)
    n_cells = np.mean(
        [((d.kind == "cell") & (d.cell_type == "tumour")).sum() for d in many["MIBC"]]
    )
    noise = np.sqrt((1 / 2 + cells_model.CELL_DISPERSION) / n_cells) / np.log(2)
    assert np.median(spread) > 1.3 * noise
    assert np.median(spread) == pytest.approx(cells_model.DONOR_LOG2_SD, rel=0.3)


def test_a_donor_depends_on_nobody_else(model):
    again = simulate_donor_cells(SEED, "LIH-0001", "lih", "MIBC", model)
    first = simulate_donor_cells(SEED, "LIH-0001", "lih", "MIBC", model)
    other = simulate_donor_cells(SEED + 1, "LIH-0001", "lih", "MIBC", model)
    assert (first.counts == again.counts).all()
    assert first.barcodes == again.barcodes
    assert first.barcodes != other.barcodes
    assert len(set(first.barcodes)) == first.counts.shape[0]


@pytest.fixture(scope="module")
def written(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("cells")
    drawn = {}
    for design in DEMO_SITES:
        drawn[design.site] = [
            simulate_donor_cells(SEED, f"{design.prefix}-000{i}", design.site, "NMIBC", model)
            for i in (1, 2)
        ]
        write_site_cells(design, drawn[design.site], model.genes, folder / design.site)
    return folder, drawn


@pytest.mark.parametrize("design", DEMO_SITES, ids=lambda design: design.site)
def test_files_read_back_as_what_was_drawn(written, model, design):
    folder, drawn = written
    donors = drawn[design.site]
    truth = cell_truth(design, donors)
    names = [donor.patient for donor in donors]
    rows = cell_sample_rows(design, names, str(folder / design.site))
    for donor, row in zip(donors, rows, strict=True):
        cells = read_cells(
            row["cells"], row["sample"], row.get("cells_sample", ""), row.get("cells_column", "")
        )
        own = truth.filter(patient=donor.patient)
        assert cells.obs_names.to_list() == own["cell"].to_list()
        order = [cells.var_names.get_loc(gene) for gene in model.genes["gene_id"]]
        assert (cells.X.toarray()[:, order] == donor.counts).all()
        assert own["kind"].to_list() == donor.kind.tolist()
        assert own.filter(kind="empty")["cell_type"].null_count() == (donor.kind == "empty").sum()


def test_quality_control_finds_the_faulty_barcodes(written):
    folder, drawn = written
    settings = load_study(PROJECT / "config/studies/demo.yaml").single_cell
    judged = []
    for donor in drawn["lih"]:
        cells = read_cells(folder / "lih/cells" / donor.sample, donor.sample)
        _, decisions, _ = filter_cells(cells, donor.patient, donor.sample, settings)
        judged.append(cell_truth(LIH, [donor]).join(decisions, on="cell"))
    passed = dict(
        pl.concat(judged).group_by("kind").agg((pl.col("decision") == "pass").mean()).iter_rows()
    )
    assert passed["empty"] == passed["dying"] == 0
    # A donor has eight doublets, some of two cells of one type, which nobody can tell.
    assert passed["doublet"] < 0.6
    assert passed["cell"] > 0.85


def test_shares_of_donors_are_given(written, model):
    _, drawn = written
    table = share_truth(model, drawn["ncck"])
    assert table.group_by("patient").agg(pl.col("share").sum())["share"].to_list() == pytest.approx(
        [1, 1]
    )
    assert table["cell_type"].n_unique() == len(model.types)
