"""Private and public keys of sites, stewards and the coordinator.

The life of a key:

Create
    Whoever will use the key creates it on the machine where it will be used. Signing keys are
    Ed25519 (PKCS8 PEM), transport keys are Crypt4GH's own. The private file has mode 0600 from its
    first byte and is encrypted if the environment variable ``IHDSI_KEY_PASSPHRASE`` is set. The
    passphrase is never an argument: arguments stand in process lists, logs and configurations.
Publish
    Only the file ``<name>.pub`` leaves the machine. Its one-line text (`public_key_text`) is
    compared with the holder over a second channel and entered in the coordinator's trust store.
Rotate
    A new key is created under a new name and entered beside the old one with overlapping dates;
    after ``valid_until`` of the old one nothing is accepted under it. Files are never overwritten.
Revoke
    The trust store gets the date as ``revoked``: from that day on the key is refused. The entry
    stays, so that the key can never be entered again under another role or site.
"""

from __future__ import annotations

import base64
import binascii
import errno
import glob
import logging
import os
import secrets
import stat
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from pathlib import Path

from crypt4gh import sodium  # type: ignore[import-untyped]
from crypt4gh.keys import c4gh  # type: ignore[import-untyped]
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from ihdsi.errors import InputError, Problem
from ihdsi.files import sync_to_disk

__all__ = [
    "PASSPHRASE_VARIABLE",
    "SIGNING",
    "STEWARD_VARIABLE",
    "TRANSPORT",
    "TransportKey",
    "create_signing_key",
    "create_transport_key",
    "load_signing_key",
    "load_transport_key",
    "public_key_bytes",
    "public_key_text",
]

PASSPHRASE_VARIABLE = "IHDSI_KEY_PASSPHRASE"
#: The steward's, where it is another than that of the workflow's keys.
STEWARD_VARIABLE = "IHDSI_STEWARD_PASSPHRASE"
#: Prefixes of one-line public keys, so that one kind is never taken for the other.
SIGNING, TRANSPORT = "ed25519", "x25519"
MAXIMUM_KEY_BYTES = 2**16
_KEY_LENGTH = 32
_PRIVATE = b"CRYPT4GH PRIVATE KEY"
_PUBLIC = b"CRYPT4GH PUBLIC KEY"

# crypt4gh writes private and session keys to its log at level DEBUG, and wraps errors in others.
# The children get the level of their own as well: a parent's level does not bind them.
for _name in ("", ".lib", ".header", ".keys", ".keys.c4gh", ".keys.kdf", ".keys.ssh", ".sodium"):
    logging.getLogger(f"crypt4gh{_name}").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class TransportKey:
    """A Crypt4GH key pair, 32 bytes each; the private half is not shown."""

    private: bytes = field(repr=False)
    public: bytes


def create_signing_key(path: Path | str) -> Path:
    """Create an Ed25519 key as PKCS8 PEM at `path` (0600) and its public part beside it.

    Parameters
    ----------
    path
        File of the private key; the public part is written to ``<path>.pub``.

    Returns
    -------
    Path
        The file of the public part.

    Raises
    ------
    InputError
        If one of the files exists or cannot be written, or the passphrase is empty or not UTF-8.
    """
    passphrase = _passphrase()
    key = Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return _write_pair(Path(path), private, public)


def create_transport_key(path: Path | str) -> Path:
    """Create a Crypt4GH key at `path` (0600) and its public part beside it.

    Arguments, result and errors are those of `create_signing_key`.
    """
    passphrase = _passphrase()
    key = os.urandom(_KEY_LENGTH)
    if passphrase:
        content = c4gh.encode_private_key(key, passphrase, None)
    else:
        # As c4gh.encode_private_key, which would also print a warning to the standard error.
        parts = (None, None, key)
        content = c4gh.MAGIC_WORD + b"".join(c4gh.encode_string(part) for part in parts)
    return _write_pair(
        Path(path), _armour(content, _PRIVATE), _armour(sodium.derive_pk(key), _PUBLIC)
    )


def load_signing_key(path: Path | str, *, steward: bool = False) -> CryptoSigner:
    """Return the signer of an Ed25519 private key file.

    Parameters
    ----------
    path
        The private key.
    steward
        Whether it is a steward's: then `STEWARD_VARIABLE`, if set, holds its passphrase, so that
        the workflow, whose keys are opened beside it, need not know it.

    Raises
    ------
    InputError
        If the file is missing, is readable by group or others, is no Ed25519 key in PKCS8 PEM, or
        its passphrase is missing or wrong.
    """
    path = Path(path)
    content = _read_private(path)
    variable = STEWARD_VARIABLE if steward and STEWARD_VARIABLE in os.environ else None
    encrypted = b"ENCRYPTED PRIVATE KEY" in content
    passphrase = _needed_passphrase(path, variable or PASSPHRASE_VARIABLE) if encrypted else None
    try:
        key = load_pem_private_key(content, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unreadable(path, "signing key", encrypted, variable or PASSPHRASE_VARIABLE) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _unreadable(path, "signing key", False)
    return CryptoSigner(key)


def load_transport_key(path: Path | str) -> TransportKey:
    """Return the pair of a Crypt4GH private key file; errors are those of `load_signing_key`."""
    path = Path(path)
    content = _read_private(path)
    passphrase: bytes | None = None
    try:
        decoded = _unarmour(content, _PRIVATE)
        stream = BytesIO(decoded)
        if stream.read(len(c4gh.MAGIC_WORD)) != c4gh.MAGIC_WORD:
            raise ValueError("no key of Crypt4GH")
        start = stream.tell()
        if c4gh.decode_string(stream) != b"none":
            passphrase = _needed_passphrase(path)
        stream.seek(start)
        # crypt4gh prints its failures and ends the process at them.
        with redirect_stderr(StringIO()):
            private = bytes(c4gh.parse_private_key(stream, (passphrase or b"").decode))
        if len(private) != _KEY_LENGTH:
            raise ValueError("a key of another length")
        return TransportKey(private, bytes(sodium.derive_pk(private)))
    except InputError:
        raise
    except (Exception, SystemExit):
        raise _unreadable(path, "transport key", passphrase is not None) from None


def public_key_text(path: Path | str) -> str:
    """Return the one-line form of a ``.pub`` file: its kind, a colon and 32 bytes in base64.

    Raises
    ------
    InputError
        If the file is missing or is no public key of either kind. A private key is refused.
    """
    path = Path(path)
    content = _read_bounded(path, private=False)
    try:
        if b"CRYPT4GH" in content:
            kind, raw = TRANSPORT, _unarmour(content, _PUBLIC)
        else:
            key = load_pem_public_key(content)
            if not isinstance(key, Ed25519PublicKey):
                raise ValueError("another kind of key")
            kind, raw = SIGNING, key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        text = f"{kind}:{base64.b64encode(raw).decode()}"
        public_key_bytes(text, kind)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(
            Problem(
                "the file is no Ed25519 or Crypt4GH public key",
                "Name the file that ends in .pub.",
                file=path,
            )
        ) from None
    return text


def public_key_bytes(text: str, kind: str) -> bytes:
    """Return the 32 bytes of a one-line public key.

    Raises
    ------
    ValueError
        If `text` is not of the given kind (`SIGNING` or `TRANSPORT`) or not 32 bytes in base64.
    """
    found, _, encoded = text.partition(":")
    if found != kind:
        raise ValueError(f"a public key of kind '{kind}:' is expected here")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the public key is not base64") from None
    # Base64 has several spellings of the same bytes; one is enough.
    if len(raw) != _KEY_LENGTH or base64.b64encode(raw).decode() != encoded:
        raise ValueError(f"the public key is not {_KEY_LENGTH} bytes in base64")
    return raw


def _passphrase(variable: str = PASSPHRASE_VARIABLE) -> bytes | None:
    value = os.environ.get(variable)
    if value is None:
        return None
    try:
        if value:
            return value.encode()
        what = f"the environment variable {variable} is empty"
    except UnicodeEncodeError:
        what = f"the environment variable {variable} is not UTF-8"
    raise InputError(Problem(what, "Set it to the passphrase, or unset it."))


def _needed_passphrase(path: Path, variable: str = PASSPHRASE_VARIABLE) -> bytes:
    passphrase = _passphrase(variable)
    if passphrase is None:
        raise InputError(
            Problem(
                "the private key is encrypted",
                f"Set the environment variable {variable} to its passphrase.",
                file=path,
            )
        )
    return passphrase


def _unreadable(
    path: Path, kind: str, encrypted: bool, variable: str = PASSPHRASE_VARIABLE
) -> InputError:
    if encrypted:
        what = f"the {kind} does not open with the passphrase in {variable}"
        return InputError(Problem(what, "Correct the passphrase.", file=path))
    what = f"the file is no private {kind} of this pipeline"
    return InputError(Problem(what, "Name another file, or create a key.", file=path))


def _armour(content: bytes, label: bytes) -> bytes:
    body = base64.b64encode(content)
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label, body, label)


def _unarmour(content: bytes, label: bytes) -> bytes:
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    ends = [b"-----BEGIN %b-----" % label, b"-----END %b-----" % label]
    if len(lines) < 3 or [lines[0], lines[-1]] != ends:
        raise ValueError("no armoured key")
    return base64.b64decode(b"".join(lines[1:-1]), validate=True)


def _write_pair(path: Path, private: bytes, public: bytes) -> Path:
    """Write both halves whole under other names first, then the public one decides.

    Whatever interrupts this, no half is ever incomplete, and a private half never lacks its public
    one. What an interrupted call has left is taken away by the next one for the same name.
    """
    public_path = path.with_name(path.name + ".pub")
    begun = f".{path.name}.creating-"
    made: list[Path] = []
    try:
        for left in path.parent.glob(f"{glob.escape(begun)}*"):
            left.unlink(missing_ok=True)
        stem = path.with_name(begun + secrets.token_hex(8))
        pairs = [
            (stem.with_name(f"{stem.name}.pub"), public_path, public, 0o644),
            (stem, path, private, 0o600),
        ]
        for temporary, _, content, mode in pairs:
            # O_EXCL neither overwrites nor follows a link; the mode holds from the start.
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(temporary)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        for target, other in ((path, public_path), (public_path, path)):
            if os.path.lexists(target):
                raise _exists(target, alone=not os.path.lexists(other))
        named: list[Path] = []
        try:
            for temporary, target, _, _ in pairs:
                _give_name(temporary, target)
                named.append(target)
        except BaseException:
            made += named
            raise
        sync_to_disk(path.parent)
    except OSError as error:
        raise InputError(
            Problem(
                f"the key cannot be written ({error.strerror})",
                "Name a file in an existing folder that you may write to.",
                file=path,
            )
        ) from None
    finally:
        for target in made:
            with suppress(OSError):
                target.unlink()
    return public_path


def _give_name(temporary: Path, target: Path) -> None:
    """Give a finished file its name, which nothing may have yet."""
    try:
        os.link(temporary, target, follow_symlinks=False)
    except FileExistsError:
        raise _exists(target, alone=False) from None
    except OSError as error:
        # File systems of memory sticks have no second names.
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        if os.path.lexists(target):
            raise _exists(target, alone=False) from None
        temporary.rename(target)


def _exists(target: Path, *, alone: bool) -> InputError:
    remedy = "Choose another name; keep the old key until its last use."
    if alone:
        remedy = (
            "It is there without the other half of its key. If `ihdsi keys new` was interrupted "
            f"here, remove {target.name} and run it again; otherwise choose another name."
        )
    return InputError(
        Problem("the file exists, and keys are never overwritten", remedy, file=target)
    )


def _read_private(path: Path) -> bytes:
    return _read_bounded(path, private=True)


def _read_bounded(path: Path, *, private: bool) -> bytes:
    def fault(what: str, remedy: str) -> InputError:
        return InputError(Problem(what, remedy, file=path))

    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # Asked of the open file: what was checked is what is read.
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            raise fault("a key is a regular file", "Name the key's file.")
        with os.fdopen(handle, "rb") as stream:
            if private and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise fault(
                    f"the private key is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
                    f"Run chmod 600 {path}; if others had access, revoke the key.",
                )
            content = stream.read(MAXIMUM_KEY_BYTES + 1)
    except OSError as error:
        raise fault(
            f"the key cannot be read ({error.strerror})", "Correct the path or its access."
        ) from None
    if len(content) > MAXIMUM_KEY_BYTES:
        raise fault(f"more than {MAXIMUM_KEY_BYTES} bytes are no key", "Name the key's file.")
    return content
