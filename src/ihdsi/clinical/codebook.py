"""The codebook: how one hospital's columns and codes map to the study's dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ihdsi.errors import InputError, Problem
from ihdsi.study import Study
from ihdsi.yaml_documents import line_of_key, load_document

__all__ = ["Codebook", "VariableMapping", "load_codebook"]


class VariableMapping(BaseModel):
    """Where a study variable stands in the local table, and in which codes or unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str = Field(description="Column of the local table.")
    values: dict[str, str] = Field(
        default_factory=dict, description="Local code to study level (categorical variables)."
    )
    unit: str | None = Field(None, description="UCUM unit of the local number.")
    missing: tuple[str, ...] = Field((), description="Further codes that mean unknown, here only.")


class Codebook(BaseModel):
    """Mapping of a local clinical table to a study's data dictionary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patient: str = Field(description="Column that holds the patient identifier.")
    separator: Literal["\t", ",", ";"] = "\t"
    decimal: Literal[".", ","] = "."
    missing: tuple[str, ...] = Field(("",), description="Codes that mean unknown in every column.")
    variables: dict[str, VariableMapping]


def load_codebook(path: Path | str, study: Study) -> Codebook:
    """Read a codebook and check it against the study's dictionary.

    Raises
    ------
    InputError
        If it maps a variable or level that the study lacks, leaves out a required variable, or
        gives codes for a number or no unit for one.
    """
    codebook = load_document(path, Codebook)
    problems: list[Problem] = []

    def problem(key: tuple[str, ...], what: str, remedy: str) -> None:
        location = ("variables", *key)
        problems.append(
            Problem(what, remedy, path, line_of_key(path, location), ".".join(location))
        )

    dictionary = study.clinical.variables
    for name, mapping in codebook.variables.items():
        if name not in dictionary:
            problem(
                (name,),
                f"the study has no variable '{name}'",
                f"Use one of: {', '.join(dictionary)}.",
            )
            continue
        variable = dictionary[name]
        if variable.type == "categorical":
            for code, level in mapping.values.items():
                if level not in variable.levels:
                    problem(
                        (name, "values", code),
                        f"'{level}' is not a level of '{name}'",
                        f"Use one of: {', '.join(variable.levels)}.",
                    )
            if not mapping.values:
                problem((name, "values"), "no codes are given", "Map every local code to a level.")
        else:
            if mapping.values:
                problem((name, "values"), f"'{name}' is a number and has no codes", "Remove them.")
            if mapping.unit is None:
                problem(
                    (name, "unit"),
                    "the local unit is missing",
                    f"Give the UCUM unit of the local numbers (the study uses {variable.unit}).",
                )
    for name, variable in dictionary.items():
        if variable.required and name not in codebook.variables:
            problem((name,), "this required variable is not mapped", "Add its column and codes.")
    if problems:
        raise InputError(problems)
    return codebook
