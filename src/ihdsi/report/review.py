"""The data steward's page: what a release would hand over, and how to approve or reject it.

The page is for a person who answers for the patients and is no statistician. It stays inside the
hospital, since it names what was withheld.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from ihdsi.bundle import Bundle, open_bundle
from ihdsi.bundle.manifest import (
    CRATE,
    DISCLOSURE,
    MANIFEST,
    WORKFLOW,
    content_sha256,
    needs_exception,
)
from ihdsi.files import sha256_of, write_text
from ihdsi.report.figures.release import OUTCOMES, rows_by_outcome, smallest_counts
from ihdsi.report.figures.style import Drawing
from ihdsi.report.markup import (
    content_security_policy,
    script_json,
    template_environment,
    template_text,
    visible,
)
from ihdsi.report.release_changes import CHANGE_COLUMNS, TableChanges, compare_tables
from ihdsi.report.release_checks import (
    Check,
    check_budget,
    check_changes,
    check_counts,
    check_history,
    check_membership,
    count_columns,
)
from ihdsi.report.tables import UNIT_WORDS
from ihdsi.report.withheld_rows import PARTLY, REMARK, WHOLE, withheld_columns, withheld_rows
from ihdsi.study import DisclosureSettings
from ihdsi.summaries import TABLES
from ihdsi.summaries.parquet import empty_table
from ihdsi.summaries.table import Column

__all__ = ["PLAIN_WORDS", "ROWS_A_PAGE", "ReviewRequest", "write_review"]

#: Rows that one page embeds; a larger table has several pages, so that a browser opens each.
ROWS_A_PAGE = 100_000
#: Different texts of a column that are listed; of more, only the number is.
TEXTS_LISTED = 12
#: Changed rows of each table that stand on the first page.
CHANGES_SHOWN = 5

#: What a row of each table tells, for a reader who is no statistician.
PLAIN_WORDS: Mapping[str, str] = {
    "cohort_profile": "How many patients have which age, sex, stage, tumour subtype (by marker "
    "genes) and so on; averages and histograms, never one patient.",
    "qc_profile": "How many samples were measured how well, and how many failed a quality limit.",
    "variant_frequencies": "How many patients carry each inherited variant. Many such numbers "
    "together can show whether a known person is among the patients; see the privacy budget.",
    "gene_alterations": "In how many patients the tumour has a changed gene.",
    "mutation_burden": "How many mutations tumours have on average.",
    "expression_effects": "How strongly each gene's activity differs between two groups of "
    "patients.",
    "expression_design": "How many patients were compared, and how their characteristics go "
    "together.",
    "expression_moments": "Sums over all patients of each gene's activity, from which the "
    "coordinator computes a joint comparison.",
    "survival_effects": "How strongly each gene's activity goes with survival.",
    "germline_gene_carriers": "How many patients carry a rare inherited variant in each gene; the "
    "variants themselves are not named.",
    "matrix_design": "How many patients of another kind of measurement were compared, and how "
    "their characteristics go together.",
    "matrix_moments": "Sums over all patients of each measured value of another kind, from which "
    "the coordinator computes a joint comparison.",
    "survival_curve": "How many patients were followed for how long, and how many had the event "
    "of interest in each span of time.",
    "cell_composition": "Which share of the cells is of which kind, on average over patients.",
    "cell_expression_effects": "How strongly each gene's activity in one kind of cell differs "
    "between two groups of patients.",
}

#: Names of what disclosure control says of membership inference, in words; others are shown as
#: they are.
_MEMBERSHIP_WORDS: Mapping[str, str] = {
    "power_before": "Power if every frequency left",
    "power_after": "Power with the frequencies of this and all earlier releases together",
    "maximum_power": "Largest power allowed",
    "false_positive_rate": "Share of strangers wrongly taken for patients",
    "area_under_curve": "Chance that the test ranks a patient above a stranger (50 % is a guess)",
    "exceeded_before": "Earlier releases alone exceed what is allowed, so that nothing new leaves",
    "n_patients": "Patients whose variants were counted",
    "n_frequencies": "Frequencies that leave",
    "override": "A steward accepted a larger power than the study's",
}

#: What the files beside the tables are for.
_FILE_WORDS: Mapping[str, str] = {
    DISCLOSURE: "Thresholds in force, and how much was withheld by table and rule (not which "
    "rows).",
    CRATE: "Which software made the release, when, for which study.",
    WORKFLOW: "Describes the workflow's steps.",
    MANIFEST: "Lists the other files with their SHA-256; your signature is over this list.",
}

_HISTORY_WORDS: Mapping[str, str] = {
    "sequence": "Release",
    "decision": "Decision",
    "decided_at": "When",
    "steward": "By whom",
    "reason": "Why",
    "membership_power": "Power of the membership test",
    "override": "Why a larger power was accepted",
    "epsilon": "ε spent",
    "patients": "Patients counted",
    "manifest_sha256": "SHA-256 of the manifest",
}


@dataclass(frozen=True)
class ReviewRequest:
    """What the review page is made of.

    Parameters
    ----------
    study, title, study_version, study_hash, simulated
        The protocol.
    site, site_title
        Name of the site in the study, and what it is called.
    recipients
        Who gets the release: the coordinator.
    participants
        The study's other sites, which see the pooled results.
    configfile
        Run configuration that the commands have to name; None if it is the default one.
    permit
        Ethics approval and legal basis as the study or the site states them; None if neither does.
    candidate
        Folder of the candidate (see `ihdsi.bundle`).
    disclosure_log
        What was withheld: table, rule, key and reason (see `ihdsi.disclosure.control.LOG_SCHEMA`).
    previous
        Tables of the last published release; None if there is none.
    releases
        Earlier decisions, oldest first, as the site's ledger describes them: of the columns
        sequence (null of a rejection), decision, decided_at, steward, reason, membership_power,
        override, epsilon, patients and manifest_sha256 those that are known; None or no rows if
        there is none.
    last_content_sha256
        Hash of the last release's content (see `ihdsi.bundle.manifest.content_sha256`), if known.
    membership
        What disclosure control states of membership inference: power_before, power_after,
        maximum_power, false_positive_rate, area_under_curve, exceeded_before, n_patients,
        n_frequencies, override; None takes it from the candidate's disclosure.json, if that
        states it.
    epsilon
        Privacy loss of differential privacy: spent by all releases with this one, and remaining;
        None if the study uses none.
    study_thresholds, thresholds
        The study's limits and those in force at the site.
    recipient_key
        Public key for which the release would be sealed, as `ihdsi keys show` prints it; None if
        no trust store tells it.
    """

    study: str
    title: str
    study_version: str
    study_hash: str
    simulated: bool
    site: str
    site_title: str
    recipients: tuple[str, ...]
    candidate: Path
    disclosure_log: pl.DataFrame
    study_thresholds: DisclosureSettings
    thresholds: DisclosureSettings
    participants: tuple[str, ...] = ()
    configfile: str | None = None
    permit: str | None = None
    previous: Mapping[str, pl.DataFrame] | None = None
    releases: pl.DataFrame | None = None
    last_content_sha256: str | None = None
    membership: Mapping[str, Any] | None = None
    epsilon: tuple[float, float] | None = None
    recipient_key: str | None = None


def write_review(folder: Path | str, request: ReviewRequest) -> None:
    """Write the review of a candidate: index.html and a page for each table.

    Every page is complete in itself, opens from a disk, and may by its content security policy
    load nothing and run only the script that came with it. Texts of the tables are escaped, and
    characters that show nothing are written as their code.

    Parameters
    ----------
    folder
        Target. Pages of an earlier review are removed first; index.html is written last.
    request
        The candidate, and what it is compared with.

    Raises
    ------
    InputError
        If the candidate is not a whole bundle of this study and site.
    """
    target = Path(folder)
    bundle = open_bundle(request.candidate, request.study_hash, request.site)
    (target / "index.html").unlink(missing_ok=True)
    for kind in ("table", "withheld", "changes"):
        for stale in target.glob(f"{kind}-*.html"):
            stale.unlink()
    membership = request.membership or bundle.disclosure.get("membership")
    pages = _Pages(target, request)
    withheld = withheld_rows(request.disclosure_log, bundle.tables, request.thresholds)
    changes = _changes(request, bundle)
    tables = [_table_summary(bundle, name, withheld, pages) for name in TABLES]
    for name, frame in withheld.items():
        pages.write(
            f"withheld-{_file_name(name)}",
            f"Withheld from {visible(name)}",
            "What disclosure control kept back, row by row. These rows do not leave; this page "
            "must not either.",
            withheld_columns(name, frame),
            frame,
        )
    for name, difference in changes.items():
        if difference.any:
            pages.write(
                f"changes-{name}",
                f"Changes of {name}",
                f"Rows of this release that differ from release {bundle.manifest.sequence - 1}. "
                "Rows that are the same in both are not listed.",
                (*(TABLES[name].column(key) for key in TABLES[name].keys), *CHANGE_COLUMNS),
                difference.rows,
            )
    same_tables = bool(changes) and not any(difference.any for difference in changes.values())
    counts = count_columns(bundle.tables)
    manifest_sha256 = sha256_of(Path(request.candidate) / MANIFEST)
    checks = [
        Check(
            True,
            f"The candidate is whole: {len(bundle.manifest.files)} files have the size and SHA-256 "
            "that its manifest states, and every table keeps to its contract.",
        ),
        *check_counts(counts, request.thresholds),
        *check_membership(membership),
        *check_history(request.releases, bundle.manifest.earlier_manifests, manifest_sha256),
        *check_budget(request.epsilon),
        *check_changes(changes.values(), request.thresholds),
    ]
    style = template_text("report.css", "review.css")
    text = pages.environment.get_template("review.html.j2").render(
        request=request,
        manifest=bundle.manifest,
        manifest_sha256=manifest_sha256,
        configfile=_configfile_option(request.configfile),
        policy=content_security_policy(style),
        style=Markup(style),
        tables=tables,
        beside=_beside(request, bundle),
        n_rows=sum(table["rows"] for table in tables),
        n_filled=sum(1 for table in tables if table["rows"]),
        n_bytes=sum(entry.size for entry in bundle.manifest.files),
        withheld=_withheld_summary(withheld, bundle),
        rules=_rule_summary(withheld),
        changes=changes,
        changed=_change_rows(changes),
        largest=_largest_changes(changes),
        same_tables=same_tables,
        nothing_new=same_tables
        and request.last_content_sha256 in (None, content_sha256(bundle.manifest)),
        first=bundle.manifest.sequence == 1 and request.previous is None,
        figures=_figures(request, withheld, bundle, counts),
        checks=checks,
        membership=_membership_rows(membership),
        is_exception=needs_exception(membership or {}),
        thresholds=_threshold_rows(request),
        history=_history(request),
        site=shlex.quote(request.site),
        quoted_manifest=shlex.quote(str(Path(request.candidate) / MANIFEST)),
    )
    write_text(text, target / "index.html")


class _Pages:
    """Writes the pages of rows."""

    def __init__(self, folder: Path, request: ReviewRequest) -> None:
        self.folder, self.request = folder, request
        self.environment = template_environment()
        self.environment.filters |= {
            "visible": visible,
            "bytes": _size,
            "count": lambda number: f"{number:,}",
            "unit": _unit,
            "plural": _plural,
        }
        self.style = template_text("report.css", "review.css")
        self.script = template_text("review.js")

    def write(
        self,
        stem: str,
        title: str,
        description: str,
        columns: Sequence[Column],
        frame: pl.DataFrame,
    ) -> str:
        """Write a table as one page, or several if it is large; return the first one's name."""
        names = [
            f"{stem}.html" if part == 0 else f"{stem}-{part + 1}.html"
            for part in range(max(1, -(-frame.height // ROWS_A_PAGE)))
        ]
        contents = [_contents(frame[column.name], column) for column in columns]
        for part, name in enumerate(names):
            first = part * ROWS_A_PAGE
            rows = frame.slice(first, ROWS_A_PAGE)
            text = self.environment.get_template("review_rows.html.j2").render(
                request=self.request,
                title=title,
                description=description,
                columns=list(zip(columns, contents, strict=True)),
                n_rows=frame.height,
                first=first,
                last=first + rows.height,
                part=part,
                parts=names,
                policy=content_security_policy(self.style, self.script),
                style=Markup(self.style),
                script=Markup(self.script),
                rows=script_json([_embedded(rows[c.name], c) for c in columns]),
            )
            write_text(text, self.folder / name)
        return names[0]


def _file_name(table: str) -> str:
    """Name of a table as part of a file's name; what is no plain name is written as numbers."""
    if re.fullmatch(r"[a-z0-9_]{1,100}", table):
        return table
    return "x" + table.encode().hex()[:100]


def _embedded(values: pl.Series, column: Column) -> dict[str, Any]:
    """One column for the page's script; texts that recur are stored once."""
    head = {"name": column.name, "unit": _unit(column.unit), "numeric": _is_numeric(column)}
    if values.dtype == pl.String and values.len() and values.n_unique() <= values.len() // 2:
        levels = values.drop_nulls().unique(maintain_order=True)
        codes = values.replace_strict(
            levels, pl.int_range(levels.len(), eager=True), default=None, return_dtype=pl.Int64
        )
        return head | {"levels": levels.to_list(), "codes": codes.to_list()}
    return head | {"values": values.to_list()}


def _is_numeric(column: Column) -> bool:
    return column.dtype in (pl.Int64, pl.Float64)


def _contents(values: pl.Series, column: Column) -> str:
    """Say what a column holds: the range of numbers, the different texts."""
    known = values.drop_nulls()
    missing = values.len() - known.len()
    if known.is_empty():
        text = "no value"
    elif isinstance(column.dtype, pl.List):
        lengths = known.list.len().unique().sort().to_list()
        text = f"{lengths[0]} to {lengths[-1]} values a row"
    elif _is_numeric(column):
        low, high = (_short(number) for number in known.sort().gather([0, -1]).to_list())
        text = low if low == high else f"{low} to {high}"
    else:
        texts = known.unique().sort()
        text = (
            ", ".join(visible(value) for value in texts)
            if texts.len() <= TEXTS_LISTED
            else f"{texts.len():,} different texts, from {visible(texts[0])} to "
            f"{visible(texts[-1])}"
        )
    return f"{text}; {missing:,} without a value" if missing and known.len() else text


def _short(number: float) -> str:
    text = f"{number:,}" if isinstance(number, int) else f"{number:.5g}"
    return text.replace("-", "−")


def _size(number: int) -> str:
    if number < 1_000:
        return f"{number} bytes"
    for unit in ("kB", "MB"):
        number_ = number / (1_000 if unit == "kB" else 1_000_000)
        if number_ < 1_000:
            return f"{number_:.3g} {unit}"
    return f"{number / 1e9:.3g} GB"


def _unit(unit: str) -> str:
    """Write a UCUM code in words; counts, ratios and logarithms have no unit."""
    if unit in ("", "1"):
        return ""
    return UNIT_WORDS.get(unit, unit.strip("{}").replace("`", ""))


def _plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _table_summary(
    bundle: Bundle, name: str, withheld: Mapping[str, pl.DataFrame], pages: _Pages
) -> dict[str, Any]:
    spec, frame = TABLES[name], bundle.tables[name]
    entry = next(entry for entry in bundle.manifest.files if entry.table == name)
    page = None
    if frame.height:
        page = pages.write(
            f"table-{name}",
            f"Table {name}",
            f"{spec.description} In plain words: {PLAIN_WORDS.get(name, spec.description)}",
            spec.columns,
            frame,
        )
    return {
        "name": name,
        "description": spec.description,
        "plain": PLAIN_WORDS.get(name, spec.description),
        "rows": frame.height,
        "size": entry.size,
        "page": page,
        "withheld": withheld[name].filter(outcome=WHOLE).height if name in withheld else 0,
    }


def _beside(request: ReviewRequest, bundle: Bundle) -> list[dict[str, Any]]:
    """List what leaves beside the tables, with its text: all of it may be read here."""
    entries = [(entry.path, entry.size) for entry in bundle.manifest.files if entry.table is None]
    manifest = Path(request.candidate) / MANIFEST
    entries.append((MANIFEST, manifest.stat().st_size))
    return [
        {
            "path": path,
            "size": size,
            "words": _FILE_WORDS.get(path, "A file of the bundle."),
            "text": "\n".join(
                visible(line)
                for line in (Path(request.candidate) / path).read_text(encoding="utf-8").split("\n")
            ),
        }
        for path, size in entries
    ]


def _withheld_summary(withheld: Mapping[str, pl.DataFrame], bundle: Bundle) -> list[dict[str, Any]]:
    """By table: rows withheld, released in part, and released; the page that lists them."""
    return [
        {
            "table": name,
            "page": f"withheld-{_file_name(name)}.html",
            "whole": frame.filter(outcome=WHOLE).height,
            "partly": frame.filter(outcome=PARTLY).height,
            "released": bundle.tables[name].height if name in bundle.tables else 0,
        }
        for name, frame in withheld.items()
    ]


def _rule_summary(withheld: Mapping[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """Entries by table, rule and reason, most first within a table."""
    rows = []
    for name, frame in withheld.items():
        counted = (
            frame.filter(pl.col("outcome") != REMARK)
            .group_by("rule", "reason", "outcome")
            .agg(n=pl.len())
            .sort("n", "rule", descending=[True, False])
        )
        rows += [{"table": name, **row} for row in counted.iter_rows(named=True)]
    return rows


def _changes(request: ReviewRequest, bundle: Bundle) -> dict[str, TableChanges]:
    if request.previous is None:
        return {}
    return {
        name: compare_tables(spec, request.previous.get(name, empty_table(name)), frame)
        for name, spec in TABLES.items()
        for frame in (bundle.tables[name],)
    }


def _change_rows(changes: Mapping[str, TableChanges]) -> list[dict[str, Any]]:
    return [
        {
            "table": name,
            "page": f"changes-{name}.html" if difference.any else None,
            "difference": difference,
        }
        for name, difference in changes.items()
    ]


def _largest_changes(changes: Mapping[str, TableChanges]) -> list[dict[str, Any]]:
    rows = []
    for name, difference in changes.items():
        keys = list(TABLES[name].keys)
        changed = difference.rows.filter(pl.col("change") == "changed").head(CHANGES_SHOWN)
        rows += [
            {
                "table": name,
                "row": ", ".join(visible(row[key]) for key in keys if row[key] is not None),
                "values": row["values"],
                "size": row["largest_relative_change"],
            }
            for row in changed.iter_rows(named=True)
        ]
    return rows


def _figures(
    request: ReviewRequest,
    withheld: Mapping[str, pl.DataFrame],
    bundle: Bundle,
    counts: pl.DataFrame,
) -> list[dict[str, Any]]:
    rows = []
    for name in TABLES:
        log = withheld.get(name)
        partly = 0 if log is None else log.filter(outcome=PARTLY).select("outcome").height
        partly = min(partly, bundle.tables[name].height)
        whole = 0 if log is None else log.filter(outcome=WHOLE).height
        rows.append((name, bundle.tables[name].height - partly, partly, whole))
    outcomes = pl.DataFrame(rows, schema=["table", *OUTCOMES], orient="row")
    limits = request.thresholds
    first = "Rows that leave and rows that are withheld"
    first_words = (
        "Of each table, which share of the rows leaves; beside the bar, how many of how many. "
        "Released in part: the row leaves without some of its numbers."
    )
    second = "The smallest count that leaves, by table and column"
    zeros = " (the study lets zero leave)" if limits.zero_cells_allowed else ""
    second_words = (
        f"Counts of zero are left out{zeros}. "
        f"No count may be smaller than {limits.minimum_cell_count}, and no statistic may rest on "
        f"fewer than {limits.minimum_n} patients."
    )
    return [
        {"title": title, "caption": words, "svg": _svg(chart), "alternative": f"{title}. {words}"}
        for title, words, chart in (
            (first, first_words, rows_by_outcome(outcomes, first)),
            (
                second,
                second_words,
                smallest_counts(counts, limits.minimum_cell_count, limits.minimum_n, second),
            ),
        )
        if chart is not None
    ]


def _svg(chart: Drawing | None) -> Markup:
    if chart is None:
        return Markup("")
    stream = io.StringIO()
    chart.save(stream, format="svg")
    return Markup(stream.getvalue())


def _membership_rows(membership: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    rows = []
    for name, value in (membership or {}).items():
        label = _MEMBERSHIP_WORDS.get(name, visible(name).replace("_", " "))
        if value is None:
            text = "not estimated"
        elif isinstance(value, float) and name in _MEMBERSHIP_WORDS:
            text = f"{100 * value:.3g} %"
        elif isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, int):
            text = f"{value:,}"
        else:
            text = visible(value)
        rows.append((label, text))
    return rows


def _configfile_option(configfile: str | None) -> str:
    """Return the option that the commands need; the default configuration needs none."""
    if configfile is None or Path(configfile) == Path("config/config.yaml"):
        return ""
    return f" --configfile {shlex.quote(configfile)}"


def _threshold_rows(request: ReviewRequest) -> list[dict[str, Any]]:
    ours, theirs = request.thresholds, request.study_thresholds
    return [
        {
            "name": name,
            "description": field.description or "",
            "study": _setting(getattr(theirs, name)),
            "in_force": _setting(getattr(ours, name)),
            "remark": _remark(ours, theirs, name),
        }
        for name, field in DisclosureSettings.model_fields.items()
    ]


def _remark(ours: DisclosureSettings, theirs: DisclosureSettings, name: str) -> str:
    """Say how a threshold compares: only a signed override makes one looser."""
    if getattr(ours, name) == getattr(theirs, name):
        return ""
    loosened = (
        name == "maximum_membership_power"
        and ours.maximum_membership_power > theirs.maximum_membership_power
    )
    return "looser" if loosened else "stricter"


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _history(request: ReviewRequest) -> dict[str, Any]:
    if request.releases is None or request.releases.is_empty():
        return {"heads": [], "rows": []}
    shown = [name for name in _HISTORY_WORDS if name in request.releases.columns]
    return {
        "heads": [_HISTORY_WORDS[name] for name in shown],
        "rows": [
            [
                "–"
                if row[name] is None
                else f"{100 * row[name]:.3g} %"
                if name == "membership_power"
                else visible(row[name])
                for name in shown
            ]
            for row in request.releases.iter_rows(named=True)
        ],
    }
