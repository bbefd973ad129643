"""Cluster all cells of a site together, name them, and add them up by donor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import polars as pl
import scanpy as sc
from pynndescent import PyNNDescentTransformer
from scipy import sparse

from ihdsi.quality_control import METRICS_SCHEMA
from ihdsi.single_cell.cell_types import (
    CLUSTERS_SCHEMA,
    UNASSIGNED,
    call_clusters,
    score_cells,
)
from ihdsi.study import SingleCellSettings

__all__ = [
    "CELLS_SCHEMA",
    "SiteCells",
    "analyse_cells",
    "cluster_metrics",
    "count_types",
    "neighbour_search",
    "sum_by_donor",
]

logger = logging.getLogger(__name__)

CELLS_SCHEMA: dict[str, Any] = {
    "cell": pl.String,
    "patient": pl.String,
    "sample": pl.String,
    "cluster": pl.String,
    "cell_type": pl.String,
    "umap_1": pl.Float64,
    "umap_2": pl.Float64,
}
TARGET_SUM = 1e4
#: From so many cells on, neighbours are found by pynndescent, as scanpy does.
EXACT_CELLS = 8192
#: Fewer cells than this have no neighbourhoods to speak of.
_FEWEST_CELLS = 4


@dataclass(frozen=True)
class SiteCells:
    """What is known of a site's cells together.

    Parameters
    ----------
    cells
        Columns of `CELLS_SCHEMA`, a row a cell.
    clusters
        Columns of `ihdsi.single_cell.cell_types.CLUSTERS_SCHEMA`.
    composition
        As of `count_types`.
    pseudobulk
        As of `sum_by_donor`.
    notes
        What could not be done, and why.
    """

    cells: pl.DataFrame
    clusters: pl.DataFrame
    composition: pl.DataFrame
    pseudobulk: pl.DataFrame
    notes: tuple[str, ...]


def analyse_cells(
    paths: Sequence[Path | str], markers: pl.DataFrame, settings: SingleCellSettings
) -> SiteCells:
    """Cluster a site's cells, name the clusters, and count and add up cells by donor.

    The steps are scanpy's: counts per 10,000, log1p, highly variable genes (those that vary within
    most donors first), principal components of these (not scaled, so that the matrix stays
    sparse), nearest neighbours, Leiden (igraph), UMAP. Donors are not aligned with each other: a
    cluster may be of one donor, as tumour cells often are, and is named by its markers all the
    same. Matrices are CSR throughout; counts and their logarithms share their indices.

    Parameters
    ----------
    paths
        h5ad files of `ihdsi.single_cell.quality.filter_cells`, one a sample; samples that are set
        aside have no cell. Genes that not all samples measure are left out, which the log says.
    markers
        As of `ihdsi.single_cell.cell_types.read_markers`.
    settings
        The study's.

    Returns
    -------
    SiteCells
        Without rows where no sample is left.

    References
    ----------
    Wolf, Angerer & Theis 2018, Genome Biology 19:15 (scanpy). Traag, Waltman & van Eck 2019,
    Scientific Reports 9:5233 (Leiden). McInnes, Healy & Melville 2018, arXiv:1802.03426 (UMAP).
    """
    site = _joined(paths)
    if site is None or site.n_obs < _FEWEST_CELLS:
        note = "no cells are clustered, because no sample has enough that pass"
        logger.warning("%s", note)
        empty = pl.DataFrame(schema=CELLS_SCHEMA)
        return SiteCells(
            empty,
            pl.DataFrame(schema=CLUSTERS_SCHEMA),
            count_types(empty),
            pl.DataFrame(schema=dict.fromkeys(_PSEUDOBULK_KEYS, pl.String)),
            (note,),
        )
    counts = sparse.csr_matrix(site.X)
    site.X = sparse.csr_matrix(
        (counts.data.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape
    )
    sc.pp.normalize_total(site, target_sum=TARGET_SUM)
    sc.pp.log1p(site)
    scores, types, notes = score_cells(site, markers, settings)
    place = _embed(site, settings)
    donors = site.obs["patient"].astype(str).to_list()
    clusters = place.obs["leiden"].astype(str).to_list()
    called = call_clusters(scores, types, clusters, donors, settings)
    names = dict(called.select("cluster", "cell_type").iter_rows())
    cells = pl.DataFrame(
        {
            "cell": site.obs_names.to_list(),
            "patient": donors,
            "sample": site.obs["sample"].astype(str).to_list(),
            "cluster": clusters,
            "cell_type": [names[cluster] for cluster in clusters],
            "umap_1": place.obsm["X_umap"][:, 0],
            "umap_2": place.obsm["X_umap"][:, 1],
        }
    ).select(pl.col(name).cast(kind) for name, kind in CELLS_SCHEMA.items())
    pseudobulk = sum_by_donor(
        counts,
        cells,
        pl.DataFrame(
            {
                "gene_id": site.var_names.to_list(),
                "gene_name": site.var["gene_name"].astype(str).to_list(),
            }
        ),
        settings.minimum_type_cells,
    )
    return SiteCells(cells, called, count_types(cells), pseudobulk, tuple(notes))


def _joined(paths: Sequence[Path | str]) -> ad.AnnData | None:
    samples = [sample for path in paths if (sample := ad.read_h5ad(path)).n_obs]
    if not samples:
        return None
    site = ad.concat(samples, join="inner", merge="first")
    n_genes = len(set().union(*(sample.var_names for sample in samples)))
    if site.n_vars < n_genes:
        logger.warning(
            "%d of %d genes are not in every sample and are left out",
            n_genes - site.n_vars,
            n_genes,
        )
    return site[:, np.argsort(site.var_names.to_numpy(dtype=str))].copy()


def _embed(site: ad.AnnData, settings: SingleCellSettings) -> ad.AnnData:
    """Place cells among their neighbours: ``obs['leiden']`` and ``obsm['X_umap']``."""
    n_donors = site.obs["patient"].nunique()
    sc.pp.highly_variable_genes(
        site,
        n_top_genes=min(settings.variable_genes, site.n_vars),
        batch_key="patient" if n_donors > 1 else None,
    )
    place = site[:, site.var["highly_variable"].to_numpy()].copy()
    components = min(settings.components, place.n_obs - 1, place.n_vars - 1)
    sc.pp.pca(place, n_comps=components, svd_solver="arpack", random_state=settings.seed)
    sc.pp.neighbors(
        place,
        n_neighbors=min(settings.neighbours, place.n_obs - 1),
        n_pcs=components,
        transformer=neighbour_search(place.n_obs, settings),
        random_state=settings.seed,
    )
    sc.tl.leiden(
        place,
        resolution=settings.resolution,
        flavor="igraph",
        n_iterations=2,
        directed=False,
        random_state=settings.seed,
    )
    sc.tl.umap(place, random_state=settings.seed)
    return place


class _NearestNeighbours(PyNNDescentTransformer):  # type: ignore[misc]  # has no types
    """The graph as a matrix: scanpy 1.11 cannot read the array that pynndescent 0.7 returns."""

    def fit_transform(self, X: Any, y: Any = None) -> sparse.csr_matrix:  # noqa: ANN401
        """Find the nearest neighbours of each row of X."""
        return sparse.csr_matrix(super().fit_transform(X, y))


def neighbour_search(n_cells: int, settings: SingleCellSettings) -> _NearestNeighbours | None:
    """Choose how `scanpy.pp.neighbors` finds neighbours: None for its exact search, of few cells.

    Trees and iterations are those of scanpy and UMAP.
    """
    if n_cells < EXACT_CELLS:
        return None
    return _NearestNeighbours(
        n_neighbors=settings.neighbours,
        metric="euclidean",
        n_trees=min(64, 5 + round(n_cells**0.5 / 20)),
        n_iters=max(5, round(np.log2(n_cells))),
        random_state=settings.seed,
    )


def count_types(cells: pl.DataFrame) -> pl.DataFrame:
    """Count each donor's cells of each type that the site has, those without a type included.

    Returns
    -------
    polars.DataFrame
        patient and one column of counts a cell type, sorted.
    """
    types = sorted(set(cells["cell_type"]))
    return (
        cells.group_by("patient")
        .agg((pl.col("cell_type") == name).sum().cast(pl.Int64).alias(name) for name in types)
        .sort("patient")
    )


def cluster_metrics(cells: pl.DataFrame) -> pl.DataFrame:
    """Share of each sample's clustered cells whose cluster is of no known type, in percent.

    `cells` has the columns of `CELLS_SCHEMA`.

    Returns
    -------
    polars.DataFrame
        Columns of `ihdsi.quality_control.METRICS_SCHEMA`, metric unassigned_percent, a row for each
        sample with cells.
    """
    return (
        cells.group_by("patient", "sample")
        .agg(value=100.0 * (pl.col("cell_type") == UNASSIGNED).mean())
        .with_columns(
            assay=pl.lit("single_cell"),
            metric=pl.lit("unassigned_percent"),
            note=pl.lit(None, dtype=pl.String),
        )
        .select(pl.col(name).cast(kind) for name, kind in METRICS_SCHEMA.items())
        .sort("sample")
    )


_PSEUDOBULK_KEYS = ("cell_type", "gene_id", "gene_name")


def sum_by_donor(
    counts: sparse.csr_matrix, cells: pl.DataFrame, genes: pl.DataFrame, minimum_cells: int
) -> pl.DataFrame:
    """Add up the raw counts of each donor's cells of each type.

    Parameters
    ----------
    counts
        Cells x genes.
    cells
        patient and cell_type of each row of `counts`; cells without a type are left out.
    genes
        gene_id and gene_name of each column.
    minimum_cells
        Cells of a type without which a donor has no sum.

    Returns
    -------
    polars.DataFrame
        cell_type, gene_id, gene_name and one column of counts a donor: null where the donor has
        too few cells of the type.
    """
    groups = (
        cells.with_row_index("row")
        .filter(pl.col("cell_type") != UNASSIGNED)
        .group_by("cell_type", "patient")
        .agg("row")
        .filter(pl.col("row").list.len() >= minimum_cells)
        .sort("cell_type", "patient")
    )
    donors = sorted(set(groups["patient"]))
    lengths = groups["row"].list.len().cast(pl.Int64).to_numpy()
    members = np.concatenate([np.zeros(0, dtype=np.int64), *groups["row"].to_list()]).astype(int)
    choice = sparse.csr_matrix(
        (
            np.ones(members.size, dtype=np.int64),
            (np.repeat(np.arange(groups.height), lengths), members),
        ),
        shape=(groups.height, counts.shape[0]),
    )
    sums = (choice @ counts).toarray()
    parts = [
        pl.DataFrame(
            schema=dict.fromkeys(_PSEUDOBULK_KEYS, pl.String) | dict.fromkeys(donors, pl.Int64)
        )
    ]
    owner = groups.with_row_index("group")
    for (cell_type,), rows in owner.partition_by(
        "cell_type", as_dict=True, maintain_order=True
    ).items():
        place = dict(rows.select("patient", "group").iter_rows())
        parts.append(
            genes.select(pl.lit(cell_type).alias("cell_type"), "gene_id", "gene_name").with_columns(
                pl.Series(donor, sums[place[donor]], dtype=pl.Int64)
                if donor in place
                else pl.lit(None, dtype=pl.Int64).alias(donor)
                for donor in donors
            )
        )
    return pl.concat(parts)
