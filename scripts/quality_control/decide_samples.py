"""Decide which of a site's samples reach the summaries."""

import polars as pl

from ihdsi.files import write_parquet, write_tsv
from ihdsi.logs import log_to
from ihdsi.quality_control import decide_samples

log_to(snakemake.log[0])
decisions = decide_samples(pl.read_parquet(snakemake.input[0]), snakemake.params.samples)
write_parquet(decisions, snakemake.output.decisions)
write_tsv(decisions, snakemake.output.text)
