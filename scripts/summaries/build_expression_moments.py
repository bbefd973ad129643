"""Compute a site's moments of expression."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.study import ClinicalVariable, Contrast
from ihdsi.summaries import write_table
from ihdsi.summaries.expression_moments import build_expression_moments

log_to(snakemake.log[0])
excluded = excluded_patients(pl.read_parquet(snakemake.input.decisions), ["tumour_rna"])
design, moments = build_expression_moments(
    without_patients(pl.read_parquet(snakemake.input.counts), excluded),
    pl.read_parquet(snakemake.input.clinical),
    {name: Contrast(**keys) for name, keys in snakemake.params.contrasts.items()},
    {name: ClinicalVariable(**keys) for name, keys in snakemake.params.variables.items()},
    snakemake.params.minimum_n,
    maximum_contribution=snakemake.params.maximum_contribution,
)
write_table(design, "expression_design", snakemake.output.design)
write_table(moments, "expression_moments", snakemake.output.moments)
