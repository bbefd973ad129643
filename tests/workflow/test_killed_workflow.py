"""Kill the whole workflow at random moments of export, approval and intake, and run it again.

A site's results up to disclosure control are laid down once. In each round Snakemake is started in
a process group of its own and all of it gets SIGKILL during the export; the next run, which ends
that, is killed during the approval, the next during the intake, and the last one ends. Whatever the
moment, ledger, exchange and audit log hold together, the next run goes on (after the lock is
removed, as Snakemake asks for), and the end is that of an undisturbed run.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import release_candidates as candidates
from ihdsi.bundle.approval import verify_decisions
from ihdsi.bundle.keys import load_transport_key
from ihdsi.bundle.release import open_release
from ihdsi.bundle.trust import load_trust_store
from ihdsi.disclosure import apply_disclosure_control
from ihdsi.disclosure.control import write_cleared, write_statement
from ihdsi.disclosure.ledger import Ledger
from ihdsi.files import write_parquet, write_text
from ihdsi.meta.audit import AuditLog, verify_audit_log
from ihdsi.simulate.practice_keys import create_practice_keys
from ihdsi.study import load_study, study_hash
from ihdsi.summaries import TABLES
from project_copy import Project, copy_project

pytestmark = pytest.mark.workflow
SEED, ROUNDS = 20261125, 3
KEYS, SITE, META = (f"results/demo/{name}" for name in ("simulated/keys", "sites/lih", "meta"))
CANDIDATE, EXCHANGE, INTAKE = f"{SITE}/candidate", "exchange/demo/lih", f"{META}/intake/lih"
ACCEPTED = f"{INTAKE}/accepted.json"
STEPS = ("draft_release", "approve_simulated_release", "intake_bundle")
#: What Snakemake prints as it starts a job.
STARTED = {
    "draft_release": "Draft the release of lih",
    "review_release": "Write what the data steward of lih reviews",
    "approve_simulated_release": "Approve the simulated release of lih with the practice key",
    "intake_bundle": "Verify and accept the bundle of lih",
}
# Nothing before disclosure control was made here; only times of files tell what is due.
RUN = (ACCEPTED, "--cores", "1", "--rerun-triggers", "mtime", "--rerun-incomplete")


def prepare(root):
    """Lay down a project of one hospital and its coordinator, whose tables are cleared."""
    project = copy_project(root)
    project.edit("config/config.yaml", "  - config/sites/ncck/site.yaml\n", "")
    project.edit("config/studies/demo.yaml", "participants: [lih, ncck]", "participants: [lih]")
    settings = load_study(root / "config/studies/demo.yaml").disclosure
    create_practice_keys(root / KEYS, ["lih"], date(2026, 1, 1))
    cleared = root / SITE / "cleared"
    tables, log = apply_disclosure_control(candidates.tables(3.25), settings, set(), {})
    write_cleared(tables, set(), [cleared / f"{name}.parquet" for name in TABLES])
    write_parquet(log, cleared / "disclosure_log.parquet")
    write_statement(log, settings, False, cleared / "disclosure.json")
    write_parquet(candidates.POPULATIONS, cleared / "populations.parquet")
    write_text("[]\n", cleared / "earlier_releases.json")
    return project


def start(project):
    """Start Snakemake as the leader of a process group."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("snakemake"), *RUN],
        cwd=project.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(process, rule):
    """Read what Snakemake prints until it starts a job of `rule`."""
    for line in process.stdout:
        if re.match(rf"Job \d+: {STARTED[rule]}$", line):
            return time.monotonic()
    raise AssertionError(f"{rule} was not started")


def kill(process):
    """Kill all of a process group; return the rest of what it printed."""
    os.killpg(process.pid, signal.SIGKILL)
    rest = process.communicate()[0]
    # Nothing of the group is left: its leader was waited for, the others have lost theirs.
    for _ in range(200):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return rest
        time.sleep(0.05)
    raise AssertionError("a killed process is still there")


def copy_of(project, root):
    return Project(Path(shutil.copytree(project.root, root, symlinks=True)))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The project before and after a run, and how long each job took, until that was recorded."""
    folder = tmp_path_factory.mktemp("undisturbed")
    before, seconds, begun = prepare(folder / "before"), {}, {}
    project = copy_of(before, folder / "after")
    process, printed = start(project), []
    for line in process.stdout:
        printed.append(line)
        for rule, message in STARTED.items():
            if re.match(rf"Job \d+: {message}$", line):
                begun[rule] = time.monotonic()
            elif f"(Rule: {rule})" in line and line.startswith("Finished jobid"):
                seconds[rule] = time.monotonic() - begun[rule]
    assert process.wait() == 0, "".join(printed)[-6000:]
    assert seconds.keys() == STARTED.keys()
    return before, project, seconds


def files(project):
    return {
        path.relative_to(project.root).as_posix()
        for folder in ("results", "exchange")
        for path in (project.root / folder).rglob("*")
    }


def tables(project):
    found = {path.name: path.read_bytes() for path in (project.root / INTAKE).glob("*.parquet")}
    assert found.keys() == {f"{name}.parquet" for name in TABLES}
    return found


def check(project):
    """Ledger, exchange and audit log, whatever was killed; (releases, published, accepted)."""
    root, today = project.root, datetime.now(UTC).date()
    study = load_study(root / "config/studies/demo.yaml")
    store = load_trust_store(root / KEYS / "trust_store.yaml")
    path, releases, found = root / SITE / "release" / "ledger.sqlite", [], 0
    if path.exists():
        # Opening checks every page.
        with Ledger(path) as ledger:
            releases = ledger.releases()
            for release in releases:
                assert ledger.released_tables(release.sequence)
                assert ledger.populations(release.sequence).height == candidates.POPULATIONS.height
        assert verify_decisions(path, store=store, site="lih") == len(releases) <= 1
    if (root / EXCHANGE / "seal.dsse.json").exists():
        working = root / "working"
        working.mkdir()
        release = open_release(
            root / EXCHANGE,
            store=store,
            study="demo",
            study_hash=study_hash(study),
            site="lih",
            recipient=load_transport_key(root / KEYS / "coordinator" / "transport"),
            on=today,
            working=working,
        )
        assert release.seal.manifest_sha256 == releases[0].manifest_sha256
        shutil.rmtree(working)
        found = 1
        assert (path.parent / "ledger.releases" / "1" / "published").exists()
    log = root / META / "audit.jsonl"
    report = verify_audit_log(log)
    assert report.intact, report
    accepted = AuditLog(log).accepted("lih")
    if accepted:
        assert found
        assert accepted == [(1, releases[0].manifest_sha256)]
    return len(releases), found, len(accepted)


def test_killed_at_random_moments(undisturbed, tmp_path, capsys):
    before, after, seconds = undisturbed
    assert check(after) == (1, 1, 1)
    choose, fell, left = random.Random(SEED), Counter(), Counter()
    for number in range(ROUNDS):
        project = copy_of(before, tmp_path / str(number))
        for rule in STEPS:
            process = start(project)
            wait_for(process, rule)
            # A little more than the job takes: some fall between its end and the next one.
            time.sleep(choose.uniform(0, 1.1 * seconds[rule]))
            printed = kill(process)
            fell[[name for name in STARTED if name == rule or STARTED[name] in printed][-1]] += 1
            left[check(project)] += 1
            if not number and rule == STEPS[0]:
                # What a user sees, and does; elsewhere the same is done without a process.
                refusal = project.snakemake(*RUN)
                assert refusal.returncode != 0
                assert "It can be removed with the --unlock argument" in refusal.stdout
                assert "Unlocked" in project.run("--unlock")
            else:
                shutil.rmtree(project.root / ".snakemake" / "locks", ignore_errors=True)
        project.run(*RUN)
        assert check(project) == (1, 1, 1)
        assert tables(project) == tables(after)
        # Nothing half-done stays behind.
        assert files(project) == files(after)
        shutil.rmtree(project.root)
    with capsys.disabled():
        print(f"\nkilled in {dict(fell)}; left (releases, published, accepted): {dict(left)}")
