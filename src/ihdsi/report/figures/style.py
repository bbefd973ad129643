"""One visual language for all charts: colours, type, and how a chart is saved.

Colours are those of Okabe and Ito (2008), which stay apart under colour blindness; sites
also differ in shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import altair as alt
import polars as pl

from ihdsi.files import atomic_output

__all__ = [
    "COLOURED_SITES",
    "Drawing",
    "data_of",
    "rows_of",
    "save_svg",
    "sentence",
    "site_colour",
    "styled",
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
    "hotspot": BLACK,
    "inframe": GREEN,
    "splice": ORANGE,
    "promoter": PURPLE,
    "other": "#999999",
}
#: Red for more copies, blue for fewer (ColorBrewer RdBu, which colour-blind people tell apart).
COPY_NUMBER_COLOURS = {
    "amplification": "#B2182B",
    "gain": "#F4A582",
    "loss": "#92C5DE",
    "deletion": "#2166AC",
}
INK, MUTED, GRID, NOISE = "#222222", "#555555", "#E4E4E4", "#B5B5B5"
FONT = "DejaVu Sans, Verdana, Arial, sans-serif"

#: More sites than this share one colour: nobody tells eight hues apart.
COLOURED_SITES = len(SITE_COLOURS)


def rows_of(rows: list[dict[str, Any]]) -> alt.Data:
    """Inline rows as they are."""
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def data_of(frame: pl.DataFrame) -> alt.Data:
    """Inline rows with five significant digits, more than a screen shows."""
    floats = [name for name, dtype in frame.schema.items() if dtype == pl.Float64]
    rounded = frame.with_columns(pl.col(floats).round_sig_figs(5)) if floats else frame
    return rows_of(rounded.to_dicts())


def styled(chart: Drawing, description: str) -> Drawing:
    """Give a finished chart the common look, and its alternative text."""
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


def site_colour(sites: Sequence[str], title: str = "Site") -> Drawing:
    """Colour by site, in the order given."""
    return alt.Color(
        "site:N",
        title=title,
        sort=list(sites),
        scale=alt.Scale(domain=list(sites), range=list(SITE_COLOURS[: len(sites)])),
    )


def sentence(text: str) -> Drawing:
    """Stand in for a figure that has nothing to show, so that its file still says why."""
    chart = (
        alt.Chart(rows_of([{"text": text}]), width=640, height=48)
        .mark_text(fontSize=14, align="left", color=INK, limit=640)
        .encode(text="text:N", x=alt.value(4), y=alt.value(24))
    )
    return styled(chart, text)


def save_svg(chart: Drawing, path: Path | str) -> None:
    """Write a chart as SVG, atomically and without any network access."""
    with atomic_output(path) as temporary:
        chart.save(str(temporary), format="svg")
