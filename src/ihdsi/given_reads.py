"""Judge given FASTQ files: by their first bytes before any job, and read through in a job."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from ihdsi.errors import FaultyFileError, InputError, Problem

__all__ = [
    "ReadFile",
    "check_reads",
    "first_read_name",
    "mates_differ",
    "no_mates",
    "read_through",
]

_GZIP = b"\x1f\x8b"
_KINDS = (
    (b"PK\x03\x04", "a zip archive"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"CRAM", "a CRAM file"),
    (b"BAM\x01", "a BAM file"),
    (b">", "FASTA, without qualities"),
)
_FIRST_BYTES = 4096
_CHUNK = 1 << 20
_COPY_AGAIN = "Copy the file again and compare its checksum with the original's."


@dataclass(frozen=True)
class ReadFile:
    """What reading a FASTQ file through gave: the number of reads and the last one's name."""

    path: str
    n_reads: int
    last_name: str


def first_read_name(path: Path | str) -> str:
    """Look at the first bytes of a FASTQ file and return its first read's name.

    Raises
    ------
    FaultyFileError
        The file is empty, of another kind, compressed
        otherwise than its name says, or damaged at its start.
    """
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(_FIRST_BYTES)
    except OSError as error:
        raise FaultyFileError(
            f"the file {path} cannot be read ({error.strerror})", "Make it readable."
        ) from None
    if not raw:
        raise FaultyFileError(f"the file {path} is empty", "Copy it again, or remove the row.")
    gzipped = raw.startswith(_GZIP)
    if gzipped:
        try:
            text = zlib.decompressobj(wbits=31).decompress(raw)
        except zlib.error:
            raise FaultyFileError(f"the file {path} is damaged at its start", _COPY_AGAIN) from None
    else:
        text = raw
    kind = next((kind for magic, kind in _KINDS if text.startswith(magic)), None)
    if kind is not None:
        raise FaultyFileError(
            f"the file {path} is not FASTQ: it is {kind}", "Give FASTQ, plain or gzip."
        )
    # fastp goes by the name alone: it takes gzip without .gz for no reads at all, and says nothing.
    if gzipped != str(path).endswith(".gz"):
        raise FaultyFileError(
            f"the file {path} is {'gzip' if gzipped else 'plain text'}, which its name does "
            f"{'not say' if gzipped else 'deny'}",
            "Name gzipped files .gz and plain ones otherwise (a link will do).",
        )
    lines = text.split(b"\n")
    if not text.startswith(b"@"):
        what = "holds no read" if not text.strip() else "is not FASTQ: a read begins with '@'"
        raise FaultyFileError(f"the file {path} {what}", "Give FASTQ, plain or gzip.")
    if len(lines) > 4 and (
        not lines[2].startswith(b"+") or len(lines[1].rstrip()) != len(lines[3].rstrip())
    ):
        raise FaultyFileError(
            f"the file {path} is not FASTQ: its first read has not four lines with as many "
            "qualities as bases",
            "Give FASTQ with four lines a read.",
        )
    return _name(lines[0])


def _name(line: bytes) -> str:
    return line[1:].split(None, 1)[0].decode("utf-8", "replace") if line[1:].strip() else ""


def mates_differ(first: str, second: str, *, strict: bool) -> bool:
    """Whether two read names cannot be those of mates.

    Aligners take ``/1`` and ``/2`` off and refuse pairs whose names differ otherwise (`strict`).
    Quantification does not look at names, so the forms of the archives (``.1``, ``_1``) pass too.
    """
    ending = r"/[12]$" if strict else r"[/._][12]$"
    return re.sub(ending, "", first) != re.sub(ending, "", second)


def read_through(path: Path | str) -> ReadFile:
    """Decompress a FASTQ file to its end and count its reads.

    gzip's checksum and length at the end of each member are compared (RFC 1952, section 2.3.1), so
    that a file that broke off or was damaged anywhere is found; so is a last read of fewer than
    four lines. Memory is a megabyte.

    Raises
    ------
    FaultyFileError
        The file is truncated, damaged or without reads.
    """
    n_lines = 0
    tail = b""
    try:
        with _opened(path) as stream:
            while chunk := stream.read(_CHUNK):
                n_lines += chunk.count(b"\n")
                # Four lines of the longest reads that fastp takes fit into a chunk.
                tail = chunk if len(chunk) == _CHUNK else (tail + chunk)[-_CHUNK:]
    except EOFError:
        raise FaultyFileError(
            f"the file {path} is truncated: the gzip stream ends early",
            _COPY_AGAIN,
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FaultyFileError(
            f"the file {path} is damaged ({error})",
            _COPY_AGAIN,
        ) from None
    if tail and not tail.endswith(b"\n"):
        n_lines += 1
    last = tail.rstrip(b"\n").split(b"\n")[-4:]
    complete = (
        n_lines % 4 == 0
        and len(last) == 4
        and last[0].startswith(b"@")
        and last[2].startswith(b"+")
        and len(last[1].rstrip()) == len(last[3].rstrip())
    )
    if not complete:
        raise FaultyFileError(
            f"the file {path} is truncated: its last read is not complete (after {n_lines:,} lines)"
            if n_lines
            else f"the file {path} holds no read",
            _COPY_AGAIN,
        )
    return ReadFile(str(path), n_lines // 4, _name(last[0]))


def _opened(path: Path | str) -> IO[bytes]:
    return cast(
        "IO[bytes]",
        gzip.open(path, "rb") if str(path).endswith(".gz") else Path(path).open("rb"),
    )


def check_reads(
    paths: Sequence[str],
    *,
    strict: bool = True,
    sheet: Path | str | None = None,
    row: int | None = None,
) -> dict[str, int]:
    """Read one lane's FASTQ files through, side by side.

    fastp 0.23.2 ends silently (exit code 0) at the end of a truncated file, and at the end of the
    shorter of two mates; a third of the reads would be missing and nobody told.

    Parameters
    ----------
    paths
        The first reads, and their mates where there are any.
    strict
        Whether an aligner will compare the names of mates (see `mates_differ`).
    sheet, row
        Where the sample sheet names the files.

    Returns
    -------
    dict
        Number of reads by path.

    Raises
    ------
    InputError
        A file is truncated, damaged or empty, or the mates do not belong together.
    """
    problems = []
    found: list[ReadFile] = []
    with ThreadPoolExecutor(len(paths)) as pool:
        for number, future in enumerate([pool.submit(read_through, p) for p in paths], 1):
            try:
                found.append(future.result())
            except FaultyFileError as error:
                problems.append(error.at(sheet, row, f"fastq_{number}"))
    if problems:
        raise InputError(problems)
    if len(found) == 2:
        one, two = found
        if one.n_reads != two.n_reads:
            raise InputError(
                Problem(
                    f"{one.path} holds {one.n_reads:,} reads and {two.path} {two.n_reads:,}; "
                    "mates come in equal numbers",
                    "One file is cut or belongs to another run: copy both again, "
                    "and filter reads in pairs only.",
                    sheet,
                    row,
                    "fastq_2",
                )
            )
        if mates_differ(one.last_name, two.last_name, strict=strict):
            files, names = (one.path, two.path), (one.last_name, two.last_name)
            raise InputError(no_mates(files, names, "last", sheet, row))
    return {file.path: file.n_reads for file in found}


def no_mates(
    files: tuple[str, str],
    names: tuple[str, str],
    which: str,
    sheet: Path | str | None,
    row: int | None,
) -> Problem:
    """Say that the first or last (`which`) reads of two files are no mates."""
    return Problem(
        f"the {which} read of {files[0]} is '{names[0]}' and that of {files[1]} is '{names[1]}': "
        "they are no mates",
        "Give the two files of one run, with the reads in the same order.",
        sheet,
        row,
        "fastq_2",
    )
