"""Two signatures over bytes: the workflow signs as producer, the data steward as approver.

The form is DSSE (https://github.com/secure-systems-lab/dsse): the signatures cover the payload and
its type, so a signed document of one kind cannot be passed off as another. An envelope counts only
with exactly the signatures that its kind needs, each by a key of its role at the same site: a
manifest is signed by producer and steward, a seal by the steward alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import (  # type: ignore[attr-defined]
    CryptoSigner,
    Signature,
    SSlibKey,
)

from ihdsi.bundle.foreign_json import first_fault, read_json
from ihdsi.bundle.manifest import canonical_json
from ihdsi.bundle.trust import TrustedKey, TrustStore
from ihdsi.errors import InputError, Problem

__all__ = [
    "MAXIMUM_ENVELOPE_BYTES",
    "SIGNING_ROLES",
    "SigningRole",
    "Verified",
    "add_signature",
    "sign",
    "verify",
    "verify_producer",
]

#: A manifest of the largest allowed size in base64, with its signatures.
MAXIMUM_ENVELOPE_BYTES = 2**21
#: An envelope opens five brackets and its base64 none.
MAXIMUM_ENVELOPE_BRACKETS = 16

_AGAIN = "Ask the site to sign and send it again; nothing of it was used."
SigningRole = Literal["producer", "steward"]
SIGNING_ROLES: tuple[SigningRole, ...] = ("producer", "steward")


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _SignatureEntry(_Document):
    keyid: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    sig: str


class _EnvelopeDocument(_Document):
    payload: str
    payloadType: Annotated[str, StringConstraints(min_length=1, max_length=200)]  # noqa: N815 - DSSE
    signatures: list[_SignatureEntry] = Field(min_length=1, max_length=2)


@dataclass(frozen=True)
class Verified:
    """A payload, and the trusted keys that signed it, by role."""

    payload: bytes
    signers: Mapping[SigningRole, TrustedKey]

    @property
    def producer(self) -> TrustedKey:
        """The producer's key; a KeyError where none was asked for."""
        return self.signers["producer"]

    @property
    def steward(self) -> TrustedKey:
        """The steward's key; a KeyError where none was asked for."""
        return self.signers["steward"]


def sign(payload: bytes, payload_type: str, signer: CryptoSigner) -> bytes:
    """Return a new envelope (JSON) over `payload` with one signature."""
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(signer)
    return canonical_json(envelope.to_dict())


def add_signature(
    envelope: bytes, payload_type: str, signer: CryptoSigner, file: Path | str | None = None
) -> bytes:
    """Return the envelope with a second signature; the first is kept as it is.

    Raises
    ------
    InputError
        If the envelope is malformed, of another payload type, has two signatures already, or was
        signed by this same key.
    """
    opened = _open(envelope, payload_type, file)
    if len(opened.signatures) > 1:
        raise _fault(file, "the envelope has both signatures already")
    if signer.public_key.keyid in opened.signatures:
        raise InputError(
            Problem(
                "this key has signed already",
                "Producer and steward sign with different keys.",
                file=file,
            )
        )
    opened.sign(signer)
    return canonical_json(opened.to_dict())


def verify(
    envelope: bytes,
    payload_type: str,
    store: TrustStore,
    site: str,
    on: date,
    file: Path | str | None = None,
    roles: tuple[SigningRole, ...] = SIGNING_ROLES,
) -> Verified:
    """Return the payload if keys of the site signed it, one of each role that is asked for.

    Parameters
    ----------
    envelope
        Foreign bytes; they are bounded before they are parsed.
    payload_type
        The type that every signature must cover.
    store
        Trusted keys.
    site
        The site whose keys must have signed.
    on
        Day of the receiver on which the keys must be valid and not revoked.
    file
        Where the envelope came from, for errors.
    roles
        Exactly these must have signed, each once.

    Raises
    ------
    InputError
        In every other case; the payload is then not returned.
    """
    if site not in store.sites:
        raise InputError(
            Problem(
                f"the trust store has no site '{site}'",
                "Enter the site's keys in the trust store.",
                file=file,
            )
        )
    opened = _open(envelope, payload_type, file)
    signers: dict[SigningRole, TrustedKey] = {}
    for keyid in opened.signatures:
        role, trusted = _trusted(store, site, keyid, file)
        _check_signature(opened, keyid, role, trusted, on, file)
        if role not in roles:
            raise _fault(file, f"signed by the {role}, whose signature has no place here")
        if role in signers:
            raise _fault(file, f"two keys of the role {role} signed")
        signers[role] = trusted
    _check_complete(signers, roles, file)
    # The trust store says so when it is loaded; one built in memory might not.
    if len({trusted.raw for trusted in signers.values()}) < len(signers):
        raise _fault(file, "producer and steward signed with the same key")
    return Verified(opened.payload, signers)


def verify_producer(
    envelope: bytes,
    payload_type: str,
    keys: Sequence[TrustedKey] | None,
    on: date,
    file: Path | str | None = None,
) -> bytes:
    """Return the payload of a draft: an envelope with the producer's signature and no other.

    Parameters
    ----------
    envelope, payload_type, on, file
        As in `verify`.
    keys
        The site's producer keys. Without them (a site that has no trust store) the signature is
        not verified: only the envelope's form is.

    Raises
    ------
    InputError
        If the envelope is malformed, holds another number of signatures than one, or the
        signature is not by a valid key among `keys`.
    """
    opened = _open(envelope, payload_type, file)
    if len(opened.signatures) != 1:
        raise _fault(file, "a draft is signed by the producer alone")
    if keys is None:
        return opened.payload
    (keyid,) = opened.signatures
    trusted = _by_keyid(keys, keyid)
    if trusted is None:
        raise _fault(file, "signed by another key than the site's producer keys")
    _check_signature(opened, keyid, "producer", trusted, on, file)
    return opened.payload


def _fault(file: Path | str | None, what: str) -> InputError:
    return InputError(Problem(what, _AGAIN, file=file))


def _open(envelope: bytes, payload_type: str, file: Path | str | None) -> Envelope:
    try:
        content = read_json(envelope, MAXIMUM_ENVELOPE_BYTES, MAXIMUM_ENVELOPE_BRACKETS)
        document = _EnvelopeDocument.model_validate(content)
        payload = _base64(document.payload)
        signatures = {
            entry.keyid: Signature(entry.keyid, _base64(entry.sig).hex())
            for entry in document.signatures
        }
    except ValidationError as error:
        place, _ = first_fault(error)
        raise _fault(file, f"the envelope is malformed at '{place}'") from None
    except ValueError as error:
        raise _fault(file, f"the file is no signature envelope ({str(error)[:80]})") from None
    if len(signatures) != len(document.signatures):
        raise _fault(file, "the same key signed twice")
    if document.payloadType != payload_type:
        raise _fault(file, f"the envelope holds another kind of document than '{payload_type}'")
    return Envelope(payload, payload_type, signatures)


def _base64(text: str) -> bytes:
    content = base64.b64decode(text, validate=True)
    # One spelling only, so that equal envelopes are equal bytes.
    if base64.b64encode(content).decode() != text:
        raise ValueError("not canonical base64")
    return content


def _check_signature(
    opened: Envelope,
    keyid: str,
    role: SigningRole,
    trusted: TrustedKey,
    on: date,
    file: Path | str | None,
) -> None:
    reason = trusted.refusal(on)
    if reason:
        raise InputError(
            Problem(
                f"the {role} key of '{trusted.holder}' {reason}",
                "The site signs with a valid key, after the trust store has it.",
                file=file,
            )
        )
    try:
        Envelope(opened.payload, opened.payload_type, {keyid: opened.signatures[keyid]}).verify(
            [_key(trusted)], 1
        )
    except (VerificationError, ValueError):
        raise _fault(file, f"the signature of the {role} does not fit the content") from None


def _check_complete(
    signers: Mapping[SigningRole, TrustedKey],
    roles: Iterable[SigningRole],
    file: Path | str | None,
) -> None:
    for role in roles:
        if role not in signers:
            raise InputError(
                Problem(
                    f"the signature of the {role} is missing",
                    "The workflow signs as producer and the data steward as approver.",
                    file=file,
                )
            )


def _key(trusted: TrustedKey) -> SSlibKey:
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(trusted.raw))


def _by_keyid(keys: Iterable[TrustedKey], keyid: str) -> TrustedKey | None:
    return next((trusted for trusted in keys if _key(trusted).keyid == keyid), None)


def _trusted(
    store: TrustStore, site: str, keyid: str, file: Path | str | None
) -> tuple[SigningRole, TrustedKey]:
    for name in (site, *sorted(set(store.sites) - {site})):
        for role in SIGNING_ROLES:
            trusted = _by_keyid(store.sites[name].of_role(role), keyid)
            if trusted is None:
                continue
            if name != site:
                raise _fault(file, f"signed with a key of site '{name}', expected site '{site}'")
            return role, trusted
    raise InputError(
        Problem(
            f"signed with a key that the trust store does not know ({keyid[:12]}…)",
            "Compare the key with its holder over a second channel before entering it.",
            file=file,
        )
    )
