"""Differences in the shares of cell types, over all sites and at each."""

from __future__ import annotations

import json
from collections.abc import Sequence

import altair as alt
import polars as pl

from ihdsi.report.figures.style import (
    COLOURED_SITES,
    INK,
    MUTED,
    SITE_SHAPES,
    Drawing,
    data_of,
    rows_of,
    site_colour,
    styled,
)
from ihdsi.report.tables import format_points

__all__ = ["composition_differences"]

#: The estimate and both ends of its interval.
BOUNDS = ("difference", "confidence_low", "confidence_high")


def composition_differences(
    contrasts: pl.DataFrame, site_effects: pl.DataFrame, effect_title: str, description: str
) -> Drawing | None:
    """Pooled difference in the mean share of each cell type, with the sites' own beneath it.

    Parameters
    ----------
    contrasts
        `ihdsi.meta.cell_composition.compare_cell_composition` of one contrast.
    site_effects
        feature (the cell type), site, effect and n of the sites used: differences in mean share.
    effect_title
        Title of the horizontal axis, with direction and unit (percentage points).
    description
        Alternative text.

    Returns
    -------
    alt.LayerChart or None
        None without a row. Cell types in the order of their difference, the largest on top. With
        more sites than colours their points are grey.
    """
    if contrasts.is_empty():
        return None
    width, step = 460, 34
    pooled = (
        contrasts.sort("difference", "cell_type")
        .with_columns(pl.col(BOUNDS).name.suffix("_share"))
        .with_columns(pl.col(BOUNDS) * 100, row=pl.int_range(pl.len(), dtype=pl.Int64))
        .with_columns(place=pl.col("row") + 0.12)
    )
    own = (
        site_effects.join(
            pooled.select("row", feature="cell_type"), on="feature", maintain_order="left"
        )
        .select(
            "site",
            "n",
            pl.col("feature").str.replace_all("_", " ").alias("cell_type"),
            (100 * pl.col("effect")).alias("difference"),
            (pl.col("row") - 0.22).alias("place"),
        )
        .sort("site", "place")
    )
    names = [name.replace("_", " ") for name in pooled["cell_type"]]
    label = "".join(
        f"datum.value == {row} ? {json.dumps(name)} : " for row, name in enumerate(names)
    )
    y_axis = alt.Y(
        "place:Q",
        title=None,
        scale=alt.Scale(domain=[-0.6, len(names) - 0.4], nice=False),
        axis=alt.Axis(
            values=list(range(len(names))),
            labelExpr=f"{label}''",
            grid=False,
            domain=False,
            ticks=False,
            labelPadding=8,
        ),
    )
    x_axis = alt.X(
        "difference:Q",
        title=effect_title,
        scale=alt.Scale(domain=_limits(pooled, own), nice=False),
        axis=alt.Axis(
            tickCount=7, format="+.3~g", labelExpr="datum.value == 0 ? '0' : datum.label"
        ),
    )
    base = alt.Chart(
        data_of(
            pooled.select(
                *BOUNDS,
                *("place", "n_case", "n_control", "p_value", "fdr", "n_sites"),
                cell_type=pl.Series(names),
            )
        )
    )
    layers = [
        alt.Chart(rows_of([{"difference": 0}])).mark_rule(color=MUTED, size=1).encode(x=x_axis),
        base.mark_rule(color=INK, size=1.8).encode(
            x=alt.X("confidence_low:Q", title=effect_title), x2="confidence_high:Q", y=y_axis
        ),
        _sites(own, x_axis, y_axis),
        base.mark_point(shape="diamond", filled=True, color=INK, size=110, opacity=1).encode(
            x=x_axis,
            y=y_axis,
            tooltip=[
                alt.Tooltip("cell_type:N", title="cell type"),
                alt.Tooltip("difference:Q", title="percentage points", format="+.3~g"),
                alt.Tooltip("confidence_low:Q", title="95 % from", format="+.3~g"),
                alt.Tooltip("confidence_high:Q", title="to", format="+.3~g"),
                alt.Tooltip("p_value:Q", title="p", format=".2e"),
                alt.Tooltip("fdr:Q", title="FDR", format=".2e"),
                alt.Tooltip("n_case:Q", title="donors, cases"),
                alt.Tooltip("n_control:Q", title="donors, controls"),
                alt.Tooltip("n_sites:Q", title="sites"),
            ],
        ),
        *_columns(pooled, y_axis, width),
    ]
    chart = alt.layer(*layers).properties(width=width, height=step * len(names) + 20)
    return styled(chart, description)


def _limits(pooled: pl.DataFrame, own: pl.DataFrame) -> list[float]:
    """Both ends of the axis: everything that is drawn, and zero, with a margin."""
    values = pl.concat(
        [pooled[name] for name in BOUNDS] + [own["difference"], pl.Series([0.0])]
    ).drop_nulls()
    low, high = values.min(), values.max()
    # All differences are zero where a type has no cells.
    margin = 0.06 * max(float(high) - float(low), 1.0)  # type: ignore[arg-type]
    return [float(low) - margin, float(high) + margin]  # type: ignore[arg-type]


def _sites(own: pl.DataFrame, x_axis: alt.X, y_axis: alt.Y) -> Drawing:
    sites: Sequence[str] = own["site"].unique().sort().to_list()
    tooltip = [
        alt.Tooltip("site:N"),
        alt.Tooltip("cell_type:N", title="cell type"),
        alt.Tooltip("difference:Q", title="percentage points", format="+.3~g"),
        alt.Tooltip("n:Q", title="donors"),
    ]
    points = alt.Chart(data_of(own)).mark_point(filled=True, size=38, opacity=0.9)
    if len(sites) > COLOURED_SITES:
        return points.encode(x=x_axis, y=y_axis, color=alt.value(MUTED), tooltip=tooltip)
    return points.encode(
        x=x_axis,
        y=y_axis,
        color=site_colour(sites),
        shape=alt.Shape(
            "site:N",
            title="Site",
            scale=alt.Scale(domain=sites, range=list(SITE_SHAPES[: len(sites)])),
        ),
        tooltip=tooltip,
    )


def _columns(pooled: pl.DataFrame, y_axis: alt.Y, width: int) -> list[Drawing]:
    """Estimate with interval, and donors of both groups, in words beside the panel."""
    rows = [
        {
            "place": row["row"],
            "estimate": format_points(*(row[f"{name}_share"] for name in BOUNDS)),
            "donors": f"{row['n_case']} / {row['n_control']}",
        }
        for row in pooled.iter_rows(named=True)
    ]
    headings = {"estimate": ("difference [95 %]", 12), "donors": ("donors, case / control", 170)}
    texts = []
    for name, (heading, shift) in headings.items():
        left = alt.value(width + shift)
        texts += [
            alt.Chart(rows_of(rows))
            .mark_text(align="left", fontSize=12, color=INK)
            .encode(x=left, y=y_axis, text=f"{name}:N"),
            alt.Chart(rows_of([{"text": heading}]))
            .mark_text(align="left", fontSize=12, color=MUTED)
            .encode(x=left, y=alt.value(-6), text="text:N"),
        ]
    return texts
