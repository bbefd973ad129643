"""Write a site's bundle."""

from pathlib import Path

import polars as pl

import ihdsi
from ihdsi.bundle import workflow_commit, write_bundle
from ihdsi.disclosure import disclosure_summary
from ihdsi.logs import log_to
from ihdsi.study import DisclosureSettings
from ihdsi.summaries import read_table

log_to(snakemake.log[0])
settings = DisclosureSettings(**snakemake.params.thresholds)
write_bundle(
    Path(snakemake.output.manifest).parent,
    {Path(path).stem: read_table(path, Path(path).stem) for path in snakemake.input.tables},
    disclosure_summary(pl.read_parquet(snakemake.input.disclosure_log), settings),
    study=snakemake.wildcards.study,
    study_version=snakemake.params.study_version,
    study_hash=snakemake.params.study_hash,
    site=snakemake.wildcards.site,
    workflow_version=ihdsi.__version__,
    workflow_commit=workflow_commit(Path(snakemake.scriptdir).parents[1]),
)
