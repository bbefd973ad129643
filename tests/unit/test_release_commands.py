"""The commands of stewards and of the coordinator, from keys to an accepted release."""

import json
import re
import stat
from datetime import UTC, date, datetime

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

import releases as made
from ihdsi.bundle.draft import draft_release
from ihdsi.bundle.keys import load_transport_key
from ihdsi.bundle.trust import load_trust_store
from ihdsi.cli import app
from ihdsi.errors import InputError
from ihdsi.files import sha256_of
from ihdsi.meta.intake import accept_release
from ihdsi.simulate.practice_keys import create_practice_keys
from ihdsi.study import load_site, load_study, study_hash


def run(*arguments):
    """Run a command; the answer holds status and everything printed."""
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
    return answer


def done(*arguments):
    answer = run(*arguments)
    assert answer.exit_code == 0, answer.output
    return answer.output


def refused(text, *arguments):
    answer = run(*arguments)
    assert answer.exit_code == 1
    assert text in answer.output
    assert "Traceback" not in answer.output


@pytest.fixture
def site(folder, study_document):
    """A study with practice keys, of which site alpha is run here."""
    create_practice_keys("keys", study_document["participants"], date(2026, 1, 1))
    study = study_document | {"trust_store": "keys/trust_store.yaml"}
    hospital = {
        "site": "alpha",
        "title": "Alpha",
        "country": "LU",
        "study": "tiny",
        "study_version": "1.0",
        "samples": "samples.tsv",
        "release": {
            "producer_key": "keys/alpha/producer",
            "transport_key": "keys/alpha/transport",
            "ledger": "ledger.sqlite",
        },
    }
    run_file = {"study": "study.yaml", "sites": ["site.yaml"]}
    for name, document in (("study", study), ("site", hospital), ("config", run_file)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


def draft(folder, mean, now="2026-06-01T09:00:00+00:00", earlier=()):
    """Draft a candidate of alpha as the workflow does, with one number in it."""

    study = load_study("study.yaml")
    results = folder / "results/tiny/sites/alpha"
    (results / "cleared").mkdir(parents=True, exist_ok=True)
    populations = pl.DataFrame(
        {
            "population": "burden",
            "stratum_variable": "all",
            "stratum": "all",
            "patient": [f"p{i}" for i in range(40)],
        }
    )
    populations.write_parquet(results / "cleared/populations.parquet")
    return draft_release(
        results / "candidate",
        made.tables(mean),
        made.DISCLOSURE,
        earlier,
        study,
        load_site("site.yaml", study),
        populations=results / "cleared/populations.parquet",
        project=folder,
        now=datetime.fromisoformat(now),
    )


STEWARD = ("--key", "keys/alpha/steward", "--configfile", "config.yaml")


def reviewed(folder):
    """Options of a steward who has looked at the present candidate."""
    manifest = folder / "results/tiny/sites/alpha/candidate/manifest.json"
    return (*STEWARD, "--manifest", sha256_of(manifest))


CONFIG = ("--configfile", "config.yaml")


@pytest.mark.parametrize("kind", [(), ("--transport",)])
def test_a_new_key_is_private_and_printed_in_one_line(folder, kind):
    line = done("keys", "new", "mine/key", *kind).strip()
    assert re.fullmatch(r"(ed|x)25519:[A-Za-z0-9+/]{43}=", line)
    assert stat.S_IMODE((folder / "mine/key").stat().st_mode) == 0o600
    assert done("keys", "show", "mine/key.pub").strip() == line
    refused("never overwritten", "keys", "new", "mine/key", *kind)
    refused("no Ed25519 or Crypt4GH public key", "keys", "show", "mine/key")


def test_the_trust_store_is_listed(site):
    listed = done("trust", "check", "keys/trust_store.yaml").splitlines()
    assert listed[0].startswith("site\trole\tholder")
    assert len(listed) == 1 + 2 * 3
    assert all("\tyes\t" in line for line in listed[1:])
    (site / "broken.yaml").write_text("coordinator: {transport: nonsense}\nsites: {}\n")
    refused("broken.yaml, row 1", "trust", "check", "broken.yaml")


def test_from_approval_to_acceptance(site):
    draft(site, 3.25)
    assert not (site / "exchange").exists()
    answer = done("release", "approve", "alpha", *reviewed(site), "--reason", "first release")
    assert "number 1 of alpha" in answer
    assert {path.name for path in (site / "exchange/tiny/alpha").iterdir()} == {
        "bundle-1.tar.c4gh",
        "seal.dsse.json",
    }
    refused("nothing new", "release", "approve", "alpha", *reviewed(site), "--reason", "again")
    study = load_study("study.yaml")
    record = accept_release(
        "exchange/tiny/alpha",
        site / "intake/alpha",
        store=load_trust_store("keys/trust_store.yaml"),
        study="tiny",
        study_hash=study_hash(study),
        site="alpha",
        recipient=load_transport_key("keys/coordinator/transport"),
        audit_log="audit.jsonl",
        quarantine="quarantine",
        on=date(2026, 6, 1),
        now=datetime(2026, 6, 1, 12, tzinfo=UTC),
    )
    assert record["sequence"] == 1
    assert "Intact: 1 entries" in done("audit", "verify", "audit.jsonl")
    assert "\taccepted\talpha\t1\t" in done("audit", "show", "audit.jsonl")
    head = re.search(r"[0-9a-f]{64}", done("audit", "verify", "audit.jsonl")).group()
    done("audit", "verify", "audit.jsonl", "--head", head)
    refused("audit.jsonl", "audit", "verify", "audit.jsonl", "--head", "0" * 63 + "1")
    log = site / "audit.jsonl"
    log.write_text(log.read_text().replace('"alpha"', '"omega"'))
    refused("row 1", "audit", "verify", "audit.jsonl")


def test_history_rejection_and_the_next_release(site):
    assert "Nothing has been decided yet" in done("release", "history", "alpha", *CONFIG)
    first = draft(site, 3.25)
    rejected = done("release", "reject", "alpha", *reviewed(site), "--reason", "bins too fine")
    assert "Rejected" in rejected
    refused(
        "bins too fine", "release", "approve", "alpha", *reviewed(site), "--reason", "after all"
    )
    assert not (site / "exchange").exists()
    draft(site, 4.5)
    done("release", "approve", "alpha", *reviewed(site), "--reason", "mended")
    history = done("release", "history", "alpha", *CONFIG).splitlines()
    assert [line.split("\t")[0] for line in history[1:]] == ["rejected", "published"]
    assert "all signed by a steward" in done("release", "verify", "alpha", *CONFIG)
    # The next candidate names what left, and that its tables were compared with it.
    with pytest.raises(InputError, match="compared with 0 earlier releases"):
        draft(site, 5.5)
    published = json.loads((site / "ledger.releases/1/bundle/manifest.json").read_text())
    assert published["sequence"] == first.sequence == 1
    hashes = history[-1].split("\t")[-1]
    second = draft(site, 5.5, earlier=[hashes])
    assert (second.sequence, second.earlier_manifests) == (2, [hashes])
    done("release", "approve", "alpha", *reviewed(site), "--reason", "more patients")
    seal = json.loads((site / "exchange/tiny/alpha/seal.dsse.json").read_text())
    assert seal["payload"]


def test_what_was_drafted_after_the_review_is_not_released(site):
    draft(site, 3.25)
    seen = reviewed(site)
    draft(site, 4.5)
    refused("drafted again since", "release", "approve", "alpha", *seen, "--reason", "seen")
    refused("drafted again since", "release", "reject", "alpha", *seen, "--reason", "seen")
    assert not (site / "exchange").exists()
    done("release", "approve", "alpha", *reviewed(site), "--reason", "seen")


def test_a_release_counts_those_with_whom_it_was_drafted(site):
    draft(site, 3.25)
    results = site / "results/tiny/sites/alpha"
    assert (results / "candidate.populations.dsse.json").is_file()
    path = results / "cleared/populations.parquet"
    drafted = path.read_bytes()
    pl.read_parquet(path).clear().write_parquet(path)
    given = ("release", "approve", "alpha", *reviewed(site), "--reason", "seen")
    refused("not those with which the candidate was drafted", *given)
    assert not (site / "exchange").exists()
    assert not (site / "ledger.sqlite").exists()
    path.write_bytes(drafted)
    done(*given)


def test_the_stewards_passphrase_is_its_own(site, monkeypatch):
    draft(site, 3.25)
    monkeypatch.setenv("IHDSI_KEY_PASSPHRASE", "of the steward")
    line = done("keys", "new", "steward").strip()
    monkeypatch.delenv("IHDSI_KEY_PASSPHRASE")
    store = site / "keys/trust_store.yaml"
    document = yaml.safe_load(store.read_text())
    document["sites"]["alpha"]["steward"][0]["public_key"] = line
    store.write_text(yaml.safe_dump(document))
    own = ("--key", "steward", *reviewed(site)[2:])
    refused("IHDSI_KEY_PASSPHRASE", "release", "approve", "alpha", *own, "--reason", "x")
    monkeypatch.setenv("IHDSI_STEWARD_PASSPHRASE", "another")
    refused("IHDSI_STEWARD_PASSPHRASE", "release", "approve", "alpha", *own, "--reason", "x")
    monkeypatch.setenv("IHDSI_STEWARD_PASSPHRASE", "of the steward")
    done("release", "approve", "alpha", *own, "--reason", "x")


def test_what_the_exchange_lost_comes_back(site):
    assert "Nothing has been approved" in done("release", "resume", "alpha", *CONFIG)
    draft(site, 3.25)
    done("release", "approve", "alpha", *reviewed(site), "--reason", "first release")
    place = site / "exchange/tiny/alpha"
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    for path in place.iterdir():
        path.unlink()
    assert "put into" in done("release", "resume", "alpha", *CONFIG)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert "is whole in" in done("release", "resume", "alpha", *CONFIG)


def test_only_the_sites_steward_decides(site):
    draft(site, 3.25)
    for key in ("keys/beta/steward", "keys/alpha/producer"):
        wrong = ("--key", key, *CONFIG, "--reason", "me", *reviewed(site)[-2:])
        refused("not that of a data steward", "release", "approve", "alpha", *wrong)
        refused("not that of a data steward", "release", "reject", "alpha", *wrong)
    refused("the site 'beta' is not run here", "release", "approve", "beta", *reviewed(site),
            "--reason", "x")  # fmt: skip
    (site / "keys/alpha/steward").chmod(0o644)
    refused("chmod 600", "release", "approve", "alpha", *reviewed(site), "--reason", "x")
    assert not (site / "exchange").exists()
    assert not (site / "ledger.sqlite").exists()


def test_an_override_is_signed_by_the_steward(site):
    allowed = ("--maximum", "0.3", "--until", "2099-01-01", "--reason", "small cohort")
    done("release", "override", "alpha", "allowed.json", *allowed, *STEWARD)
    assert json.loads((site / "allowed.json").read_text())["signatures"]
    wrong = ("--key", "keys/alpha/producer", *CONFIG)
    refused("signature", "release", "override", "alpha", "no.json", *allowed, *wrong)
    assert not (site / "no.json").exists()
    late = ("--maximum", "0.3", "--until", "2020-01-01", "--reason", "late")
    refused("2020-01-01", "release", "override", "alpha", "late.json", *late, *STEWARD)
