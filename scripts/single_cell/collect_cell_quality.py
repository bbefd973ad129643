"""Collect why cells of a site are left out, and which samples are set aside."""

import json
from pathlib import Path

import polars as pl

from ihdsi.files import write_parquet, write_tsv
from ihdsi.logs import log_to
from ihdsi.single_cell.quality import count_reasons, sample_notes

log_to(snakemake.log[0])
decisions = pl.concat([pl.read_parquet(path) for path in snakemake.input.decisions])
accounts = [json.loads(Path(path).read_text("utf-8")) for path in snakemake.input.accounts]
write_parquet(decisions, snakemake.output.decisions)
write_tsv(count_reasons(decisions), snakemake.output.reasons)
write_tsv(sample_notes(accounts), snakemake.output.notes)
