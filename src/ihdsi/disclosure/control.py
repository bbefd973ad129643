"""Apply disclosure control to all summary tables of a site."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import polars as pl

from ihdsi.bundle.manifest import DisclosureStatement, canonical_json
from ihdsi.disclosure.contributions import FEATURES_SCHEMA
from ihdsi.disclosure.differencing import Comparison, EarlierRelease
from ihdsi.disclosure.differential_privacy import privatise, require_budget
from ihdsi.disclosure.frequency_release import (
    GenotypeSource,
    MembershipPower,
    judge_frequencies,
)
from ihdsi.disclosure.identifiers import (
    refuse_identifiers,
    refuse_identifiers_in_document,
    refuse_identifiers_in_parquet,
)
from ihdsi.disclosure.overlaps import MODEL_TABLES, Overlaps, find_overlaps
from ihdsi.disclosure.released_frequencies import earlier_frequencies
from ihdsi.disclosure.statistics import COUNTS, STATISTICS
from ihdsi.disclosure.tables import REASONS, RULES, Context, Judged
from ihdsi.disclosure.tables.reasons import MEMBERSHIP_POWER
from ihdsi.disclosure_terms import WithheldBand, withheld_band
from ihdsi.files import write_text
from ihdsi.study import Contrast, DisclosureSettings
from ihdsi.summaries.parquet import empty_table, validate_table, write_table
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.strata import ALL
from ihdsi.summaries.table import Role

__all__ = ["LOG_SCHEMA", "apply_disclosure_control", "disclosure_summary", "write_statement"]

#: Tables that are judged together, after the others.
_FREQUENCIES = ("variant_frequencies", "germline_gene_carriers")
#: Tables whose rules look at each other's.
_JUDGED_TOGETHER = {*MODEL_TABLES, "cell_composition", "qc_profile"}

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
    *,
    earlier: Sequence[EarlierRelease] = (),
    populations: pl.DataFrame | None = None,
    spent_epsilon: float = 0.0,
    genotypes: GenotypeSource | None = None,
    features: pl.DataFrame | None = None,
    strata: Sequence[str] = (),
    contrasts: Mapping[str, Contrast] | None = None,
    key: bytes = b"",
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
        Number of model parameters of each contrast and endpoint (see `model_parameters`), in the
        study's order: of those that cannot leave together the last are withheld.
    earlier, populations
        Earlier releases of the site, and whom the tables at hand count (see
        `ihdsi.disclosure.differencing.Comparison`).
    spent_epsilon
        Privacy loss of earlier releases, where the settings ask for differential privacy.
    genotypes
        The patients behind `variant_frequencies`. Without them no germline frequency leaves, as the
        power of a membership attack is not known. The table `germline_gene_carriers` is made here.
    features
        What single patients make up of each feature's statistics (see
        `ihdsi.disclosure.contributions.judge_features`). Features that are not in it do not leave.
    strata
        The study's stratum variables, in its order: of those that cannot leave together the last
        are withheld.
    contrasts
        The study's contrasts. Their groups are compared with strata of the shares of cell types.
    key
        The site's secret (see `ihdsi.disclosure.partner_order`).

    Returns
    -------
    tuple
        All tables of the contract, cleared (empty where nothing may leave or nothing was
        measured), and the log with table, rule, key (JSON of the row's key) and reason of
        everything withheld; one more entry, of the rule ``membership_power``, states the power
        of a membership attack. The log names what it withholds: it stays at the site.

    Raises
    ------
    ValueError
        If a table has no rules, a column has no declared role, a model no number of parameters, or
        (with earlier releases) a row no patients: what has no rule does not leave.
    InputError
        If a table does not fulfil its contract, it or the disclosure summary holds an identifier,
        or the privacy budget does not hold this release.
    """
    noise = settings.differential_privacy
    if noise is not None:
        require_budget(noise, spent_epsilon)
    for name, frame in tables.items():
        _refuse_undeclared(name, frame)
        validate_table(frame, name)
    comparison = Comparison(
        settings,
        earlier,
        populations,
        tables.get("expression_design"),
        noisy=() if noise is None else noise.tables,
        matrix_design=tables.get("matrix_design"),
    )
    everything = {
        name: comparison.mark(name, tables.get(name, empty_table(name))) for name in TABLES
    }
    context = Context(
        settings,
        everything,
        parameters,
        comparison.mark,
        comparison.compare_curves,
        comparison.released_variants,
        earlier_frequencies(earlier, populations),
        pl.DataFrame(schema=FEATURES_SCHEMA) if features is None else features,
        key,
        contrasts or {},
    )
    context, found = _without_overlaps(context, populations, earlier, strata)
    cleared: dict[str, pl.DataFrame] = {}
    logs = [pl.DataFrame(schema=LOG_SCHEMA)]
    frequencies = judge_frequencies(context, genotypes)
    joint = {
        "variant_frequencies": frequencies.variants,
        "germline_gene_carriers": frequencies.carriers,
    }
    for name, frame in everything.items():
        spec = TABLES[name]
        if name not in joint and frame.is_empty():
            cleared[name] = frame.select(list(spec.schema))
            continue
        judged = joint[name] if name in joint else found[name]
        cleared[name] = (
            judged.frame.filter(pl.col("rule").is_null()).select(list(spec.schema)).sort(spec.keys)
        )
        withheld = judged.frame.filter(pl.col("rule").is_not_null())
        logs += [_log(name, part) for part in (withheld, judged.nulled)]
    if noise is not None:
        cleared = privatise(cleared, noise)
    refuse_identifiers(cleared, identifiers)
    for name, frame in cleared.items():
        validate_table(frame, name)
    if frequencies.power is not None:
        # A row with genotype counts is two frequencies.
        n_released = sum(cleared[name].height for name in joint)
        n_released += cleared["variant_frequencies"]["n_carriers"].count()
        logs.append(_power_entry(frequencies.power, n_released))
    log = pl.concat(logs)
    refuse_identifiers_in_document(
        disclosure_summary(log, settings), identifiers, "disclosure.json"
    )
    return cleared, log


def _without_overlaps(
    context: Context,
    populations: pl.DataFrame | None,
    earlier: Sequence[EarlierRelease],
    strata: Sequence[str],
) -> tuple[Context, dict[str, Judged]]:
    """Judge all tables but germline frequencies, and withhold what overlaps until nothing does.

    What overlaps depends on what the rules let leave, and the rules on what is withheld already.
    """
    overlaps = Overlaps()
    judged: dict[str, Judged] = {}
    again = set(context.tables)
    while True:
        judged |= {
            name: RULES[name](frame, context)
            for name, frame in context.tables.items()
            if name in again and name not in _FREQUENCIES and not frame.is_empty()
        }
        if populations is None:
            return context, judged
        leaving = {name: verdict.frame for name, verdict in judged.items()}
        leaving |= _possible_frequencies(context, earlier)
        found = find_overlaps(
            {name: frame.filter(pl.col("rule").is_null()) for name, frame in leaving.items()},
            populations,
            earlier,
            context.settings,
            list(context.parameters),
            strata,
            overlaps,
        )
        if found == overlaps:
            return context, judged
        overlaps = found
        tables = {name: found.mark(name, frame) for name, frame in context.tables.items()}
        again = {name for name, frame in tables.items() if not frame.equals(context.tables[name])}
        if again & _JUDGED_TOGETHER:
            # Their rules look at each other's tables.
            again |= _JUDGED_TOGETHER
        context = replace(context, tables=tables, mark=partial(_marked, context.mark, found))


def _possible_frequencies(
    context: Context, earlier: Sequence[EarlierRelease]
) -> dict[str, pl.DataFrame]:
    """List germline frequencies that may leave, before it is decided how many of them do.

    Any gene that left before may leave again.
    """
    variants, carriers = _FREQUENCIES
    possible = {}
    if not (table := context.tables[variants]).is_empty():
        stratified = context.settings.stratified_frequencies
        possible[variants] = (
            RULES[variants](table, context).frame
            if stratified
            else table.filter(stratum_variable=ALL)
        )
        keys = TABLES[carriers].keys
        genes = [release.tables[carriers] for release in earlier if carriers in release.tables]
        told = pl.concat([empty_table(carriers), *genes]).select(keys).unique()
        possible[carriers] = (
            told if stratified else told.filter(stratum_variable=ALL)
        ).with_columns(rule=pl.lit(None, dtype=pl.String))
    return possible


def _marked(
    mark: Callable[[str, pl.DataFrame], pl.DataFrame],
    overlaps: Overlaps,
    name: str,
    frame: pl.DataFrame,
) -> pl.DataFrame:
    return overlaps.mark(name, mark(name, frame))


def _power_entry(power: MembershipPower, n_frequencies: int) -> pl.DataFrame:
    entry = {
        "table": "variant_frequencies",
        "rule": MEMBERSHIP_POWER,
        "key": json.dumps({**asdict(power), "n_frequencies": n_frequencies}),
        "reason": REASONS[MEMBERSHIP_POWER],
    }
    return pl.DataFrame([entry], schema=LOG_SCHEMA)


def _refuse_undeclared(name: str, frame: pl.DataFrame) -> None:
    if name not in TABLES or name not in RULES:
        raise ValueError(f"table '{name}' has no disclosure rule; nothing leaves without one")
    declared = {
        column.name
        for column in TABLES[name].columns
        if column.role in get_args(Role)
        and (column.role != "statistic" or (name, column.name) in STATISTICS)
        and (column.role != "count" or column.name in COUNTS[name])
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


def disclosure_summary(
    log: pl.DataFrame, settings: DisclosureSettings, *, override: bool = False
) -> dict[str, Any]:
    """Say how much was withheld, not what: naming a withheld rare variant would disclose it.

    How much is a band, since that exactly one was withheld would be a finding as well.

    Parameters
    ----------
    log
        The site's log.
    settings
        The thresholds that were in force.
    override
        Whether `maximum_membership_power` was above the study's by a signed override.

    Returns
    -------
    dict
        ``settings``; ``withheld``: band of the number of entries by table and rule; and
        ``membership``, where the site has germline frequencies: the power of an attack on them.
    """
    is_power = pl.col("rule") == MEMBERSHIP_POWER
    counts = log.filter(~is_power).group_by("table", "rule").agg(n=pl.len()).sort("table", "rule")
    withheld: dict[str, dict[str, WithheldBand]] = {}
    for table, rule, n in counts.iter_rows():
        withheld.setdefault(table, {})[rule] = withheld_band(n)
    summary = {"settings": _flat(settings), "withheld": withheld}
    stated = log.filter(is_power)["key"]
    if stated.len():
        summary["membership"] = {**json.loads(stated[-1]), "override": override}
    return summary


def write_cleared(
    tables: Mapping[str, pl.DataFrame], identifiers: Collection[str], paths: Iterable[str]
) -> None:
    """Write cleared tables, each to the path of its name, and look for identifiers in the files.

    Raises
    ------
    InputError
        If a file, its metadata included, holds an identifier.
    """
    for path in paths:
        name = Path(path).stem
        write_table(tables[name], name, path)
        refuse_identifiers_in_parquet(path, identifiers)


def write_statement(
    log: pl.DataFrame, settings: DisclosureSettings, override: bool, path: Path | str
) -> None:
    """Write the site's disclosure statement, as the bundle holds it (see `disclosure_summary`)."""
    summary = disclosure_summary(log, settings, override=override)
    statement = DisclosureStatement.model_validate(summary)
    write_text(canonical_json(statement.model_dump(mode="json")).decode(), path)


def _flat(settings: DisclosureSettings) -> dict[str, bool | int | float]:
    """Lay the settings out as one number or truth value a key."""
    numbers = settings.model_dump(mode="json", exclude={"differential_privacy"})
    noise = settings.differential_privacy
    if noise is not None:
        numbers |= {
            "differential_privacy_epsilon": noise.epsilon,
            "differential_privacy_budget": noise.budget,
            **{f"differential_privacy_of_{table}": True for table in noise.tables},
        }
    return numbers
