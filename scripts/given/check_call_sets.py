"""Read a site's given call sets through and compare their reference alleles with the genome."""

import json

from ihdsi.delimited import line_of_path
from ihdsi.files import write_text
from ihdsi.given_variants import check_call_sets
from ihdsi.logs import log_to

log_to(snakemake.log[0])
counts = check_call_sets(
    snakemake.input.calls,
    snakemake.input.genome,
    samples=snakemake.params.samples,
    targets=snakemake.input.targets[0] if snakemake.input.targets else None,
    sheet=snakemake.params.sheet,
    rows=[line_of_path(snakemake.params.sheet, "vcf", path) for path in snakemake.input.calls],
    processes=snakemake.threads,
)
write_text(json.dumps(counts, indent=2) + "\n", snakemake.output[0])
