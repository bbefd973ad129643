"""Mutation burden and signature shares by site and stratum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from ihdsi.report.figures.style import (
    COLOURED_SITES,
    INK,
    SITE_COLOURS,
    SITE_SHAPES,
    Drawing,
    data_of,
    styled,
)
from ihdsi.summaries.strata import ALL

__all__ = ["burden_means"]

#: What the patients of all sites together are called.
TOGETHER = "all sites"


def burden_means(
    burden: pl.DataFrame, titles: Mapping[str, str], description: str
) -> Drawing | None:
    """Means with 95 % intervals, one panel a measure, strata below each other, sites side by side.

    Parameters
    ----------
    burden
        `ihdsi.meta.pool.pool_mutation_burden`.
    titles
        Title of each measure's axis, with its unit; the panels come in this order, and measures
        that are not named keep out.
    description
        Alternative text.

    Returns
    -------
    alt.ConcatChart or None
        None without a row. With more sites than colours only the mean over all sites is drawn.
    """
    named = burden.filter(pl.col("measure").is_in(list(titles)))
    if named.is_empty():
        return None
    sites = named["site"].drop_nulls().unique().sort().to_list()
    is_pooled = pl.col("site").is_null()
    if len(sites) > COLOURED_SITES:
        named = named.filter(is_pooled)
    else:
        # What one site alone released is no result of all.
        named = named.filter(~is_pooled | (pl.col("n_sites") > 1))
    rows = named.with_columns(
        site=pl.col("site").fill_null(TOGETHER),
        stratum=pl.when(pl.col("stratum_variable") == ALL)
        .then(pl.lit("all patients"))
        .otherwise("stratum"),
    )
    shown = [site for site in (*sites, TOGETHER) if site in set(rows["site"])]
    strata = (
        rows.select("stratum_variable", "stratum")
        .unique()
        .sort(pl.col("stratum_variable") != ALL, "stratum_variable", "stratum")["stratum"]
        .to_list()
    )
    panels = [
        _panel(rows.filter(measure=measure), title, strata, shown)
        for measure, title in titles.items()
        if measure in set(rows["measure"])
    ]
    return styled(alt.concat(*panels, columns=2, spacing=28), description)


def _panel(rows: pl.DataFrame, title: str, strata: Sequence[str], shown: Sequence[str]) -> Drawing:
    is_share = rows["unit"][0] == "1"
    axis = alt.Axis(tickCount=5, format=".0%") if is_share else alt.Axis(tickCount=5)
    base = alt.Chart(
        data_of(rows.select("stratum", "site", "n", "mean", "confidence_low", "confidence_high"))
    )
    y_axis = alt.Y("stratum:N", title=None, sort=list(strata))
    offset = alt.YOffset("site:N", sort=list(shown), scale=alt.Scale(domain=list(shown)))
    colours = [INK if site == TOGETHER else SITE_COLOURS[i] for i, site in enumerate(shown)]
    shapes = ["diamond" if site == TOGETHER else SITE_SHAPES[i] for i, site in enumerate(shown)]
    colour = alt.Color("site:N", title="Site", scale=alt.Scale(domain=list(shown), range=colours))
    whiskers = base.mark_rule(size=1.6).encode(
        x=alt.X("confidence_low:Q", title=title, axis=axis, scale=alt.Scale(zero=True)),
        x2="confidence_high:Q",
        y=y_axis,
        yOffset=offset,
        color=colour,
    )
    points = base.mark_point(filled=True, size=65, opacity=1).encode(
        x=alt.X("mean:Q", title=title, axis=axis),
        y=y_axis,
        yOffset=offset,
        color=colour,
        shape=alt.Shape("site:N", title="Site", scale=alt.Scale(domain=list(shown), range=shapes)),
        tooltip=[
            alt.Tooltip("stratum:N"),
            alt.Tooltip("site:N"),
            alt.Tooltip("n:Q", title="patients"),
            alt.Tooltip("mean:Q", format=".3g"),
            alt.Tooltip("confidence_low:Q", title="95 % from", format=".3g"),
            alt.Tooltip("confidence_high:Q", title="to", format=".3g"),
        ],
    )
    height = max(20, 14 * len(shown)) * len(strata)
    return alt.layer(whiskers, points).properties(width=330, height=height)
