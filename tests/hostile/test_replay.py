"""Releases that are signed and sealed as they must be, shown in the wrong order or twice told.

Whoever holds the exchange can show old files again; a site that was put back to an older state, or
whose keys are in other hands, can sign a second history. The audit log alone must see it. Each
attack stands beside what an honest site does in the same place.
"""

import json
import shutil

import pytest

from ihdsi.errors import InputError
from ihdsi.meta.audit import verify_audit_log
from signed_bundles import COORDINATOR, NORTH, transport_key
from sites_and_coordinator import Coordinator, Site, contents


class History:
    """The releases 1 to 4 of site north, each in a folder of its own, and forks of them.

    ``fork`` is another release 2 after the same release 1, and release 3 after it; ``anew`` are
    releases of a site whose ledger is empty again.
    """

    def __init__(self, folder):
        self.folder = folder
        honest = Site(folder / "honest")
        for number in (1, 2, 3, 4):
            honest.release(float(number), into=folder / f"{number}")
        self.manifests = honest.earlier
        fork = Site(folder / "forked", earlier=honest.earlier[:1])
        for number in (2, 3):
            fork.release(number + 0.5, into=folder / f"fork{number}")
        anew = Site(folder / "anew")
        for number in (1, 2, 3, 4, 5):
            anew.release(number + 0.25, into=folder / f"anew{number}")
        # Says that it follows, and leaves the number of a release out.
        skipping = Site(folder / "skipping", earlier=honest.earlier[:1])
        skipping.release(9.0, into=folder / "second_after_first")
        # Knows the later releases and not the first.
        partly = Site(folder / "partly", earlier=["e" * 64, *honest.earlier[1:3]])
        partly.release(8.0, into=folder / "fourth_of_another_first")

    def __getitem__(self, name):
        return self.folder / str(name)


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    return History(tmp_path_factory.mktemp("history"))


@pytest.fixture
def coordinator(tmp_path):
    return Coordinator(tmp_path)


def refused(coordinator, exchange, match, **changes):
    target = coordinator.destination(changes.get("site", "north"))
    before = contents(target), contents(exchange), coordinator.log.accepted("north")
    with pytest.raises(InputError, match=match):
        coordinator.accept(exchange, **changes)
    assert contents(target) == before[0]
    assert contents(exchange) == before[1]
    assert coordinator.log.accepted("north") == before[2]
    entry = coordinator.log.entries()[-1]
    assert entry.event == "refused"
    return entry


def test_releases_in_order(history, coordinator):
    for number in (1, 2, 3, 4):
        assert coordinator.accept(history[number])["sequence"] == number
        assert coordinator.accept(history[number])["sequence"] == number
    assert coordinator.log.accepted("north") == list(enumerate(history.manifests, start=1))
    assert verify_audit_log(coordinator.log.path).entries == 4


@pytest.mark.parametrize("numbers", [(2,), (4,), (1, 3), (1, 4), (2, 4), (1, 2, 4)])
def test_the_coordinator_may_miss_releases_of_a_history_that_agrees(history, coordinator, numbers):
    for number in numbers:
        assert coordinator.accept(history[number])["sequence"] == number
    assert [number for number, _ in coordinator.log.accepted("north")] == list(numbers)


@pytest.mark.parametrize(("last", "again"), [(2, 1), (3, 1), (3, 2), (4, 3)])
def test_replay_of_an_accepted_release(history, coordinator, last, again):
    for number in range(1, last + 1):
        coordinator.accept(history[number])
    entry = refused(coordinator, history[again], f"release {again} again, but release {last}")
    assert (entry.sequence, entry.manifest_sha256) == (again, history.manifests[again - 1])
    # The honest site goes on.
    assert coordinator.accept(history[last])["sequence"] == last


def test_rollback_to_a_release_that_was_skipped(history, coordinator):
    coordinator.accept(history[1])
    coordinator.accept(history[3])
    refused(coordinator, history[2], "release 2 comes, but release 3")
    assert coordinator.accept(history[4])["sequence"] == 4


def test_the_exchange_put_back_as_a_whole(history, coordinator, tmp_path):
    """Seal and bundle of release 1 over a folder that holds release 2."""
    exchange = tmp_path / "exchange"
    shutil.copytree(history[1], exchange)
    coordinator.accept(exchange)
    shutil.copytree(history[2], exchange, dirs_exist_ok=True)
    coordinator.accept(exchange)
    shutil.copytree(history[1], exchange, dirs_exist_ok=True)
    refused(coordinator, exchange, "release 1 again")


def test_two_releases_of_one_number(history, coordinator):
    coordinator.accept(history[1])
    coordinator.accept(history[2])
    entry = refused(coordinator, history["fork2"], "another release 2 than the one")
    assert entry.sequence == 2
    assert entry.manifest_sha256 != history.manifests[1]


def test_a_fork_is_seen_later_as_well(history, coordinator):
    """The second history is shown only once its number is higher."""
    coordinator.accept(history[1])
    coordinator.accept(history[2])
    refused(coordinator, history["fork3"], "follows from another release 2")
    assert coordinator.accept(history[3])["sequence"] == 3


def test_a_fork_whose_other_branch_was_never_seen_is_a_history_that_agrees(history, coordinator):
    coordinator.accept(history[1])
    assert coordinator.accept(history["fork3"])["sequence"] == 3
    refused(coordinator, history[2], "release 2 comes")
    refused(coordinator, history[3], "another release 3")
    refused(coordinator, history[4], "follows from another release 3")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_site_whose_ledger_is_empty_again(history, coordinator, number):
    for accepted in (1, 2, 3):
        coordinator.accept(history[accepted])
    refused(coordinator, history[f"anew{number}"], "release")


def test_a_first_release_that_was_exchanged(history, coordinator):
    """The releases that matter agree, an older one does not."""
    coordinator.accept(history[1])
    coordinator.accept(history[3])
    refused(coordinator, history["fourth_of_another_first"], "follows from another release 1")
    assert coordinator.accept(history[4])["sequence"] == 4


def test_a_branch_after_the_first_release(history, coordinator):
    coordinator.accept(history[1])
    coordinator.accept(history[2])
    refused(coordinator, history["second_after_first"], "another release 2")


@pytest.mark.parametrize("seal_of", [1, 2, 3])
@pytest.mark.parametrize("bundle_of", [1, 2, 3])
def test_seal_of_one_release_with_the_bundle_of_another(
    history, coordinator, tmp_path, seal_of, bundle_of
):
    exchange = tmp_path / "mixed"
    exchange.mkdir()
    shutil.copy(history[seal_of] / "seal.dsse.json", exchange)
    shutil.copy(
        history[bundle_of] / f"bundle-{bundle_of}.tar.c4gh",
        exchange / f"bundle-{seal_of}.tar.c4gh",
    )
    if seal_of == bundle_of:
        assert coordinator.accept(exchange)["sequence"] == seal_of
    else:
        refused(coordinator, exchange, "the seal says|SHA-256 is not the seal's")


def test_the_release_of_another_site_under_this_name(history, coordinator):
    refused(coordinator, history[1], "'north'", site="south")
    assert coordinator.log.accepted("south") == []
    assert coordinator.accept(history[1])["site"] == "north"


def test_the_release_of_another_study(history, coordinator):
    refused(coordinator, history[1], "study 'demo', expected 'other'", study="other")


def test_a_release_for_another_coordinator(history, coordinator):
    refused(coordinator, history[1], "not sealed for this coordinator", recipient=transport_key(77))
    assert coordinator.accept(history[1], recipient=COORDINATOR)["sequence"] == 1


def test_the_same_release_sealed_anew_is_the_same_release(history, coordinator, tmp_path):
    """Sealing is randomised: the site's archive was lost and the same candidate sealed again."""
    coordinator.accept(history[1])
    candidate = next((history["honest"] / "candidates" / "north").glob("1-*"))
    site = Site(tmp_path)
    copy = shutil.copytree(candidate, tmp_path / "copy")
    (copy / "manifest.dsse.json").unlink()
    assert site.publish(copy, NORTH) == history.manifests[0]
    seals = [json.loads((f / "seal.dsse.json").read_text()) for f in (history[1], site.exchange)]
    assert seals[0] != seals[1]
    assert coordinator.accept(site.exchange)["sequence"] == 1
    assert verify_audit_log(coordinator.log.path).entries == 1


def test_attacks_do_not_change_what_comes_next(history, coordinator):
    """Every attack between every two honest releases."""
    attacks = ["fork2", "fork3", "anew1", "anew2", "anew5", "fourth_of_another_first"]
    coordinator.accept(history[1])
    coordinator.accept(history[2])
    for attack in attacks:
        refused(coordinator, history[attack], "release")
    coordinator.accept(history[3])
    for attack in [*attacks, 1, 2]:
        refused(coordinator, history[attack], "release")
    coordinator.accept(history[4])
    assert coordinator.log.accepted("north") == list(enumerate(history.manifests, start=1))
    report = verify_audit_log(coordinator.log.path)
    assert report.intact
    assert report.entries == 4 + 2 * len(attacks) + 2
    # What was shown twice is kept once.
    assert len(list(coordinator.quarantine.iterdir())) == len(attacks) + 2


def test_without_its_log_the_coordinator_knows_nothing(history, coordinator):
    """Why its head is noted elsewhere: this replay is seen by nobody else."""
    coordinator.accept(history[1])
    coordinator.accept(history[2])
    head = coordinator.log.head
    coordinator.log.path.unlink()
    assert coordinator.accept(history[1])["sequence"] == 1
    assert verify_audit_log(coordinator.log.path).intact
    assert not verify_audit_log(coordinator.log.path, head).intact


def test_part_of_the_log_is_gone(history, coordinator):
    coordinator.accept(history[1])
    coordinator.accept(history[2])
    lines = coordinator.log.path.read_bytes().splitlines(keepends=True)
    coordinator.log.path.write_bytes(lines[1])
    with pytest.raises(InputError, match="entry 2 stands where 1 must"):
        coordinator.accept(history[1])
