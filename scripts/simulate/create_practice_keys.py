"""Create the practice keys of a simulated study."""

from datetime import UTC, datetime
from pathlib import Path

from ihdsi.logs import log_to
from ihdsi.simulate.practice_keys import create_practice_keys

log_to(snakemake.log[0])
create_practice_keys(
    Path(snakemake.output[0]).parent,
    snakemake.params.participants,
    datetime.now(UTC).date(),
)
