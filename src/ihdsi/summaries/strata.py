"""Strata of patients: the levels of the study's stratum variables, and the whole cohort."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ihdsi.errors import InputError, Problem

__all__ = ["ALL", "stratify"]

#: Name of the stratum variable and of the stratum that hold every patient.
ALL = "all"


def stratify(
    patients: pl.Series, clinical: pl.DataFrame | None, variables: Sequence[str]
) -> pl.DataFrame:
    """List the strata of each patient.

    Parameters
    ----------
    patients
        Patient names, each once.
    clinical
        ``patient`` and the clinical variables; None where the site has no clinical table.
    variables
        Categorical variables whose levels are strata.

    Returns
    -------
    polars.DataFrame
        patient, stratum_variable, stratum: one row (all, all) a patient, and one row for each
        variable whose level is known for the patient. Patients who are not in `clinical` belong to
        the whole cohort only.

    Raises
    ------
    InputError
        If a variable is not a column of `clinical`.
    """
    everyone = patients.alias("patient").to_frame()
    whole = everyone.with_columns(stratum_variable=pl.lit(ALL), stratum=pl.lit(ALL))
    if clinical is None or not variables:
        return whole
    absent = [name for name in variables if name not in clinical.columns]
    if absent:
        raise InputError(
            Problem(
                f"the clinical table lacks the stratum variable '{absent[0]}'",
                "Harmonise the clinical table again with this study file.",
                column=absent[0],
            )
        )
    levels = (
        everyone.join(clinical.select("patient", *variables), on="patient", how="inner")
        .unpivot(index="patient", variable_name="stratum_variable", value_name="stratum")
        .drop_nulls("stratum")
    )
    return pl.concat([whole, levels])
