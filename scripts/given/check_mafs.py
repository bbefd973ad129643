"""Compare reference alleles of a site's MAF files with the study's genome."""

import json

from ihdsi.delimited import line_of_path
from ihdsi.files import write_text
from ihdsi.given_variants import check_mafs
from ihdsi.logs import log_to

log_to(snakemake.log[0])
counts = check_mafs(
    snakemake.input.mafs,
    snakemake.input.genome[0] if snakemake.input.genome else None,
    snakemake.params.build,
    sheet=snakemake.params.sheet,
    rows=[line_of_path(snakemake.params.sheet, "maf", path) for path in snakemake.input.mafs],
)
write_text(json.dumps(counts, indent=2) + "\n", snakemake.output[0])
