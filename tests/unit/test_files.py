"""A reader sees the old file or the new one, never half of one."""

import os

import polars as pl
import pytest

from ihdsi.files import atomic_output, sha256_of, write_parquet, write_text, write_tsv


def test_the_new_file_appears_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "a" / "b" / "result.txt"
    with atomic_output(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file_and_no_temporary(tmp_path, error):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_output(path) as temporary:
        temporary.write_text("half of the ne")
        assert path.read_text() == "old"
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_without_an_old_file_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_output(tmp_path / "result.txt"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_tool_that_removed_the_temporary_is_not_hidden(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_output(path) as temporary:
        temporary.unlink()
    assert path.read_text() == "old"


def test_a_failing_rename_leaves_no_temporary(tmp_path):
    (tmp_path / "result.txt").mkdir()
    with pytest.raises(OSError), atomic_output(tmp_path / "result.txt") as temporary:
        temporary.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a.vcf.gz", ".vcf.gz"), ("a.parquet", ".parquet"), ("P.1.bam", ".1.bam"), ("log", ".tmp")],
)
def test_the_temporary_keeps_the_suffixes(tmp_path, name, ending):
    with atomic_output(tmp_path / name) as temporary:
        assert temporary.name.endswith(ending)
        assert temporary.name.startswith(".partial-")


def test_two_writers_do_not_share_a_temporary(tmp_path):
    with atomic_output(tmp_path / "a") as one, atomic_output(tmp_path / "a") as two:
        assert one != two


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_results_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_text("x", tmp_path / "a")
        assert (tmp_path / "a").stat().st_mode & 0o777 == mode
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_writers(tmp_path):
    frame = pl.DataFrame({"gene": ["A", "é"], "n": [1, None]})
    write_parquet(frame, tmp_path / "t.parquet")
    write_tsv(frame, tmp_path / "t.tsv")
    write_text("où\n", tmp_path / "t.txt")
    assert pl.read_parquet(tmp_path / "t.parquet").equals(frame)
    assert (tmp_path / "t.tsv").read_bytes() == "gene\tn\nA\t1\né\t\n".encode()
    assert (tmp_path / "t.txt").read_bytes() == "où\n".encode()


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("old")
    with pytest.raises(pl.exceptions.ComputeError):
        write_tsv(pl.DataFrame({"a": [[1, 2]]}), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256(tmp_path):
    # The digest of "abc" is the example of FIPS 180-4.
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
