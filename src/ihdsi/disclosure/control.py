"""Apply disclosure control to all summary tables of a site."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, get_args

import polars as pl

from ihdsi.disclosure.identifiers import refuse_identifiers, refuse_identifiers_in_document
from ihdsi.disclosure.statistics import STATISTICS
from ihdsi.disclosure.tables import REASONS, RULES, Context
from ihdsi.disclosure_terms import WithheldBand, withheld_band
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.parquet import empty_table, validate_table
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.table import Role

__all__ = ["LOG_SCHEMA", "apply_disclosure_control", "disclosure_summary"]

LOG_SCHEMA: dict[str, Any] = {
    "table": pl.String,
    "rule": pl.String,
    "key": pl.String,
    "reason": pl.String,
}


def apply_disclosure_control(
    tables: Mapping[str, pl.DataFrame],
    settings: DisclosureSettings,
    identifiers: Collection[str],
    parameters: Mapping[str, int],
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Clear a site's summary tables for release.

    Parameters
    ----------
    tables
        Summary tables by name; tables of the contract that are absent were not measured.
    settings
        The thresholds in force (see `stricter_of`).
    identifiers
        Every name of a patient, sample or file of the site.
    parameters
        Number of model parameters of each contrast and endpoint (see `model_parameters`).

    Returns
    -------
    tuple
        All tables of the contract, cleared (empty where nothing may leave or nothing was
        measured), and the log with table, rule, key (JSON of the row's key) and reason of
        everything withheld. The log names what it withholds: it stays at the site.

    Raises
    ------
    ValueError
        If a table has no rules, a column has no declared role, or a model no number of parameters:
        what has no rule does not leave.
    InputError
        If a table does not fulfil its contract, or it or the disclosure summary holds an
        identifier.
    """
    for name, frame in tables.items():
        _refuse_undeclared(name, frame)
        validate_table(frame, name)
    everything = {name: tables.get(name, empty_table(name)) for name in TABLES}
    context = Context(settings, everything, parameters)
    cleared: dict[str, pl.DataFrame] = {}
    logs = [pl.DataFrame(schema=LOG_SCHEMA)]
    for name, frame in everything.items():
        spec = TABLES[name]
        if frame.is_empty():
            cleared[name] = frame
            continue
        judged = RULES[name](frame.with_columns(rule=pl.lit(None, dtype=pl.String)), context)
        cleared[name] = (
            judged.frame.filter(pl.col("rule").is_null()).select(list(spec.schema)).sort(spec.keys)
        )
        withheld = judged.frame.filter(pl.col("rule").is_not_null())
        logs += [_log(name, part) for part in (withheld, judged.nulled)]
    refuse_identifiers(cleared, identifiers)
    for name, frame in cleared.items():
        validate_table(frame, name)
    log = pl.concat(logs)
    refuse_identifiers_in_document(
        disclosure_summary(log, settings), identifiers, "disclosure.json"
    )
    return cleared, log


def _refuse_undeclared(name: str, frame: pl.DataFrame) -> None:
    if name not in TABLES or name not in RULES:
        raise ValueError(f"table '{name}' has no disclosure rule; nothing leaves without one")
    declared = {
        column.name
        for column in TABLES[name].columns
        if column.role in get_args(Role)
        and (column.role != "statistic" or (name, column.name) in STATISTICS)
    }
    undeclared = [column for column in frame.columns if column not in declared]
    if undeclared:
        raise ValueError(
            f"column '{undeclared[0]}' of table '{name}' has no disclosure rule; nothing leaves "
            "without one"
        )


def _log(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    keys = [key for key in TABLES[name].keys if rows.schema[key] != pl.List(pl.String)]
    return rows.select(
        table=pl.lit(name),
        rule="rule",
        key=pl.struct(keys).struct.json_encode(),
        reason=pl.col("rule").replace_strict(dict(REASONS), return_dtype=pl.String),
    )


def disclosure_summary(log: pl.DataFrame, settings: DisclosureSettings) -> dict[str, Any]:
    """Say how much was withheld, not what: naming a withheld rare variant would disclose it.

    How much is a band, since that exactly one was withheld would be a finding as well.

    Parameters
    ----------
    log
        The site's log.
    settings
        The thresholds that were in force.

    Returns
    -------
    dict
        ``settings`` and ``withheld``: band of the number of entries by table and rule.
    """
    counts = log.group_by("table", "rule").agg(n=pl.len()).sort("table", "rule")
    withheld: dict[str, dict[str, WithheldBand]] = {}
    for table, rule, n in counts.iter_rows():
        withheld.setdefault(table, {})[rule] = withheld_band(n)
    return {"settings": settings.model_dump(mode="json"), "withheld": withheld}
