"""Judge given VCF and BCF files: by their headers before any job, and record by record in a job."""

from __future__ import annotations

import gzip
import re
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import polars as pl
import pysam

from ihdsi.bgzf import last_text
from ihdsi.errors import FaultyFileError, InputError, Problem
from ihdsi.genome_builds import (
    Contigs,
    build_of_lengths,
    build_of_number,
    build_of_text,
    differences,
    other_names,
    read_index,
    target_contigs,
)

__all__ = [
    "CallSetHeader",
    "call_set_faults",
    "check_call_set",
    "check_call_sets",
    "check_maf",
    "check_mafs",
    "known_variants_problem",
    "read_call_set_header",
]

_SHOWN = 3
_BASES = frozenset("ACGT")
# VCF specification 4.3, sections 1.4.7 (contig) and 1.4.8 (assembly); reference is GATK's habit.
_CONTIG = re.compile(r"^##contig=<(.*)>$", re.MULTILINE)
_FIELD = re.compile(r'([A-Za-z0-9_]+)=(?:"([^"]*)"|([^,]*))')
_SAID = re.compile(r"^##(?:reference|assembly)=(.*)$", re.MULTILINE)
_COPY_AGAIN = "Copy the file again and compare its checksum with the original's."
_RENAME = (
    "Rename them with bcftools annotate --rename-chrs and a table of old and new names "
    "(one pair a line, as in '{old} {new}')."
)
_LIFT = "Call the variants on the study's genome, or lift the file over (Picard LiftoverVcf)."
_LIFT_MAF = (
    "Lift the file over to the study's genome (CrossMap maf), or give the study of its genome."
)
_MAF_PLACE = ("Chromosome", "Start_Position", "Reference_Allele", "Tumor_Seq_Allele2")
_MAF_COMPARED = 2000
# A file on another build has the genome's base by chance at a quarter of its positions and
# another at most of the rest; single mismatches are faults of single records.
_OTHER_BUILD_SHARE = 0.1


@dataclass(frozen=True)
class CallSetHeader:
    """What the header of a VCF or BCF says."""

    path: str
    samples: tuple[str, ...]
    contigs: Contigs
    build: str | None
    is_text: bool
    compression: str


def read_call_set_header(path: Path | str) -> CallSetHeader:
    """Read the header of a VCF or BCF, and see that a BGZF file has its end.

    Raises
    ------
    FaultyFileError
        The file is truncated, of another kind or compressed with gzip.
    """
    verbosity = pysam.set_verbosity(0)
    try:
        with pysam.VariantFile(str(path)) as source:
            text = str(source.header)
            samples = tuple(source.header.samples)
            is_text, compression = bool(source.is_vcf), str(source.compression)
    except NotImplementedError:
        raise FaultyFileError(
            f"the file {path} is compressed with gzip, which cannot be indexed",
            f"Compress it with bgzip: gzip -cd {path} | bgzip > new.vcf.gz",
        ) from None
    except (OSError, ValueError) as error:
        if "EOF marker" in str(error):
            raise FaultyFileError(
                f"the file {path} is truncated: the BGZF end-of-file block is missing", _COPY_AGAIN
            ) from None
        raise FaultyFileError(
            f"the file {path} is no VCF or BCF, or breaks off in its header",
            "Give a whole VCF or BCF.",
        ) from None
    finally:
        pysam.set_verbosity(verbosity)
    # As text, because a genome with decoys has thousands of contigs, and pysam an object for each.
    lengths = {}
    for line in _CONTIG.findall(text):
        fields = {key: plain or quoted for key, quoted, plain in _FIELD.findall(line)}
        lengths[fields["ID"]] = int(fields["length"]) if "length" in fields else None
    contigs = Contigs(lengths, source=str(path))
    said = " ".join(_SAID.findall(text))
    build = build_of_lengths(contigs.lengths) or build_of_text(said)
    return CallSetHeader(str(path), samples, contigs, build, is_text, compression)


def call_set_faults(
    header: CallSetHeader, genome: Contigs | None, called: Collection[str] | None = None
) -> list[tuple[str, str]]:
    """Compare the contigs of a call set's header with the study's genome.

    A header may name more contigs than the genome or, where variants are on some only, fewer; what
    may not be is a contig of another length, or none in common.

    Parameters
    ----------
    header
        What `read_call_set_header` gave.
    genome
        Contigs of the study's genome; None where they are not known yet.
    called
        Names of the contigs with targets; None where the whole genome is called.

    Returns
    -------
    list of (what, remedy)
        Empty where the file can be used, or where its header names no contigs.
    """
    lengths = header.contigs.lengths
    if genome is None or not lengths:
        return []
    _, different = differences(header.contigs, genome, called)
    if different:
        more = len(different) - _SHOWN
        return [
            (
                f"{header.path} is on another build than the study's genome: "
                f"{', '.join(different[:_SHOWN])}{f' and {more} more' if more > 0 else ''} "
                f"(by {genome.source}){_hint(header)}",
                _LIFT,
            )
        ]
    if any(name in genome.lengths for name in lengths):
        return []
    if renamed := other_names(lengths, genome):
        return [_names_fault(header.path, *next(iter(renamed.items())), genome)]
    shown = ", ".join(list(lengths)[:_SHOWN])
    return [
        (
            f"{header.path} has no contig in common with the study's genome (it has {shown}; "
            f"by {genome.source}){_hint(header)}",
            _LIFT,
        )
    ]


def _hint(header: CallSetHeader) -> str:
    return f"; its header speaks of {header.build}" if header.build else ""


def _names_fault(path: str, old: str, new: str, genome: Contigs) -> tuple[str, str]:
    return (
        f"{path} names chromosomes otherwise than the study's genome ('{old}' for '{new}'; "
        f"the genome's names are from {genome.source})",
        _RENAME.format(old=old, new=new),
    )


def check_call_set(
    path: Path | str,
    genome: Path | str,
    *,
    samples: Sequence[str] = (),
    targets: Path | str | None = None,
    sheet: Path | str | None = None,
    row: int | None = None,
) -> dict[str, int]:
    """Read a call set through and compare every reference allele with the genome.

    ``bcftools norm`` 1.16 ends silently (exit code 0) where a VCF breaks off, compressed or not:
    the variants behind would be missing and nobody told. pysam raises there.

    Parameters
    ----------
    path
        VCF or BCF.
    genome
        FASTA of the study's genome, with its ``.fai`` beside it.
    samples
        Samples that the file must hold.
    targets
        BED of the sequenced regions; contigs without a target are not compared in length.
    sheet, row
        Where the sample sheet names the file.

    Returns
    -------
    dict
        ``n_records`` and ``n_off_genome`` (records on contigs that the genome does not have).

    Raises
    ------
    InputError
        The file is truncated, on another build, names chromosomes otherwise, lacks a sample, or has
        reference alleles that are not the genome's.
    """
    name = str(path)

    def refuse(what: str, remedy: str, column: str = "vcf") -> InputError:
        return InputError(Problem(what, remedy, sheet, row, column))

    try:
        header = read_call_set_header(path)
    except FaultyFileError as error:
        raise InputError(error.at(sheet, row, "vcf")) from None
    if absent := [sample for sample in samples if sample not in header.samples]:
        raise refuse(
            f"{name} holds no sample '{absent[0]}'",
            "Give the name that the sample has in the file in vcf_sample.",
            "vcf_sample",
        )
    contigs = read_index(f"{genome}.fai")
    if faults := call_set_faults(header, contigs, target_contigs(targets)):
        raise refuse(*faults[0])
    counts = {"n_records": 0, "n_off_genome": 0}
    mismatches = 0
    example = ""
    off_genome: dict[str, None] = {}
    last = ""
    verbosity = pysam.set_verbosity(0)
    try:
        with pysam.FastaFile(str(genome)) as fasta, pysam.VariantFile(name) as source:
            for record in source:
                counts["n_records"] += 1
                contig, start, reference = record.contig, record.start, record.ref or ""
                last = f"{contig}:{record.pos}"
                if contig not in contigs.lengths:
                    counts["n_off_genome"] += 1
                    off_genome[contig] = None
                    continue
                expected = _other_reference(fasta, contig, start, reference)
                if expected is not None:
                    mismatches += 1
                    example = example or (
                        f"{last} has REF {reference[:20]}, the genome {expected[:20] or 'nothing'}"
                    )
    except (OSError, ValueError) as error:
        raise refuse(
            f"the file {name} is truncated or damaged after record {counts['n_records']:,}"
            f"{f' ({last})' if last else ''}: {error}",
            _COPY_AGAIN,
        ) from None
    finally:
        pysam.set_verbosity(verbosity)
    # A genotype cut in half can still be one, so a text must end in a whole line.
    if header.is_text and not _ends_in_a_line(name, header.compression):
        raise refuse(
            f"the file {name} is truncated: its last line has no end",
            f"{_COPY_AGAIN} If it is whole, add the end of line.",
        )
    on_genome = counts["n_records"] - counts["n_off_genome"]
    if counts["n_records"] and not on_genome:
        renamed = other_names(dict.fromkeys(off_genome), contigs)
        if renamed:
            raise refuse(*_names_fault(name, *next(iter(renamed.items())), contigs))
        raise refuse(
            f"no record of {name} is on a contig of the study's genome (but on "
            f"{', '.join(list(off_genome)[:_SHOWN])}){_hint(header)}",
            _LIFT,
        )
    if mismatches:
        other_build = mismatches > _OTHER_BUILD_SHARE * on_genome
        what = (
            f"{name} is on another build than the study's genome{_hint(header)}: "
            if other_build
            else f"{name} has reference alleles that are not the genome's: "
        )
        raise refuse(
            f"{what}{mismatches:,} of {on_genome:,} records differ ({example})",
            _LIFT
            if other_build
            else "Correct or remove these records (bcftools norm --check-ref w lists them).",
        )
    return counts


def _other_reference(fasta: pysam.FastaFile, contig: str, start: int, reference: str) -> str | None:
    """Bases of the genome where they are not the reference allele; None where they are."""
    given = reference.upper()
    expected = str(fasta.fetch(contig, start, start + len(given))).upper()
    # IUPAC codes of the genome are N in many files, and the other way round.
    return expected if given != expected and set(given + expected) <= _BASES else None


def check_maf(
    path: Path | str,
    genome: Path | str | None,
    build: str,
    *,
    sheet: Path | str | None = None,
    row: int | None = None,
) -> dict[str, int]:
    """Compare reference alleles of a MAF's substitutions with the study's genome.

    A MAF names its genome in a column that many leave wrong, so the bases decide. Some thousand
    substitutions, evenly spread over the file, tell another build with certainty.

    Parameters
    ----------
    path
        Tab-separated MAF, plain or gzipped.
    genome
        FASTA of the study's genome with its ``.fai``; without it, NCBI_Build is compared with
        `build` where both are builds that are known.
    build
        Name of the study's build.
    sheet, row
        Where the sample sheet names the file.

    Returns
    -------
    dict
        ``n_compared`` and ``n_different`` substitutions.

    Raises
    ------
    InputError
        The file is on another build.
    """
    form = {"separator": "\t", "comment_prefix": "#", "infer_schema": False, "quote_char": None}
    lines = pl.scan_csv(path, **form)  # type: ignore[arg-type]
    given = set(lines.collect_schema().names())
    if not set(_MAF_PLACE) <= given:
        # Absent columns are told all at once where the MAF is read.
        return {"n_compared": 0, "n_different": 0}
    said = ""
    if "NCBI_Build" in given:
        first = lines.select(pl.col("NCBI_Build").drop_nulls().first()).collect().item()
        said = str(first or "")
    named = f" (named in line {row} of {sheet})" if sheet is not None and row is not None else ""
    if genome is None:
        here, there = build_of_text(said) or build_of_number(said), build_of_text(build)
        if here is not None and there is not None and here != there:
            raise InputError(
                Problem(
                    f"the file is on {here}, the study on {there}{named}",
                    _LIFT_MAF,
                    path,
                    None,
                    "NCBI_Build",
                )
            )
        return {"n_compared": 0, "n_different": 0}
    base = "^[ACGTacgt]$"
    contigs = read_index(f"{genome}.fai")
    places = (
        lines.select(*_MAF_PLACE)
        .with_row_index("line", offset=_comment_lines(path) + 2)
        .filter(
            pl.col("Reference_Allele").str.contains(base),
            pl.col("Tumor_Seq_Allele2").str.contains(base),
            pl.col("Chromosome").is_in(list(contigs.lengths)),
        )
        .with_columns(pl.col("Start_Position").cast(pl.Int64, strict=False))
        .filter(pl.col("Start_Position") >= 1)
        .collect()
    )
    places = places.gather_every(max(1, -(-places.height // _MAF_COMPARED)))
    different = []
    with pysam.FastaFile(str(genome)) as fasta:
        for line, contig, position, reference, _ in places.iter_rows():
            expected = _other_reference(fasta, contig, position - 1, reference)
            # A position behind the end of the chromosome has no base at all.
            if expected is not None:
                different.append((line, f"{contig}:{position}", reference, expected or "nothing"))
    if len(different) > _OTHER_BUILD_SHARE * places.height:
        line, place, reference, expected = different[0]
        raise InputError(
            Problem(
                f"the file is on another build than the study's genome{named}: "
                f"{len(different):,} of {places.height:,} substitutions have another reference "
                f"allele ({place} has {reference}, the genome {expected})"
                + (f"; its NCBI_Build is {said}" if said else ""),
                _LIFT_MAF,
                path,
                line,
                "Reference_Allele",
            )
        )
    return {"n_compared": places.height, "n_different": len(different)}


def _comment_lines(path: Path | str) -> int:
    """Count the comments before the header, so that rows have the number an editor shows."""
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as lines:
        return sum(1 for _ in takewhile(lambda line: line.startswith("#"), lines))


def check_mafs(
    paths: Sequence[str],
    genome: Path | str | None,
    build: str,
    *,
    sheet: Path | str | None = None,
    rows: Sequence[int | None],
) -> dict[str, dict[str, int]]:
    """Check MAF files (see `check_maf`) and report all faults at once.

    Raises
    ------
    InputError
        With the problems of every file that has any.
    """
    problems: list[Problem] = []
    counts = {}
    for path, row in zip(paths, rows, strict=True):
        try:
            counts[path] = check_maf(path, genome, build, sheet=sheet, row=row)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return counts


def _ends_in_a_line(path: str, compression: str) -> bool:
    if compression == "BGZF":
        return last_text(path).endswith(b"\n")
    with Path(path).open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read() == b"\n"


def check_call_sets(
    paths: Sequence[str],
    genome: Path | str,
    *,
    samples: Sequence[Sequence[str]],
    targets: Path | str | None = None,
    sheet: Path | str | None = None,
    rows: Sequence[int | None],
    processes: int = 1,
) -> dict[str, dict[str, int]]:
    """Check call sets side by side (see `check_call_set`) and report all faults at once.

    Parameters
    ----------
    paths, samples, rows
        The files; the samples that each must hold; where the sheet names each. Equally long.
    genome, targets, sheet
        As for `check_call_set`.
    processes
        How many files are read at once.

    Returns
    -------
    dict
        Counts by path.

    Raises
    ------
    InputError
        With the problems of every file that has any.
    """
    problems: list[Problem] = []
    counts = {}
    with ProcessPoolExecutor(max(1, min(processes, len(paths)))) as pool:
        jobs = [
            pool.submit(check_call_set, p, genome, samples=s, targets=targets, sheet=sheet, row=r)
            for p, s, r in zip(paths, samples, rows, strict=True)
        ]
        for path, job in zip(paths, jobs, strict=True):
            try:
                counts[path] = job.result()
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(problems)
    return counts


def known_variants_problem(path: Path | str, field: str) -> tuple[str, str] | None:
    """Say what keeps a VCF of known variants from annotating others, and what to do about it.

    Parameters
    ----------
    path
        VCF or BCF, for example of gnomAD or ClinVar. Only its head is read.
    field
        INFO field that is taken over.

    Returns
    -------
    tuple of str, or None
        Fault and remedy; None of a good file.
    """
    try:
        with pysam.VariantFile(str(path)) as source:
            fields, compression = set(source.header.info), source.compression
    except (OSError, ValueError) as error:
        return f"the file {path} cannot be read ({error})", "Give a VCF compressed by bgzip."
    if compression != "BGZF":
        return f"the file {path} is not compressed by bgzip", "Compress it: bgzip FILE."
    if field not in fields:
        return f"the file {path} holds no INFO/{field}", f"Give a VCF whose header has {field}."
    return None
