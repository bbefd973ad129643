"""Simulate the demonstration study: reference, truth and all files but the reads."""

from ihdsi.logs import log_to
from ihdsi.simulate.demo_study import simulate_demo_study

log_to(snakemake.log[0])
simulate_demo_study(
    snakemake.params.seed,
    snakemake.input.panel,
    snakemake.input.markers,
    snakemake.params.root,
)
