"""What does not unpack in bounded memory and time is found out by a process that may die of it."""

import io
import os
import signal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ihdsi.bundle import unpacking

MEBIBYTE = 2**20


def parquet(table, **options):
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", **options)
    return stream.getvalue()


GOOD = parquet(pa.table({"a": [1.5, 2.5], "b": ["x", None], "c": [["u", "v"], []]}))


def attempt(tables, memory=2**30, unpacked=64 * MEBIBYTE, seconds=60.0):
    if isinstance(tables, bytes):
        tables = {"t": tables}
    return unpacking.try_unpacking(tables, memory=memory, unpacked=unpacked, seconds=seconds)


def rows(n):
    return parquet(pa.table({"a": pa.array(np.zeros(n, "int64"))}), row_group_size=n)


def elements(n):
    offsets = pa.array([0, n], pa.int32())
    column = pa.ListArray.from_arrays(offsets, pa.array(np.zeros(n)))
    return parquet(pa.table({"a": column}))


def shared_text(n, length, nested=False, **options):
    column = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(n, "int32")), pa.array(["x" * length])
    )
    if nested:
        column = pa.ListArray.from_arrays(pa.array([0, n], pa.int32()), column.dictionary_decode())
    # Without Arrow's own schema the column is one of strings, with it of categories.
    return parquet(pa.table({"a": column}), **({"store_schema": False} | options))


def compressed(length):
    return parquet(pa.table({"a": ["\0" * length]}), use_dictionary=False, write_statistics=False)


def test_good_tables_unpack():
    assert attempt(GOOD) is None
    assert attempt({"a": GOOD, "b": rows(10)}) is None
    assert attempt({}) is None


@pytest.mark.parametrize(
    "bomb",
    [rows(10**7), elements(10**7), shared_text(1000, 10**5), compressed(70 * MEBIBYTE)],
    ids=["run length", "one row of a list", "one text for all rows", "zstd"],
)
def test_small_files_of_large_content(bomb):
    assert len(bomb) < 70_000
    assert attempt(bomb) == unpacking.Failure("t", "size")
    assert attempt(bomb, unpacked=2**40) is None
    assert attempt({"good": GOOD, "bad": bomb}) == unpacking.Failure("bad", "size")


def test_text_in_lists_counts():
    bomb = shared_text(1000, 10**4, nested=True)
    assert attempt(bomb, unpacked=5 * MEBIBYTE) == unpacking.Failure("t", "size")
    assert attempt(bomb) is None


def test_what_needs_more_memory_than_there_is():
    """The child may end by it or refuse; either way the next request is served."""
    for bomb in (rows(5 * 10**7), elements(5 * 10**7)):
        assert attempt(bomb, memory=2**28, unpacked=2**40) == unpacking.Failure("t", "columns")
        assert attempt(GOOD, memory=2**28) is None


def test_the_sizes_of_all_tables_are_added():
    some = rows(3 * MEBIBYTE)
    assert attempt({"a": some, "b": some}) is None
    assert attempt({"a": some, "b": some, "c": some}) == unpacking.Failure("c", "size")


def test_what_takes_too_long():
    bomb = shared_text(10**6, 10**6, store_schema=True)
    assert attempt(bomb, seconds=1.0) == unpacking.Failure("t", "columns")
    assert attempt(GOOD) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1",
        b"PAR1PAR1",
        b"PAR1\0\0\0\0PAR1",
        b"PAR1\xff\xff\xff\x7fPAR1",
        b"PAR1" + bytes(100) + b"\x64\0\0\0PAR1",
        GOOD[:-1],
        GOOD[1:],
        GOOD[:-8] + b"\xff\xff\xff\xffPAR1",
        b"PAR1" + b"\x19" * 10**6 + (10**6).to_bytes(4, "little") + b"PAR1",
        b"PAR1"
        + b"\x29\xfc\xff\xff\xff\xff\x0f" * 10**4
        + (7 * 10**4).to_bytes(4, "little")
        + b"PAR1",
    ],
)
def test_what_is_no_parquet(data):
    assert attempt(data) == unpacking.Failure("t", "footer")


def test_a_large_footer_is_not_parsed(monkeypatch):
    table = pl.DataFrame({"a": [1]})
    stream = io.BytesIO()
    table.write_parquet(stream, metadata={"k": "x" * (2 * MEBIBYTE)})
    monkeypatch.setattr(unpacking, "_child", lambda memory: 1 / 0)
    assert attempt(stream.getvalue()) == unpacking.Failure("t", "footer")


def test_a_child_that_was_killed_is_replaced():
    assert attempt(GOOD) is None
    os.kill(unpacking._current.process.pid, signal.SIGKILL)
    unpacking._current.process.wait()
    assert attempt(GOOD) is None


def test_a_fork_starts_a_child_of_its_own():
    assert attempt(GOOD) is None
    first = unpacking._current.process.pid
    pid = os.fork()
    if pid == 0:
        ok = attempt(GOOD) is None and unpacking._current.process.pid != first
        unpacking._end()
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert attempt(GOOD) is None
    assert unpacking._current.process.pid == first
