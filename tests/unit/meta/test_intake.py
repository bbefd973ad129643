"""Intake is all or nothing, in order, logged, and reads only what was verified."""

import hashlib
import json
import os
import shutil
import stat
from datetime import date

import polars as pl
import pytest

from ihdsi.bundle import seal, unpacking
from ihdsi.errors import InputError, LocalFaultError
from ihdsi.files import sha256_of
from ihdsi.meta import intake
from ihdsi.meta.audit import describe_audit, verify_audit_log
from ihdsi.summaries import TABLES, read_table
from releases import tables
from signed_bundles import NORTH, SOUTH, STRANGER, trust_store
from sites_and_coordinator import NOON, Coordinator, Site, contents


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def coordinator(tmp_path):
    return Coordinator(tmp_path)


def refused(coordinator, exchange, match, **changes):
    """A refusal: one error, one entry, evidence, and nothing else that changed."""
    destination = coordinator.destination(changes.get("site", "north"))
    before = contents(destination), contents(exchange), len(coordinator.log.entries())
    kept = set(coordinator.quarantine.iterdir()) if coordinator.quarantine.exists() else set()
    with pytest.raises(InputError, match=match) as error:
        coordinator.accept(exchange, **changes)
    assert (contents(destination), contents(exchange)) == before[:2]
    entries = coordinator.log.entries()
    assert len(entries) == before[2] + 1
    assert entries[-1].event == "refused"
    assert entries[-1].reason == error.value.problems[0].what
    assert entries[-1].site == changes.get("site", "north")
    new = set(coordinator.quarantine.iterdir()) - kept
    # The same files are kept once.
    assert len(new) == 1 or (not new and kept)
    evidence = next(iter(new), None)
    names = {path.name for path in destination.parent.iterdir()}
    assert not [name for name in names if name.startswith(".")]
    return entries[-1], evidence


def test_a_release_is_taken_in_and_recorded(site, coordinator):
    manifest = site.release()
    record = coordinator.accept(site.exchange)
    target = coordinator.destination()
    assert {path.name for path in target.iterdir()} == {
        "accepted.json",
        "disclosure.json",
        "ro-crate-metadata.json",
        *(f"{name}.parquet" for name in TABLES),
    }
    assert [path.name for path in target.parent.iterdir()] == ["north"]
    assert json.loads((target / "accepted.json").read_text()) == record
    assert read_table(target / "mutation_burden.parquet", "mutation_burden").equals(
        tables()["mutation_burden"]
    )
    assert record["manifest_sha256"] == manifest
    assert record["manifest"]["sequence"] == record["sequence"] == 1
    assert record["tables"]["mutation_burden"] == {
        "rows": 1,
        "sha256": sha256_of(target / "mutation_burden.parquet"),
    }
    north = trust_store().sites["north"]
    assert record["signatures"]["producer"]["public_key"] == north.producer[0].public_key
    assert record["signatures"]["steward"]["public_key"] == north.steward[0].public_key
    assert coordinator.log.accepted("north") == [(1, manifest)]
    assert not coordinator.quarantine.exists()


def test_the_record_names_its_entry_in_the_log(site, coordinator):
    site.release()
    record = coordinator.accept(site.exchange)
    assert record["audit"] == {"number": 1, "sha256": coordinator.log.head}
    (entry,) = coordinator.log.entries()
    seal = site.exchange / "seal.dsse.json"
    assert entry.seal_sha256 == record["seal_sha256"] == sha256_of(seal)
    assert verify_audit_log(coordinator.log.path, record["audit"]["sha256"]).intact


def test_permissions_follow_the_umask(site, coordinator):
    site.release()
    old = os.umask(0o027)
    try:
        coordinator.accept(site.exchange)
    finally:
        os.umask(old)
    assert stat.S_IMODE(coordinator.destination().stat().st_mode) == 0o750
    assert stat.S_IMODE(coordinator.log.path.stat().st_mode) == 0o600


def test_the_same_release_again_is_accepted_without_a_second_entry(site, coordinator):
    site.release()
    first = coordinator.accept(site.exchange)
    log = coordinator.log.path.read_bytes()
    shutil.rmtree(coordinator.destination())
    assert coordinator.accept(site.exchange) == first
    assert coordinator.accept(site.exchange) == first
    assert coordinator.log.path.read_bytes() == log
    assert (coordinator.destination() / "accepted.json").exists()


@pytest.mark.parametrize("exchange_of_names", [True, False])
def test_a_later_release_replaces_the_earlier_one_as_a_whole(
    site, coordinator, monkeypatch, exchange_of_names
):
    if not exchange_of_names:
        monkeypatch.setattr(intake, "_exchange", lambda first, second: False)
    site.release()
    coordinator.accept(site.exchange)
    (coordinator.destination() / "left_by_somebody").touch()
    site.release(2.5)
    record = coordinator.accept(site.exchange)
    assert record["sequence"] == 2
    target = coordinator.destination()
    assert not (target / "left_by_somebody").exists()
    assert pl.read_parquet(target / "mutation_burden.parquet")["mean"].to_list() == [2.5]
    assert [path.name for path in target.parent.iterdir()] == ["north"]
    assert [sequence for sequence, _ in coordinator.log.accepted("north")] == [1, 2]


def test_two_names_are_exchanged_in_one_step_here(tmp_path):
    """Otherwise the tests of crashes would not try what runs on Linux."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert intake._exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()
    with pytest.raises(FileNotFoundError):
        intake._exchange(tmp_path / "a", tmp_path / "c")


def test_sites_are_numbered_each_for_itself(tmp_path, site, coordinator):
    south = Site(tmp_path, "south")
    site.release()
    site.release(2.5)
    south.release()
    assert coordinator.accept(site.exchange)["sequence"] == 2
    assert coordinator.accept(south.exchange, "south")["sequence"] == 1
    assert len(coordinator.log.accepted("north")) == len(coordinator.log.accepted("south")) == 1


def test_a_table_of_the_version_before_is_taken_in_as_the_present_one(site, coordinator):
    """The site's software is one version behind."""
    candidate = site.folder / "candidate"
    site.release(into=site.folder / "unused")
    shutil.move(next((site.folder / "candidates" / "north").iterdir()), candidate)
    table = candidate / "tables" / "mutation_burden.parquet"
    content = pl.read_parquet(table)
    metadata = pl.read_parquet_metadata(table) | {"ihdsi.table_version": "1"}
    content.write_parquet(
        table, metadata={k: v for k, v in metadata.items() if k.startswith("ihdsi.")}
    )
    manifest = json.loads((candidate / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["table"] == "mutation_burden":
            entry |= {
                "table_version": 1,
                "sha256": sha256_of(table),
                "size": table.stat().st_size,
            }
    (candidate / "manifest.json").write_text(json.dumps(manifest))
    site.publish(candidate, NORTH)
    coordinator.accept(site.exchange)
    path = coordinator.destination() / "mutation_burden.parquet"
    assert pl.read_parquet_metadata(path)["ihdsi.table_version"] == "2"
    assert read_table(path, "mutation_burden").equals(content)


# --- refusals ------------------------------------------------------------------------------------


def test_a_refused_release_leaves_the_earlier_intake_and_evidence(site, coordinator):
    site.release()
    coordinator.accept(site.exchange)
    site.release(2.5)
    sealed = site.exchange / "bundle-2.tar.c4gh"
    sealed.write_bytes(sealed.read_bytes()[:-1] + b"x")
    entry, evidence = refused(coordinator, site.exchange, "SHA-256 is not the seal's")
    assert entry.seal_sha256 == sha256_of(site.exchange / "seal.dsse.json")
    assert evidence.name == "north-20260601T120200Z"
    assert stat.S_IMODE(evidence.stat().st_mode) == 0o700
    for name in ("seal.dsse.json", "bundle-2.tar.c4gh"):
        assert (evidence / name).read_bytes() == (site.exchange / name).read_bytes()
    reason = json.loads((evidence / "reason.json").read_text())
    assert reason["what"] == entry.reason
    assert reason["files"] == [
        {
            "name": name,
            "kept": True,
            "size": (site.exchange / name).stat().st_size,
            "sha256": sha256_of(site.exchange / name),
        }
        for name in ("seal.dsse.json", "bundle-2.tar.c4gh")
    ]
    # Once the site has mended it, the release is accepted.
    sealed.unlink()
    site.earlier.pop()
    shutil.rmtree(site.folder / "candidates")
    site.release(2.5)
    assert coordinator.accept(site.exchange)["sequence"] == 2
    assert describe_audit(coordinator.log.path)["event"].to_list() == [
        "accepted",
        "refused",
        "accepted",
    ]


def accused_nobody(coordinator, exchange, match):
    """A fault of this machine: one error, and nothing that accuses the site."""
    with pytest.raises(LocalFaultError, match=match):
        coordinator.accept(exchange)
    assert [entry.event for entry in coordinator.log.entries()] == ["accepted"]
    assert not coordinator.quarantine.exists()
    names = {path.name for path in coordinator.destination().parent.iterdir()}
    assert names == {"north"}


def test_a_full_disk_is_not_the_sites_fault(site, coordinator, monkeypatch):
    site.release()
    coordinator.accept(site.exchange)
    before = contents(coordinator.destination())
    site.release(4.5)

    def full(self, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(seal._HashingWriter, "write", full)
        accused_nobody(coordinator, site.exchange, "No space left on device")
    assert contents(coordinator.destination()) == before
    assert coordinator.accept(site.exchange)["sequence"] == 2


def test_a_machine_without_processes_is_not_the_sites_fault(site, coordinator, monkeypatch):
    site.release()
    coordinator.accept(site.exchange)
    site.release(4.5)

    def no_process(*arguments, **options):
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_current", None)
        patch.setattr(unpacking.subprocess, "Popen", no_process)
        accused_nobody(coordinator, site.exchange, "no process can be started")
    assert coordinator.accept(site.exchange)["sequence"] == 2


def test_nothing_released_yet_is_no_refusal(site, coordinator):
    with pytest.raises(InputError, match="nothing yet"):
        coordinator.accept(site.exchange)
    assert not coordinator.log.path.exists()
    assert not coordinator.quarantine.exists()


def test_another_protocol_is_refused(site, coordinator):
    site.release(study_hash="cd" * 32)
    refused(coordinator, site.exchange, "another protocol")
    assert not coordinator.destination().exists()


def test_a_key_that_is_not_trusted_is_refused(tmp_path, coordinator):
    site = Site(tmp_path, party=STRANGER)
    site.release()
    refused(coordinator, site.exchange, "does not know")


def test_an_expired_key_is_refused(site, coordinator):
    site.release()
    refused(coordinator, site.exchange, "expired", on=date(2027, 1, 1))


def test_the_seal_of_another_site_is_refused(tmp_path, coordinator):
    south = Site(tmp_path, "south")
    south.release()
    refused(coordinator, south.exchange, "'south'")
    assert coordinator.log.accepted("north") == []


def test_another_site_in_the_name_of_this_one_is_refused(tmp_path, coordinator):
    """Keys of the south over a manifest that says north."""
    site = Site(tmp_path, "north", party=SOUTH)
    site.release()
    refused(coordinator, site.exchange, "'south'")


def test_a_large_bundle_is_described_and_not_kept(site, coordinator, monkeypatch):
    site.release()
    seal = site.exchange / "seal.dsse.json"
    monkeypatch.setattr(intake, "MAXIMUM_EVIDENCE_BYTES", seal.stat().st_size + 100)
    sealed = site.exchange / "bundle-1.tar.c4gh"
    sealed.write_bytes(sealed.read_bytes() + b"x")
    _, evidence = refused(coordinator, site.exchange, "bytes")
    assert {path.name for path in evidence.iterdir()} == {"seal.dsse.json", "reason.json"}
    files = json.loads((evidence / "reason.json").read_text())["files"]
    assert files[1] == {
        "name": "bundle-1.tar.c4gh",
        "kept": False,
        "size": sealed.stat().st_size,
        "sha256": sha256_of(sealed),
    }


def test_a_bundle_without_end_is_not_even_hashed(site, coordinator):
    site.release()
    os.truncate(site.exchange / "bundle-1.tar.c4gh", 2**42)  # sparse, 4 TiB
    entries = len(coordinator.log.entries())
    with pytest.raises(InputError):
        coordinator.accept(site.exchange)
    assert len(coordinator.log.entries()) == entries + 1
    (evidence,) = coordinator.quarantine.iterdir()
    files = json.loads((evidence / "reason.json").read_text())["files"]
    assert (files[1]["kept"], files[1]["size"], files[1]["sha256"]) == (False, 2**42, None)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large", "empty", "garbage"])
@pytest.mark.parametrize("name", ["seal.dsse.json", "bundle-1.tar.c4gh"])
def test_evidence_of_what_is_no_file(site, coordinator, tmp_path, name, kind):
    """Nothing outside of the exchange is copied, and nothing waits or grows."""
    site.release()
    secret = tmp_path / "secret"
    secret.write_text("of the coordinator")
    path = site.exchange / name
    path.unlink()
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.touch()
        os.truncate(path, 2**35)
    else:
        path.write_bytes(b"" if kind == "empty" else b'{"payload": "\xff')
    with pytest.raises(InputError):
        coordinator.accept(site.exchange)
    assert coordinator.log.entries()[-1].event == "refused"
    (evidence,) = coordinator.quarantine.iterdir()
    assert "of the coordinator" not in "".join(
        path.read_text(errors="replace") for path in evidence.iterdir() if path.is_file()
    )
    assert sum(path.stat().st_size for path in evidence.iterdir()) < 2**20


def test_two_refusals_in_one_second_keep_both(site, coordinator):
    site.release()
    for content in (b"one", b"two"):
        (site.exchange / "bundle-1.tar.c4gh").write_bytes(content)
        with pytest.raises(InputError):
            coordinator.accept(site.exchange, now=NOON)
    assert sorted(path.name for path in coordinator.quarantine.iterdir()) == [
        "north-20260601T120000Z",
        "north-20260601T120000Z-2",
    ]


def test_what_is_refused_again_is_logged_again_and_kept_once(site, coordinator, caplog):
    site.release()
    bundle = site.exchange / "bundle-1.tar.c4gh"
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-1])
    for number in (1, 2, 3):
        with pytest.raises(InputError):
            coordinator.accept(site.exchange)
        assert len(coordinator.log.entries()) == number
        (evidence,) = coordinator.quarantine.iterdir()
        assert evidence.name in caplog.messages[-1]
    # Another bundle under the same seal is other evidence, also where earlier notes are damaged.
    (evidence / "reason.json").write_text("[")
    bundle.write_bytes(whole[:-2])
    with pytest.raises(InputError):
        coordinator.accept(site.exchange)
    assert len(list(coordinator.quarantine.iterdir())) == 2


def test_a_refusal_is_logged_even_if_no_evidence_can_be_kept(site, coordinator):
    site.release()
    (site.exchange / "bundle-1.tar.c4gh").unlink()
    coordinator.quarantine.parent.mkdir(parents=True)
    coordinator.quarantine.touch()
    with pytest.raises(InputError):
        coordinator.accept(site.exchange)
    assert [entry.event for entry in coordinator.log.entries()] == ["refused"]


def test_evidence_is_the_bundle_that_the_seal_names(site, coordinator):
    """Older bundles may stay in the exchange."""
    site.release()
    first = contents(site.exchange)
    site.release(2.5)
    coordinator.accept(site.exchange)
    (site.exchange / "seal.dsse.json").write_bytes(first["seal.dsse.json"])
    entry, evidence = refused(coordinator, site.exchange, "release 1")
    assert (evidence / "bundle-1.tar.c4gh").exists()
    assert not (evidence / "bundle-2.tar.c4gh").exists()
    assert (entry.sequence, entry.manifest_sha256) == (1, site.earlier[0])
    # A seal that says nothing: the newest.
    (site.exchange / "seal.dsse.json").write_bytes(b"{}")
    entry, evidence = refused(coordinator, site.exchange, "envelope")
    assert (evidence / "bundle-2.tar.c4gh").exists()
    assert (entry.sequence, entry.manifest_sha256) == (None, None)
    assert entry.seal_sha256 == hashlib.sha256(b"{}").hexdigest()


# --- the log -------------------------------------------------------------------------------------


def test_nothing_is_accepted_with_a_broken_log(site, coordinator):
    site.release()
    coordinator.accept(site.exchange)
    site.release(2.5)
    log = coordinator.log.path
    broken = log.read_bytes().replace(b'"sequence": 1', b'"sequence": 0')
    log.write_bytes(broken)
    before = contents(coordinator.destination())
    with pytest.raises(InputError, match="audit"):
        coordinator.accept(site.exchange)
    assert contents(coordinator.destination()) == before
    assert log.read_bytes() == broken


def test_nothing_is_replaced_if_the_acceptance_cannot_be_logged(site, coordinator, monkeypatch):
    site.release()
    coordinator.accept(site.exchange)
    site.release(2.5)
    before = contents(coordinator.destination())

    def full(self, *arguments, **fields):
        raise InputError(intake.Problem("no space", "Make some."))

    with monkeypatch.context() as patch:
        patch.setattr(intake.LockedAuditLog, "append", full)
        with pytest.raises(InputError, match="no space"):
            coordinator.accept(site.exchange)
    assert contents(coordinator.destination()) == before
    assert not coordinator.quarantine.exists()
    assert coordinator.accept(site.exchange)["sequence"] == 2


def test_a_seal_that_changes_while_it_is_read_is_refused(site, coordinator, monkeypatch):
    site.release()
    opened = intake.open_release

    def changing(folder, **arguments):
        release = opened(folder, **arguments)
        (folder / "seal.dsse.json").write_bytes(b"{}")
        return release

    monkeypatch.setattr(intake, "open_release", changing)
    with pytest.raises(InputError, match="while the release was read"):
        coordinator.accept(site.exchange)
    assert coordinator.log.accepted("north") == []
    assert not coordinator.destination().exists()


def test_what_a_killed_intake_left_is_cleared_away(site, coordinator):
    site.release()
    parent = coordinator.destination().parent
    (parent / ".intake-north-abcd" / "release").mkdir(parents=True)
    (parent / ".intake-south-abcd").mkdir()
    coordinator.accept(site.exchange)
    assert {path.name for path in parent.iterdir()} == {"north", ".intake-south-abcd"}


def test_a_folder_moved_aside_by_a_killed_intake_comes_back(site, coordinator):
    site.release()
    coordinator.accept(site.exchange)
    target = coordinator.destination()
    before = contents(target)
    target.rename(target.with_name(".replaced-north"))
    (site.exchange / "seal.dsse.json").write_bytes(b"{}")
    with pytest.raises(InputError):
        coordinator.accept(site.exchange)
    assert contents(target) == before
    assert [path.name for path in target.parent.iterdir()] == ["north"]
