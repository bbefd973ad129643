"""Count in how many of the site's normals each allele is seen."""

from ihdsi.logs import log_to
from ihdsi.variants.panel_of_normals import write_panel_of_normals

log_to(snakemake.log[0])
alleles, n_normals = snakemake.input.alleles, snakemake.params.n_normals
write_panel_of_normals(
    [alleles[start : start + n_normals] for start in range(0, len(alleles), n_normals)],
    snakemake.input.index,
    snakemake.output.vcf,
    snakemake.params.minimum_number,
)
