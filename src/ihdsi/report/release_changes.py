"""What differs between two releases of a site: rows by key, and how much counts changed."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ihdsi.summaries.table import Column, TableSpec

__all__ = ["CHANGE_COLUMNS", "TableChanges", "compare_tables"]

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_NOW = "_now"
_BEFORE = "_before"

#: Columns of `TableChanges.rows` beside the table's key.
CHANGE_COLUMNS = (
    Column("change", pl.String, "label", description="added, removed or changed."),
    Column(
        "values",
        pl.String,
        "label",
        description="Of an added or removed row, its counts; of a changed one, before → now.",
    ),
    Column(
        "smallest_count_change",
        pl.Int64,
        "count",
        nullable=True,
        unit="1",
        description="Of the counts that changed, by how much the one that changed least.",
    ),
    Column(
        "largest_relative_change",
        pl.Float64,
        "statistic",
        nullable=True,
        unit="%",
        description="Of the numbers that changed, the largest change in percent of the larger.",
    ),
)


@dataclass(frozen=True)
class TableChanges:
    """Differences of one table between two releases.

    Parameters
    ----------
    added, removed, changed, unchanged
        Numbers of rows: only now, only before, with another value, and with all values equal.
    smallest_count_change
        Least number by which a count of a row in both releases changed; None if none did.
    rows
        The rows that differ: the table's key, then `CHANGE_COLUMNS`; the largest changes first.
    """

    added: int
    removed: int
    changed: int
    unchanged: int
    smallest_count_change: int | None
    rows: pl.DataFrame

    @property
    def any(self) -> bool:
        """Whether a row differs."""
        return self.rows.height > 0


def compare_tables(spec: TableSpec, before: pl.DataFrame, now: pl.DataFrame) -> TableChanges:
    """Compare a table with that of an earlier release, row by row.

    Parameters
    ----------
    spec
        The table's contract; both frames fulfil it, so that keys are unique.
    before, now
        The table of the earlier release, and of the one that is looked at.

    Returns
    -------
    TableChanges
        Rows are the same if every value is (null equals null; there is no tolerance).
    """
    keys, values = list(spec.keys), [c for c in spec.columns if c.name not in spec.keys]
    joined = before.with_columns(pl.lit(value=True).alias(_BEFORE)).join(
        now.with_columns(pl.lit(value=True).alias(_NOW)),
        on=keys,
        how="full",
        coalesce=True,
        nulls_equal=True,
        suffix=" now",
    )
    differs = [pl.col(c.name).ne_missing(pl.col(f"{c.name} now")) for c in values]
    kind = (
        pl.when(pl.col(_BEFORE).is_null())
        .then(pl.lit(ADDED))
        .when(pl.col(_NOW).is_null())
        .then(pl.lit(REMOVED))
        .when(pl.any_horizontal(differs))
        .then(pl.lit(CHANGED))
    )
    judged = joined.with_columns(change=kind)
    rows = judged.filter(pl.col("change").is_not_null())
    is_changed = pl.col("change") == CHANGED
    numbers = [c for c in values if c.dtype in (pl.Int64, pl.Float64)]
    counts = [c for c in numbers if c.role == "count"]
    rows = rows.with_columns(
        values=pl.when(is_changed)
        .then(_joined([_before_and_now(c) for c in values]))
        .when(pl.col("change") == ADDED)
        .then(_joined([_single(c, " now") for c in counts]))
        .otherwise(_joined([_single(c, "") for c in counts])),
        smallest_count_change=_over(pl.min_horizontal, [_difference(c) for c in counts], pl.Int64),
        largest_relative_change=_over(
            pl.max_horizontal, [_relative(c) for c in numbers], pl.Float64
        ),
    )
    tally = dict(rows.group_by("change").len().iter_rows())
    smallest = rows["smallest_count_change"].min()
    return TableChanges(
        added=tally.get(ADDED, 0),
        removed=tally.get(REMOVED, 0),
        changed=tally.get(CHANGED, 0),
        unchanged=judged.height - rows.height,
        smallest_count_change=smallest,  # type: ignore[arg-type]
        rows=rows.sort(
            "largest_relative_change",
            *keys,
            descending=[True] + [False] * len(keys),
            nulls_last=True,
        ).select(keys + [column.name for column in CHANGE_COLUMNS]),
    )


def _text(column: Column, suffix: str) -> pl.Expr:
    value = pl.col(f"{column.name}{suffix}")
    if isinstance(column.dtype, pl.List):
        inner = value.list.eval(pl.element().round_sig_figs(5)) if column.is_numeric else value
        return inner.cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True).fill_null("none")
    if column.dtype == pl.Float64:
        value = value.round_sig_figs(5)
    text = value.cast(pl.String).fill_null("none")
    return text.str.replace("^-", "−") if column.is_numeric else text


def _before_and_now(column: Column) -> pl.Expr:
    """`name before → now`, and null where the value did not change."""
    differs = pl.col(column.name).ne_missing(pl.col(f"{column.name} now"))
    return pl.when(differs).then(
        pl.concat_str(
            pl.lit(f"{column.name} "), _text(column, ""), pl.lit(" → "), _text(column, " now")
        )
    )


def _single(column: Column, suffix: str) -> pl.Expr:
    return pl.concat_str(pl.lit(f"{column.name} "), _text(column, suffix))


def _joined(parts: list[pl.Expr]) -> pl.Expr:
    return pl.concat_str(parts, separator="; ", ignore_nulls=True) if parts else pl.lit("")


def _over(reduce: object, parts: list[pl.Expr], dtype: type[pl.DataType]) -> pl.Expr:
    return reduce(parts) if parts else pl.lit(None, dtype=dtype)  # type: ignore[operator,no-any-return]


def _difference(column: Column) -> pl.Expr:
    """By how much a count changed; null where it did not, or is missing before or now."""
    size = (pl.col(f"{column.name} now") - pl.col(column.name)).abs()
    return pl.when(size > 0).then(size)


def _relative(column: Column) -> pl.Expr:
    """Change in percent of the larger of both sizes; from 0 or to 0 it is 100."""
    before, now = (pl.col(f"{column.name}{suffix}").cast(pl.Float64) for suffix in ("", " now"))
    size = (now - before).abs()
    larger = pl.max_horizontal(before.abs(), now.abs())
    return pl.when((size > 0) & before.is_not_null() & now.is_not_null()).then(100 * size / larger)
