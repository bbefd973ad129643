"""Sufficient statistics of the linear model of protein, methylation and metabolite matrices."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import polars as pl

from ihdsi.errors import InputError, Problem
from ihdsi.summaries.design import SITE_TERM
from ihdsi.summaries.model_moments import (
    DESIGN_COLUMNS,
    MOMENT_CONSTRAINTS,
    moment_columns,
    moment_rows,
)
from ihdsi.summaries.table import CONTRAST_COLUMN, ENSEMBL_GENE, Column, Constraint, TableSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ihdsi.study import ClinicalVariable, Contrast

__all__ = [
    "ASSAYS",
    "DESIGN_SPEC",
    "MAXIMUM_PATTERNS_BUILT",
    "MOMENTS_SPEC",
    "PATTERN",
    "MissingnessPattern",
    "build_matrix_moments",
    "missingness_patterns",
]

logger = logging.getLogger(__name__)

ASSAYS = ("protein", "methylation", "metabolite")
#: Columns that name one X'X.
PATTERN = ("assay", "contrast", "pattern")

#: Patterns of a contrast that are built, those with the most features. Disclosure control lets two
#: at most leave, and a methylation array may have a hundred thousand.
MAXIMUM_PATTERNS_BUILT = 50

_LABELS = ("feature", "feature_name", "gene_id")

# Of a site's plates and batches, codes may leave and nothing else.
_SITE_CODE = rf"^{SITE_TERM}({'|'.join(ASSAYS)})_(plate|batch)=(plate|batch)_([0-9]+|rare)$"
_CODES = f"terms that begin with {SITE_TERM} are codes of plates and batches"


def _coded(term: pl.Expr) -> pl.Expr:
    return ~term.str.starts_with(SITE_TERM) | term.str.contains(_SITE_CODE)


_PATTERN_COLUMNS = (
    Column("assay", pl.String, "key", allowed=ASSAYS, description="What was measured."),
    CONTRAST_COLUMN,
    Column(
        "pattern",
        pl.Int64,
        "key",
        minimum=1,
        unit="1",
        description="Number of the missingness pattern: features measured in the same patients.",
    ),
)

DESIGN_SPEC = TableSpec(
    name="matrix_design",
    version=1,
    description="X'X of the linear model of each assay, contrast and missingness pattern.",
    columns=(*_PATTERN_COLUMNS, *DESIGN_COLUMNS),
    keys=(*PATTERN, "row_term", "column_term"),
    constraints=(
        Constraint(
            "row_term", lambda: _coded(pl.col("row_term")) & _coded(pl.col("column_term")), _CODES
        ),
    ),
)

MOMENTS_SPEC = TableSpec(
    name="matrix_moments",
    version=1,
    description="X'y and y'y for each assay, contrast and feature.",
    columns=(
        *_PATTERN_COLUMNS,
        Column(
            "feature",
            pl.String,
            "key",
            pattern=r"^[!-~]{1,100}$",
            description="Public identifier, such as a UniProt accession, a CpG or a ChEBI number.",
        ),
        Column("feature_name", pl.String, "label", description="Name for readers."),
        Column(
            "gene_id",
            pl.String,
            "label",
            nullable=True,
            pattern=ENSEMBL_GENE,
            description="Ensembl gene that the feature belongs to; null where none does.",
        ),
        *moment_columns("the measured value (log2 intensity or M-value)"),
    ),
    keys=("assay", "contrast", "feature"),
    constraints=(
        *MOMENT_CONSTRAINTS,
        Constraint(
            "terms",
            lambda: pl.col("terms").list.eval(_coded(pl.element())).list.all(),
            _CODES,
        ),
    ),
)


def build_matrix_moments(
    matrices: Mapping[str, pl.DataFrame],
    clinical: pl.DataFrame,
    contrasts: Mapping[str, Contrast],
    variables: Mapping[str, ClinicalVariable],
    minimum_n: int,
    maximum_contribution: float = 0.5,
    site_covariates: Mapping[str, pl.DataFrame] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Compute the sufficient statistics of value ~ intercept + case + covariates.

    A feature is modelled in the patients in whom it was measured. Features of the same patients
    share a missingness pattern and with it X'X; numbers are centred on the mean of the pattern's
    patients, everything else is coded as in `build_expression_moments`.

    Parameters
    ----------
    matrices
        By assay (see `ASSAYS`): feature, feature_name, gene_id (may be null) and one column a
        patient of normalised values on a scale on which effects add up (log2 intensities,
        M-values); null or NaN where a feature was not measured.
    clinical, contrasts, variables
        As for `estimate_expression_effects`.
    minimum_n
        Patterns with a smaller group are left out; the log says with how many features.
    maximum_contribution
        See `ihdsi.summaries.design.refusal`.
    site_covariates
        By assay, codes of the site's plates and batches (`ihdsi.matrices.plates`): patient and
        one column a covariate.

    Returns
    -------
    tuple of polars.DataFrame
        The tables `matrix_design` and `matrix_moments`. Patterns are numbered from the one with
        the most features.

        Of each assay and contrast, the `MAXIMUM_PATTERNS_BUILT` patterns with the most features are
        built; the log counts the features of the others.

    Raises
    ------
    InputError
        If an assay is unknown, or a value is infinite.
    """
    from ihdsi.matrices.plates import with_site_covariates
    from ihdsi.summaries.design import contrast_design, refusal

    specs = (DESIGN_SPEC, MOMENTS_SPEC)
    designs = [pl.DataFrame(schema=DESIGN_SPEC.schema)]
    moments = [pl.DataFrame(schema=MOMENTS_SPEC.schema)]
    for assay, matrix in matrices.items():
        for name, contrast in contrasts.items():
            refused: dict[str, int] = {}
            n_features = 0
            model = with_site_covariates(
                clinical, contrast, variables, (site_covariates or {}).get(assay)
            )
            for pattern in missingness_patterns(assay, matrix, *model):
                patients, n_features = pattern.patients, n_features + pattern.features.height
                fitted = contrast_design(model[0], patients, *model[1:], full_rank=True)
                reason = refusal(fitted, minimum_n, maximum_contribution)
                if reason is not None:
                    refused[reason] = refused.get(reason, 0) + pattern.features.height
                    continue
                rows = moment_rows(
                    contrast_design(model[0], patients, *model[1:], full_rank=False),
                    pattern.features,
                    pattern.values,
                    {"assay": assay, "contrast": name, "pattern": pattern.number},
                    specs,
                )
                designs.append(rows[0])
                moments.append(rows[1])
            if n_features < matrix.height:
                refused[f"not among the {MAXIMUM_PATTERNS_BUILT} commonest patterns"] = (
                    matrix.height - n_features
                )
            for reason, n in refused.items():
                logger.warning("%s, contrast %s: %d features: %s", assay, name, n, reason)
    return pl.concat(designs), pl.concat(moments).sort(MOMENTS_SPEC.keys)


@dataclass(frozen=True)
class MissingnessPattern:
    """Features (F) that were measured in the same patients (P).

    Parameters
    ----------
    number
        From 1, for the pattern with the most features.
    patients
        Those of the contrast with values.
    features
        feature, feature_name and gene_id.
    values
        Shape (F, P).
    """

    number: int
    patients: tuple[str, ...]
    features: pl.DataFrame
    values: NDArray[np.float64]


def missingness_patterns(
    assay: str,
    matrix: pl.DataFrame,
    clinical: pl.DataFrame,
    contrast: Contrast,
    variables: Mapping[str, ClinicalVariable],
) -> Iterator[MissingnessPattern]:
    """Yield the commonest patterns of a matrix among the patients of a contrast.

    The first has the most features; `MAXIMUM_PATTERNS_BUILT` are yielded at most. Parameters
    and errors are those of `build_matrix_moments`.
    """
    from ihdsi.summaries.design import contrast_design

    labels, values, measured = _split(assay, matrix)
    design = contrast_design(clinical, measured, contrast, variables, full_rank=False)
    place = {patient: index for index, patient in enumerate(measured)}
    chosen = values[:, [place[patient] for patient in design.patients]]
    for number, features, present in islice(_patterns(chosen), MAXIMUM_PATTERNS_BUILT):
        patients = [p for p, here in zip(design.patients, present, strict=True) if here]
        yield MissingnessPattern(
            number, tuple(patients), labels[features.tolist()], chosen[features][:, present]
        )


def _split(assay: str, matrix: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.float64], list[str]]:
    """Split a matrix into labels, values (features x patients) and patients."""
    import numpy as np

    if assay not in ASSAYS:
        raise InputError(
            Problem(f"'{assay}' is no assay of a matrix", f"Use one of {', '.join(ASSAYS)}.")
        )
    patients = [name for name in matrix.columns if name not in _LABELS]
    values = matrix.select(pl.col(patients).cast(pl.Float64)).to_numpy()
    values = values.reshape(matrix.height, len(patients))
    infinite = np.isinf(values)
    if infinite.any():
        raise InputError(
            Problem(
                f"the {assay} matrix has infinite values, {int(infinite.sum())} in all",
                "Take logarithms of positive values only, and leave the others empty.",
                row=int(infinite.any(axis=1).argmax()) + 1,
            )
        )
    labels = matrix.select(
        "feature",
        pl.col("feature_name").fill_null(pl.col("feature")),
        pl.col("gene_id").cast(pl.String),
    )
    return labels, values, patients


def _patterns(
    values: NDArray[np.float64],
) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.bool_]]]:
    """Yield number, rows and patients (a mask) of each missingness pattern, most rows first."""
    import numpy as np

    present = ~np.isnan(values)
    _, first, pattern_of, size = np.unique(
        np.packbits(present, axis=1),
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    rows = np.split(np.argsort(pattern_of.ravel(), kind="stable"), np.cumsum(size)[:-1])
    order = np.lexsort((first, -present[first].sum(axis=1), -size))
    for number, index in enumerate(order, start=1):
        yield number, rows[index], present[first[index]]
