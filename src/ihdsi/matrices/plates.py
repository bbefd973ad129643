"""Plates and batches of a site's samples, under codes that tell nothing of their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.delimited import read_delimited
from ihdsi.errors import InputError, Problem
from ihdsi.summaries.design import SITE_TERM

if TYPE_CHECKING:
    from ihdsi.study import ClinicalVariable, Contrast, MatrixSettings

__all__ = ["code_levels", "plate_faults", "read_plates", "with_site_covariates"]

logger = logging.getLogger(__name__)


def read_plates(
    path: Path | str, covariates: Sequence[str], samples: Sequence[str]
) -> pl.DataFrame:
    """Read the plates and batches of some samples.

    Parameters
    ----------
    path
        TSV with the column sample and those of `covariates`; other samples and columns are not
        read.

    Returns
    -------
    polars.DataFrame
        sample and the covariates as the site names their levels, in the order of the table.

    Raises
    ------
    InputError
        If a column, a sample or a level is missing, or a sample occurs twice.
    """
    table = read_delimited(path)
    problems = [
        Problem("this required column is missing", "Add it to the table.", path, 1, column)
        for column in ("sample", *covariates)
        if column not in table.columns
    ]
    if problems:
        raise InputError(problems)
    wanted, seen = set(samples), set()
    rows = []
    for row in table.rows:
        name = row.values["sample"]
        if name not in wanted:
            continue
        if name in seen:
            problems.append(
                Problem(f"sample '{name}' occurs twice", "Keep one row.", path, row.line, "sample")
            )
        seen.add(name)
        problems += [
            Problem(
                f"sample '{name}' has no {column}",
                "Fill it, or remove the sample from the sample sheet.",
                path,
                row.line,
                column,
            )
            for column in covariates
            if not row.values[column]
        ]
        rows.append({"sample": name} | {column: row.values[column] for column in covariates})
    problems += [
        Problem(
            f"sample '{name}' is missing",
            f"Add a row with its {' and '.join(covariates)}.",
            path,
            None,
            "sample",
        )
        for name in samples
        if name not in seen
    ]
    if problems:
        raise InputError(problems)
    return pl.DataFrame(rows, schema=dict.fromkeys(("sample", *covariates), pl.String))


def plate_faults(
    path: Path | str, covariates: Sequence[str], samples: Mapping[str, int], sheet: Path
) -> list[Problem]:
    """Find faults of a table of plates, given the samples with their rows of the sample sheet."""
    try:
        read_plates(path, covariates, list(samples))
    except InputError as error:
        return list(error.problems)
    except OSError as error:
        return [
            Problem(
                f"the table of plates {path} cannot be read ({error.strerror})",
                "Correct 'plates' in the site file.",
                sheet,
                min(samples.values()),
                "matrix",
            )
        ]
    return []


def code_levels(
    levels: pl.Series, covariate: str, minimum: int, settings: MatrixSettings, path: Path | str
) -> pl.Series:
    """Replace the levels of a covariate by codes.

    Names of plates may hold dates, names or places, and terms of a model leave the site. Codes are
    ``plate_1``, ``plate_2`` in the order of the table; rare levels are ``plate_rare`` together, and
    if they are rare even then, the smallest other level joins them.

    Parameters
    ----------
    levels
        One a sample, in the order of the table.
    minimum
        Samples that a level needs.

    Raises
    ------
    InputError
        If a level is rare and the study refuses that.
    """
    names = levels.unique(maintain_order=True).to_list()
    size = dict(levels.value_counts().iter_rows())
    rare = [name for name in names if size[name] < minimum]
    if rare and settings.rare_levels == "refuse":
        raise InputError(
            [
                Problem(
                    f"'{name}' has {size[name]} samples, fewer than {minimum}",
                    "Remove its samples from the sample sheet, or have the study set rare_levels: "
                    "merge.",
                    path,
                    None,
                    covariate,
                )
                for name in rare
            ]
        )
    codes = {name: f"{covariate}_{number}" for number, name in enumerate(names, 1)}
    others = sorted((name for name in names if name not in rare), key=lambda name: size[name])
    if rare and sum(size[name] for name in rare) < minimum and others:
        rare.append(others[0])
    if rare:
        logger.warning(
            "%s: %d levels with few samples count as one: %s", covariate, len(rare), ", ".join(rare)
        )
    codes |= dict.fromkeys(rare, f"{covariate}_rare")
    return levels.replace_strict(codes, return_dtype=pl.String).alias(covariate)


def with_site_covariates(
    clinical: pl.DataFrame,
    contrast: Contrast,
    variables: Mapping[str, ClinicalVariable],
    covariates: pl.DataFrame | None,
) -> tuple[pl.DataFrame, Contrast, Mapping[str, ClinicalVariable]]:
    """Add a site's plates and batches to what a contrast's design is made of.

    Parameters
    ----------
    clinical, contrast, variables
        As for `ihdsi.summaries.design.contrast_design`.
    covariates
        patient and one column of codes a covariate, whose name begins with `SITE_TERM`.

    Returns
    -------
    tuple
        The same three with the covariates added. One with a single level is that of the intercept
        and left out.
    """
    from ihdsi.study import ClinicalVariable

    if covariates is None:
        return clinical, contrast, variables
    levels = {
        name: tuple(covariates[name].unique().sort().to_list())
        for name in covariates.columns
        if name.startswith(SITE_TERM)
    }
    added = {name: found for name, found in levels.items() if len(found) > 1}
    return (
        clinical.join(
            covariates.select("patient", *added), on="patient", how="left", maintain_order="left"
        ),
        contrast.model_copy(update={"covariates": (*contrast.covariates, *added)}),
        {
            **variables,
            **{
                name: ClinicalVariable(type="categorical", levels=found)
                for name, found in added.items()
            },
        },
    )
