"""What a given call set must hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ihdsi.errors import InputError, Problem

__all__ = ["require_genotypes"]


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
