"""Locate promoter hotspots on the study's genome."""

import polars as pl

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.variants.hotspots import promoter_positions, read_hotspots
from ihdsi.variants.regions import read_targets

log_to(snakemake.log[0])
targets = next(iter(snakemake.input.targets), None)
positions = promoter_positions(
    read_hotspots(snakemake.input.hotspots),
    pl.read_parquet(snakemake.input.transcripts),
    read_targets(targets) if targets else None,
)
write_parquet(positions, snakemake.output[0])
