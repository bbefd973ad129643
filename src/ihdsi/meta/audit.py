"""The coordinator's audit log: what was accepted and what was refused, in a chain of hashes.

One file of JSON lines, one entry a line, for one study. Every entry holds its own SHA-256 and that
of what stands before it, so a line that was changed, removed, inserted or moved is found and
named. Two things no chain shows by itself: that lines at its end are gone, and that somebody who
may write the file made the whole of it anew. Against both, note the `head` elsewhere (in the
minutes of the study, say) and give it to `verify_audit_log`.

An entry is one write, flushed to the disk before anything depends on it. A crash may leave part of
a line at the end. It stays where it is, since the log is only ever appended to (so it works with
``chattr +a`` as well); the next writer marks it as torn and adds an entry ``repaired``, whose
`previous` covers the torn bytes. What was torn was never an entry.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, Protocol

import polars as pl
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from ihdsi.bundle.foreign_json import read_json
from ihdsi.errors import InputError, Problem
from ihdsi.files import sync_to_disk
from ihdsi.study import Identifier

__all__ = [
    "EMPTY_HEAD",
    "AuditEntry",
    "AuditLog",
    "AuditReport",
    "Event",
    "LockedAuditLog",
    "describe_audit",
    "verify_audit_log",
]

#: What stands before the first entry.
EMPTY_HEAD = "0" * 64
#: No entry comes near it: a reason has at most `MAXIMUM_REASON` characters.
MAXIMUM_LINE_BYTES = 2**14
MAXIMUM_REASON = 500
#: Makes of any part of an entry, even of a whole one without its end of line, something else.
_TORN = b" (torn)\n"
_TIME = "%Y-%m-%dT%H:%M:%SZ"

Event = Literal["accepted", "refused", "repaired"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_HASH = re.compile(r"[0-9a-f]{64}")


def _printable(text: str) -> str:
    """Refuse control characters, which would reach the terminal of whoever reads the log."""
    if not text.isprintable():
        raise ValueError("characters that cannot be printed")
    return text


def _time(text: str) -> str:
    if datetime.strptime(text, _TIME).strftime(_TIME) != text:
        raise ValueError("no time in UTC")
    return text


class AuditEntry(BaseModel):
    """One line of the log.

    `number` counts entries from 1; `time` is the coordinator's clock (UTC, ISO 8601). `sequence`,
    `manifest_sha256` and `seal_sha256` (the SHA-256 of ``seal.dsse.json``) are those of the
    release, as far as they were verified; `reason` says why it was refused. `previous` is the
    SHA-256 of all bytes from the start of the entry before up to this line, thus of the line
    before with its end of line; `sha256` is that of this line without the key `sha256`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    number: int = Field(ge=1)
    time: Annotated[str, AfterValidator(_time)]
    event: Event
    site: Identifier | None = None
    sequence: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    manifest_sha256: Sha256 | None = None
    seal_sha256: Sha256 | None = None
    reason: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAXIMUM_REASON),
            AfterValidator(_printable),
        ]
        | None
    ) = None
    previous: Sha256
    sha256: Sha256

    @model_validator(mode="after")
    def _whole(self) -> AuditEntry:
        named = (self.sequence, self.manifest_sha256, self.seal_sha256)
        if self.event == "accepted" and (self.site is None or None in named):
            raise ValueError("an acceptance names site, sequence, manifest and seal")
        if self.event != "repaired" and self.site is None:
            raise ValueError("the site is missing")
        return self

    @property
    def line(self) -> bytes:
        """The entry as it stands in the file, with its end of line."""
        return _serialise(self.model_dump(mode="json"))


@dataclass(frozen=True)
class AuditReport:
    """What `verify_audit_log` found.

    Parameters
    ----------
    entries
        Intact entries before the first broken line.
    head
        SHA-256 of the last of them with its end of line, to be noted elsewhere; `EMPTY_HEAD` if
        there is none.
    lines
        Lines up to the broken one or the end of the file, those that a crash tore among them.
    line
        Number of the first broken line from 1, or None if the log is intact.
    what
        What is wrong with it.
    torn
        Whether the file ends in part of a line, as a crash leaves it; the next writer repairs it.
    """

    entries: int
    head: str
    lines: int = 0
    line: int | None = None
    what: str | None = None
    torn: bool = False

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.line is None


class AuditLog:
    """An append-only log; a file that does not exist is an empty log.

    Parameters
    ----------
    path
        The file. It is created with mode 0600 at the first entry.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @contextmanager
    def locked(self) -> Iterator[LockedAuditLog]:
        """Keep every other writer out while the block runs; a torn end is repaired first.

        Raises
        ------
        InputError
            If the file cannot be opened or locked, is no regular file, may be written by others,
            or is not intact: nothing is decided on a broken log, and nothing added to it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, mode=0o600
            )
        except OSError as error:
            raise _unusable(self.path, error) from None
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise _no_regular_file(self.path)
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise InputError(
                    Problem(
                        f"others may write the audit log (mode {stat.S_IMODE(status.st_mode):04o})",
                        f"Run ihdsi audit verify, then chmod 600 {self.path}.",
                        file=self.path,
                    )
                )
            try:
                # Of this open file, not of the process: threads keep each other out as well.
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError as error:
                raise _unusable(self.path, error) from None
            yield LockedAuditLog(self.path, handle)
        finally:
            # Closing releases the lock.
            os.close(handle)

    def append(
        self,
        event: Event,
        now: datetime,
        *,
        site: str | None = None,
        sequence: int | None = None,
        manifest_sha256: str | None = None,
        seal_sha256: str | None = None,
        reason: str | None = None,
    ) -> AuditEntry:
        """Lock the log and append one entry; see `LockedAuditLog.append`."""
        with self.locked() as log:
            return log.append(
                event,
                now,
                site=site,
                sequence=sequence,
                manifest_sha256=manifest_sha256,
                seal_sha256=seal_sha256,
                reason=reason,
            )

    def entries(self) -> list[AuditEntry]:
        """Return all entries of an intact log, without locking or changing it.

        Raises
        ------
        InputError
            If the log is not intact or cannot be read.
        """
        found: list[AuditEntry] = []
        report = _verify(self.path, found.append)
        _refuse_broken(self.path, report)
        return found

    def accepted(self, site: str) -> list[tuple[int, str]]:
        """Return (sequence, manifest SHA-256) of every release accepted of a site, in that order.

        Raises
        ------
        InputError
            If the log is not intact or cannot be read.
        """
        return _accepted(self.entries(), site)

    @property
    def head(self) -> str:
        """SHA-256 of the last line of an intact log."""
        report = verify_audit_log(self.path)
        _refuse_broken(self.path, report)
        return report.head


class LockedAuditLog:
    """The log in the hands of its only writer; `AuditLog.locked` makes it."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle
        self._entries: list[AuditEntry] = []
        with os.fdopen(os.dup(handle), "rb") as stream:
            self._state = _scan(stream, self._entries.append)
        _refuse_broken(path, self._state.report())

    @property
    def entries(self) -> tuple[AuditEntry, ...]:
        """All entries."""
        return tuple(self._entries)

    def accepted(self, site: str) -> list[tuple[int, str]]:
        """Return (sequence, manifest SHA-256) of each release accepted of a site, in order."""
        return _accepted(self._entries, site)

    def append(
        self,
        event: Event,
        now: datetime,
        *,
        site: str | None = None,
        sequence: int | None = None,
        manifest_sha256: str | None = None,
        seal_sha256: str | None = None,
        reason: str | None = None,
    ) -> AuditEntry:
        """Append one entry; when this returns it is on the disk.

        Parameters
        ----------
        event
            ``accepted`` or ``refused``; ``repaired`` entries are made where they are needed.
        now
            Time of the coordinator, with a time zone; written in UTC to the second.
        site, sequence, manifest_sha256, seal_sha256, reason
            As in `AuditEntry`; of a reason, what cannot be printed is replaced and the end of a
            long one is left out.

        Raises
        ------
        InputError
            If the file cannot be written.
        ValueError
            If the entry is not one, which is the caller's mistake.
        """
        if now.tzinfo is None:
            raise ValueError("a time without a time zone")
        fields: dict[str, object] = {
            "time": now.astimezone(UTC).strftime(_TIME),
            "event": event,
            "site": site,
            "sequence": sequence,
            "manifest_sha256": manifest_sha256,
            "seal_sha256": seal_sha256,
            "reason": None if reason is None else _shown(reason),
        }
        # Before anything is written, so that what is no entry leaves nothing behind.
        self._entry(fields)
        if self._state.tail or self._state.torn_lines:
            marked = _TORN if self._state.tail else b""
            self._state = self._state.with_torn(marked)
            repair = {
                "time": fields["time"],
                "event": "repaired",
                "reason": "a crash tore the line before",
            }
            self._write(self._entry(dict.fromkeys(fields) | repair), marked)
        return self._write(self._entry(fields))

    def _entry(self, fields: dict[str, object]) -> AuditEntry:
        number, previous = len(self._entries) + 1, self._state.previous
        unsigned = {"number": number, **fields, "previous": previous}
        return AuditEntry.model_validate(unsigned | {"sha256": _sha256(_serialise(unsigned))})

    def _write(self, entry: AuditEntry, before: bytes = b"") -> AuditEntry:
        content = before + entry.line
        size = os.fstat(self._handle).st_size
        try:
            if os.write(self._handle, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._handle)
            if size == 0:
                sync_to_disk(self.path.parent)
        except OSError as error:
            # Where this is not allowed, the next writer repairs the log.
            with suppress(OSError):
                os.ftruncate(self._handle, size)
            raise _unusable(self.path, error) from None
        self._entries.append(entry)
        self._state.follow(entry.line)
        return entry


def verify_audit_log(path: Path | str, expected_head: str | None = None) -> AuditReport:
    """Check every line of a log and the chain between them.

    The log is read in lines of bounded length, in constant memory, and not changed.

    Parameters
    ----------
    path
        The log; a file that does not exist is an empty log.
    expected_head
        A head noted earlier. The log must still hold this line, whatever came after; it is how
        missing lines at the end, and a log made anew, are seen.

    Returns
    -------
    AuditReport
        The number of the first line that is not as it must be, if there is one.

    Raises
    ------
    InputError
        If the file cannot be read or is no regular file, or `expected_head` is no SHA-256.
    """
    if expected_head is not None and not _HASH.fullmatch(expected_head):
        raise InputError(
            Problem(
                "the expected head is no SHA-256",
                "Give the 64 hexadecimal digits of a head noted earlier.",
            )
        )
    missing = expected_head not in (None, EMPTY_HEAD)

    def look(entry: AuditEntry) -> None:
        nonlocal missing
        missing = missing and _sha256(entry.line) != expected_head

    report = _verify(Path(path), look)
    if report.intact and missing:
        what = "the line whose hash was noted is missing: lines at the end are gone or all are new"
        return replace(report, line=report.lines + 1, what=what)
    return report


def describe_audit(path: Path | str) -> pl.DataFrame:
    """Return an intact log as a table, in the order of the file.

    Returns
    -------
    polars.DataFrame
        number, time (UTC), event, site, sequence, reason, manifest_sha256, seal_sha256.

    Raises
    ------
    InputError
        If the log is not intact or cannot be read.
    """
    columns = {
        "number": pl.Int64,
        "time": pl.String,
        "event": pl.String,
        "site": pl.String,
        "sequence": pl.Int64,
        "reason": pl.String,
        "manifest_sha256": pl.String,
        "seal_sha256": pl.String,
    }
    rows = [entry.model_dump(include=set(columns)) for entry in AuditLog(path).entries()]
    return pl.DataFrame(rows, schema=columns).with_columns(
        pl.col("time").str.to_datetime(_TIME, time_zone="UTC", time_unit="us")
    )


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> _Hash: ...


@dataclass
class _State:
    """Where a reading of the log stands after its last byte or its first broken line."""

    since: _Hash
    begun: bool = False
    entries: int = 0
    lines: int = 0
    head: str = EMPTY_HEAD
    torn_lines: bool = False
    tail: bytes = b""
    what: str | None = None

    @property
    def previous(self) -> str:
        """`previous` of an entry that would follow here."""
        return self.since.hexdigest() if self.begun else EMPTY_HEAD

    def with_torn(self, line_end: bytes) -> _State:
        """Return the state after the torn end has become a line of its own."""
        since = self.since.copy()
        since.update(self.tail + line_end)
        return replace(self, since=since, begun=True)

    def follow(self, line: bytes) -> None:
        """Take an entry in."""
        self.since, self.begun = hashlib.sha256(line), True
        self.head = self.since.hexdigest()
        self.entries += 1
        self.torn_lines, self.tail = False, b""

    def report(self) -> AuditReport:
        broken = None if self.what is None else self.lines
        return AuditReport(
            self.entries,
            self.head,
            self.lines,
            broken,
            self.what,
            bool(self.tail) or self.torn_lines,
        )


def _scan(stream: BinaryIO, take: Callable[[AuditEntry], None]) -> _State:
    """Read a log from its start, giving every entry to `take`, up to its first broken line."""
    state = _State(hashlib.sha256())
    stream.seek(0)
    while line := stream.readline(MAXIMUM_LINE_BYTES + 1):
        state.lines += 1
        # A torn line has room left for its mark.
        limit = MAXIMUM_LINE_BYTES if line.endswith(b"\n") else MAXIMUM_LINE_BYTES // 2
        if len(line) > limit:
            state.what = f"more than {limit} bytes are no entry"
            break
        if not line.endswith(b"\n"):
            state.tail = line
            break
        if line.endswith(_TORN):
            state.since.update(line)
            state.begun = state.torn_lines = True
            continue
        entry = _parse(line)
        state.what = entry if isinstance(entry, str) else _misfit(entry, state)
        if isinstance(entry, str) or state.what is not None:
            break
        state.follow(line)
        take(entry)
    return state


def _parse(line: bytes) -> AuditEntry | str:
    """Return the entry, or what is wrong with the line."""
    try:
        # A reason may hold any number of brackets; the line's length bounds them.
        entry = AuditEntry.model_validate(read_json(line, MAXIMUM_LINE_BYTES, MAXIMUM_LINE_BYTES))
    except ValueError:
        return "the line is no entry of an audit log"
    if entry.line != line:
        return "the line is written in another way than entries are"
    if _sha256(_serialise(entry.model_dump(mode="json", exclude={"sha256"}))) != entry.sha256:
        return "the line was changed: its own SHA-256 is another"
    return entry


def _misfit(entry: AuditEntry, state: _State) -> str | None:
    """Say why an entry cannot follow what stands before it, or None if it can."""
    if entry.number != state.entries + 1:
        return (
            f"entry {entry.number} stands where {state.entries + 1} must: "
            "lines were removed, inserted or moved"
        )
    if entry.previous != state.previous:
        return "the line does not follow from what stands before it: one of them was changed"
    if state.torn_lines != (entry.event == "repaired"):
        return "a repair without a torn line before it, or a torn line without one after it"
    return None


def _verify(path: Path, take: Callable[[AuditEntry], None]) -> AuditReport:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return AuditReport(0, EMPTY_HEAD)
    except OSError as error:
        raise _unusable(path, error) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _no_regular_file(path)
    try:
        with os.fdopen(handle, "rb") as stream:
            return _scan(stream, take).report()
    except OSError as error:
        raise _unusable(path, error) from None


def _refuse_broken(path: Path, report: AuditReport) -> None:
    if report.what is not None:
        raise InputError(
            Problem(
                report.what,
                "Find out who changed the audit log, and restore it from a copy whose head was "
                "noted; until then nothing is accepted.",
                file=path,
                row=report.line,
            )
        )


def _accepted(entries: Iterable[AuditEntry], site: str) -> list[tuple[int, str]]:
    return [
        (entry.sequence, entry.manifest_sha256)
        for entry in entries
        if entry.event == "accepted"
        and entry.site == site
        and entry.sequence is not None
        and entry.manifest_sha256 is not None
    ]


def _serialise(entry: Mapping[str, object]) -> bytes:
    return f"{json.dumps(entry, ensure_ascii=False)}\n".encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _shown(reason: str) -> str:
    """Make foreign text fit for a line and for a terminal."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in reason)
    return text if len(text) <= MAXIMUM_REASON else f"{text[: MAXIMUM_REASON - 1]}…"


def _unusable(path: Path, error: OSError) -> InputError:
    return InputError(
        Problem(
            f"the audit log cannot be used ({error.strerror})",
            "Correct its path, access or space; nothing is accepted without it.",
            file=path,
        )
    )


def _no_regular_file(path: Path) -> InputError:
    return InputError(Problem("an audit log is a regular file", "Name the log's file.", file=path))
