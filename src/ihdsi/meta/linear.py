"""The linear model of all sites' patients, fitted exactly from the sites' moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from ihdsi.errors import InputError, Problem
from ihdsi.meta.estimators import benjamini_hochberg

__all__ = ["LINEAR_SCHEMA", "fit_pooled_linear_model"]

FloatArray = NDArray[np.float64]

INTERCEPT = "intercept"
CASE = "case"

#: Eigenvalues of the correlation-scaled cross-products below this are collinearity.
RANK_TOLERANCE = 1e-10

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
}


@dataclass(frozen=True)
class _CentredMoments:
    """One site's cross-products about its own means; arrays follow the contrast's gene order."""

    n: float
    xtx: FloatArray  # (terms, terms)
    xty: FloatArray  # (genes, terms)
    yty: FloatArray  # (genes,)
    present: NDArray[np.bool_]  # (genes,)


def fit_pooled_linear_model(
    designs: Mapping[str, pl.DataFrame], moments: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Fit y = site intercept + case + covariates over all sites, from sufficient statistics.

    Each site's X'X, X'y and y'y are centred on the site's means, which removes its intercept
    (Frisch–Waugh–Lovell), and the centred moments are added up. The coefficient, its standard
    error and the residual variance equal those of ordinary least squares on the pooled patients.
    Genes that the same subset of sites released share one factorisation. A term that a site lacks
    (a level nobody has there) is a column of zeros at that site.

    Parameters
    ----------
    designs
        `expression_design` by site: X'X in long form, per contrast.
    moments
        `expression_moments` by site: per contrast and gene n, terms, X'y and y'y of log2-CPM.

    Returns
    -------
    pl.DataFrame
        Columns of `LINEAR_SCHEMA`: the coefficient of the indicator "case" in log2-CPM, its t
        statistic on `degrees_of_freedom`, two-sided p-value and false discovery rate within the
        contrast. Null where the coefficient cannot be estimated.

    Raises
    ------
    InputError
        If a site's moments do not match its design (terms, or number of patients).
    """
    contrasts = sorted(
        {name for frame in moments.values() for name in frame["contrast"].unique().to_list()}
    )
    fits = [_fit_contrast(contrast, designs, moments) for contrast in contrasts]
    if not fits:
        return pl.DataFrame(schema=LINEAR_SCHEMA)
    return pl.concat(fits)


def _fit_contrast(
    contrast: str, designs: Mapping[str, pl.DataFrame], moments: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    selected = {
        site: frame.filter(pl.col("contrast") == contrast) for site, frame in moments.items()
    }
    selected = {site: frame for site, frame in selected.items() if frame.height}
    genes = (
        pl.concat([frame.select("gene_id", "gene_name") for frame in selected.values()])
        .group_by("gene_id")
        .agg(pl.col("gene_name").drop_nulls().mode().sort().first())
        .sort("gene_id")
    )
    site_terms = {site: frame["terms"][0].to_list() for site, frame in selected.items()}
    terms = sorted({t for names in site_terms.values() for t in names if t != INTERCEPT})
    centred = [
        _centre(site, contrast, site_terms[site], terms, designs[site], frame, genes["gene_id"])
        for site, frame in selected.items()
    ]
    columns = _solve(centred, terms, genes.height)
    fdr = benjamini_hochberg(columns["p_value"])
    return genes.select(
        pl.lit(contrast).alias("contrast"),
        "gene_id",
        "gene_name",
        *(
            pl.Series(name, columns[name]).fill_nan(None).cast(dtype)
            for name, dtype in LINEAR_SCHEMA.items()
            if name in columns
        ),
        pl.Series("fdr", fdr).fill_nan(None),
    ).select(*LINEAR_SCHEMA)


def _centre(
    site: str,
    contrast: str,
    site_terms: list[str],
    terms: list[str],
    design: pl.DataFrame,
    moments: pl.DataFrame,
    gene_ids: pl.Series,
) -> _CentredMoments:
    xtx = _cross_products(site, contrast, site_terms, design)
    constant = site_terms.index(INTERCEPT)
    n = xtx[constant, constant]
    faults = moments.filter(
        (pl.col("terms") != pl.lit(site_terms, dtype=pl.List(pl.String)))
        | (pl.col("xty").list.len() != len(site_terms))
        | (pl.col("n") != n)
    )
    if faults.height:
        raise InputError(
            Problem(
                f"site '{site}', contrast '{contrast}': the moments of {faults.height} genes do "
                "not fit the design table (terms, or number of patients)",
                "Ask the site to rebuild expression_design and expression_moments in one run.",
                file="expression_moments",
                column="terms",
            )
        )
    place = (
        gene_ids.to_frame("gene_id")
        .with_row_index("row")
        .join(moments.select("gene_id", "xty", "yty"), on="gene_id", how="inner")
    )
    rows = place["row"].to_numpy()
    raw_xty = place["xty"].list.to_array(len(site_terms)).to_numpy().reshape(-1, len(site_terms))
    y_sum = raw_xty[:, constant]
    means = xtx[constant] / n

    shared = [site_terms.index(term) if term in site_terms else -1 for term in terms]
    known = np.array([index >= 0 for index in shared], dtype=bool)
    order = np.array([index for index in shared if index >= 0], dtype=int)
    centred_xtx = np.zeros((len(terms), len(terms)))
    centred_xtx[np.ix_(known, known)] = (xtx - n * np.outer(means, means))[np.ix_(order, order)]
    centred_xty = np.zeros((gene_ids.len(), len(terms)))
    centred_xty[np.ix_(rows, known)] = (raw_xty - np.outer(y_sum, means))[:, order]
    centred_yty = np.zeros(gene_ids.len())
    centred_yty[rows] = place["yty"].to_numpy() - y_sum**2 / n
    present = np.zeros(gene_ids.len(), dtype=bool)
    present[rows] = True
    return _CentredMoments(float(n), centred_xtx, centred_xty, centred_yty, present)


def _cross_products(site: str, contrast: str, terms: list[str], design: pl.DataFrame) -> FloatArray:
    cells = design.filter(pl.col("contrast") == contrast)
    index = {term: position for position, term in enumerate(terms)}
    complete = {INTERCEPT, CASE} <= set(terms) and set(cells["row_term"]) == set(terms)
    if not complete or set(cells["column_term"]) != set(terms):
        raise InputError(
            Problem(
                f"site '{site}', contrast '{contrast}': the design's terms are not those of the "
                f"moments ({', '.join(terms)})",
                "Ask the site to rebuild expression_design and expression_moments in one run.",
                file="expression_design",
                column="row_term",
            )
        )
    matrix = np.full((len(terms), len(terms)), np.nan)
    row = cells["row_term"].replace_strict(index, return_dtype=pl.Int64).to_numpy()
    column = cells["column_term"].replace_strict(index, return_dtype=pl.Int64).to_numpy()
    matrix[row, column] = cells["value"].to_numpy()
    # One triangle is enough: X'X is symmetric.
    return np.where(np.isnan(matrix), matrix.T, matrix)


def _solve(sites: list[_CentredMoments], terms: list[str], n_genes: int) -> dict[str, FloatArray]:
    names = ("n_sites", "n", "degrees_of_freedom", "coefficient", "standard_error", "statistic")
    result = {name: np.full(n_genes, np.nan) for name in (*names, "p_value", "residual_variance")}
    case = terms.index(CASE)
    present = np.stack([site.present for site in sites], axis=1)
    patterns, pattern_of = np.unique(present, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        genes = np.flatnonzero(pattern_of.ravel() == number)
        members = [site for site, here in zip(sites, pattern, strict=True) if here]
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
        degrees = n - len(members) - int(kept.sum())

        result["n_sites"][genes] = len(members)
        result["n"][genes] = n
        if not estimable or degrees < 1:
            continue
        coefficients = xty @ inverse
        residual = yty - (coefficients * xty).sum(axis=1)
        residual = np.where(residual > 0, residual, np.nan)
        variance = residual / degrees
        error = np.sqrt(variance * inverse[case, case])
        statistic = coefficients[:, case] / error
        result["degrees_of_freedom"][genes] = degrees
        result["coefficient"][genes] = coefficients[:, case]
        result["standard_error"][genes] = error
        result["statistic"][genes] = statistic
        result["p_value"][genes] = 2.0 * stats.t.sf(np.abs(statistic), degrees)
        result["residual_variance"][genes] = variance
    return result
