"""The chain of BGZF blocks breaks where bytes are missing."""

import pysam
import pytest

from given_files import BGZF_END, cut, write_bam
from ihdsi.bgzf import broken_block, last_text


def test_a_whole_file(folder):
    write_bam("a.bam")
    assert broken_block("a.bam") is None
    (folder / "end").write_bytes(BGZF_END)
    assert broken_block("end") is None


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("end", [b"", BGZF_END])
def test_missing_bytes(folder, share, end):
    write_bam("a.bam", n=2000)
    whole = (folder / "a.bam").read_bytes()
    cut("a.bam", share, end)
    place = broken_block("a.bam")
    assert place is not None
    # Everything before the place is the whole file's; the place begins a block of it.
    assert place <= int(len(whole) * share)
    assert whole[place : place + 4] == b"\x1f\x8b\x08\x04"


def test_a_hole_of_zeros(folder):
    write_bam("a.bam", n=2000)
    data = bytearray((folder / "a.bam").read_bytes())
    data[len(data) // 3 : 2 * len(data) // 3] = bytes(2 * len(data) // 3 - len(data) // 3)
    (folder / "a.bam").write_bytes(data)
    assert len(data) // 3 <= broken_block("a.bam") < 2 * len(data) // 3


def test_plain_gzip_is_no_bgzf(folder):
    (folder / "a.gz").write_bytes(b"\x1f\x8b\x08\x00" + bytes(30))
    assert broken_block("a.gz") == 0


def test_the_last_text(folder):
    text = b"".join(b"%d\n" % number for number in range(50_000))
    with pysam.BGZFile("a.gz", "wb") as target:
        target.write(text)
    assert len(last_text("a.gz")) > 1000
    assert text.endswith(last_text("a.gz"))
    (folder / "end").write_bytes(BGZF_END)
    assert last_text("end") == b""
    cut("a.gz", 0.7)
    with pytest.raises(ValueError, match="no whole BGZF block"):
        last_text("a.gz")
