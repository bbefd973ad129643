"""Genotypes of a site's patients at chosen variants of its merged germline call set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.errors import InputError, Problem
from ihdsi.study import GermlineFilters
from ihdsi.variants.genotypes import GenotypeBlock
from ihdsi.variants.germline import VARIANT_KEY, germline_blocks
from ihdsi.variants.sex_chromosomes import Sex, build_of_call_set, with_copies_of_sex

__all__ = ["cohort_blocks", "genotypes_of_variants"]


def cohort_blocks(
    path: Path | str,
    patients: Sequence[str],
    settings: GermlineFilters,
    coverage: Mapping[str, Path | str] | None = None,
    sexes: Mapping[str, Sex] | None = None,
) -> Iterator[GenotypeBlock]:
    """Stream the genotypes that a site's germline summaries count.

    Parameters
    ----------
    path, patients, settings, coverage
        As in `ihdsi.variants.germline.germline_blocks`.
    sexes
        Sex of the patients, which decides on the copies of X and Y (see
        `ihdsi.variants.sex_chromosomes.with_copies_of_sex`); None: as the call set says.
    """
    blocks = germline_blocks(path, patients, settings, coverage)
    return blocks if sexes is None else with_copies_of_sex(blocks, sexes, build_of_call_set(path))


def genotypes_of_variants(
    blocks: Iterable[GenotypeBlock], patients: Sequence[str], variants: pl.DataFrame
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Pick the genotypes of some variants from a stream; one block is held beside the result.

    Parameters
    ----------
    blocks
        Genotypes of `patients`, in whatever order of columns.
    patients
        P names, the columns of the result.
    variants
        chromosome, position, reference_allele and alternate_allele of V variants, each once.

    Returns
    -------
    tuple
        Dosage and ploidy, both int8 of shape (V, P), as in `GenotypeBlock`.

    Raises
    ------
    InputError
        If the stream does not hold a variant, or holds it twice.
    """
    shape = (variants.height, len(patients))
    dosage, ploidy = np.zeros(shape, dtype=np.int8), np.zeros(shape, dtype=np.int8)
    if not variants.height:
        return dosage, ploidy
    found = np.zeros(variants.height, dtype=np.int64)
    local = ["position", "reference_allele", "alternate_allele"]
    wanted = {
        str(name): part.select(*local, "row")
        for (name,), part in variants.select(VARIANT_KEY)
        .with_row_index("row")
        .partition_by("chromosome", as_dict=True)
        .items()
    }
    for block in blocks:
        if block.chromosome not in wanted:
            continue
        here = pl.DataFrame(
            {
                "position": block.position,
                "reference_allele": block.reference_alleles,
                "alternate_allele": block.alternate_alleles,
            }
        ).with_row_index("source")
        hits = here.join(wanted[block.chromosome], on=local, how="inner")
        rows, source = hits["row"].to_numpy(), hits["source"].to_numpy()
        if not rows.size:
            continue
        place = {name: column for column, name in enumerate(block.patients)}
        columns = [place[name] for name in patients]
        dosage[rows] = block.dosage[source][:, columns]
        ploidy[rows] = block.ploidy[source][:, columns]
        np.add.at(found, rows, 1)
    wrong = np.flatnonzero(found != 1)
    if wrong.size:
        first = variants.row(int(wrong[0]), named=True)
        times = "more than once" if found[wrong[0]] else "not at all"
        raise InputError(
            Problem(
                f"{wrong.size} variants of variant_frequencies stand in the call set {times}, the "
                f"first at {first['chromosome']}:{first['position']}",
                "Make variant_frequencies again from the present call set.",
                file="variant_frequencies.parquet",
            )
        )
    return dosage, ploidy
