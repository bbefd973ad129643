"""List the study's genes."""

from ihdsi.annotation import gene_catalogue, read_gene_catalogue
from ihdsi.files import write_parquet
from ihdsi.logs import log_to

log_to(snakemake.log[0])
read = gene_catalogue if snakemake.params.is_annotation else read_gene_catalogue
write_parquet(read(snakemake.input[0]), snakemake.output[0])
