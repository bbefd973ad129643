"""Read the columns of a quantitative matrix that the sample sheet names, cell by cell checked."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from ihdsi.delimited import fields_of_line
from ihdsi.errors import InputError, Problem
from ihdsi.matrices.scales import faulty_values, transformed
from ihdsi.study import MatrixSettings
from ihdsi.summaries.table import ENSEMBL_GENE

__all__ = ["LABELS", "SUFFIXES", "matrix_columns", "read_matrix"]

logger = logging.getLogger(__name__)

#: Columns of a matrix that are no patients.
LABELS = ("feature", "feature_name", "gene_id")
#: Ends of the names of files that can be read.
SUFFIXES = (".tsv", ".tsv.gz", ".csv", ".csv.gz", ".parquet")
#: What a feature's identifier may consist of, as in the table that leaves.
_IDENTIFIER = r"^[!-~]{1,100}$"
_SHOWN = 3


def _separator(path: Path | str) -> str:
    return "," if str(path).endswith((".csv", ".csv.gz")) else "\t"


def _is_parquet(path: Path | str) -> bool:
    return str(path).endswith(".parquet")


def _unreadable(path: Path | str, error: Exception) -> InputError:
    kind = "Parquet" if _is_parquet(path) else "UTF-8 text with one header line, every row as long"
    first = str(error).strip().split("\n")[0]
    return InputError(Problem(f"the file cannot be read ({first})", f"Give {kind}.", path))


def matrix_columns(path: Path | str) -> list[str]:
    """Names of a matrix's columns in the file's order, repeated ones included.

    Raises
    ------
    OSError, ValueError, EOFError
        If the file cannot be read.
    """
    if _is_parquet(path):
        try:
            return list(pl.read_parquet_schema(path))
        except pl.exceptions.PolarsError as error:
            raise ValueError(str(error).split("\n")[0]) from None
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        header = next(iter(lines), "")
    return fields_of_line(header, _separator(path))


def read_matrix(
    path: Path | str, settings: MatrixSettings, patients: Mapping[str, str]
) -> pl.DataFrame:
    """Read some samples of a matrix and bring them onto the study's scale.

    Parameters
    ----------
    path
        Features x samples: TSV or CSV, plain or gzipped, with a header line; or Parquet.
    settings
        The study's words on matrices of this assay.
    patients
        Column of the matrix to patient.

    Returns
    -------
    polars.DataFrame
        feature, feature_name and gene_id (both may be null), and one Float64 column a patient in
        the unit of the model; null where there is no value.

    Raises
    ------
    InputError
        If a column is missing or repeated, a row has another number of fields than the header, a
        feature has no identifier or one that cannot leave, or occurs twice, a cell is no number,
        or a number has no place on the scale; with file, row and column.
    """
    label_of = {
        name: column
        for name, column in zip(
            LABELS, (settings.feature, settings.feature_name, settings.gene_id), strict=True
        )
        if column
    }
    _check_columns(path, [*label_of.values(), *patients])
    stray = [name for name in matrix_columns(path) if name not in (*label_of.values(), *patients)]
    if stray:
        logger.warning(
            "%s: %d columns are of no sample of the sheet and are not read: %s",
            path,
            len(stray),
            ", ".join(stray),
        )
    frame, first_row = _read(path, settings, list(label_of.values()), list(patients))
    values = frame.select(list(patients))
    problems = _feature_faults(path, frame[settings.feature], first_row)
    for name in patients:
        rows = faulty_values(values[name], settings)
        problems += [
            Problem(
                f"{values[name][row]:g} has no place on the scale ({settings.transform})",
                _SCALE_REMEDY[settings.transform],
                path,
                row + first_row,
                name,
            )
            for row in rows[:_SHOWN]
        ]
    if problems:
        raise InputError(problems)
    labels = frame.select(
        pl.col(label_of[name]).cast(pl.String).alias(name)
        if name in label_of
        else pl.lit(None, dtype=pl.String).alias(name)
        for name in LABELS
    )
    genes = pl.col("gene_id").str.replace(r"\.\d+$", "")
    labels = labels.with_columns(pl.when(genes.str.contains(ENSEMBL_GENE)).then(genes))
    strangers = labels["gene_id"].null_count()
    if settings.gene_id and strangers:
        logger.warning("%s: %d features have no Ensembl gene", path, strangers)
    return labels.hstack(
        [transformed(values[name], settings).alias(p) for name, p in patients.items()]
    )


_SCALE_REMEDY = {
    "none": "Leave cells without a value empty.",
    "log2": "Give positive values, leave cells without a value empty, or have the study set "
    "nonpositive: missing.",
    "m_value": "Give beta values between 0 and 1; leave cells without a value empty.",
}


def _check_columns(path: Path | str, wanted: Sequence[str]) -> None:
    try:
        present = matrix_columns(path)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from None
    problems = [
        Problem(
            "the matrix has no such column" if name not in present else "the column occurs twice",
            "Correct the sample sheet, the study's column names, or the header of the matrix.",
            path,
            1,
            name,
        )
        for name in wanted
        if present.count(name) != 1
    ]
    if problems:
        raise InputError(problems)


def _read(
    path: Path | str, settings: MatrixSettings, labels: Sequence[str], samples: Sequence[str]
) -> tuple[pl.DataFrame, int]:
    """Labels as text and samples as numbers, and the row number of the first feature."""
    columns = [*labels, *samples]
    if _is_parquet(path):
        try:
            frame = pl.read_parquet(path, columns=columns)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _unreadable(path, error) from None
        return _as_numbers(path, frame, settings, samples, 1), 1
    options = {
        "columns": columns,
        "separator": _separator(path),
        "null_values": list(settings.missing),
    }
    _refuse_ragged_rows(path)
    types = dict.fromkeys(labels, pl.String) | dict.fromkeys(samples, pl.Float64)
    try:
        frame = pl.read_csv(path, schema_overrides=types, **options)  # type: ignore[arg-type]
    except (OSError, pl.exceptions.PolarsError):
        # Once more as text, which tells the cell; it takes several times the memory.
        try:
            frame = pl.read_csv(path, infer_schema=False, **options)  # type: ignore[arg-type]
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _unreadable(path, error) from None
    return _as_numbers(path, frame, settings, samples, 2), 2


def _refuse_ragged_rows(path: Path | str) -> None:
    """Compare fields with the header: polars fills short rows up, and cuts long ones.

    Empty lines are left to the check of features, which have no identifier there.
    """
    width, separator = len(matrix_columns(path)), _separator(path)
    opener = gzip.open if str(path).endswith(".gz") else open
    first: tuple[int, str] | None = None
    n_faulty = 0
    try:
        with opener(path, "rb") as lines:
            next(lines, b"")
            for row, line in enumerate(lines, 2):
                fault = _line_fault(line, separator, width)
                if fault is not None:
                    n_faulty += 1
                    first = first or (row, fault)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None
    if first is not None:
        row, what = first
        more = f" ({n_faulty - 1} further rows are faulty)" if n_faulty > 1 else ""
        raise InputError(
            Problem(
                what + more,
                "Write as many fields in each row as in the header, empty ones where there is no "
                "value; copy the file again if it was cut off.",
                path,
                row,
            )
        )


def _line_fault(line: bytes, separator: str, width: int) -> str | None:
    if not line.strip(b"\r\n"):
        return None
    if b'"' not in line:
        n_fields = line.count(separator.encode()) + 1
    else:
        try:
            n_fields = len(fields_of_line(line.decode(errors="replace"), separator))
        except ValueError as error:
            return str(error)
    if n_fields == width:
        return None
    return f"the row has {n_fields} fields where the header has {width}"


def _as_numbers(
    path: Path | str,
    frame: pl.DataFrame,
    settings: MatrixSettings,
    samples: Sequence[str],
    first_row: int,
) -> pl.DataFrame:
    problems = []
    numbers = {}
    for name in samples:
        given = frame[name]
        if given.dtype == pl.String:
            given = given.set(given.is_in(list(settings.missing)).fill_null(value=False), None)
        elif not (given.dtype.is_numeric() or given.dtype == pl.Null):
            problems.append(
                Problem(
                    f"the column holds {given.dtype}, no numbers", "Give numbers.", path, None, name
                )
            )
            continue
        number = given.cast(pl.Float64, strict=False)
        wrong = (number.is_null() & given.is_not_null()).arg_true()
        problems += [
            Problem(
                f"'{given[row]}' is not a number",
                "Write numbers with a decimal point; what stands for no value is listed in the "
                "study's matrices (missing).",
                path,
                row + first_row,
                name,
            )
            for row in wrong[:_SHOWN]
        ]
        numbers[name] = number.fill_nan(None).alias(name)
    if problems:
        raise InputError(problems)
    return frame.with_columns(numbers.values())


def _feature_faults(path: Path | str, given: pl.Series, first_row: int) -> list[Problem]:
    feature = given.cast(pl.String)
    usable = feature.str.contains(_IDENTIFIER).fill_null(value=False)
    problems = [
        Problem(
            f"'{feature[row] or ''}' cannot identify a feature",
            "Give public identifiers of up to 100 ASCII characters without spaces, such as UniProt "
            "accessions, CpG or ChEBI numbers.",
            path,
            row + first_row,
            given.name,
        )
        for row in (~usable).arg_true()[:_SHOWN]
    ]
    repeated = (~feature.is_first_distinct() & usable).arg_true()
    problems += [
        Problem(
            f"the feature '{feature[row]}' occurs twice",
            "Keep one row of each feature.",
            path,
            row + first_row,
            given.name,
        )
        for row in repeated[:_SHOWN]
    ]
    return problems
