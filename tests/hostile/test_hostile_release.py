"""Whatever lies in an exchange folder opens as what was signed, or is refused with one error.

The attacker is a stranger who can write to the exchange, or the site itself: its producer, steward
and transport keys are valid, and it signs and seals whatever it likes. Beside each attack stands
`test_the_construction_opens`: the same construction without the attack.
"""

import hashlib
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from crypt4gh import CIPHER_SEGMENT_SIZE
from crypt4gh import header as crypt4gh_header
from crypt4gh.lib import encrypt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import releases
import signed_bundles as bundles
from ihdsi.bundle.manifest import MANIFEST_TYPE, canonical_json
from ihdsi.bundle.seal import padded_size
from ihdsi.bundle.signature import sign
from ihdsi.errors import InputError
from ihdsi.files import sha256_of
from ihdsi.summaries import TABLES

SEAL, BUNDLE = "seal.dsse.json", "bundle-1.tar.c4gh"
TABLE = "tables/mutation_burden.parquet"
NORTH, SOUTH, STRANGER = bundles.NORTH, bundles.SOUTH, bundles.STRANGER


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Files of an approved release, as they are sealed."""
    folder = tmp_path_factory.mktemp("good")
    releases.draft(folder / "approved")
    releases.publish(folder / "approved", folder / "exchange")
    return releases.files_of(folder / "approved")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, good):
    """The two files of the exchange."""
    folder = tmp_path_factory.mktemp("sealed")
    releases.put(folder, good)
    return releases.files_of(folder)


@pytest.fixture
def place(tmp_path):
    """An exchange folder and a working folder that stand alone in a folder."""
    (tmp_path / "inner" / "exchange").mkdir(parents=True)
    (tmp_path / "inner" / "working").mkdir()
    return tmp_path / "inner"


def tree(root):
    return {
        (path.relative_to(root).as_posix(), path.lstat().st_size, path.lstat().st_mode)
        for path in root.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def survives(place, **changes):
    """Open, or refuse properly; return the release's files, or None and the messages."""
    before = tree(place.parent)
    releases.HOSTILE["bundles"] += 1
    try:
        found = releases.opened(place / "exchange", place / "working", **changes)
    except InputError as error:
        assert 1 <= len(error.problems) <= 20
        assert all(problem.remedy and problem.file is not None for problem in error.problems)
        assert len(str(error)) < 20_000
        assert all(problem.what.isprintable() for problem in error.problems)
        assert tree(place.parent) == before
        assert not list((place / "working").iterdir())
        return None, str(error)
    assert list((place / "working").iterdir()) == [found.folder]
    files = releases.files_of(found.folder)
    assert found.signatures.payload == files["manifest.json"]
    shutil.rmtree(place / "working")
    (place / "working").mkdir()
    assert tree(place.parent) == before
    return files, ""


def refused(place, *words, **changes):
    files, message = survives(place, **changes)
    assert files is None
    assert not words or any(word in message for word in words), message


def lay(place, files):
    for path in (place / "exchange").iterdir():
        path.unlink()
    for name, content in files.items():
        (place / "exchange" / name).write_bytes(content)


def resealed(place, files, **changes):
    """A hostile site seals these files, which need not fit each other."""
    lay(place, {})
    releases.put(place / "exchange", files, **changes)


def signed_by_site(place, files, **manifest):
    """A hostile site lists, signs and seals these files."""
    resealed(place, releases.resigned(releases.relisted(files, **manifest)))


def flipped(content, position):
    changed = bytearray(content)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def test_the_construction_opens(place, good, sealed):
    lay(place, sealed)
    assert survives(place)[0] == good
    resealed(place, good)
    assert survives(place)[0] == good
    signed_by_site(place, good)
    assert survives(place)[0] == good
    releases.HOSTILE["bundles"] -= 3


# --- a stranger ----------------------------------------------------------------------------------


def test_flipped_bits(place, sealed):
    for name, content in sealed.items():
        for position in range(5, len(content) * 8, len(content) * 8 // 60):
            if content[position // 8 : position // 8 + 1].isspace():
                continue
            lay(place, sealed | {name: flipped(content, position)})
            refused(place)


def test_cut_at_every_kilobyte(place, sealed):
    for name, content in sealed.items():
        for size in range(0, len(content), 1024):
            lay(place, sealed | {name: content[:size]})
            refused(place)


def test_cut_between_segments_and_signed_as_cut(place, good):
    """Crypt4GH alone opens a file that ends between two segments."""
    archive = bundles.archive(bundles.members(good | {"workflow.cwl": bytes(200_000)}))
    ciphertext = bundles.encrypted(archive)
    stream = io.BytesIO(ciphertext)
    for _ in crypt4gh_header.parse(stream):
        pass
    cuts = list(range(stream.tell(), len(ciphertext), CIPHER_SEGMENT_SIZE))
    assert len(cuts) > 3
    for cut in cuts:
        content = bundles.document(archive, ciphertext[:cut])
        seal = bundles.signed(canonical_json(content))
        lay(place, {BUNDLE: ciphertext[:cut], SEAL: seal})
        refused(place, "the seal says")


@pytest.mark.parametrize("role", ["producer", "steward", "transport"])
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"revoked": bundles.TODAY}, "revoked"),
        ({"valid_until": date(2026, 5, 31)}, "expired"),
        ({"valid_from": date(2026, 6, 2)}, "valid only from"),
    ],
)
def test_keys_out_of_date(place, sealed, role, change, word):
    lay(place, sealed)
    refused(place, word, "no transport key", store=bundles.trust_store(**{role: change}))


@pytest.mark.parametrize("party", [SOUTH, STRANGER])
@pytest.mark.parametrize("role", ["producer", "steward", "transport", "seal"])
def test_keys_of_others(place, good, party, role):
    files = good
    if role in {"producer", "steward"}:
        position = {"producer": "first", "steward": "second"}[role]
        files = releases.resigned(good, **{position: getattr(party, role)})
    archive = bundles.archive(bundles.members(files))
    sender = party.transport if role == "transport" else NORTH.transport
    ciphertext = bundles.encrypted(archive, sender=sender)
    content = bundles.document(archive, ciphertext)
    content |= {"manifest_sha256": releases.hashlib.sha256(files["manifest.json"]).hexdigest()}
    steward = party.steward if role == "seal" else NORTH.steward
    lay(place, {BUNDLE: ciphertext, SEAL: bundles.signed(canonical_json(content), steward)})
    refused(place, "does not know", "site 'south'", "valid transport key")


def test_signatures_of_the_manifest_missing_twice_or_mixed(place, good):
    payload = good["manifest.json"]
    envelope = json.loads(good["manifest.dsse.json"])
    producer, steward = envelope["signatures"]
    other = json.loads(sign(payload, MANIFEST_TYPE, bundles.signing_key(45)))["signatures"][0]
    for signatures, word in (
        ([producer], "steward is missing"),
        ([steward], "producer is missing"),
        ([producer, producer], "signed twice"),
        ([steward, steward], "signed twice"),
        ([producer, producer | {"keyid": steward["keyid"]}], "does not fit"),
        ([producer | {"sig": steward["sig"]}, steward | {"sig": producer["sig"]}], "does not fit"),
        ([producer, steward, other], "malformed"),
        ([producer, other], "does not know"),
        ([], "malformed"),
    ):
        content = json.dumps(envelope | {"signatures": signatures}).encode()
        resealed(place, good | {"manifest.dsse.json": content})
        refused(place, word)
    resealed(place, good | {"manifest.dsse.json": bundles.signed(payload)})
    refused(place, "another kind")


def test_one_key_in_two_roles_of_a_store_in_memory(place, good):
    store = bundles.trust_store().model_dump()
    store["sites"]["north"]["producer"] = store["sites"]["north"]["steward"]
    resealed(
        place,
        good | {"manifest.dsse.json": sign(good["manifest.json"], MANIFEST_TYPE, NORTH.steward)},
    )
    refused(
        place, "no place here", "missing", store=type(bundles.trust_store()).model_validate(store)
    )


def test_another_manifest_table_or_envelope_in_place(place, good, tmp_path):
    releases.draft(tmp_path / "other", mean=9.0)
    releases.publish(tmp_path / "other", tmp_path / "published")
    other = releases.files_of(tmp_path / "other")
    for name, word in (
        ("manifest.json", "not the one that was signed"),
        ("manifest.dsse.json", "not the one that was signed"),
        (TABLE, "SHA-256 is not"),
    ):
        assert other[name] != good[name]
        files = good | {name: other[name]}
        resealed(place, files)
        refused(place, word)
    files = good | {name: other[name] for name in ("manifest.json", "manifest.dsse.json")}
    resealed(place, files)
    refused(place, "SHA-256 is not")
    shutil.rmtree(tmp_path / "other")
    shutil.rmtree(tmp_path / "published")


def test_the_sealed_bundle_of_another_release(place, sealed, good, tmp_path):
    lay(place, {})
    releases.put(place / "exchange", releases.resigned(good))
    again = releases.files_of(place / "exchange")
    lay(place, sealed | {BUNDLE: again[BUNDLE]})
    refused(place, "SHA-256 is not the seal's", "the seal says")


def test_another_study_or_site(place, sealed, good):
    lay(place, sealed)
    refused(place, "another protocol", study_hash="cd" * 32)
    refused(place, "sealed for study", study="other")
    refused(place, "site 'north'", site="south")
    signed_by_site(place, good, study_hash="cd" * 32)
    refused(place, "another protocol")
    signed_by_site(place, good, site="south")
    refused(place, "expected 'north'")
    signed_by_site(place, good, study="other")
    refused(place, "the seal says")


def test_links_pipes_folders_and_nothing_in_place_of_the_files(place, sealed):
    outside = place / "outside"
    for name in sealed:
        for make in (
            lambda path: path.symlink_to(outside),
            lambda path: path.symlink_to("/dev/zero"),
            lambda path: path.symlink_to(path),
            lambda path: path.mkdir(),
            os.mkfifo,
            lambda path: None,
        ):
            lay(place, {key: content for key, content in sealed.items() if key != name})
            outside.write_bytes(sealed[name])
            path = place / "exchange" / name
            make(path)
            refused(place, "cannot be read", "only regular files")
            if path.is_dir() and not path.is_symlink():
                path.rmdir()


# --- the site: archive ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../escape",
        "../../escape",
        "tables/../../escape",
        "/tmp/ihdsi-escape",
        "./manifest.json",
        "tables//mutation_burden.parquet",
        "..\\escape",
        "mаnifest.json",  # Cyrillic а
        "manifest．json",  # full-width stop
        "manifest.json\u200b",
        "tables/mutation_burden\u2024parquet",
        "tables/mutаtion_burden.parquet",
        "Manifest.json",
    ],
)
def test_names_that_escape_or_look_alike(place, good, name):
    members = bundles.members(good)
    for content in ([bundles.member(name, b"x"), *members], [*members, bundles.member(name, b"x")]):
        lay(place, {})
        archive = bundles.archive(content)
        releases.put_archive(place / "exchange", archive, good["manifest.json"])
        refused(place, "no part of a bundle")
    files = good.copy()
    files[name] = files.pop(TABLE)
    archive = bundles.archive(bundles.members(files))
    releases.put_archive(place / "exchange", archive, good["manifest.json"])
    refused(place)
    # Listed and signed under that name as well.
    document = json.loads(good["manifest.json"])
    for entry in document["files"]:
        if entry["path"] == TABLE:
            entry["path"] = name
    resealed(place, releases.resigned(good | {"manifest.json": canonical_json(document)}))
    refused(place, "not those of the contract", "should have at")


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_SPARSE,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
    ],
)
@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside"])
def test_links_and_devices(place, good, kind, target):
    evil = bundles.member(TABLE, type=kind, linkname=target)
    for content in (
        [evil, *bundles.members(good)],
        [*bundles.members({k: v for k, v in good.items() if k != TABLE}), evil],
    ):
        lay(place, {})
        releases.put_archive(place / "exchange", bundles.archive(content), good["manifest.json"])
        refused(place, "no regular file")


@pytest.mark.parametrize("name", ["manifest.json", "tables/tiny"])
def test_very_many_tiny_files(place, name):
    archive = bundles.member(name) * 100_000 + bytes(10240)
    releases.put_archive(place / "exchange", archive)
    refused(place, "no part of a bundle", "twice")


def test_more_than_a_bundle_may_have_is_not_decrypted(place, good):
    archive = bundles.archive(bundles.members(good))
    releases.put_archive(place / "exchange", archive, plaintext_size=2**29 + 2**23 + 1)
    refused(place, "at most")


def test_a_bundle_without_one_of_its_files(place, good):
    for name in good:
        resealed(place, {key: content for key, content in good.items() if key != name})
        refused(place, "lacks", "manifest inside")


# --- the site: documents -------------------------------------------------------------------------

BOMBS = {
    "lists": b"[" * 500_000,
    "objects": b'{"a":' * 150_000,
    "closed lists": b"[" * 400_000 + b"]" * 400_000,
    "number": b"9" * 900_000,
    "exponent": b'{"settings": {"minimum_n": 1e999}, "withheld": {}}',
    "empty": b"",
    "null": b"null",
    "not utf-8": b'{"\xff\xfe": 1}',
    "surrogate": b'{"\\ud800": "\\udfff"}',
    "twice": b'{"format": 1, "format": 1}',
    "nan": b'{"settings": {"minimum_n": NaN}, "withheld": {}}',
    "many keys": b"{" + b",".join(b'"%d":1' % n for n in range(60_000)) + b"}",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_json_that_is_a_bomb_or_none(place, good, sealed, bomb):
    for name in ("disclosure.json", "ro-crate-metadata.json"):
        signed_by_site(place, good | {name: bomb})
        refused(place)
    resealed(place, releases.resigned(good | {"manifest.json": bomb}))
    refused(place)
    resealed(place, good | {"manifest.dsse.json": bomb})
    refused(place)
    lay(place, sealed | {SEAL: bomb})
    refused(place)
    lay(place, sealed | {SEAL: bundles.signed(bomb)})
    refused(place)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "ihdsi-bundle-1"},
        {"site": "nоrth"},  # Cyrillic о
        {"study": "demo\u200b"},
        {"sequence": 2},
        {"sequence": 2**70, "earlier_manifests": []},
        {"sequence": -1},
        {"sequence": 1.0},
        {"sequence": "1"},
        {"earlier_manifests": ["0" * 64]},
        {"earlier_manifests": None},
        {"created": "now"},
        {"study_version": "1.0" * 100},
        {"more": 1},
        {"files": []},
    ],
    ids=str,
)
def test_manifests_that_lie(place, good, change):
    document = json.loads(good["manifest.json"]) | change
    resealed(place, releases.resigned(good | {"manifest.json": canonical_json(document)}))
    refused(place)


@pytest.mark.parametrize(
    "change",
    [
        {"path": "../manifest.json"},
        {"path": "tables/mutаtion_burden.parquet"},
        {"size": 2**62},
        {"size": -1},
        {"size": 0},
        {"rows": 2**62},
        {"rows": 0},
        {"rows": 2},
        {"rows": None},
        {"table": "qc_profile"},
        {"table": None},
        {"table_version": 0},
        {"table_version": 2**70},
        {"sha256": "0" * 64},
        {"sha256": "A" * 64},
        {"link": "/etc/passwd"},
    ],
    ids=str,
)
def test_entries_that_lie(place, good, change):
    document = json.loads(good["manifest.json"])
    for entry in document["files"]:
        if entry["path"] == TABLE:
            entry.update(change)
    resealed(place, releases.resigned(good | {"manifest.json": canonical_json(document)}))
    refused(place)


# --- the site: tables ----------------------------------------------------------------------------


def test_tables_that_are_no_parquet_or_end_early(place, good):
    table = good[TABLE]
    length = len(table)
    hostile = [
        b"",
        b"PAR1",
        b"PAR1" + bytes(4) + b"PAR1",
        table[:-1],
        table[4:],
        table[: length // 2] + table[-8:],
        table[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
        table[:-8] + (1).to_bytes(4, "little") + b"PAR1",
        table[:-8] + (length - 12).to_bytes(4, "little") + b"PAR1",
        b"PAR1" + b"\x29\xfc\xff\xff\xff\xff\x0f" * 1000 + (7000).to_bytes(4, "little") + b"PAR1",
        b"PAR1" + bytes(10**6) + (10**6).to_bytes(4, "little") + b"PAR1",
        table + table,
        b"ARROW1\0\0" + table,
    ]
    hostile += [table[:size] for size in range(1, length, 97)]
    for content in hostile:
        signed_by_site(place, good | {TABLE: content})
        files, message = survives(place)
        # The second of two files is a whole one, behind bytes that no reader looks at.
        assert files is None or content == table + table, message


def test_another_table_in_place(place, good):
    for name in good:
        if name.startswith("tables/") and name != TABLE:
            signed_by_site(place, good | {TABLE: good[name]})
            refused(place, "expected 'mutation_burden'")


def test_tables_that_break_the_contract(place, good):
    table = releases.tables()["mutation_burden"]
    for frame in (
        table.with_columns(mean=pl.lit(float("inf"))),
        table.with_columns(mean=pl.lit(float("nan"))),
        table.with_columns(n=pl.lit(-1, pl.Int64)),
        table.with_columns(n=pl.lit(1.5)),
        table.with_columns(measure=pl.lit("\x1b[2J")),
        table.with_columns(measure=pl.lit(None, pl.String)),
        table.with_columns(patient=pl.lit("P1")),
        table.drop("n"),
        table.select(reversed(table.columns)),
        table.rename({"mean": "mеan"}),  # Cyrillic е
        table.rename({"mean": "\x1b]0;owned\x07"}),
        pl.concat([table, table]),
        table.with_columns(mean=pl.struct("mean", "variance")),
        table.with_columns(measure=pl.col("measure").cast(pl.Categorical)),
        table.with_columns([pl.lit(1).alias(f"column{n}") for n in range(3000)]),
    ):
        stream = io.BytesIO()
        metadata = {"ihdsi.table": "mutation_burden", "ihdsi.table_version": "2"}
        frame.write_parquet(stream, metadata=metadata)
        files = releases.relisted(good | {TABLE: stream.getvalue()})
        document = json.loads(files["manifest.json"])
        for entry in document["files"]:
            if entry["path"] == TABLE:
                entry["rows"] = frame.height
        resealed(place, releases.resigned(files | {"manifest.json": canonical_json(document)}))
        refused(place)


#: Opens bombs with little memory, and says what it took: of this process, and of its child.
MEASURED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import releases
from ihdsi.bundle import unpacking
from ihdsi.errors import InputError
from ihdsi.summaries import TABLES
unpacking.MAXIMUM_MEMORY, unpacking.MAXIMUM_UNPACKED_BYTES = 2**29, 2**26
# Time is not what is tried here, and a busy machine takes its own.
unpacking.MAXIMUM_SECONDS = 60.0
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, used + 2**31))
working = Path(sys.argv[2])
for exchange in sys.argv[3:]:
    try:
        releases.opened(Path(exchange), working)
    except InputError as error:
        print(error.problems[0])
    else:
        print("opened")
unpacking._end()
# Not ru_maxrss of this process, which exec(2) carries over from the one that started it.
status = Path("/proc/self/status").read_text().split()
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(int(status[status.index("VmHWM:") + 1]) // 1024, child // 1024)
"""


#: MiB that opening may take at most: some 200 are the interpreter and its libraries.
MAXIMUM_OWN = 400
#: MiB of the child that unpacks tables, of which `MEASURED` lets it allocate 512.
MAXIMUM_CHILD = 1024


def measured(place, exchanges):
    """Open exchanges in a process of bounded memory: a message each, and two peaks in MiB."""
    answer = subprocess.run(
        [sys.executable, "-c", MEASURED, Path(__file__).parents[1], place / "working", *exchanges],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    *messages, peak = answer.stdout.splitlines()
    assert len(messages) == len(exchanges)
    assert len(list((place / "working").iterdir())) == messages.count("opened")
    own, child = map(int, peak.split())
    return messages, own, child


def bombs():
    """Tables of the contract's form with little in the file and very much in memory."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    def written(name, columns, rows, **options):
        metadata = {"ihdsi.table": name, "ihdsi.table_version": str(TABLES[name].version)}
        table, stream = pa.table(columns), io.BytesIO()
        arguments = {"compression": "zstd", "store_schema": False} | options
        with pq.ParquetWriter(stream, table.schema, **arguments) as writer:
            writer.write_table(table, row_group_size=10**8)
            writer.add_key_value_metadata(metadata)
        return name, stream.getvalue(), rows

    def shared(text, n):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, "int32")), pa.array([text]))

    def burden(n, measure):
        return {
            "measure": measure,
            "unit": shared("1/Mb", n),
            "stratum_variable": shared("all", n),
            "stratum": shared("all", n),
            "n": pa.array(np.full(n, 40)),
            "mean": pa.array(np.full(n, 1.0)),
            "variance": pa.array(np.full(n, 1.0)),
        }

    def moments(n):
        offsets = pa.array([0, n], pa.int32())
        return {
            "contrast": ["a"],
            "gene_id": ["g"],
            "gene_name": ["g"],
            "n": [40],
            "terms": pa.ListArray.from_arrays(offsets, shared("t", n).dictionary_decode()),
            "xty": pa.ListArray.from_arrays(offsets, pa.array(np.zeros(n))),
            "yty": [1.0],
        }

    rows = 2_000_000
    zeros = "\0" * 2**28
    plain = {"use_dictionary": False, "write_statistics": False}
    return {
        "repeated rows": written("mutation_burden", burden(rows, shared("x", rows)), rows),
        "one text in all rows": written(
            "mutation_burden", burden(10**5, shared("x" * 10**6, 10**5)), 10**5
        ),
        "one text as category": written(
            "mutation_burden",
            burden(10**5, shared("x" * 10**6, 10**5)),
            10**5,
            store_schema=True,
        ),
        "a long text in zstd": written("mutation_burden", burden(1, [zeros]), 1, **plain),
        "a long list in one row": written("expression_moments", moments(5_000_000), 1),
        "fewer rows listed": written("mutation_burden", burden(rows, shared("x", rows)), 1),
    }


def test_small_files_of_large_content_take_little_memory(place, good, capsys):
    exchanges, sizes = [], []
    for number, (table, content, rows) in enumerate(bombs().values()):
        path = f"tables/{table}.parquet"
        files = releases.relisted(good | {path: content})
        document = json.loads(files["manifest.json"])
        for entry in document["files"]:
            if entry["path"] == path:
                entry["rows"] = rows
        files = releases.resigned(files | {"manifest.json": canonical_json(document)})
        releases.put(place / f"exchange-{number}", files)
        exchanges.append(place / f"exchange-{number}")
        sizes.append(len(content))
    assert max(sizes) < 2**17
    releases.HOSTILE["bundles"] += len(exchanges)
    messages, own, child = measured(place, exchanges)
    for message in messages:
        assert "that a bundle may take" in message or any(
            word in message for word in ("larger than a bundle", "the type is", "more than the 1 ")
        ), message
    with capsys.disabled():
        print(
            f"\nMiB at the peak of opening {len(exchanges)} bombs: {own}, and {child} in the child"
        )
    assert own < MAXIMUM_OWN
    assert child < MAXIMUM_CHILD


def tiny_members(number):
    """Headers of empty files with names of their own, 10,000 at a time."""
    import numpy as np

    template = np.frombuffer(bundles.member("tables/0000000"), np.uint8)
    # Of the checksum itself spaces are counted (POSIX.1-1988, ustar).
    rest = int(template.sum()) - int(template[148:156].sum()) + 8 * ord(" ")
    for start in range(0, number, 10_000):
        digits = np.arange(start, start + 10_000)[:, None] // 10 ** np.arange(6, -1, -1) % 10
        sums = rest + digits.sum(axis=1)
        block = np.tile(template, (10_000, 1))
        block[:, 7:14] = ord("0") + digits
        block[:, 148:154] = ord("0") + sums[:, None] // 8 ** np.arange(5, -1, -1) % 8
        yield block.tobytes()


class Stream:
    """Chunks as a file that crypt4gh reads, hashed on the way; nothing is kept."""

    def __init__(self, chunks):
        self.chunks, self.rest, self.place, self.size = chunks, b"", 0, 0
        self.hash = hashlib.sha256()

    def readinto(self, buffer):
        filled = 0
        while filled < len(buffer):
            if self.place == len(self.rest):
                self.rest, self.place = next(self.chunks, b""), 0
                self.size += len(self.rest)
                self.hash.update(self.rest)
                if not self.rest:
                    break
            taken = self.rest[self.place : self.place + len(buffer) - filled]
            buffer[filled : filled + len(taken)] = taken
            filled, self.place = filled + len(taken), self.place + len(taken)
        return filled


def test_a_million_tiny_files(place, capsys):
    """Half a gigabyte that is signed, sealed and within the bound of lengths."""
    number = 1_000_000
    first = next(tiny_members(10_000))
    assert first[:512] == bundles.member("tables/0000000")
    assert first[-512:] == bundles.member("tables/0009999")
    length = number * 512 + 1024
    end = bytes(1024 + padded_size(length) - length)
    plaintext = Stream(itertools.chain(tiny_members(number), [end]))
    path = place / "exchange" / BUNDLE
    with path.open("wb") as output:
        encrypt([(0, NORTH.transport.private, bundles.COORDINATOR.public)], plaintext, output)
    assert plaintext.size == padded_size(length)
    fields = {
        "plaintext_sha256": plaintext.hash.hexdigest(),
        "plaintext_size": plaintext.size,
        "ciphertext_sha256": sha256_of(path),
        "ciphertext_size": path.stat().st_size,
    }
    document = bundles.document(b"", b"", **fields)
    (place / "exchange" / SEAL).write_bytes(bundles.signed(canonical_json(document)))
    releases.HOSTILE["bundles"] += 1
    (message,), own, _ = measured(place, [place / "exchange"])
    path.unlink()
    assert "'tables/0000000', which is no part of a bundle" in message
    with capsys.disabled():
        print(f"\nMiB at the peak of refusing {number} tiny files: {own}")
    # Decrypted a segment at a time, and no header is read after the first.
    assert own < MAXIMUM_OWN


# --- anything ------------------------------------------------------------------------------------

FUZZ = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: Replacements at places, as shares of the length: (where, how many bytes go, what comes).
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=4
)
#: Bytes that mean something to the parsers.
TOKENS = st.sampled_from(
    [
        *(
            b"[",
            b"{",
            b'"',
            b"}",
            b"null",
            b"-1",
            b"1e999",
            b"NaN",
            b"\\ud800",
            b"PAR1",
            b"\x1b[2J",
        ),
        *(bytes(8), b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x19\xfc\xff\xff\xff\xff\x0f", b"\xd0\xbe"),
    ]
)
TOKEN_EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 8), TOKENS), min_size=1, max_size=3
)


def edited(content, edits):
    changed = bytearray(content)
    for share, length, replacement in edits:
        start = int(share * len(changed))
        changed[start : start + length] = replacement
    return bytes(changed)


@FUZZ
@given(name=st.sampled_from([SEAL, BUNDLE]), edits=EDITS | TOKEN_EDITS)
def test_edited_by_a_stranger(place, sealed, good, name, edits):
    content = edited(sealed[name], edits)
    lay(place, sealed | {name: content})
    files, message = survives(place)
    # White space of the envelope is not signed; nothing else may be changed.
    assert files is None or files == good, message


@FUZZ
@given(data=st.data(), edits=EDITS | TOKEN_EDITS)
def test_edited_and_signed_by_the_site(place, good, data, edits):
    name = data.draw(st.sampled_from(sorted(good)))
    files = good | {name: edited(good[name], edits)}
    if name == "manifest.json":
        files = releases.resigned(files)
    elif name != "manifest.dsse.json":
        files = releases.resigned(releases.relisted(files))
    resealed(place, files)
    found, message = survives(place)
    assert found is None or found == files, message


@FUZZ
@given(edits=EDITS | TOKEN_EDITS)
def test_tables_edited_and_signed_by_the_site(place, good, edits):
    files = releases.resigned(releases.relisted(good | {TABLE: edited(good[TABLE], edits)}))
    resealed(place, files)
    found, message = survives(place)
    assert found is None or found == files, message


@FUZZ
@given(edits=EDITS)
def test_an_edited_archive_sealed_by_the_site(place, good, edits):
    archive = edited(bundles.archive(bundles.members(good)), edits)
    lay(place, {})
    releases.put_archive(place / "exchange", archive, good["manifest.json"])
    found, message = survives(place)
    assert found is None or found == good, message


#: What a length, an offset or a number of rows becomes.
NUMBERS = [
    bytes(8),
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\x19\xfc" + b"\xff" * 4 + b"\x0f",
    b"1e999",
]


def random_edits(choose):
    return [
        (
            choose.random(),
            choose.randrange(9),
            choose.choice([choose.choice(NUMBERS), choose.randbytes(choose.randrange(40))]),
        )
        for _ in range(choose.randint(1, 3))
    ]


@pytest.mark.parametrize("kind", ["stranger", "site", "table", "archive"])
def test_what_is_edited_takes_little_memory(place, sealed, good, capsys, kind):
    """The fuzzers above see what is opened; here, what that takes at its peak."""
    choose = random.Random(f"memory {kind}")
    exchanges = []
    for number in range(100):
        if kind == "stranger":
            name = choose.choice([SEAL, BUNDLE])
            lay(place, sealed | {name: edited(sealed[name], random_edits(choose))})
        elif kind == "archive":
            archive = edited(bundles.archive(bundles.members(good)), random_edits(choose))
            releases.put_archive(place / "exchange", archive, good["manifest.json"])
        else:
            name = TABLE if kind == "table" else choose.choice(sorted({*good} - {TABLE}))
            files = good | {name: edited(good[name], random_edits(choose))}
            if name not in ("manifest.json", "manifest.dsse.json"):
                files = releases.relisted(files)
            if name != "manifest.dsse.json":
                files = releases.resigned(files)
            releases.put(place / "exchange", files)
        exchanges.append((place / "exchange").rename(place / f"exchange-{number}"))
        (place / "exchange").mkdir()
    releases.HOSTILE["bundles"] += len(exchanges)
    messages, own, child = measured(place, exchanges)
    # What is hit between the pages of a table, or in white space, may still open.
    assert messages.count("opened") < len(messages) / 2
    with capsys.disabled():
        print(f"\nMiB at the peak of opening 100 edited ({kind}): {own}, and {child} in the child")
    assert own < MAXIMUM_OWN
    assert child < MAXIMUM_CHILD
