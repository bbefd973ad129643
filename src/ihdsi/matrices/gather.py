"""Gather the values of one assay of a site from all of its matrices."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ihdsi.errors import InputError, Problem
from ihdsi.matrices.plates import code_levels, read_plates
from ihdsi.matrices.quality import matrix_metrics
from ihdsi.matrices.reading import LABELS, read_matrix
from ihdsi.quality_control import decide_samples, failed_samples, judge_metrics
from ihdsi.study import MatrixSettings, QualityMetric
from ihdsi.summaries.design import SITE_TERM

__all__ = ["MatrixTable", "gather_matrix", "read_assays"]

logger = logging.getLogger(__name__)

Matrices = Sequence[tuple[Path | str, Mapping[str, str]]]


@dataclass(frozen=True)
class MatrixTable:
    """The values of an assay.

    Attributes
    ----------
    values
        feature, feature_name, gene_id and one Float64 column a patient, by feature; null where a
        feature was not measured.
    covariates
        patient and one column of codes for each plate or batch of the model
        (``site:<assay>_<covariate>``).
    samples
        What became of each sample, for the site itself: patient, sample, n_values, n_missing,
        decision (``kept``, ``left out``), reasons (of its quality), and each covariate with the
        site's name (``plate``) and its code (``plate_code``).
    metrics
        Quality of all samples, as of `ihdsi.matrices.quality.matrix_metrics`.
    """

    values: pl.DataFrame
    covariates: pl.DataFrame
    samples: pl.DataFrame
    metrics: pl.DataFrame


def gather_matrix(
    assay: str,
    matrices: Matrices,
    settings: MatrixSettings,
    samples: Mapping[str, str],
    plates: Path | str | None = None,
    minimum_n: int = 1,
    limits: Mapping[str, QualityMetric] | None = None,
) -> MatrixTable:
    """Read all matrices of an assay, and say what each sample and feature brings.

    Missing values stay missing: nothing is imputed. Features that are in one file only are missing
    in the patients of the others. Samples without usable values, or that fail a limit of the study,
    are left out first, because features and plates are to be counted in those who stay. Features
    with fewer than ``minimum_values`` values are left out. The log names the samples, and how many
    features.

    Parameters
    ----------
    assay
        protein, methylation or metabolite.
    matrices
        Files with the columns to read from each (column to patient).
    settings
        The study's words on matrices of this assay.
    samples
        Patient to the sample's name in the sample sheet.
    plates
        The site's table of plates; needed where the settings name covariates.
    minimum_n
        Patients behind a statistic at the site: a level of a covariate needs as many, or
        ``minimum_level_samples`` if these are more.
    limits
        The study's limits of quality.

    Raises
    ------
    InputError
        As `read_matrix`, `read_plates` and `code_levels`; and if files disagree on a gene.
    """
    parts = [(path, read_matrix(path, settings, names)) for path, names in matrices]
    values = _joined(parts)
    patients = [name for name in values.columns if name not in LABELS]
    known = {patient: values.height - values[patient].null_count() for patient in patients}
    metrics = matrix_metrics(assay, [part for _, part in parts], values, samples)
    judged = judge_metrics(metrics, limits or {})
    failed = failed_samples(decide_samples(judged, {f"tumour_{assay}": samples}))
    left_out = [patient for patient in patients if samples[patient] in failed]
    kept = [patient for patient in patients if samples[patient] not in failed]
    enough = pl.sum_horizontal(
        pl.lit(0), *(pl.col(name).is_not_null().cast(pl.Int64) for name in kept)
    )
    usable = values.drop(left_out).filter(enough >= settings.minimum_values).sort("feature")
    if usable.height < values.height:
        logger.warning(
            "%s: %d of %d features have fewer than %d values and are left out",
            assay,
            values.height - usable.height,
            values.height,
            settings.minimum_values,
        )
    missing = sum(usable[name].null_count() for name in kept)
    logger.info(
        "%s: %d features in %d patients; %d of %d values are missing",
        assay,
        usable.height,
        len(kept),
        missing,
        usable.height * len(kept),
    )
    account = pl.DataFrame(
        {
            "patient": patients,
            "sample": [samples[patient] for patient in patients],
            "n_values": [known[patient] for patient in patients],
            "n_missing": [values.height - known[patient] for patient in patients],
            "decision": ["left out" if p in left_out else "kept" for p in patients],
            "reasons": [failed.get(samples[p], "") for p in patients],
        },
        schema_overrides=dict.fromkeys(("patient", "sample", "decision", "reasons"), pl.String),
    )
    covariates = pl.DataFrame({"patient": pl.Series(kept, dtype=pl.String)})
    if settings.covariates and plates is not None:
        named = read_plates(plates, settings.covariates, account["sample"].to_list())
        # Codes go by the table's order and sizes by those who have values.
        named = named.join(
            account.filter(pl.col("decision") == "kept").select("sample", "patient"),
            on="sample",
            maintain_order="left",
        )
        minimum = max(minimum_n, settings.minimum_level_samples)
        codes = {
            name: code_levels(named[name], name, minimum, settings, plates)
            for name in settings.covariates
        }
        account = account.join(
            named.drop("patient").with_columns(
                codes[name].alias(f"{name}_code") for name in settings.covariates
            ),
            on="sample",
            how="left",
            maintain_order="left",
        )
        coded = named.select(
            "patient", *(codes[name].alias(f"{SITE_TERM}{assay}_{name}") for name in codes)
        )
        covariates = covariates.join(coded, on="patient", how="left", maintain_order="left")
    return MatrixTable(usable, covariates, account, metrics)


def _joined(parts: Sequence[tuple[Path | str, pl.DataFrame]]) -> pl.DataFrame:
    """Put files side by side on all their features; labels are those of the first that has one."""
    joined = parts[0][1]
    for path, part in parts[1:]:
        both = joined.join(part, on="feature", how="full", coalesce=True, suffix="_other")
        disagree = both.filter(pl.col("gene_id") != pl.col("gene_id_other"))["feature"].to_list()
        if disagree:
            raise InputError(
                Problem(
                    f"{len(disagree)} features have another gene than in {parts[0][0]}: "
                    f"{', '.join(disagree[:5])}",
                    "Give all files of an assay the same annotation.",
                    path,
                )
            )
        joined = both.with_columns(
            pl.coalesce(name, f"{name}_other").alias(name) for name in LABELS[1:]
        ).drop(f"{name}_other" for name in LABELS[1:])
    return joined


def read_assays(paths: Iterable[Path | str]) -> dict[str, pl.DataFrame]:
    """Read one Parquet table of several assays; the assay is the name of the table's folder."""
    return {Path(path).parent.name: pl.read_parquet(path) for path in paths}
