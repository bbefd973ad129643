"""Count a site's patients with altered genes."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.summaries import write_table
from ihdsi.summaries.gene_alterations import build_gene_alterations

log_to(snakemake.log[0])
excluded = excluded_patients(
    pl.read_parquet(snakemake.input.decisions), ["tumour_dna", "normal_dna"]
)
clinical = next(iter(snakemake.input.clinical), None)
copy_number = next(iter(snakemake.input.copy_number), None)
promoters = next(iter(snakemake.input.promoters), None)
catalogue = pl.read_parquet(snakemake.input.catalogue)
alterations = build_gene_alterations(
    without_patients(pl.read_parquet(snakemake.input.variants), excluded),
    without_patients(pl.read_parquet(snakemake.input.assessed), excluded),
    catalogue,
    genes=catalogue.filter("is_targeted")["gene_id"].to_list(),
    clinical=pl.read_parquet(clinical) if clinical else None,
    strata=snakemake.params.strata,
    copy_number=(without_patients(pl.read_parquet(copy_number), excluded) if copy_number else None),
    promoter_genes=set(pl.read_parquet(promoters)["gene_name"]) if promoters else (),
)
write_table(alterations, "gene_alterations", snakemake.output[0])
