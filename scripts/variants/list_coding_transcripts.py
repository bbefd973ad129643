"""List the annotation's coding transcripts."""

from ihdsi.annotation import coding_transcripts
from ihdsi.files import write_parquet
from ihdsi.logs import log_to

log_to(snakemake.log[0])
write_parquet(coding_transcripts(snakemake.input[0]), snakemake.output[0])
