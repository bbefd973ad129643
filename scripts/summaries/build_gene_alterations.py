"""Count a site's patients with altered genes."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.summaries import write_table
from ihdsi.summaries.gene_alterations import build_gene_alterations

log_to(snakemake.log[0])
clinical = next(iter(snakemake.input.clinical), None)
alterations = build_gene_alterations(
    pl.read_parquet(snakemake.input.variants),
    pl.read_parquet(snakemake.input.assessed),
    pl.read_parquet(snakemake.input.catalogue),
    clinical=pl.read_parquet(clinical) if clinical else None,
    strata=snakemake.params.strata,
)
write_table(alterations, "gene_alterations", snakemake.output[0])
