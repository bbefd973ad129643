"""The coordinator's trust store: whose keys count, for which role, from when until when.

A YAML document that the coordinator keeps under version control::

    coordinator:
      transport: x25519:…
    sites:
      <site>:
        producer:
          - {public_key: "ed25519:…", holder: …, valid_from: 2026-01-01, valid_until: 2026-12-31}
        steward:
          - …
        transport:
          - …

Keys are in the one-line form of `ihdsi.bundle.keys.public_key_text`. Dates are calendar days in
UTC, the first and last day included. A key with ``revoked: <date>`` counts for nothing from that
day on; its entry stays, so that the key cannot return under another role.

Signatures carry no trusted time of signing. The day that counts is the day on which the receiver
verifies: a thief of an expired or revoked key cannot date a signature back.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from ihdsi.bundle.keys import SIGNING, TRANSPORT, public_key_bytes
from ihdsi.errors import InputError, Problem
from ihdsi.study import Identifier
from ihdsi.yaml_documents import line_of_key, load_document

__all__ = [
    "CoordinatorKey",
    "Role",
    "SiteKeys",
    "TrustStore",
    "TrustedKey",
    "list_keys",
    "load_trust_store",
]

Role = Literal["producer", "steward", "transport"]
ROLES: tuple[Role, ...] = ("producer", "steward", "transport")


def _signing(text: str) -> str:
    public_key_bytes(text, SIGNING)
    return text


def _transport(text: str) -> str:
    public_key_bytes(text, TRANSPORT)
    return text


SigningText = Annotated[str, AfterValidator(_signing)]
TransportText = Annotated[str, AfterValidator(_transport)]
Holder = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


class _Document(BaseModel):
    """Nothing is coerced: a date that is text or a number is a mistake, not a date."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TrustedKey(_Document):
    """A public key, who answers for it, and the days on which it counts."""

    public_key: str = Field(description="One-line public key.")
    holder: Holder = Field(description="Person or workflow that holds the private key.")
    valid_from: date = Field(description="First day on which the key counts.")
    valid_until: date = Field(description="Last day on which the key counts.")
    revoked: date | None = Field(None, description="Day from which on the key is refused.")

    @model_validator(mode="after")
    def _in_order(self) -> TrustedKey:
        if self.valid_until < self.valid_from:
            raise ValueError("valid_until lies before valid_from")
        return self

    @property
    def raw(self) -> bytes:
        """The 32 bytes of the public key."""
        return public_key_bytes(self.public_key, self.public_key.partition(":")[0])

    def refusal(self, on: date) -> str | None:
        """Say why the key does not count on a day, or None if it does."""
        if self.revoked is not None and on >= self.revoked:
            return f"was revoked on {self.revoked}"
        if on < self.valid_from:
            return f"is valid only from {self.valid_from}"
        if on > self.valid_until:
            return f"expired after {self.valid_until}"
        return None


class SigningKey(TrustedKey):
    """An Ed25519 key."""

    public_key: SigningText


class TransportPublicKey(TrustedKey):
    """A Crypt4GH key."""

    public_key: TransportText


class SiteKeys(_Document):
    """Keys of one site by role; several of one role overlap while a key is rotated."""

    producer: list[SigningKey] = Field(min_length=1, max_length=100)
    steward: list[SigningKey] = Field(min_length=1, max_length=100)
    transport: list[TransportPublicKey] = Field(min_length=1, max_length=100)

    def of_role(self, role: Role) -> tuple[TrustedKey, ...]:
        """Return the keys of a role, valid or not, in the order of the file."""
        return tuple({"producer": self.producer, "steward": self.steward}.get(role, self.transport))


class CoordinatorKey(_Document):
    """The key for which sites seal."""

    transport: TransportText


class TrustStore(_Document):
    """The whole document."""

    coordinator: CoordinatorKey
    sites: dict[Identifier, SiteKeys] = Field(min_length=1)

    def public_keys(self) -> Iterator[tuple[tuple[str | int, ...], bytes]]:
        """Yield the place and the bytes of every public key of the document."""
        yield (
            ("coordinator", "transport"),
            public_key_bytes(self.coordinator.transport, TRANSPORT),
        )
        for site, keys in self.sites.items():
            for role in ROLES:
                for number, key in enumerate(keys.of_role(role)):
                    yield ("sites", site, role, number, "public_key"), key.raw


def load_trust_store(path: Path | str) -> TrustStore:
    """Read a trust store.

    Raises
    ------
    InputError
        If the document is not as described above, or one public key stands in two places: then
        one person could sign for two roles or two sites. Each problem carries line and key.
    """
    store = load_document(path, TrustStore)
    first: dict[bytes, str] = {}
    problems: list[Problem] = []
    for place, raw in store.public_keys():
        name = ".".join(str(part) for part in place)
        if raw in first:
            problems.append(
                Problem(
                    f"this public key stands also at '{first[raw]}'",
                    "Every role of every site needs a key of its own; create another.",
                    file=path,
                    row=line_of_key(path, place),
                    column=name,
                )
            )
        first.setdefault(raw, name)
    if problems:
        raise InputError(problems)
    return store


def list_keys(store: TrustStore, on: date) -> pl.DataFrame:
    """List the keys of all sites.

    Parameters
    ----------
    store
        The trust store.
    on
        Day for which is said whether a key counts.

    Returns
    -------
    polars.DataFrame
        site, role, holder, valid_from, valid_until, counts (``yes``, or why not) and public_key.
    """
    rows = [
        (site, role, key.holder, key.valid_from, key.valid_until, key.refusal(on), key.public_key)
        for site, keys in store.sites.items()
        for role in ROLES
        for key in keys.of_role(role)
    ]
    names = ["site", "role", "holder", "valid_from", "valid_until", "counts", "public_key"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.col("counts").cast(pl.String).fill_null("yes")
    )
