"""Approve the release of a simulated site with the practice key of its steward."""

from datetime import UTC, datetime

from ihdsi.bundle.draft import approve_simulated_release
from ihdsi.logs import log_to
from ihdsi.study import load_site, load_study

log_to(snakemake.log[0])
study = load_study(snakemake.params.study_file)
approve_simulated_release(
    study,
    snakemake.params.study_file,
    load_site(snakemake.params.site_file, study),
    snakemake.params.site_file,
    snakemake.params.steward_key,
    now=datetime.now(UTC),
)
