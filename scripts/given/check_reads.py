"""Read one lane's given FASTQ files through."""

import json

from ihdsi.delimited import line_of_path
from ihdsi.files import write_text
from ihdsi.given_reads import check_reads
from ihdsi.logs import log_to

log_to(snakemake.log[0])
counts = check_reads(
    snakemake.input,
    strict=snakemake.params.strict,
    sheet=snakemake.params.sheet,
    row=line_of_path(snakemake.params.sheet, "fastq_1", snakemake.input[0]),
)
write_text(json.dumps(counts, indent=2) + "\n", snakemake.output[0])
