"""An approval that is killed at any moment leaves one whole release to fetch, and loses nothing."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import interrupted_approval
import release_candidates as candidates
import signed_bundles as bundles
from ihdsi.bundle import open as opening
from ihdsi.bundle.approval import publish_pending, verify_decisions
from ihdsi.bundle.release import verify_candidate
from ihdsi.disclosure.ledger import Ledger
from ihdsi.errors import InputError

SEED = 20260601


@pytest.fixture(scope="module", autouse=True)
def tables_parsed_once():
    """The same few tables are opened hundreds of times: equal bytes are parsed once."""
    read, parsed = opening.read_table_bytes, {}

    def read_once(data, table, path, *expected):
        key = (data, table, *expected)
        if key not in parsed:
            parsed[key] = read(data, table, path, *expected)
        return parsed[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "read_table_bytes", read_once)
        yield


@pytest.fixture(scope="module")
def killed():
    """A function that does a job in a process of its own and returns how that ended."""
    process = subprocess.Popen(
        [sys.executable, interrupted_approval.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )

    def run(root, decision="approve", **moment):
        job = {"root": str(root), "decision": decision, **moment}
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    with process:
        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A site with a candidate and nothing released."""
    root = tmp_path_factory.mktemp("first")
    candidates.draft(root / "candidate")
    return root


@pytest.fixture(scope="module")
def second(tmp_path_factory, first):
    """A site with one release and the next candidate."""
    root = tmp_path_factory.mktemp("second")
    found = candidates.decide(root, candidate=first / "candidate")
    candidates.draft(root / "candidate", sequence=2, earlier=[found.manifest_sha256], mean=4.5)
    return root


def fetched(root, working):
    """Number of the release that the coordinator finds, after all checks of it; 0 if none."""
    if not (root / "exchange" / bundles.STUDY / "north" / "seal.dsse.json").exists():
        return 0
    working.mkdir()
    release = candidates.fetch(root, working)
    sequence = release.seal.sequence
    mean = release.bundle.tables["mutation_burden"]["mean"].to_list()
    assert mean == {1: [3.25], 2: [4.5]}[sequence]
    shutil.rmtree(working)
    return sequence


def check(root, before, after):
    """Everything that must hold for a site that was killed between releases `before`, `after`.

    Returns the states of the releases since `before` and the number of the release in the exchange,
    both as the kill left them.
    """
    working = root / "working"
    found = fetched(root, working)
    assert found in (before, after)
    with Ledger(root / "ledger.sqlite") as ledger:
        states = [release.state for release in ledger.releases()]
        assert [release.sequence for release in ledger.releases()] == list(
            range(1, len(states) + 1)
        )
        assert len(states) in (before, after)
        assert states[:before] == ["published"] * before
        if states[before:] == ["published"] or found == after:
            assert found == after == len(states)
        # Marked before the coordinator can find it, and never without a row.
        marked = (root / "ledger.releases" / str(after) / "published").exists()
        assert len(states) == after if marked else found == before
        # Neither approved nor published without what the archive keeps, and whom it counted.
        for release in ledger.releases():
            assert ledger.released_tables(release.sequence)
            assert ledger.populations(release.sequence).height == candidates.POPULATIONS.height
    pending = publish_pending(root / "ledger.sqlite", root / "exchange")
    assert (pending.sequence if pending else 0) == len(states) == fetched(root, working)
    if len(states) == after:
        with pytest.raises(InputError, match="nothing new"):
            candidates.decide(root)
        assert not publish_pending(root / "ledger.sqlite", root / "exchange").restored
    else:
        assert candidates.decide(root).sequence == after
    assert fetched(root, working) == after
    with Ledger(root / "ledger.sqlite") as ledger:
        assert [release.state for release in ledger.releases()] == ["published"] * after
    decisions = verify_decisions(root / "ledger.sqlite", store=bundles.trust_store(), site="north")
    assert decisions == after
    # Nothing half-done stays behind.
    assert {path.name for path in (root / "ledger.releases").iterdir()} == {
        str(number) for number in range(1, after + 1)
    }
    assert {path.name for path in (root / "exchange" / "demo" / "north").iterdir()} == {
        "seal.dsse.json",
        *(f"bundle-{number}.tar.c4gh" for number in range(1, after + 1)),
    }
    return tuple(states[before:]), found


def spread(moments, number):
    """`number` of the moments, in equal steps, with the first and the last."""
    return sorted({1 + round(i * (moments - 1) / (number - 1)) for i in range(number)})


DECISION = "INSERT INTO releases"


@pytest.mark.parametrize(("site", "before", "kills"), [("second", 1, 7), ("first", 0, 3)])
def test_killed_before_the_decision(request, tmp_path, killed, site, before, kills):
    """Nothing has happened, at any step of copying, signing and sealing."""
    template = request.getfixturevalue(site)
    whole = killed(shutil.copytree(template, tmp_path / "whole"))
    for moment in spread(whole["moments"].index(DECISION) - 3, kills):
        root = Path(shutil.copytree(template, tmp_path / str(moment)))
        assert killed(root, moment=moment) == {"status": -signal.SIGKILL}
        assert check(root, before, before + 1) == ((), before)
        shutil.rmtree(root)


def test_killed_at_each_step_from_the_archive_to_the_end(tmp_path, killed, second):
    """Archive, row, commit, ciphertext, seal, state."""
    whole = killed(shutil.copytree(second, tmp_path / "whole"))
    outcomes = []
    start = whole["moments"].index(DECISION) - 3
    assert whole["moments"][start:].count("os.rename") == 3
    assert whole["moments"][start:].count("COMMIT") == 2
    for moment in range(start, len(whole["moments"]) + 1):
        root = Path(shutil.copytree(second, tmp_path / str(moment)))
        assert killed(root, moment=moment) == {"status": -signal.SIGKILL}
        outcomes.append(check(root, 1, 2))
        shutil.rmtree(root)
    # Never back, and through every state.
    order = [((), 1), (("approved",), 1), (("approved",), 2), (("published",), 2)]
    assert sorted(outcomes, key=order.index) == outcomes
    assert set(outcomes) == set(order)


def test_killed_and_put_back_to_an_old_ledger(tmp_path, killed, second):
    """What anybody can have fetched is never taken away for a ledger that does not know it."""
    whole = killed(shutil.copytree(second, tmp_path / "whole"))["moments"]
    start = whole.index(DECISION) + 1
    outcomes = []
    for moment in range(start, len(whole) + 1):
        root = Path(shutil.copytree(second, tmp_path / str(moment)))
        shutil.copy(root / "ledger.sqlite", root / "old.sqlite")
        assert killed(root, moment=moment) == {"status": -signal.SIGKILL}
        found = fetched(root, root / "working")
        shutil.move(root / "old.sqlite", root / "ledger.sqlite")
        shutil.rmtree(root / "exchange")
        archive = root / "ledger.releases" / "2"
        marked, before = (archive / "published").exists(), (archive / "seal.dsse.json").stat()
        outcomes.append((marked, found))
        if marked:
            with pytest.raises(InputError, match="archive holds release 2, and the ledger"):
                candidates.decide(root)
            assert (archive / "seal.dsse.json").stat().st_ino == before.st_ino
        else:
            assert candidates.decide(root).sequence == 2
        shutil.rmtree(root)
    # Never back, and through every state: not fetched and not marked, marked, fetched.
    assert sorted(outcomes) == outcomes
    assert set(outcomes) == {(False, 1), (True, 1), (True, 2)}


def test_killed_at_any_time(tmp_path, killed, second):
    choose = random.Random(SEED)
    for number in range(5):
        root = Path(shutil.copytree(second, tmp_path / str(number)))
        killed(root, delay=choose.uniform(0, 0.4))
        check(root, 1, 2)
        shutil.rmtree(root)


def read_mean(candidate):
    """The number in a candidate that may be approved; None if it may not."""
    keys = bundles.trust_store().sites["north"].producer
    arguments = {"study_hash": candidates.STUDY_HASH, "site": "north", "on": bundles.TODAY}
    try:
        found = verify_candidate(candidate, producer_keys=keys, **arguments)
    except InputError:
        return None
    return found.tables["mutation_burden"]["mean"][0]


def test_killed_while_drafting(tmp_path, killed, first):
    """A half-written candidate cannot be approved, and the next draft replaces it."""
    whole = killed(shutil.copytree(first, tmp_path / "whole"), "draft", mean=7.5)
    assert whole["status"] == 0
    found = []
    for moment in spread(len(whole["moments"]), 10):
        root = Path(shutil.copytree(first, tmp_path / str(moment)))
        assert killed(root, "draft", moment=moment, mean=7.5) == {"status": -signal.SIGKILL}
        found.append(read_mean(root / "candidate"))
        candidates.draft(root / "candidate", mean=7.5, anew=False)
        assert read_mean(root / "candidate") == 7.5
        shutil.rmtree(root)
    # The earlier candidate, then none, then the new one.
    order = [3.25, None, 7.5]
    assert sorted(found, key=order.index) == found
    assert None in found


def test_killed_while_publishing(tmp_path, killed, second):
    """What restores the exchange can itself be killed and done again."""
    template = Path(shutil.copytree(second, tmp_path / "template"))
    shutil.rmtree(template / "exchange")
    whole = killed(shutil.copytree(template, tmp_path / "whole"), "publish")
    assert whole["status"] == 0
    for moment in range(1, len(whole["moments"]) + 1):
        root = Path(shutil.copytree(template, tmp_path / str(moment)))
        assert killed(root, "publish", moment=moment) == {"status": -signal.SIGKILL}
        assert fetched(root, root / "working") in (0, 1)
        assert publish_pending(root / "ledger.sqlite", root / "exchange").sequence == 1
        assert fetched(root, root / "working") == 1
        shutil.rmtree(root)


def test_killed_while_the_ledger_is_created(tmp_path, killed):
    (tmp_path / "whole").mkdir()
    whole = killed(tmp_path / "whole", "publish")
    assert whole["status"] == 0
    for moment in range(1, len(whole["moments"]) + 1):
        root = tmp_path / str(moment)
        root.mkdir()
        assert killed(root, "publish", moment=moment) == {"status": -signal.SIGKILL}
        assert publish_pending(root / "ledger.sqlite", root / "exchange") is None
        with Ledger(root / "ledger.sqlite") as ledger:
            assert ledger.next_sequence() == 1
        assert {path.name for path in root.iterdir()} == {"ledger.sqlite"}
