"""Look into given files before any job, for the samples that the sheet names."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pysam

from ihdsi.cohort import MATRIX_ASSAYS, Cohort, Lane, Sample
from ihdsi.delimited import fields_of_line
from ihdsi.errors import FaultyFileError, Problem
from ihdsi.expression.salmon_output import output_fault
from ihdsi.genome_builds import Contigs, genome_contigs, target_contigs
from ihdsi.given_alignments import (
    AlignmentHeader,
    alignment_faults,
    clashing_read_groups,
    mixed_alignments,
    read_alignment_header,
)
from ihdsi.given_cells import samples_of_cells
from ihdsi.given_reads import first_read_name, mates_differ, no_mates
from ihdsi.given_variants import call_set_faults, read_call_set_header
from ihdsi.matrices.reading import matrix_columns
from ihdsi.study import ReferenceFiles

__all__ = ["faults_of_given_files"]

# Files are on network storage more often than not, where waiting is most of the time.
_OPEN_AT_ONCE = 16


def faults_of_given_files(
    cohort: Cohort,
    reference: ReferenceFiles | None = None,
    simulated: str | None = None,
    *,
    normals_in_one_stream: bool = False,
) -> list[Problem]:
    """Find given files that the run could not use, from their first and last bytes alone.

    Each file is opened once, however many samples come from it: FASTQ for its first read, BAM and
    CRAM for header and end, VCF for header and end, matrices and salmon's estimates for their
    header, cells for their samples. What needs the whole file, or the genome's index where none
    lies beside the genome, is found by the jobs that read the file first.

    Parameters
    ----------
    cohort
        A site's samples.
    reference
        The study's reference files on this machine; without a genome nothing is compared with it.
    simulated
        Folder of files that a simulated study makes later; they are not looked into.
    normals_in_one_stream
        Whether the germline caller tells the site's normals by read-group ID alone (freebayes).

    Returns
    -------
    list of Problem
        In the order of the sheet's rows, each with row and column.
    """

    def is_given(path: str) -> bool:
        return bool(path) and not (simulated and path.startswith(simulated))

    genome: Contigs | None = None
    called: frozenset[str] | None = None
    if reference is not None and is_given(reference.genome or ""):
        genome = genome_contigs(reference.genome)
    if reference is not None and is_given(reference.targets or ""):
        called = target_contigs(reference.targets)
    lanes = [
        (lane, sample)
        for sample in cohort.samples.values()
        for lane in sample.lanes
        if is_given(lane.fastq_1)
    ]
    alignments = [s for s in cohort.samples.values() if s.entry == "bam" and is_given(s.path)]
    call_sets = [
        samples
        for files in (cohort.somatic_vcfs, cohort.germline_vcfs)
        for samples in files.values()
        if is_given(samples[0].path)
    ]
    matrices = [
        samples
        for files in (cohort.count_matrices, *map(cohort.matrices, MATRIX_ASSAYS))
        for samples in files.values()
        if is_given(samples[0].path)
    ]
    # Set once around all threads: each reader sets and restores it, which alone would not nest.
    verbosity = pysam.set_verbosity(0)
    try:
        with ThreadPoolExecutor(_OPEN_AT_ONCE) as pool:
            problems = [
                problem
                for faults in pool.map(partial(_lane_faults, cohort), lanes)
                for problem in faults
            ]
            headers = list(pool.map(_alignment_header, alignments))
    finally:
        pysam.set_verbosity(verbosity)
    problems += _alignments_faults(cohort, alignments, headers, genome, called)
    problems += _read_group_clashes(cohort, alignments, headers, normals_in_one_stream)
    for samples in call_sets:
        problems += _call_set_faults(samples, cohort, genome, called)
    for samples in matrices:
        problems += _matrix_faults(samples, cohort)
    problems += [
        Problem(*fault, cohort.sheet, sample.line, "salmon")
        for sample in cohort.samples.values()
        if sample.entry == "salmon" and is_given(sample.path)
        if (fault := output_fault(sample.path))
    ]
    for samples in cohort.cell_files.values():
        if is_given(samples[0].path):
            problems += _cells_faults(samples, cohort)
    return sorted(problems, key=lambda problem: problem.row or 0)


def _lane_faults(cohort: Cohort, given: tuple[Lane, Sample]) -> list[Problem]:
    lane, sample = given
    files = [path for path in (lane.fastq_1, lane.fastq_2) if path]
    names, problems = [], []
    for number, path in enumerate(files, 1):
        try:
            names.append(first_read_name(path))
        except FaultyFileError as error:
            problems.append(error.at(cohort.sheet, lane.line, f"fastq_{number}"))
    if len(names) == 2 and mates_differ(*names, strict=sample.assay == "dna"):
        problems.append(
            no_mates((files[0], files[1]), (names[0], names[1]), "first", cohort.sheet, lane.line)
        )
    return problems


def _alignment_header(sample: Sample) -> AlignmentHeader | FaultyFileError:
    try:
        return read_alignment_header(sample.path)
    except FaultyFileError as error:
        return error


def _alignments_faults(
    cohort: Cohort,
    samples: Sequence[Sample],
    headers: Sequence[AlignmentHeader | FaultyFileError],
    genome: Contigs | None,
    called: frozenset[str] | None,
) -> list[Problem]:
    problems: list[Problem] = []
    usable: list[tuple[Sample, AlignmentHeader]] = []
    for sample, header in zip(samples, headers, strict=True):
        if isinstance(header, FaultyFileError):
            problems.append(header.at(cohort.sheet, sample.line, "bam"))
            continue
        faults = alignment_faults(header, genome, called, realigned=sample.realigned)
        problems += [Problem(*fault, cohort.sheet, sample.line, "bam") for fault in faults]
        if not faults:
            usable.append((sample, header))
    mixed = mixed_alignments(
        [(header, sample.realigned) for sample, header in usable],
        genome,
        called,
        aligned_here=bool(cohort.newly_aligned),
    )
    problems += [
        Problem(what, remedy, cohort.sheet, usable[index][0].line, "bam")
        for index, what, remedy in mixed
    ]
    return problems


def _read_group_clashes(
    cohort: Cohort,
    samples: Sequence[Sample],
    headers: Sequence[AlignmentHeader | FaultyFileError],
    normals_in_one_stream: bool,
) -> list[Problem]:
    header_of = {
        sample.sample: header
        for sample, header in zip(samples, headers, strict=True)
        if isinstance(header, AlignmentHeader)
    }
    streams = [
        [sample for sample in (patient.normal_dna, patient.tumour_dna) if sample is not None]
        for patient in cohort.patients.values()
    ]
    if normals_in_one_stream:
        streams.append([s for s in samples if s.tissue == "normal"])
    problems = []
    for stream in streams:
        given = [sample for sample in stream if sample.sample in header_of]
        clashes = clashing_read_groups(
            [header_of[sample.sample] for sample in given], [sample.sample for sample in given]
        )
        problems += [
            Problem(what, remedy, cohort.sheet, given[index].line, "bam")
            for index, what, remedy in clashes
        ]
    return problems


def _call_set_faults(
    samples: Sequence[Sample],
    cohort: Cohort,
    genome: Contigs | None,
    called: frozenset[str] | None,
) -> list[Problem]:
    first = samples[0]
    try:
        header = read_call_set_header(first.path)
    except FaultyFileError as error:
        return [error.at(cohort.sheet, first.line, "vcf")]
    problems = [
        Problem(*fault, cohort.sheet, first.line, "vcf")
        for fault in call_set_faults(header, genome, called)
    ]
    return problems + _absent_names(samples, header.samples, cohort)


def _matrix_faults(samples: Sequence[Sample], cohort: Cohort) -> list[Problem]:
    first = samples[0]
    try:
        present = (matrix_columns if first.entry == "matrix" else _columns)(first.path)
    except (OSError, ValueError, EOFError) as error:
        return [
            Problem(
                f"the file {first.path} cannot be read ({error})",
                "Give UTF-8 text." if first.entry == "counts" else "Give UTF-8 text or Parquet.",
                cohort.sheet,
                first.line,
                first.entry,
            )
        ]
    return _absent_names(samples, present, cohort)


def _cells_faults(samples: Sequence[Sample], cohort: Cohort) -> list[Problem]:
    first = samples[0]
    try:
        present = samples_of_cells(first.path, first.cells_column)
    except FaultyFileError as error:
        return [error.at(cohort.sheet, first.line, "cells")]
    return [] if present is None else _absent_names(samples, present, cohort)


def _absent_names(
    samples: Sequence[Sample], present: Sequence[str], cohort: Cohort
) -> list[Problem]:
    shown = ", ".join(present[:8]) + (", …" if len(present) > 8 else "")
    return [
        Problem(
            f"{sample.path} holds no sample '{sample.name_in_file}' (it holds: {shown or 'none'})",
            f"Give the name that the sample has in the file in {sample.entry}_sample.",
            cohort.sheet,
            sample.line,
            f"{sample.entry}_sample",
        )
        for sample in samples
        if sample.name_in_file not in present
    ]


def _columns(path: str) -> list[str]:
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        header = next((line for line in lines if not line.startswith("#")), "")
    return fields_of_line(header, "\t")
