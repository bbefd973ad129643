"""Releases as two sites seal them for the coordinator, and the coordinator's intake, for tests."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ihdsi.bundle import write_bundle
from ihdsi.bundle.release import seal_release, sign_candidate
from ihdsi.files import sha256_of
from ihdsi.meta.audit import AuditLog
from ihdsi.meta.intake import accept_release
from releases import CREATED, DISCLOSURE, STUDY_HASH, tables
from signed_bundles import COORDINATOR, NORTH, SOUTH, STUDY, TODAY, Party, trust_store

NOON = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)
PARTIES = {"north": NORTH, "south": SOUTH}


@dataclass
class Site:
    """A site that releases into `exchange`; `earlier` holds its manifests so far, as a ledger."""

    folder: Path
    name: str = "north"
    earlier: list[str] = field(default_factory=list)
    party: Party | None = None

    @property
    def exchange(self) -> Path:
        return self.folder / "exchange" / self.name

    def release(self, mean=3.25, *, into=None, given=None, disclosure=None, **changes):
        """Draft, sign, approve and publish one release; return the SHA-256 of its manifest."""
        party = self.party or PARTIES[self.name]
        sequence = changes.get("sequence", len(self.earlier) + 1)
        candidate = self.folder / "candidates" / self.name / f"{sequence}-{mean}"
        arguments = {
            "study": STUDY,
            "study_version": "1.0",
            "study_hash": STUDY_HASH,
            "site": self.name,
            "sequence": sequence,
            "earlier_manifests": self.earlier,
            "workflow_version": "0.1.0",
            "created": CREATED,
        } | changes
        write_bundle(candidate, given or tables(mean), disclosure or DISCLOSURE, **arguments)
        return self.publish(candidate, party, into)

    def publish(self, candidate, party, into=None):
        """Sign, approve and publish a candidate."""
        target = into or self.exchange
        target.mkdir(parents=True, exist_ok=True)
        sign_candidate(candidate, party.producer)
        seal_release(
            candidate,
            target,
            steward=party.steward,
            sender=party.transport,
            recipient=COORDINATOR.public,
        )
        manifest = sha256_of(candidate / "manifest.json")
        self.earlier = [*self.earlier, manifest]
        return manifest


@dataclass
class Coordinator:
    """A coordinator that takes releases in below `folder`."""

    folder: Path
    calls: int = 0

    def __post_init__(self):
        self.log = AuditLog(self.folder / "coordinator" / "audit.jsonl")
        self.quarantine = self.folder / "coordinator" / "quarantine"

    def destination(self, site="north"):
        return self.folder / "results" / "intake" / site

    def accept(self, exchange, site="north", **changes):
        """Take a release in, a minute after the one before."""
        self.calls += 1
        arguments = {
            "store": trust_store(),
            "study": STUDY,
            "study_hash": STUDY_HASH,
            "site": site,
            "recipient": COORDINATOR,
            "audit_log": self.log.path,
            "quarantine": self.quarantine,
            "on": TODAY,
            "now": NOON + timedelta(minutes=self.calls),
        } | changes
        return accept_release(exchange, self.destination(site), **arguments)


def contents(folder):
    """Every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }
