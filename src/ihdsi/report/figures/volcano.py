"""Effect against significance, a point a gene."""

from __future__ import annotations

import altair as alt
import numpy as np
import polars as pl

from ihdsi.report.figures.style import (
    BLUE,
    INK,
    MUTED,
    NOISE,
    VERMILLION,
    Drawing,
    data_of,
    rows_of,
    styled,
)

__all__ = ["volcano"]

#: Smallest p-value that a logarithmic axis shows.
SMALLEST_P = 1e-300


def _label_places(
    labels: pl.DataFrame, dots: pl.DataFrame, scale: tuple[float, float], width: float
) -> list[tuple[int, float, float]]:
    """Place labels beside their points without overlap, in the order given.

    `scale` is pixels per data unit. A label for which no nearby place is free is left out; hovering
    still names the point. Returns (index, label x, label y) with the label's left edge as x.
    """
    px, py = labels["effect"].to_numpy() * scale[0], labels["minus_log10_p"].to_numpy() * scale[1]
    dot_x, dot_y = dots["effect"].to_numpy() * scale[0], dots["minus_log10_p"].to_numpy() * scale[1]
    taken: list[tuple[float, float, float, float]] = []
    places: list[tuple[int, float, float]] = []
    offsets = [
        (side, rise) for rise in (0.0, 14.0, -14.0, 28.0, -28.0, 42.0) for side in (1.0, -1.0)
    ]
    left_end, right_end = -width / 2, width / 2
    for index, text in enumerate(labels["name"].to_list()):
        extent = 7.2 * len(text)
        for side, rise in offsets:
            left = px[index] + (8.0 if side > 0 else -8.0 - extent)
            box = (left, left + extent, py[index] + rise - 7.0, py[index] + rise + 7.0)
            outside = box[0] < left_end or box[1] > right_end or box[2] < 0
            clash = any(
                box[0] < other[1] and other[0] < box[1] and box[2] < other[3] and other[2] < box[3]
                for other in taken
            )
            covers = np.any(
                (dot_x > box[0]) & (dot_x < box[1]) & (dot_y > box[2]) & (dot_y < box[3])
            )
            if not (outside or clash or covers):
                taken.append(box)
                places.append((index, left / scale[0], (py[index] + rise) / scale[1]))
                break
    return places


def volcano(
    pooled: pl.DataFrame,
    effect_title: str,
    false_discovery_rate: float,
    description: str,
    labelled: int = 12,
    of_genes: bool = True,
) -> Drawing | None:
    """Effect against −log10 p of all genes of one contrast.

    Parameters
    ----------
    pooled
        gene_name, gene_id, effect, p_value, fdr, n_sites, i_squared of one contrast.
    effect_title
        Title of the horizontal axis, with unit and direction.
    false_discovery_rate
        Level at which the dashed line is drawn: the largest p-value that still passes it.
    description
        Alternative text.
    labelled
        Number of genes to label, smallest p-values first, among those that pass.
    of_genes
        Points are genes, whose symbols are set in italics; otherwise features of a matrix.

    Returns
    -------
    alt.Chart or None
        None without any p-value. Points that would overprint in the grey cloud are drawn once.
    """
    width, height = 760, 420
    points = pooled.filter(pl.col("p_value").is_not_null() & pl.col("effect").is_not_null())
    if points.is_empty():
        return None
    points = points.with_columns(
        minus_log10_p=-pl.col("p_value").clip(lower_bound=SMALLEST_P).log10(),
        name=pl.coalesce("gene_name", "gene_id"),
        passes=pl.col("fdr") <= false_discovery_rate,
    ).with_columns(
        group=pl.when(~pl.col("passes"))
        .then(pl.lit("not significant"))
        .when(pl.col("effect") > 0)
        .then(pl.lit("higher"))
        .otherwise(pl.lit("lower"))
    )
    cloud = points.filter(~pl.col("passes"))
    if cloud.height > 5000:
        cloud = (
            cloud.with_columns(
                _x=(pl.col("effect") / 0.02).round(), _y=(pl.col("minus_log10_p") / 0.02).round()
            )
            .unique(["_x", "_y"], keep="first", maintain_order=True)
            .drop("_x", "_y")
        )
    drawn = pl.concat([cloud, points.filter("passes")])
    reach = 1.1 * max(float(points["effect"].abs().max()), 0.1)  # type: ignore[arg-type]
    top = 1.1 * max(float(points["minus_log10_p"].max()), 1.5)  # type: ignore[arg-type]
    x_axis = alt.X(
        "effect:Q", title=effect_title, scale=alt.Scale(domain=[-reach, reach], nice=False)
    )
    y_axis = alt.Y(
        "minus_log10_p:Q", title="−log₁₀ p", scale=alt.Scale(domain=[0, top], nice=False)
    )
    names = ["higher", "lower", "not significant"]
    threshold = f"FDR ≤ {false_discovery_rate:g}"
    counts = [points.filter(pl.col("group") == name).height for name in names]
    legend = {
        "higher": f"{threshold}, effect above 0 (n = {counts[0]:,})",
        "lower": f"{threshold}, effect below 0 (n = {counts[1]:,})",
        "not significant": f"not significant (n = {counts[2]:,})",
    }
    dots = (
        alt.Chart(
            data_of(
                drawn.with_columns(group=pl.col("group").replace_strict(legend)).select(
                    "name",
                    "gene_id",
                    "effect",
                    "minus_log10_p",
                    "p_value",
                    "fdr",
                    "i_squared",
                    "n_sites",
                    "group",
                )
            )
        )
        .mark_point(filled=True, size=34, opacity=0.75)
        .encode(
            x=x_axis,
            y=y_axis,
            color=alt.Color(
                "group:N",
                title=None,
                scale=alt.Scale(
                    domain=[legend[name] for name in names], range=[VERMILLION, BLUE, NOISE]
                ),
                legend=alt.Legend(columns=3, symbolOpacity=1),
            ),
            tooltip=[
                alt.Tooltip("name:N", title="gene" if of_genes else "feature"),
                alt.Tooltip("gene_id:N", title="Ensembl" if of_genes else "identifier"),
                alt.Tooltip("effect:Q", title="effect", format=".3f"),
                alt.Tooltip("p_value:Q", title="p", format=".2e"),
                alt.Tooltip("fdr:Q", title="FDR", format=".2e"),
                alt.Tooltip("i_squared:Q", title="I²", format=".2f"),
                alt.Tooltip("n_sites:Q", title="sites"),
            ],
        )
    )
    zero = alt.Chart(rows_of([{"effect": 0}])).mark_rule(color=MUTED, size=1).encode(x="effect:Q")
    layers = [zero, dots]
    passing = points.filter("passes")
    if not passing.is_empty():
        line = float(passing["minus_log10_p"].min())  # type: ignore[arg-type]
        mark = alt.Chart(rows_of([{"y": line, "text": threshold}]))
        layers.append(mark.mark_rule(strokeDash=[5, 4], color=INK).encode(y="y:Q"))
        layers.append(
            mark.mark_text(align="right", dy=-7, fontSize=12, color=INK).encode(
                x=alt.value(width), y="y:Q", text="text:N"
            )
        )
    labels = passing.sort("p_value").head(labelled)
    x, y = labels["effect"].to_numpy(), labels["minus_log10_p"].to_numpy()
    scale = (width / (2 * reach), height / top)
    places = _label_places(labels, passing, scale, width)
    if places:
        texts = pl.DataFrame(
            {
                "name": [labels["name"][index] for index, _, _ in places],
                "label_x": [left for _, left, _ in places],
                "label_y": [height_ for _, _, height_ in places],
            }
        )
        displaced = pl.DataFrame(
            {
                "x": [float(x[index]) for index, _, _ in places],
                "y": [float(y[index]) for index, _, _ in places],
                "label_x": [
                    left if left > x[index] else left + 7.2 * len(labels["name"][index]) / scale[0]
                    for index, left, _ in places
                ],
                "label_y": [height_ for _, _, height_ in places],
            }
        ).filter((pl.col("label_y") - pl.col("y")).abs() * scale[1] > 1)
        if not displaced.is_empty():
            layers.append(
                alt.Chart(data_of(displaced))
                .mark_rule(color=MUTED, size=0.8)
                .encode(x="x:Q", y="y:Q", x2="label_x:Q", y2="label_y:Q")
            )
        layers.append(
            alt.Chart(data_of(texts))
            .mark_text(
                align="left",
                baseline="middle",
                fontSize=12,
                fontStyle="italic" if of_genes else "normal",
                color=INK,
            )
            .encode(x="label_x:Q", y="label_y:Q", text="name:N")
        )
    return styled(alt.layer(*layers).properties(width=width, height=height), description)
