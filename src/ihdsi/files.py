"""Write files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

__all__ = [
    "PARTIAL",
    "atomic_output",
    "sha256_of",
    "sync_to_disk",
    "write_parquet",
    "write_text",
    "write_tsv",
]


#: Beginning of the names of files that are not finished; one that is left was killed.
PARTIAL = ".partial-"


@contextmanager
def atomic_output(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` when the block succeeds.

    The temporary name keeps the suffixes of the target, because several tools choose their
    format by suffix. On an exception the temporary file is removed and `path` stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=target.parent, prefix=PARTIAL, suffix="".join(target.suffixes) or ".tmp"
    )
    os.close(handle)
    temporary = Path(name)
    # mkstemp makes private files; results follow the user's umask like any other output.
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_parquet(frame: pl.DataFrame, path: Path | str) -> None:
    """Write a patient-level table as zstd Parquet, atomically."""
    with atomic_output(path) as temporary:
        frame.write_parquet(temporary, compression="zstd")


def write_tsv(frame: pl.DataFrame, path: Path | str) -> None:
    """Write a table as tab-separated UTF-8 text, atomically."""
    with atomic_output(path) as temporary:
        frame.write_csv(temporary, separator="\t")


def write_text(text: str, path: Path | str) -> None:
    """Write UTF-8 text, atomically."""
    with atomic_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync_to_disk(path: Path | str) -> None:
    """Have a file's content, or the names in a folder, on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path | str) -> str:
    """Return the hexadecimal SHA-256 of a file, read in a stream."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
