"""Take over alignments that a site already has, so that their read groups name the sheet's sample.

A read group's SM is what callers name a sample by (SAM 1.6, section 1.3, @RG). Hospitals' files
carry all kinds of names there, so it is corrected once, here, and whatever reads the alignment
later can rely on it. The other fields of a read group stay as they are; its library (LB), by which
duplicates are told, is added where it is absent.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pysam
from pysam.utils import SamtoolsError

from ihdsi.errors import InputError, Problem
from ihdsi.files import atomic_output, write_text

__all__ = ["Adoption", "adopt_alignment", "corrected_read_groups", "write_read_groups"]

#: What was done with a given file.
Adoption = Literal["linked", "decoded", "header corrected", "read group added"]

ReadGroup = dict[str, str]


def corrected_read_groups(groups: Sequence[Mapping[str, Any]], sample: str) -> list[ReadGroup]:
    """Read groups that name `sample` and a library; one for the whole file if there was none.

    Parameters
    ----------
    groups
        @RG lines of a file as pysam gives them: tag to value.
    sample
        The sheet's name of the sample. It is also the library of a group that names none.

    Returns
    -------
    list of dict
        In the order of `groups`, ID and all other tags kept, SM replaced, LB completed.
    """
    if not groups:
        return [{"ID": sample, "SM": sample, "LB": sample, "PL": "ILLUMINA"}]
    return [
        {**{tag: str(value) for tag, value in group.items()}, "SM": sample}
        | {"LB": str(group.get("LB") or sample)}
        for group in groups
    ]


def adopt_alignment(
    given: Path | str,
    genome: Path | str,
    sample: str,
    output: Path | str,
    index: Path | str,
    threads: int = 1,
) -> Adoption:
    """Make a site's BAM or CRAM the sample's alignment: an indexed BAM whose SM is `sample`.

    A BAM whose read groups already say so is linked and costs nothing. In another BAM the header is
    replaced, with the compressed reads copied as they are; without read groups, each read is given
    one. A CRAM is decoded against `genome` only: the reference is never looked for elsewhere.

    Parameters
    ----------
    given
        Coordinate-sorted BAM or CRAM.
    genome
        The study's indexed FASTA.
    sample
        The sheet's name of the sample.
    output, index
        The BAM and its BAI, each written whole or not at all.
    threads
        Threads of compression.

    Raises
    ------
    InputError
        If the file is truncated, not a BAM or CRAM, not sorted, or a CRAM of another reference.
    """
    try:
        return _adopt(Path(given), Path(genome), sample, Path(output), Path(index), threads)
    except (OSError, ValueError, SamtoolsError) as error:
        raise InputError(
            Problem(
                f"the alignment of {sample} cannot be used ({str(error).strip()})",
                "Give a whole BAM or CRAM, sorted by coordinate, made on the study's genome.",
                given,
            )
        ) from error


def _adopt(
    given: Path, genome: Path, sample: str, output: Path, index: Path, threads: int
) -> Adoption:
    pysam.quickcheck("-v", str(given))
    # Without this, htslib asks a server on the internet for the sequences of a CRAM.
    os.environ["REF_PATH"] = ":"
    with pysam.AlignmentFile(str(given), reference_filename=str(genome)) as source:
        groups, text = source.header.to_dict().get("RG", []), str(source.header)
        is_cram = source.is_cram
    corrected = corrected_read_groups(groups, sample)
    # A missing library changes no caller's mind, so it alone is no reason to copy a file.
    named = bool(groups) and all(group.get("SM") == sample for group in groups)
    # The lines that samtools adds about itself (@PG) would name files that are gone.
    to_bam = ["--no-PG", "-O", "BAM", "--reference", str(genome), "-@", str(threads - 1)]
    done: Adoption
    with atomic_output(output) as bam, atomic_output(index) as bai:
        if not groups:
            add = ["-r", _header_line(corrected[0]), "-m", "overwrite_all"]
            pysam.addreplacerg(*add, *to_bam, "-o", str(bam), str(given))
            done = "read group added"
        elif not named:
            _replace_header(given, _with_read_groups(text, corrected), bam, is_cram, to_bam)
            done = "header corrected"
        elif is_cram:
            pysam.view(*to_bam, "-o", str(bam), str(given), catch_stdout=False)
            done = "decoded"
        else:
            bam.unlink()
            bam.symlink_to(given.resolve())
            done = "linked"
        pysam.index("-@", str(threads), "-o", str(bai), str(bam))
    return done


def _header_line(group: ReadGroup) -> str:
    return "\t".join(["@RG", *(f"{tag}:{value}" for tag, value in group.items())])


def _with_read_groups(header: str, groups: Sequence[ReadGroup]) -> str:
    """Replace the @RG lines of a header, which stand in the order of `groups`."""
    lines = iter([_header_line(group) for group in groups])
    return "".join(
        f"{next(lines) if line.startswith('@RG') else line}\n" for line in header.splitlines()
    )


def _replace_header(
    given: Path, header: str, bam: Path, is_cram: bool, to_bam: Sequence[str]
) -> None:
    """Write `given` with another header; a CRAM is copied with it, and decoded once."""
    with tempfile.TemporaryDirectory(dir=bam.parent, prefix=".partial-") as folder:
        text, copy = Path(folder, "header.sam"), Path(folder, "copy.cram")
        text.write_text(header, encoding="utf-8")
        # The compressed reads are copied as they are (pysam's reheader cannot write to a file).
        pysam.cat("--no-PG", "-h", str(text), "-o", str(copy if is_cram else bam), str(given))
        if is_cram:
            pysam.view(*to_bam, "-o", str(bam), str(copy), catch_stdout=False)


def write_read_groups(
    given: Path | str, sample: str, read_groups: Path | str, libraries: Path | str
) -> None:
    """Write what the realignment of a given file needs to know of its read groups.

    Parameters
    ----------
    given
        BAM or CRAM; only its header is read.
    sample
        The sheet's name of the sample.
    read_groups
        Header lines of the new alignment: the corrected @RG lines.
    libraries
        TSV without header, the tag of a read group (``RG:Z:ID``) and its library. The first line is
        the group of reads that name none or an unknown one: the file's only group, or else one
        of its own.

    Raises
    ------
    InputError
        If the header cannot be read.
    """
    try:
        with pysam.AlignmentFile(str(given), check_sq=False) as source:
            groups = source.header.to_dict().get("RG", [])
    except (OSError, ValueError) as error:
        raise InputError(
            Problem(
                f"the alignment of {sample} cannot be read ({error})",
                "Give a whole BAM or CRAM.",
                given,
            )
        ) from error
    corrected = corrected_read_groups(groups, sample)
    if len(corrected) > 1:
        taken = {group["ID"] for group in corrected}
        other = corrected_read_groups([], sample)[0]
        while other["ID"] in taken:
            other["ID"] += ".other"
        corrected.insert(0, other)
    write_text("".join(f"{_header_line(group)}\n" for group in corrected), read_groups)
    rows = [f"RG:Z:{group['ID']}\t{group['LB']}\n" for group in corrected]
    write_text("".join(rows), libraries)
