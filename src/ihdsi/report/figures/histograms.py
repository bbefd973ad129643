"""Released histograms side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import altair as alt
import numpy as np
import polars as pl

from ihdsi.report.figures.style import COLOURED_SITES, Drawing, data_of, site_colour, styled

__all__ = ["binned_histograms"]


def _bin_name(lower: float, upper: float) -> str:
    return "–".join("∞" if np.isinf(edge) else f"{edge:,.9g}" for edge in (lower, upper))


def _every_bin(cells: pl.DataFrame, sites: Sequence[str]) -> pl.DataFrame:
    """One row per bin and site; bins that a site withheld have a null share.

    The bins between the smallest and the largest edge are complete even where no site released one,
    because an axis that skips a withheld bin would show a false shape.
    """
    edges = sorted({*cells["bin_lower"].to_list(), *cells["bin_upper"].to_list()})
    bins = pl.DataFrame(
        [
            {"bin_lower": low, "bin": _bin_name(low, high), "position": position}
            for position, (low, high) in enumerate(pairwise(edges))
        ]
    )
    return (
        bins.join(pl.DataFrame({"site": list(sites)}), how="cross")
        .join(
            cells.select("bin_lower", "site", "n", "n_total"), on=["bin_lower", "site"], how="left"
        )
        .with_columns(share=pl.when(pl.col("n_total") > 0).then(pl.col("n") / pl.col("n_total")))
        .sort("position", "site")
    )


def binned_histograms(
    profiles: Mapping[str, pl.DataFrame],
    panel: str,
    titles: Mapping[str, str],
    counted: str,
    description: str,
    columns: int = 2,
) -> Drawing | None:
    """Histograms on the study's bins, one panel a variable, the sites side by side.

    Parameters
    ----------
    profiles
        By site: the panel's column, bin_lower, bin_upper, n, n_total.
    panel
        Column whose values make the panels.
    titles
        Title of each panel's horizontal axis, with unit; a value that is not named keeps its own.
    counted
        What n counts ("patients", "samples").
    description
        Alternative text.
    columns
        Panels side by side.

    Returns
    -------
    alt.ConcatChart or None
        None without a bin. A cross marks a bin that a site withheld. With more sites than colours
        the sites are added up.
    """
    frames = [frame.with_columns(site=pl.lit(site)) for site, frame in profiles.items()]
    rows = pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame()
    if rows.is_empty():
        return None
    sites = sorted(rows["site"].unique().to_list())
    if len(sites) > COLOURED_SITES:
        totals = rows.group_by("site", panel).agg(pl.col("n_total").max())
        totals = totals.group_by(panel).agg(pl.col("n_total").sum())
        rows = (
            rows.group_by(panel, "bin_lower", "bin_upper", maintain_order=True)
            .agg(pl.col("n").sum())
            .join(totals, on=panel, maintain_order="left")
            .with_columns(site=pl.lit(f"all {len(sites)} sites"))
        )
        sites = [f"all {len(sites)} sites"]
    rows = rows.filter(pl.col("bin_lower").is_not_null() & pl.col("bin_upper").is_not_null())
    panels = [
        _histogram_panel(
            rows.filter(pl.col(panel) == value), value, titles.get(value, value), counted, sites
        )
        for value in rows[panel].unique(maintain_order=True).to_list()
    ]
    if not panels:
        return None
    return styled(
        alt.concat(*panels, columns=columns, spacing=28).resolve_scale(x="independent"), description
    )


def _histogram_panel(
    cells: pl.DataFrame, name: str, title: str, counted: str, sites: list[str]
) -> Drawing:
    present = [site for site in sites if site in set(cells["site"])]
    filled = _every_bin(cells, present)
    order = filled["bin"].unique(maintain_order=True).to_list()
    numbers = cells.group_by("site").agg(pl.col("n_total").max()).sort("site")
    subtitle = ", ".join(f"{site}: n = {n}" for site, n in numbers.iter_rows())
    x_axis = alt.X(
        "bin:O",
        title=title,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(labelAngle=-35, labelOverlap=False),
    )
    offset = alt.XOffset("site:N", scale=alt.Scale(domain=present))
    highest = float(filled["share"].max() or 0.0)  # type: ignore[arg-type]
    y_scale = alt.Scale(domain=[0, min(1.0, 1.08 * highest) or 1.0], nice=False)
    bars = (
        alt.Chart(data_of(filled.filter(pl.col("share").is_not_null()).drop("bin_lower")))
        .mark_bar()
        .encode(
            x=x_axis,
            xOffset=offset,
            y=alt.Y(
                "share:Q",
                title=f"share of {counted}",
                axis=alt.Axis(format=".0%", tickCount=5),
                scale=y_scale,
            ),
            color=site_colour(sites),
            tooltip=[
                alt.Tooltip("site:N"),
                alt.Tooltip("bin:O", title="bin"),
                alt.Tooltip("n:Q"),
                alt.Tooltip("n_total:Q", title="of"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    withheld = (
        alt.Chart(data_of(filled.filter(pl.col("share").is_null()).select("bin", "site")))
        .mark_text(text="×", dy=-7, fontSize=13)
        .encode(
            x=x_axis,
            xOffset=offset,
            y=alt.datum(0, type="quantitative"),
            color=site_colour(sites),
            tooltip=[alt.Tooltip("site:N"), alt.Tooltip("bin:O", title="withheld bin")],
        )
    )
    return alt.layer(bars, withheld).properties(
        width=370,
        height=180,
        title=alt.TitleParams(name.replace("_", " "), subtitle=subtitle, subtitleFontSize=12),
    )
