"""Take a site's release in: everything in it, verified and in order, or nothing.

What was accepted before is known from the audit log alone. A release is new if its number is above
all that were accepted and its manifest names every one of them at its place. Everything else that
opens is a replay (an older release again), a fork (two releases of one number) or a history that
was told in another way; it is refused like a release that does not open.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from ihdsi.bundle.foreign_json import read_json
from ihdsi.bundle.keys import TransportKey
from ihdsi.bundle.manifest import CRATE, DISCLOSURE, MANIFEST
from ihdsi.bundle.release import SEAL, Release, open_release, sealed_name
from ihdsi.bundle.seal import MAXIMUM_SEAL_BYTES
from ihdsi.bundle.signature import MAXIMUM_ENVELOPE_BYTES
from ihdsi.bundle.trust import TrustedKey, TrustStore
from ihdsi.errors import InputError, LocalFaultError, Problem
from ihdsi.files import sha256_of, sync_to_disk, write_text
from ihdsi.meta.audit import AuditEntry, AuditLog, LockedAuditLog
from ihdsi.summaries import write_table

__all__ = ["MAXIMUM_EVIDENCE_BYTES", "accept_release"]

#: Of a refused release at most this much is kept; of more only sizes and hashes.
MAXIMUM_EVIDENCE_BYTES = 2**26
#: A file that is longer than any sealed bundle is not even hashed.
MAXIMUM_HASHED_BYTES = 2**32 + 2**22
_CHUNK = 2**20

logger = logging.getLogger(__name__)


def accept_release(
    folder: Path | str,
    destination: Path | str,
    *,
    store: TrustStore,
    study: str,
    study_hash: str,
    site: str,
    recipient: TransportKey,
    audit_log: Path | str,
    quarantine: Path | str,
    on: date,
    now: datetime,
) -> dict[str, Any]:
    """Verify a site's latest release and put its tables into the coordinator's intake.

    The release is opened in a working folder beside the destination and compared with what the
    audit log says was accepted before. Tables of the version before are written in the present
    one. Then the acceptance is logged, and one rename replaces the destination. If this is
    interrupted after the entry, the next call finds the same release, adds no second entry and
    completes. All calls with one audit log wait for each other.

    Parameters
    ----------
    folder
        The site's folder in the exchange; it is only read.
    destination
        Intake folder of the site; replaced as a whole.
    store
        Trusted keys.
    study, study_hash
        Name of the study and hash of the coordinator's protocol.
    site
        Site whose release this must be.
    recipient
        The coordinator's transport key.
    audit_log
        File of the audit log of this study (`ihdsi.meta.audit`), outside of what a new run of the
        workflow clears away.
    quarantine
        Folder in which evidence of a refused release is kept, as ``<site>-<time>/``: the seal and
        the sealed bundle, up to `MAXIMUM_EVIDENCE_BYTES`, and ``reason.json``. The same files are
        kept once, however often they are refused.
    on
        Day on which all keys must be valid.
    now
        Time of the entry in the log, with a time zone.

    Returns
    -------
    dict
        The record that is also written to ``accepted.json``: site, study_hash, sequence,
        manifest_sha256, seal_sha256, manifest, the signers' names and public keys, number and
        SHA-256 of the entry in the audit log, and per table rows and SHA-256.

    Raises
    ------
    InputError
        If there is no release, it does not open, or it does not follow from those accepted
        before: then the refusal is logged, and destination and exchange stay as they were. Also if
        the audit log is not intact or a folder cannot be written.
    LocalFaultError
        If this machine has no space or process to open the release; nothing is logged or kept.
    """
    source, target = Path(folder), Path(destination)
    if not os.path.lexists(source / SEAL):
        raise InputError(
            Problem(
                f"site '{site}' has released nothing yet",
                "Wait for the site's data steward to approve a release.",
                file=source / SEAL,
            )
        )
    with AuditLog(audit_log).locked() as log:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _clear_interrupted(target)
            working = Path(tempfile.mkdtemp(dir=target.parent, prefix=_working_prefix(target)))
        except OSError as error:
            raise _cannot_write(target, error) from None
        try:
            release: Release | None = None
            seal_sha256: str | None = None
            try:
                seal_sha256 = _seal_sha256(source / SEAL)
                release = open_release(
                    source,
                    store=store,
                    study=study,
                    study_hash=study_hash,
                    site=site,
                    recipient=recipient,
                    on=on,
                    working=working,
                )
                if _seal_sha256(source / SEAL) != seal_sha256:
                    raise InputError(
                        Problem(
                            "the seal was replaced while the release was read",
                            "Run the intake again once the site has finished publishing.",
                            file=source / SEAL,
                        )
                    )
                _check_history(release, log.accepted(site), source / SEAL)
            except LocalFaultError:
                # Not the site's fault: no evidence, no entry; the next call may accept it.
                raise
            except InputError as error:
                _refuse(source, Path(quarantine), log, site, seal_sha256, release, error, now)
                raise
            accepted = _accept(release, working, site, study_hash, seal_sha256, log, now)
            _replace_folder(accepted[0], target)
            return accepted[1]
        except OSError as error:
            raise _cannot_write(target, error) from None
        finally:
            shutil.rmtree(working, ignore_errors=True)


def _check_history(release: Release, accepted: Sequence[tuple[int, str]], file: Path) -> None:
    """Refuse a release that is neither the last accepted one nor a successor of all accepted."""
    sequence, manifest_sha256 = release.seal.sequence, release.seal.manifest_sha256
    last = max((number for number, _ in accepted), default=0)
    if sequence < last:
        known = (sequence, manifest_sha256) in accepted
        raise InputError(
            Problem(
                f"release {sequence} {'again' if known else 'comes'}, but release {last} was "
                "accepted already",
                "Ask the site to publish its latest release; if it did, the exchange folder was "
                "put back to an older state.",
                file=file,
            )
        )
    earlier = release.bundle.manifest.earlier_manifests
    for number, hash_ in accepted:
        if number == sequence:
            if hash_ != manifest_sha256:
                raise _fork(
                    f"another release {sequence} than the one that was accepted (manifest "
                    f"{manifest_sha256[:12]}…, accepted {hash_[:12]}…)",
                    file,
                )
        elif earlier[number - 1] != hash_:
            raise _fork(
                f"release {sequence} follows from another release {number} than the one that was "
                f"accepted (manifest {earlier[number - 1][:12]}…, accepted {hash_[:12]}…)",
                file,
            )


def _fork(what: str, file: Path) -> InputError:
    return InputError(
        Problem(
            what,
            "Ask the site whether its ledger was put back to an older state, or its keys are in "
            "other hands; nothing of it was used.",
            file=file,
        )
    )


def _accept(
    release: Release,
    working: Path,
    site: str,
    study_hash: str,
    seal_sha256: str,
    log: LockedAuditLog,
    now: datetime,
) -> tuple[Path, dict[str, Any]]:
    """Prepare the new intake folder and log the acceptance, unless it is logged already."""
    fresh = Path(tempfile.mkdtemp(dir=working))
    fresh.chmod(0o777 & ~_umask())
    opened = release.folder
    tables = sorted((opened / "tables").glob("*.parquet"))
    for table in tables:
        table.rename(fresh / table.name)
    # What comes after intake knows the present versions only.
    for name in release.bundle.upgraded:
        write_table(release.bundle.tables[name], name, fresh / f"{name}.parquet")
    for name in (DISCLOSURE, CRATE):
        (opened / name).rename(fresh / name)
    contents = {
        table.stem: {
            "rows": release.bundle.tables[table.stem].height,
            "sha256": sha256_of(fresh / table.name),
        }
        for table in tables
    }
    manifest = json.loads((opened / MANIFEST).read_text(encoding="utf-8"))
    entry = _logged(release, site, seal_sha256, log, now)
    record: dict[str, Any] = {
        "site": site,
        "study_hash": study_hash,
        "sequence": release.seal.sequence,
        "manifest_sha256": release.seal.manifest_sha256,
        "seal_sha256": seal_sha256,
        "manifest": manifest,
        "signatures": {
            role: _signer(key)
            for role, key in (
                ("producer", release.signatures.producer),
                ("steward", release.signatures.steward),
            )
        },
        "audit": {"number": entry.number, "sha256": hashlib.sha256(entry.line).hexdigest()},
        "tables": contents,
    }
    write_text(
        json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        fresh / "accepted.json",
    )
    return fresh, record


def _signer(key: TrustedKey) -> dict[str, str]:
    return {"holder": key.holder, "public_key": key.public_key}


def _logged(
    release: Release, site: str, seal_sha256: str, log: LockedAuditLog, now: datetime
) -> AuditEntry:
    """Return the entry of this acceptance, which is there already if it was interrupted."""
    name = (release.seal.sequence, release.seal.manifest_sha256)
    for entry in log.entries:
        if (
            entry.event == "accepted"
            and entry.site == site
            and (entry.sequence, entry.manifest_sha256) == name
        ):
            return entry
    return log.append(
        "accepted",
        now,
        site=site,
        sequence=release.seal.sequence,
        manifest_sha256=release.seal.manifest_sha256,
        seal_sha256=seal_sha256,
    )


def _refuse(
    source: Path,
    quarantine: Path,
    log: LockedAuditLog,
    site: str,
    seal_sha256: str | None,
    release: Release | None,
    error: InputError,
    now: datetime,
) -> None:
    """Keep evidence of a refused release and log the refusal."""
    problem = error.problems[0]
    try:
        kept = _keep_evidence(source, quarantine, site, problem, now)
        logger.warning("The release of %s was refused; evidence of it is in %s.", site, kept)
    except OSError as fault:
        # The entry in the log matters more than the copy.
        logger.warning("No evidence of the refused release could be kept: %s", fault.strerror)
    log.append(
        "refused",
        now,
        site=site,
        sequence=release.seal.sequence if release else None,
        manifest_sha256=release.seal.manifest_sha256 if release else None,
        seal_sha256=seal_sha256,
        reason=problem.what,
    )


def _keep_evidence(
    source: Path, quarantine: Path, site: str, problem: Problem, now: datetime
) -> Path:
    quarantine.mkdir(parents=True, exist_ok=True)
    # What a killed run has begun; under the lock of the log nobody else is at work here.
    for begun in quarantine.glob(".keeping-*"):
        shutil.rmtree(begun, ignore_errors=True)
    time = now.astimezone(UTC)
    working = Path(tempfile.mkdtemp(dir=quarantine, prefix=".keeping-"))
    try:
        left = MAXIMUM_EVIDENCE_BYTES
        files = []
        for name in (SEAL, _named_bundle(source)):
            if name is not None:
                description = _keep(source / name, working / name, left)
                left -= description["size"] if description["kept"] else 0
                files.append({"name": name, **description})
        # The audit log tells of each attempt; the same files are not kept again for each.
        if (known := _known_evidence(quarantine, site, files)) is not None:
            return known
        reason = {
            "site": site,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "what": problem.what,
            "remedy": problem.remedy,
            "file": None if problem.file is None else Path(problem.file).name,
            "files": files,
        }
        # ASCII: foreign text may be anything, lone surrogates included.
        write_text(json.dumps(reason, indent=2) + "\n", working / "reason.json")
        stem = f"{site}-{time.strftime('%Y%m%dT%H%M%SZ')}"
        for number in range(1, 1000):
            kept = quarantine / (stem if number == 1 else f"{stem}-{number}")
            if not os.path.lexists(kept):
                working.rename(kept)
                return kept
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _known_evidence(quarantine: Path, site: str, files: Sequence[Mapping[str, Any]]) -> Path | None:
    """Return where the same files of a site are kept already, equal in name, size and SHA-256."""
    for reason in sorted(quarantine.glob(f"{site}-*/reason.json")):
        with suppress(OSError, ValueError):
            found = json.loads(reason.read_text(encoding="ascii"))
            if isinstance(found, dict) and (found.get("site"), found.get("files")) == (site, files):
                return reason.parent
    return None


def _named_bundle(source: Path) -> str | None:
    """Return the sealed bundle that the seal claims to name, else the one of the highest number.

    The claim is not verified; it only chooses what is kept as evidence.
    """
    numbers: list[int] = []
    with os.scandir(source) as entries:
        for _, entry in zip(range(10_000), entries, strict=False):
            if match := re.fullmatch(r"bundle-([1-9][0-9]{0,9})\.tar\.c4gh", entry.name):
                numbers.append(int(match[1]))
    try:
        envelope = read_json(_read_seal(source / SEAL), MAXIMUM_ENVELOPE_BYTES, 16)
        claimed = read_json(base64.b64decode(envelope["payload"]), MAXIMUM_SEAL_BYTES, 1)
        if claimed["sequence"] in numbers:
            return sealed_name(int(claimed["sequence"]))
    except (InputError, ValueError, TypeError, KeyError, binascii.Error):
        pass
    return sealed_name(max(numbers)) if numbers else None


def _keep(path: Path, target: Path, limit: int) -> dict[str, Any]:
    """Copy a foreign file of at most `limit` bytes, or only describe it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return {"kept": False, "size": None, "sha256": None, "problem": error.strerror}
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        return {"kept": False, "size": None, "sha256": None, "problem": "no regular file"}
    size = status.st_size
    kept = size <= limit
    with ExitStack() as stack:
        stream = stack.enter_context(os.fdopen(handle, "rb"))
        output = stack.enter_context(target.open("xb")) if kept else None
        found, left = hashlib.sha256(), size
        while size <= MAXIMUM_HASHED_BYTES and (chunk := stream.read(min(left, _CHUNK))):
            found.update(chunk)
            left -= len(chunk)
            if output is not None:
                output.write(chunk)
    return {"kept": kept, "size": size, "sha256": None if left else found.hexdigest()}


def _seal_sha256(path: Path) -> str:
    return hashlib.sha256(_read_seal(path)).hexdigest()


def _read_seal(path: Path) -> bytes:
    """Read a foreign seal: a regular file of bounded size, no link and no pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "no regular file")
        with os.fdopen(handle, "rb") as stream:
            content = stream.read(MAXIMUM_ENVELOPE_BYTES + 1)
    except OSError as error:
        what = f"the seal cannot be read ({error.strerror})"
    else:
        if len(content) <= MAXIMUM_ENVELOPE_BYTES:
            return content
        what = f"more than {MAXIMUM_ENVELOPE_BYTES} bytes are no seal"
    raise InputError(
        Problem(what, "Ask the site to publish its release again; nothing of it was used.", path)
    )


def _working_prefix(target: Path) -> str:
    return f".intake-{target.name}-"


def _replaced(target: Path) -> Path:
    return target.with_name(f".replaced-{target.name}")


def _clear_interrupted(target: Path) -> None:
    """Remove what a killed intake of this site has left; nobody else is at work under the lock."""
    for left in target.parent.glob(f"{_working_prefix(target)}*"):
        shutil.rmtree(left, ignore_errors=True)
    replaced = _replaced(target)
    if replaced.exists():
        if target.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(target)


def _replace_folder(fresh: Path, target: Path) -> None:
    """Put a finished folder at `target`, whose old content then lies at `fresh` or is gone.

    Where the file system can exchange two names in one step, there is no moment without a folder
    at `target`. Elsewhere the old one is moved aside first, and after a crash in between
    `_clear_interrupted` moves it back.
    """
    for path in fresh.iterdir():
        sync_to_disk(path)
    sync_to_disk(fresh)
    if not target.exists():
        fresh.rename(target)
    elif not _exchange(fresh, target):
        replaced = _replaced(target)
        target.rename(replaced)
        fresh.rename(target)
        shutil.rmtree(replaced)
    sync_to_disk(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step (renameat2(2), Linux); False where that does not exist."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    rename.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ]
    at_fdcwd, rename_exchange = -100, 2
    if not rename(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange):
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number))


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _cannot_write(target: Path, error: OSError) -> InputError:
    return InputError(
        Problem(
            f"the release cannot be taken in ({error.strerror})",
            "Check space and access of the folder and run the intake again.",
            file=target,
        )
    )
