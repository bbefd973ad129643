"""Altered genes: their frequency by site, and their recurrence beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from ihdsi.meta.estimators import wilson_interval
from ihdsi.report.figures.style import (
    BLUE,
    CLASS_COLOURS,
    COLOURED_SITES,
    COPY_NUMBER_COLOURS,
    INK,
    MUTED,
    NOISE,
    SITE_SHAPES,
    VERMILLION,
    Drawing,
    data_of,
    site_colour,
    styled,
)
from ihdsi.summaries.gene_alterations import ANY, PROMOTER

__all__ = ["alteration_dots", "driver_recurrence"]


def alteration_dots(
    tables: Mapping[str, pl.DataFrame],
    pooled: pl.DataFrame,
    genes: Sequence[str],
    description: str,
) -> Drawing | None:
    """Altered share of patients by gene and site, the class mix, and copy-number changes.

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
        is drawn with its interval (Wilson, 95 %) over small grey dots of the sites. Copy numbers
        have a panel of their own where any was released: gains to the right, losses to the left.
        Altered promoters have a row of their own, because they are in no other count.
    """
    genes = _with_promoter_rows(genes, pooled)
    tables = {site: _promoters_apart(frame) for site, frame in tables.items()}
    pooled = _promoters_apart(pooled)
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
        y=alt.Y(
            "name:N",
            title=None,
            sort=order,
            scale=alt.Scale(domain=order),
            axis=alt.Axis(labelFontStyle="italic"),
        )
    ).properties(width=470, height=height)

    panels = [
        panel.properties(height=height)
        for panel in (
            _class_mix(pooled.filter(whole).join(names, on="gene_id"), order),
            _copy_number_bars(pooled.filter(whole).join(names, on="gene_id"), order),
        )
        if panel is not None
    ]
    if not panels:
        return styled(dots, description)
    return styled(
        alt.hconcat(dots, *panels, spacing=18).resolve_scale(
            color="independent", shape="independent"
        ),
        description,
    )


def _promoters_apart(table: pl.DataFrame) -> pl.DataFrame:
    """Make counts of promoters those of a gene of its own, ``TERT promoter``."""
    is_promoter = pl.col("alteration_class") == PROMOTER
    return table.with_columns(
        gene_name=pl.when(is_promoter)
        .then(pl.coalesce("gene_name", "gene_id") + " promoter")
        .otherwise("gene_name"),
        gene_id=pl.when(is_promoter).then(pl.col("gene_id") + " promoter").otherwise("gene_id"),
        alteration_class=pl.when(is_promoter).then(pl.lit(ANY)).otherwise("alteration_class"),
    )


def _with_promoter_rows(genes: Sequence[str], pooled: pl.DataFrame) -> list[str]:
    """Put each altered promoter behind its gene, or in its place if nothing else is altered."""
    altered = pooled.filter((pl.col("stratum") == "all") & (pl.col("n_altered") > 0))
    classes = dict(altered.group_by("gene_id").agg("alteration_class").iter_rows())
    rows: list[str] = []
    for gene in genes:
        present = set(classes.get(gene, ()))
        if present != {PROMOTER}:
            rows.append(gene)
        if PROMOTER in present:
            rows.append(f"{gene} promoter")
    return rows


def _gene_rows(order: Sequence[str]) -> alt.Y:
    # Every gene has its row in every panel, whether or not it has a bar there.
    return alt.Y(
        "name:N",
        title=None,
        sort=list(order),
        scale=alt.Scale(domain=list(order)),
        axis=alt.Axis(labels=False, ticks=False),
    )


def _class_mix(pooled: pl.DataFrame, order: Sequence[str]) -> Drawing | None:
    """Small variants by class; None without any."""
    classes = pooled.filter(
        pl.col("alteration_class").is_in(list(CLASS_COLOURS)) & (pl.col("n_altered") > 0)
    )
    if classes.is_empty():
        return None
    present = set(classes["alteration_class"])
    colours = {name: colour for name, colour in CLASS_COLOURS.items() if name in present}
    ranks = {name: rank for rank, name in enumerate(CLASS_COLOURS)}
    rows = classes.with_columns(rank=pl.col("alteration_class").replace_strict(ranks))
    return (
        alt.Chart(data_of(rows.select("name", "alteration_class", "rank", "n_altered")))
        .mark_bar(stroke="white", strokeWidth=0.5)
        .encode(
            y=_gene_rows(order),
            x=alt.X(
                "n_altered:Q",
                stack="normalize",
                title="share of released class counts",
                axis=alt.Axis(format=".0%", tickCount=4),
            ),
            order=alt.Order("rank:Q"),
            color=alt.Color(
                "alteration_class:N",
                title="Class",
                scale=alt.Scale(domain=list(colours), range=list(colours.values())),
                legend=alt.Legend(columns=3),
            ),
            tooltip=[
                alt.Tooltip("name:N", title="gene"),
                alt.Tooltip("alteration_class:N", title="class"),
                alt.Tooltip("n_altered:Q", title="patients"),
            ],
        )
        .properties(width=230)
    )


def _copy_number_bars(pooled: pl.DataFrame, order: Sequence[str]) -> Drawing | None:
    """Share of patients with more or fewer copies, from the middle outwards; None without any."""
    changes = pooled.filter(
        pl.col("alteration_class").is_in(list(COPY_NUMBER_COLOURS)) & (pl.col("n_altered") > 0)
    )
    if changes.is_empty():
        return None
    fewer = pl.col("alteration_class").is_in(["loss", "deletion"])
    # The stronger change lies at the middle on both sides.
    ranks = {"amplification": 0, "gain": 1, "deletion": 0, "loss": 1}
    rows = changes.with_columns(
        share=pl.col("n_altered") / pl.col("n_assessed"),
        rank=pl.col("alteration_class").replace_strict(ranks),
    ).with_columns(signed=pl.when(fewer).then(-pl.col("share")).otherwise("share"))
    columns = ["name", "alteration_class", "rank", "signed", "share", "n_altered", "n_assessed"]
    bars = (
        alt.Chart(data_of(rows.select(columns)))
        .mark_bar(stroke="white", strokeWidth=0.5)
        .encode(
            y=_gene_rows(order),
            x=alt.X(
                "signed:Q",
                stack="zero",
                title="fewer copies | more copies",
                axis=alt.Axis(labelExpr="format(abs(datum.value), '.0%')", tickCount=5),
            ),
            order=alt.Order("rank:Q"),
            color=alt.Color(
                "alteration_class:N",
                title="Copy number",
                scale=alt.Scale(
                    domain=list(COPY_NUMBER_COLOURS), range=list(COPY_NUMBER_COLOURS.values())
                ),
                legend=alt.Legend(columns=2),
            ),
            tooltip=[
                alt.Tooltip("name:N", title="gene"),
                alt.Tooltip("alteration_class:N", title="class"),
                alt.Tooltip("n_altered:Q", title="patients"),
                alt.Tooltip("n_assessed:Q", title="assessed"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    middle = alt.Chart().mark_rule(color=MUTED, size=1).encode(x=alt.datum(0))
    return alt.layer(bars, middle).properties(width=200)


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
        data_of(by_site.select("name", "site", "share", "low", "high", "n_altered", "n_assessed"))
    )
    offset = alt.YOffset("site:N", sort=sites)
    numbers = dict(by_site.group_by("site").agg(pl.col("n_assessed").max()).iter_rows())
    legend = "".join(
        f"datum.value == {site!r} ? {f'{site} (n = {numbers[site]})'!r} : " for site in sites
    )
    colour = site_colour(sites)
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
        alt.Chart(data_of(by_site.select("name", "site", "share", "n_altered", "n_assessed")))
        .mark_point(filled=True, size=26, color=NOISE, opacity=0.8)
        .encode(x=alt.X("share:Q", title=title, axis=FREQUENCY_AXIS), tooltip=FREQUENCY_TOOLTIP)
    )
    whiskers = (
        alt.Chart(data_of(total))
        .mark_rule(size=1.8, color=BLUE)
        .encode(x=alt.X("low:Q", title=title), x2="high:Q")
    )
    centre = (
        alt.Chart(data_of(total))
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
    base = alt.Chart(data_of(rows))
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
    return styled(
        alt.layer(span, expected, observed, counts).properties(width=640, height=alt.Step(26)),
        description,
    )
