"""Take one site's release in."""

from datetime import UTC, datetime
from pathlib import Path

from ihdsi.bundle.keys import load_transport_key
from ihdsi.bundle.trust import load_trust_store
from ihdsi.logs import log_to
from ihdsi.meta.intake import accept_release

log_to(snakemake.log[0])
now = datetime.now(UTC)
accept_release(
    Path(snakemake.input.seal).parent,
    Path(snakemake.output.accepted).parent,
    store=load_trust_store(snakemake.params.trust_store),
    study=snakemake.wildcards.study,
    study_hash=snakemake.params.study_hash,
    site=snakemake.wildcards.site,
    recipient=load_transport_key(snakemake.params.transport_key),
    audit_log=snakemake.params.audit_log,
    quarantine=snakemake.params.quarantine,
    on=now.date(),
    now=now,
)
