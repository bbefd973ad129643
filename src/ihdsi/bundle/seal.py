"""Seal a folder for the coordinator, and unseal what claims to come from a site.

A sealed bundle is two files: the folder as a tar encrypted with Crypt4GH
(http://samtools.github.io/hts-specs/crypt4gh.pdf), and an envelope with the seal document, which
the steward signs alone: sealing is part of the approval, and the producer's signature is on the
manifest inside. Crypt4GH authenticates each segment of 64 KiB but not how many there
are: it accepts a file that was cut between two segments. It also does not say who made the file
unless the sender's key is pinned. Therefore the signed document holds hash and length of both the
plaintext and the ciphertext, and the sender is pinned to the site's transport key.

The tar is deterministic: USTAR, regular files only, sorted names, mode 0644, and no times or
owners. Unsealing accepts this form and no other, so that nothing of tar's long history of
extensions is ever interpreted. It is filled up to one of few lengths: whoever only sees the sealed
file pass must not read from its size that one row more left than the last time.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, BinaryIO, Protocol

from crypt4gh import header  # type: ignore[import-untyped]
from crypt4gh.lib import body_decrypt, encrypt, limited_output  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ihdsi.bundle.foreign_json import first_fault, read_json
from ihdsi.bundle.keys import TransportKey
from ihdsi.bundle.manifest import MANIFEST, canonical_json
from ihdsi.bundle.signature import MAXIMUM_ENVELOPE_BYTES, Verified, verify
from ihdsi.bundle.trust import TrustStore
from ihdsi.errors import InputError, LocalFaultError, Problem
from ihdsi.files import atomic_output
from ihdsi.study import Identifier

__all__ = [
    "SEAL_FORMAT",
    "SEAL_TYPE",
    "SealDocument",
    "Unsealed",
    "VerifiedSeal",
    "padded_size",
    "read_seal",
    "seal_folder",
    "seal_payload",
    "unpack",
]

SEAL_FORMAT = "ihdsi-seal-1"
SEAL_TYPE = "application/vnd.ihdsi.seal+json"
#: Well above a bundle of every summary table; a bundle of the demo has less than 1 MiB.
MAXIMUM_PLAINTEXT_BYTES = 2**32
MAXIMUM_MEMBERS = 100
MAXIMUM_SEAL_BYTES = 2**16
#: No archive is shorter, so that small releases are alike.
MINIMUM_PLAINTEXT_BYTES = 2**18
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 2**20
#: One packet for one recipient makes 124.
_MAXIMUM_HEADER_BYTES = 2**10
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_AGAIN = "Ask the site to seal and send it again; nothing of it was used."
_RELEASE = "Release the bundle again and seal that."

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class SealDocument(BaseModel):
    """What the steward signs; sizes in bytes, hashes in hexadecimal SHA-256."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Annotated[str, StringConstraints(pattern=f"^{SEAL_FORMAT}$")] = SEAL_FORMAT
    study: Identifier
    site: Identifier
    sequence: int = Field(ge=1, lt=2**31)
    manifest_sha256: Sha256
    plaintext_sha256: Sha256
    plaintext_size: int = Field(ge=1, le=MAXIMUM_PLAINTEXT_BYTES)
    ciphertext_sha256: Sha256
    #: Crypt4GH adds 28 bytes to each 65,536 and a header.
    ciphertext_size: int = Field(ge=1, le=MAXIMUM_PLAINTEXT_BYTES + 2**22)


@dataclass(frozen=True)
class VerifiedSeal:
    """A seal that the steward signed, and the envelope's signatures."""

    document: SealDocument
    signatures: Verified


@dataclass(frozen=True)
class Unsealed:
    """A bundle's folder, what was signed of it, and by whom."""

    folder: Path
    document: SealDocument
    signatures: Verified


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def seal_folder(
    folder: Path | str,
    sealed: Path | str,
    *,
    study: str,
    site: str,
    sequence: int,
    sender: TransportKey,
    recipient: bytes,
) -> SealDocument:
    """Encrypt a bundle's folder for the coordinator and return the document to be signed.

    Parameters
    ----------
    folder
        A folder of regular files with ``manifest.json``; it is streamed, never held in memory.
    sealed
        The Crypt4GH file to write, atomically.
    study, site
        Names that the coordinator expects.
    sequence
        Number of this bundle among those of the site, from 1; the coordinator accepts only a
        larger one than the last.
    sender
        The site's transport key.
    recipient
        The coordinator's public transport key, 32 bytes.

    Raises
    ------
    InputError
        If the folder holds links, devices, unusual names or no manifest, or cannot be read, or
        `sealed` cannot be written.
    """
    root = Path(folder)
    try:
        names = _files_of(root)
        if MANIFEST not in names:
            raise _cannot_seal(root / MANIFEST, "the folder has no manifest")
        source = _Counted(_tar(root, names))
        with atomic_output(sealed) as temporary, temporary.open("wb") as stream:
            target = _HashingWriter(stream, MAXIMUM_PLAINTEXT_BYTES + 2**22)
            encrypt([(0, sender.private, recipient)], source, target)
            stream.flush()
            os.fsync(stream.fileno())
            return SealDocument(
                study=study,
                site=site,
                sequence=sequence,
                manifest_sha256=source.manifest_sha256(),
                plaintext_sha256=source.hash.hexdigest(),
                plaintext_size=source.size,
                ciphertext_sha256=target.hash.hexdigest(),
                ciphertext_size=target.size,
            )
    except OSError as error:
        raise _cannot_seal(root, f"the folder cannot be sealed ({error.strerror})") from None
    except ValidationError as error:
        place, _ = first_fault(error)
        raise _cannot_seal(root, f"'{place}' of the seal is not as it must be") from None


def seal_payload(document: SealDocument) -> bytes:
    """Return the bytes that are signed, with payload type `SEAL_TYPE`."""
    return canonical_json(document.model_dump(mode="json"))


def read_seal(
    envelope: Path | str,
    *,
    store: TrustStore,
    study: str,
    site: str,
    on: date,
    after: int = 0,
    maximum_bytes: int = MAXIMUM_PLAINTEXT_BYTES,
) -> VerifiedSeal:
    """Read an envelope and return the seal that the site's steward signed.

    The sealed file is not looked at; `unpack` does that.

    Parameters
    ----------
    envelope
        The foreign file.
    store
        Trusted keys.
    study, site
        What the signed document must say.
    on
        Day of the receiver on which the key must be valid.
    after
        Sequence number of the last accepted bundle of the site; an equal or smaller one is
        refused as a replay.
    maximum_bytes
        Bound of the plaintext.

    Raises
    ------
    InputError
        If anything is not as it must be.
    """
    envelope = Path(envelope)
    try:
        with _regular_file(envelope) as stream:
            content = stream.read(MAXIMUM_ENVELOPE_BYTES + 1)
    except OSError as error:
        raise _fault(envelope, f"the file cannot be read ({error.strerror})") from None
    signatures = verify(content, SEAL_TYPE, store, site, on, envelope, roles=("steward",))
    document = _document(signatures.payload, envelope)
    _check_document(document, envelope, study, site, after, maximum_bytes)
    return VerifiedSeal(document, signatures)


def unpack(
    seal: VerifiedSeal,
    sealed: Path | str,
    target: Path | str,
    *,
    store: TrustStore,
    recipient: TransportKey,
    names: Collection[str],
    on: date,
) -> Unsealed:
    """Check a sealed bundle completely and put its files at `target`, in one step.

    In this order: length and hash of the ciphertext, decryption with the sender pinned, length and
    hash of the plaintext, every member of the tar, extraction into a fresh folder, and one rename.
    Nothing foreign is parsed before it is known to be signed.

    Parameters
    ----------
    seal
        What `read_seal` returns.
    sealed
        The foreign file.
    target
        Folder to create; it must not exist, its parent must.
    store
        Trusted keys.
    recipient
        The coordinator's transport key.
    names
        Exactly the files that the bundle must hold, as relative POSIX paths.
    on
        Day of the receiver on which all keys must be valid.

    Raises
    ------
    InputError
        If anything is not as it must be; then neither `target` nor any other file is left.
    LocalFaultError
        If the machine, and not the bundle, is at fault.
    ValueError
        If `names` itself is unusable, which is the caller's mistake.
    """
    document, signatures, site = seal.document, seal.signatures, seal.document.site
    sealed, target = Path(sealed), Path(target)
    expected = frozenset(names)
    if MANIFEST not in expected or len(expected) > MAXIMUM_MEMBERS:
        raise ValueError(f"names must hold '{MANIFEST}' and at most {MAXIMUM_MEMBERS} files")
    if not all(_NAME.fullmatch(name) for name in expected):
        raise ValueError("names must be plain relative paths")
    if os.path.lexists(target):
        raise InputError(Problem("the folder exists already", "Name a new folder.", file=target))
    try:
        working = Path(tempfile.mkdtemp(dir=target.parent, prefix=".unsealing-"))
    except OSError as error:
        raise LocalFaultError(
            Problem(
                f"no folder can be made here ({error.strerror})",
                "Name a folder in one that exists and that you may write to.",
                file=target,
            )
        ) from None
    try:
        plaintext = working / "plaintext.tar"
        with _regular_file(sealed) as stream:
            _check_ciphertext(stream, document, sealed)
            stream.seek(0)
            _decrypt(stream, plaintext, document, store, site, recipient, on, sealed)
        with plaintext.open("rb") as stream:
            members = _members(stream, document.plaintext_size, expected, sealed)
            fresh = working / "content"
            fresh.mkdir()
            manifest_sha256 = _extract(stream, members, fresh)
        if manifest_sha256 != document.manifest_sha256:
            raise _fault(sealed, "the manifest inside is not the one that was signed")
        fresh.rename(target)
    except OSError as error:
        raise LocalFaultError(
            Problem(
                f"the bundle cannot be unpacked ({error.strerror})",
                "Check space and access of the folder and try again.",
                file=target,
            )
        ) from None
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return Unsealed(target, document, signatures)


def _fault(file: Path, what: str) -> InputError:
    return InputError(Problem(what, _AGAIN, file=file))


def _cannot_seal(file: Path, what: str) -> InputError:
    return InputError(Problem(what, _RELEASE, file=file))


class _HashingWriter:
    """Passes bytes on, up to a bound, and hashes them."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self.stream, self.limit, self.size = stream, limit, 0
        self.hash: _Hash = hashlib.sha256()

    def write(self, data: bytes | bytearray) -> int:
        self.size += len(data)
        if self.size > self.limit:
            raise _TooLargeError
        self.hash.update(bytes(data))
        return self.stream.write(data)


class _TooLargeError(Exception):
    """More plaintext than was signed."""


class _Counted:
    """Chunks of (member, bytes) as the stream that crypt4gh reads, hashed on the way.

    crypt4gh takes a short read for the end of the file, so every read but the last is full.
    """

    def __init__(self, chunks: Iterator[tuple[str | None, bytes]]) -> None:
        self.chunks, self.rest, self.size = chunks, b"", 0
        self.hash: _Hash = hashlib.sha256()
        self._manifest: _Hash = hashlib.sha256()

    def manifest_sha256(self) -> str:
        return self._manifest.hexdigest()

    def readinto(self, buffer: bytearray) -> int:
        filled = 0
        while filled < len(buffer):
            if not self.rest:
                member, self.rest = next(self.chunks, (None, b""))
                if not self.rest:
                    break
                self.hash.update(self.rest)
                self.size += len(self.rest)
                if self.size > MAXIMUM_PLAINTEXT_BYTES:
                    raise InputError(
                        Problem(
                            f"the folder has more than {MAXIMUM_PLAINTEXT_BYTES} bytes",
                            "A bundle holds summary tables only; look what else lies there.",
                        )
                    )
                if member == MANIFEST:
                    self._manifest.update(self.rest)
            taken = self.rest[: len(buffer) - filled]
            buffer[filled : filled + len(taken)] = taken
            self.rest = self.rest[len(taken) :]
            filled += len(taken)
        return filled


def _files_of(root: Path) -> list[str]:
    names: list[str] = []

    def walk(folder: Path) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = Path(entry.path).relative_to(root).as_posix()
                if not _NAME.fullmatch(name):
                    raise _cannot_seal(Path(entry.path), "a name that no bundle has")
                if entry.is_dir(follow_symlinks=False):
                    walk(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    names.append(name)
                else:
                    raise _cannot_seal(Path(entry.path), "only regular files can be sealed")
                if len(names) > MAXIMUM_MEMBERS:
                    raise _cannot_seal(root, f"the folder holds more than {MAXIMUM_MEMBERS} files")

    walk(root)
    return sorted(names)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _tar(root: Path, names: list[str]) -> Iterator[tuple[str | None, bytes]]:
    total = 0
    for name in names:
        with _regular_file(root / name, _RELEASE) as stream:
            size = left = os.fstat(stream.fileno()).st_size
            try:
                yield None, _header(name, size)
            except ValueError:
                raise _cannot_seal(root / name, "the name or size is beyond USTAR") from None
            while left:
                chunk = stream.read(min(left, _CHUNK))
                if not chunk:
                    raise _cannot_seal(root / name, "the file became shorter while it was read")
                left -= len(chunk)
                yield name, chunk
            if stream.read(1):
                raise _cannot_seal(root / name, "the file became longer while it was read")
        padding = -size % _BLOCK
        total += _BLOCK + size + padding
        if padding:
            yield None, bytes(padding)
    left = padded_size(total + 2 * _BLOCK) - total
    while left:
        yield None, bytes(min(left, _CHUNK))
        left -= min(left, _CHUNK)


def padded_size(size: int) -> int:
    """Length to which an archive of `size` bytes, with its two empty blocks, is filled up.

    Padmé (Nikitin et al. 2019, Proc Priv Enhancing Technol 2019(4):6, section 4.3): of the binary
    logarithm of the length only about as many bits remain as that logarithm has itself, so that
    lengths tell O(log log size) bits and grow by at most 12 %. Lengths of at least
    `MINIMUM_PLAINTEXT_BYTES` are multiples of a tar block.
    """
    size = max(size, MINIMUM_PLAINTEXT_BYTES)
    exponent = size.bit_length() - 1
    unit = 1 << (exponent - exponent.bit_length())
    return size + -size % unit


@contextmanager
def _regular_file(path: Path, remedy: str = _AGAIN) -> Iterator[BinaryIO]:
    """Open a regular file, no link and no pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        what = f"the file cannot be read ({error.strerror})"
        raise InputError(Problem(what, remedy, file=path)) from None
    # Asked before a stream is made of it, which a folder refuses with an error of its own.
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(Problem("only regular files are allowed here", remedy, file=path))
    with os.fdopen(handle, "rb") as stream:
        yield stream


def _document(payload: bytes, envelope: Path) -> SealDocument:
    try:
        return SealDocument.model_validate(read_json(payload, MAXIMUM_SEAL_BYTES, 1))
    except ValidationError as error:
        place, _ = first_fault(error)
        raise _fault(envelope, f"the seal is malformed at '{place}'") from None
    except ValueError:
        raise _fault(envelope, "the signed payload is no seal") from None


def _check_document(
    document: SealDocument, envelope: Path, study: str, site: str, after: int, maximum: int
) -> None:
    for key, found, expected in (("study", document.study, study), ("site", document.site, site)):
        if found != expected:
            raise _fault(envelope, f"sealed for {key} '{found}', expected '{expected}'")
    if document.sequence <= after:
        raise _fault(
            envelope, f"sequence number {document.sequence}; number {after} was accepted already"
        )
    if document.plaintext_size > maximum:
        raise _fault(envelope, f"{document.plaintext_size} bytes; at most {maximum} are expected")


def _check_ciphertext(stream: BinaryIO, document: SealDocument, sealed: Path) -> None:
    size = os.fstat(stream.fileno()).st_size
    if size != document.ciphertext_size:
        raise _fault(sealed, f"{size} bytes, the seal says {document.ciphertext_size}")
    found, left = hashlib.sha256(), document.ciphertext_size
    while chunk := stream.read(min(left, _CHUNK)):
        found.update(chunk)
        left -= len(chunk)
    if left or found.hexdigest() != document.ciphertext_sha256:
        raise _fault(sealed, "the file's SHA-256 is not the seal's")


def _decrypt(
    stream: BinaryIO,
    plaintext: Path,
    document: SealDocument,
    store: TrustStore,
    site: str,
    recipient: TransportKey,
    on: date,
    sealed: Path,
) -> None:
    senders = [key for key in store.sites[site].transport if key.refusal(on) is None]
    if not senders:
        raise InputError(
            Problem(
                f"no transport key of site '{site}' is valid on {on}",
                "The site creates a new key, and the trust store gets it.",
                file=sealed,
            )
        )
    # The header's packets may be as long and as many as the file allows, and each of its session
    # keys is tried on each segment: no more of it is read than what an honest one has.
    start = stream.read(_MAXIMUM_HEADER_BYTES)
    for sender in senders:
        head = io.BytesIO(start)
        try:
            session_keys, edits = header.deconstruct(
                head, [(0, recipient.private, None)], sender_pubkey=sender.raw
            )
            break
        # crypt4gh raises whatever its parts raise.
        except Exception:
            continue
    else:
        raise _fault(
            sealed, f"not sealed for this coordinator by a valid transport key of site '{site}'"
        )
    if edits is not None:
        raise _fault(sealed, "an edit list is no part of a sealed bundle")
    stream.seek(head.tell())
    with plaintext.open("wb") as output:
        writer = _HashingWriter(output, document.plaintext_size)
        try:
            # Not crypt4gh.lib.decrypt: it hides every error of reading and writing.
            process = limited_output(process=writer.write)
            next(process)
            body_decrypt(stream, session_keys, process, 0)
        except _TooLargeError:
            raise _fault(sealed, "it holds more than the seal says") from None
        except OSError:
            raise
        except Exception:
            raise _fault(sealed, "the file cannot be decrypted") from None
    if writer.size != document.plaintext_size:
        raise _fault(
            sealed, f"it holds {writer.size} bytes, the seal says {document.plaintext_size}"
        )
    if writer.hash.hexdigest() != document.plaintext_sha256:
        raise _fault(sealed, "the SHA-256 of what it holds is not the seal's")


@dataclass(frozen=True)
class _Member:
    name: str
    offset: int
    size: int


def _members(
    stream: BinaryIO, length: int, expected: frozenset[str], sealed: Path
) -> list[_Member]:
    """Read the headers of the archive; every byte outside the files' contents is checked."""
    members: list[_Member] = []
    place = 0
    while (block := stream.read(_BLOCK)) != bytes(_BLOCK):
        name, size = _member(block, sealed)
        if name not in expected:
            raise _fault(sealed, f"it holds {name[:80]!a}, which is no part of a bundle")
        if any(member.name == name for member in members):
            raise _fault(sealed, f"it holds {name!a} twice")
        if members and name < members[-1].name:
            raise _fault(sealed, "its files are not in order")
        start, padding = place + _BLOCK, -size % _BLOCK
        if size > length - start:
            raise _fault(sealed, f"{name!a} is longer than the whole")
        if block != _header(name, size):
            raise _fault(sealed, f"the header of {name!a} holds more than a bundle's")
        members.append(_Member(name, start, size))
        stream.seek(start + size)
        if stream.read(padding) != bytes(padding):
            raise _fault(sealed, f"something is hidden behind {name!a}")
        place = start + size + padding
    missing = expected - {member.name for member in members}
    if missing:
        raise _fault(sealed, f"it lacks '{min(missing)}'")
    stream.seek(place)
    if length != padded_size(place + 2 * _BLOCK) or not _only_zeros(stream):
        raise _fault(sealed, "something is hidden behind its last file")
    return members


def _only_zeros(stream: BinaryIO) -> bool:
    while chunk := stream.read(_CHUNK):
        if chunk.count(0) != len(chunk):
            return False
    return True


def _member(block: bytes, sealed: Path) -> tuple[str, int]:
    if len(block) != _BLOCK:
        raise _fault(sealed, "the archive inside ends in the middle")
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
    except (tarfile.TarError, ValueError):
        raise _fault(sealed, "the archive inside is damaged") from None
    # Also the records of extended formats, which would rename or resize the next member.
    if member.type != tarfile.REGTYPE:
        raise _fault(sealed, f"{member.name[:80]!a} is no regular file")
    if member.size < 0 or member.size >= 8**11:
        raise _fault(sealed, f"{member.name[:80]!a} has an impossible size")
    return member.name, member.size


def _extract(stream: BinaryIO, members: list[_Member], folder: Path) -> str:
    """Write the checked members below an empty folder; return the manifest's SHA-256."""
    manifest = hashlib.sha256()
    for member in members:
        path = folder / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        stream.seek(member.offset)
        left = member.size
        with path.open("xb") as output:
            while left:
                chunk = stream.read(min(left, _CHUNK))
                if not chunk:
                    raise OSError(errno.EIO, "the plaintext became shorter")
                left -= len(chunk)
                output.write(chunk)
                if member.name == MANIFEST:
                    manifest.update(chunk)
    return manifest.hexdigest()
