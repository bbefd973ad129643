"""Approve the release of a simulated site with the practice key of its steward."""

from datetime import UTC, datetime
from pathlib import Path

from ihdsi.bundle.places import SitePlaces
from ihdsi.bundle.simulated import approve_simulated_release
from ihdsi.logs import log_to
from ihdsi.study import load_site, load_study

log_to(snakemake.log[0])
study = load_study(snakemake.params.study_file)
site = load_site(snakemake.params.site_file, study)
approve_simulated_release(
    SitePlaces(study, site, site.release, Path(study.trust_store)),
    snakemake.params.steward_key,
    exchange="exchange",
    now=datetime.now(UTC),
)
