"""Tables of the report as rows of text, from the sites' and the pooled tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ihdsi.study import SUBTYPE
from ihdsi.summaries.strata import ALL

__all__ = [
    "WITHHELD",
    "account_totals",
    "biomarker_rows",
    "cell_composition_rows",
    "cell_expression_rows",
    "characteristics",
    "composition_contrast_rows",
    "disclosure_rows",
    "format_p",
    "format_points",
    "matrix_rows",
    "membership_rows",
    "participants",
    "quality_counts",
    "unit_suffix",
]

#: What a cell says when the site released nothing for it.
WITHHELD = "not released"

#: What a reader must know of variables that are computed rather than recorded.
_NOTES: Mapping[str, str] = {
    SUBTYPE: " (marker-based; not the consensus classifier of bladder cancer)"
}

#: UCUM codes that a reader may not know, in words.
UNIT_WORDS = {"a": "years", "mo": "months", "d": "days", "1/Mb": "per Mb"}


def unit_suffix(unit: str | None, form: str = " ({})") -> str:
    """Write a UCUM unit behind a title; nothing for a pure number."""
    return "" if unit in (None, "", "1") else form.format(UNIT_WORDS.get(str(unit), unit))


def format_p(value: float | None) -> str:
    """Write a p-value or false discovery rate with two significant digits."""
    if value is None:
        return "–"
    if value < 1e-300:
        return "< 1e-300"
    return f"{value:.2g}" if value >= 0.001 else f"{value:.1e}"


def format_points(share: float | None, low: float | None, high: float | None) -> str:
    """Write a difference of shares with its interval in percentage points.

    Two decimals where the interval is narrower than two points, one elsewhere; no interval where
    there is none.
    """
    if share is None:
        return "–"
    known = low is not None and high is not None
    width = 100 * (high - low) if low is not None and high is not None else 100 * abs(share)
    digits = 2 if width < 2 else 1
    centre, *bounds = (
        f"{100 * value:+.{digits}f}".replace("-", "−")
        for value in (share, low, high)
        if value is not None
    )
    return f"{centre} [{', '.join(bounds)}]" if known else centre


def participants(
    profiles: Mapping[str, pl.DataFrame], releases: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """List the number of patients and the released bundle of each site.

    The number is the largest n of a variable that is known for patients of the whole cohort: a
    lower bound where every variable has missing values.
    """
    rows = []
    for site, profile in profiles.items():
        whole = profile.filter(pl.col("stratum") == "all")
        strata = (
            profile.filter(pl.col("stratum") != "all")
            .group_by("stratum_variable", "stratum")
            .agg(pl.col("n_total").max())
            .sort("stratum_variable", "stratum")
            .select("stratum", "n_total")
            .drop_nulls()
        )
        release = releases.get(site, {})
        manifest = release.get("manifest", {})
        rows.append(
            {
                "site": site,
                "n": None if whole.is_empty() else whole["n_total"].max(),
                "strata": ", ".join(f"{name} {n}" for name, n in strata.iter_rows()),
                "sequence": manifest.get("sequence", manifest.get("sequence_number", "–")),
                "study_hash": release.get("study_hash", "–"),
                "manifest_hash": release.get("manifest_sha256", "–"),
                "tables": sum(
                    1 for table in release.get("tables", {}).values() if table.get("rows", 0) > 0
                ),
            }
        )
    return rows


def _columns(profiles: Mapping[str, pl.DataFrame]) -> list[tuple[str, str, str]]:
    """(site, stratum variable, stratum) of each column, the whole cohort of a site first."""
    columns = []
    for site, profile in profiles.items():
        strata = (
            profile.select("stratum_variable", "stratum")
            .unique()
            .sort(pl.col("stratum") != "all", "stratum_variable", "stratum")
        )
        columns += [(site, variable, stratum) for variable, stratum in strata.iter_rows()]
    return columns


def characteristics(
    profiles: Mapping[str, pl.DataFrame], with_strata: bool = True
) -> dict[str, Any]:
    """Cohort characteristics side by side: n (%) of levels, mean ± SD of numbers.

    Parameters
    ----------
    profiles
        `cohort_profile` by site.
    with_strata
        Give each stratum a column beside the whole cohort.

    Returns
    -------
    dict
        `columns`: list of (site, stratum); `groups`: list of variables with their rows, each with
        one text per column. A cell that was not released says so.
    """
    columns = [column for column in _columns(profiles) if with_strata or column[2] == "all"]
    filled = {site: frame for site, frame in profiles.items() if frame.height}
    if not filled:
        return {"columns": [], "groups": []}
    stacked = pl.concat(
        [frame.with_columns(site=pl.lit(site)) for site, frame in filled.items()],
        how="vertical_relaxed",
    )
    cells: dict[tuple[str, str | None], dict[tuple[str, str, str], str]] = {}
    units: dict[str, str | None] = {}
    for row in stacked.filter(pl.col("kind").is_in(["count", "moments"])).iter_rows(named=True):
        place = (row["site"], row["stratum_variable"], row["stratum"])
        if row["kind"] == "count":
            text = (
                WITHHELD
                if row["n"] is None or not row["n_total"]
                else f"{row['n']} ({100 * row['n'] / row['n_total']:.0f} %)"
            )
            key = (row["variable"], row["level"])
        else:
            text = (
                WITHHELD
                if row["mean"] is None
                else f"{row['mean']:,.4g} ± {row['standard_deviation']:,.4g}"
                if row["standard_deviation"] is not None
                else f"{row['mean']:,.4g}"
            )
            key = (row["variable"], None)
            units[row["variable"]] = row["unit"]
        cells.setdefault(key, {})[place] = text
    groups: dict[str, list[dict[str, Any]]] = {}
    for (variable, level), texts in cells.items():
        label = (
            level if level is not None else f"mean ± SD{unit_suffix(units.get(variable), ', {}')}"
        )
        # A variable is not broken down by itself: that column is empty by design, not withheld.
        line = [texts.get(column, "–" if column[1] == variable else WITHHELD) for column in columns]
        groups.setdefault(variable, []).append({"label": label, "cells": line})
    return {
        "columns": [(site, stratum) for site, _, stratum in columns],
        "groups": [
            {"variable": name.replace("_", " ") + _NOTES.get(name, ""), "rows": rows}
            for name, rows in groups.items()
        ],
    }


def quality_counts(profiles: Mapping[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """Count samples passed, warned and failed by site, assay and metric.

    A study that sets no limit which warns has no n_warned; "–" says so, since null is withheld.
    """
    frames = [frame.with_columns(site=pl.lit(site)) for site, frame in profiles.items()]
    if not frames:
        return []
    return (
        pl.concat(frames, how="vertical_relaxed")
        .group_by("site", "assay", "metric", maintain_order=True)
        .agg(pl.col("n_total", "n_passed", "n_warned", "n_failed").first())
        .with_columns(
            n_warned=pl.when(pl.col("n_warned").is_null() & pl.col("n_passed").is_not_null())
            .then(pl.lit("–"))
            .otherwise(pl.col("n_warned").cast(pl.String))
        )
        .sort("assay", "metric", "site")
        .to_dicts()
    )


def biomarker_rows(biomarkers: pl.DataFrame, shown: int) -> list[dict[str, Any]]:
    """Choose the genes of the biomarker table: all that reach a tier, at least `shown` in all."""
    tiered = biomarkers.filter(pl.col("tier").is_not_null()).height
    return biomarkers.head(max(shown, tiered)).to_dicts()


def cell_composition_rows(composition: pl.DataFrame, with_sites: bool = True) -> dict[str, Any]:
    """Mean share of each cell type among all donors, over all sites and at each.

    Parameters
    ----------
    composition
        `ihdsi.meta.cell_composition.pool_cell_composition`.
    with_sites
        Give each site a column beside all sites together.

    Returns
    -------
    dict
        `sites`: names of the columns; `rows`: cell type, n (donors), low and high (of the 95 %
        interval), mean and means (one a site, null where not released), the largest mean first.
    """
    whole = composition.filter(pl.col("stratum_variable") == ALL)
    together = whole.filter(pl.col("site").is_null()).sort(
        "mean", "cell_type", descending=[True, False]
    )
    own = {
        (row["site"], row["cell_type"]): row["mean"]
        for row in whole.drop_nulls("site").iter_rows(named=True)
    }
    sites = sorted({site for site, _ in own}) if with_sites else []
    rows = [
        {
            "cell_type": row["cell_type"].replace("_", " "),
            "n": row["n_donors"],
            "mean": row["mean"],
            "low": row["confidence_low"],
            "high": row["confidence_high"],
            "means": [own.get((site, row["cell_type"])) for site in sites],
        }
        for row in together.iter_rows(named=True)
    ]
    return {"sites": sites, "rows": rows}


def composition_contrast_rows(contrasts: pl.DataFrame) -> list[dict[str, Any]]:
    """Differences in the share of cell types, strongest first within each contrast.

    `points` is the difference with its interval, in words.
    """
    rows = (
        contrasts.sort("contrast", "p_value", "cell_type", nulls_last=True)
        .with_columns(pl.col("cell_type").str.replace_all("_", " "))
        .to_dicts()
    )
    bounds = ("difference", "confidence_low", "confidence_high")
    return [row | {"points": format_points(*(row[name] for name in bounds))} for row in rows]


def cell_expression_rows(pooled: pl.DataFrame, shown: int) -> list[dict[str, Any]]:
    """Leading genes within cell types: `shown` of each contrast, whatever their cell type."""
    return (
        pooled.sort("contrast", "p_value", "cell_type", "gene_id", nulls_last=True)
        .group_by("contrast", maintain_order=True)
        .head(shown)
        .with_columns(pl.col("cell_type").str.replace_all("_", " "))
        .to_dicts()
    )


def matrix_rows(pooled: pl.DataFrame, shown: int) -> list[dict[str, Any]]:
    """Leading features of `ihdsi.meta.linear.fit_pooled_matrix_model`, by assay and contrast."""
    return (
        pooled.sort("assay", "contrast", "p_value", "feature", nulls_last=True)
        .group_by("assay", "contrast", maintain_order=True)
        .head(shown)
        .to_dicts()
    )


def account_totals(account: pl.DataFrame) -> list[dict[str, Any]]:
    """Estimates used and not used, by analysis, site and reason."""
    return (
        account.with_columns(reason=pl.col("reason").fill_null("used"))
        .group_by("analysis", "site", "reason")
        .agg(pl.len().alias("features"))
        .sort("analysis", "site", pl.col("reason") != "used", "reason")
        .to_dicts()
    )


def disclosure_rows(disclosures: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Flatten each site's disclosure summary to one line a statement.

    What it says of membership inference has a table of its own (`membership_rows`).
    """
    rows = []
    for site, document in disclosures.items():
        for path, value in _leaves({k: v for k, v in document.items() if k != "membership"}):
            rows.append({"site": site, "statement": path.replace("_", " "), "value": value})
    return rows


def membership_rows(disclosures: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List what the sites with germline frequencies state of a membership attack on them.

    Parameters
    ----------
    disclosures
        Disclosure statements by site.

    Returns
    -------
    list
        Rows of site and the fields of `ihdsi.bundle.manifest.MembershipStatement`.
    """
    return [
        {"site": site, **document["membership"]}
        for site, document in disclosures.items()
        if document.get("membership")
    ]


def _leaves(value: Any, path: str = "") -> list[tuple[str, str]]:  # noqa: ANN401 - JSON
    if isinstance(value, Mapping):
        return [
            leaf
            for key, inner in value.items()
            for leaf in _leaves(inner, f"{path} › {key}" if path else str(key))
        ]
    if isinstance(value, list):
        if all(not isinstance(item, (dict, list)) for item in value):
            return [(path, ", ".join(str(item) for item in value) or "none")]
        return [leaf for item in value for leaf in _leaves(_labelled(item), path)]
    return [(path, "–" if value is None else str(value))]


def _labelled(item: Any) -> Any:  # noqa: ANN401 - JSON
    """Turn {"table": t, "rule": r, "n": 3} into {"t › r": {"n": 3}}, which reads as a line."""
    if not isinstance(item, Mapping):
        return item
    words = [str(value) for value in item.values() if isinstance(value, str)]
    rest = {key: value for key, value in item.items() if not isinstance(value, str)}
    return {" › ".join(words) or "item": rest or "yes"}
