"""From a candidate at a site to an opened release at the coordinator.

Site
    The workflow drafts a candidate: a bundle's folder whose manifest the producer signed
    (`sign_candidate`). After a data steward has looked at it (`verify_candidate`), the steward adds
    a second signature to the manifest and seals the folder for the coordinator (`seal_release`).
    Two files cross: ``bundle-<sequence>.tar.c4gh`` and, as the last step, ``seal.dsse.json``.
Coordinator
    `open_release` takes the two files as hostile. The seal must be signed by a steward of the site
    before its content is parsed; what it names must decrypt to the very bytes that were sealed; the
    manifest inside must carry both signatures, the steward's by the key of the seal, before
    anything else of the bundle is parsed; and then the bundle is opened as in
    `ihdsi.bundle.open_bundle`.

Whether a release is new, a replay or a second history is not asked here but at intake, which knows
what was accepted before.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from ihdsi.bundle.keys import TransportKey
from ihdsi.bundle.manifest import MANIFEST, MANIFEST_ENVELOPE, MANIFEST_TYPE, Manifest
from ihdsi.bundle.open import (
    BUNDLE_FILES,
    MAXIMUM_BUNDLE_BYTES,
    MAXIMUM_MANIFEST_BYTES,
    Bundle,
    check_tree,
    open_bundle,
    parse_document,
    read_bounded,
)
from ihdsi.bundle.seal import (
    SEAL_TYPE,
    SealDocument,
    VerifiedSeal,
    read_seal,
    seal_folder,
    seal_payload,
    unpack,
)
from ihdsi.bundle.signature import (
    MAXIMUM_ENVELOPE_BYTES,
    Verified,
    add_signature,
    sign,
    verify,
    verify_producer,
)
from ihdsi.bundle.trust import TrustedKey, TrustStore
from ihdsi.errors import InputError, Problem
from ihdsi.files import atomic_output

__all__ = [
    "RELEASE_FILES",
    "SEAL",
    "Release",
    "open_release",
    "seal_release",
    "sealed_name",
    "sign_candidate",
    "verify_candidate",
]

#: The signed seal in a site's exchange folder; whoever finds it finds the sealed bundle.
SEAL = "seal.dsse.json"
#: Every file of a release's folder.
RELEASE_FILES = frozenset({MANIFEST, MANIFEST_ENVELOPE, *BUNDLE_FILES})

#: The listed files, manifest and envelope, and the archive around them.
_MAXIMUM_PLAINTEXT_BYTES = MAXIMUM_BUNDLE_BYTES + 2**23

_AGAIN = "Ask the site to release it again; nothing of it was used."
_DRAFT = "Draft the release again."


@dataclass(frozen=True)
class Release:
    """An opened release.

    `folder` holds its files, `bundle` what was read of them, `seal` what the steward sealed, and
    `signatures` the manifest's bytes and both keys.
    """

    folder: Path
    bundle: Bundle
    seal: SealDocument
    signatures: Verified


def sealed_name(sequence: int) -> str:
    """Return the name of the sealed bundle of a release."""
    return f"bundle-{sequence}.tar.c4gh"


def sign_candidate(folder: Path | str, signer: CryptoSigner) -> None:
    """Sign a bundle's manifest as its producer; an envelope that is there is replaced.

    Parameters
    ----------
    folder
        Bundle as `ihdsi.bundle.write_bundle` has written it.
    signer
        The site's producer key.

    Raises
    ------
    InputError
        If the folder holds no manifest.
    """
    root = Path(folder)
    payload = read_bounded(root, MANIFEST, MAXIMUM_MANIFEST_BYTES)
    _write(root / MANIFEST_ENVELOPE, sign(payload, MANIFEST_TYPE, signer))


def verify_candidate(
    folder: Path | str,
    *,
    study_hash: str,
    site: str,
    producer_keys: Sequence[TrustedKey] | None,
    on: date,
) -> Bundle:
    """Open a candidate whose manifest the site's producer signed.

    Parameters
    ----------
    folder
        Candidate as `sign_candidate` has left it.
    study_hash, site
        As in `ihdsi.bundle.open_bundle`.
    producer_keys
        The site's producer keys in the trust store. Without them the signature itself is not
        verified, only that the envelope holds this manifest and one signature.
    on
        Day on which the key must be valid.

    Raises
    ------
    InputError
        If the signature is missing, not alone, not by a valid key or not over this manifest, or
        the bundle does not open.
    """
    root = Path(folder)
    check_tree(root, RELEASE_FILES)
    envelope = read_bounded(root, MANIFEST_ENVELOPE, MAXIMUM_ENVELOPE_BYTES)
    payload = verify_producer(envelope, MANIFEST_TYPE, producer_keys, on, root / MANIFEST_ENVELOPE)
    return open_bundle(root, study_hash, site, manifest_bytes=payload)


def seal_release(
    folder: Path | str,
    destination_folder: Path | str,
    *,
    steward: CryptoSigner,
    sender: TransportKey,
    recipient: bytes,
) -> SealDocument:
    """Approve a copy of a candidate: sign its manifest as steward, and seal it.

    Parameters
    ----------
    folder
        Copy of the candidate, with the producer's signature; the steward's is added in place.
    destination_folder
        Gets ``bundle-<sequence>.tar.c4gh`` and then ``seal.dsse.json``, both on disk when this
        returns.
    steward
        The steward's signing key.
    sender
        The site's transport key.
    recipient
        The coordinator's public transport key, 32 bytes.

    Returns
    -------
    SealDocument
        What the steward signed of the sealed bundle.

    Raises
    ------
    InputError
        If the folder holds anything but a release's files, its envelope is not over its manifest,
        was signed by the steward before or by the same key as producer, or nothing can be written.
    """
    root, destination = Path(folder), Path(destination_folder)
    check_tree(root, RELEASE_FILES)
    content = read_bounded(root, MANIFEST, MAXIMUM_MANIFEST_BYTES)
    manifest = parse_document(content, Manifest, root / MANIFEST)
    path = root / MANIFEST_ENVELOPE
    envelope = read_bounded(root, MANIFEST_ENVELOPE, MAXIMUM_ENVELOPE_BYTES)
    if verify_producer(envelope, MANIFEST_TYPE, None, date.min, path) != content:
        raise InputError(
            Problem("the signature is over another manifest than this folder's", _DRAFT, file=path)
        )
    _write(path, add_signature(envelope, MANIFEST_TYPE, steward, path))
    document = seal_folder(
        root,
        destination / sealed_name(manifest.sequence),
        study=manifest.study,
        site=manifest.site,
        sequence=manifest.sequence,
        sender=sender,
        recipient=recipient,
    )
    _write(destination / SEAL, sign(seal_payload(document), SEAL_TYPE, steward))
    return document


def open_release(
    folder: Path | str,
    *,
    store: TrustStore,
    study: str,
    study_hash: str,
    site: str,
    recipient: TransportKey,
    on: date,
    working: Path | str,
) -> Release:
    """Open what lies in a site's exchange folder, or refuse it with one error.

    Parameters
    ----------
    folder
        Exchange folder of the site; only ``seal.dsse.json`` and the bundle that it names are read,
        and nothing is changed.
    store
        Trusted keys.
    study, study_hash, site
        What seal and manifest must say.
    recipient
        The coordinator's transport key.
    on
        Day of the coordinator on which every key must be valid.
    working
        Existing folder; a new folder is made in it for the release's files, and nothing is written
        elsewhere. It is removed if the release is refused.

    Returns
    -------
    Release
        The opened release; `Release.folder` lies in `working` and is the caller's to remove.

    Raises
    ------
    InputError
        If anything is not as it must be; messages hold no control characters and have a bounded
        length, whatever the content.
    """
    exchange = Path(folder)
    root = Path(working) / f"release-{secrets.token_hex(8)}"
    try:
        seal = read_seal(
            exchange / SEAL,
            store=store,
            study=study,
            site=site,
            on=on,
            maximum_bytes=_MAXIMUM_PLAINTEXT_BYTES,
        )
        sealed = exchange / sealed_name(seal.document.sequence)
        unpack(seal, sealed, root, store=store, recipient=recipient, names=RELEASE_FILES, on=on)
        try:
            return _verified(root, seal, store, study_hash, site, on)
        except InputError as error:
            raise _inside(error, root, sealed) from None
    except InputError as error:
        shutil.rmtree(root, ignore_errors=True)
        raise _contained(error) from None
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _verified(
    root: Path, seal: VerifiedSeal, store: TrustStore, study_hash: str, site: str, on: date
) -> Release:
    path = root / MANIFEST_ENVELOPE
    envelope = read_bounded(root, MANIFEST_ENVELOPE, MAXIMUM_ENVELOPE_BYTES)
    signatures = verify(envelope, MANIFEST_TYPE, store, site, on, path)
    if signatures.steward.raw != seal.signatures.steward.raw:
        raise _fault(path, "another steward signed the manifest than the seal")
    # The file is compared with what was signed before it is parsed; its hash is the seal's.
    bundle = open_bundle(root, study_hash, site, manifest_bytes=signatures.payload)
    for key in ("study", "site", "sequence"):
        inside, outside = getattr(bundle.manifest, key), getattr(seal.document, key)
        if inside != outside:
            raise _fault(
                root / MANIFEST, f"the manifest says {key} {inside}, the seal says {outside}"
            )
    return Release(root, bundle, seal.document, signatures)


def _inside(error: InputError, root: Path, sealed: Path) -> InputError:
    """Name the files of an unpacked bundle by their places in the sealed one, which stays."""

    def place(file: Path | str | None) -> Path | str | None:
        if file is None or not Path(file).is_relative_to(root):
            return file
        return sealed / Path(file).relative_to(root)

    # Of the same class: whose fault it is stays known.
    return type(error)([replace(problem, file=place(problem.file)) for problem in error.problems])


def _fault(file: Path, what: str) -> InputError:
    return InputError(Problem(what, _AGAIN, file=file))


#: A message quotes what it refuses; more of it, and more problems, help nobody.
_MAXIMUM_MESSAGE = 500
_MAXIMUM_PROBLEMS = 20


def _contained(error: InputError) -> InputError:
    """Rewrite an error whose messages may quote a hostile site, for terminals and logs."""

    def plain(text: str) -> str:
        shown = "".join(
            c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
            for c in text[:_MAXIMUM_MESSAGE]
        )
        return shown if len(text) <= _MAXIMUM_MESSAGE else f"{shown}…"

    return type(error)(
        [
            replace(
                problem,
                what=plain(problem.what),
                column=None if problem.column is None else plain(problem.column),
            )
            for problem in error.problems[:_MAXIMUM_PROBLEMS]
        ]
    )


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic_output(path) as temporary, temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise InputError(
            Problem(
                f"the file cannot be written ({error.strerror})",
                "Check space and access of its folder.",
                file=path,
            )
        ) from None
