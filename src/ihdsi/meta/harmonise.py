"""Put the sites' tables on one key and say what was used, what was not, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from ihdsi.meta.estimators import log_odds_ratio

__all__ = [
    "ACCOUNT_SCHEMA",
    "NOT_RELEASED",
    "SITE_EFFECT_SCHEMA",
    "account_for_sites",
    "alteration_site_effects",
    "cell_expression_site_effects",
    "composition_site_effects",
    "expression_site_effects",
    "harmonisation_account",
    "in_site_effect_schema",
    "pair_strata",
    "stack_tables",
    "survival_site_effects",
]

ENSEMBL_GENE = r"^ENS[A-Z]*G\d{11}$"

#: Long table of one estimate per analysis, contrast, feature, gene and site. `contrast` is the
#: endpoint's name in the analysis "survival"; `feature` is the alteration class, the feature type,
#: the cell type or the feature of a matrix. Composition and some matrix features have no gene.
SITE_EFFECT_SCHEMA: dict[str, pl.DataType] = {
    "analysis": pl.String(),
    "contrast": pl.String(),
    "feature": pl.String(),
    "gene_id": pl.String(),
    "gene_name": pl.String(),
    "site": pl.String(),
    "effect": pl.Float64(),
    "standard_error": pl.Float64(),
    "n": pl.Int64(),
    "n_case": pl.Int64(),
    "n_control": pl.Int64(),
    "n_events": pl.Int64(),
    "used": pl.Boolean(),
    "reason": pl.String(),
}

ACCOUNT_KEYS = ("analysis", "contrast", "feature", "gene_id", "site")
ACCOUNT_SCHEMA: dict[str, pl.DataType] = {
    name: SITE_EFFECT_SCHEMA[name] for name in (*ACCOUNT_KEYS, "used", "reason")
}

NOT_AN_ENSEMBL_GENE = "gene identifier is not an Ensembl gene id without version"
REPEATED = "listed more than once by the site"
NULL_ESTIMATE = "effect or standard error is null (not estimable at the site)"
NULL_CONTRAST = "one of the two groups was not released, or the table says nothing on the odds"
NULL_GROUP = "one of the two groups was not released"
NOT_FINITE = "effect is not finite"
BAD_STANDARD_ERROR = "standard error is not positive and finite"
NOT_RELEASED = "not released by the site"


def stack_tables(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Stack one table of all sites, with the column `site` first.

    Genes keep one name across sites: the one that most sites use, the alphabetically first among
    equals, because symbols age differently in different annotations while identifiers do not.

    Parameters
    ----------
    tables
        The same summary table by site; tables without rows are allowed.

    Raises
    ------
    ValueError
        If no site is given.
    """
    if not tables:
        raise ValueError("no site was given")
    stacked = pl.concat(
        [frame.select(pl.lit(site).alias("site"), pl.all()) for site, frame in tables.items()],
        how="vertical_relaxed",
    )
    if not {"gene_id", "gene_name"} <= set(stacked.columns):
        return stacked
    names = stacked.group_by("gene_id").agg(
        pl.col("gene_name").drop_nulls().mode().sort().first().alias("harmonised_name")
    )
    return (
        stacked.join(names, on="gene_id", how="left", maintain_order="left")
        .with_columns(gene_name=pl.col("harmonised_name"))
        .drop("harmonised_name")
    )


def _with_verdicts(frame: pl.DataFrame, null_reason: str = NULL_ESTIMATE) -> pl.DataFrame:
    """Give each estimate a reason when it cannot be pooled; the first fault found counts."""
    effect, error = pl.col("effect"), pl.col("standard_error")
    missing = effect.is_null() | error.is_null() | effect.is_nan() | error.is_nan()
    reason = (
        pl.when(~pl.col("gene_id").str.contains(ENSEMBL_GENE))
        .then(pl.lit(NOT_AN_ENSEMBL_GENE))
        .when(pl.len().over(*ACCOUNT_KEYS) > 1)
        .then(pl.lit(REPEATED))
        .when(missing)
        .then(pl.lit(null_reason))
        .when(effect.is_infinite())
        .then(pl.lit(NOT_FINITE))
        .when(error.is_infinite() | (error <= 0))
        .then(pl.lit(BAD_STANDARD_ERROR))
    )
    return frame.with_columns(reason=reason).with_columns(used=pl.col("reason").is_null())


def in_site_effect_schema(judged: pl.DataFrame) -> pl.DataFrame:
    """Select and sort the columns of `SITE_EFFECT_SCHEMA`; those that are absent become null."""
    return judged.select(
        (pl.col(name) if name in judged.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in SITE_EFFECT_SCHEMA.items()
    ).sort(*ACCOUNT_KEYS)


def _site_effects(frame: pl.DataFrame, null_reason: str = NULL_ESTIMATE) -> pl.DataFrame:
    return in_site_effect_schema(_with_verdicts(frame, null_reason))


def pair_strata(
    stacked: pl.DataFrame,
    contrasts: Mapping[str, Sequence[str]],
    keys: Sequence[str],
    values: Sequence[str],
) -> pl.DataFrame:
    """Put the case and the control stratum of each contrast side by side.

    Parameters
    ----------
    stacked
        One table of all sites with stratum_variable and stratum (`stack_tables`).
    contrasts
        Contrast name to (stratum variable, case level, control level).
    keys
        Columns that name a row of a stratum, the site among them.
    values
        Columns that each stratum has.

    Returns
    -------
    pl.DataFrame
        contrast, the keys, and of each value `<value>_case` and `<value>_control`; null where the
        site released one of the two strata only.
    """

    def group(variable: str, level: str, suffix: str) -> pl.DataFrame:
        return stacked.filter(
            (pl.col("stratum_variable") == variable) & (pl.col("stratum") == level)
        ).select(*keys, *(pl.col(value).alias(f"{value}_{suffix}") for value in values))

    columns = [f"{value}_{suffix}" for suffix in ("case", "control") for value in values]
    pairs = [
        group(variable, case, "case")
        .join(
            group(variable, control, "control"),
            on=list(keys),
            how="full",
            coalesce=True,
            nulls_equal=True,
        )
        .select(pl.lit(name).alias("contrast"), *keys, *columns)
        for name, (variable, case, control) in contrasts.items()
    ]
    nothing = stacked.clear().select(
        pl.lit("").alias("contrast"),
        *keys,
        *(pl.col(name.rpartition("_")[0]).alias(name) for name in columns),
    )
    return pl.concat([nothing, *pairs])


def expression_site_effects(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Long table of the sites' log2 fold changes, with a verdict on each.

    Parameters
    ----------
    tables
        `expression_effects` by site.

    Returns
    -------
    pl.DataFrame
        Columns of `SITE_EFFECT_SCHEMA`; effects are log2 fold changes (case over control).
    """
    return _fold_changes(tables, "expression", pl.lit("expression"))


def cell_expression_site_effects(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Long table of the sites' log2 fold changes within cell types, with a verdict on each.

    Parameters
    ----------
    tables
        `cell_expression_effects` by site.

    Returns
    -------
    pl.DataFrame
        Columns of `SITE_EFFECT_SCHEMA`; `feature` is the cell type, effects are log2 fold changes
        (case over control) of donors' pseudobulk, numbers are donors.
    """
    return _fold_changes(tables, "cell_expression", pl.col("cell_type"))


def _fold_changes(
    tables: Mapping[str, pl.DataFrame], analysis: str, feature: pl.Expr
) -> pl.DataFrame:
    return _site_effects(
        stack_tables(tables).with_columns(
            analysis=pl.lit(analysis),
            feature=feature,
            effect=pl.col("log2_fold_change"),
            n=pl.col("n_case") + pl.col("n_control"),
        )
    )


def survival_site_effects(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Long table of the sites' log hazard ratios, with a verdict on each.

    Parameters
    ----------
    tables
        `survival_effects` by site.

    Returns
    -------
    pl.DataFrame
        Columns of `SITE_EFFECT_SCHEMA`; effects are log hazard ratios per unit of the feature.
    """
    stacked = stack_tables(tables)
    return _site_effects(
        stacked.with_columns(
            analysis=pl.lit("survival"),
            contrast=pl.col("endpoint"),
            feature=pl.col("feature_type"),
            effect=pl.col("log_hazard_ratio"),
        )
    )


def alteration_site_effects(
    tables: Mapping[str, pl.DataFrame], contrasts: Mapping[str, tuple[str, str, str]]
) -> pl.DataFrame:
    """Long table of the sites' log odds ratios of being altered, with a verdict on each.

    Parameters
    ----------
    tables
        `gene_alterations` by site.
    contrasts
        Contrast name to (stratum variable, case level, control level).

    Returns
    -------
    pl.DataFrame
        Columns of `SITE_EFFECT_SCHEMA`; `feature` is the alteration class, effects are log odds
        ratios (case over control). Contrasts that no site released strata for give no rows.
    """
    tables_2x2 = pair_strata(
        stack_tables(tables),
        contrasts,
        ("site", "gene_id", "gene_name", "alteration_class"),
        ("n_assessed", "n_altered"),
    )
    counts = [
        tables_2x2[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for name in (
            "n_altered_case",
            "n_assessed_case",
            "n_altered_control",
            "n_assessed_control",
        )
    ]
    effect, error = log_odds_ratio(*counts)
    return _site_effects(
        tables_2x2.with_columns(
            analysis=pl.lit("alterations"),
            feature=pl.col("alteration_class"),
            effect=pl.Series(effect, dtype=pl.Float64).fill_nan(None),
            standard_error=pl.Series(error, dtype=pl.Float64).fill_nan(None),
            n_case=pl.col("n_assessed_case"),
            n_control=pl.col("n_assessed_control"),
            n=pl.col("n_assessed_case") + pl.col("n_assessed_control"),
        ),
        NULL_CONTRAST,
    )


def composition_site_effects(
    tables: Mapping[str, pl.DataFrame], contrasts: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    """Long table of the sites' differences in the mean share of a cell type, each with a verdict.

    Parameters
    ----------
    tables
        `cell_composition` by site.
    contrasts
        Contrast name to (stratum variable, case level, control level).

    Returns
    -------
    pl.DataFrame
        Columns of `SITE_EFFECT_SCHEMA`; `feature` is the cell type, effects are mean share of the
        case donors less that of the control donors, with the standard error of Student's test (one
        variance for both groups; null where no donor differs from another). Rows are used where
        the site released both groups.
    """
    pairs = pair_strata(
        stack_tables(tables), contrasts, ("site", "cell_type"), ("n_donors", "mean", "variance")
    )
    n_case, n_control = pl.col("n_donors_case"), pl.col("n_donors_control")
    within = (n_case - 1) * pl.col("variance_case") + (n_control - 1) * pl.col("variance_control")
    error = (within / (n_case + n_control - 2) * (1 / n_case + 1 / n_control)).sqrt()
    whole = pl.all_horizontal(
        pl.col(f"{value}_{suffix}").is_not_null()
        for value in ("n_donors", "mean", "variance")
        for suffix in ("case", "control")
    )
    return in_site_effect_schema(
        pairs.with_columns(
            analysis=pl.lit("cell_composition"),
            feature=pl.col("cell_type"),
            effect=pl.when(whole).then(pl.col("mean_case") - pl.col("mean_control")),
            standard_error=pl.when(whole & (error > 0)).then(error),
            n_case=n_case,
            n_control=n_control,
            n=n_case + n_control,
            used=whole,
            reason=pl.when(~whole).then(pl.lit(NULL_GROUP)),
        )
    )


def harmonisation_account(site_effects: pl.DataFrame, sites: Sequence[str]) -> pl.DataFrame:
    """Say of each feature and each site whether its estimate was used, and why not.

    Parameters
    ----------
    site_effects
        Rows of one or several analyses (`SITE_EFFECT_SCHEMA`).
    sites
        All sites of the study. A site without a row for a feature that another site has is
        accounted for as not released.

    Returns
    -------
    pl.DataFrame
        Columns analysis, contrast, feature, gene_id, site, used, reason: one row per feature and
        site. A feature that a site lists several times has one row. `reason` is null where an
        estimate was used as it is.
    """
    features = site_effects.select("analysis", "contrast", "feature", "gene_id").unique()
    everywhere = features.join(
        pl.DataFrame({"site": list(sites)}, schema={"site": pl.String}), how="cross"
    )
    verdicts = site_effects.select(*ACCOUNT_KEYS, "used", "reason").unique(
        subset=list(ACCOUNT_KEYS), keep="first", maintain_order=True
    )
    return (
        everywhere.join(verdicts, on=list(ACCOUNT_KEYS), how="left", nulls_equal=True)
        .with_columns(
            used=pl.col("used").fill_null(value=False),
            reason=pl.when(pl.col("used").is_null())
            .then(pl.lit(NOT_RELEASED))
            .otherwise(pl.col("reason")),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in ACCOUNT_SCHEMA.items())
        .sort(*ACCOUNT_KEYS)
    )


def account_for_sites(
    effects: Iterable[pl.DataFrame], sites: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Gather the estimates that were pooled, and the account of all analyses.

    Parameters
    ----------
    effects
        Site effects of each analysis (`SITE_EFFECT_SCHEMA`), one table at least.
    sites
        All sites of the study.

    Returns
    -------
    tuple of pl.DataFrame
        Site effects in use (`SITE_EFFECT_SCHEMA`) and the account (`ACCOUNT_SCHEMA`).
    """
    stacked = pl.concat(effects)
    pooled = stacked.filter(pl.col("used") & pl.col("effect").is_not_null())
    return pooled, harmonisation_account(stacked, sites)
