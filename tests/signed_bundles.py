"""Keys, trust stores and sealed bundles for tests."""

import base64
import hashlib
import io
import tarfile
from dataclasses import dataclass
from datetime import date

from crypt4gh import sodium
from crypt4gh.lib import encrypt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from ihdsi.bundle.keys import TransportKey
from ihdsi.bundle.manifest import canonical_json
from ihdsi.bundle.seal import SEAL_FORMAT, SEAL_TYPE, padded_size, read_seal, unpack
from ihdsi.bundle.signature import sign
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


STUDY = "demo"
FILES = {
    "disclosure.json": b"{}\n",
    "manifest.json": b'{"format": "test"}\n',
    "tables/large.parquet": bytes(range(256)) * 700,
    "tables/none.parquet": b"",
}


def member(name, content=b"", **fields):
    """Header, content and padding as the deterministic archive has them, or as `fields` say."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return (
        info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict") + content + bytes(-len(content) % 512)
    )


def archive(members):
    body = b"".join(members) + bytes(1024)
    return body + bytes(padded_size(len(body)) - len(body))


def members(files=FILES):
    return [member(name, content) for name, content in sorted(files.items())]


def encrypted(plaintext, sender=NORTH.transport, recipient=COORDINATOR.public):
    output = io.BytesIO()
    encrypt([(0, sender.private, recipient)], io.BytesIO(plaintext), output)
    return output.getvalue()


def document(plaintext, ciphertext, **changes):
    """The seal that an honest site makes of these bytes, apart from `changes`."""
    return {
        "format": SEAL_FORMAT,
        "study": STUDY,
        "site": "north",
        "sequence": 1,
        "manifest_sha256": hashlib.sha256(FILES["manifest.json"]).hexdigest(),
        "plaintext_sha256": hashlib.sha256(plaintext).hexdigest(),
        "plaintext_size": len(plaintext),
        "ciphertext_sha256": hashlib.sha256(ciphertext).hexdigest(),
        "ciphertext_size": len(ciphertext),
    } | changes


def signed(payload, steward=NORTH.steward):
    """The envelope of a seal."""
    return sign(payload, SEAL_TYPE, steward)


def put(folder, ciphertext, envelope):
    folder.mkdir(exist_ok=True)
    (folder / "bundle.c4gh").write_bytes(ciphertext)
    (folder / "bundle.dsse.json").write_bytes(envelope)


def put_archive(folder, plaintext, **changes):
    """A hostile site with valid keys: anything may stand in the archive."""
    ciphertext = encrypted(plaintext)
    content = document(plaintext, ciphertext, **changes)
    put(folder, ciphertext, signed(canonical_json(content)))


def open_sealed(folder, target, **changes):
    arguments = {
        "store": trust_store(),
        "study": STUDY,
        "site": "north",
        "recipient": COORDINATOR,
        "names": FILES,
        "on": TODAY,
    } | changes
    of_seal = {
        key: arguments.pop(key)
        for key in ("study", "site", "after", "maximum_bytes")
        if key in arguments
    }
    seal = read_seal(
        folder / "bundle.dsse.json", store=arguments["store"], on=arguments["on"], **of_seal
    )
    return unpack(seal, folder / "bundle.c4gh", target, **arguments)
