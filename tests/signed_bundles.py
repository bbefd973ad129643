"""Keys, trust stores and sealed bundles for tests."""

import base64
from dataclasses import dataclass
from datetime import date

from crypt4gh import sodium
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from ihdsi.bundle.keys import TransportKey
from ihdsi.bundle.trust import TrustStore

TODAY = date(2026, 6, 1)


def transport_key(number):
    private = bytes([number]) * 32
    return TransportKey(private, bytes(sodium.derive_pk(private)))


def signing_key(number):
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


@dataclass
class Party:
    producer: CryptoSigner
    steward: CryptoSigner
    transport: TransportKey


COORDINATOR = transport_key(1)
NORTH = Party(signing_key(10), signing_key(11), transport_key(12))
SOUTH = Party(signing_key(20), signing_key(21), transport_key(22))
STRANGER = Party(signing_key(30), signing_key(31), transport_key(32))


def entry(public, **changes):
    kind = "x25519" if isinstance(public, TransportKey) else "ed25519"
    raw = (
        public.public
        if isinstance(public, TransportKey)
        else bytes.fromhex(public.public_key.keyval["public"])
    )
    return {
        "public_key": f"{kind}:{base64.b64encode(raw).decode()}",
        "holder": "a holder",
        "valid_from": date(2026, 1, 1),
        "valid_until": date(2026, 12, 31),
    } | changes


def trust_store(**changes):
    """`changes` are fields of the entries of site north, by role."""
    return TrustStore.model_validate(
        {
            "coordinator": {"transport": entry(COORDINATOR)["public_key"]},
            "sites": {
                name: {
                    role: [
                        entry(
                            getattr(party, role),
                            **(changes.get(role, {}) if name == "north" else {}),
                        )
                    ]
                    for role in ("producer", "steward", "transport")
                }
                for name, party in (("north", NORTH), ("south", SOUTH))
            },
        }
    )
