"""Take one site's bundle in."""

from pathlib import Path

from ihdsi.logs import log_to
from ihdsi.meta.intake import accept_bundle

log_to(snakemake.log[0])
accept_bundle(
    folder=Path(snakemake.input.manifest).parent,
    study_hash=snakemake.params.study_hash,
    site=snakemake.wildcards.site,
    destination=Path(snakemake.output.accepted).parent,
)
