"""Groups of patients that overlap: what sums over several of them tell together of one patient.

Contrasts share patients, and so do the strata of two variables: if the men are the patients with
lung cancer but for one, two sums tell this man's value. Looked at are, for every kind of data of
which sums leave (expression, each matrix, each cell type; each population that is counted by
strata), all groups that would leave in this release together, whatever their names, and those that
left in earlier ones. What is withheld are whole contrasts, or whole stratum variables of a
population, the study's last first, until no two groups differ by few patients and nobody has a
large share in any combination of sums (see `ihdsi.disclosure.joint_leverage`).

Not looked at: numeric covariates, sums over which leave as well; sums of two patients or more that
take three groups or more to compute; X'X of contrasts on different variables in different kinds of
data, which are counts of groups; what one variable's level is but for few the other's (two
endpoints' events, two clinical variables' levels); and studies with another ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

import polars as pl

from ihdsi.disclosure.differencing import (
    ENDPOINT,
    EarlierRelease,
    Model,
    counted_groups,
    model_of,
)
from ihdsi.disclosure.joint_leverage import NEARLY_EQUAL, harmless, refusal
from ihdsi.disclosure.members import GROUP_COLUMNS, Group, Stratum, members_of
from ihdsi.disclosure.rules import group_size
from ihdsi.disclosure.tables.reasons import JOINT, OVERLAP, STRATA
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.strata import ALL

__all__ = ["MODEL_TABLES", "STRATIFIED_TABLES", "Overlaps", "find_overlaps"]

#: Tables with sums, or statistics made of sums, over the groups of a model.
MODEL_TABLES = (
    "expression_design",
    "expression_moments",
    "expression_effects",
    "matrix_design",
    "matrix_moments",
    "cell_expression_effects",
    "survival_effects",
)
#: Tables with sums over strata; those of quality metrics are the patients with the metric.
STRATIFIED_TABLES = (
    "qc_profile",
    *(name for name, spec in TABLES.items() if "stratum" in spec.keys),
)
#: Columns of a key that do not name a line: the same patients are in all bins of time.
_WITHIN_A_LINE = ("stratum_variable", "stratum", "time_lower", "time_upper")

Members = Mapping[str, Mapping[Stratum, Group]]
#: Strata of a line that leave (0) and that left (number of the earlier release).
Line = frozenset[tuple[int, Stratum]]


@dataclass(frozen=True)
class Overlaps:
    """What is withheld because groups of patients overlap, and by which rule.

    Parameters
    ----------
    models
        Rule by population of a model.
    strata
        Rule by population and stratum variable; the variable ``all`` is the whole population.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    strata: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def mark(self, table: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Name the rule for rows of the table that are withheld and have no ``rule`` yet."""
        withheld = [
            *((population, ALL, rule) for population, rule in self.models.items()),
            *((*place, rule) for place, rule in self.strata.items()),
        ]
        if not withheld or frame.is_empty():
            return frame
        rules = pl.DataFrame(withheld, schema=[*GROUP_COLUMNS[:2], "_found"], orient="row")
        found = counted_groups(table, frame).join(
            rules, on=list(GROUP_COLUMNS[:2]), how="left", maintain_order="left"
        )
        return frame.with_columns(rule=pl.coalesce("rule", found["_found"]))


def find_overlaps(
    leaving: Mapping[str, pl.DataFrame],
    populations: pl.DataFrame,
    earlier: Sequence[EarlierRelease],
    settings: DisclosureSettings,
    models: Sequence[str],
    strata: Sequence[str],
    found: Overlaps,
) -> Overlaps:
    """Find contrasts, endpoints and stratum variables that cannot leave beside the others.

    Parameters
    ----------
    leaving
        Rows that all other rules would let leave, by table.
    populations
        population, stratum_variable, stratum, and patient_hash or patient: whom the tables count.
    earlier
        Earlier releases.
    settings
        Two groups have to differ by `ihdsi.disclosure.rules.group_size` patients, and nobody's
        leverage may reach `maximum_contribution` (1 turns this off).
    models, strata
        Names of contrasts and endpoints, and stratum variables, in the study's order: the last are
        withheld first. Names that are not listed come after those that are, by the alphabet.
    found
        What is withheld already.

    Returns
    -------
    Overlaps
        `found` and what is withheld besides; equal to `found` if nothing is.
    """
    members = members_of(populations)
    before = [members_of(release.populations) for release in earlier]
    least, limit = group_size(settings), settings.maximum_contribution
    of_models, of_strata = dict(found.models), dict(found.strata)
    told = _told(earlier, before)
    left = {name for release in earlier for name in _populations_of_models(release.tables)}
    for kind, units in _units(leaving, members, left, models).items():
        admitted: set[Group] = set()
        for names in units:
            groups = set().union(*(_with_rests(members[name]) for name in names))
            verdict = refusal(groups, admitted, told.get(kind, set()), least, limit)
            if verdict is None:
                admitted |= groups
            else:
                of_models |= dict.fromkeys(names, OVERLAP if verdict == NEARLY_EQUAL else JOINT)
    for population, lines in _lines(leaving, earlier).items():
        kept: list[str] = []
        theirs = [release.get(population, {}) for release in before]
        named = {variable for line in lines for _, (variable, _) in line} - {ALL}
        for variable in (ALL, *_in_order(named, strata)):
            # Lines that differ in what is decided later are one here.
            alike = {
                frozenset(part for part in line if part[0] > 0 or part[1][0] in (*kept, variable))
                for line in lines
            }
            own = members.get(population, {})
            verdict = _verdict(alike, kept, own, theirs, settings)
            if verdict is None:
                kept.append(variable)
            else:
                of_strata[population, variable] = STRATA if verdict == NEARLY_EQUAL else JOINT
    return Overlaps(of_models, of_strata)


def _in_order(names: Iterable[str], order: Sequence[str]) -> list[str]:
    place = {name: number for number, name in enumerate(order)}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def _with_rests(groups: Mapping[Stratum, Group]) -> set[Group]:
    """Add to groups what each leaves of the whole, whose sum is known with both."""
    whole = groups.get((ALL, ALL), frozenset())
    return {*groups.values(), *(whole - group for group in groups.values())} - {frozenset()}


def _populations_of_models(tables: Mapping[str, pl.DataFrame]) -> set[str]:
    """List populations of models that have rows in the tables."""
    return {
        population
        for name in MODEL_TABLES
        if name in tables
        for population in counted_groups(name, tables[name])["population"].unique()
    }


def _kind(model: Model, groups: Mapping[Stratum, Group]) -> str:
    """Name the kind of data that a model's sums are of; of endpoints, those of one event."""
    kind = model.kind
    events = sorted({variable for variable, _ in groups} - {ALL})
    return ":".join((kind, *events)) if kind == ENDPOINT else kind


def _units(
    leaving: Mapping[str, pl.DataFrame],
    members: Members,
    left: Set[str],
    order: Sequence[str],
) -> dict[str, list[list[str]]]:
    """List, by kind of data, the populations that leave together, in the order of choice."""
    units: dict[str, dict[tuple[str, int], list[str]]] = defaultdict(lambda: defaultdict(list))
    place = {name: number for number, name in enumerate(order)}
    for population in sorted(_populations_of_models(leaving) & members.keys()):
        model = model_of(population)
        if model is None:
            continue
        kind = _kind(model, members[population])
        units[kind][model.name, model.pattern].append(population)
    return {
        kind: [
            names
            for _, names in sorted(
                found.items(),
                key=lambda unit: (
                    left.isdisjoint(unit[1]),
                    unit[0][1],
                    place.get(unit[0][0], len(place)),
                    unit[0][0],
                ),
            )
        ]
        for kind, found in units.items()
    }


def _told(earlier: Sequence[EarlierRelease], before: Sequence[Members]) -> dict[str, set[Group]]:
    """Collect, by kind of data, groups over which sums of models left."""
    told: dict[str, set[Group]] = defaultdict(set)
    for release, members in zip(earlier, before, strict=True):
        for population in _populations_of_models(release.tables) & members.keys():
            model, groups = model_of(population), members[population]
            if model is not None:
                told[_kind(model, groups)] |= set(groups.values())
    return told


def _lines(
    leaving: Mapping[str, pl.DataFrame], earlier: Sequence[EarlierRelease]
) -> dict[str, set[Line]]:
    """List, by population, which strata of a line leave and left; lines alike are one."""
    lines: dict[str, set[Line]] = defaultdict(set)
    for name in STRATIFIED_TABLES:
        keys = [key for key in TABLES[name].keys if key not in _WITHIN_A_LINE]
        parts = [
            frame.select(keys)
            .hstack(counted_groups(name, frame))
            .with_columns(_release=pl.lit(number, dtype=pl.Int64))
            for number, frame in enumerate(
                (leaving.get(name), *(release.tables.get(name) for release in earlier))
            )
            if frame is not None and not frame.is_empty()
        ]
        if not parts:
            continue
        rows = pl.concat(parts)
        groups = (
            rows.select(*GROUP_COLUMNS, "_release")
            .unique(maintain_order=True)
            .with_row_index("_id")
        )
        found = (
            rows.join(groups, on=[*GROUP_COLUMNS, "_release"], how="left", maintain_order="left")
            .group_by("population", *keys)
            .agg(pl.col("_id").unique().sort())
            .select("population", pl.col("_id").cast(pl.List(pl.String)).list.join(" "))
            .unique()
        )
        strata = {
            number: (release, (variable, stratum))
            for number, _, variable, stratum, release in groups.iter_rows()
        }
        for population, numbers in found.iter_rows():
            line = frozenset(strata[int(number)] for number in numbers.split())
            if any(release == 0 for release, _ in line):
                lines[population].add(line)
    return lines


def _verdict(
    lines: Set[Line],
    kept: Sequence[str],
    now: Mapping[Stratum, Group],
    before: Sequence[Mapping[Stratum, Group]],
    settings: DisclosureSettings,
) -> str | None:
    """Say why, in some line, strata cannot leave beside those of the variables that are kept."""
    thresholds = group_size(settings), settings.maximum_contribution
    safe: list[Line] = []
    # The longest first: what is a part of a harmless line need not be looked at.
    for line in sorted(lines, key=lambda line: (-len(line), sorted(line))):
        if any(line <= other for other in safe):
            continue
        leaving = {s: now[s] for number, s in line if number == 0 and s in now}
        told = {
            before[number - 1][stratum]
            for number, stratum in line
            if number > 0 and stratum in before[number - 1]
        }
        admitted = _with_rests({s: group for s, group in leaving.items() if s[0] in kept})
        new = _with_rests(leaving) - admitted
        if harmless(new, admitted, told, *thresholds):
            safe.append(line)
        elif (verdict := refusal(new, admitted, told, *thresholds)) is not None:
            return verdict
    return None
