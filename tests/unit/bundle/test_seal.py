"""What is sealed opens to the same files for the coordinator, and to nobody else."""

import hashlib
import io
import os
import tarfile
from datetime import date

import pytest
from crypt4gh.lib import decrypt

import signed_bundles as bundles
from ihdsi.bundle import seal
from ihdsi.errors import InputError


def make(folder, files=bundles.FILES):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def seal_bundle(folder, sealed, **changes):
    arguments = {
        "study": bundles.STUDY,
        "site": "north",
        "sequence": 1,
        "sender": bundles.NORTH.transport,
        "recipient": bundles.COORDINATOR.public,
    } | changes
    return seal.seal_folder(folder, sealed, **arguments)


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "exchange"
    document = seal_bundle(make(tmp_path / "bundle"), folder / "bundle.c4gh")
    (folder / "bundle.dsse.json").write_bytes(bundles.signed(seal.seal_payload(document)))
    return folder


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def plaintext(sealed):
    output = io.BytesIO()
    with (sealed / "bundle.c4gh").open("rb") as stream:
        decrypt([(0, bundles.COORDINATOR.private, None)], stream, output)
    return output.getvalue()


def test_a_sealed_folder_opens_to_the_same_files(tmp_path, sealed):
    found = bundles.open_sealed(sealed, tmp_path / "opened")
    assert found.folder == tmp_path / "opened"
    assert contents(found.folder) == bundles.FILES
    assert found.document.sequence == 1
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "exchange", "opened"}


def test_other_software_opens_it(sealed):
    with tarfile.open(fileobj=io.BytesIO(plaintext(sealed)), mode="r:") as found:
        assert {
            member.name: found.extractfile(member).read() for member in found.getmembers()
        } == bundles.FILES


def test_the_archive_is_that_of_tarfile_and_does_not_depend_on_times_or_modes(tmp_path, sealed):
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as expected:
        for name, content in sorted(bundles.FILES.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            expected.addfile(info, io.BytesIO(content))
    archive = plaintext(sealed)
    ended = output.getvalue().rstrip(b"\0")
    assert archive[: len(ended)] == ended
    assert archive[len(ended) :] == bytes(len(archive) - len(ended))
    for path in (tmp_path / "bundle").rglob("*"):
        os.utime(path, (5, 5))
        path.chmod(0o700)
    document = seal_bundle(tmp_path / "bundle", tmp_path / "again.c4gh")
    assert document.plaintext_sha256 == hashlib.sha256(archive).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 65_536 - 1536, 65_536 - 1024, 200_000])
def test_sizes_about_blocks_and_segments(tmp_path, size):
    files = {"manifest.json": b"m" * size}
    document = seal_bundle(make(tmp_path / "in", files), tmp_path / "x" / "bundle.c4gh")
    (tmp_path / "x" / "bundle.dsse.json").write_bytes(bundles.signed(seal.seal_payload(document)))
    found = bundles.open_sealed(tmp_path / "x", tmp_path / "out", names=files)
    assert contents(found.folder) == files
    assert document.ciphertext_size == (tmp_path / "x" / "bundle.c4gh").stat().st_size


def test_few_lengths_and_at_most_twelve_percent_longer():
    sizes = range(1024, 6_000_000, 512)
    lengths = [seal.padded_size(size) for size in sizes]
    assert all(
        size <= length <= max(1.12 * size, 2**18)
        for size, length in zip(sizes, lengths, strict=True)
    )
    assert all(length % 512 == 0 for length in lengths)
    assert len(set(lengths)) < 170
    # A length that is allowed stays as it is.
    assert {seal.padded_size(length) for length in lengths} == set(lengths)


def test_two_seals_of_one_folder_have_different_ciphertexts(tmp_path, sealed):
    seal_bundle(tmp_path / "bundle", tmp_path / "again.c4gh")
    first, second = (sealed / "bundle.c4gh").read_bytes(), (tmp_path / "again.c4gh").read_bytes()
    assert first != second
    assert b"test" not in first


def test_what_cannot_be_sealed_is_refused_and_leaves_nothing(tmp_path):
    folder = make(tmp_path / "bundle")
    cases = [
        lambda: (folder / "link").symlink_to("manifest.json"),
        lambda: (folder / "tables" / "up").symlink_to(".."),
        lambda: os.mkfifo(folder / "pipe"),
        lambda: (folder / "ünicode").write_bytes(b""),
        lambda: (folder / ".hidden").write_bytes(b""),
        lambda: (folder / "manifest.json").unlink(),
    ]
    seal_bundle(folder, tmp_path / "good.c4gh")
    for make_worse in cases:
        before = set(folder.rglob("*"))
        make_worse()
        with pytest.raises(InputError):
            seal_bundle(folder, tmp_path / "out" / "bad.c4gh")
        for path in set(folder.rglob("*")) - before:
            path.unlink()
    assert not list(tmp_path.glob("out/*"))
    with pytest.raises(InputError):
        seal_bundle(tmp_path / "absent", tmp_path / "bad.c4gh")


@pytest.mark.parametrize("change", [{"sequence": 0}, {"site": "../x"}, {"study": ""}])
def test_an_impossible_seal_is_not_made(tmp_path, change):
    with pytest.raises(InputError):
        seal_bundle(make(tmp_path / "bundle"), tmp_path / "bad.c4gh", **change)
    assert not (tmp_path / "bad.c4gh").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"study": "other"}, "sealed for study"),
        ({"site": "south"}, "key of site 'north'"),
        ({"after": 1}, "accepted already"),
        ({"recipient": bundles.STRANGER.transport}, "not sealed for this coordinator"),
        ({"maximum_bytes": 1000}, "at most 1000"),
        ({"on": date(2027, 1, 1)}, "expired"),
        ({"names": {**bundles.FILES, "tables/more.parquet": b""}}, "lacks 'tables/more.parquet'"),
        ({"names": {"manifest.json"}}, "no part of a bundle"),
    ],
)
def test_what_the_coordinator_does_not_expect_is_refused(tmp_path, sealed, change, match):
    with pytest.raises(InputError, match=match) as error:
        bundles.open_sealed(sealed, tmp_path / "opened", **change)
    assert len(error.value.problems) == 1
    assert error.value.problems[0].file is not None
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "exchange"}


def test_an_existing_target_is_kept(tmp_path, sealed):
    (tmp_path / "opened").mkdir()
    with pytest.raises(InputError, match="exists already"):
        bundles.open_sealed(sealed, tmp_path / "opened")
    with pytest.raises(InputError, match="no folder can be made"):
        bundles.open_sealed(sealed, tmp_path / "absent" / "opened")


def test_a_full_disk_is_an_error_and_not_a_shorter_bundle(tmp_path, sealed, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(seal._HashingWriter, "write", full)
    with pytest.raises(InputError, match="No space left"):
        bundles.open_sealed(sealed, tmp_path / "opened")
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "exchange"}


@pytest.mark.parametrize("names", [{"a"}, {"manifest.json", "../a"}, {"manifest.json", "/a"}])
def test_unusable_names_are_the_callers_mistake(tmp_path, sealed, names):
    with pytest.raises(ValueError, match="names must"):
        bundles.open_sealed(sealed, tmp_path / "opened", names=names)


def test_a_rotated_transport_key_opens_while_both_are_valid(tmp_path, sealed):
    content = bundles.trust_store().model_dump()
    content["sites"]["north"]["transport"].insert(0, bundles.entry(bundles.transport_key(50)))
    store = type(bundles.trust_store()).model_validate(content)
    assert bundles.open_sealed(sealed, tmp_path / "opened", store=store).document.site == "north"
