"""Find out in a process of bounded memory whether foreign tables can be unpacked.

A few hundred bytes of Parquet can announce, or hold, many gigabytes: by run lengths, dictionaries
and compression, and the parser finds out while it allocates. What a footer says of it is the
attacker's word. Therefore the tables are unpacked first by a child process under ``RLIMIT_AS``
(setrlimit(2)); only if it survives, and what came out is not too large, does the parent unpack too.

The child is started at the first use, serves until the parent ends, and is replaced if it dies.
"""

from __future__ import annotations

import atexit
import errno
import io
import json
import os
import resource
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "MAXIMUM_MEMORY",
    "MAXIMUM_SECONDS",
    "MAXIMUM_UNPACKED_BYTES",
    "Failure",
    "try_unpacking",
]

#: What all tables of a bundle may take together when they are unpacked. A study of 60,000 genes
#: with 20 contrasts has some 200 MiB.
MAXIMUM_UNPACKED_BYTES = 2**30
#: What the child may allocate for it, beside its own code.
MAXIMUM_MEMORY = 2**32
#: A gibibyte takes some seconds; repeated text can be made to take for ever.
MAXIMUM_SECONDS = 120.0
#: A busy machine may take long to start Python; no foreign byte is read in that time.
_STARTING_SECONDS = 300.0
#: Of a table: thrift structures grow when they are parsed, and no parser bounds them tightly.
MAXIMUM_FOOTER_BYTES = 2**20

Stage = Literal["footer", "columns", "size"]


@dataclass(frozen=True)
class Failure:
    """Which table could not be unpacked, and what was tried: footer, columns, or their size."""

    table: str
    stage: Stage


def try_unpacking(
    tables: Mapping[str, bytes],
    *,
    memory: int,
    unpacked: int,
    seconds: float,
) -> Failure | None:
    """Unpack Parquet files in the child process.

    Parameters
    ----------
    tables
        Content of each file by the table's name.
    memory
        Bytes that the child may allocate.
    unpacked
        Bytes that all tables may have together in memory, each row's text counted in full.
    seconds
        Time after which the child is ended.

    Returns
    -------
    Failure or None
        None if every file can be unpacked by the parent with the same calls.

    Raises
    ------
    OSError
        If no process can be started.
    """
    for name, data in tables.items():
        if not _has_small_footer(data):
            return Failure(name, "footer")
    with _lock:
        return _child(memory).ask(tables, unpacked, seconds)


def _has_small_footer(data: bytes) -> bool:
    # The format's frame: PAR1 … footer, its length in 4 bytes, PAR1.
    if len(data) < 12 or data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        return False
    return int.from_bytes(data[-8:-4], "little") <= min(MAXIMUM_FOOTER_BYTES, len(data) - 12)


class _Child:
    def __init__(self, memory: int) -> None:
        self.owner, self.memory = os.getpid(), memory
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ihdsi.bundle.unpacking", str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"POLARS_MAX_THREADS": "1"},
        )
        self.sink = cast("IO[bytes]", self.process.stdin)
        self.source = cast("IO[bytes]", self.process.stdout)
        if next(_lines(self.source, _STARTING_SECONDS), None) != "ready":
            self.end()
            raise OSError(errno.ECHILD, "the process that unpacks tables did not start")

    def is_usable(self, memory: int) -> bool:
        return self.owner == os.getpid() and self.memory == memory and self.process.poll() is None

    def ask(self, tables: Mapping[str, bytes], unpacked: int, seconds: float) -> Failure | None:
        request = {"sizes": {name: len(data) for name, data in tables.items()}, "bound": unpacked}
        reached = Failure(next(iter(tables), ""), "footer")
        try:
            self.sink.write(json.dumps(request).encode() + b"\n")
            for data in tables.values():
                self.sink.write(data)
            self.sink.flush()
            for answer in _lines(self.source, seconds):
                stage, _, table = answer.partition(" ")
                if stage == "done":
                    return None
                if stage == "refused":
                    return reached
                reached = Failure(table, cast("Stage", stage))
        except BrokenPipeError:
            pass
        self.end()
        return reached

    def end(self) -> None:
        """End the process, unless this is a fork of the one that started it."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        for stream in (self.sink, self.source):
            with suppress(OSError):
                stream.close()


def _lines(source: IO[bytes], seconds: float) -> Iterator[str]:
    """Yield lines of a pipe until it is closed or the time is over."""
    end = time.monotonic() + seconds
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while selector.select(max(0.0, end - time.monotonic())):
            chunk = os.read(source.fileno(), 2**12)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode()


_lock = threading.Lock()
_current: _Child | None = None


def _child(memory: int) -> _Child:
    global _current
    if _current is None or not _current.is_usable(memory):
        _end()
        _current = _Child(memory)
    return _current


@atexit.register
def _end() -> None:
    global _current
    if _current is not None:
        _current.end()
        _current = None


def _serve(memory: int) -> None:
    """Answer requests on the standard input until it is closed."""
    import polars as pl

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout

    def say(*words: str) -> None:
        print(*words, file=sink, flush=True)

    say("ready")
    while head := source.readline():
        request = json.loads(head)
        contents = {name: source.read(size) for name, size in request["sizes"].items()}
        try:
            for name, data in contents.items():
                say("footer", name)
                pl.read_parquet_metadata(io.BytesIO(data))
                pl.read_parquet_schema(io.BytesIO(data))
                pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect()
            left = request["bound"]
            for name, data in contents.items():
                say("columns", name)
                frame = pl.read_parquet(io.BytesIO(data), use_statistics=False)
                say("size", name)
                left -= _size(frame)
                if left < 0:
                    raise MemoryError
                del frame
        except (Exception, pl.exceptions.PanicException):
            say("refused")
        else:
            say("done")
        del contents


def _size(frame: pl.DataFrame) -> int:
    import polars as pl

    size = int(frame.estimated_size())
    # Rows of one dictionary share its text in memory; who goes through them does not.
    for column in frame.iter_columns():
        text = column.explode() if column.dtype == pl.List(pl.String) else column
        if text.dtype == pl.String:
            # polars leaves out the 16 bytes with which it refers to each text.
            size += int(text.str.len_bytes().sum()) + 16 * text.len()
    return size


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
