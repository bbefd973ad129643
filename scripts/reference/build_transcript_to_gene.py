"""Map transcripts to genes."""

from ihdsi.annotation import load_transcript_to_gene
from ihdsi.files import write_parquet
from ihdsi.logs import log_to

log_to(snakemake.log[0])
write_parquet(
    load_transcript_to_gene(snakemake.input[0], snakemake.params.kind), snakemake.output[0]
)
