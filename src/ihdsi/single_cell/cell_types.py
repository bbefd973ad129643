"""Name clusters of cells by published marker genes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import polars as pl
import scanpy as sc
from numpy.typing import NDArray

from ihdsi.errors import InputError, Problem
from ihdsi.single_cell.genes import ENSEMBL_ID
from ihdsi.study import SingleCellSettings

__all__ = ["CLUSTERS_SCHEMA", "UNASSIGNED", "call_clusters", "read_markers", "score_cells"]

logger = logging.getLogger(__name__)

UNASSIGNED = "unassigned"
CLUSTERS_SCHEMA: dict[str, Any] = {
    "cluster": pl.String,
    "n_cells": pl.Int64,
    "n_donors": pl.Int64,
    "cell_type": pl.String,
    "best_type": pl.String,
    "score": pl.Float64,
    "standardised_score": pl.Float64,
    "next_type": pl.String,
    "margin": pl.Float64,
}


def read_markers(path: Path | str) -> pl.DataFrame:
    """Read ``resources/cell_type_markers.tsv``: cell_type, gene_name, gene_id, source.

    Raises
    ------
    InputError
        If a column or a value is missing, a gene id is not Ensembl's without version, a type is
        called ``unassigned``, or a gene is listed twice for a type.
    """
    markers = pl.read_csv(path, separator="\t", comment_prefix="#", infer_schema=False)
    columns = ("cell_type", "gene_name", "gene_id", "source")
    absent = [
        Problem("this column is missing", "Add it to the header.", path, 1, column)
        for column in columns
        if column not in markers.columns
    ]
    if absent:
        raise InputError(absent)
    rows = markers.with_row_index("row", offset=2)
    faults = (
        (pl.any_horizontal(pl.col(columns).is_null()), "a value is missing", "source"),
        (
            ~pl.col("gene_id").str.contains(ENSEMBL_ID) | pl.col("gene_id").str.contains(r"\."),
            "this is no Ensembl gene id without version",
            "gene_id",
        ),
        (pl.col("cell_type") == UNASSIGNED, "no type can be called so", "cell_type"),
        (
            ~pl.struct("cell_type", "gene_id").is_first_distinct(),
            "the gene is listed twice for the type",
            "gene_id",
        ),
    )
    problems = [
        Problem(what, "Correct or remove the row.", path, row, column)
        for condition, what, column in faults
        for row in rows.filter(condition)["row"].to_list()
    ]
    if problems:
        raise InputError(problems)
    return markers.select(columns)


def score_cells(
    cells: ad.AnnData, markers: pl.DataFrame, settings: SingleCellSettings
) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """Score every cell for every type: its markers' mean above that of control genes.

    Control genes are of similar mean expression and are no markers, so that a cell with many
    counts does not score high for everything.

    Parameters
    ----------
    cells
        Cells x genes of log1p counts per 10,000.
    markers
        As of `read_markers`. A type of which too few markers are measured is not scored.
    settings
        The study's.

    Returns
    -------
    scores
        Cells x types.
    types
        Names of the types that are scored, sorted.
    notes
        Which are not, and why.

    References
    ----------
    Tirosh et al. 2016, Science 352:189; `scanpy.tl.score_genes`.
    """
    measured = set(cells.var_names)
    others = [gene for gene in cells.var_names if gene not in set(markers["gene_id"])]
    columns, types, notes = [], [], []
    for (name,), rows in sorted(markers.partition_by("cell_type", as_dict=True).items()):
        genes = sorted(set(rows["gene_id"]) & measured)
        if len(genes) < settings.minimum_markers or not others:
            notes.append(
                f"{name} is not looked for: {len(genes)} of {rows.height} markers are measured, "
                f"{settings.minimum_markers} are needed"
            )
            continue
        sc.tl.score_genes(
            cells,
            genes,
            ctrl_as_ref=False,
            gene_pool=[*others, *genes],
            score_name="_score",
            random_state=settings.seed,
            use_raw=False,
        )
        columns.append(cells.obs.pop("_score").to_numpy(dtype=float))
        types.append(str(name))
    for note in notes:
        logger.warning("%s", note)
    scores = np.column_stack(columns) if columns else np.zeros((cells.n_obs, 0))
    return scores, types, notes


def call_clusters(
    scores: NDArray[np.float64],
    types: Sequence[str],
    clusters: Sequence[str],
    donors: Sequence[str],
    settings: SingleCellSettings,
) -> pl.DataFrame:
    """Name each cluster by its highest standardised score, if that stands out.

    Scores are averaged over the cells of a cluster. Types of which the mean is at least
    `minimum_score` are candidates, so that a type that nobody has is never called. One candidate
    is called. Of several, scores are standardised, type by type, over the clusters, each of which
    counts once whatever its size, and the highest is called if it exceeds the next by
    `minimum_margin`. The standard deviation is at least `minimum_score`.

    Parameters
    ----------
    scores
        Cells x types.
    types
        Names of the columns.
    clusters, donors
        Cluster and donor of each cell.
    settings
        The study's.

    Returns
    -------
    polars.DataFrame
        Columns of `CLUSTERS_SCHEMA`, a row a cluster. What is known of the best and the next
        candidate is given where the call is ``unassigned`` too.
    """
    names, codes = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sizes = np.bincount(codes, minlength=names.size)
    owners = pl.DataFrame({"cluster": names[codes], "donor": list(donors)})
    n_donors = dict(owners.group_by("cluster").agg(pl.col("donor").n_unique()).iter_rows())
    sums = np.zeros((names.size, len(types)))
    np.add.at(sums, codes, scores)
    means = sums / np.maximum(sizes, 1)[:, None]
    deviation = np.maximum(means.std(axis=0), settings.minimum_score)
    standardised = (means - means.mean(axis=0)) / deviation
    rows = []
    for index in np.argsort(names.astype(int)):
        row = {"cluster": names[index], "n_cells": int(sizes[index])}
        row |= {"n_donors": n_donors[names[index]], "cell_type": UNASSIGNED}
        candidates = np.flatnonzero(means[index] >= settings.minimum_score)
        order = candidates[np.argsort(-standardised[index, candidates], kind="stable")]
        if order.size:
            best = order[0]
            row |= {"best_type": types[best], "score": means[index, best]}
            row |= {"standardised_score": standardised[index, best]}
        if order.size > 1:
            row["next_type"] = types[order[1]]
            row["margin"] = standardised[index, best] - standardised[index, order[1]]
        if order.size == 1 or (order.size > 1 and row["margin"] >= settings.minimum_margin):
            row["cell_type"] = types[best]
        rows.append(row)
    return pl.DataFrame(rows, schema=CLUSTERS_SCHEMA)
