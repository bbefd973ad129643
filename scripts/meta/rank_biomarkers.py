"""Combine the layers' evidence and rank genes."""

import polars as pl

from ihdsi.biomarkers.evidence import evidence_table, rank_biomarkers
from ihdsi.files import write_parquet, write_tsv
from ihdsi.logs import log_to
from ihdsi.study import Tier

log_to(snakemake.log[0])
pooled = {layer: pl.read_parquet(path) for layer, path in snakemake.input.items()}
evidence = evidence_table(**pooled)
biomarkers = rank_biomarkers(evidence, [Tier(**tier) for tier in snakemake.params.tiers])
write_parquet(evidence, snakemake.output.evidence)
write_parquet(biomarkers, snakemake.output.biomarkers)
write_tsv(biomarkers, snakemake.output.text)
