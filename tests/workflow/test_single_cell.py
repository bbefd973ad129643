"""Single cells of a site, from files of each form to the tables that may leave it."""

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from scipy import sparse

from ihdsi.summaries import read_table
from project_copy import copy_project
from simulated_cells import GENES, TYPES, draw_cells, write_10x_folder

pytestmark = pytest.mark.workflow

DONORS = [f"D{i:02d}" for i in range(24)]
PER_DONOR = 130
#: One more donor has shallow cells, and one has too few.
SHALLOW, FEW = "D98", "D99"
EXTRA = (SHALLOW, FEW)
LEAST_COUNTS = 700
STUDY = {
    "study": "cells",
    "version": "1.0",
    "title": "Cells",
    "participants": ["alpha"],
    "reference": {"name": "none", "gene_catalogue": "given/genes.tsv"},
    "clinical": {
        "variables": {"stage": {"type": "categorical", "levels": ["low", "high"], "required": True}}
    },
    "strata": ["stage"],
    "contrasts": {"stage": {"variable": "stage", "case": "high", "control": "low"}},
    "disclosure": {},
    "quality_control": {
        name: {"assay": "single_cell", "unit": "1", **limits}
        for name, limits in (
            ("cells_passed", {"minimum": 10, "bins": [0, 1000]}),
            ("median_counts_per_cell", {"minimum": LEAST_COUNTS, "bins": [0, LEAST_COUNTS, 1e5]}),
            ("median_genes_per_cell", {"warn_minimum": 100, "bins": [0, 100, 1000]}),
        )
    },
    "single_cell": {
        "minimum_genes": 20,
        "minimum_sample_cells": 50,
        "variable_genes": 300,
    },
}
SITE = {
    "site": "alpha",
    "title": "Alpha",
    "country": "LU",
    "study": "cells",
    "study_version": "1.0",
    "samples": "given/samples.tsv",
    "clinical": "given/clinical.tsv",
    "codebook": "given/codebook.yaml",
}
CODEBOOK = {
    "patient": "patient",
    "variables": {"stage": {"column": "stage", "values": {"low": "low", "high": "high"}}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """23 donors in one h5ad and one in a 10x folder; one more has shallow, one too few cells."""
    project = copy_project(tmp_path_factory.mktemp("cells") / "project")
    given = project.root / "given"
    given.mkdir()
    for name, document in (("study", STUDY), ("site", SITE), ("codebook", CODEBOOK)):
        (given / f"{name}.yaml").write_text(yaml.safe_dump(document))
    (given / "run.yaml").write_text("study: given/study.yaml\nsites: [given/site.yaml]\n")
    GENES.write_csv(given / "genes.tsv", separator="\t")
    rng = np.random.default_rng(31)
    counts, owners, truth = [], [], {}
    for index, donor in enumerate([*DONORS, *EXTRA]):
        n = 20 if donor == FEW else PER_DONOR
        weight = np.array([1, 1, 2, 1, 3 if index < 12 else 1, 4.0])
        types = rng.choice(TYPES, n, p=weight / weight.sum())
        truth[donor] = (types == "t_cell").mean()
        drawn = draw_cells(types, rng)
        if donor == SHALLOW:
            drawn = rng.binomial(drawn, 0.4)
        if donor == DONORS[-1]:
            write_10x_folder(given / donor, drawn)
        else:
            counts.append(drawn)
            owners += [donor] * n
    ad.AnnData(
        sparse.csr_matrix(np.vstack(counts)).astype(np.float32),
        obs=pd.DataFrame(
            {"donor": pd.Categorical(owners)}, index=[f"BC{i}" for i in range(len(owners))]
        ),
        var=pd.DataFrame(index=GENES["gene_name"].to_list()),
    ).write_h5ad(given / "cells.h5ad")
    rows = ["patient\tsample\ttissue\tassay\tcells\tcells_sample\tcells_column"]
    for donor in [*DONORS, *EXTRA]:
        file = f"given/{donor}\t\t" if donor == DONORS[-1] else f"given/cells.h5ad\t{donor}\tdonor"
        rows.append(f"{donor}\t{donor}-C\ttumour\tsingle_cell\t{file}")
    (given / "samples.tsv").write_text("\n".join(rows) + "\n")
    lines = [f"{d}\t{'high' if i < 12 else 'low'}" for i, d in enumerate([*DONORS, *EXTRA])]
    (given / "clinical.tsv").write_text("\n".join(["patient\tstage", *lines]) + "\n")
    project.run("--configfile", "given/run.yaml", "--cores", "2")
    return project.root / "results/cells/sites/alpha", truth


def test_composition_is_summarised_by_donor(run):
    folder, truth = run
    table = read_table(folder / "summaries/cell_composition.parquet", "cell_composition")
    assert table["n_donors"].unique().sort().to_list() == [12, 24]
    mean = dict(table.filter(cell_type="t_cell").select("stratum", "mean").iter_rows())
    for stratum, donors in (("all", DONORS), ("high", DONORS[:12]), ("low", DONORS[12:])):
        expected = np.mean([truth[donor] for donor in donors])
        assert mean[stratum] == pytest.approx(expected, abs=0.02)


def test_effects_of_cell_types_are_estimated(run):
    folder, _ = run
    path = folder / "summaries/cell_expression_effects.parquet"
    effects = read_table(path, "cell_expression_effects")
    assert {"tumour", "fibroblast"} <= set(effects["cell_type"])
    assert effects["n_case"].max() == 12


def test_what_may_leave_is_cleared(run):
    folder, _ = run
    cleared = read_table(folder / "cleared/cell_composition.parquet", "cell_composition")
    assert "t_cell" in cleared["cell_type"].to_list()
    populations = pl.read_parquet(folder / "cleared/populations.parquet")
    assert "cells" in populations["population"].to_list()
    assert "cell_contrast:tumour:stage" in populations["population"].to_list()
    assert set(populations.filter(population="cells")["patient"]) == set(DONORS)
    profile = read_table(folder / "cleared/qc_profile.parquet", "qc_profile")
    # Two samples that failed are too few to leave as a count, and 24 donors of shares leave, from
    # which any number of 26 samples would tell it.
    assert profile.is_empty()
    log = pl.read_parquet(folder / "cleared/disclosure_log.parquet")
    told = log.filter(table="qc_profile", rule="numbers_of_samples")
    assert told["key"].str.contains("cells_passed").any()
    counted = read_table(folder / "summaries/qc_profile.parquet", "qc_profile")
    failed = counted.filter(metric="failed_limits")
    assert set(failed.select("n_total", "n_failed").rows()) == {(len(DONORS) + len(EXTRA), 2)}


def test_the_site_is_told_what_was_left_out_and_sees_its_cells(run):
    folder, _ = run
    notes = pl.read_csv(folder / "single_cell/sample_notes.tsv", separator="\t")
    aside = notes.filter(pl.col("note").str.starts_with("set aside"))
    assert aside["sample"].to_list() == ["D99-C"]
    quality = pl.read_csv(folder / "single_cell/cell_quality.tsv", separator="\t")
    assert quality.filter(reason="barcodes")["n"].sum() == 25 * PER_DONOR + 20
    for name in ("umap_cell_types", "umap_donors", "cell_quality", "composition"):
        assert (folder / f"single_cell/figures/{name}.png").stat().st_size > 10_000


def test_failed_samples_are_on_record_and_in_no_table_of_cells(run):
    folder, _ = run
    decisions = pl.read_parquet(folder / "quality_control/sample_decisions.parquet")
    assert set(decisions["kind"]) == {"tumour_single_cell"}
    assert decisions.height == len(DONORS) + len(EXTRA)
    failed = dict(decisions.filter(decision="fail").select("sample", "reasons").iter_rows())
    assert set(failed) == {f"{SHALLOW}-C", f"{FEW}-C"}
    assert failed[f"{SHALLOW}-C"].startswith("fail: median counts per cell ")
    assert failed[f"{SHALLOW}-C"].endswith(f"(at least {LEAST_COUNTS})")
    assert "of 20 barcodes hold a cell that passes, 50 are needed" in failed[f"{FEW}-C"]
    # The shallow sample has cells that pass, which are clustered with nobody's.
    accounts = pl.read_csv(folder / "single_cell/cell_quality.tsv", separator="\t")
    assert accounts.filter(sample=f"{SHALLOW}-C", reason="pass")["n"].item() > 50
    for table in ("cells", "composition"):
        frame = pl.read_parquet(folder / f"single_cell/{table}.parquet")
        assert set(frame["patient"]) == set(DONORS)
    sums = pl.read_parquet(folder / "single_cell/pseudobulk.parquet")
    assert not set(EXTRA) & set(sums.columns)
    # What was decided before clustering is what was decided in the end.
    assert pl.read_parquet(folder / "single_cell/sample_decisions.parquet").equals(decisions)
