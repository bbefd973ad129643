"""An intake that is killed at any point leaves the old folder or the new one, and a log that holds.

A child process runs the intake and kills itself with SIGKILL at one of its calls that change the
disk, before the call, or in a write after half of the bytes.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ihdsi.bundle import unpacking
from ihdsi.errors import InputError
from ihdsi.meta import intake
from ihdsi.meta.audit import verify_audit_log
from sites_and_coordinator import NOON, Coordinator, Site, contents

CALLS = ("write", "fsync", "rename", "replace", "ftruncate", "mkdir", "rmdir", "unlink")
LATER = NOON + timedelta(hours=1)


def accept_and_die(folder, exchange, point, exchange_of_names, calls):
    """Run in the child: count calls into the file `calls`, and die at number `point`."""
    names = []
    write = os.write

    def at(name, half=None):
        names.append(name)
        if len(names) == point:
            if half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(name, call):
        def hook(*arguments, **keywords):
            half = None
            if name == "write":
                half = lambda: write(arguments[0], arguments[1][: len(arguments[1]) // 2])  # noqa: E731
            at(name, half)
            return call(*arguments, **keywords)

        return hook

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))
    exchange_in_one_step = intake._exchange

    def exchanged(first, second):
        if not exchange_of_names:
            return False
        at("exchange")
        done = exchange_in_one_step(first, second)
        at("exchanged")
        return done

    intake._exchange = exchanged
    # It leaves the disk alone, and each child would start its process of bounded memory anew.
    unpacking.try_unpacking = lambda *tables, **bounds: None
    try:
        Coordinator(Path(folder)).accept(Path(exchange), now=LATER)
        names.append("accepted")
    except InputError as error:
        names.append(str(error))
    Path(calls).write_text(json.dumps(names))


@pytest.fixture(scope="module")
def processes():
    """Children of a server that has imported the package and started no threads yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sites_and_coordinator"])
    with pytest.MonkeyPatch.context() as patch:
        # The server takes its path from here alone, and imports nothing in advance without it.
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        child = context.Process(target=os.getpid)
        child.start()
        child.join()
    return context


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """A coordinator who accepted release 1, and the exchange folder with release 2."""
    folder = tmp_path_factory.mktemp("baseline")
    site = Site(folder)
    site.release()
    Coordinator(folder).accept(site.exchange)
    site.release(2.5)
    return folder


def copy_of(baseline, target):
    shutil.copytree(baseline, target, copy_function=shutil.copy2)
    return target


def run(processes, folder, point, exchange_of_names=True):
    """Let a child die at a call; return the names of its calls if it did not."""
    calls = folder / "calls.json"
    child = processes.Process(
        target=accept_and_die,
        args=(folder, folder / "exchange" / "north", point, exchange_of_names, calls),
    )
    child.start()
    child.join(120)
    if calls.exists():
        assert child.exitcode == 0
        return json.loads(calls.read_text())
    assert child.exitcode == -signal.SIGKILL
    return None


def whole(target):
    """Which release a folder holds, checked against its own record; the record's entry aside."""
    record = json.loads((target / "accepted.json").read_text())
    expected = {"accepted.json", "disclosure.json", "ro-crate-metadata.json"}
    expected |= {f"{name}.parquet" for name in record["tables"]}
    assert {path.name for path in target.iterdir()} == expected
    for name, table in record["tables"].items():
        assert intake.sha256_of(target / f"{name}.parquet") == table["sha256"]
    return record["sequence"]


def points(calls):
    """The first call, and each that is of another kind than the one before it."""
    return [n for n in range(1, len(calls) + 1) if n == 1 or calls[n - 1] != calls[n - 2]]


@pytest.mark.parametrize("exchange_of_names", [True, False])
def test_killed_at_any_point(processes, baseline, tmp_path, exchange_of_names):
    undisturbed = copy_of(baseline, tmp_path / "undisturbed")
    calls = run(processes, undisturbed, 0, exchange_of_names)
    assert calls.pop() == "accepted"
    assert ("exchange" in calls) == exchange_of_names
    new = contents(undisturbed / "results" / "intake" / "north")
    new.pop("accepted.json")
    found = []
    if exchange_of_names:
        chosen = points(calls)
        assert len(chosen) >= 15
    else:
        # Until the last step the way is the same: between the two renames, and after them.
        second = max(n for n, name in enumerate(calls, start=1) if name == "rename")
        assert calls[second - 2] == "rename"
        chosen = [second - 1, *(n for n in range(second, len(calls) + 1) if n in points(calls))]
        chosen.append(second)
    for point in chosen:
        folder = copy_of(baseline, tmp_path / f"{point}")
        coordinator = Coordinator(folder)
        assert run(processes, folder, point, exchange_of_names) is None
        # The log holds, and the folder is the one or the other.
        report = verify_audit_log(coordinator.log.path)
        assert report.intact, (point, calls[point - 1], report)
        target = coordinator.destination()
        if not exchange_of_names and not target.exists():
            sequence = whole(target.with_name(".replaced-north"))
        else:
            sequence = whole(target)
        accepted = [number for number, _ in coordinator.log.accepted("north")]
        assert accepted in ([1], [1, 2])
        # Nothing is there that the log does not know.
        assert sequence in accepted
        found.append((sequence, len(accepted), report.torn))
        # The next run completes, with one entry for the release.
        record = coordinator.accept(folder / "exchange" / "north", now=LATER)
        assert whole(target) == record["sequence"] == 2
        assert {path.name for path in target.parent.iterdir()} == {"north"}
        mended = contents(target)
        mended.pop("accepted.json")
        assert mended == new
        assert coordinator.log.accepted("north") == [
            (1, record["manifest"]["earlier_manifests"][0]),
            (2, record["manifest_sha256"]),
        ]
        report = verify_audit_log(coordinator.log.path, record["audit"]["sha256"])
        assert report.intact
        assert not report.torn
        assert contents(folder / "exchange") == contents(baseline / "exchange")
        shutil.rmtree(folder)
    # Before the entry, in it, after it, after the exchange: each kind of interruption happened.
    kinds = {(1, 2, False), (2, 2, False)}
    assert kinds | ({(1, 1, False), (1, 1, True)} if exchange_of_names else set()) == set(found)


def test_killed_at_the_repair_of_a_torn_log(processes, baseline, tmp_path):
    torn = copy_of(baseline, tmp_path / "torn")
    with (torn / "coordinator" / "audit.jsonl").open("ab") as stream:
        stream.write(b'{"number": 2, "time')
    calls = run(processes, copy_of(torn, tmp_path / "undisturbed"), 0)
    writes = [number for number, name in enumerate(calls, start=1) if name == "write"]
    assert len(writes) == 2
    for point in (*writes, *(number + 1 for number in writes)):
        folder = copy_of(torn, tmp_path / f"{point}")
        coordinator = Coordinator(folder)
        assert run(processes, folder, point) is None
        assert verify_audit_log(coordinator.log.path).intact
        coordinator.accept(folder / "exchange" / "north", now=LATER)
        assert [number for number, _ in coordinator.log.accepted("north")] == [1, 2]
        assert not verify_audit_log(coordinator.log.path).torn


def test_killed_at_a_refusal(processes, baseline, tmp_path):
    """The folder stays, and evidence is there whole or not at all."""
    hostile = copy_of(baseline, tmp_path / "hostile")
    (hostile / "exchange" / "north" / "bundle-2.tar.c4gh").write_bytes(b"x" * 100_000)
    calls = run(processes, copy_of(hostile, tmp_path / "undisturbed"), 0)
    assert "the seal says" in calls.pop()
    for point in points(calls)[::3]:
        folder = copy_of(hostile, tmp_path / f"{point}")
        coordinator = Coordinator(folder)
        assert run(processes, folder, point) is None
        assert whole(coordinator.destination()) == 1
        assert verify_audit_log(coordinator.log.path).intact
        begun = (
            [] if not coordinator.quarantine.exists() else list(coordinator.quarantine.iterdir())
        )
        for evidence in begun:
            assert evidence.name.startswith(".keeping-") or (evidence / "reason.json").exists()
        with pytest.raises(InputError, match="the seal says"):
            coordinator.accept(folder / "exchange" / "north", now=LATER)
        assert whole(coordinator.destination()) == 1
        assert coordinator.log.entries()[-1].event == "refused"
        assert verify_audit_log(coordinator.log.path).intact
        for evidence in coordinator.quarantine.iterdir():
            assert len(list(evidence.iterdir())) == 3
        assert contents(folder / "exchange") == contents(hostile / "exchange")
