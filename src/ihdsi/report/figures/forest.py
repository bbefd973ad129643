"""Site estimates and their pooled value, a panel a gene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from ihdsi.report.figures.style import BLUE, INK, MUTED, VERMILLION, Drawing, rows_of, styled

__all__ = ["forest"]


def forest(
    site_effects: pl.DataFrame,
    pooled: pl.DataFrame,
    effect_title: str,
    description: str,
    exponentiate: bool = False,
    columns: int = 2,
) -> Drawing | None:
    """Site estimates and the pooled diamond of several genes, as small multiples on one axis.

    Parameters
    ----------
    site_effects
        gene_id, site, effect, standard_error, n of the sites used.
    pooled
        gene_id, gene_name, effect, confidence_low, confidence_high, i_squared, in the order in
        which the genes are drawn.
    effect_title
        Title of the horizontal axis.
    description
        Alternative text.
    exponentiate
        Show ratios (hazard, odds) on a logarithmic axis instead of their logarithms.
    columns
        Panels side by side.

    Returns
    -------
    alt.ConcatChart or None
        None without a gene. Squares have areas in proportion to the inverse variance.
    """
    genes = pooled["gene_id"].to_list()
    shown = site_effects.filter(pl.col("gene_id").is_in(genes))
    if shown.is_empty():
        return None
    shown = shown.with_columns(
        low=pl.col("effect") - 1.959964 * pl.col("standard_error"),
        high=pl.col("effect") + 1.959964 * pl.col("standard_error"),
        weight=pl.col("standard_error") ** -2,
    )
    limits = [
        min(float(shown["low"].min()), float(pooled["confidence_low"].min()), 0.0),  # type: ignore[arg-type]
        max(float(shown["high"].max()), float(pooled["confidence_high"].max()), 0.0),  # type: ignore[arg-type]
    ]
    margin = 0.04 * (limits[1] - limits[0])
    limits = [limits[0] - margin, limits[1] + margin]
    panels = [
        _forest_panel(
            shown.filter(pl.col("gene_id") == row["gene_id"]).sort("site"),
            row,
            effect_title,
            limits,
            exponentiate,
        )
        for row in pooled.iter_rows(named=True)
        if row["gene_id"] in set(shown["gene_id"])
    ]
    return styled(alt.concat(*panels, columns=columns, spacing=28), description)


def _forest_panel(
    sites: pl.DataFrame,
    pooled: Mapping[str, Any],
    effect_title: str,
    limits: Sequence[float],
    exponentiate: bool,
) -> Drawing:
    width, step = 270, 24
    transform = np.exp if exponentiate else np.asarray
    low, high = (float(transform(value)) for value in limits)
    count = sites.height

    def wording(effect: float, lower: float, upper: float) -> str:
        effect, lower, upper = (float(transform(value)) for value in (effect, lower, upper))
        return f"{effect:.2f} [{lower:.2f}, {upper:.2f}]".replace("-", "−")

    share = sites["weight"] / sites["weight"].max()
    rows = [
        {
            "row": count - position,
            "site": site["site"],
            "effect": float(transform(site["effect"])),
            "low": float(transform(site["low"])),
            "high": float(transform(site["high"])),
            "size": 40 + 110 * share[position],
            "n": site["n"],
            "text": wording(site["effect"], site["low"], site["high"]),
        }
        for position, site in enumerate(sites.iter_rows(named=True))
    ]
    centre, lower, upper = pooled["effect"], pooled["confidence_low"], pooled["confidence_high"]
    diamond = [
        {"order": order, "x": float(transform(value)), "row": height}
        for order, (value, height) in enumerate(
            [(lower, 0.0), (centre, 0.28), (upper, 0.0), (centre, -0.28), (lower, 0.0)]
        )
    ]
    pooled_text = [{"row": 0, "text": wording(centre, lower, upper)}]
    names = [f"{row['site']} (n = {row['n']})" for row in rows]
    label = "".join(
        f"datum.value == {row['row']} ? {name!r} : " for row, name in zip(rows, names, strict=True)
    )
    y_axis = alt.Y(
        "row:Q",
        title=None,
        scale=alt.Scale(domain=[-0.6, count + 0.5], nice=False),
        axis=alt.Axis(
            values=list(range(count + 1)),
            labelExpr=f"{label}'pooled'",
            grid=False,
            domain=False,
            ticks=False,
            labelPadding=6,
        ),
    )
    scale = (
        alt.Scale(type="log", domain=[low, high], nice=False)
        if exponentiate
        else alt.Scale(domain=[low, high], nice=False)
    )
    axis = alt.Axis(tickCount=5, format=".3~g")
    whiskers = (
        alt.Chart(rows_of(rows))
        .mark_rule(color=BLUE, size=1.6)
        .encode(x=alt.X("low:Q", title=effect_title, scale=scale, axis=axis), x2="high:Q", y=y_axis)
    )
    squares = (
        alt.Chart(rows_of(rows))
        .mark_point(shape="square", filled=True, color=BLUE, opacity=1)
        .encode(
            x=alt.X("effect:Q", title=effect_title, scale=scale),
            y=y_axis,
            size=alt.Size("size:Q", scale=None),
            tooltip=[
                alt.Tooltip("site:N"),
                alt.Tooltip("text:N", title="effect [95 % CI]"),
                alt.Tooltip("n:Q"),
            ],
        )
    )
    summary = (
        alt.Chart(rows_of(diamond))
        .mark_line(
            interpolate="linear-closed", filled=True, fill=VERMILLION, stroke=VERMILLION, size=1
        )
        .encode(x=alt.X("x:Q", title=effect_title, scale=scale), y=y_axis, order="order:O")
    )
    null_line = (
        alt.Chart(rows_of([{"x": 1.0 if exponentiate else 0.0}]))
        .mark_rule(color=MUTED, size=1)
        .encode(x=alt.X("x:Q", scale=scale))
    )
    texts = (
        alt.Chart(rows_of([{"row": r["row"], "text": r["text"]} for r in rows] + pooled_text))
        .mark_text(align="left", fontSize=12, color=INK)
        .encode(x=alt.value(width + 8), y=y_axis, text="text:N")
    )
    i_squared = pooled["i_squared"]
    heterogeneity = "one site" if i_squared is None else f"I² = {100 * i_squared:.0f} %"
    return alt.layer(null_line, whiskers, squares, summary, texts).properties(
        width=width,
        height=step * (count + 1) + 8,
        title=alt.TitleParams(
            str(pooled["gene_name"] or pooled["gene_id"]),
            subtitle=heterogeneity,
            subtitleFontSize=12,
        ),
    )
