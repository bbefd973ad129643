"""What a site is about to release: rows by outcome, and the smallest counts."""

from __future__ import annotations

import altair as alt
import polars as pl

from ihdsi.report.figures.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    VERMILLION,
    Drawing,
    data_of,
    rows_of,
    styled,
)

__all__ = ["OUTCOMES", "rows_by_outcome", "smallest_counts"]

#: What becomes of a row, in the order in which it is drawn.
OUTCOMES = ("released", "released in part", "withheld")
_COLOURS = (BLUE, ORANGE, "#8C8C8C")


def rows_by_outcome(outcomes: pl.DataFrame, description: str) -> Drawing | None:
    """Share of each table's rows that is released, released in part, and withheld.

    Parameters
    ----------
    outcomes
        One row a table: table, and a number of rows for each of `OUTCOMES`; drawn in this order.
    description
        Alternative text.

    Returns
    -------
    alt.LayerChart or None
        None if no table has a row. The numbers stand beside the bars, since tables differ a
        thousandfold in size and shares alone would hide it.
    """
    totals = outcomes.with_columns(total=pl.sum_horizontal(OUTCOMES)).filter(pl.col("total") > 0)
    if totals.is_empty():
        return None
    tables = totals["table"].to_list()
    parts = (
        totals.unpivot(on=list(OUTCOMES), index=["table", "total"], variable_name="outcome")
        .with_columns(
            share=pl.col("value") / pl.col("total"),
            place=pl.col("outcome").replace_strict(
                {name: place for place, name in enumerate(OUTCOMES)}, return_dtype=pl.Int64
            ),
        )
        .filter(pl.col("value") > 0)
    )
    shown = [name for name in OUTCOMES if name in set(parts["outcome"])]
    y_axis = alt.Y("table:N", title=None, sort=tables)
    bars = (
        alt.Chart(data_of(parts))
        .mark_bar(stroke="white", strokeWidth=1)
        .encode(
            x=alt.X(
                "share:Q",
                title="share of the table's rows",
                axis=alt.Axis(format=".0%", tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=y_axis,
            order="place:Q",
            color=alt.Color(
                "outcome:N",
                title="Rows",
                sort=shown,
                scale=alt.Scale(
                    domain=shown, range=[_COLOURS[OUTCOMES.index(name)] for name in shown]
                ),
            ),
        )
    )
    words = [
        {
            "table": row["table"],
            "text": f"{row['released'] + row['released in part']:,} of {row['total']:,}",
        }
        for row in totals.iter_rows(named=True)
    ]
    numbers = (
        alt.Chart(rows_of(words))
        .mark_text(align="left", dx=8, fontSize=12, color=INK)
        .encode(y=y_axis, x=alt.value(520), text="text:N")
    )
    return styled(
        alt.layer(bars, numbers).properties(width=520, height=26 * len(tables)), description
    )


def smallest_counts(
    counts: pl.DataFrame, minimum_cell_count: int, minimum_n: int, description: str
) -> Drawing | None:
    """Smallest count above zero that each count column releases, against the thresholds.

    Parameters
    ----------
    counts
        One row a count column: table, column, smallest (null where the column has none).
    minimum_cell_count, minimum_n
        Thresholds in force; each is a line.
    description
        Alternative text.

    Returns
    -------
    alt.LayerChart or None
        None if no column has a count above zero. A count below `minimum_cell_count` has another
        colour and shape.
    """
    known = counts.filter(pl.col("smallest").is_not_null()).with_columns(
        place=pl.concat_str("table", pl.lit(": "), "column"),
        state=pl.when(pl.col("smallest") < minimum_cell_count)
        .then(pl.lit("below the threshold"))
        .otherwise(pl.lit("at or above the threshold")),
    )
    if known.is_empty():
        return None
    places = known["place"].to_list()
    states = ["at or above the threshold", "below the threshold"]
    # A legend of the usual case alone would say nothing; below the chart it meets no other text.
    legend = alt.Legend(orient="bottom") if set(known["state"]) != {states[0]} else None
    largest = max(int(known["smallest"].max()), minimum_n, minimum_cell_count)  # type: ignore[arg-type]
    axis = alt.Axis(labelLimit=320)
    scale = alt.Scale(domain=[0, largest * 1.08], nice=False)
    title = "smallest count released (patients, samples or alleles)"
    base = alt.Chart(data_of(known.select("place", "smallest", "state")))
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=alt.X("smallest:Q", title=title, scale=scale),
        y=alt.Y("place:N", title=None, sort=places, axis=axis),
        color=alt.Color(
            "state:N",
            title="Count",
            legend=legend,
            scale=alt.Scale(domain=states, range=[BLUE, VERMILLION]),
        ),
        shape=alt.Shape(
            "state:N",
            title="Count",
            legend=legend,
            scale=alt.Scale(domain=states, range=["circle", "square"]),
        ),
    )
    numbers = base.mark_text(align="left", dx=9, fontSize=12, color=INK).encode(
        x=alt.X("smallest:Q", scale=scale), y=alt.Y("place:N", sort=places), text="smallest:Q"
    )
    limits = [
        {"limit": minimum_cell_count, "text": f"smallest cell: {minimum_cell_count}"},
        {"limit": minimum_n, "text": f"smallest group: {minimum_n}"},
    ]
    lines = (
        alt.Chart(rows_of(limits))
        .mark_rule(strokeDash=[5, 4], color=MUTED, strokeWidth=1.5)
        .encode(x=alt.X("limit:Q", scale=scale))
    )
    height = 22 * len(places)
    # Above each other, since both lines may stand close together or be one.
    labels = [
        alt.Chart(rows_of([limit]))
        .mark_text(align="left", dx=4, dy=-8 - 14 * number, fontSize=11, color=MUTED)
        .encode(x=alt.X("limit:Q", scale=scale), y=alt.value(0), text="text:N")
        for number, limit in enumerate(limits)
    ]
    return styled(
        alt.layer(lines, points, numbers, *labels).properties(width=520, height=height),
        description,
    )
