"""Read the raw counts of one sample's cells, from 10x matrices or h5ad files."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import polars as pl
from anndata.io import sparse_dataset
from numpy.typing import NDArray
from scipy import sparse
from scipy.io import mmread

from ihdsi.errors import FaultyFileError, InputError, Problem
from ihdsi.given_cells import (
    COUNT_PLACES,
    MATRIX_PARTS,
    open_cells,
    part_of_matrix,
    read_annotation,
)
from ihdsi.single_cell.genes import name_genes, sum_features

__all__ = ["read_cells"]

logger = logging.getLogger(__name__)

EXPRESSION = "Gene Expression"
#: Cells of a dense or column-wise matrix that are looked at at once.
_BLOCK = 4096
#: Values above 0, and cells, with which the shape of a matrix says that it holds no raw counts.
_ENOUGH_VALUES = 100
_ENOUGH_CELLS = 20
#: Standard deviation of the cells' totals over their mean. Depths of capture spread raw totals by
#: 0.25 to 1; of cells scaled to 10,000 and rounded, what rounding takes off is 0.002 to 0.06.
_EQUAL_TOTALS = 0.05
_SIMILAR_TOTALS = 0.15


def read_cells(
    path: Path | str,
    sample: str,
    name_in_file: str = "",
    column: str = "",
    catalogue: pl.DataFrame | None = None,
    sheet: Path | str | None = None,
) -> ad.AnnData:
    """Read the cells of one sample.

    Of an h5ad file only the rows of the sample are read, so that a file of many donors takes no
    more memory than its largest donor. Raw counts are looked for in ``layers['counts']``, else in
    ``raw.X``, else in ``X``.

    Parameters
    ----------
    path
        A 10x matrix folder, a 10x HDF5 file (``.h5``) or an h5ad file.
    sample
        Name of the sample; cells are called ``<sample>:<barcode>``.
    name_in_file, column
        Of an h5ad file, the column of ``obs`` that names samples, and the sample's name there.
    catalogue
        As for `ihdsi.single_cell.genes.name_genes`.
    sheet
        The sample sheet, for messages.

    Returns
    -------
    anndata.AnnData
        Cells x genes, CSR of int32; ``var`` is indexed by Ensembl id and has gene_name; features
        that are no gene are named in ``uns['unmapped_features']``.

    Raises
    ------
    InputError
        If counts are not whole numbers of 0 or more, only tell whether a gene was seen, or add up
        to nearly the same in all cells (normalised and rounded), barcodes occur twice, the sample
        has no cell, or a gene occurs twice.
    """
    name = str(path)
    try:
        if name.endswith(".h5ad"):
            counts, barcodes, features = _read_annotated(name, name_in_file, column)
        elif name.endswith(".h5"):
            counts, barcodes, features = _read_10x_hdf5(name)
        else:
            counts, barcodes, features = _read_10x_folder(name)
    except FaultyFileError as error:
        raise InputError(error.at(sheet, None, "cells")) from error
    if "feature_types" in features.columns:
        is_expression = (features["feature_types"] == EXPRESSION).to_numpy()
        if not is_expression.all():
            logger.info(
                "%d features of %s are not gene expression and are left out",
                int((~is_expression).sum()),
                name,
            )
            counts = counts[:, is_expression]
            features = features.filter(pl.Series(is_expression))
        features = features.drop("feature_types")
    if counts.shape[0] == 0 or counts.shape[1] == 0:
        raise InputError(
            Problem(
                f"there are {counts.shape[0]} cells and {counts.shape[1]} genes",
                "Give a matrix of raw counts with cells and genes.",
                path,
            )
        )
    repeated = pd.Index(barcodes)[pd.Index(barcodes).duplicated()]
    if len(repeated):
        raise InputError(
            Problem(
                f"the barcode '{repeated[0]}' of sample '{name_in_file or sample}' occurs twice",
                "Make the names of cells unique, and check that no library stands in it twice.",
                path,
            )
        )
    naming = name_genes(features, catalogue, path)
    cells = ad.AnnData(
        sum_features(counts, naming),
        obs=pd.DataFrame(index=pd.Index([f"{sample}:{barcode}" for barcode in barcodes])),
        var=pd.DataFrame(
            {"gene_name": naming.genes["gene_name"].to_list()},
            index=pd.Index(naming.genes["gene_id"].to_list(), name="gene_id"),
        ),
    )
    cells.uns["unmapped_features"] = np.array(naming.unmapped, dtype=object)
    return cells


def _read_10x_folder(path: str) -> tuple[sparse.csr_matrix, list[str], pl.DataFrame]:
    matrix, features, barcodes = (part_of_matrix(path, names) for names in MATRIX_PARTS)
    if matrix is None or features is None or barcodes is None:
        raise FaultyFileError(
            f"the folder {path} is no 10x matrix",
            "Give the folder with matrix, features and barcodes of one sample.",
        )
    try:
        counts = sparse.csr_matrix(mmread(matrix, spmatrix=True).T)
        rows, cells = _rows(features), [row[0] for row in _rows(barcodes)]
    except (ValueError, OSError, EOFError) as error:
        raise FaultyFileError(
            f"the files in {path} cannot be read as a matrix with features and barcodes ({error})",
            "Copy them anew.",
        ) from error
    names = ("gene_ids", "gene_names", "feature_types")
    width = min(len(names), min((len(row) for row in rows), default=1))
    table = pl.DataFrame(
        {name: [row[index] for row in rows] for index, name in enumerate(names[:width])},
        schema=dict.fromkeys(names[:width], pl.String),
    )
    if counts.shape != (len(cells), table.height):
        raise FaultyFileError(
            f"{matrix} is of {counts.shape[1]} features and {counts.shape[0]} cells, but there are "
            f"{table.height} features and {len(cells)} barcodes beside it",
            "Give the three files of one run.",
        )
    return _as_counts(counts, str(matrix), cells), cells, table


def _rows(path: Path) -> list[list[str]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return [line.split("\t") for line in text.splitlines()]


def _read_10x_hdf5(path: str) -> tuple[sparse.csr_matrix, list[str], pl.DataFrame]:
    """Read Cell Ranger's HDF5: ``matrix`` of version 3, or the group of one genome of version 2."""
    with open_cells(path) as file:
        groups = [group for group in file.values() if "barcodes" in group]
        if len(groups) != 1:
            raise FaultyFileError(
                f"the file {path} holds {len(groups)} 10x matrices", "Give a file of one genome."
            )
        (group,) = groups
        n_features, n_cells = group["shape"][:]
        # Columns of the stored CSC are cells, so that it is the CSR of cells x features.
        counts = sparse.csr_matrix(
            (group["data"][:], group["indices"][:], group["indptr"][:]),
            shape=(int(n_cells), int(n_features)),
        )
        if "features" in group:
            described = group["features"]
            columns = {"gene_ids": "id", "gene_names": "name", "feature_types": "feature_type"}
        else:
            described = group
            columns = {"gene_ids": "genes", "gene_names": "gene_names"}
        features = pl.DataFrame({new: _texts(described[old]) for new, old in columns.items()})
        barcodes = _texts(group["barcodes"])
    return _as_counts(counts, path, barcodes), barcodes, features


def _texts(values: Any) -> list[str]:  # noqa: ANN401 - h5py has no types
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values[:]]


def _read_annotated(
    path: str, name_in_file: str, column: str
) -> tuple[sparse.csr_matrix, list[str], pl.DataFrame]:
    with open_cells(path) as file:
        obs, var = read_annotation(file, "obs", path), read_annotation(file, "var", path)
        if column not in obs.columns:
            raise FaultyFileError(
                f"the cells of {path} have no column '{column}'",
                "Name the column of obs that tells the samples in cells_column.",
            )
        chosen = (obs[column].astype(str) == name_in_file).to_numpy()
        if not chosen.any():
            raise FaultyFileError(
                f"{path} holds no cell of sample '{name_in_file}' in '{column}'",
                "Give the name that the sample has in the file in cells_sample.",
            )
        barcodes = obs.index[chosen].astype(str).to_list()
        counts, place = _raw_counts(file, path, chosen, barcodes)
        if place.startswith("raw"):
            var = read_annotation(file, "raw/var", path)
    return counts, barcodes, _features_of(var)


def _features_of(var: pd.DataFrame) -> pl.DataFrame:
    """Take all columns of strings, which may name genes, the index first."""
    columns = {"index": var.index.astype(str).to_list()}
    for name in var.columns:
        values = var[name].astype(object).to_list()
        if values and all(isinstance(value, str) for value in values):
            columns[str(name)] = values
    return pl.DataFrame(columns)


def _raw_counts(
    file: Any,  # noqa: ANN401 - h5py has no types
    path: str,
    chosen: NDArray[np.bool_],
    barcodes: Sequence[str],
) -> tuple[sparse.csr_matrix, str]:
    """Read the first place that holds counts; a layer called counts must hold them."""
    refusals = []
    for place in COUNT_PLACES:
        if place not in file:
            continue
        try:
            return _as_counts(_rows_of(file[place], chosen), f"{path}, {place}", barcodes), place
        except FaultyFileError as error:
            refusals.append(error)
            if place == COUNT_PLACES[0]:
                break
    raise FaultyFileError(
        "; ".join(error.what for error in refusals) or f"the file {path} holds no matrix",
        "Keep the raw counts, as they were counted, in layers['counts'] of the h5ad file.",
    )


def _rows_of(stored: Any, chosen: NDArray[np.bool_]) -> sparse.csr_matrix:  # noqa: ANN401
    """Read some rows of a stored matrix, whichever way it is stored, and never all others."""
    if isinstance(stored, h5py.Dataset):
        rows = np.flatnonzero(chosen)
        blocks = [
            sparse.csr_matrix(stored[rows[start : start + _BLOCK]])
            for start in range(0, rows.size, _BLOCK)
        ]
        return sparse.csr_matrix(sparse.vstack(blocks, format="csr"))
    matrix = sparse_dataset(stored)
    if matrix.format == "csr":
        return sparse.csr_matrix(matrix[chosen])
    columns = [
        sparse.csc_matrix(matrix[:, start : start + _BLOCK])[chosen]
        for start in range(0, matrix.shape[1], _BLOCK)
    ]
    return sparse.csr_matrix(sparse.hstack(columns, format="csr"))


def _as_counts(matrix: sparse.csr_matrix, place: str, barcodes: Sequence[str]) -> sparse.csr_matrix:
    """Check that a matrix of cells x features holds counts, and return it as int32."""
    values = matrix.data
    if np.issubdtype(values.dtype, np.integer) or values.dtype == bool:
        bad = values < 0
    else:
        bad = ~np.isfinite(values) | (values < 0) | (values != np.rint(values))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        cell = barcodes[int(np.searchsorted(matrix.indptr, first, side="right")) - 1]
        raise FaultyFileError(
            f"{place} holds {values[first]:g} (cell {cell}, feature {matrix.indices[first] + 1}), "
            "which is no count",
            "Give raw counts, whole numbers of 0 or more; not normalised, logarithmic or corrected "
            "ones.",
        )
    counts = sparse.csr_matrix(
        (values.astype(np.int32), matrix.indices, matrix.indptr), shape=matrix.shape
    )
    counts.sum_duplicates()
    counts.eliminate_zeros()
    _refuse_presence_and_scaled_counts(counts, place)
    return counts


def _refuse_presence_and_scaled_counts(counts: sparse.csr_matrix, place: str) -> None:
    """Whole numbers may be no raw counts still: of presence, or normalised and rounded."""
    remedy = "Give raw counts, as they were counted; not whether a gene was seen, and not scaled."
    if counts.nnz >= _ENOUGH_VALUES and counts.data.max() == 1:
        raise FaultyFileError(
            f"{place} holds no value above 1 among {counts.nnz} above 0, so it tells whether a "
            "gene was seen and not how often",
            remedy,
        )
    totals = np.asarray(counts.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if totals.size < _ENOUGH_CELLS:
        return
    spread = float(totals.std() / totals.mean())
    what = (
        f"the values of {place} add up to nearly the same in all {totals.size} cells "
        f"({totals.min()} to {totals.max()}), as of normalised and rounded counts"
    )
    if spread <= _EQUAL_TOTALS:
        raise FaultyFileError(what, remedy)
    if spread <= _SIMILAR_TOTALS:
        logger.warning("%s; they are read as raw counts", what)
