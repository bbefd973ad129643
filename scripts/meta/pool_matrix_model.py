"""Fit the pooled linear model of matrices from the sites' moments."""

from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.meta.linear import fit_pooled_matrix_model
from ihdsi.meta.site_tables import read_site_tables

log_to(snakemake.log[0])
designs = read_site_tables(snakemake.input.matrix_design)
moments = read_site_tables(snakemake.input.matrix_moments)
write_parquet(
    fit_pooled_matrix_model(designs, moments, snakemake.params.units), snakemake.output[0]
)
