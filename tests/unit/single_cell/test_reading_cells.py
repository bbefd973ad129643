"""Cells of one sample, from each form of file, against the counts that were written."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from ihdsi.errors import InputError
from ihdsi.single_cell.reading import read_cells
from simulated_cells import (
    GENES,
    draw_cells,
    write_10x_folder,
    write_10x_hdf5,
    write_h5ad,
)

CATALOGUE = GENES.select("gene_id", "gene_name")


@pytest.fixture(scope="module")
def counts():
    return draw_cells(["t_cell", "tumour"] * 30, np.random.default_rng(3))


def table_of(cells):
    frame = pd.DataFrame(cells.X.toarray(), cells.obs_names, cells.var_names)
    assert cells.X.dtype == np.int32
    assert sparse.issparse(cells.X)
    assert cells.X.format == "csr"
    return frame


def expected(counts, sample="P1"):
    names = [f"{sample}:BC{i:05d}" for i in range(len(counts))]
    frame = pd.DataFrame(counts, names, GENES["gene_id"].to_list())
    return frame.sort_index(axis=1)


def same(cells, frame):
    pd.testing.assert_frame_equal(table_of(cells), frame, check_names=False)
    names = dict(GENES.iter_rows())
    assert cells.var["gene_name"].to_list() == [names[gene] for gene in cells.var_names]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("gzipped", [False, True])
def test_a_folder_holds_what_was_counted(tmp_path, counts, gzipped, legacy):
    write_10x_folder(tmp_path / "m", counts, gzipped=gzipped, legacy=legacy)
    same(read_cells(tmp_path / "m", "P1"), expected(counts))


def test_all_forms_give_the_same_cells_without_antibodies(tmp_path, counts):
    write_10x_folder(tmp_path / "m", counts, extra=3)
    write_10x_hdf5(tmp_path / "m.h5", counts, extra=3)
    write_h5ad(tmp_path / "m.h5ad", counts, ["P1"] * 60)
    for name in ("m", "m.h5", "m.h5ad"):
        same(read_cells(tmp_path / name, "P1", "P1", "sample"), expected(counts))


@pytest.mark.parametrize("place", ["X", "raw/X", "layers/counts"])
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_only_the_sample_is_read_from_an_h5ad_of_many(tmp_path, counts, place, form):
    samples = np.array(["a", "b", "a"] * 20)
    write_h5ad(tmp_path / "m.h5ad", counts, samples, place, matrix=form(counts.astype(float)))
    cells = read_cells(tmp_path / "m.h5ad", "P1", "b", "sample")
    assert cells.n_obs == 20
    same(cells, expected(counts)[samples == "b"])


def test_names_are_looked_up_and_what_is_unknown_is_named(tmp_path, counts, caplog):
    genes = GENES.with_columns(gene_id="gene_name").with_columns(
        pl.when(pl.col("gene_name") == "OTHER0")
        .then(pl.lit("TRANSGENE"))
        .when(pl.col("gene_name") == "OTHER1")
        .then(pl.lit("OTHER2"))
        .otherwise("gene_id")
        .alias("gene_id")
    )
    write_10x_folder(tmp_path / "m", counts, genes=genes.with_columns(gene_name="gene_id"))
    twice = CATALOGUE.with_columns(
        gene_name=pl.when(pl.col("gene_name") == "OTHER3")
        .then(pl.lit("OTHER4"))
        .otherwise("gene_name")
    )
    cells = read_cells(tmp_path / "m", "P1", catalogue=twice)
    lost = ["TRANSGENE", "OTHER2", "OTHER2", "OTHER3", "OTHER4"]
    assert cells.uns["unmapped_features"].tolist() == lost
    assert "5 of 500 features" in caplog.text
    assert "TRANSGENE, OTHER2" in caplog.text
    ids = dict(GENES.select("gene_name", "gene_id").iter_rows())
    kept = expected(counts).drop(columns=[ids[f"OTHER{i}"] for i in range(5)])
    pd.testing.assert_frame_equal(table_of(cells), kept, check_names=False)
    with pytest.raises(InputError, match="the study lists no genes"):
        read_cells(tmp_path / "m", "P1")
    with pytest.raises(InputError, match="no feature is a gene of the study"):
        read_cells(tmp_path / "m", "P1", catalogue=CATALOGUE.with_columns(gene_name="gene_id"))


def test_versions_are_cut_off_and_copies_on_y_are_added(tmp_path, counts):
    genes = GENES.with_columns(pl.col("gene_id") + ".7")
    first = genes["gene_id"][499]
    genes = genes.with_columns(
        gene_id=pl.when(pl.col("gene_name") == "OTHER0")
        .then(pl.lit(f"{first}_PAR_Y"))
        .otherwise("gene_id")
    )
    write_10x_folder(tmp_path / "m", counts, genes=genes)
    cells = table_of(read_cells(tmp_path / "m", "P1"))
    assert cells.shape == (60, 499)
    other = GENES["gene_name"].to_list().index("OTHER0")
    total = counts[:, 499] + counts[:, other]
    np.testing.assert_array_equal(cells[GENES["gene_id"][499]], total)


def test_two_versions_of_a_gene_are_refused(tmp_path, counts):
    genes = GENES.with_columns(
        gene_id=pl.when(pl.col("gene_name") == "OTHER0")
        .then(pl.lit(GENES["gene_id"][499] + ".2"))
        .otherwise("gene_id")
    )
    write_10x_folder(tmp_path / "m", counts, genes=genes)
    with pytest.raises(InputError, match=r"1 gene ids occur twice .*Keep one row a gene"):
        read_cells(tmp_path / "m", "P1")


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        ("X", 0.5, "X holds 0.5"),
        ("X", -1.0, "X holds -1"),
        ("X", np.nan, "X holds nan"),
        ("raw/X", 1.5, "raw/X holds 1.5"),
        ("layers/counts", 2.5, "layers/counts holds 2.5"),
    ],
)
def test_what_is_no_count_is_refused_with_its_cell(tmp_path, counts, place, value, text):
    changed = counts.astype(np.float32)
    changed[7, 100] = value
    write_h5ad(tmp_path / "m.h5ad", counts, ["a"] * 60, place, matrix=sparse.csr_matrix(changed))
    found = rf"m\.h5ad, {text} \(cell BC00007, feature 101\).*Keep the raw counts"
    with pytest.raises(InputError, match=found):
        read_cells(tmp_path / "m.h5ad", "P1", "a", "sample")


@pytest.mark.parametrize("value", [-1, 0.5])
def test_what_is_no_count_is_refused_in_10x_matrices(tmp_path, counts, value):
    changed = counts.astype(float)
    changed[7, 100] = value
    write_10x_folder(tmp_path / "m", changed, gzipped=False)
    with pytest.raises(InputError, match=rf"holds {value:g} \(cell BC00007, feature 101\)"):
        read_cells(tmp_path / "m", "P1")
    write_10x_hdf5(tmp_path / "m.h5", changed)
    with pytest.raises(InputError, match=rf"m\.h5 holds {value:g} \(cell BC00007, feature 101\)"):
        read_cells(tmp_path / "m.h5", "P1")


def test_faulty_files_are_refused(tmp_path, counts):
    write_h5ad(tmp_path / "m.h5ad", counts, ["a"] * 60)
    with pytest.raises(InputError, match=r"samples\.tsv, column 'cells': .* of sample 'b'"):
        read_cells(tmp_path / "m.h5ad", "P1", "b", "sample", sheet="samples.tsv")
    with pytest.raises(InputError, match="no column 'donor'"):
        read_cells(tmp_path / "m.h5ad", "P1", "a", "donor")
    write_h5ad(tmp_path / "n.h5ad", counts, ["a"] * 60, barcodes=["x", *("y" for _ in range(59))])
    with pytest.raises(InputError, match="barcode 'y' of sample 'a' occurs twice"):
        read_cells(tmp_path / "n.h5ad", "P1", "a", "sample")
    (tmp_path / "cut.h5ad").write_bytes((tmp_path / "m.h5ad").read_bytes()[:3000])
    with pytest.raises(InputError, match="cannot be opened as HDF5"):
        read_cells(tmp_path / "cut.h5ad", "P1", "a", "sample")
    write_10x_folder(tmp_path / "m", counts, gzipped=False)
    (tmp_path / "m/barcodes.tsv").write_text("BC1\n")
    with pytest.raises(InputError, match="1 barcodes beside it"):
        read_cells(tmp_path / "m", "P1")


def test_names_come_from_the_column_of_names(tmp_path, counts):
    """As CELLxGENE writes files: ids as index, names and much else beside them."""
    var = pd.DataFrame(
        {
            "chromosome": ["chr1"] * 500,
            "feature_name": pd.Categorical(GENES["gene_name"].to_list()),
            "length": np.arange(500),
        },
        GENES["gene_id"].to_list(),
    )
    obs = pd.DataFrame({"donor_id": ["a"] * 60}, [f"BC{i:05d}" for i in range(60)])
    ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=var).write_h5ad(tmp_path / "m.h5ad")
    same(read_cells(tmp_path / "m.h5ad", "P1", "a", "donor_id"), expected(counts))
    cells = ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=var.drop(columns="feature_name"))
    cells.var_names = GENES["gene_name"].to_list()
    cells.write_h5ad(tmp_path / "n.h5ad")
    same(read_cells(tmp_path / "n.h5ad", "P1", "a", "donor_id", CATALOGUE), expected(counts))


def test_tables_of_an_old_anndata_are_refused(tmp_path, counts):
    write_h5ad(tmp_path / "m.h5ad", counts, ["a"] * 60)
    with h5py.File(tmp_path / "m.h5ad", "r+") as file:
        del file["obs"]
        file["obs"] = np.array([(b"x", b"a")], dtype=[("index", "S3"), ("sample", "S3")])
    with pytest.raises(InputError, match=r"no table 'obs' that can be read.*anndata 0\.7"):
        read_cells(tmp_path / "m.h5ad", "P1", "a", "sample")


@pytest.mark.parametrize("form", ["m", "m.h5", "m.h5ad"])
def test_what_tells_presence_only_is_refused(tmp_path, counts, form):
    present = (counts > 0).astype(np.int32)
    write_10x_folder(tmp_path / "m", present)
    write_10x_hdf5(tmp_path / "m.h5", present)
    write_h5ad(tmp_path / "m.h5ad", present, ["a"] * 60)
    with pytest.raises(InputError, match="no value above 1"):
        read_cells(tmp_path / form, "P1", "a", "sample")


def test_a_handful_of_ones_may_be_counts(tmp_path, counts):
    few = np.zeros_like(counts)
    few[:3, :30] = 1
    write_10x_folder(tmp_path / "m", few)
    assert read_cells(tmp_path / "m", "P1").X.sum() == 90


def scaled(counts, total, rounded=np.rint):
    return rounded(counts / counts.sum(axis=1, keepdims=True) * total).astype(np.int32)


@pytest.mark.parametrize("total", [1e4, 1e6])
@pytest.mark.parametrize("rounded", [np.rint, np.ceil])
def test_counts_that_were_scaled_and_rounded_are_refused(tmp_path, counts, total, rounded):
    write_h5ad(tmp_path / "m.h5ad", scaled(counts, total, rounded), ["a"] * 60)
    with pytest.raises(InputError, match="nearly the same in all 60 cells"):
        read_cells(tmp_path / "m.h5ad", "P1", "a", "sample")
    write_h5ad(tmp_path / "few.h5ad", scaled(counts, total), ["a"] * 19 + ["b"] * 41)
    assert read_cells(tmp_path / "few.h5ad", "P1", "a", "sample").n_obs == 19


def test_cells_of_similar_totals_are_noted(tmp_path, counts, caplog):
    write_h5ad(tmp_path / "raw.h5ad", counts, ["a"] * 60)
    read_cells(tmp_path / "raw.h5ad", "P1", "a", "sample")
    assert not caplog.records
    depths = np.random.default_rng(1).normal(1e4, 1e3, (60, 1))
    write_h5ad(tmp_path / "m.h5ad", scaled(counts, depths), ["a"] * 60)
    read_cells(tmp_path / "m.h5ad", "P1", "a", "sample")
    assert "nearly the same in all 60 cells" in caplog.text
    assert "are read as raw counts" in caplog.text


def test_raw_counts_beside_scaled_ones_are_found(tmp_path, counts):
    """`raw.X` holds scaled counts, so that `X` is looked at, as with fractions."""
    write_h5ad(tmp_path / "m.h5ad", counts, ["a"] * 60)
    cells = ad.read_h5ad(tmp_path / "m.h5ad")
    cells.raw = ad.AnnData(sparse.csr_matrix(scaled(counts, 1e4)), obs=cells.obs, var=cells.var)
    cells.write_h5ad(tmp_path / "m.h5ad")
    same(read_cells(tmp_path / "m.h5ad", "P1", "a", "sample"), expected(counts))
