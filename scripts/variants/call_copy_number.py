"""Call the copy number of a site's tumours, gene by gene and segment by segment."""

from pathlib import Path

import polars as pl

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.study import CopyNumberSettings, SexCheck
from ihdsi.variants.copy_number import gather_copy_number, recorded_sex

log_to(snakemake.log[0])
clinical = next(iter(snakemake.input.clinical), None)
check = SexCheck(**snakemake.params.sex) if snakemake.params.sex else None
normals = Path(snakemake.input.normals).read_text(encoding="utf-8").split()
genes, segments = gather_copy_number(
    snakemake.params.patients,
    snakemake.input.bins,
    snakemake.input.segments,
    pl.read_parquet(snakemake.input.genes),
    recorded_sex(pl.read_parquet(clinical) if clinical else None, check),
    CopyNumberSettings(**snakemake.params.settings),
    n_reference_normals=len(normals) // 2,
)
write_parquet(genes, snakemake.output.genes)
write_parquet(segments, snakemake.output.segments)
