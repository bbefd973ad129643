"""Follow the blocks of a BGZF file (BAM, bgzipped VCF) without decompressing them."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

__all__ = ["broken_block", "last_text"]

_HEADER = 18
_LONGEST = 1 << 16
_MAGIC = b"\x1f\x8b\x08\x04"
_EXTRA = b"\x06\x00BC\x02\x00"


def broken_block(path: Path | str) -> int | None:
    """Find the first place where a block does not follow on the one before.

    Each block names its own length (SAM specification 1.6, section 4.1), so that 18 bytes of each
    are read. A file with a hole, as an interrupted copy that was resumed leaves, ends in the right
    block and breaks the chain. Bytes changed inside a block are not seen; the tools that read it
    compare its checksum and stop.

    Returns
    -------
    int or None
        Offset of the first byte that begins no whole block; None where the chain holds.
    """
    with Path(path).open("rb", buffering=0) as stream:
        descriptor, size, place = stream.fileno(), os.fstat(stream.fileno()).st_size, 0
        while place < size:
            head = os.pread(descriptor, _HEADER, place)
            if len(head) < _HEADER or head[:4] != _MAGIC or head[10:16] != _EXTRA:
                return place
            end = place + int.from_bytes(head[16:18], "little") + 1
            if end > size:
                return place
            place = end
    return None


def last_text(path: Path | str) -> bytes:
    """Decompress the last block of a BGZF file that holds anything.

    Raises
    ------
    ValueError
        No whole block stands at the end of the file.
    """
    with Path(path).open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - 2 * _LONGEST))
        tail = stream.read()
    while tail:
        start = tail.rfind(_MAGIC)
        while start >= 0 and not _is_block(tail, start):
            start = tail.rfind(_MAGIC, 0, start)
        if start < 0:
            raise ValueError("no whole BGZF block at the end")
        text = zlib.decompress(tail[start + _HEADER : -8], wbits=-15)
        if text:
            return text
        tail = tail[:start]
    return b""


def _is_block(data: bytes, start: int) -> bool:
    """Whether a block begins at `start` and ends where the data end."""
    head = data[start : start + _HEADER]
    return head[10:16] == _EXTRA and start + int.from_bytes(head[16:18], "little") + 1 == len(data)
