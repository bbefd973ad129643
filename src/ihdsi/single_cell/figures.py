"""Figures of a site's cells. They show patients, so they stay at the site."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ihdsi.files import atomic_output
from ihdsi.single_cell.cell_types import UNASSIGNED
from ihdsi.single_cell.quality import PASS

__all__ = ["draw_composition", "draw_quality", "draw_umap"]

#: Tol's muted scheme (personal.sron.nl/~pault), which stays apart under colour blindness; each
#: group is also named in place, and its marker differs from those of the same colour.
COLOURS = (
    *("#332288", "#DDCC77", "#117733", "#CC6677", "#88CCEE"),
    *("#882255", "#44AA99", "#999933", "#AA4499"),
)
HATCHES = ("", "///", "...", "xxx")
MARKERS = ("o", "^", "s", "D")
NO_TYPE = "#BBBBBB"
INK = "#222222"
#: More groups than this are not named in place.
_MOST_LABELS = 30
METRICS = (
    ("total_counts", "Counts of a barcode", True),
    ("n_genes", "Genes with a count", True),
    ("highest_genes_percent", "In the 20 highest genes (%)", False),
    ("mitochondrial_percent", "Mitochondrial counts (%)", False),
    ("doublet_score", "Doublet score (Scrublet)", False),
)


def _styles(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Colour, marker and hatch of each name; nine share a marker and a hatch."""
    colours = cycle(COLOURS)
    styles = {}
    for index, name in enumerate(n for n in names if n != UNASSIGNED):
        rank = (index // len(COLOURS)) % len(MARKERS)
        styles[name] = (next(colours), MARKERS[rank], HATCHES[rank])
    return {name: styles.get(name, (NO_TYPE, "o", "")) for name in names}


def _in_words(name: str) -> str:
    """Write ``t_cell`` as T cell, ``urothelial_basal`` as urothelial basal."""
    words = name.split("_")
    return " ".join([words[0].upper() if len(words[0]) < 3 else words[0], *words[1:]])


def _save(figure: Figure, path: Path | str, description: str) -> None:
    with atomic_output(path) as temporary:
        # Without the version of the library, equal figures are equal bytes.
        metadata = {"Description": description, "Software": ""}
        figure.savefig(temporary, format="png", dpi=150, metadata=metadata)


def _nothing(title: str, path: Path | str) -> None:
    figure = Figure(figsize=(7, 1.2))
    figure.text(0.03, 0.5, f"{title}: no sample has enough cells that pass", color=INK, va="center")
    _save(figure, path, "No cells")


def draw_umap(cells: pl.DataFrame, by: str, title: str, path: Path | str) -> None:
    """Draw the UMAP of a site's cells, coloured and named by a column.

    Parameters
    ----------
    cells
        Columns of `ihdsi.single_cell.clusters.CELLS_SCHEMA`.
    by
        ``cell_type`` or ``patient``.
    title
        The site's.
    path
        PNG file.
    """
    if cells.is_empty():
        _nothing(title, path)
        return
    what = {"cell_type": "cell type", "patient": "donor"}[by]
    counts = dict(cells.group_by(by).len().sort(by).iter_rows())
    names = sorted(counts, key=lambda name: (name == UNASSIGNED, name))
    styles = _styles(names)
    figure = Figure(figsize=(8.6, 6), layout="constrained")
    axes = figure.add_subplot()
    size = float(np.clip(40_000 / cells.height, 1, 16))
    # Cells in a fixed random order, so that no donor lies on top of all others.
    order = np.random.default_rng(0).permutation(cells.height)
    place = np.empty(cells.height)
    place[order] = np.arange(cells.height)
    shown = cells.with_columns(_order=pl.Series(place)).sort("_order")
    for marker in MARKERS:
        chosen = [name for name in names if styles[name][1] == marker]
        part = shown.filter(pl.col(by).is_in(chosen))
        axes.scatter(
            part["umap_1"].to_numpy(),
            part["umap_2"].to_numpy(),
            c=[styles[name][0] for name in part[by]],
            marker=marker,
            s=size,
            linewidths=0,
            alpha=0.8,
            rasterized=True,
        )
    for name in names:
        colour, marker, _ = styles[name]
        label = f"{_in_words(name)} ({counts[name]:,})"
        axes.scatter([], [], color=colour, marker=marker, s=40, label=label)
    if by == "cell_type" and len(names) <= _MOST_LABELS:
        centres = cells.group_by(by).agg(pl.col("umap_1", "umap_2").median())
        for name, x, y in centres.sort(by).iter_rows():
            if name != UNASSIGNED:
                outline = [withStroke(linewidth=3, foreground="white")]
                axes.text(
                    *(x, y, _in_words(name)),
                    ha="center",
                    va="center",
                    fontsize=9,
                    color=INK,
                    path_effects=outline,
                )
    axes.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    axes.set_title(f"{title}: {cells.height:,} cells by {what}", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=8,
        title=f"{what.capitalize()} (cells)",
        ncols=1 + len(names) // _MOST_LABELS,
    )
    _save(figure, path, f"UMAP of {cells.height} cells by {what}")


def draw_quality(decisions: pl.DataFrame, title: str, path: Path | str) -> None:
    """Draw histograms of each quality metric over all barcodes, those left out set apart.

    Parameters
    ----------
    decisions
        Columns of `ihdsi.single_cell.quality.DECISIONS_SCHEMA`.
    title
        The site's.
    path
        PNG file.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    grid = figure.subplots(2, 3)
    passing = (decisions["decision"] == PASS).to_numpy()
    for axes, (metric, label, logarithmic) in zip(grid.flat, METRICS, strict=False):
        values = decisions[metric].cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = np.isfinite(values) & ((values > 0) | (not logarithmic))
        if known.any():
            low, high = values[known].min(), max(values[known].max(), values[known].min() + 1e-9)
            edges = np.geomspace(low, high, 50) if logarithmic else np.linspace(low, high, 50)
            axes.hist(
                [values[known & passing], values[known & ~passing]],
                bins=edges.tolist(),
                stacked=True,
                color=[COLOURS[0], COLOURS[1]],
                label=["pass", "left out"],
            )
        else:
            axes.text(0.5, 0.5, "not measured", ha="center", color=INK, transform=axes.transAxes)
            axes.set(xticks=[], yticks=[])
        axes.set(xlabel=label, ylabel="Barcodes")
        if logarithmic:
            axes.set_xscale("log")
            low, high = axes.get_xlim()
            # Labels between the decades overlap where there are more than two.
            between = (1, 2, 5) if high < 100 * low else (1,)
            axes.xaxis.set_major_locator(LogLocator(subs=between))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.spines[["top", "right"]].set_visible(False)
    _draw_reasons(grid.flat[len(METRICS)], decisions)
    grid.flat[0].legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"{title}: {int(passing.sum()):,} of {decisions.height:,} barcodes pass, of "
        f"{decisions['sample'].n_unique()} samples",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    _save(figure, path, "Quality of barcodes")


def _draw_reasons(axes: Axes, decisions: pl.DataFrame) -> None:
    reasons = (
        decisions.filter(pl.col("reasons") != "")
        .select(pl.col("reasons").str.split("; "))
        .explode("reasons")
        .group_by("reasons")
        .len()
        .sort("len", "reasons")
    )
    bars = axes.barh(reasons["reasons"].to_list(), reasons["len"].to_list(), color=COLOURS[1])
    axes.bar_label(bars, padding=2, fontsize=8)
    axes.margins(x=0.15)
    axes.set(xlabel="Barcodes left out, by reason", ylabel="")
    axes.spines[["top", "right"]].set_visible(False)


def draw_composition(composition: pl.DataFrame, title: str, path: Path | str) -> None:
    """Draw each donor's shares of cell types as a bar.

    Parameters
    ----------
    composition
        As of `ihdsi.single_cell.clusters.count_types`.
    title
        The site's.
    path
        PNG file.
    """
    if composition.is_empty():
        _nothing(title, path)
        return
    types = [name for name in composition.columns if name not in ("patient", UNASSIGNED)]
    types += [UNASSIGNED] if UNASSIGNED in composition.columns else []
    styles = _styles(types)
    counts = composition.select(types).to_numpy().astype(float)
    totals = counts.sum(axis=1)
    shares = 100 * counts / totals[:, None]
    figure = Figure(
        figsize=(9, float(np.clip(1.5 + 0.26 * composition.height, 3, 30))), layout="constrained"
    )
    axes = figure.add_subplot()
    donors = [
        f"{donor} ({int(total):,})"
        for donor, total in zip(composition["patient"], totals, strict=True)
    ]
    left = np.zeros(composition.height)
    for index, name in enumerate(types):
        colour, _, hatch = styles[name]
        axes.barh(
            donors,
            shares[:, index],
            left=left,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
            label=_in_words(name),
        )
        left += shares[:, index]
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="Share of the donor's cells (%)", ylabel="Donor (cells)")
    axes.set_title(f"{title}: cell types by donor", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", labelsize=8)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    _save(figure, path, "Cell types by donor")
