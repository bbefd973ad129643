"""Look into files of single cells: which form they have, and which samples they hold."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ihdsi.errors import FaultyFileError

__all__ = [
    "COUNT_PLACES",
    "MATRIX_PARTS",
    "files_of_cells",
    "open_cells",
    "part_of_matrix",
    "read_annotation",
    "samples_of_cells",
    "unlisted_samples",
]

#: Files of a 10x matrix folder, of Cell Ranger 3 and later, or 2 (``genes.tsv``).
MATRIX_PARTS = (("matrix.mtx",), ("features.tsv", "genes.tsv"), ("barcodes.tsv",))
#: Where an h5ad file may keep raw counts.
COUNT_PLACES = ("layers/counts", "raw/X", "X")


def part_of_matrix(folder: Path | str, names: tuple[str, ...]) -> Path | None:
    """Find one file of a 10x matrix folder, gzipped or plain; None if there is none."""
    for name in names:
        for candidate in (Path(folder) / f"{name}.gz", Path(folder) / name):
            if candidate.is_file():
                return candidate
    return None


def files_of_cells(path: str) -> list[str]:
    """List the files behind an entry of the column ``cells``: those of a folder, or the file.

    Files of a folder that are not there are named as Cell Ranger 3 and later name them, so that a
    run waits for those that it makes itself.
    """
    if path.endswith((".h5", ".h5ad")):
        return [path]
    return [
        str(part_of_matrix(path, names) or Path(path) / f"{names[0]}.gz") for names in MATRIX_PARTS
    ]


def open_cells(path: Path | str) -> Any:  # noqa: ANN401 - h5py has no types
    """Open an HDF5 file for reading.

    Raises
    ------
    FaultyFileError
        If it is no HDF5, or cut off.
    """
    # Imported on use: sites without single cells need not have it.
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = str(error).partition("(")[2].rstrip(")") or str(error)
        raise FaultyFileError(
            f"the file {path} cannot be opened as HDF5 ({reason})",
            "Copy it anew, or write it anew.",
        ) from error


def samples_of_cells(path: str, column: str) -> list[str] | None:
    """List the samples of a file of cells, in order, as far as it names any.

    Parameters
    ----------
    path
        A 10x matrix folder, a 10x HDF5 file (``.h5``), or an h5ad file.
    column
        Column of an h5ad file's cells that names their sample.

    Returns
    -------
    list of str or None
        None for 10x matrices, which are of one sample.

    Raises
    ------
    FaultyFileError
        If a folder lacks a file, or a file is none of these.
    """
    if path.endswith(".h5ad"):
        return _annotated_samples(path, column)
    if path.endswith(".h5"):
        with open_cells(path) as file:
            if not any("barcodes" in group for group in file.values()):
                raise FaultyFileError(
                    f"the file {path} holds no 10x matrix",
                    "Give Cell Ranger's filtered_feature_bc_matrix.h5.",
                )
        return None
    if not Path(path).is_dir():
        raise FaultyFileError(
            f"{path} is neither a folder nor named .h5 or .h5ad",
            "Give a 10x matrix folder, a 10x HDF5 file (.h5) or an h5ad file.",
        )
    for names in MATRIX_PARTS:
        if part_of_matrix(path, names) is None:
            raise FaultyFileError(
                f"the folder {path} holds no {' or '.join(names)}, plain or gzipped",
                "Give the folder with matrix, features and barcodes of one sample.",
            )
    return None


def unlisted_samples(path: str, column: str, listed: Collection[str]) -> str | None:
    """Say which samples of a file of cells the sample sheet does not list, and so are not read.

    Parameters
    ----------
    path, column
        As for `samples_of_cells`.
    listed
        Names of the sheet's samples in the file.

    Returns
    -------
    str or None
        None if there are none.
    """
    others = [name for name in samples_of_cells(path, column) or () if name not in listed]
    if not others:
        return None
    shown = ", ".join(others[:20]) + (", …" if len(others) > 20 else "")
    return f"{len(others)} samples of {path} are of no row of the sheet and are not read: {shown}"


def _annotated_samples(path: str, column: str) -> list[str]:
    with open_cells(path) as file:
        if not any(place in file for place in COUNT_PLACES):
            raise FaultyFileError(f"the file {path} is no h5ad file", "Write it with anndata.")
        obs = read_annotation(file, "obs", path)
    if column not in obs.columns:
        raise FaultyFileError(
            f"the cells of {path} have no column '{column}' (they have: "
            f"{', '.join(map(str, obs.columns)) or 'none'})",
            "Name the column of obs that tells the samples in cells_column.",
        )
    return [str(value) for value in obs[column].unique()]


def read_annotation(file: Any, place: str, path: str) -> Any:  # noqa: ANN401 - h5py, pandas
    """Read a table of an open h5ad file (``obs``, ``var``) as a pandas data frame.

    Raises
    ------
    FaultyFileError
        If it is absent, or in the form of anndata before 0.7.
    """
    import pandas as pd
    from anndata.io import read_elem

    table = read_elem(file[place]) if place in file else None
    if not isinstance(table, pd.DataFrame):
        raise FaultyFileError(
            f"the file {path} has no table '{place}' that can be read",
            "Write it with anndata 0.7 or newer.",
        )
    return table
