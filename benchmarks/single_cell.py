"""Time and peak memory of a site's single cells, against plain scanpy in the same run.

Counts are drawn for donors with ten cell types each: 20,000 genes, about 6 % of the values above
zero. Each step runs in a process of its own, whose peak memory is read at its end:

* filtering one sample, read from an h5ad file of all donors (the largest step by sample),
* clustering, naming and adding up all cells,
* the same steps of clustering as a scanpy user would write them: read, concatenate, normalise,
  highly variable genes, PCA, neighbours, Leiden, UMAP.

The last line is one JSON object. ``--quick`` takes 3,000 cells of 2,000 genes. Exits with 1 where
clustering needs 12 GiB or more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from scipy import sparse

from ihdsi.single_cell.cell_types import read_markers
from ihdsi.study import SingleCellSettings

ROOT = Path(__file__).parents[1]
MARKERS = read_markers(ROOT / "resources/cell_type_markers.tsv")
SETTINGS = SingleCellSettings()
LIMIT_GIB = 12.0
DRAWS = 2000
BLOCK = 2000


def draw_donor(n_cells: int, n_genes: int, donor: int) -> sparse.csr_matrix:
    """Draw counts of one donor; types differ in their markers and in one gene of twenty."""
    fixed = np.random.default_rng(1)
    base = fixed.lognormal(0, 1.9, n_genes)
    types = sorted(MARKERS["cell_type"].unique())
    places = {
        gene: place for place, gene in enumerate(MARKERS["gene_id"].unique(maintain_order=True))
    }
    base[: len(places)] = 0.01
    chances = []
    for name in types:
        fold = np.where(fixed.random(n_genes) < 0.05, fixed.lognormal(1, 1, n_genes), 1.0)
        weights = base * fold
        weights[[places[gene] for gene in MARKERS.filter(cell_type=name)["gene_id"]]] = 100.0
        chances.append(np.cumsum(weights / weights.sum()))
    rng = np.random.default_rng(100 + donor)
    blocks = []
    for start in range(0, n_cells, BLOCK):
        size = min(BLOCK, n_cells - start)
        of_type = rng.integers(0, len(types), size)
        lengths = rng.poisson(DRAWS * rng.lognormal(0, 0.3, size))
        rows = np.repeat(np.arange(size), lengths)
        picks = rng.random(rows.size)
        columns = np.empty(rows.size, dtype=np.int64)
        for index, chance in enumerate(chances):
            chosen = (of_type == index)[rows]
            columns[chosen] = np.searchsorted(chance, picks[chosen])
        columns = np.minimum(columns, n_genes - 1)
        blocks.append(
            sparse.csr_matrix(
                (np.ones(rows.size, dtype=np.float32), (rows, columns)), shape=(size, n_genes)
            )
        )
    return sparse.csr_matrix(sparse.vstack(blocks, format="csr"))


def genes(n_genes: int) -> list[str]:
    """Markers first, as `draw_donor` places them."""
    known = MARKERS["gene_id"].unique(maintain_order=True).to_list()
    return [*known, *(f"ENSG{9 * 10**10 + i}" for i in range(n_genes - len(known)))]


def write_inputs(folder: Path, n_cells: int, n_genes: int, n_donors: int) -> float:
    """Write one h5ad a donor as filtering does, and one of all; return the share above zero."""
    names = genes(n_genes)
    per_donor = n_cells // n_donors
    stored = 0
    for donor in range(n_donors):
        counts = draw_donor(per_donor, n_genes, donor)
        stored += counts.nnz
        cells = ad.AnnData(
            counts.astype(np.int32),
            obs=pd.DataFrame(
                {"patient": f"D{donor}", "sample": f"D{donor}-T"},
                index=[f"D{donor}:{i}" for i in range(per_donor)],
            ),
            var=pd.DataFrame({"gene_name": names}, index=names),
        )
        cells.write_h5ad(folder / f"D{donor}.h5ad", compression="lzf")
    with h5py.File(folder / "all.h5ad", "w") as file:
        obs = pd.DataFrame(
            {"sample": pd.Categorical(np.repeat([f"D{i}" for i in range(n_donors)], per_donor))},
            index=[f"BC{i}" for i in range(per_donor * n_donors)],
        )
        write_elem(file, "obs", obs)
        write_elem(file, "var", pd.DataFrame({"gene_name": names}, index=names))
        write_elem(file, "X", ad.read_h5ad(folder / "D0.h5ad").X)
        matrix = ad.io.sparse_dataset(file["X"])
        for donor in range(1, n_donors):
            matrix.append(ad.read_h5ad(folder / f"D{donor}.h5ad").X)
    return stored / (per_donor * n_donors * n_genes)


def filter_sample(folder: Path) -> dict[str, float]:
    """Read one donor of the file of all, and filter its cells."""
    from ihdsi.single_cell.quality import filter_cells
    from ihdsi.single_cell.reading import read_cells

    cells = read_cells(folder / "all.h5ad", "D0-T", "D0", "sample")
    kept, _, _ = filter_cells(cells, "D0", "D0-T", SETTINGS)
    return {"cells": cells.n_obs, "kept": kept.n_obs}


def cluster_site(folder: Path) -> dict[str, float]:
    """Cluster, name and add up the cells of all donors."""
    from ihdsi.single_cell.clusters import analyse_cells

    found = analyse_cells(sorted(folder.glob("D*.h5ad")), MARKERS, SETTINGS)
    return {"cells": found.cells.height, "types": found.cells["cell_type"].n_unique()}


def plain_scanpy(folder: Path) -> dict[str, float]:
    """Cluster the same cells with scanpy's functions alone."""
    import scanpy as sc

    from ihdsi.single_cell.clusters import neighbour_search

    paths = sorted(folder.glob("D*.h5ad"))
    site = ad.concat([ad.read_h5ad(path) for path in paths], join="inner", merge="first")
    site.layers["counts"] = site.X.copy()
    site.X = site.X.astype(np.float32)
    sc.pp.normalize_total(site, target_sum=1e4)
    sc.pp.log1p(site)
    sc.pp.highly_variable_genes(site, n_top_genes=SETTINGS.variable_genes, batch_key="patient")
    sc.pp.pca(site, n_comps=SETTINGS.components, svd_solver="arpack", random_state=0)
    # scanpy's own search fails from 8,192 cells on with pynndescent 0.7, hence ours.
    sc.pp.neighbors(
        site,
        n_neighbors=SETTINGS.neighbours,
        transformer=neighbour_search(site.n_obs, SETTINGS),
        random_state=0,
    )
    sc.tl.leiden(site, flavor="igraph", n_iterations=2, directed=False, random_state=0)
    sc.tl.umap(site, random_state=0)
    return {"cells": site.n_obs, "clusters": site.obs["leiden"].nunique()}


def _measured(step: Callable[[Path], dict[str, float]], folder: Path, answer: Path) -> None:
    warnings.simplefilter("ignore")
    begin = time.perf_counter(), time.process_time()
    facts = step(folder)
    facts |= {
        "seconds": time.perf_counter() - begin[0],
        "processor_seconds": time.process_time() - begin[1],
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    answer.write_text(json.dumps(facts))


def measure(step: Callable[[Path], dict[str, float]], folder: Path) -> dict[str, float]:
    """Run a step in a fresh process, and read its time and peak memory."""
    answer = folder / f"{step.__name__}.json"
    process = multiprocessing.get_context("spawn").Process(
        target=_measured, args=(step, folder, answer)
    )
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{step.__name__} ended with {process.exitcode}")
    facts: dict[str, float] = json.loads(answer.read_text())
    print(
        f"  {step.__name__:15} {facts['seconds']:8.1f} s ({facts['processor_seconds']:.1f} s of "
        f"processors), peak {facts['peak_gib']:.2f} GiB; "
        + ", ".join(f"{name} {facts[name]:,.0f}" for name in list(facts)[:2]),
        flush=True,
    )
    return facts


def main() -> int:
    """Measure, compare with the limit, and print, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3,000 cells of 2,000 genes")
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--donors", type=int, default=10)
    parser.add_argument("--without-scanpy", action="store_true", help="leave the comparison out")
    options = parser.parse_args()
    if options.quick:
        options.cells, options.genes, options.donors = 3_000, 2_000, 3
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        share = write_inputs(folder, options.cells, options.genes, options.donors)
        print(
            f"{options.cells:,} cells x {options.genes:,} genes of {options.donors} donors, "
            f"{100 * share:.1f} % above zero",
            flush=True,
        )
        steps = [filter_sample, cluster_site, *([] if options.without_scanpy else [plain_scanpy])]
        measured = {step.__name__: measure(step, folder) for step in steps}
    ours, plain = measured["cluster_site"], measured.get("plain_scanpy")
    enough = ours["peak_gib"] < LIMIT_GIB
    print(f"peak {ours['peak_gib']:.2f} GiB, limit {LIMIT_GIB:g}: {'met' if enough else 'MISSED'}")
    result = {
        "name": "single_cell",
        "ours": round(ours["seconds"], 2),
        "reference": plain and round(plain["seconds"], 2),
        "unit": "s",
        "ratio": plain and round(ours["seconds"] / plain["seconds"], 3),
        "reference_is": "the same steps of clustering by scanpy's functions alone",
        **{
            name: {step: round(facts[key], 2) for step, facts in measured.items()}
            for name, key in (
                ("seconds", "seconds"),
                ("processor_seconds", "processor_seconds"),
                ("peak_gibibytes", "peak_gib"),
            )
        },
    }
    print(json.dumps(result))
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
