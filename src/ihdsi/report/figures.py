"""All charts of the report, in one visual language: tables in, Altair charts out.

Every function returns None when its table has nothing to draw, so that the caller can say so in a
sentence. Colours are those of Okabe and Ito (2008), which stay apart under colour blindness; sites
also differ in shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import altair as alt
import numpy as np
import polars as pl

from ihdsi.files import atomic_output
from ihdsi.meta.estimators import wilson_interval

__all__ = [
    "Drawing",
    "alteration_dots",
    "binned_histograms",
    "driver_recurrence",
    "forest",
    "save_svg",
    "sentence",
    "volcano",
]

#: Altair's chart classes share no static type that survives layering and concatenation.
Drawing: TypeAlias = Any

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
SITE_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
SITE_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "stroke")
CLASS_COLOURS = {
    "truncating": VERMILLION,
    "missense": BLUE,
    "inframe": GREEN,
    "splice": ORANGE,
    "other": "#999999",
}
INK, MUTED, GRID, NOISE = "#222222", "#555555", "#E4E4E4", "#B5B5B5"
FONT = "DejaVu Sans, Verdana, Arial, sans-serif"

#: More sites than this share one colour: nobody tells eight hues apart.
COLOURED_SITES = len(SITE_COLOURS)

#: Smallest p-value that a logarithmic axis shows.
SMALLEST_P = 1e-300


def _rows(rows: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _data(frame: pl.DataFrame) -> alt.Data:
    """Inline rows with five significant digits, more than a screen shows."""
    floats = [name for name, dtype in frame.schema.items() if dtype == pl.Float64]
    rounded = frame.with_columns(pl.col(floats).round_sig_figs(5)) if floats else frame
    return _rows(rounded.to_dicts())


def _styled(chart: Drawing, description: str) -> Drawing:
    return (
        chart.properties(description=description, background="white", padding=8)
        .configure(font=FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelColor=INK,
            titleColor=INK,
            gridColor=GRID,
            domainColor=MUTED,
            tickColor=MUTED,
            labelLimit=220,
            titlePadding=8,
        )
        .configure_legend(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            orient="top",
            symbolSize=90,
            labelLimit=260,
        )
        .configure_title(
            fontSize=13, fontWeight="bold", anchor="start", color=INK, subtitleColor=MUTED
        )
        .configure_header(labelFontSize=12, titleFontSize=12)
    )


def _site_colour(sites: Sequence[str], title: str = "Site") -> Drawing:
    return alt.Color(
        "site:N",
        title=title,
        sort=list(sites),
        scale=alt.Scale(domain=list(sites), range=list(SITE_COLOURS[: len(sites)])),
    )


def sentence(text: str) -> Drawing:
    """Stand in for a figure that has nothing to show, so that its file still says why."""
    chart = (
        alt.Chart(_rows([{"text": text}]), width=640, height=48)
        .mark_text(fontSize=14, align="left", color=INK, limit=640)
        .encode(text="text:N", x=alt.value(4), y=alt.value(24))
    )
    return _styled(chart, text)


def save_svg(chart: Drawing, path: Path | str) -> None:
    """Write a chart as SVG, atomically and without any network access."""
    with atomic_output(path) as temporary:
        chart.save(str(temporary), format="svg")


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
            _data(
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
                alt.Tooltip("name:N", title="gene"),
                alt.Tooltip("gene_id:N", title="Ensembl"),
                alt.Tooltip("effect:Q", title="effect", format=".3f"),
                alt.Tooltip("p_value:Q", title="p", format=".2e"),
                alt.Tooltip("fdr:Q", title="FDR", format=".2e"),
                alt.Tooltip("i_squared:Q", title="I²", format=".2f"),
                alt.Tooltip("n_sites:Q", title="sites"),
            ],
        )
    )
    zero = alt.Chart(_rows([{"effect": 0}])).mark_rule(color=MUTED, size=1).encode(x="effect:Q")
    layers = [zero, dots]
    passing = points.filter("passes")
    if not passing.is_empty():
        line = float(passing["minus_log10_p"].min())  # type: ignore[arg-type]
        mark = alt.Chart(_rows([{"y": line, "text": threshold}]))
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
                alt.Chart(_data(displaced))
                .mark_rule(color=MUTED, size=0.8)
                .encode(x="x:Q", y="y:Q", x2="label_x:Q", y2="label_y:Q")
            )
        layers.append(
            alt.Chart(_data(texts))
            .mark_text(align="left", baseline="middle", fontSize=12, fontStyle="italic", color=INK)
            .encode(x="label_x:Q", y="label_y:Q", text="name:N")
        )
    return _styled(alt.layer(*layers).properties(width=width, height=height), description)


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
    return _styled(alt.concat(*panels, columns=columns, spacing=28), description)


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
        alt.Chart(_rows(rows))
        .mark_rule(color=BLUE, size=1.6)
        .encode(x=alt.X("low:Q", title=effect_title, scale=scale, axis=axis), x2="high:Q", y=y_axis)
    )
    squares = (
        alt.Chart(_rows(rows))
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
        alt.Chart(_rows(diamond))
        .mark_line(
            interpolate="linear-closed", filled=True, fill=VERMILLION, stroke=VERMILLION, size=1
        )
        .encode(x=alt.X("x:Q", title=effect_title, scale=scale), y=y_axis, order="order:O")
    )
    null_line = (
        alt.Chart(_rows([{"x": 1.0 if exponentiate else 0.0}]))
        .mark_rule(color=MUTED, size=1)
        .encode(x=alt.X("x:Q", scale=scale))
    )
    texts = (
        alt.Chart(_rows([{"row": r["row"], "text": r["text"]} for r in rows] + pooled_text))
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
    return _styled(
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
        alt.Chart(_data(filled.filter(pl.col("share").is_not_null()).drop("bin_lower")))
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
            color=_site_colour(sites),
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
        alt.Chart(_data(filled.filter(pl.col("share").is_null()).select("bin", "site")))
        .mark_text(text="×", dy=-7, fontSize=13)
        .encode(
            x=x_axis,
            xOffset=offset,
            y=alt.datum(0, type="quantitative"),
            color=_site_colour(sites),
            tooltip=[alt.Tooltip("site:N"), alt.Tooltip("bin:O", title="withheld bin")],
        )
    )
    return alt.layer(bars, withheld).properties(
        width=370,
        height=180,
        title=alt.TitleParams(name.replace("_", " "), subtitle=subtitle, subtitleFontSize=12),
    )


def alteration_dots(
    tables: Mapping[str, pl.DataFrame],
    pooled: pl.DataFrame,
    genes: Sequence[str],
    description: str,
) -> Drawing | None:
    """Altered share of patients by gene and site with Wilson intervals, and the class mix.

    Parameters
    ----------
    tables
        `gene_alterations` by site.
    pooled
        `ihdsi.meta.pool.pool_gene_alterations`.
    genes
        gene_id of the genes to draw, top first.
    description
        Alternative text.

    Returns
    -------
    alt.HConcatChart or None
        None when no site released one of the genes. With more sites than colours the pooled share
        is drawn with its interval over small grey dots of the sites.
    """
    wanted = pl.DataFrame({"gene_id": list(genes)}, schema={"gene_id": pl.String})
    whole = (pl.col("stratum") == "all") & pl.col("gene_id").is_in(list(genes))
    cells = [
        frame.filter(whole & (pl.col("alteration_class") == "any") & (pl.col("n_assessed") > 0))
        .select("gene_id", "n_assessed", "n_altered")
        .with_columns(site=pl.lit(site))
        for site, frame in tables.items()
    ]
    by_site = pl.concat(cells).filter(pl.col("n_altered").is_not_null()) if cells else None
    if by_site is None or by_site.is_empty():
        return None
    names = pooled.select("gene_id", name=pl.coalesce("gene_name", "gene_id")).unique("gene_id")
    order = wanted.join(names, on="gene_id", how="inner", maintain_order="left")["name"].to_list()
    by_site = by_site.join(names, on="gene_id").with_columns(
        share=pl.col("n_altered") / pl.col("n_assessed")
    )
    low, high = wilson_interval(by_site["n_altered"].to_numpy(), by_site["n_assessed"].to_numpy())
    by_site = by_site.with_columns(low=pl.Series(low), high=pl.Series(high))
    sites = sorted(by_site["site"].unique().to_list())
    dots = _frequency_dots(by_site, sites) if len(sites) <= COLOURED_SITES else None
    if dots is None:
        dots = _pooled_frequency_dots(by_site, pooled.filter(whole), names)
    step = max(26, 13 * len(sites)) if len(sites) <= COLOURED_SITES else 26
    height = step * len(order)
    dots = dots.encode(
        y=alt.Y("name:N", title=None, sort=order, axis=alt.Axis(labelFontStyle="italic"))
    ).properties(width=470, height=height)

    classes = pooled.filter(whole & pl.col("alteration_class").is_in(list(CLASS_COLOURS))).join(
        names, on="gene_id"
    )
    if classes.filter(pl.col("n_altered") > 0).is_empty():
        return _styled(dots, description)
    mix = (
        alt.Chart(_data(classes.select("name", "alteration_class", "n_altered")))
        .mark_bar(stroke="white", strokeWidth=0.5)
        .encode(
            y=alt.Y("name:N", title=None, sort=order, axis=alt.Axis(labels=False, ticks=False)),
            x=alt.X(
                "n_altered:Q",
                stack="normalize",
                title="share of released class counts",
                axis=alt.Axis(format=".0%", tickCount=4),
            ),
            color=alt.Color(
                "alteration_class:N",
                title="Class",
                scale=alt.Scale(domain=list(CLASS_COLOURS), range=list(CLASS_COLOURS.values())),
                legend=alt.Legend(columns=3),
            ),
            tooltip=[
                alt.Tooltip("name:N", title="gene"),
                alt.Tooltip("alteration_class:N", title="class"),
                alt.Tooltip("n_altered:Q", title="patients"),
            ],
        )
        .properties(width=230, height=height)
    )
    return _styled(
        alt.hconcat(dots, mix, spacing=18).resolve_scale(color="independent", shape="independent"),
        description,
    )


FREQUENCY_AXIS = alt.Axis(format=".0%", tickCount=6)
FREQUENCY_TOOLTIP = [
    alt.Tooltip("name:N", title="gene"),
    alt.Tooltip("site:N"),
    alt.Tooltip("n_altered:Q", title="altered"),
    alt.Tooltip("n_assessed:Q", title="assessed"),
    alt.Tooltip("share:Q", format=".1%"),
]


def _frequency_dots(by_site: pl.DataFrame, sites: list[str]) -> Drawing:
    base = alt.Chart(
        _data(by_site.select("name", "site", "share", "low", "high", "n_altered", "n_assessed"))
    )
    offset = alt.YOffset("site:N", sort=sites)
    numbers = dict(by_site.group_by("site").agg(pl.col("n_assessed").max()).iter_rows())
    legend = "".join(
        f"datum.value == {site!r} ? {f'{site} (n = {numbers[site]})'!r} : " for site in sites
    )
    colour = _site_colour(sites)
    colour.legend = alt.Legend(labelExpr=f"{legend}datum.value")
    shape = alt.Shape(
        "site:N",
        title="Site",
        scale=alt.Scale(domain=sites, range=list(SITE_SHAPES[: len(sites)])),
        legend=alt.Legend(labelExpr=f"{legend}datum.value"),
    )
    bars = base.mark_rule(size=1.6).encode(
        x=alt.X("low:Q", title="altered patients, 95 % interval", axis=FREQUENCY_AXIS),
        x2="high:Q",
        color=colour,
        yOffset=offset,
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=alt.X("share:Q", title="altered patients, 95 % interval", axis=FREQUENCY_AXIS),
        color=colour,
        shape=shape,
        yOffset=offset,
        tooltip=FREQUENCY_TOOLTIP,
    )
    return alt.layer(bars, points)


def _pooled_frequency_dots(
    by_site: pl.DataFrame, pooled: pl.DataFrame, names: pl.DataFrame
) -> Drawing:
    total = (
        pooled.filter(pl.col("alteration_class") == "any")
        .join(names, on="gene_id")
        .select(
            "name",
            share="frequency",
            low="confidence_low",
            high="confidence_high",
            n_altered="n_altered",
            n_assessed="n_assessed",
            site=pl.format("pooled over {} sites", "n_sites"),
        )
    )
    title = "altered patients; pooled with 95 % interval, sites in grey"
    single = (
        alt.Chart(_data(by_site.select("name", "site", "share", "n_altered", "n_assessed")))
        .mark_point(filled=True, size=26, color=NOISE, opacity=0.8)
        .encode(x=alt.X("share:Q", title=title, axis=FREQUENCY_AXIS), tooltip=FREQUENCY_TOOLTIP)
    )
    whiskers = (
        alt.Chart(_data(total))
        .mark_rule(size=1.8, color=BLUE)
        .encode(x=alt.X("low:Q", title=title), x2="high:Q")
    )
    centre = (
        alt.Chart(_data(total))
        .mark_point(filled=True, size=80, shape="diamond", color=BLUE, opacity=1)
        .encode(x=alt.X("share:Q", title=title), tooltip=FREQUENCY_TOOLTIP)
    )
    return alt.layer(single, whiskers, centre)


def driver_recurrence(drivers: pl.DataFrame, description: str, shown: int = 15) -> Drawing | None:
    """Observed share of altered patients against the background expectation, by gene.

    Parameters
    ----------
    drivers
        `ihdsi.meta.drivers.find_driver_genes`, by p-value.
    description
        Alternative text.
    shown
        Number of genes.

    Returns
    -------
    alt.LayerChart or None
        None when no gene has a p-value.
    """
    rows = drivers.filter(pl.col("p_value").is_not_null() & (pl.col("n_altered") > 0)).head(shown)
    if rows.is_empty():
        return None
    rows = rows.with_columns(
        name=pl.coalesce("gene_name", "gene_id"),
        text=pl.format("{} / {}", "n_altered", "n_assessed"),
        far=pl.max_horizontal("frequency", "expected"),
    ).select("name", "frequency", "expected", "far", "text", "p_value", "fdr")
    order = rows["name"].to_list()
    y_axis = alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelFontStyle="italic"))
    title = "share of assessed patients"
    reach = 1.16 * float(rows["far"].max())  # type: ignore[arg-type]
    x_scale = alt.Scale(domain=[0, reach], nice=False)
    base = alt.Chart(_data(rows))
    kinds = alt.Scale(domain=["observed", "expected by chance"], range=[VERMILLION, MUTED])
    span = base.mark_rule(color=NOISE, size=2).encode(
        x=alt.X("expected:Q", title=title, scale=x_scale, axis=FREQUENCY_AXIS),
        x2="frequency:Q",
        y=y_axis,
    )
    observed = (
        base.transform_calculate(kind="'observed'")
        .mark_point(filled=True, size=80, opacity=1)
        .encode(
            x=alt.X("frequency:Q", title=title, scale=x_scale),
            y=y_axis,
            color=alt.Color("kind:N", title=None, scale=kinds),
            shape=alt.Shape(
                "kind:N",
                title=None,
                scale=alt.Scale(
                    domain=["observed", "expected by chance"], range=["circle", "diamond"]
                ),
            ),
            tooltip=[
                alt.Tooltip("name:N", title="gene"),
                alt.Tooltip("text:N", title="altered / assessed"),
                alt.Tooltip("expected:Q", format=".2%"),
                alt.Tooltip("p_value:Q", title="p", format=".2e"),
                alt.Tooltip("fdr:Q", title="FDR", format=".2e"),
            ],
        )
    )
    expected = (
        base.transform_calculate(kind="'expected by chance'")
        .mark_point(filled=True, size=55, opacity=1)
        .encode(
            x=alt.X("expected:Q", title=title, scale=x_scale),
            y=y_axis,
            color=alt.Color("kind:N", title=None, scale=kinds),
            shape=alt.Shape("kind:N", title=None),
        )
    )
    counts = base.mark_text(align="left", dx=10, fontSize=12, color=INK).encode(
        x=alt.X("far:Q", scale=x_scale), y=y_axis, text="text:N"
    )
    return _styled(
        alt.layer(span, expected, observed, counts).properties(width=640, height=alt.Step(26)),
        description,
    )
