"""Take one site's release in, whole and verified, or not at all."""

from datetime import UTC, datetime
from pathlib import Path

from ihdsi.bundle.keys import load_transport_key
from ihdsi.bundle.trust import load_trust_store
from ihdsi.logs import log_to
from ihdsi.meta.intake import accept_release

log_to(snakemake.log[0])
params, now = snakemake.params, datetime.now(UTC)
accept_release(
    folder=Path(snakemake.input.seal).parent,
    destination=Path(snakemake.output.accepted).parent,
    store=load_trust_store(params.trust_store),
    study=snakemake.wildcards.study,
    study_hash=params.study_hash,
    site=snakemake.wildcards.site,
    recipient=load_transport_key(params.transport_key),
    audit_log=params.audit_log,
    quarantine=params.quarantine,
    on=now.date(),
    now=now,
)
