"""Write a site's bundle."""

import json
from pathlib import Path

import ihdsi
from ihdsi.bundle import workflow_commit, write_bundle
from ihdsi.logs import log_to
from ihdsi.summaries import read_table

log_to(snakemake.log[0])
write_bundle(
    Path(snakemake.output.manifest).parent,
    {Path(path).stem: read_table(path, Path(path).stem) for path in snakemake.input.tables},
    json.loads(Path(snakemake.input.disclosure).read_text(encoding="utf-8")),
    study=snakemake.wildcards.study,
    study_version=snakemake.params.study_version,
    study_hash=snakemake.params.study_hash,
    site=snakemake.wildcards.site,
    workflow_version=ihdsi.__version__,
    workflow_commit=workflow_commit(Path(snakemake.scriptdir).parents[1]),
)
