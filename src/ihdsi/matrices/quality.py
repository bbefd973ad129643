"""Quality of a site's samples of a matrix: what is missing, where they lie, and how far apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from ihdsi.matrices.reading import LABELS
from ihdsi.quality_control import METRICS_SCHEMA, USABLE_VALUES, distance_scores

__all__ = ["matrix_metrics"]

#: From so many values on, values that are all the same number are no measurement.
_CONSTANT = 3


def matrix_metrics(
    assay: str,
    parts: Sequence[pl.DataFrame],
    values: pl.DataFrame,
    samples: Mapping[str, str],
) -> pl.DataFrame:
    """Measure the quality of the samples of an assay.

    Names of metrics begin with the assay, because what is usual differs between assays.

    Parameters
    ----------
    assay
        protein, methylation or metabolite.
    parts
        One table a file, as of `ihdsi.matrices.reading.read_matrix`; a patient is in one of them.
    values
        All files side by side: one column a patient, null where a feature is not in the file.
    samples
        Patient to sample.

    Returns
    -------
    polars.DataFrame
        Columns of `ihdsi.quality_control.METRICS_SCHEMA`:
        ``<assay>_usable_values``, values that tell anything: 0 where all are the same number;
        ``<assay>_missing_percent``, of the features that any sample of the file has;
        ``<assay>_median_value``, in the unit of the model;
        ``<assay>_outlier_score``, the distance from the site's other samples (see
        `ihdsi.quality_control.distance_scores`), where enough have values.
        The last two of samples with usable values only.
    """
    rows: list[tuple[str, str, float, str | None]] = []
    usable = []
    for part in parts:
        patients = [name for name in part.columns if name not in LABELS]
        measured = part.select(
            pl.any_horizontal(pl.lit(value=False), *(pl.col(p).is_not_null() for p in patients))
        ).to_series()
        n_measured = int(measured.sum())
        for patient in patients:
            known = part[patient].drop_nulls()
            constant = len(known) >= _CONSTANT and known.n_unique() == 1
            note = "the sample has no value" if known.is_empty() else None
            if constant:
                note = f"all {len(known)} values are {known[0]:g}"
            n_usable = 0 if constant else len(known)
            rows.append((patient, USABLE_VALUES, n_usable, note))
            missing = 100.0 * (1 - len(known) / n_measured) if n_measured else 100.0
            rows.append((patient, "_missing_percent", missing, None))
            if n_usable:
                rows.append((patient, "_median_value", float(known.median()), None))  # type: ignore[arg-type]
                usable.append(patient)
    matrix = values.select(usable).to_numpy().astype(float)
    distances = distance_scores(matrix) if usable else np.zeros(0)
    rows += [
        (patient, "_outlier_score", score, None)
        for patient, score in zip(usable, distances.tolist(), strict=True)
        if np.isfinite(score)
    ]
    return pl.DataFrame(
        [(p, samples[p], assay, f"{assay}{name}", value, note) for p, name, value, note in rows],
        schema=METRICS_SCHEMA,
        orient="row",
    )
