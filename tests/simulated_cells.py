"""Cells of known types and donors, as counts, and files of them in each form."""

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse
from scipy.io import mmwrite

from ihdsi.single_cell.cell_types import read_markers
from ihdsi.single_cell.genes import MITOCHONDRIAL_GENES
from ihdsi.study import SingleCellSettings

ROOT = Path(__file__).parents[1]
MARKERS = read_markers(ROOT / "resources/cell_type_markers.tsv")
TYPES = ["b_cell", "endothelial", "fibroblast", "myeloid", "t_cell", "tumour"]
N_GENES = 500
SETTINGS = SingleCellSettings(
    minimum_genes=20, minimum_sample_cells=50, minimum_doublet_cells=80, variable_genes=300
)


def gene_table():
    """Markers and mitochondrial genes first, then genes that are the same in all types."""
    markers = MARKERS.select("gene_id", "gene_name").unique("gene_id").sort("gene_id")
    mitochondrial = sorted(MITOCHONDRIAL_GENES)
    rest = N_GENES - markers.height - len(mitochondrial)
    return pl.concat(
        [
            markers,
            pl.DataFrame(
                {
                    "gene_id": mitochondrial,
                    "gene_name": [f"MT-{i}" for i in range(len(mitochondrial))],
                }
            ),
            pl.DataFrame(
                {
                    "gene_id": [f"ENSG{9 * 10**10 + i}" for i in range(rest)],
                    "gene_name": [f"OTHER{i}" for i in range(rest)],
                }
            ),
        ]
    )


GENES = gene_table()


def draw_cells(types, rng, shifted=None, depth=1.0):
    """Draw negative binomial counts, cells x genes; `shifted` is fold change by gene.

    Types differ in their markers, and less in one in three of the other genes.
    """
    fixed = np.random.default_rng(5)
    base = fixed.lognormal(0.3, 0.8, N_GENES)
    names = sorted(MARKERS["cell_type"].unique())
    other = np.exp(fixed.normal(0, 1.2, (len(names), N_GENES)) * (np.arange(N_GENES) % 3 == 0))
    other[:, GENES["gene_name"].str.starts_with("MT-").to_numpy()] = 1
    of_type = {
        name: GENES["gene_id"].is_in(MARKERS.filter(cell_type=name)["gene_id"].to_list()).to_numpy()
        for name in MARKERS["cell_type"].unique()
    }
    marker = GENES["gene_id"].is_in(MARKERS["gene_id"].to_list()).to_numpy()
    mean = np.where(marker, 0.03, base * other[[names.index(name) for name in types]])
    for name, genes in of_type.items():
        mean[np.ix_(np.asarray(types) == name, genes)] = 6.0
    mean *= rng.lognormal(0, 0.25, len(types))[:, None] * depth
    if shifted is not None:
        mean *= shifted
    return rng.negative_binomial(4, 4 / (4 + mean)).astype(np.int32)


def as_cells(counts, sample="s", genes=GENES, barcodes=None):
    """Wrap counts as `read_cells` does."""
    barcodes = [f"BC{i:05d}" for i in range(len(counts))] if barcodes is None else barcodes
    return ad.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame(index=[f"{sample}:{name}" for name in barcodes]),
        var=pd.DataFrame({"gene_name": genes["gene_name"].to_list()}, genes["gene_id"].to_list()),
    )


def write_h5ad(path, counts, samples, place="X", **changes):
    """Write counts of several samples, with genes named as CELLxGENE names them."""
    matrix = changes.pop("matrix", sparse.csr_matrix(counts).astype(np.float32))
    obs = pd.DataFrame(
        {changes.pop("column", "sample"): pd.Categorical(samples)},
        index=changes.pop("barcodes", [f"BC{i:05d}" for i in range(len(samples))]),
    )
    genes = changes.pop("genes", GENES)
    var = pd.DataFrame({"gene_ids": genes["gene_id"].to_list()}, genes["gene_name"].to_list())
    normalised = sparse.csr_matrix(np.log1p(np.asarray(counts, dtype=np.float32) / 7))
    if place == "X":
        cells = ad.AnnData(matrix, obs=obs, var=var)
    elif place == "layers/counts":
        cells = ad.AnnData(normalised, obs=obs, var=var, layers={"counts": matrix})
    else:
        cells = ad.AnnData(matrix, obs=obs, var=var)
        cells.raw = cells.copy()
        cells = cells[:, :50].copy()
        cells.X = normalised[:, :50]
    cells.write_h5ad(path)


def write_10x_folder(folder, counts, *, gzipped=True, legacy=False, genes=GENES, extra=0):
    """Write Cell Ranger's folder; `extra` antibody features stand behind the genes."""
    folder.mkdir()
    wide = np.hstack([counts, np.full((len(counts), extra), 99, dtype=counts.dtype)])
    mmwrite(folder / "matrix.mtx", sparse.coo_matrix(wide.T))
    lines = [
        "\t".join(row if legacy else (*row, "Gene Expression"))
        for row in genes.select("gene_id", "gene_name").iter_rows()
    ]
    lines += [f"CD{i}\tCD{i}\tAntibody Capture" for i in range(extra)]
    texts = {
        "matrix.mtx": (folder / "matrix.mtx").read_text(),
        "genes.tsv" if legacy else "features.tsv": "\n".join(lines) + "\n",
        "barcodes.tsv": "".join(f"BC{i:05d}\n" for i in range(len(counts))),
    }
    for name, text in texts.items():
        if gzipped:
            (folder / name).unlink(missing_ok=True)
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)


def write_10x_hdf5(path, counts, extra=0):
    wide = np.hstack([counts, np.full((len(counts), extra), 99, dtype=counts.dtype)])
    matrix = sparse.csr_matrix(wide)
    ids = [*GENES["gene_id"], *(f"CD{i}" for i in range(extra))]
    names = [*GENES["gene_name"], *(f"CD{i}" for i in range(extra))]
    kinds = ["Gene Expression"] * GENES.height + ["Antibody Capture"] * extra
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["data"], group["indices"], group["indptr"] = (
            matrix.data,
            matrix.indices.astype(np.int64),
            matrix.indptr.astype(np.int64),
        )
        group["shape"] = np.array(wide.T.shape, dtype=np.int32)
        group["barcodes"] = np.array([f"BC{i:05d}" for i in range(len(counts))], dtype="S")
        for name, values in (("id", ids), ("name", names), ("feature_type", kinds)):
            group[f"features/{name}"] = np.array(values, dtype="S")
