"""By what each patient enters a summary table, as a digest.

Whoever has two releases of the same patients can subtract them. If one library was sequenced anew,
or one age corrected, the difference of the sums is that patient's old and new values. Populations
say *whom* a table counts; the digests say whether a patient is counted with the same values as
before. A patient whose digest changed counts as one who left and another who came (see
`ihdsi.disclosure.differencing.Comparison`).

Counts of reads are rounded to whole reads before they are hashed; all else is taken as it is, since
a difference of the last digit shows in the difference of two releases as any other does. Where a
new version of a tool changes everybody's values, everybody's digest changes, and no difference is
that of few.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from ihdsi.disclosure.differencing import populations_of
from ihdsi.study import Study

__all__ = ["count_patients", "with_patient_values"]

#: Columns that name what a row of a matrix is; all others are patients.
_LABELS = ("gene_id", "gene_name", "feature", "feature_name")

Digests = Mapping[str, str]


def count_patients(
    study: Study, germline: Collection[str], frames: Mapping[str, Any]
) -> pl.DataFrame:
    """List whom the tables of a site count, and by what.

    Parameters
    ----------
    study
        As for `ihdsi.disclosure.differencing.populations_of`.
    germline
        Patients with germline genotypes.
    frames
        The patient-level tables of `populations_of` by their names there, and ``variants``, the
        somatic variants (column ``patient``).

    Returns
    -------
    polars.DataFrame
        See `with_patient_values`.
    """
    counted: dict[str, Any] = {name: frame for name, frame in frames.items() if name != "variants"}
    populations = populations_of(study, germline=germline, **counted)
    return with_patient_values(populations, study, frames)


def with_patient_values(
    populations: pl.DataFrame,
    study: Study,
    frames: Mapping[str, Any],
) -> pl.DataFrame:
    """Add the column ``value``: a digest of what each patient enters each population with.

    Parameters
    ----------
    populations
        Columns of `ihdsi.disclosure.differencing.POPULATIONS_SCHEMA`.
    study
        Its contrasts and endpoints say which clinical variables enter a model.
    frames
        Patient-level tables by name: ``clinical``, ``counts`` (gene_id, gene_name, one column a
        patient), ``assessed``, ``variants``, ``exposures`` and ``copy_number`` (column
        ``patient``), ``expression_profile`` (column ``patient``); ``matrices`` (features x
        patients) and ``site_covariates`` by assay, as for
        `ihdsi.summaries.matrix_moments.build_matrix_moments`; ``pseudobulk`` by cell type, in the
        form of ``counts``; ``cells`` (patient and a column of counts a cell type). Those that are
        absent enter nothing.

    Returns
    -------
    polars.DataFrame
        The rows of `populations`, with ``value``: SHA-256 in hexadecimal, or null where only counts
        leave (genotypes, quality), which are compared one by one. It is a plain digest and stays at
        the site; the ledger keeps it under the ledger's key.
    """
    of_population = _digests(study, frames)
    values = [
        pl.DataFrame(
            {
                "population": population,
                "patient": list(digests),
                "value": list(digests.values()),
            },
            schema={"population": pl.String, "patient": pl.String, "value": pl.String},
        )
        for population in populations["population"].unique().sort()
        if (digests := of_population(population)) is not None
    ]
    if not values:
        return populations.with_columns(value=pl.lit(None, dtype=pl.String))
    return populations.join(
        pl.concat(values), on=["population", "patient"], how="left", maintain_order="left"
    )


def _digests(study: Study, frames: Mapping[str, Any]) -> Callable[[str], Digests | None]:
    """Make the function from a population's name to its patients' digests."""
    nothing = pl.DataFrame(schema={"patient": pl.String})
    clinical = frames.get("clinical", nothing)
    profiles = _of_columns(frames["counts"], whole=True) if "counts" in frames else {}
    of_matrix = {assay: _of_columns(matrix) for assay, matrix in frames.get("matrices", {}).items()}
    of_plate = {
        assay: _of_rows(table) for assay, table in frames.get("site_covariates", {}).items()
    }
    scores = frames.get("expression_profile", nothing)
    of_type = {
        name: _of_columns(counts, whole=True)
        for name, counts in frames.get("pseudobulk", {}).items()
    }
    called = [
        _of_rows(frames[name])
        for name in ("assessed", "variants", "exposures", "copy_number")
        if name in frames
    ]
    somatic = _joined(called)

    def of_model(name: str) -> Digests:
        contrast = study.contrasts[name]
        return _of_rows(clinical, [contrast.variable, *contrast.covariates])

    def digests(population: str) -> Digests | None:
        kind, _, name = population.partition(":")
        if kind in ("design", "contrast"):
            return _joined([profiles, of_model(name)])
        if kind == "matrix":
            _, assay, contrast = name.split(":", 2)
            return _joined([of_matrix[assay], of_plate.get(assay, {}), of_model(contrast)])
        if kind == "cell_contrast":
            # Names of cell types may hold colons, those of contrasts do not.
            cell_type, _, contrast = name.rpartition(":")
            return _joined([of_type[cell_type], of_model(contrast)])
        if kind in ("endpoint", "curve"):
            endpoint = study.endpoints[name]
            times = [endpoint.time, endpoint.event]
            if kind == "curve":
                return _of_rows(clinical, times)
            return _joined([profiles, _of_rows(clinical, [*times, *endpoint.covariates])])
        if kind == "clinical":
            return _of_rows(clinical if name in clinical.columns else scores, [name])
        if kind in ("somatic", "burden", "signatures", "copy_number"):
            return somatic
        if kind == "cells":
            return _of_rows(frames.get("cells", nothing))
        return None

    return digests


def _of_columns(matrix: pl.DataFrame, *, whole: bool = False) -> Digests:
    """Digest each patient's column of a matrix; rows in the order of their names."""
    labels = [name for name in matrix.columns if name in _LABELS]
    ordered = matrix.sort(labels[0])
    names = hashlib.sha256("\n".join(ordered[labels[0]].to_list()).encode()).digest()
    found = {}
    for patient in ordered.columns:
        if patient not in labels:
            values = ordered[patient].cast(pl.Float64).fill_null(np.nan).to_numpy()
            # Minus zero is zero.
            numbers = (np.rint(values) if whole else values) + 0.0
            found[patient] = hashlib.sha256(names + numbers.tobytes()).hexdigest()
    return found


def _of_rows(frame: pl.DataFrame, columns: Sequence[str] | None = None) -> Digests:
    """Digest each patient's rows of a table, whatever their order; `columns` that it has."""
    wanted = frame.columns if columns is None else columns
    chosen = sorted({*wanted} & {*frame.columns} - {"patient"})
    row = pl.struct(chosen).struct.json_encode() if chosen else pl.lit("")
    texts = frame.group_by("patient", maintain_order=True).agg(row.sort().str.join("\n"))
    return {
        patient: hashlib.sha256(text.encode()).hexdigest() for patient, text in texts.iter_rows()
    }


def _joined(parts: Sequence[Digests]) -> Digests:
    """Digest the digests of several tables; a table that lacks a patient has nothing of them."""
    patients = dict.fromkeys(patient for part in parts for patient in part)
    return {
        patient: hashlib.sha256(
            "\n".join(part.get(patient, "") for part in parts).encode()
        ).hexdigest()
        for patient in patients
    }
