"""What a site's log says was withheld, as rows that can be browsed and counted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import polars as pl

from ihdsi.study import DisclosureSettings
from ihdsi.summaries import TABLES
from ihdsi.summaries.table import Column, TableSpec

__all__ = ["PARTLY", "REMARK", "WHOLE", "withheld_columns", "withheld_rows"]

#: What becomes of a row that the log names; a remark names none.
WHOLE, PARTLY = "row withheld", "row released without some of its numbers"
REMARK = "remark on the table"

_OUTCOME = Column(
    "outcome",
    pl.String,
    "label",
    description="row withheld; row released without some of its numbers; or, of an entry that "
    "names no row, remark on the table.",
)
_RULE = Column("rule", pl.String, "label", description="Rule of disclosure control.")
_REASON = Column("reason", pl.String, "label", description="The rule in words.")
_KEY = Column("key", pl.String, "key", nullable=True, description="Of a remark, what it says.")


def withheld_rows(
    log: pl.DataFrame, tables: Mapping[str, pl.DataFrame], thresholds: DisclosureSettings
) -> dict[str, pl.DataFrame]:
    """Sort a site's log by table, and split the keys of its rows into columns.

    Parameters
    ----------
    log
        Table, rule, key and reason (see `ihdsi.disclosure.control.LOG_SCHEMA`).
    tables
        What is released: a row that the log names and that is here left without some of its
        numbers.
    thresholds
        Limits in force; each stands in brackets behind its name in a reason.

    Returns
    -------
    dict of polars.DataFrame
        By table, those of the contract first: its key, outcome (`WHOLE`, `PARTLY` or `REMARK`),
        rule and reason. An entry that names no row of the table, a remark on it as a whole, has
        what it says in the column ``key``, which is absent where every entry names a row.
    """
    found = {}
    for (given,), entries in log.partition_by("table", as_dict=True, maintain_order=True).items():
        name = str(given)
        spec = TABLES.get(name)
        keys = [] if spec is None else _log_keys(spec)
        parsed = (
            entries.select("key").clear() if spec is None else _parsed_keys(spec, entries["key"])
        )
        is_row = pl.lit(value=False) if spec is None else pl.col("is_row")
        partly = pl.lit(value=False)
        if spec is not None and tables[name].height:
            released = tables[name].select(pl.struct(keys).struct.json_encode()).to_series()
            partly = pl.col("key").is_in(released.to_list())
        named = entries if spec is None else pl.concat([entries, parsed], how="horizontal")
        judged = named.with_columns(
            outcome=pl.when(~is_row)
            .then(pl.lit(REMARK))
            .when(partly)
            .then(pl.lit(PARTLY))
            .otherwise(pl.lit(WHOLE)),
            reason=pl.col("reason").replace(
                {reason: _with_values(reason, thresholds) for reason in entries["reason"].unique()}
            ),
            key=pl.when(~is_row).then("key"),
        )
        shown = [*keys, "outcome", "rule", "reason"]
        has_remark = judged["key"].null_count() < judged.height
        found[name] = judged.select([*shown, "key"] if has_remark else shown)
    order = {name: place for place, name in enumerate(TABLES)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def _log_keys(spec: TableSpec) -> list[str]:
    """Columns of the key as the log writes it (see `ihdsi.disclosure.control`)."""
    return [key for key in spec.keys if not isinstance(spec.schema[key], pl.List)]


def _parsed_keys(spec: TableSpec, keys: pl.Series) -> pl.DataFrame:
    """Split the log's keys into columns, with `is_row`: whether the entry is a key of the table."""
    names = _log_keys(spec)
    dtype = pl.Struct({name: spec.schema[name] for name in names})
    # Entries of another form would fail the whole column.
    alike = pl.Series([set(_members(key)) == set(names) for key in keys], dtype=pl.Boolean)
    texts = pl.select(pl.when(alike).then(keys)).to_series()
    try:
        columns = texts.str.json_decode(dtype).struct.unnest()
    except pl.exceptions.PolarsError:
        # A value of another type: then no entry is taken apart.
        columns = pl.DataFrame(schema=dict(dtype)).clear(keys.len())
    # What is not reproduced held something else, which must not be lost.
    return columns.with_columns(
        is_row=(columns.select(pl.struct(names).struct.json_encode()).to_series() == keys) & alike
    )


def _members(key: str) -> list[str]:
    """Names of the members of a JSON object; none of what is none."""
    try:
        document = json.loads(key)
    except ValueError:
        return []
    return list(document) if isinstance(document, dict) else []


def withheld_columns(name: str, frame: pl.DataFrame) -> tuple[Column, ...]:
    """Describe the columns of a table of `withheld_rows`."""
    own = {column.name: column for column in (_OUTCOME, _RULE, _REASON, _KEY)}
    return tuple(
        own[column] if column in own else TABLES[name].column(column) for column in frame.columns
    )


def _with_values(reason: str, thresholds: DisclosureSettings) -> str:
    """Put the value behind each threshold that a reason names."""
    for name, value in thresholds.model_dump(mode="json").items():
        reason = re.sub(rf"\b{name}\b", f"{name} ({value})".replace("\\", ""), reason)
    return reason
