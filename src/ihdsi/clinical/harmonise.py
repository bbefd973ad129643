"""Harmonise a clinical table: local codes to study codes, local units to study units."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from ihdsi.clinical.codebook import Codebook, VariableMapping
from ihdsi.delimited import DelimitedTable, read_delimited
from ihdsi.errors import InputError, Problem
from ihdsi.study import ClinicalVariable, Study
from ihdsi.yaml_documents import line_of_key

__all__ = ["convert_unit", "harmonise_clinical"]

_LINE = "__line__"
logger = logging.getLogger(__name__)


def harmonise_clinical(
    path: Path | str,
    codebook: Codebook,
    study: Study,
    codebook_path: Path | str,
    patients: Collection[str] = (),
) -> pl.DataFrame:
    """Read a local clinical table as the study's variables.

    Parameters
    ----------
    path
        Delimited UTF-8 text in local codes.
    codebook, codebook_path
        The site's mapping and, for the error messages, the file it came from.
    study
        The protocol whose dictionary is the target.
    patients
        Patients of the sample sheet; each must have a row. Rows of other patients are no part of
        the study and are left out. Without it, all rows are read.

    Returns
    -------
    polars.DataFrame
        One row a patient: ``patient`` and every variable of the dictionary, categorical ones as
        study levels, numbers in the study's unit, unknown values (and unmapped variables) null.

    Raises
    ------
    InputError
        With every problem: an absent column, a patient twice or absent, a code that the codebook
        does not map, a number that is none, a value outside the study's range.
    """
    table = read_delimited(path, codebook.separator)
    _check_columns(table, codebook, codebook_path)
    frame = pl.DataFrame(
        {
            _LINE: [row.line for row in table.rows],
            **{column: [row.values[column] for row in table.rows] for column in table.columns},
        },
        schema_overrides=dict.fromkeys(table.columns, pl.String),
    )
    problems = _patient_problems(frame, codebook.patient, table.path, patients)
    if patients:
        everyone = frame.height
        # A row without an identifier is a problem already said, and no reason to lose its others.
        frame = frame.filter(pl.col(codebook.patient).is_in(["", *patients]))
        if frame.height < everyone:
            logger.info("%d rows are of no patient of the sample sheet", everyone - frame.height)
    columns: list[pl.Series] = [frame[codebook.patient].alias("patient")]
    for name, variable in study.clinical.variables.items():
        mapping = codebook.variables.get(name)
        if mapping is None:
            kind = pl.String if variable.type == "categorical" else pl.Float64
            columns.append(pl.Series(name, [None] * frame.height, dtype=kind))
            continue
        missing = [*codebook.missing, *mapping.missing]
        local = frame.select(
            _LINE,
            value=pl.when(pl.col(mapping.column).is_in(missing))
            .then(None)
            .otherwise(pl.col(mapping.column)),
        )
        if variable.type == "categorical":
            series, faults = _recode(local, name, mapping, table.path, codebook_path)
        else:
            series, faults = _measure(
                local, name, mapping, variable, codebook.decimal, table.path, codebook_path
            )
        columns.append(series.alias(name))
        problems += faults
    if problems:
        raise InputError(sorted(problems, key=lambda p: (p.row or 0, p.column or "")))
    return pl.DataFrame(columns).sort("patient")


def _check_columns(table: DelimitedTable, codebook: Codebook, codebook_path: Path | str) -> None:
    needed = {"patient": codebook.patient} | {
        f"variables.{name}.column": mapping.column for name, mapping in codebook.variables.items()
    }
    problems = [
        Problem(
            "this column is missing",
            f"Add it, or correct '{key}' in {codebook_path}.",
            table.path,
            1,
            column,
        )
        for key, column in needed.items()
        if column not in table.columns
    ]
    if problems:
        raise InputError(problems)


def _patient_problems(
    frame: pl.DataFrame, column: str, path: Path, patients: Collection[str]
) -> list[Problem]:
    repeated = frame.filter(~pl.col(column).is_first_distinct() & (pl.col(column) != ""))
    problems = [
        Problem(
            f"patient '{patient}' occurs twice",
            "Keep one row a patient.",
            path,
            line,
            column,
        )
        for line, patient in repeated.select(_LINE, column).iter_rows()
    ]
    unnamed = frame.filter(pl.col(column) == "")
    problems += [
        Problem("the patient identifier is empty", "Fill it or remove the row.", path, line, column)
        for line in unnamed[_LINE]
    ]
    known = set(frame[column])
    problems += [
        Problem(
            f"patient '{patient}' of the sample sheet has no row",
            "Add the patient's row, or remove the patient's samples from the sheet.",
            path,
            None,
            column,
        )
        for patient in patients
        if patient not in known
    ]
    return problems


def _recode(
    local: pl.DataFrame,
    name: str,
    mapping: VariableMapping,
    path: Path,
    codebook_path: Path | str,
) -> tuple[pl.Series, list[Problem]]:
    recoded = local["value"].replace_strict(mapping.values, default=None, return_dtype=pl.String)
    unknown = local.filter(local["value"].is_not_null() & recoded.is_null())
    problems = [
        Problem(
            f"the code '{value}' is not in the codebook",
            f"Correct the cell, or map the code under variables.{name}.values in {codebook_path} "
            f"(known: {', '.join(mapping.values)}).",
            path,
            line,
            mapping.column,
        )
        for line, value in unknown.iter_rows()
    ]
    return recoded, problems


def _measure(
    local: pl.DataFrame,
    name: str,
    mapping: VariableMapping,
    variable: ClinicalVariable,
    decimal: str,
    path: Path,
    codebook_path: Path | str,
) -> tuple[pl.Series, list[Problem]]:
    text = local["value"]
    if decimal == ",":
        # A point in a decimal-comma table is a thousands separator or an error: refuse to guess.
        text = pl.Series(
            [None if v is None else "x" if "." in v else v.replace(",", ".") for v in text],
            dtype=pl.String,
        )
    number = text.cast(pl.Float64, strict=False)
    number = number.set(number.is_not_null() & ~number.is_finite().fill_null(False), None)
    unreadable = local.filter(local["value"].is_not_null() & number.is_null())
    problems = [
        Problem(
            f"'{value}' is not a number",
            f"Write a number with '{decimal}' as decimal sign, or add the code to 'missing'.",
            path,
            line,
            mapping.column,
        )
        for line, value in unreadable.iter_rows()
    ]
    converted = convert_unit(number, str(mapping.unit), str(variable.unit), name, codebook_path)
    low = variable.minimum if variable.minimum is not None else float("-inf")
    high = variable.maximum if variable.maximum is not None else float("inf")
    outside = ((converted < low) | (converted > high)).fill_null(False)
    problems += [
        Problem(
            f"{value} {mapping.unit} is {shown:.6g} {variable.unit}, outside the study's range "
            f"{low:g} to {high:g} {variable.unit} of '{name}'",
            "Correct the value, or the unit in the codebook.",
            path,
            line,
            mapping.column,
        )
        for line, value, shown in local.with_columns(converted.alias("shown"))
        .filter(outside)
        .iter_rows()
    ]
    return converted, problems


def convert_unit(
    values: pl.Series,
    local: str,
    target: str,
    name: str = "value",
    codebook_path: Path | str | None = None,
) -> pl.Series:
    """Convert numbers between two UCUM units (https://ucum.org), affine units included.

    `name` and `codebook_path` say in an error which variable of which codebook has the unit.

    Raises
    ------
    InputError
        If a unit is not UCUM or the two have different dimensions.
    """
    if local == target:
        return values
    registry = _registry()
    try:
        # Two points define the affine map, so that a table of any size needs no loop.
        points = registry.Quantity([0.0, 1.0], registry.from_ucum(local).units)
        zero, one = (float(v) for v in points.to(registry.from_ucum(target).units).magnitude)
    except Exception as error:
        location = ("variables", name, "unit")
        reason = str(error).split("\n", 1)[0].removesuffix(".")
        raise InputError(
            Problem(
                f"cannot convert '{name}' from '{local}' to '{target}': {reason}",
                "Give a UCUM unit of the same dimension, for example g/dL, mo or a.",
                codebook_path,
                line_of_key(codebook_path, location) if codebook_path else None,
                ".".join(location),
            )
        ) from None
    return values * (one - zero) + zero


@cache
def _registry() -> Any:  # noqa: ANN401 - the registry's class is built at run time
    # Imported on use: building the registry takes a second that most runs need not pay.
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()
