"""Judge given BAM and CRAM files by their headers and ends, before reads are taken from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pysam

from ihdsi.bgzf import broken_block
from ihdsi.errors import FaultyFileError, InputError, Problem
from ihdsi.genome_builds import (
    Contigs,
    build_of_lengths,
    differences,
    other_names,
    read_index,
    target_contigs,
)

__all__ = [
    "AlignmentHeader",
    "alignment_faults",
    "check_alignment",
    "clashing_read_groups",
    "mixed_alignments",
    "read_alignment_header",
]

# CRAM specification 3.1, section 9: the end-of-file container of versions 3.x and of 2.1.
_CRAM_ENDS = (
    bytes.fromhex("0f000000ffffffff0fe0454f4600000000010005bdd94f0001000606010001000100ee63014b"),
    bytes.fromhex("0b000000ffffffff0fe0454f460000000001000001000606010001000100"),
)
_SHOWN = 3


@dataclass(frozen=True)
class AlignmentHeader:
    """What the header of an alignment says."""

    path: str
    kind: str
    contigs: Contigs
    read_groups: tuple[Mapping[str, str], ...]
    sort_order: str | None

    @property
    def samples(self) -> tuple[str, ...]:
        """Sample names (SM) of the read groups, each once."""
        return tuple(dict.fromkeys(g["SM"] for g in self.read_groups if "SM" in g))


def read_alignment_header(path: Path | str) -> AlignmentHeader:
    """Read the header of a BAM or CRAM file, and see that the file has its end.

    Only the first blocks and the last one are read. BAM ends in an empty BGZF block, CRAM in an
    end-of-file container; a copy that broke off lacks them (what ``samtools quickcheck`` tests).

    Raises
    ------
    FaultyFileError
        The file is truncated or of another kind.
    """
    verbosity = pysam.set_verbosity(0)
    try:
        with pysam.AlignmentFile(str(path), check_sq=False) as source:
            kind = source.format
            lengths = dict(zip(source.references, source.lengths, strict=True))
            text = str(source.header)
    except OSError as error:
        if "EOF marker" in str(error):
            raise _truncated(path, "the BAM end-of-file block is missing") from None
        raise _other_kind(path) from None
    except (ValueError, IndexError):
        # What pysam raises for a file of another kind differs with the kind.
        raise _other_kind(path) from None
    finally:
        pysam.set_verbosity(verbosity)
    if kind not in ("BAM", "CRAM"):
        raise _other_kind(path)
    if kind == "CRAM" and not _has_cram_end(Path(path)):
        raise _truncated(path, "the CRAM end-of-file container is missing")
    sequences = _lines_of(text, "@SQ") if "\tM5:" in text else []
    first = _lines_of(text, "@HD")
    return AlignmentHeader(
        path=str(path),
        kind=kind,
        contigs=Contigs(
            lengths,
            {line["SN"]: line["M5"].lower() for line in sequences if "M5" in line},
            str(path),
        ),
        read_groups=tuple(_lines_of(text, "@RG")),
        sort_order=first[0].get("SO") if first else None,
    )


def _lines_of(text: str, kind: str) -> list[dict[str, str]]:
    """Tags of the header lines of a kind; thousands of contigs are not taken apart in vain."""
    return [
        dict(part.split(":", 1) for part in line.split("\t")[1:] if ":" in part)
        for line in text.splitlines()
        if line.startswith(f"{kind}\t")
    ]


def _truncated(path: Path | str, why: str) -> FaultyFileError:
    return FaultyFileError(
        f"the file {path} is truncated: {why}",
        "Copy the file again and compare its checksum with the original's.",
    )


def _other_kind(path: Path | str) -> FaultyFileError:
    return FaultyFileError(
        f"the file {path} is no BAM or CRAM file, or breaks off in its header",
        "Give a whole BAM or CRAM file.",
    )


def _has_cram_end(path: Path) -> bool:
    longest = max(map(len, _CRAM_ENDS))
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - longest))
        tail = stream.read(longest)
    for end in _CRAM_ENDS:
        last = bytearray(tail[-len(end) :])
        if len(last) == len(end):
            # The upper half of this byte is free (ITF-8 of -1); htslib masks it as well.
            last[8] &= 0x0F
            if last == end:
                return True
    return False


def alignment_faults(
    header: AlignmentHeader,
    genome: Contigs | None,
    called: Collection[str] | None = None,
    *,
    realigned: bool = False,
) -> list[tuple[str, str]]:
    """Find what keeps an alignment from being used.

    Parameters
    ----------
    header
        What `read_alignment_header` gave.
    genome
        Contigs of the study's genome; None where they are not known yet.
    called
        Names of the contigs with targets; None where the whole genome is called.
    realigned
        The reads will be aligned anew, so that the file's own alignment does not matter.

    Returns
    -------
    list of (what, remedy)
        Empty where the file can be used.
    """
    path = header.path
    faults = []
    if len(header.samples) > 1:
        faults.append(
            (
                f"the read groups of {path} name {len(header.samples)} samples "
                f"({', '.join(header.samples[:8])}), a row is one",
                f"Split the file by sample (samtools split {path}) and give each sample its row, "
                "or correct SM in the header (samtools reheader).",
            )
        )
    if realigned:
        return faults
    if not header.contigs.lengths:
        faults.append(
            (
                f"{path} holds reads that are not aligned (its header has no @SQ line)",
                "Let the workflow align them, or give FASTQ.",
            )
        )
        return faults
    if header.sort_order in ("queryname", "unsorted"):
        faults.append(
            (
                f"{path} is not sorted by coordinate (its header says SO:{header.sort_order})",
                f"Sort it: samtools sort -o sorted.bam {path}",
            )
        )
    if genome is not None and (fault := _genome_fault(header, genome, called)):
        faults.append(fault)
    return faults


def _genome_fault(
    header: AlignmentHeader, genome: Contigs, called: Collection[str] | None
) -> tuple[str, str] | None:
    absent, different = differences(header.contigs, genome, called)
    if not absent and not different:
        return None
    path = header.path
    renamed = other_names(header.contigs.lengths, genome)
    if not different and set(absent) <= set(renamed.values()):
        old, new = next((o, n) for o, n in renamed.items() if n in absent)
        return (
            f"{path} names chromosomes otherwise than the study's genome ('{old}' for '{new}', "
            f"of the same length; the genome's names are from {genome.source})",
            "Rename them in the header (samtools reheader --command with sed on the SN: fields).",
        )
    reasons = different[:_SHOWN] or [f"it has no contig {name}" for name in absent[:_SHOWN]]
    more = len(different or absent) - len(reasons)
    build = build_of_lengths(header.contigs.lengths)
    hint = f"; its chromosome 1 is that of {build}" if build else ""
    return (
        f"{path} is aligned to another genome than the study's: {', '.join(reasons)}"
        f"{f' and {more} more' if more > 0 else ''} (by {genome.source}){hint}",
        "Align its reads to the study's genome: give its FASTQ, or have it realigned.",
    )


def mixed_alignments(
    headers: Sequence[tuple[AlignmentHeader, bool]],
    genome: Contigs | None,
    called: Collection[str] | None = None,
    *,
    aligned_here: bool = False,
) -> list[tuple[int, str, str]]:
    """Find alignments that cannot be read together.

    bcftools mpileup 1.16 reads several alignments by the number of a contig and takes its name
    from the first file alone: a file that numbers the contigs otherwise is read at the wrong
    chromosome, without a warning. Two of three contigs swapped in one of two files gave thousands
    of false calls. Extra contigs behind the common ones do no harm.

    A read group that two files have with the same ID, sample, library and platform unit is one
    sequencing run of one library: the two files are one sample, given twice. The same SM
    alone says nothing, because it is rewritten when the file is adopted; the same ID alone matters
    where one caller reads both (see `clashing_read_groups`).

    Parameters
    ----------
    headers
        Headers of all given alignments of a site, each with whether it is realigned.
    genome, called
        As for `alignment_faults`. The numbers are compared where the genome's contigs are known,
        because a decoy may stand anywhere behind them.
    aligned_here
        Whether other samples of the site are aligned by the workflow, to the genome's order.

    Returns
    -------
    list of (index of the header, what, remedy)
    """
    faults = []
    first = genome if aligned_here else None
    seen: dict[tuple[str, ...], str] = {}
    for index, (header, realigned) in enumerate(headers):
        if genome is not None and not realigned:
            first = first or header.contigs
            if (fault := _order_fault(header, first, genome, called)) is not None:
                faults.append((index, *fault))
        for group in header.read_groups:
            key = tuple(group.get(tag, "") for tag in ("ID", "SM", "LB", "PU"))
            if not all(key):
                continue
            other = seen.setdefault(key, header.path)
            if other != header.path:
                faults.append(
                    (
                        index,
                        f"{header.path} and {other} have the same read group (ID {key[0]}, SM "
                        f"{key[1]}, LB {key[2]}, PU {key[3]}): one sequencing run of one library "
                        "cannot be two samples",
                        "Give each sample its own file; if the reads do differ, correct the @RG "
                        "line of one (samtools addreplacerg).",
                    )
                )
                break
    return faults


def clashing_read_groups(
    headers: Sequence[AlignmentHeader], samples: Sequence[str]
) -> list[tuple[int, str, str]]:
    """Find read-group IDs that several files have which one caller reads as one stream.

    freebayes tells samples by the read group's ID alone and refuses an ID that belongs to two
    samples, after hours of alignment. Adoption and realignment correct the sample's name (SM) in a
    read group and keep its ID, by which the reads point at it. (bcftools tells read groups by file
    and ID, so that normals that only it reads together may share IDs.)

    Parameters
    ----------
    headers, samples
        The files that are read together, and the sheet's names of their samples.

    Returns
    -------
    list of (index of the header, what, remedy)
        One a file that has an ID of an earlier one.
    """
    owner: dict[str, int] = {}
    faults = []
    for index, header in enumerate(headers):
        ids = {group["ID"] for group in header.read_groups if "ID" in group}
        shared = sorted(name for name in ids if name in owner)
        if shared:
            name, other = samples[index], owner[shared[0]]
            faults.append(
                (
                    index,
                    f"{header.path} and {headers[other].path} ({samples[other]}) both have a read "
                    f"group with the ID '{shared[0]}', so that a caller which reads both cannot "
                    "tell the samples apart",
                    f"Give the reads of one another ID: samtools addreplacerg -m overwrite_all "
                    f"-r '@RG\\tID:{name}\\tSM:{name}' -o new.bam {header.path}",
                )
            )
        for name in ids:
            owner.setdefault(name, index)
    return faults


def _order_fault(
    header: AlignmentHeader, first: Contigs, genome: Contigs, called: Collection[str] | None
) -> tuple[str, str] | None:
    number = {name: position for position, name in enumerate(first.lengths, 1)}
    for position, name in enumerate(header.contigs.lengths, 1):
        relevant = name in genome.lengths and (called is None or name in called)
        if relevant and number.get(name, position) != position:
            return (
                f"{header.path} numbers the contigs otherwise than {first.source} ({name} is "
                f"number {position} and {number[name]}), so the site's alignments cannot be read "
                "together",
                "Bring all alignments of the site into the genome's order of contigs (picard "
                "ReorderSam), or have them realigned.",
            )
    return None


def check_alignment(
    path: Path | str,
    index: Path | str,
    *,
    targets: Path | str | None = None,
    first: Path | str | None = None,
    aligned_here: bool = False,
    realigned: bool = False,
    sheet: Path | str | None = None,
    row: int | None = None,
) -> AlignmentHeader:
    """Check a given alignment in a job, where the index of the study's genome is there.

    Parameters
    ----------
    path
        BAM or CRAM.
    index
        The genome's ``.fai``.
    targets
        BED of the sequenced regions; without it every contig of the genome is called.
    first
        The first given alignment of the site that is used as aligned, whose numbers of contigs the
        others must have.
    aligned_here
        Whether other samples of the site are aligned by the workflow.
    realigned
        The reads will be aligned anew.
    sheet, row
        Where the sample sheet names the file.

    Returns
    -------
    AlignmentHeader

    Raises
    ------
    InputError
        The file is truncated (also inside, with an end-of-file block behind), no alignment, of
        several samples, not sorted or of another genome.
    """
    try:
        header = read_alignment_header(path)
        if header.kind == "BAM" and (place := broken_block(path)) is not None:
            raise _truncated(path, f"no whole BGZF block follows at byte {place:,}")
    except FaultyFileError as error:
        raise InputError(error.at(sheet, row, "bam")) from None
    genome, called = read_index(index), target_contigs(targets)
    faults = alignment_faults(header, genome, called, realigned=realigned)
    if not faults and not realigned:
        reference = None if aligned_here or first is None else _contigs_of(first)
        fault = _order_fault(header, reference or genome, genome, called)
        # A single alignment, or all alike, may number its contigs as it likes.
        if fault is not None and (aligned_here or reference is not None):
            faults.append(fault)
    if faults:
        raise InputError([Problem(*fault, sheet, row, "bam") for fault in faults])
    return header


def _contigs_of(path: Path | str) -> Contigs | None:
    """Contigs of another alignment; None where it cannot be read, which its own check tells."""
    try:
        return read_alignment_header(path).contigs
    except FaultyFileError:
        return None
