"""List the study's genes, and which of them are sequenced."""

from ihdsi.annotation import gene_catalogue, read_gene_catalogue, with_targeted_length
from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.variants.regions import read_targets

log_to(snakemake.log[0])
annotation, given = next(iter(snakemake.input.annotation), None), snakemake.input.given
targets = next(iter(snakemake.input.targets), None)
catalogue = read_gene_catalogue(given[0]) if given else gene_catalogue(annotation)
catalogue = with_targeted_length(catalogue, annotation, read_targets(targets) if targets else None)
write_parquet(catalogue, snakemake.output[0])
