"""Look into given files before any job, for the samples that the sheet names."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pysam

from ihdsi.cohort import Cohort, Sample
from ihdsi.errors import Problem

__all__ = ["absent_names", "known_variants_problem"]


def absent_names(cohort: Cohort, simulated: str | None = None) -> list[Problem]:
    """Find samples that the sheet names and their VCF or count matrix does not hold.

    Only the head of each file is read, once, however many samples come from it.

    Parameters
    ----------
    cohort
        A site's samples.
    simulated
        Folder of files that a simulated study makes later; they are not looked into.

    Returns
    -------
    list of Problem
        One per absent sample, or one per file that cannot be read, with the sheet's row and column.
    """
    problems: list[Problem] = []
    for files in (cohort.somatic_vcfs, cohort.germline_vcfs, cohort.count_matrices):
        for samples in files.values():
            if not (simulated and samples[0].path.startswith(simulated)):
                problems += _absent_from_file(samples, cohort.sheet)
    return problems


def _absent_from_file(samples: Sequence[Sample], sheet: Path) -> list[Problem]:
    first = samples[0]
    try:
        present = _vcf_samples(first.path) if first.entry == "vcf" else _columns(first.path)
    except (OSError, ValueError) as error:
        return [
            Problem(
                f"the file {first.path} cannot be read ({error})",
                "Give a VCF or BCF." if first.entry == "vcf" else "Give UTF-8 text.",
                sheet,
                first.line,
                first.entry,
            )
        ]
    shown = ", ".join(present[:8]) + (", …" if len(present) > 8 else "")
    return [
        Problem(
            f"{sample.path} holds no sample '{sample.name_in_file}' (it holds: {shown or 'none'})",
            f"Give the name that the sample has in the file in {sample.entry}_sample.",
            sheet,
            sample.line,
            f"{sample.entry}_sample",
        )
        for sample in samples
        if sample.name_in_file not in present
    ]


def _vcf_samples(path: str) -> list[str]:
    with pysam.VariantFile(path) as source:
        return list(source.header.samples)


def _columns(path: str) -> list[str]:
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as lines:
        header = next((line for line in lines if not line.startswith("#")), "")
    return header.rstrip("\n").split("\t")


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
