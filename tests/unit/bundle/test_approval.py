"""A release leaves when a steward's key, a fresh candidate and the ledger agree; else nothing."""

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

import release_candidates as candidates
import signed_bundles as bundles
from ihdsi.bundle import approval
from ihdsi.bundle.approval import approve, publish_pending, reject, verify_decisions
from ihdsi.bundle.manifest import MANIFEST
from ihdsi.bundle.populations import POPULATIONS_TYPE, bind_populations, binding_path
from ihdsi.bundle.signature import sign
from ihdsi.disclosure.ledger import Ledger
from ihdsi.errors import InputError, LocalFaultError, Problem
from ihdsi.files import sha256_of
from ihdsi.summaries import TABLES, empty_table
from release_candidates import populations_path

DRAFTED = {"candidate", "candidate.populations.parquet", "candidate.populations.dsse.json"}


def history(root):
    with Ledger(root / "ledger.sqlite") as ledger:
        return ledger.releases(), ledger.rejections()


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def drafted(tmp_path_factory):
    return candidates.draft(tmp_path_factory.mktemp("drafted") / "candidate")


@pytest.fixture(scope="module")
def approved(tmp_path_factory, drafted):
    root = tmp_path_factory.mktemp("approved")
    candidates.copy(drafted, root)
    candidates.decide(root)
    return root


@pytest.fixture
def root(tmp_path, drafted):
    """A site with its first candidate."""
    candidates.copy(drafted, tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def released(tmp_path, approved):
    """A site with one release."""
    return Path(shutil.copytree(approved, tmp_path / "released"))


def draft_next(root, **changes):
    with Ledger(root / "ledger.sqlite") as ledger:
        arguments = {
            "sequence": ledger.next_sequence(),
            "earlier": ledger.earlier_manifests(),
            "mean": 4.5,
        } | changes
    return candidates.draft(root / "candidate", **arguments)


def refused(root, match, decision=approve, **changes):
    """Nothing of a site changes when a decision is refused, but that a ledger may appear."""
    before = contents(root)
    with pytest.raises(InputError, match=match) as error:
        candidates.decide(root, decision, **changes)
    assert error.value.problems[0].remedy
    after = contents(root)
    if "ledger.sqlite" not in before:
        after.pop("ledger.sqlite", None)
    assert after == before


def test_an_approved_candidate_reaches_the_coordinator(root, tmp_path):
    candidate = contents(root / "candidate")
    found = candidates.decide(root)
    assert found.sequence == 1
    assert found.decided_at == "2026-06-01T12:00:00Z"
    assert found.manifest_sha256 == sha256_of(root / "candidate" / MANIFEST)
    assert contents(root / "candidate") == candidate
    fetched = candidates.fetch(root, tmp_path)
    assert fetched.seal.sequence == 1
    assert fetched.bundle.tables["mutation_burden"]["mean"].to_list() == [3.25]
    assert sorted(path.name for path in found.published.iterdir()) == [
        "bundle-1.tar.c4gh",
        "seal.dsse.json",
    ]


def test_the_ledger_keeps_who_when_and_why(released):
    (release,), rejections = history(released)
    assert rejections == []
    assert (release.sequence, release.study, release.site) == (1, "demo", "north")
    assert release.state == "published"
    assert release.decided_at == "2026-06-01T12:00:00Z"
    assert release.steward == "a holder"
    assert release.steward_key == bundles.entry(bundles.NORTH.steward)["public_key"]
    assert release.reason == "looked at every table"
    assert release.study_hash == candidates.STUDY_HASH
    assert release.override is release.membership_power is None
    with Ledger(released / "ledger.sqlite") as ledger:
        found = ledger.populations(1).drop("value_hash")
        expected = ledger.hash_patients(candidates.POPULATIONS)
    assert found.equals(expected.sort(expected.columns))


def test_the_archive_keeps_the_whole_release(released):
    archive = released / "ledger.releases" / "1"
    candidate = contents(released / "candidate")
    bundle = contents(archive / "bundle")
    one, two = (json.loads(files.pop("manifest.dsse.json")) for files in (candidate, bundle))
    assert bundle == candidate
    assert (len(one["signatures"]), len(two["signatures"])) == (1, 2)
    exchange = contents(released / "exchange" / "demo" / "north")
    del (rest := contents(archive))["bundle/manifest.dsse.json"]
    assert {name: rest[name] for name in exchange} == exchange
    assert {path.name for path in archive.iterdir()} == {"bundle", "published", *exchange}
    assert archive.parent.stat().st_mode & 0o077 == 0
    with Ledger(released / "ledger.sqlite") as ledger:
        assert ledger.released_tables(1)["mutation_burden"]["mean"].to_list() == [3.25]


def test_the_next_release_follows(released, tmp_path):
    settings = candidates.DISCLOSURE["settings"] | {"differential_privacy_epsilon": 0.5}
    draft_next(released, disclosure={"settings": settings, "withheld": {}})
    assert candidates.decide(released).sequence == 2
    fetched = candidates.fetch(released, tmp_path)
    assert fetched.seal.sequence == 2
    assert fetched.bundle.tables["mutation_burden"]["mean"].to_list() == [4.5]
    releases, _ = history(released)
    assert fetched.bundle.manifest.earlier_manifests == [releases[0].manifest_sha256]
    assert [release.epsilon for release in releases] == [0.0, 0.5]


def emptied(root):
    candidates.POPULATIONS.clear().write_parquet(populations_path(root / "candidate"))


def newer(root):
    frame = candidates.POPULATIONS.with_columns(patient=pl.lit("LIH-0003"))
    frame.write_parquet(populations_path(root / "candidate"))


def no_parquet(root):
    populations_path(root / "candidate").write_bytes(b"no parquet")


def no_file(root):
    populations_path(root / "candidate").unlink()


def no_binding(root):
    binding_path(root / "candidate").unlink()


def binding_of_another(root):
    candidates.draft(root / "other", mean=4.5)
    shutil.copy(binding_path(root / "other"), binding_path(root / "candidate"))


def bound_by(party):
    def bind(root):
        candidates.count(root / "candidate", producer=party)

    return bind


def manifest_as_binding(root):
    """A true signature of the producer, over a document of another kind."""
    shutil.copy(root / "candidate" / "manifest.dsse.json", binding_path(root / "candidate"))


def signed_nonsense(root):
    path = binding_path(root / "candidate")
    path.write_bytes(sign(b'{"manifest_sha256": 1}', POPULATIONS_TYPE, bundles.NORTH.producer))


def signed_for_nobody(root):
    candidates.count(root / "candidate", candidates.POPULATIONS.clear())


def signed_without_parquet(root):
    no_parquet(root)
    bind_populations(
        root / "candidate", populations_path(root / "candidate"), bundles.NORTH.producer
    )


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (emptied, "not those with which the candidate was drafted"),
        (newer, "not those with which the candidate was drafted"),
        (no_parquet, "not those with which the candidate was drafted"),
        (no_file, "cannot be read"),
        (no_binding, "whom the candidate counts: the file cannot be read"),
        (binding_of_another, "those of another candidate"),
        (bound_by(bundles.STRANGER.producer), "does not know"),
        (bound_by(bundles.SOUTH.producer), "key of site 'south'"),
        (bound_by(bundles.NORTH.steward), "signed by the steward"),
        (manifest_as_binding, "another kind of document"),
        (signed_nonsense, "not that of a candidate's populations"),
        (signed_for_nobody, "hold no patient"),
        (signed_without_parquet, "cannot be read"),
    ],
)
def test_populations_that_are_not_the_candidates_stop_an_approval(root, damage, match):
    damage(root)
    refused(root, match)
    assert not (root / "ledger.sqlite").exists()
    assert not (root / "exchange").exists()


def test_populations_of_a_revoked_producer_stop_an_approval(root):
    """Also where the candidate itself is signed by a key that still counts."""
    content = bundles.trust_store().model_dump()
    revoked = bundles.entry(bundles.STRANGER.producer, revoked=date(2026, 5, 1))
    content["sites"]["north"]["producer"].append(revoked)
    candidates.count(root / "candidate", producer=bundles.STRANGER.producer)
    refused(root, "was revoked", store=type(bundles.trust_store()).model_validate(content))


def test_a_candidate_with_its_binding_changed_while_it_is_read_is_refused(root, monkeypatch):
    """The whole candidate is exchanged for another that is as valid, just before it is copied."""
    other, copied = candidates.draft(root / "other", mean=9.75), approval._copy

    def exchange_and_copy(candidate, *arguments):
        return copied(other, *arguments)

    monkeypatch.setattr(approval, "_copy", exchange_and_copy)
    refused(root, "changed while it was read")
    assert history(root) == ([], [])


def test_whom_an_empty_candidate_counts_may_be_nobody(root, monkeypatch):
    monkeypatch.setattr(candidates, "tables", lambda mean: {n: empty_table(n) for n in TABLES})
    candidates.draft(root / "candidate")
    signed_for_nobody(root)
    assert candidates.decide(root).sequence == 1


def test_the_binding_may_lie_elsewhere_and_does_not_leave(root):
    elsewhere = root / "binding.json"
    binding_path(root / "candidate").rename(elsewhere)
    refused(root, "whom the candidate counts")
    found = candidates.decide(root, binding=elsewhere)
    for folder in (found.archive, found.published):
        assert not list(folder.rglob("*populations*"))


def test_populations_that_say_too_little_stop_an_approval_and_the_next_one_succeeds(root):
    candidates.count(root / "candidate", candidates.POPULATIONS.drop("stratum"))
    with pytest.raises(InputError, match="populations"):
        candidates.decide(root)
    assert history(root) == ([], [])
    assert not (root / "exchange").exists()
    candidates.count(root / "candidate")
    assert candidates.decide(root).sequence == 1


@pytest.mark.parametrize("decision", [approve, reject])
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"store": bundles.trust_store(steward={"valid_until": date(2026, 5, 31)})}, "expired"),
        ({"store": bundles.trust_store(steward={"revoked": date(2026, 6, 1)})}, "was revoked on"),
        ({"store": bundles.trust_store(steward={"valid_from": date(2026, 6, 2)})}, "only from"),
        ({"steward_signer": bundles.STRANGER.steward}, "not that of a data steward"),
        ({"steward_signer": bundles.NORTH.producer}, "not that of a data steward"),
        ({"steward_signer": bundles.SOUTH.steward}, "not that of a data steward"),
        ({"site": "west"}, "no site 'west'"),
        ({"reason": ""}, "reason"),
        ({"reason": " \t"}, "reason"),
        ({"reason": "x" * 2001}, "reason"),
        ({"reason": "red \x1b[31m"}, "reason"),
    ],
)
def test_without_a_valid_steward_and_a_reason_nothing_is_written(root, decision, changes, match):
    refused(root, match, decision, **changes)
    assert {path.name for path in root.iterdir()} == DRAFTED


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sender": bundles.SOUTH.transport}, "not a transport key"),
        ({"store": bundles.trust_store(transport={"revoked": date(2026, 5, 1)})}, "was revoked on"),
        ({"override": "  "}, "override"),
    ],
)
def test_without_a_valid_transport_key_nothing_is_written(root, changes, match):
    refused(root, match, **changes)
    assert {path.name for path in root.iterdir()} == DRAFTED


def test_the_day_of_the_decision_is_that_of_utc(root):
    late = datetime(2026, 6, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    store = bundles.trust_store(steward={"valid_from": date(2026, 6, 1)})
    refused(root, "only from 2026-06-01", now=late, store=store)
    assert candidates.decide(root, now=late).decided_at == "2026-05-31T23:00:00Z"
    with pytest.raises(ValueError, match="zone"):
        candidates.decide(root, now=datetime(2026, 6, 1))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"study_hash": "cd" * 32}, "another protocol"),
        ({"study": "other"}, "expected 'other'"),
        ({"store": bundles.trust_store(producer={"revoked": date(2026, 5, 1)})}, "revoked"),
    ],
)
@pytest.mark.parametrize("decision", [approve, reject])
def test_a_candidate_of_something_else_is_refused(root, decision, changes, match):
    refused(root, match, decision, **changes)
    assert not (root / "ledger.sqlite").exists()


@pytest.mark.parametrize("decision", [approve, reject])
def test_a_candidate_that_nobody_or_another_signed_is_refused(root, decision):
    candidates.draft(root / "candidate", producer=bundles.STRANGER.producer)
    refused(root, "key", decision)
    candidates.draft(root / "candidate", producer=bundles.NORTH.steward)
    refused(root, "key", decision)
    (root / "candidate" / "manifest.dsse.json").unlink()
    refused(root, "manifest", decision)
    shutil.rmtree(root / "candidate")
    refused(root, "candidate", decision)


def test_a_candidate_that_was_changed_is_refused(root):
    table = next((root / "candidate" / "tables").iterdir())
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    refused(root, "SHA-256")


def test_a_candidate_that_changes_while_it_is_read_is_refused(root, monkeypatch):
    copied = shutil.copyfile

    def change_and_copy(source, target, **options):
        if Path(source).name == "manifest.json":
            candidates.draft(root / "candidate", mean=9.75)
        return copied(source, target, **options)

    monkeypatch.setattr(shutil, "copyfile", change_and_copy)
    with pytest.raises(InputError, match="changed while it was read"):
        candidates.decide(root)
    assert history(root) == ([], [])
    assert not list((root / "ledger.releases").iterdir())


def test_the_same_content_is_nothing_new(released):
    refused(released, "nothing new")
    draft_next(released, mean=3.25, created="2026-06-02T09:00:00Z")
    refused(released, "nothing new")


def test_a_return_to_earlier_content_is_new(released):
    draft_next(released)
    candidates.decide(released)
    draft_next(released, mean=3.25, created="2026-06-02T09:00:00Z")
    assert candidates.decide(released).sequence == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 1, "earlier": []},
        {"sequence": 2, "earlier": ["11" * 32]},
        {"sequence": 3, "earlier": ["11" * 32, "22" * 32]},
    ],
)
def test_a_candidate_of_another_history_is_drafted_again(released, changes):
    draft_next(released, **changes)
    refused(released, "Draft another with")
    draft_next(released)
    candidates.decide(released)


def test_a_ledger_serves_one_study_and_site(released):
    draft_next(released, site="south", producer=bundles.SOUTH.producer)
    refused(
        released,
        "ledger of its own",
        site="south",
        steward_signer=bundles.SOUTH.steward,
        sender=bundles.SOUTH.transport,
    )


def test_a_rejected_candidate_is_never_released_but_a_later_one_is(root):
    rejection = candidates.decide(root, reject, reason="a rare subtype is recognisable")
    assert history(root) == ([], [rejection])
    assert rejection.steward_key == bundles.entry(bundles.NORTH.steward)["public_key"]
    assert not (root / "exchange").exists()
    refused(root, "a rare subtype is recognisable")
    refused(root, "rejected already", reject)
    candidates.draft(root / "candidate", mean=4.5)
    assert candidates.decide(root).sequence == 1
    refused(root, "released already", reject)


def with_membership(monkeypatch, **statement):
    """Candidates that state something of membership inference."""
    opened = approval.verify_candidate

    def verify_candidate(folder, **options):
        bundle = opened(folder, **options)
        return replace(bundle, disclosure=bundle.disclosure | {"membership": statement})

    monkeypatch.setattr(approval, "verify_candidate", verify_candidate)


@pytest.mark.parametrize(
    "statement",
    [
        {"power_after": 0.25, "maximum_power": 0.3, "override": True},
        {"power_after": 0.25, "maximum_power": 0.1, "override": False},
    ],
)
def test_a_limit_above_the_studys_needs_a_signed_exception(root, monkeypatch, statement):
    with_membership(monkeypatch, **statement)
    refused(root, r"power of membership inference is 0.25, under a limit of 0\.")
    candidates.decide(root, override="agreed with the board on 29 May")
    (release,), _ = history(root)
    assert release.membership_power == 0.25
    assert release.override == "agreed with the board on 29 May"
    assert verify_decisions(root / "ledger.sqlite", store=bundles.trust_store(), site="north") == 1


def test_a_power_up_to_the_studys_maximum_needs_none(root, monkeypatch):
    with_membership(monkeypatch, power_after=0.1, maximum_power=0.1, override=False)
    refused(root, "needs none", override="just in case")
    candidates.decide(root)
    assert history(root)[0][0].membership_power == 0.1


def test_what_left_before_needs_none_where_nothing_new_leaves(root, monkeypatch):
    statement = {"power_after": 0.3, "maximum_power": 0.1, "override": False}
    with_membership(monkeypatch, **statement, exceeded_before=True)
    refused(root, "needs none", override="just in case")
    candidates.decide(root)
    assert history(root)[0][0].membership_power == 0.3


def test_without_a_stated_power_there_is_nothing_to_except(root):
    refused(root, "needs none", override="just in case")
    candidates.decide(root)
    assert history(root)[0][0].membership_power is None


def test_publishing_again_changes_nothing(released):
    before = contents(released)
    found = publish_pending(released / "ledger.sqlite", released / "exchange")
    assert (found.sequence, found.restored) == (1, ())
    assert contents(released) == before


def test_nothing_is_pending_before_the_first_release(tmp_path):
    assert publish_pending(tmp_path / "ledger.sqlite", tmp_path / "exchange") is None
    assert not (tmp_path / "exchange").exists()


def test_what_is_gone_from_the_exchange_or_differs_comes_back(released, tmp_path):
    folder = released / "exchange" / "demo" / "north"
    before = contents(released)
    seal, bundle = folder / "seal.dsse.json", folder / "bundle-1.tar.c4gh"

    def link():
        seal.rename(tmp_path / "elsewhere")
        seal.symlink_to(tmp_path / "elsewhere")

    for damage, restored in [
        (seal.unlink, (seal.name,)),
        (bundle.unlink, (bundle.name,)),
        (lambda: bundle.write_bytes(b"x"), (bundle.name,)),
        (lambda: seal.write_text("{}"), (seal.name,)),
        (lambda: seal.write_text("[" * 1000), (seal.name,)),
        (lambda: seal.write_bytes(b"\xff"), (seal.name,)),
        (link, (seal.name,)),
        (lambda: shutil.rmtree(released / "exchange"), (bundle.name, seal.name)),
    ]:
        damage()
        found = publish_pending(released / "ledger.sqlite", released / "exchange")
        assert found.restored == restored
        assert not seal.is_symlink()
        assert contents(released) == before


def test_a_changed_archive_is_never_published(released):
    shutil.rmtree(released / "exchange")
    archived = released / "ledger.releases" / "1" / "bundle-1.tar.c4gh"
    archived.write_bytes(archived.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="not the one that was approved"):
        publish_pending(released / "ledger.sqlite", released / "exchange")
    assert contents(released / "exchange") == {}
    archived.unlink()
    with pytest.raises(InputError, match="No such file"):
        publish_pending(released / "ledger.sqlite", released / "exchange")


def test_an_old_copy_of_the_ledger_publishes_and_approves_nothing(released, tmp_path):
    old = Path(shutil.copytree(released, tmp_path / "old"))
    draft_next(released)
    candidates.decide(released)
    draft_next(old, mean=7.5)
    # The exchange has gone on …
    shutil.rmtree(old / "exchange")
    shutil.copytree(released / "exchange", old / "exchange")
    refused(old, "exchange holds release 2, and the ledger knows only 1")
    with pytest.raises(InputError, match="exchange holds release 2"):
        publish_pending(old / "ledger.sqlite", old / "exchange")
    # … or the archive has, by more than the one release that an interruption explains.
    shutil.rmtree(old / "exchange")
    (old / "ledger.releases" / "3").mkdir()
    refused(old, r"archive holds release 3, and the ledger \(.*ledger.sqlite\) knows only 1")


def test_an_old_copy_of_the_ledger_never_takes_away_what_was_published(released):
    """The ledger of a back-up, beside the newest archive and an exchange that was emptied."""
    shutil.copy(released / "ledger.sqlite", released / "old.sqlite")
    draft_next(released)
    candidates.decide(released)
    shutil.move(released / "old.sqlite", released / "ledger.sqlite")
    draft_next(released, mean=7.5)
    shutil.rmtree(released / "exchange")
    refused(released, "archive holds release 2, and the ledger .* knows only 1")
    with pytest.raises(InputError, match=r"archive holds release 2.*newest backup"):
        publish_pending(released / "ledger.sqlite", released / "exchange")
    with pytest.raises(InputError, match="archive holds release 2"):
        candidates.decide(released, reject, reason="too few patients")
    assert not (released / "exchange").exists()


def test_a_ledger_from_before_the_first_release_does_not_begin_anew(root):
    with Ledger(root / "ledger.sqlite"):
        pass
    shutil.copy(root / "ledger.sqlite", root / "old.sqlite")
    candidates.decide(root)
    shutil.move(root / "old.sqlite", root / "ledger.sqlite")
    shutil.rmtree(root / "exchange")
    candidates.draft(root / "candidate", mean=7.5)
    refused(root, "archive holds release 1, and the ledger .* knows only 0")


def test_a_lost_ledger_does_not_begin_anew_over_what_was_published(released):
    (released / "ledger.sqlite").unlink()
    refused(released, "archive 'ledger.releases' holds releases")
    shutil.rmtree(released / "ledger.releases")
    with pytest.raises(InputError, match="exchange holds release 1, and the ledger knows only 0"):
        candidates.decide(released)
    assert history(released) == ([], [])


def test_an_archive_left_by_an_interruption_is_replaced(root):
    with Ledger(root / "ledger.sqlite"):
        pass
    left = root / "ledger.releases" / "1"
    (left / "bundle").mkdir(parents=True)
    (left / "bundle" / "half").write_text("")
    (root / "ledger.releases" / ".staging-x").mkdir()
    assert candidates.decide(root).sequence == 1
    assert not (left / "bundle" / "half").exists()
    assert [path.name for path in left.parent.iterdir()] == ["1"]


def test_a_full_disk_of_the_archive_is_not_told_as_a_changed_candidate(root, monkeypatch):
    def full(source, target, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(InputError, match="cannot be copied into the archive") as error:
            candidates.decide(root)
    assert "No space left" in error.value.problems[0].what
    assert error.value.problems[0].file == root / "ledger.releases"
    assert history(root) == ([], [])
    assert list((root / "ledger.releases").iterdir()) == []
    # Nor is a fault of the machine while the copy is verified.
    fault = LocalFaultError(Problem("no process can be started", "Try again."))
    verify = approval.verify_candidate

    def verified(folder, **arguments):
        if Path(folder).name == "bundle":
            raise fault
        return verify(folder, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(approval, "verify_candidate", verified)
        with pytest.raises(LocalFaultError, match="no process"):
            candidates.decide(root)
    assert candidates.decide(root).sequence == 1


def test_a_site_without_room_says_so(root):
    (root / "exchange").write_text("a file, not a folder")
    with pytest.raises(InputError, match="cannot be read or written"):
        candidates.decide(root)
    # It was decided before it could not be published.
    assert history(root)[0][0].state == "approved"
    (root / "exchange").unlink()
    assert publish_pending(root / "ledger.sqlite", root / "exchange").restored
    assert history(root)[0][0].state == "published"


def test_decisions_are_those_that_were_signed(released):
    path, store = released / "ledger.sqlite", bundles.trust_store()
    draft_next(released)
    candidates.decide(released, reject, reason="too few patients")
    assert verify_decisions(path, store=store, site="north") == 2
    # The key may be revoked later, but not have been invalid then or be unknown.
    later = bundles.trust_store(steward={"revoked": date(2026, 6, 2)})
    assert verify_decisions(path, store=later, site="north") == 2
    for store_then, match in [
        (bundles.trust_store(steward={"revoked": date(2026, 6, 1)}), "was revoked"),
        (bundles.trust_store(steward=bundles.entry(bundles.STRANGER.steward)), "does not know"),
    ]:
        with pytest.raises(InputError, match=match):
            verify_decisions(path, store=store_then, site="north")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE releases SET reason = 'another'",
        "UPDATE releases SET steward = 'another'",
        "UPDATE releases SET override = 'another'",
        "UPDATE releases SET epsilon = 0.25",
        "UPDATE releases SET decided_at = '2026-06-02T12:00:00Z'",
        "UPDATE releases SET decided_at = 'yesterday'",
        "UPDATE releases SET statement = x'7b7d'",
        "UPDATE releases SET steward_key = 'ed25519:'",
        "UPDATE rejections SET reason = 'another'",
    ],
)
def test_a_changed_decision_is_recognised(released, change):
    path = released / "ledger.sqlite"
    draft_next(released)
    candidates.decide(released, reject)
    connection = sqlite3.connect(path)
    for (name,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(InputError, match="not what a steward signed"):
        verify_decisions(path, store=bundles.trust_store(), site="north")


@pytest.mark.parametrize(("mean", "match"), [(3.25, "nothing new"), (4.5, "Draft another with")])
def test_two_approvals_at_once_make_one_release(root, tmp_path, mean, match):
    candidates.draft(root / "other", mean=mean)
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
import release_candidates as candidates
from ihdsi.errors import InputError
print("ready", flush=True)
sys.stdin.readline()
try:
    print(candidates.decide({str(root)!r}, candidate=sys.argv[1]).sequence)
except InputError as error:
    print(error)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, root / candidate],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for candidate in ("candidate", "other")
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(answer == "1" for answer in answers) == [False, True]
    assert sum(match in answer for answer in answers) == 1
    (release,), _ = history(root)
    assert release.state == "published"
    assert candidates.fetch(root, tmp_path).seal.manifest_sha256 == release.manifest_sha256
    assert [path.name for path in (root / "ledger.releases").iterdir()] == ["1"]
