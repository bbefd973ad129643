"""The audit log shows every change to it, survives crashes, and keeps its chain among writers."""

import hashlib
import json
import multiprocessing
import os
import resource
import stat
import threading
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihdsi.errors import InputError
from ihdsi.meta import audit
from ihdsi.meta.audit import EMPTY_HEAD, AuditLog, describe_audit, verify_audit_log

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def accept(log, number, site="lih"):
    return log.append(
        "accepted",
        NOW + timedelta(minutes=number),
        site=site,
        sequence=number,
        manifest_sha256=digest(f"manifest {number}"),
        seal_sha256=digest(f"seal {number}"),
    )


@pytest.fixture
def log(tmp_path):
    """A log of six entries: five acceptances of two sites around one refusal."""
    log = AuditLog(tmp_path / "audit.jsonl")
    accept(log, 1)
    accept(log, 1, "ncck")
    log.append("refused", NOW, site="lih", seal_sha256=digest("bad"), reason="the file is no seal")
    accept(log, 2)
    accept(log, 4)
    accept(log, 2, "ncck")
    return log


def lines_of(log):
    return log.path.read_bytes().splitlines(keepends=True)


def remade(line, **changes):
    """The line with other content and a fitting hash of its own, as somebody who knows makes it."""
    entry = json.loads(line) | changes
    del entry["sha256"]
    own = hashlib.sha256(f"{json.dumps(entry, ensure_ascii=False)}\n".encode()).hexdigest()
    return f"{json.dumps(entry | {'sha256': own}, ensure_ascii=False)}\n".encode()


def broken_line(log, lines):
    """Write other lines; return the line that the verification names, which all readers refuse."""
    log.path.write_bytes(b"".join(lines))
    report = verify_audit_log(log.path)
    if report.intact:
        return None
    assert report.what
    assert report.entries == report.line - 1
    before = log.path.read_bytes()
    for read in (
        log.entries,
        lambda: log.accepted("lih"),
        lambda: log.head,
        lambda: accept(log, 9),
        lambda: describe_audit(log.path),
    ):
        with pytest.raises(InputError) as error:
            read()
        assert error.value.problems[0].row == report.line
    assert log.path.read_bytes() == before
    return report.line


# --- what the log says ---------------------------------------------------------------------------


def test_an_intact_log_says_what_was_accepted(log):
    report = verify_audit_log(log.path)
    assert report.intact
    assert not report.torn
    assert (report.entries, report.lines) == (6, 6)
    assert log.accepted("lih") == [(n, digest(f"manifest {n}")) for n in (1, 2, 4)]
    assert log.accepted("ncck") == [(n, digest(f"manifest {n}")) for n in (1, 2)]
    assert log.accepted("elsewhere") == []
    with log.locked() as locked:
        assert locked.accepted("lih") == log.accepted("lih")


def test_the_chain_is_what_sha256sum_computes(log):
    """The rule of the documentation, computed without the code: one line after the other."""
    lines = lines_of(log)
    previous = ["0" * 64, *(hashlib.sha256(line).hexdigest() for line in lines)]
    assert [json.loads(line)["previous"] for line in lines] == previous[:-1]
    assert log.head == verify_audit_log(log.path).head == previous[-1]
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_the_file_is_private_from_the_start_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        log = AuditLog(tmp_path / "new" / "audit.jsonl")
        accept(log, 1)
    finally:
        os.umask(old)
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_log_that_others_may_write_is_not_used(log, mode):
    log.path.chmod(mode)
    with pytest.raises(InputError, match="others may write"):
        accept(log, 5)


def test_a_missing_file_is_an_empty_log_and_reading_makes_none(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    report = verify_audit_log(log.path)
    assert report.intact
    assert (report.entries, report.head) == (0, EMPTY_HEAD)
    assert log.entries() == []
    assert log.accepted("lih") == []
    assert log.head == EMPTY_HEAD
    assert describe_audit(log.path).height == 0
    assert not log.path.exists()


def test_the_time_is_utc(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    seoul = datetime(2026, 6, 1, 1, 30, 15, 999_999, tzinfo=timezone(timedelta(hours=9)))
    entry = log.append("refused", seoul, site="ncck", reason="no")
    assert entry.time == "2026-05-31T16:30:15Z"
    with pytest.raises(ValueError, match="time zone"):
        log.append("refused", datetime(2026, 6, 1), site="ncck", reason="no")


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "accepted", "site": "lih", "sequence": 1, "manifest_sha256": digest("m")},
        {"event": "accepted", "site": "lih", "seal_sha256": digest("s")},
        {"event": "refused", "reason": "no site"},
        {"event": "forgotten", "site": "lih"},
        {"event": "refused", "site": "../lih"},
        {"event": "refused", "site": "lih", "sequence": 0},
        {"event": "refused", "site": "lih", "manifest_sha256": "0"},
    ],
)
def test_what_is_no_entry_is_not_written(log, fields):
    before = log.path.read_bytes()
    with pytest.raises(ValueError, match="validation error"):
        log.append(now=NOW, **fields)
    assert log.path.read_bytes() == before


def test_a_foreign_reason_cannot_speak_to_a_terminal_or_fill_the_log(log):
    log.append(
        "refused", NOW, site="lih", reason="\x1b[2J\nforged\u2028line \ud800 치료" + "[{" * 9999
    )
    entry = log.entries()[-1]
    assert entry.reason.isprintable()
    assert entry.reason.startswith("\ufffd[2J\ufffdforged\ufffdline \ufffd 치료")
    assert len(entry.reason) == audit.MAXIMUM_REASON
    assert len(lines_of(log)) == 7
    assert verify_audit_log(log.path).intact


def test_a_log_as_a_table(log):
    table = describe_audit(log.path)
    assert table["number"].to_list() == [1, 2, 3, 4, 5, 6]
    assert table.schema["time"] == pl.Datetime("us", "UTC")
    assert table.filter(event="accepted", site="lih")["sequence"].to_list() == [1, 2, 4]
    assert table.row(2, named=True) == {
        "number": 3,
        "time": NOW,
        "event": "refused",
        "site": "lih",
        "sequence": None,
        "reason": "the file is no seal",
        "manifest_sha256": None,
        "seal_sha256": digest("bad"),
    }


# --- changes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(6))
def test_a_changed_line_is_named(log, index):
    lines = lines_of(log)
    for place in range(0, len(lines[index]) - 1, 7):
        changed = bytearray(lines[index])
        changed[place] ^= 1
        assert broken_line(log, [*lines[:index], bytes(changed), *lines[index + 1 :]]) == index + 1


@pytest.mark.parametrize("index", range(5))
def test_a_line_changed_with_its_own_hash_is_seen_at_the_next(log, index):
    lines = lines_of(log)
    lines[index] = remade(lines[index], seal_sha256=digest("forged"))
    assert broken_line(log, lines) == index + 2


def test_the_last_line_changed_with_its_own_hash_is_seen_by_the_noted_head(log):
    head = log.head
    lines = lines_of(log)
    assert broken_line(log, [*lines[:5], remade(lines[5], seal_sha256=digest("forged"))]) is None
    report = verify_audit_log(log.path, head)
    assert (report.line, report.intact) == (7, False)


@pytest.mark.parametrize("index", range(5))
def test_a_removed_line_is_named(log, index):
    lines = lines_of(log)
    assert broken_line(log, lines[:index] + lines[index + 1 :]) == index + 1


@pytest.mark.parametrize("index", range(7))
def test_an_inserted_line_is_named(log, index):
    lines = lines_of(log)
    previous = hashlib.sha256(lines[index - 1]).hexdigest() if index else EMPTY_HEAD
    # A line of the log again, one that knows nothing, and one that fits to what is before.
    assert broken_line(log, [*lines[:index], lines[2], *lines[index:]]) == (
        index + 1 if index != 2 else 4
    )
    assert broken_line(log, [*lines[:index], b"\n", *lines[index:]]) == index + 1
    fitting = remade(lines[2], number=index + 1, previous=previous)
    if index < 6 and index != 2:
        assert broken_line(log, [*lines[:index], fitting, *lines[index:]]) == index + 2


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (2, 5), (4, 5)])
def test_swapped_lines_are_named(log, first, second):
    lines = lines_of(log)
    lines[first], lines[second] = lines[second], lines[first]
    assert broken_line(log, lines) == first + 1


@pytest.mark.parametrize("kept", range(6))
def test_whole_lines_cut_off_at_the_end_are_seen_by_the_noted_head(log, kept):
    head = log.head
    assert broken_line(log, lines_of(log)[:kept]) is None
    report = verify_audit_log(log.path, head)
    assert report.line == kept + 1
    assert "noted" in report.what


def test_a_deleted_log_is_seen_by_the_noted_head(log):
    head = log.head
    log.path.unlink()
    assert verify_audit_log(log.path).intact
    assert verify_audit_log(log.path, head).line == 1


def test_a_log_made_anew_is_seen_by_the_noted_head(log):
    head = log.head
    log.path.unlink()
    for number in range(1, 9):
        accept(log, number)
    assert verify_audit_log(log.path).intact
    assert not verify_audit_log(log.path, head).intact


def test_a_noted_head_still_counts_after_more_entries(log):
    head = log.head
    assert verify_audit_log(log.path, head).intact
    accept(log, 5)
    assert verify_audit_log(log.path, head).intact
    assert verify_audit_log(log.path, EMPTY_HEAD).intact
    assert log.head != head


@pytest.mark.parametrize("head", ["", "0", "A" * 64, digest("x") + "\n"])
def test_a_head_that_is_none_is_refused(log, head):
    with pytest.raises(InputError, match="no SHA-256"):
        verify_audit_log(log.path, head)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'", "', b'","', 1),
        lambda line: line.replace(b"{", b"{ ", 1),
        lambda line: line.replace(b'"lih"', b'"\\u006cih"'),
        lambda line: line.replace(b'"number": 1', b'"number": 1.0'),
        lambda line: line.replace(b"{", b'{"number": 1, ', 1),
        lambda line: line.replace(b"{", b'{"note": "", ', 1),
        lambda line: line.replace(b"\n", b"\r\n"),
        lambda line: b"\xef\xbb\xbf" + line,
        lambda line: b"[" * 5000 + b"\n",
        lambda line: b"\xff\n",
        lambda line: b"null\n",
    ],
)
def test_the_same_in_another_spelling_is_a_change(log, change):
    lines = lines_of(log)
    assert change(lines[0]) != lines[0]
    assert broken_line(log, [change(lines[0]), *lines[1:]]) == 1


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_other_bytes_are_this_log(tmp_path_factory, data):
    """Any splice of the file is refused or, at its end, seen by the noted head."""
    log = AuditLog(tmp_path_factory.mktemp("log") / "audit.jsonl")
    for number in (1, 2, 3):
        accept(log, number)
    head, content = log.head, log.path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    new = data.draw(
        st.one_of(st.binary(max_size=30), st.sampled_from([b"\n", b" (torn)\n", content]))
    )
    changed = content[:start] + new + content[end:]
    log.path.write_bytes(changed)
    report = verify_audit_log(log.path, head)
    # Only what comes after a whole log, without an end of line or marked as torn, is no change.
    if changed.startswith(content):
        rest = changed[len(content) :]
        harmless = all(
            line.endswith(b" (torn)\n") or not line.endswith(b"\n")
            for line in rest.splitlines(keepends=True)
        )
        assert report.intact == harmless
    else:
        assert not report.intact


# --- crashes -------------------------------------------------------------------------------------


def test_a_torn_line_is_repaired_with_an_entry_wherever_it_was_torn(tmp_path):
    whole = AuditLog(tmp_path / "whole.jsonl")
    accept(whole, 1)
    accept(whole, 2)
    first, second = lines_of(whole)
    for cut in range(1, len(second)):
        log = AuditLog(tmp_path / f"{cut}.jsonl")
        log.path.touch(mode=0o600)
        log.path.write_bytes(first + second[:cut])
        report = verify_audit_log(log.path)
        assert (report.intact, report.torn, report.entries) == (True, True, 1)
        assert log.accepted("lih") == [(1, digest("manifest 1"))]
        accept(log, 2)
        lines = lines_of(log)
        assert lines[0] == first
        assert lines[1] == second[:cut] + b" (torn)\n"
        assert [entry.event for entry in log.entries()] == ["accepted", "repaired", "accepted"]
        assert log.entries()[1].previous == hashlib.sha256(first + lines[1]).hexdigest()
        report = verify_audit_log(log.path)
        assert (report.intact, report.torn, report.entries, report.lines) == (True, False, 3, 4)
        assert log.accepted("lih") == [(n, digest(f"manifest {n}")) for n in (1, 2)]


def test_a_repair_that_is_torn_itself_is_repaired(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    accept(log, 1)
    start = log.path.read_bytes() + b'{"number": 2, "ti'
    log.path.write_bytes(start)
    accept(log, 2)
    content = log.path.read_bytes()
    for cut in range(len(start), len(content)):
        log.path.write_bytes(content[:cut])
        assert verify_audit_log(log.path).intact
        accept(log, 2)
        report = verify_audit_log(log.path)
        assert report.intact
        assert not report.torn
        assert log.accepted("lih") == [(n, digest(f"manifest {n}")) for n in (1, 2)]


def test_the_very_first_line_torn(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    log.path.touch(mode=0o600)
    log.path.write_bytes(b"\0" * 100)
    assert log.accepted("lih") == []
    accept(log, 1)
    assert [entry.event for entry in log.entries()] == ["repaired", "accepted"]
    assert verify_audit_log(log.path).intact


def test_torn_lines_are_part_of_the_chain(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    accept(log, 1)
    with log.path.open("ab") as stream:
        stream.write(b'{"number')
    accept(log, 2)
    lines = lines_of(log)
    assert broken_line(log, [lines[0], *lines[2:]]) is not None
    log.path.write_bytes(b"".join([lines[0], b'{"numbes (torn)\n', *lines[2:]]))
    assert not verify_audit_log(log.path).intact
    # A torn line that nobody repaired before the next entry.
    log.path.write_bytes(
        b"".join(
            [
                *lines[:2],
                remade(
                    lines[3],
                    number=2,
                    previous=hashlib.sha256(lines[0] + lines[1]).hexdigest(),
                ),
            ]
        )
    )
    assert "torn" in verify_audit_log(log.path).what


def test_a_write_that_fails_leaves_the_log_as_it_was(log, monkeypatch):
    before = log.path.read_bytes()
    write = os.write

    def full(handle, content):
        return write(handle, content[:40])

    def not_permitted(handle, size):
        raise PermissionError

    monkeypatch.setattr(audit.os, "write", full)
    with pytest.raises(InputError, match="No space"):
        accept(log, 5)
    assert log.path.read_bytes() == before
    # Where the file may only be appended to, the part stays until the next writer.
    monkeypatch.setattr(audit.os, "ftruncate", not_permitted)
    with pytest.raises(InputError, match="No space"):
        accept(log, 5)
    assert verify_audit_log(log.path).torn
    monkeypatch.undo()
    accept(log, 5)
    assert verify_audit_log(log.path).intact
    assert log.accepted("lih")[-1][0] == 5


def test_an_entry_is_on_the_disk_when_append_returns(log, monkeypatch):
    calls = []
    write, fsync = os.write, os.fsync
    monkeypatch.setattr(
        audit.os, "write", lambda handle, content: calls.append("write") or write(handle, content)
    )
    monkeypatch.setattr(audit.os, "fsync", lambda handle: calls.append("fsync") or fsync(handle))
    accept(log, 5)
    assert calls == ["write", "fsync"]


# --- hostile files -------------------------------------------------------------------------------


def test_an_endless_line_is_not_read_whole(log):
    size = log.path.stat().st_size
    os.truncate(log.path, size + 10 * 2**30)  # sparse: 10 GiB of zeros without an end of line
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = verify_audit_log(log.path)
    assert (report.line, report.entries) == (7, 6)
    with pytest.raises(InputError):
        accept(log, 5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
    assert log.path.stat().st_size == size + 10 * 2**30


def test_a_foreign_end_that_leaves_no_room_for_its_mark_is_not_completed(log):
    with log.path.open("ab") as stream:
        stream.write(b"x" * (audit.MAXIMUM_LINE_BYTES - 2))
    with pytest.raises(InputError):
        accept(log, 5)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_only_a_regular_file_is_a_log(log, tmp_path, kind):
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(log.path)
    for use in (lambda: verify_audit_log(path), lambda: AuditLog(path).append("refused", NOW)):
        with pytest.raises(InputError):
            use()


# --- several writers -----------------------------------------------------------------------------


def append_many(path, site):
    log = AuditLog(path)
    for number in range(1, 16):
        accept(log, number, site)


def test_processes_that_append_at_once_keep_the_chain(tmp_path):
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("fork")
    sites = [f"site{number}" for number in range(6)]
    workers = [context.Process(target=append_many, args=(path, site)) for site in sites]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    report = verify_audit_log(path)
    assert report.intact
    assert report.entries == 90
    for site in sites:
        assert [sequence for sequence, _ in AuditLog(path).accepted(site)] == list(range(1, 16))


def test_threads_keep_each_other_out(log):
    order = []

    def second():
        with log.locked():
            order.append("second")

    with log.locked() as locked:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
        accept(locked, 5)
    thread.join()
    assert order == ["first", "second"]
