"""Compare a given alignment with the study's genome and see that it is whole."""

import json

from ihdsi.delimited import line_of_path
from ihdsi.files import write_text
from ihdsi.given_alignments import check_alignment
from ihdsi.logs import log_to

log_to(snakemake.log[0])
header = check_alignment(
    snakemake.input.alignment,
    snakemake.input.index,
    targets=snakemake.input.targets[0] if snakemake.input.targets else None,
    first=snakemake.params.first,
    aligned_here=snakemake.params.aligned_here,
    realigned=snakemake.params.realigned,
    sheet=snakemake.params.sheet,
    row=line_of_path(snakemake.params.sheet, "bam", snakemake.input.alignment),
)
account = {"samples": header.samples, "n_contigs": len(header.contigs.lengths)}
write_text(json.dumps(account, indent=2) + "\n", snakemake.output[0])
