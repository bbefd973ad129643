"""The data steward's decision over a candidate, and its publication, safe against any interruption.

A decision takes effect in one place: the commit of its row in the ledger. Before it, everything
lies in a folder of the archive that no row names, and is thrown away by the next approval; after
it, everything that the coordinator is to get lies in the archive, and `publish_pending` brings it
to the exchange, again and again if need be. In the exchange the seal is written last, by one
rename: until then the coordinator finds the release before, whole. Before anything of a release is
written there, its archive is marked as published: an archive with that mark and without a row tells
that the ledger is an old copy, and is never taken for what an interrupted approval left.

What the steward decided is signed as a document of its own (a DSSE envelope in the ledger), with
the reasons, so that neither a decision nor an exception can be entered by whoever can write to the
ledger's file but has no steward's key.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from ihdsi.bundle.foreign_json import read_json
from ihdsi.bundle.keys import TransportKey, public_key_bytes
from ihdsi.bundle.manifest import (
    MANIFEST,
    MANIFEST_ENVELOPE,
    MANIFEST_TYPE,
    canonical_json,
    needs_exception,
)
from ihdsi.bundle.manifest import content_sha256 as content_of
from ihdsi.bundle.open import Bundle
from ihdsi.bundle.populations import binding_path, read_bound_populations
from ihdsi.bundle.release import (
    RELEASE_FILES,
    SEAL,
    seal_release,
    sealed_name,
    verify_candidate,
)
from ihdsi.bundle.seal import SEAL_TYPE, SealDocument, seal_payload
from ihdsi.bundle.signature import MAXIMUM_ENVELOPE_BYTES, sign, verify
from ihdsi.bundle.trust import TrustedKey, TrustStore
from ihdsi.disclosure.ledger import Ledger, LedgerRejection, LedgerRelease, archive_folder
from ihdsi.errors import InputError, LocalFaultError, Problem
from ihdsi.files import atomic_output, sha256_of, sync_to_disk

__all__ = [
    "DECISION_TYPE",
    "Approval",
    "Publication",
    "approve",
    "publish_pending",
    "reject",
    "verify_decisions",
]

DECISION_FORMAT = "ihdsi-decision-1"
DECISION_TYPE = "application/vnd.ihdsi.decision+json"
MAXIMUM_REASON = 2000
#: Setting of the disclosure statement: what a release spends of the privacy budget.
EPSILON = "differential_privacy_epsilon"
_DRAFT = (
    "Draft another with `snakemake site --forcerun apply_disclosure_control` (and your "
    "--configfile), and look at that one."
)
_STAGING = ".staging-"
_PARTIAL = ".partial-"
#: Empty file in the archive of a release that has a row, written before the exchange has anything.
_PUBLISHED = "published"
_CHUNK = 2**20


@dataclass(frozen=True)
class Publication:
    """The newest release as it lies in the exchange.

    `restored` names the files that were written now: those of a release that was approved and not
    published, or that had gone or been changed in the exchange.
    """

    sequence: int
    manifest_sha256: str
    folder: Path
    restored: tuple[str, ...]


@dataclass(frozen=True)
class Approval:
    """An approved and published release; `archive` is the folder in which the site keeps it."""

    sequence: int
    manifest_sha256: str
    decided_at: str
    archive: Path
    published: Path


def approve(
    candidate: Path | str,
    ledger_path: Path | str,
    exchange: Path | str,
    *,
    populations: Path | str,
    store: TrustStore,
    study: str,
    study_hash: str,
    site: str,
    steward_signer: CryptoSigner,
    reason: str,
    sender: TransportKey,
    now: datetime,
    override: str | None = None,
    reviewed: str | None = None,
    binding: Path | str | None = None,
) -> Approval:
    """Approve a candidate: sign, seal for the coordinator, record, and publish.

    Parameters
    ----------
    candidate
        Folder as `ihdsi.bundle.release.sign_candidate` leaves it. It is copied first; what is
        verified and signed is the copy.
    ledger_path
        The site's ledger.
    exchange
        Root of the exchange; the release goes to ``<exchange>/<study>/<site>/``.
    populations
        Parquet file of who was counted: columns population, stratum_variable, stratum, patient.
        Only their hashes are kept.
    store
        Trusted keys; the coordinator's is the one for which is sealed.
    study, study_hash, site
        What the candidate must be of.
    steward_signer
        The data steward's key. It must be one of the site's in `store`, which says who holds it.
    reason
        Why the release is fit to leave; one line.
    sender
        The site's transport key.
    now
        Time of the decision, with its zone.
    override
        Why a limit above the study's for the power of membership inference is acceptable; only for
        a candidate that was cleared under such a limit, and then needed.
    reviewed
        SHA-256 of the manifest that the steward has looked at; a candidate of another is refused.
    binding
        What the producer signed of manifest and `populations` (`ihdsi.bundle.populations`); without
        it, the file beside the candidate's folder.

    Raises
    ------
    InputError
        If a key, the candidate, its populations, the ledger or the exchange is not as it must be,
        or the candidate holds nothing new. Nothing is then decided; what earlier decisions had not
        finished is.
    """
    decided_at, on = _moment(now)
    reason = _text(reason, "reason")
    if override is not None:
        override = _text(override, "override")
    steward = _steward_key(store, site, steward_signer, on)
    _check_sender(store, site, sender, on)
    with _in_words(Path(candidate)):
        before = sha256_of(Path(candidate) / MANIFEST)
        drafted = _verified(Path(candidate), store, study, study_hash, site, on)
    counted = read_bound_populations(
        binding_path(candidate) if binding is None else binding,
        populations,
        manifest_sha256=before,
        store=store,
        site=site,
        on=on,
    )
    _check_counted(counted, drafted, Path(populations))
    with _in_words(Path(ledger_path)), Ledger(ledger_path) as ledger:
        _publish(ledger, Path(exchange))
        archives = archive_folder(ledger.path)
        # Other approvals wait from here on; readers do not.
        with ledger.transaction():
            archives.mkdir(mode=0o700, exist_ok=True)
            sync_to_disk(archives.parent)
            staging = Path(tempfile.mkdtemp(dir=archives, prefix=_STAGING))
            try:
                bundle = _copy(Path(candidate), staging, store, study, study_hash, site, on)
                manifest_sha256 = sha256_of(staging / "bundle" / MANIFEST)
                # Whom `counted` holds was signed for the manifest that was there first.
                if manifest_sha256 != before:
                    raise _changed(Path(candidate))
                _check_reviewed(reviewed, manifest_sha256, Path(candidate))
                content_sha256 = content_of(bundle.manifest)
                sequence = bundle.manifest.sequence
                _check_history(ledger, bundle, manifest_sha256, content_sha256)
                _check_exchange(ledger, Path(exchange) / study / site, sequence)
                power = _membership_power(bundle, override)
                document = seal_release(
                    staging / "bundle",
                    staging,
                    steward=steward_signer,
                    sender=sender,
                    recipient=public_key_bytes(store.coordinator.transport, "x25519"),
                )
                _check_sealed(staging, manifest_sha256, document, store, site, on)
                release = LedgerRelease(
                    sequence=sequence,
                    study=study,
                    site=site,
                    study_hash=study_hash,
                    manifest_sha256=manifest_sha256,
                    content_sha256=content_sha256,
                    bundle_sha256=sha256_of(staging / sealed_name(sequence)),
                    seal_sha256=sha256_of(staging / SEAL),
                    state="approved",
                    decided_at=decided_at,
                    steward=steward.holder,
                    steward_key=steward.public_key,
                    reason=reason,
                    override=override,
                    membership_power=power,
                    epsilon=float(bundle.disclosure["settings"].get(EPSILON, 0.0)),
                    statement=b"",
                )
                statement = sign(_release_statement(release), DECISION_TYPE, steward_signer)
                release = replace(release, statement=statement)
                _make_durable(staging)
                _take_away(ledger.archive(sequence))
                staging.rename(ledger.archive(sequence))
                sync_to_disk(archives)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            ledger.record_release(release, counted)
        _publish(ledger, Path(exchange))
        archive = ledger.archive(sequence)
    return Approval(sequence, manifest_sha256, decided_at, archive, Path(exchange) / study / site)


def reject(
    candidate: Path | str,
    ledger_path: Path | str,
    exchange: Path | str,
    *,
    store: TrustStore,
    study: str,
    study_hash: str,
    site: str,
    steward_signer: CryptoSigner,
    reason: str,
    now: datetime,
    reviewed: str | None = None,
) -> LedgerRejection:
    """Record that a candidate is never to be released, and why.

    Arguments and errors are those of `approve`. Another candidate may be drafted and approved,
    also one of equal content; the rejection stays in the ledger's history.
    """
    decided_at, on = _moment(now)
    reason = _text(reason, "reason")
    steward = _steward_key(store, site, steward_signer, on)
    with _in_words(Path(candidate)):
        before = sha256_of(Path(candidate) / MANIFEST)
        _check_reviewed(reviewed, before, Path(candidate))
        bundle = _verified(Path(candidate), store, study, study_hash, site, on)
        if sha256_of(Path(candidate) / MANIFEST) != before:
            raise _changed(Path(candidate))
    with _in_words(Path(ledger_path)), Ledger(ledger_path) as ledger:
        _publish(ledger, Path(exchange))
        rejection = LedgerRejection(
            manifest_sha256=before,
            content_sha256=content_of(bundle.manifest),
            decided_at=decided_at,
            steward=steward.holder,
            steward_key=steward.public_key,
            reason=reason,
            statement=b"",
        )
        statement = sign(_rejection_statement(rejection), DECISION_TYPE, steward_signer)
        rejection = replace(rejection, statement=statement)
        ledger.record_rejection(rejection)
    return rejection


def publish_pending(ledger_path: Path | str, exchange: Path | str) -> Publication | None:
    """Bring the exchange to what the ledger says; finish what was interrupted.

    The newest release is published if it was only approved, and copied from the archive if its
    files in the exchange are gone or differ. Doing it again changes nothing.

    Parameters
    ----------
    ledger_path
        The site's ledger; it is created if there is none.
    exchange
        Root of the exchange.

    Returns
    -------
    Publication or None
        None if nothing was released so far.

    Raises
    ------
    InputError
        If files of the archive are needed and gone or changed, if the exchange holds a newer
        release than the ledger knows (the ledger is then an old copy), or something cannot be read
        or written.
    """
    with _in_words(Path(ledger_path)), Ledger(ledger_path) as ledger:
        return _publish(ledger, Path(exchange))


def verify_decisions(ledger_path: Path | str, *, store: TrustStore, site: str) -> int:
    """Verify that every decision in the ledger is the one that a steward of the site signed.

    A key must have been valid on the day of the decision; that it has expired or been revoked
    since does not matter.

    Returns
    -------
    int
        Number of decisions.

    Raises
    ------
    InputError
        At the first decision that differs from what was signed, or whose signer `store` does not
        have as a steward of the site.
    """
    with Ledger(ledger_path) as ledger:
        releases, rejections = ledger.releases(), ledger.rejections()
    decisions = [
        (f"release {entry.sequence}", entry, _release_statement(entry)) for entry in releases
    ] + [
        (f"the rejection of {entry.manifest_sha256[:12]}…", entry, _rejection_statement(entry))
        for entry in rejections
    ]
    for name, entry, expected in decisions:
        try:
            on = datetime.fromisoformat(entry.decided_at).date()
            verified = verify(
                entry.statement, DECISION_TYPE, store, site, on, ledger_path, roles=("steward",)
            )
        except InputError as error:
            raise _doubtful(ledger_path, name, error.problems[0].what) from None
        except ValueError:
            raise _doubtful(ledger_path, name, "its time is none") from None
        if verified.payload != expected or verified.steward.public_key != entry.steward_key:
            raise _doubtful(ledger_path, name, "the ledger tells it differently")
    return len(decisions)


def _release_statement(release: LedgerRelease) -> bytes:
    """Everything of a row but its state, which changes, and the statement itself."""
    content = asdict(release)
    del content["state"], content["statement"]
    return canonical_json({"format": DECISION_FORMAT, "decision": "approved", **content})


def _rejection_statement(rejection: LedgerRejection) -> bytes:
    content = asdict(rejection)
    del content["statement"]
    return canonical_json({"format": DECISION_FORMAT, "decision": "rejected", **content})


def _doubtful(ledger_path: Path | str, name: str, what: str) -> InputError:
    return InputError(
        Problem(
            f"{name} is not what a steward signed ({what})",
            "Compare with a backup of the ledger, and with the steward.",
            file=ledger_path,
        )
    )


def _publish(ledger: Ledger, exchange: Path) -> Publication | None:
    with ledger.transaction():
        # Whoever was interrupted while staging holds no lock any more.
        for path in archive_folder(ledger.path).glob(f"{_STAGING}*"):
            shutil.rmtree(path)
        _check_archive(ledger)
        last = ledger.last_release()
        if last is None:
            return None
        folder = exchange / last.study / last.site
        _check_exchange(ledger, folder, last.sequence + 1)
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"{_PARTIAL}*"):
            path.unlink()
        restored = []
        archive = ledger.archive(last.sequence)
        _mark(archive)
        for name, expected in (
            (sealed_name(last.sequence), last.bundle_sha256),
            (SEAL, last.seal_sha256),
        ):
            if not _is(folder / name, expected):
                _copy_file(archive / name, folder / name, expected)
                restored.append(name)
        ledger.mark_published(last.sequence)
    return Publication(last.sequence, last.manifest_sha256, folder, tuple(restored))


def _is(path: Path, sha256: str) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode) and sha256_of(path) == sha256
    except FileNotFoundError:
        return False


def _copy_file(source: Path, target: Path, sha256: str) -> None:
    """Copy a file of the archive, which is on disk under its name when this returns."""
    with atomic_output(target) as temporary:
        found = hashlib.sha256()
        with source.open("rb") as stream, temporary.open("wb") as output:
            while chunk := stream.read(_CHUNK):
                found.update(chunk)
                output.write(chunk)
            output.flush()
            os.fsync(output.fileno())
        if found.hexdigest() != sha256:
            raise InputError(
                Problem(
                    "the archived file is not the one that was approved",
                    "Restore the archive from its backup.",
                    file=source,
                )
            )
    sync_to_disk(target.parent)


def _check_exchange(ledger: Ledger, folder: Path, following: int) -> None:
    """Refuse to go over an exchange that holds a newer release than the ledger.

    The seal in the exchange is read without its signature: it decides nothing but whether a person
    has to look.
    """
    published = _claimed_sequence(folder / SEAL)
    if published is not None and published >= following:
        raise InputError(
            Problem(
                f"the exchange holds release {published}, and the ledger knows only "
                f"{following - 1}",
                f"Restore ledger ({ledger.path}) and archive from their newest backup.",
                file=folder / SEAL,
            )
        )


def _check_archive(ledger: Ledger) -> None:
    """Refuse to go on from a ledger that does not know what lies in its archive."""
    archives, following = archive_folder(ledger.path), ledger.next_sequence()
    kept = [int(path.name) for path in archives.glob("[0-9]*") if path.name.isdecimal()]
    # An approval that was interrupted just before its row leaves the archive of the next number;
    # only what has a row is ever marked as published.
    if any(
        number > following or (number == following and _is_marked(ledger.archive(number)))
        for number in kept
    ):
        raise InputError(
            Problem(
                f"the archive holds release {max(kept)}, and the ledger ({ledger.path}) knows only "
                f"{following - 1}",
                "Restore the ledger from its newest backup. The archive cannot stand in for it: "
                "it does not hold whom a release counted, nor what it spent. Nothing was changed.",
                file=archives,
            )
        )


def _mark(archive: Path) -> None:
    """Mark the archive of a release that has a row; the mark is on disk when this returns."""
    # Without its archive a release can still lie in the exchange; there is nothing to protect.
    if archive.is_dir() and not _is_marked(archive):
        (archive / _PUBLISHED).touch(mode=0o600)
    if _is_marked(archive):
        sync_to_disk(archive)


def _is_marked(archive: Path) -> bool:
    return os.path.lexists(archive / _PUBLISHED)


def _claimed_sequence(path: Path) -> int | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with path.open("rb") as stream:
            envelope = stream.read(MAXIMUM_ENVELOPE_BYTES + 1)
        payload = base64.b64decode(read_json(envelope, MAXIMUM_ENVELOPE_BYTES, 16)["payload"])
        return SealDocument.model_validate(read_json(payload, MAXIMUM_ENVELOPE_BYTES, 1)).sequence
    return None


def _check_history(
    ledger: Ledger, bundle: Bundle, manifest_sha256: str, content_sha256: str
) -> None:
    def refusal(what: str, remedy: str) -> InputError:
        return InputError(Problem(what, remedy, file=ledger.path))

    manifest, last = bundle.manifest, ledger.last_release()
    if last is not None and (last.study, last.site) != (manifest.study, manifest.site):
        raise refusal(
            f"the ledger is that of study '{last.study}' at site '{last.site}', not of study "
            f"'{manifest.study}' at site '{manifest.site}'",
            "Every study and site has a ledger of its own; name another file.",
        )
    rejection = ledger.rejection(manifest_sha256)
    if rejection is not None:
        raise refusal(
            f"{rejection.steward} rejected this candidate at {rejection.decided_at}: "
            f"{rejection.reason}",
            _DRAFT,
        )
    if last is not None and last.content_sha256 == content_sha256:
        raise refusal(
            f"nothing new: the candidate holds what release {last.sequence} holds",
            "There is nothing to approve.",
        )
    if (
        manifest.sequence != ledger.next_sequence()
        or list(manifest.earlier_manifests) != ledger.earlier_manifests()
    ):
        raise refusal(
            f"the candidate was drafted as release {manifest.sequence} after another history than "
            f"the ledger's, whose next number is {ledger.next_sequence()}",
            _DRAFT,
        )


def _check_reviewed(reviewed: str | None, found: str, candidate: Path) -> None:
    """Refuse to decide on another candidate than the one that was looked at."""
    if reviewed is not None and reviewed.strip().lower() != found:
        raise InputError(
            Problem(
                f"the candidate's manifest has the SHA-256 {found}, not {reviewed.strip()[:64]}",
                "It was drafted again since: look at its review, which shows the new one.",
                file=candidate / MANIFEST,
            )
        )


def _membership_power(bundle: Bundle, override: str | None) -> float | None:
    """Return the predicted power that the candidate states, if it may leave with it."""
    membership = bundle.disclosure.get("membership")
    if membership is None:
        exceeds, power, maximum = False, None, None
    else:
        power, maximum = float(membership["power_after"]), float(membership["maximum_power"])
        exceeds = needs_exception(membership)
    if exceeds and override is None:
        raise InputError(
            Problem(
                f"the predicted power of membership inference is {power}, under a limit of "
                f"{maximum} that is not the study's or is exceeded",
                "Say why that is acceptable (override), or draft under the study's limit.",
            )
        )
    if override is not None and not exceeds:
        raise InputError(
            Problem(
                "an exception (override) is given, and the candidate needs none", "Leave it out."
            )
        )
    return power


def _copy(
    candidate: Path,
    staging: Path,
    store: TrustStore,
    study: str,
    study_hash: str,
    site: str,
    on: date,
) -> Bundle:
    """Copy a verified candidate and verify the copy, which nobody else can change any more."""
    target = staging / "bundle"
    try:
        for name in sorted(RELEASE_FILES):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(candidate / name, target / name, follow_symlinks=False)
    except FileNotFoundError:
        raise _changed(candidate) from None
    except OSError as error:
        # shutil names the source, also where it is the archive's disk that is full.
        raise LocalFaultError(
            Problem(
                f"the candidate cannot be copied into the archive ({error.strerror})",
                "Look at space and access of the archive and run the command again; nothing was "
                "decided.",
                file=staging.parent,
            )
        ) from None
    try:
        return _verified(target, store, study, study_hash, site, on)
    except LocalFaultError:
        raise
    except InputError:
        raise _changed(candidate) from None


def _changed(candidate: Path) -> InputError:
    return InputError(
        Problem(
            "the candidate changed while it was read",
            "Wait until the workflow has ended, look at the new candidate, and decide again.",
            file=candidate,
        )
    )


def _verified(
    folder: Path, store: TrustStore, study: str, study_hash: str, site: str, on: date
) -> Bundle:
    producers = store.sites[site].of_role("producer")
    bundle = verify_candidate(
        folder, study_hash=study_hash, site=site, producer_keys=producers, on=on
    )
    if bundle.manifest.study != study:
        raise InputError(
            Problem(
                f"a candidate of study '{bundle.manifest.study}', expected '{study}'",
                "Name the candidate of this study.",
                file=folder / MANIFEST,
            )
        )
    return bundle


def _check_sealed(
    staging: Path,
    manifest_sha256: str,
    document: SealDocument,
    store: TrustStore,
    site: str,
    on: date,
) -> None:
    """Verify, before it counts, what the coordinator will verify, as far as it is not encrypted."""
    envelope = staging / "bundle" / MANIFEST_ENVELOPE
    manifest = verify(envelope.read_bytes(), MANIFEST_TYPE, store, site, on, envelope)
    seal = verify(
        (staging / SEAL).read_bytes(), SEAL_TYPE, store, site, on, staging / SEAL, ("steward",)
    )
    if (
        hashlib.sha256(manifest.payload).hexdigest() != manifest_sha256
        or document.manifest_sha256 != manifest_sha256
        or seal.payload != seal_payload(document)
        or sha256_of(staging / sealed_name(document.sequence)) != document.ciphertext_sha256
    ):
        raise RuntimeError("the sealed release is not the candidate that was verified")


def _steward_key(store: TrustStore, site: str, signer: CryptoSigner, on: date) -> TrustedKey:
    """Return the steward's entry in the trust store for a signer."""
    if site not in store.sites:
        raise InputError(
            Problem(
                f"the trust store has no site '{site}'", "Enter the site's keys in the trust store."
            )
        )
    for trusted in store.sites[site].steward:
        key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(trusted.raw))
        if key.keyid == signer.public_key.keyid:
            _refuse_stale(trusted, "steward", on)
            return trusted
    raise InputError(
        Problem(
            f"the key is not that of a data steward of site '{site}' in the trust store",
            "Decide with the steward's key; a new one is entered in the trust store first.",
        )
    )


def _check_sender(store: TrustStore, site: str, sender: TransportKey, on: date) -> None:
    for trusted in store.sites[site].transport:
        if trusted.raw == sender.public:
            _refuse_stale(trusted, "transport", on)
            return
    raise InputError(
        Problem(
            f"the key is not a transport key of site '{site}' in the trust store",
            "Seal with the site's transport key; a new one is entered in the trust store first.",
        )
    )


def _refuse_stale(trusted: TrustedKey, role: str, on: date) -> None:
    reason = trusted.refusal(on)
    if reason:
        raise InputError(
            Problem(
                f"the {role} key of '{trusted.holder}' {reason}",
                "Use a valid key, after the trust store has it.",
            )
        )


def _moment(now: datetime) -> tuple[str, date]:
    if now.tzinfo is None:
        raise ValueError("the time of a decision needs its zone")
    moment = now.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ"), moment.date()


def _text(text: str, what: str) -> str:
    text = text.strip()
    if not text or len(text) > MAXIMUM_REASON or not text.isprintable():
        raise InputError(
            Problem(
                f"the {what} of the decision must be one line of 1 to {MAXIMUM_REASON} characters",
                f"Give the {what} in words.",
            )
        )
    return text


def _check_counted(counted: pl.DataFrame, bundle: Bundle, path: Path) -> None:
    """Refuse tables that count nobody: later releases would be compared with nobody."""
    if counted.is_empty() and any(table.height for table in bundle.tables.values()):
        raise InputError(
            Problem(
                "the populations hold no patient, but the candidate's tables have rows",
                _DRAFT,
                file=path,
            )
        )


def _take_away(archive: Path) -> None:
    """Remove what an approval left that ended before its row; never in two steps under its name."""
    if _is_marked(archive):
        raise RuntimeError(f"{archive} is the archive of a release that was published")
    if archive.exists():
        aside = Path(tempfile.mkdtemp(dir=archive.parent, prefix=_STAGING))
        archive.rename(aside / archive.name)
        shutil.rmtree(aside)


def _make_durable(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        sync_to_disk(path)
    sync_to_disk(folder)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            Problem(
                f"a file cannot be read or written ({error.strerror})",
                "Correct space and access and run the command again; what was begun is finished "
                "or undone then.",
                file=error.filename or path,
            )
        ) from None
