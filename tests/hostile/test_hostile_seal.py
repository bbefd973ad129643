"""A sealed bundle from an enemy: refused with one error, and nothing is left anywhere.

Each attack stands beside a positive control: the same construction without the attack opens.
"""

import base64
import hashlib
import io
import json
import os
import tarfile
from datetime import date

import pytest
from crypt4gh import CIPHER_SEGMENT_SIZE, SEGMENT_SIZE
from crypt4gh import header as crypt4gh_header
from crypt4gh.lib import decrypt
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import releases
import signed_bundles as bundles
from ihdsi.bundle import seal
from ihdsi.bundle.manifest import canonical_json
from ihdsi.errors import InputError

PLAINTEXT = bundles.archive(bundles.members())
CIPHERTEXT = bundles.encrypted(PLAINTEXT)
SEAL = bundles.document(PLAINTEXT, CIPHERTEXT)
ENVELOPE = bundles.signed(canonical_json(SEAL))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "exchange"


def opens(folder, **changes):
    """Open a bundle that must be good, and take it away again."""
    target = folder.parent / "control"
    found = bundles.open_sealed(folder, target, **changes)
    files = {
        p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()
    }
    for path in sorted(target.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    target.rmdir()
    return files, found


def tree(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def refused(folder, match=None, **changes):
    releases.HOSTILE["bundles"] += 1
    before = tree(folder.parent)
    with pytest.raises(InputError, match=match) as error:
        bundles.open_sealed(folder, folder.parent / "opened", **changes)
    assert len(error.value.problems) == 1
    assert error.value.problems[0].file is not None
    assert error.value.problems[0].remedy
    assert tree(folder.parent) == before


@pytest.fixture
def good(folder):
    bundles.put(folder, CIPHERTEXT, ENVELOPE)
    assert opens(folder)[0] == bundles.FILES
    return folder


# --- the two files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [0, 8, 12, 16, 20, 24, 56, 68, 100, 124, 200, CIPHER_SEGMENT_SIZE + 150, len(CIPHERTEXT) - 1],
)
def test_a_flipped_bit_of_the_ciphertext(good, place):
    changed = bytearray(CIPHERTEXT)
    changed[place] ^= 1
    bundles.put(good, bytes(changed), ENVELOPE)
    refused(good, "SHA-256 is not the seal's")


@pytest.mark.parametrize("place", [8, 16, 24, 60, 100, 124, 150, CIPHER_SEGMENT_SIZE + 150])
def test_a_flipped_bit_that_was_signed_by_mistake(good, place):
    """Hashes of the broken file are signed: then Crypt4GH's own authentication must refuse it."""
    changed = bytearray(CIPHERTEXT)
    changed[place] ^= 1
    content = bundles.document(PLAINTEXT, bytes(changed))
    bundles.put(good, bytes(changed), bundles.signed(canonical_json(content)))
    refused(good)


def test_flipped_bits_of_the_envelope(good):
    for place in range(0, len(ENVELOPE), 17):
        changed = bytearray(ENVELOPE)
        changed[place] ^= 1
        if ENVELOPE[place : place + 1].isspace():
            continue
        bundles.put(good, CIPHERTEXT, bytes(changed))
        refused(good)


@pytest.mark.parametrize("key", sorted(set(SEAL) - {"sequence"}))
def test_a_changed_field_of_the_seal_breaks_the_signatures(good, key):
    document = json.loads(ENVELOPE)
    content = SEAL | {key: SEAL[key] + 1 if isinstance(SEAL[key], int) else "0" * 64}
    document["payload"] = base64.b64encode(canonical_json(content)).decode()
    bundles.put(good, CIPHERTEXT, json.dumps(document).encode())
    refused(good, "does not fit")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"manifest_sha256": "0" * 64}, "manifest inside"),
        ({"plaintext_sha256": "0" * 64}, "SHA-256 of what it holds"),
        ({"plaintext_size": len(PLAINTEXT) - 1}, "more than the seal says"),
        ({"plaintext_size": len(PLAINTEXT) + 1}, "the seal says"),
        ({"plaintext_size": 2**40}, "malformed at 'plaintext_size'"),
        ({"plaintext_size": True}, "malformed at 'plaintext_size'"),
        ({"plaintext_size": -1}, "malformed"),
        ({"ciphertext_sha256": "0" * 64}, "SHA-256 is not"),
        ({"ciphertext_size": len(CIPHERTEXT) + 1}, "the seal says"),
        ({"format": "ihdsi-seal-2"}, "malformed at 'format'"),
        ({"site": "south"}, "sealed for site"),
        ({"more": 1}, "malformed at 'more'"),
    ],
)
def test_a_wrong_seal_that_the_steward_signed(good, change, match):
    bundles.put(good, CIPHERTEXT, bundles.signed(canonical_json(SEAL | change)))
    refused(good, match)


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b"null", b'{"a":' * 5000, b"[" * 60_000, b"\xff", b" " * 70_000]
)
def test_a_signed_payload_that_is_no_seal(good, payload):
    bundles.put(good, CIPHERTEXT, bundles.signed(payload))
    refused(good)


def test_a_json_nesting_bomb_as_envelope(good):
    for bomb in (b"[" * 2_000_000, b'{"payload":' * 100_000, b" " * (2**21 + 1)):
        bundles.put(good, CIPHERTEXT, bomb)
        refused(good)


def test_links_pipes_and_folders_in_place_of_the_files(good):
    for name in ("bundle.c4gh", "bundle.dsse.json"):
        path = good / name
        kept = path.read_bytes()
        path.rename(good / "elsewhere")
        path.symlink_to(good / "elsewhere")
        refused(good, "cannot be read")
        path.unlink()
        path.mkdir()
        refused(good, "only regular files")
        path.rmdir()
        os.mkfifo(path)
        refused(good, "only regular files")
        path.unlink()
        refused(good, "cannot be read")
        path.write_bytes(kept)
    assert opens(good)[0] == bundles.FILES


# --- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signer", "match"),
    [
        (bundles.STRANGER.steward, "does not know"),
        (bundles.STRANGER.producer, "does not know"),
        (bundles.SOUTH.steward, "site 'south'"),
        (bundles.SOUTH.producer, "site 'south'"),
        (bundles.NORTH.producer, "producer, whose signature has no place here"),
    ],
)
def test_signed_by_another(good, signer, match):
    bundles.put(good, CIPHERTEXT, bundles.signed(canonical_json(SEAL), signer))
    refused(good, match)


@pytest.mark.parametrize(
    ("signer", "match"),
    [
        (bundles.NORTH.producer, "no place here"),
        (bundles.SOUTH.steward, "site 'south'"),
        (bundles.STRANGER.steward, "does not know"),
    ],
)
def test_signed_by_the_steward_and_another(good, signer, match):
    payload = canonical_json(SEAL)
    both = [
        json.loads(bundles.signed(payload, key))["signatures"][0]
        for key in (bundles.NORTH.steward, signer)
    ]
    for signatures in (both, both[::-1]):
        document = json.loads(ENVELOPE) | {"signatures": signatures}
        bundles.put(good, CIPHERTEXT, json.dumps(document).encode())
        refused(good, match)


def test_two_stewards(good):
    second = bundles.signing_key(44)
    content = bundles.trust_store().model_dump()
    content["sites"]["north"]["steward"].append(bundles.entry(second))
    store = type(bundles.trust_store()).model_validate(content)
    document = json.loads(ENVELOPE)
    extra = json.loads(bundles.signed(canonical_json(SEAL), second))["signatures"]
    document["signatures"] += extra
    bundles.put(good, CIPHERTEXT, json.dumps(document).encode())
    refused(good, "two keys of the role steward", store=store)
    document["signatures"] = extra
    bundles.put(good, CIPHERTEXT, json.dumps(document).encode())
    assert opens(good, store=store)[0] == bundles.FILES


def test_the_signature_missing_or_twice(good):
    producer = json.loads(bundles.signed(canonical_json(SEAL), bundles.NORTH.producer))
    other = producer["signatures"][0]
    for change, match in (
        (lambda s: [], "malformed"),
        (lambda s: [s[0], s[0]], "signed twice"),
        (lambda s: [s[0], s[0] | {"sig": other["sig"]}], "signed twice"),
        (lambda s: [s[0] | {"sig": other["sig"]}], "does not fit"),
        (lambda s: [s[0] | {"keyid": other["keyid"]}], "does not fit"),
        (lambda s: [s[0] | {"sig": ""}], "does not fit"),
        (lambda s: [s[0] | {"keyid": "0" * 64}], "does not know"),
    ):
        document = json.loads(ENVELOPE)
        document["signatures"] = change(document["signatures"])
        bundles.put(good, CIPHERTEXT, json.dumps(document).encode())
        refused(good, match)


@pytest.mark.parametrize("role", ["steward", "transport"])
@pytest.mark.parametrize(
    "change",
    [
        {"revoked": bundles.TODAY},
        {"valid_until": date(2026, 5, 31)},
        {"valid_from": date(2026, 6, 2)},
    ],
)
def test_keys_out_of_date(good, role, change):
    refused(good, store=bundles.trust_store(**{role: change}))


@pytest.mark.parametrize("party", [bundles.STRANGER, bundles.SOUTH])
def test_sealed_by_another_sender(good, party):
    """Without the pinned sender Crypt4GH opens it: anyone can encrypt for a public key."""
    ciphertext = bundles.encrypted(PLAINTEXT, sender=party.transport)
    output = io.BytesIO()
    decrypt([(0, bundles.COORDINATOR.private, None)], io.BytesIO(ciphertext), output)
    assert output.getvalue() == PLAINTEXT
    content = bundles.document(PLAINTEXT, ciphertext)
    bundles.put(good, ciphertext, bundles.signed(canonical_json(content)))
    refused(good, "valid transport key of site 'north'")


def test_another_sites_bundle_under_this_sites_name(good):
    content = bundles.document(PLAINTEXT, CIPHERTEXT, site="south")
    bundles.put(good, CIPHERTEXT, bundles.signed(canonical_json(content), bundles.SOUTH.steward))
    refused(good, "site 'south'")
    refused(good, "transport key of site 'south'", site="south")


def test_an_old_bundle_sent_again(good):
    refused(good, "accepted already", after=1)
    refused(good, "accepted already", after=7)


# --- truncation --------------------------------------------------------------------------------


def segment_boundaries(ciphertext):
    stream = io.BytesIO(ciphertext)
    for _ in crypt4gh_header.parse(stream):
        pass
    return list(range(stream.tell(), len(ciphertext), CIPHER_SEGMENT_SIZE))


def test_crypt4gh_alone_accepts_a_file_cut_between_segments_and_unsealing_does_not(good):
    boundaries = segment_boundaries(CIPHERTEXT)
    assert len(boundaries) == 3
    for number, boundary in enumerate(boundaries):
        output = io.BytesIO()
        decrypt(
            [(0, bundles.COORDINATOR.private, None)],
            io.BytesIO(CIPHERTEXT[:boundary]),
            output,
            sender_pubkey=bundles.NORTH.transport.public,
        )
        assert output.getvalue() == PLAINTEXT[: number * SEGMENT_SIZE]
        bundles.put(good, CIPHERTEXT[:boundary], ENVELOPE)
        refused(good, "the seal says")
        # Even if the ciphertext's length and hash were signed after the cut.
        content = bundles.document(PLAINTEXT, CIPHERTEXT[:boundary])
        bundles.put(good, CIPHERTEXT[:boundary], bundles.signed(canonical_json(content)))
        refused(good, "the seal says")


@pytest.mark.parametrize("cut", [0, 1, 7, 15, 16, 19, 60, 123, 124, 130, 151, 152, 153, 70_000])
def test_cut_anywhere_or_made_longer(good, cut):
    bundles.put(good, CIPHERTEXT[:cut], ENVELOPE)
    refused(good, "the seal says")
    if cut:
        content = bundles.document(PLAINTEXT, CIPHERTEXT[:cut])
        bundles.put(good, CIPHERTEXT[:cut], bundles.signed(canonical_json(content)))
        refused(good)
    bundles.put(good, CIPHERTEXT + bytes(cut + 1), ENVELOPE)
    refused(good, "the seal says")
    bundles.put(good, CIPHERTEXT, ENVELOPE[: cut % len(ENVELOPE)])
    refused(good)


def test_segments_in_another_order_or_repeated(good):
    start, second, third = segment_boundaries(CIPHERTEXT)
    head, a, b, c = (
        CIPHERTEXT[:start],
        CIPHERTEXT[start:second],
        CIPHERTEXT[second:third],
        CIPHERTEXT[third:],
    )
    for ciphertext in (head + b + a + c, head + a + a + c, head + a + b + b + c):
        content = bundles.document(PLAINTEXT, ciphertext)
        bundles.put(good, ciphertext, bundles.signed(canonical_json(content)))
        refused(good)


def test_an_edit_list_is_refused(good):
    sender, key = bundles.NORTH.transport, bytes(32)
    packets = [
        crypt4gh_header.make_packet_data_enc(0, key),
        crypt4gh_header.make_packet_data_edit_list([0, 10]),
    ]
    keys = [(0, sender.private, bundles.COORDINATOR.public)]
    ciphertext = crypt4gh_header.serialize(
        packet for content in packets for packet in crypt4gh_header.encrypt(content, keys)
    )
    document = bundles.document(PLAINTEXT, ciphertext)
    bundles.put(good, ciphertext, bundles.signed(canonical_json(document)))
    refused(good, "edit list")


def with_header(packets):
    """The good body under a session key of zeros, behind a header of these packets."""
    keys = [(0, bundles.NORTH.transport.private, bundles.COORDINATOR.public)]
    encrypted = [part for content in packets for part in crypt4gh_header.encrypt(content, keys)]
    cipher, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)
    segments = (PLAINTEXT[n : n + SEGMENT_SIZE] for n in range(0, len(PLAINTEXT), SEGMENT_SIZE))
    body = b"".join(nonce + cipher.encrypt(nonce, segment, None) for segment in segments)
    return crypt4gh_header.serialize(encrypted) + body


def test_a_header_of_many_or_long_packets(good):
    right, wrong = (crypt4gh_header.make_packet_data_enc(0, key) for key in (bytes(32), b"k" * 32))
    for packets, match in (
        ([right], None),
        ([wrong] * 8 + [right], None),
        ([wrong] * 600 + [right], "not sealed for this coordinator"),
        ([right, wrong + bytes(10**7)], "not sealed for this coordinator"),
    ):
        ciphertext = with_header(packets)
        document = bundles.document(PLAINTEXT, ciphertext)
        bundles.put(good, ciphertext, bundles.signed(canonical_json(document)))
        if match is None:
            assert opens(good)[0] == bundles.FILES
        else:
            refused(good, match)


# --- the archive -------------------------------------------------------------------------------


def raw_header(change):
    """The first header of the good archive with bytes changed and the checksum put right."""
    block = bytearray(PLAINTEXT[:512])
    change(block)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + PLAINTEXT[512:]


def test_the_constructed_archive_opens(folder):
    bundles.put_archive(folder, bundles.archive(bundles.members()))
    assert opens(folder)[0] == bundles.FILES


@pytest.mark.parametrize(
    "name",
    [
        "../escape",
        "../../escape",
        "tables/../../escape",
        "/tmp/ihdsi-escape",
        "//escape",
        "./manifest.json",
        "tables//large.parquet",
        "tables/large.parquet/",
        "C:\\escape",
        "..\\escape",
        "Manifest.json",
        "manifest.json ",
        "mаnifest.json",  # Cyrillic а
        "manifest．json",  # full-width stop
        "manifest.json\u200b",
        "manifest\u2024json",
        "~/escape",
        ".ssh/authorized_keys",
    ],
)
def test_other_names_are_refused_whether_added_or_in_place_of_a_file(folder, name):
    for position in (0, len(bundles.FILES)):
        content = bundles.members()
        content.insert(position, bundles.member(name, b"x"))
        bundles.put_archive(folder, bundles.archive(content))
        refused(folder)
    files = bundles.FILES.copy()
    files[name] = files.pop("disclosure.json")
    bundles.put_archive(folder, bundles.archive(bundles.members(files)))
    refused(folder)


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
        tarfile.CONTTYPE,
        tarfile.AREGTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.GNUTYPE_SPARSE,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    ],
)
def test_links_devices_folders_and_extensions(folder, kind):
    for name in ("manifest.json", "tables"):
        content = bundles.members()
        evil = bundles.member(name, type=kind, linkname="/etc/passwd")
        bundles.put_archive(folder, bundles.archive([evil, *content]))
        refused(folder, "is no regular file")
    content = bundles.members()
    content[1] = bundles.member("manifest.json", type=kind, linkname="../../outside")
    bundles.put_archive(folder, bundles.archive(content))
    refused(folder, "is no regular file")


def test_a_name_twice_or_out_of_order(folder):
    content = bundles.members()
    bundles.put_archive(folder, bundles.archive([*content[:2], content[1], *content[2:]]))
    refused(folder, "twice")
    bundles.put_archive(folder, bundles.archive([*content, content[0]]))
    refused(folder, "twice")
    bundles.put_archive(folder, bundles.archive(content[::-1]))
    refused(folder, "not in order")


def test_many_tiny_files(folder):
    tiny = [bundles.member(f"tables/{number:06d}") for number in range(20_000)]
    bundles.put_archive(folder, bundles.archive([*bundles.members(), *tiny]))
    refused(folder, "no part of a bundle")


def test_a_missing_file(folder):
    for number in range(len(bundles.FILES)):
        content = bundles.members()
        del content[number]
        bundles.put_archive(folder, bundles.archive(content))
        refused(folder, "lacks")
    bundles.put_archive(folder, bundles.archive([]))
    refused(folder, "lacks")


@pytest.mark.parametrize(
    "field", [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"abcdefghijk\0", b"\0" * 12]
)
def test_an_impossible_size_of_a_member(folder, field):
    def change(block):
        block[124:136] = field

    bundles.put_archive(folder, raw_header(lambda block: None))
    assert opens(folder)[0] == bundles.FILES
    bundles.put_archive(folder, raw_header(change))
    refused(folder)


@pytest.mark.parametrize(
    ("start", "content"),
    [
        (100, b"0004755\0"),  # set-uid
        (108, b"0000001\0"),
        (136, b"00000000001\0"),
        (257, b"ustar  \0"),  # GNU
        (265, b"root"),
        (345, b".."),  # prefix of the name
        (500, b"hidden"),
        (50, b"behind the name"),
        (156, b"\0"),
    ],
)
def test_a_header_that_is_not_the_deterministic_one(folder, start, content):
    def change(block):
        block[start : start + len(content)] = content

    bundles.put_archive(folder, raw_header(change))
    refused(folder)


def test_bytes_hidden_between_and_behind_the_files(folder):
    places = {
        "padding": 512 + len(bundles.FILES["disclosure.json"]) + 5,
        "end": len(PLAINTEXT) - 1,
        "checksum": 150,
    }
    for place in places.values():
        changed = bytearray(PLAINTEXT)
        changed[place] ^= 1
        bundles.put_archive(folder, bytes(changed))
        refused(folder)
    for plaintext in (
        PLAINTEXT + bytes(512),
        PLAINTEXT + bytes(10240),
        PLAINTEXT + PLAINTEXT,
        PLAINTEXT[:-512],
        PLAINTEXT[:-1],
        PLAINTEXT[:700],
        PLAINTEXT[:512],
        PLAINTEXT[:100],
        b"x",
        bytes(10240),
    ):
        bundles.put_archive(folder, plaintext)
        refused(folder)


def test_a_size_bomb_stops_at_the_signed_length(folder, monkeypatch):
    """The seal says 10 KiB, the ciphertext yields 8 MiB: no more than 10 KiB reach the disk."""
    written = []
    write = seal._HashingWriter.write

    def spy(self, data):
        done = write(self, data)
        written.append(done)
        return done

    bomb = bytes(2**23)
    ciphertext = bundles.encrypted(bomb)
    content = bundles.document(bomb, ciphertext, plaintext_size=10240)
    bundles.put(folder, ciphertext, bundles.signed(canonical_json(content)))
    monkeypatch.setattr(seal._HashingWriter, "write", spy)
    refused(folder, "more than the seal says")
    assert sum(written) <= 10240
    bundles.put_archive(folder, bomb)
    refused(folder, "at most", maximum_bytes=2**20)


# --- anything ----------------------------------------------------------------------------------

NAMES = st.sampled_from([*bundles.FILES, "../x", "/x", "x", "manifest.json/", "tables"])
MEMBERS = st.builds(
    bundles.member,
    NAMES,
    st.binary(max_size=40),
    type=st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE]),
    mode=st.sampled_from([0o644, 0o4755]),
)
EDITS = st.lists(
    st.tuples(st.integers(0, len(PLAINTEXT) - 1), st.binary(min_size=1, max_size=12)), max_size=3
)
HOSTILE = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def survives(folder):
    """Open, or refuse with InputError; outside of the target nothing changes either way."""
    releases.HOSTILE["bundles"] += 1
    before = tree(folder.parent)
    try:
        files, _ = opens(folder)
    except InputError as error:
        assert len(error.problems) == 1
        files = None
    assert tree(folder.parent) == before
    assert not (folder.parent.parent / "x").exists()
    return files


def edited(content, edits):
    changed = bytearray(content)
    for place, replacement in edits:
        place %= max(len(changed), 1)
        changed[place : place + len(replacement)] = replacement
    return bytes(changed)


@HOSTILE
@given(content=st.lists(MEMBERS, max_size=5), edits=EDITS)
def test_any_archive_opens_to_its_files_or_is_refused(tmp_path, content, edits):
    folder = tmp_path / "inner" / "exchange"
    folder.mkdir(parents=True, exist_ok=True)
    plaintext = edited(bundles.archive(content) if content else PLAINTEXT, edits)
    bundles.put_archive(folder, plaintext)
    files = survives(folder)
    if files is not None:
        assert set(files) == set(bundles.FILES)
        assert bundles.archive(bundles.members(files)) == plaintext


@HOSTILE
@given(
    ciphertext=st.one_of(EDITS.map(lambda e: edited(CIPHERTEXT, e)), st.binary(max_size=300)),
    envelope=st.one_of(
        EDITS.map(lambda e: edited(ENVELOPE, e)),
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=12), inner),
            max_leaves=8,
        ).map(lambda d: json.dumps(d).encode()),
    ),
    both=st.booleans(),
)
def test_any_two_files_open_to_what_was_signed_or_are_refused(tmp_path, ciphertext, envelope, both):
    folder = tmp_path / "inner" / "exchange"
    folder.mkdir(parents=True, exist_ok=True)
    if both:  # signed as it is: what lies behind the signatures is reached
        digest = hashlib.sha256(ciphertext).hexdigest()
        sizes = {"ciphertext_sha256": digest, "ciphertext_size": max(len(ciphertext), 1)}
        envelope = bundles.signed(canonical_json(SEAL | sizes))
    bundles.put(folder, ciphertext, envelope)
    files = survives(folder)
    assert files is None or files == bundles.FILES
