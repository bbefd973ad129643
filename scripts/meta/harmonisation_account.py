"""Account for every site's estimates."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.meta import harmonise
from ihdsi.meta.linear import matrix_site_effects
from ihdsi.meta.site_tables import read_site_tables

log_to(snakemake.log[0])
tables = {name: read_site_tables(paths) for name, paths in snakemake.input.items()}
contrasts = snakemake.params.contrasts
effects = [
    harmonise.expression_site_effects(tables["expression_effects"]),
    harmonise.survival_site_effects(tables["survival_effects"]),
    harmonise.alteration_site_effects(tables["gene_alterations"], contrasts),
    harmonise.composition_site_effects(tables["cell_composition"], contrasts),
    harmonise.cell_expression_site_effects(tables["cell_expression_effects"]),
    matrix_site_effects(tables["matrix_design"], tables["matrix_moments"], snakemake.params.assays),
]
site_effects, account = harmonise.account_for_sites(effects, list(tables["expression_effects"]))
write_parquet(site_effects, snakemake.output.site_effects)
write_parquet(account, snakemake.output.account)
