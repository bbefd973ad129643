"""The linear model of all sites' patients, fitted exactly from the sites' moments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from ihdsi.errors import InputError, Problem
from ihdsi.meta.estimators import benjamini_hochberg, pool_effects
from ihdsi.meta.harmonise import SITE_EFFECT_SCHEMA, in_site_effect_schema
from ihdsi.meta.moderation import moderate_variances
from ihdsi.summaries.design import CASE, INTERCEPT, SITE_TERM

__all__ = [
    "LINEAR_SCHEMA",
    "MATRIX_LINEAR_SCHEMA",
    "MINIMUM_FEATURES_TO_MODERATE",
    "fit_pooled_linear_model",
    "fit_pooled_matrix_model",
    "matrix_site_effects",
]

FloatArray = NDArray[np.float64]

#: Eigenvalues of the correlation-scaled cross-products below this are collinearity.
RANK_TOLERANCE = 1e-10
#: Of a term's sum of squares, what is left below this by the site's own terms is rounding.
REMAINDER_TOLERANCE = 1e-9
#: Of a feature's raw sum of squares, a residual one below this is rounding: the variance is zero.
ZERO_VARIANCE_TOLERANCE = 1e-12
#: Fewer variances are too few to estimate a prior from: with ten residual degrees of freedom, tests
#: at 0.001 would be about twice as often positive under the null as they should be.
MINIMUM_FEATURES_TO_MODERATE = 10

NOT_IN_THE_STUDY = "the study has no matrix of this assay"
NOT_ALONE = "in the pooled fit, though the site alone does not determine the effect"

_EXPRESSION_LABELS = ("contrast", "gene_id", "gene_name")

LINEAR_SCHEMA: dict[str, pl.DataType] = {
    "contrast": pl.String(),
    "gene_id": pl.String(),
    "gene_name": pl.String(),
    "n_sites": pl.Int64(),
    "n": pl.Int64(),
    "degrees_of_freedom": pl.Int64(),
    "coefficient": pl.Float64(),
    "standard_error": pl.Float64(),
    "statistic": pl.Float64(),
    "p_value": pl.Float64(),
    "fdr": pl.Float64(),
    "residual_variance": pl.Float64(),
    "mean": pl.Float64(),
    "prior_degrees_of_freedom": pl.Float64(),
    "posterior_variance": pl.Float64(),
    "moderated_statistic": pl.Float64(),
    "moderated_p_value": pl.Float64(),
    "moderated_fdr": pl.Float64(),
}

MATRIX_LINEAR_SCHEMA: dict[str, pl.DataType] = {
    "assay": pl.String(),
    "contrast": pl.String(),
    "feature": pl.String(),
    "feature_name": pl.String(),
    "gene_id": pl.String(),
    "unit": pl.String(),
    **{name: dtype for name, dtype in LINEAR_SCHEMA.items() if name not in _EXPRESSION_LABELS},
    "i_squared": pl.Float64(),
    "same_direction": pl.Boolean(),
}


@dataclass(frozen=True)
class _Part:
    """The moments of one X'X of one site: of a contrast, or of a pattern of missing values.

    `features` are named by the first column of `moments`; `name` and `tables` are for messages.
    """

    site: str
    name: str
    tables: tuple[str, str]
    design: pl.DataFrame
    moments: pl.DataFrame

    @property
    def terms(self) -> list[str]:
        """Terms of the model, as the moments list them."""
        terms: list[str] = self.moments["terms"][0].to_list()
        return terms


@dataclass(frozen=True)
class _Remainders:
    """Cross-products of one X'X without the site's own terms; arrays follow the features' order."""

    n: float
    n_case: float
    own: int  # parameters that are the site's own: intercept, plates
    xtx: FloatArray  # (terms, terms)
    xty: FloatArray  # (features, terms)
    yty: FloatArray  # (features,)
    sums: FloatArray  # (features,): of the values as they are
    sums_of_squares: FloatArray  # (features,): likewise
    present: NDArray[np.bool_]  # (features,)


def fit_pooled_linear_model(
    designs: Mapping[str, pl.DataFrame], moments: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Fit y = site intercept + case + covariates over all sites, from sufficient statistics.

    The site's intercept, and its plates and batches where it has any (`SITE_TERM`), are taken out
    of each site's X'X, X'y and y'y (Frisch-Waugh-Lovell), and what remains is added up. The
    coefficient, its standard error and the residual variance equal those of ordinary least squares
    on the pooled patients. Genes that the same subset of sites released share one factorisation. A
    term that a site lacks (a level nobody has there) is a column of zeros at that site.

    The residual variances are moderated within the contrast, with a trend on the mean of the values
    (limma-trend; `ihdsi.meta.moderation`). With fewer than `MINIMUM_FEATURES_TO_MODERATE` of them
    there is no prior to learn: its degrees of freedom are 0, and the moderated statistics are the
    ordinary ones.

    Parameters
    ----------
    designs
        `expression_design` by site: X'X in long form, per contrast.
    moments
        `expression_moments` by site: per contrast and gene n, terms, X'y and y'y of log2-CPM.

    Returns
    -------
    pl.DataFrame
        Columns of `LINEAR_SCHEMA`: the coefficient of the indicator "case" in log2-CPM, its
        standard error and t statistic on `degrees_of_freedom` by ordinary least squares, two-sided
        p-value and false discovery rate within the contrast, each null where the coefficient cannot
        be estimated. `mean` is of the log2-CPM of all patients (limma's AveExpr). The moderated
        statistic is the coefficient over its standard error with `posterior_variance`, a t
        statistic on `degrees_of_freedom` + `prior_degrees_of_freedom` (infinite where variances
        differ no more than by chance), at most on those of all genes together. A residual variance
        of zero has an ordinary statistic of null and a moderated one, as limma gives it.

    Raises
    ------
    InputError
        If a site's moments do not match its design (terms, or number of patients).
    """
    fits = [pl.DataFrame(schema=LINEAR_SCHEMA)]
    tables = ("expression_design", "expression_moments")
    for contrast in _contrasts(moments.values()):
        parts = [
            _Part(
                site,
                f"contrast '{contrast}'",
                tables,
                designs[site].filter(pl.col("contrast") == contrast),
                frame.select("gene_id", pl.exclude("gene_id")),
            )
            for site, frame in _of_contrast(moments, contrast).items()
        ]
        genes = _labels(parts, "gene_id", ["gene_name"])
        terms, remainders = _remainders(parts, genes["gene_id"])
        fits.append(
            _fitted(
                genes.with_columns(contrast=pl.lit(contrast)),
                _solve(remainders, terms, genes.height),
                LINEAR_SCHEMA,
            )
        )
    return pl.concat(fits)


def fit_pooled_matrix_model(
    designs: Mapping[str, pl.DataFrame],
    moments: Mapping[str, pl.DataFrame],
    units: Mapping[str, str],
) -> pl.DataFrame:
    """Fit the model of `fit_pooled_linear_model` to protein, methylation and metabolite values.

    A feature is fitted in the patients in whom it was measured: each site contributes the moments
    of the feature's missingness pattern there. Plates and batches have coefficients of their own
    at each site.

    Parameters
    ----------
    designs, moments
        `matrix_design` and `matrix_moments` by site.
    units
        Unit of the modelled values by assay.

    Returns
    -------
    pl.DataFrame
        Columns of `MATRIX_LINEAR_SCHEMA`: as in `fit_pooled_linear_model`, moderation and false
        discovery rates within assay and contrast. `i_squared` and `same_direction` compare the
        coefficients that the sites give one by one (Higgins and Thompson 2002); null with fewer
        than two sites.

    Raises
    ------
    InputError
        If a site's moments do not match its design (terms, or number of patients).
    """
    fits = [pl.DataFrame(schema=MATRIX_LINEAR_SCHEMA)]
    for assay, contrast, parts in _matrix_parts(designs, moments, sorted(units)):
        features = _labels(parts, "feature", ["feature_name", "gene_id"])
        terms, remainders = _remainders(parts, features["feature"])
        columns = _solve(remainders, terms, features.height)
        alone = [_solve([one], terms, features.height) for one in remainders]
        agreement = pool_effects(
            np.stack([fit["coefficient"] for fit in alone], axis=1),
            np.stack([fit["standard_error"] for fit in alone], axis=1),
        )
        columns |= {
            "i_squared": agreement.i_squared,
            "same_direction": agreement.same_direction,
        }
        labels = {"assay": assay, "contrast": contrast, "unit": units[assay]}
        fits.append(
            _fitted(
                features.with_columns(pl.lit(value).alias(name) for name, value in labels.items()),
                columns,
                MATRIX_LINEAR_SCHEMA,
            )
        )
    return pl.concat(fits)


def matrix_site_effects(
    designs: Mapping[str, pl.DataFrame],
    moments: Mapping[str, pl.DataFrame],
    assays: Iterable[str],
) -> pl.DataFrame:
    """Long table of the coefficients that the sites give one by one, with a verdict on each.

    Parameters
    ----------
    designs, moments
        `matrix_design` and `matrix_moments` by site.
    assays
        Assays that are pooled, those of the study's matrices.

    Returns
    -------
    pl.DataFrame
        Columns of `ihdsi.meta.harmonise.SITE_EFFECT_SCHEMA`; `analysis` is the assay. Every feature
        that a site released for one of the assays enters `fit_pooled_matrix_model` and is used;
        where the site's own fit has no coefficient or no degree of freedom, the effect is null and
        `reason` says so.

    Raises
    ------
    InputError
        As `fit_pooled_matrix_model`.
    """
    pooled = sorted(assays)
    parts = [pl.DataFrame(schema=SITE_EFFECT_SCHEMA)]
    for assay, contrast, released in _matrix_parts(designs, moments, pooled):
        features = _labels(released, "feature", ["feature_name", "gene_id"])
        terms, remainders = _remainders(released, features["feature"])
        for part, one in zip(released, remainders, strict=True):
            fit = _solve([one], terms, features.height)
            alone = np.isfinite(fit["coefficient"]) & np.isfinite(fit["standard_error"])
            parts.append(
                in_site_effect_schema(
                    features.with_columns(
                        analysis=pl.lit(assay),
                        contrast=pl.lit(contrast),
                        gene_name="feature_name",
                        site=pl.lit(part.site),
                        effect=pl.Series(np.where(alone, fit["coefficient"], np.nan)).fill_nan(
                            None
                        ),
                        standard_error=pl.Series(
                            np.where(alone, fit["standard_error"], np.nan)
                        ).fill_nan(None),
                        n=pl.lit(one.n),
                        n_case=pl.lit(one.n_case),
                        n_control=pl.lit(one.n - one.n_case),
                        used=pl.lit(value=True),
                        reason=pl.when(~pl.Series(alone)).then(pl.lit(NOT_ALONE)),
                    ).filter(pl.Series(one.present))
                )
            )
    for site, frame in moments.items():
        parts.append(
            in_site_effect_schema(
                frame.filter(~pl.col("assay").is_in(pooled)).with_columns(
                    analysis="assay",
                    gene_name="feature_name",
                    site=pl.lit(site),
                    used=pl.lit(value=False),
                    reason=pl.lit(NOT_IN_THE_STUDY),
                )
            )
        )
    return in_site_effect_schema(pl.concat(parts))


def _matrix_parts(
    designs: Mapping[str, pl.DataFrame],
    moments: Mapping[str, pl.DataFrame],
    assays: Sequence[str],
) -> Iterator[tuple[str, str, list[_Part]]]:
    """Yield assay, contrast and the sites' patterns of missing values."""
    for assay in assays:
        for contrast in _contrasts(frame.filter(assay=assay) for frame in moments.values()):
            yield (
                assay,
                contrast,
                [
                    _Part(
                        site,
                        f"{assay}, contrast '{contrast}', pattern {pattern}",
                        ("matrix_design", "matrix_moments"),
                        designs[site].filter(assay=assay, contrast=contrast, pattern=pattern),
                        rows.select("feature", pl.exclude("feature")),
                    )
                    for site, frame in _of_contrast(moments, contrast).items()
                    for (pattern,), rows in frame.filter(assay=assay).group_by(
                        "pattern", maintain_order=True
                    )
                ],
            )


def _contrasts(moments: Iterable[pl.DataFrame]) -> list[str]:
    return sorted({name for frame in moments for name in frame["contrast"].unique().to_list()})


def _of_contrast(moments: Mapping[str, pl.DataFrame], contrast: str) -> dict[str, pl.DataFrame]:
    chosen = {site: frame.filter(contrast=contrast) for site, frame in moments.items()}
    return {site: frame for site, frame in chosen.items() if frame.height}


def _labels(parts: Sequence[_Part], key: str, labels: Sequence[str]) -> pl.DataFrame:
    """Every feature once, sorted, with the label that most sites give it."""
    return (
        pl.concat([part.moments.select(key, *labels) for part in parts])
        .group_by(key)
        .agg(pl.col(name).drop_nulls().mode().sort().first() for name in labels)
        .sort(key)
    )


def _fitted(
    labels: pl.DataFrame, columns: Mapping[str, FloatArray], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    moderated = _moderated(columns)
    adjusted = {
        "fdr": benjamini_hochberg(columns["p_value"]),
        "moderated_fdr": benjamini_hochberg(moderated["moderated_p_value"]),
    }
    results = {**columns, **moderated, **adjusted}
    return labels.with_columns(
        pl.Series(name, values, nan_to_null=True).cast(schema[name])
        for name, values in results.items()
        if name in schema
    ).select(*schema)


def _moderated(fit: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Moderated statistics of the features of one contrast, from the columns of `_solve`."""
    variance, degrees = fit["residual_variance"], fit["degrees_of_freedom"]
    if (variance > 0).sum() < MINIMUM_FEATURES_TO_MODERATE:
        return {
            "prior_degrees_of_freedom": np.where(np.isnan(variance), np.nan, 0.0),
            "posterior_variance": variance,
            "moderated_statistic": fit["statistic"],
            "moderated_p_value": fit["p_value"],
        }
    moderated = moderate_variances(variance, degrees, fit["mean"])
    posterior, prior = moderated.posterior_variance, moderated.prior_degrees_of_freedom
    statistic = fit["coefficient"] / (fit["unscaled_error"] * np.sqrt(posterior))
    p_value = 2.0 * np.asarray(stats.t.sf(np.abs(statistic), moderated.degrees_of_freedom))
    return {
        "prior_degrees_of_freedom": np.where(np.isnan(variance), np.nan, prior),
        "posterior_variance": posterior,
        "moderated_statistic": statistic,
        "moderated_p_value": p_value,
    }


def _remainders(parts: Sequence[_Part], features: pl.Series) -> tuple[list[str], list[_Remainders]]:
    """Terms that all sites share, and each part without its site's own."""
    terms = sorted({term for part in parts for term in part.terms if not _is_own(term)})
    return terms, [_remainder(part, terms, features) for part in parts]


def _is_own(term: str) -> bool:
    return term == INTERCEPT or term.startswith(SITE_TERM)


def _remainder(part: _Part, terms: list[str], features: pl.Series) -> _Remainders:
    its_terms, moments = part.terms, part.moments
    xtx = _cross_products(part, its_terms)
    constant = its_terms.index(INTERCEPT)
    n = xtx[constant, constant]
    faults = moments.filter(
        (pl.col("terms") != pl.lit(its_terms, dtype=pl.List(pl.String)))
        | (pl.col("xty").list.len() != len(its_terms))
        | (pl.col("n") != n)
    )
    if faults.height:
        raise InputError(
            Problem(
                f"site '{part.site}', {part.name}: the moments of {faults.height} features do "
                "not fit the design table (terms, or number of patients)",
                f"Ask the site to rebuild {part.tables[0]} and {part.tables[1]} in one run.",
                file=part.tables[1],
                column="terms",
            )
        )
    key = moments.columns[0]
    place = (
        features.to_frame(key)
        .with_row_index("row")
        .join(moments.select(key, "xty", "yty"), on=key, how="inner")
    )
    rows = place["row"].to_numpy()
    raw_xty = place["xty"].list.to_array(len(its_terms)).to_numpy().reshape(-1, len(its_terms))

    own = [index for index, term in enumerate(its_terms) if _is_own(term)]
    inverse = np.linalg.pinv(xtx[np.ix_(own, own)], rcond=RANK_TOLERANCE, hermitian=True)
    rank = int(np.linalg.matrix_rank(xtx[np.ix_(own, own)], tol=None, hermitian=True))
    fitted = inverse @ xtx[own]  # (own, terms): the other terms from the site's own
    left_xtx = xtx - xtx[:, own] @ fitted
    left_xty = raw_xty - raw_xty[:, own] @ fitted
    left_yty = place["yty"].to_numpy() - np.einsum(
        "fi,ij,fj->f", raw_xty[:, own], inverse, raw_xty[:, own]
    )
    nothing = np.diag(left_xtx) <= REMAINDER_TOLERANCE * np.diag(xtx)
    left_xtx[nothing] = 0.0
    left_xtx[:, nothing] = 0.0
    left_xty[:, nothing] = 0.0

    shared = [its_terms.index(term) if term in its_terms else -1 for term in terms]
    known = np.array([index >= 0 for index in shared], dtype=bool)
    order = np.array([index for index in shared if index >= 0], dtype=int)
    all_xtx = np.zeros((len(terms), len(terms)))
    all_xtx[np.ix_(known, known)] = left_xtx[np.ix_(order, order)]
    all_xty = np.zeros((features.len(), len(terms)))
    all_xty[np.ix_(rows, known)] = left_xty[:, order]
    all_yty, sums, squares = np.zeros((3, features.len()))
    all_yty[rows] = left_yty
    sums[rows] = raw_xty[:, constant]
    squares[rows] = place["yty"].to_numpy()
    present = np.zeros(features.len(), dtype=bool)
    present[rows] = True
    n_case = float(xtx[constant, its_terms.index(CASE)])
    return _Remainders(float(n), n_case, rank, all_xtx, all_xty, all_yty, sums, squares, present)


def _cross_products(part: _Part, terms: list[str]) -> FloatArray:
    cells = part.design
    index = {term: position for position, term in enumerate(terms)}
    complete = {INTERCEPT, CASE} <= set(terms) and set(cells["row_term"]) == set(terms)
    if not complete or set(cells["column_term"]) != set(terms):
        raise InputError(
            Problem(
                f"site '{part.site}', {part.name}: the design's terms are not those of the "
                f"moments ({', '.join(terms)})",
                f"Ask the site to rebuild {part.tables[0]} and {part.tables[1]} in one run.",
                file=part.tables[0],
                column="row_term",
            )
        )
    matrix = np.full((len(terms), len(terms)), np.nan)
    row = cells["row_term"].replace_strict(index, return_dtype=pl.Int64).to_numpy()
    column = cells["column_term"].replace_strict(index, return_dtype=pl.Int64).to_numpy()
    matrix[row, column] = cells["value"].to_numpy()
    # One triangle is enough: X'X is symmetric.
    return np.where(np.isnan(matrix), matrix.T, matrix)


def _solve(sites: Sequence[_Remainders], terms: list[str], n_genes: int) -> dict[str, FloatArray]:
    counts = ("n_sites", "n", "degrees_of_freedom")
    estimates = ("coefficient", "unscaled_error", "standard_error", "statistic", "p_value")
    names = (*counts, *estimates, "residual_variance", "mean")
    result = {name: np.full(n_genes, np.nan) for name in names}
    case = terms.index(CASE)
    present = np.stack([site.present for site in sites], axis=1)
    patterns, pattern_of = np.unique(present, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        genes = np.flatnonzero(pattern_of.ravel() == number)
        members = [site for site, here in zip(sites, pattern, strict=True) if here]
        if not members:
            continue
        xtx = np.sum([site.xtx for site in members], axis=0)
        xty = np.sum([site.xty[genes] for site in members], axis=0)
        yty = np.sum([site.yty[genes] for site in members], axis=0)
        n = sum(site.n for site in members)

        scale = np.sqrt(np.clip(np.diag(xtx), 0.0, None))
        scale = np.where(scale > 0, scale, 1.0)
        values, vectors = np.linalg.eigh(xtx / np.outer(scale, scale))
        kept = values > RANK_TOLERANCE
        basis = vectors[:, kept]
        inverse = (basis / values[kept]) @ basis.T / np.outer(scale, scale)
        # The case coefficient is estimable only if its axis lies in the row space of the design.
        estimable = np.isclose((basis[case] ** 2).sum(), 1.0, atol=1e-6)
        degrees = n - sum(site.own for site in members) - int(kept.sum())

        result["n_sites"][genes] = len(members)
        result["n"][genes] = n
        result["mean"][genes] = np.sum([site.sums[genes] for site in members], axis=0) / n
        if degrees < 1:
            continue
        coefficients = xty @ inverse
        residual = yty - (coefficients * xty).sum(axis=1)
        squares = np.sum([site.sums_of_squares[genes] for site in members], axis=0)
        residual = np.where(residual > ZERO_VARIANCE_TOLERANCE * squares, residual, 0.0)
        variance = residual / degrees
        # Known without the coefficient, and then of use to the prior all the same.
        result["degrees_of_freedom"][genes] = degrees
        result["residual_variance"][genes] = variance
        if not estimable:
            continue
        unscaled = np.sqrt(inverse[case, case])
        error = np.where(variance > 0, unscaled * np.sqrt(variance), np.nan)
        statistic = coefficients[:, case] / error
        result["coefficient"][genes] = coefficients[:, case]
        result["unscaled_error"][genes] = unscaled
        result["standard_error"][genes] = error
        result["statistic"][genes] = statistic
        result["p_value"][genes] = 2.0 * stats.t.sf(np.abs(statistic), degrees)
    return result
