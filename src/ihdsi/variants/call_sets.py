"""What a given call set must hold, and which of its records are variants."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ihdsi.errors import InputError, Problem

__all__ = ["passing_records", "require_genotypes"]

logger = logging.getLogger(__name__)
_BASES = re.compile(r"[ACGTN]+", flags=re.IGNORECASE)


def require_genotypes(header: Any, samples: Iterable[str], path: Path | str) -> None:  # noqa: ANN401
    """Refuse a call set that lacks a sample of the sheet, or genotypes.

    A sample without genotypes would otherwise count as assessed and free of variants.

    Parameters
    ----------
    header
        ``pysam.VariantHeader`` of the call set.
    samples
        Names that the sample sheet expects in the file.
    path
        The file, for the error message.

    Raises
    ------
    InputError
        With every sample that is absent, or if the file declares no GT.
    """
    present = list(header.samples)
    problems = [
        Problem(
            f"the call set holds no sample '{name}' (it holds: {', '.join(present) or 'none'})",
            "Give the name that the sample has in the VCF in the sheet's column vcf_sample.",
            path,
            column=name,
        )
        for name in samples
        if name not in present
    ]
    if not problems and "GT" not in header.formats:
        problems.append(
            Problem(
                "the call set holds no genotypes (FORMAT/GT), as Strelka2 writes somatic calls",
                "Add GT to the tumour's records, or give the calls as a MAF.",
                path,
                column="FORMAT",
            )
        )
    if problems:
        raise InputError(problems)


def passing_records(source: Any) -> Iterator[Any]:  # noqa: ANN401 - pysam
    """Yield the records of a ``pysam.VariantFile`` that pass and have a spelled-out allele.

    Reference blocks of gVCF (no alternate, ``<NON_REF>``), deletions seen from within (``*``) and
    symbolic alleles (``<DEL>``; VCF 4.3, sections 1.6.1.5 and 5.5) are no small variants; how many
    are left out is logged.
    """
    skipped = 0
    for record in source:
        if any(name != "PASS" for name in record.filter):
            continue
        if not record.alts or not _BASES.fullmatch(record.alts[0]):
            skipped += 1
            continue
        yield record
    if skipped:
        logger.info("%d records without a spelled-out alternate allele are left out", skipped)
