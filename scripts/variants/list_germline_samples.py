"""List the samples of one germline call set: file, name in it, patient."""

from ihdsi.files import write_text
from ihdsi.logs import log_to

log_to(snakemake.log[0])
samples = snakemake.params.samples
rows = zip(snakemake.params.files, samples.values(), samples, strict=True)
write_text("".join("\t".join(row) + "\n" for row in rows), snakemake.output[0])
