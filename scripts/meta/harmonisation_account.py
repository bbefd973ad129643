"""Account for every site's estimates."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.meta.harmonise import account_for_sites
from ihdsi.meta.site_tables import read_site_tables

log_to(snakemake.log[0])
site_effects, account = account_for_sites(
    expression=read_site_tables(snakemake.input.expression_effects),
    survival=read_site_tables(snakemake.input.survival_effects),
    alterations=read_site_tables(snakemake.input.gene_alterations),
    contrasts=snakemake.params.contrasts,
)
write_parquet(site_effects, snakemake.output.site_effects)
write_parquet(account, snakemake.output.account)
