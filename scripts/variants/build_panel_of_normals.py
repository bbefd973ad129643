"""Count in how many of the site's normals each allele is seen."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.variants.panel_of_normals import panel_members, write_panel_of_normals

log_to(snakemake.log[0])
alleles, normals = snakemake.input.alleles, snakemake.params.normals
members = panel_members(normals, pl.read_parquet(snakemake.input.decisions))
write_panel_of_normals(
    [
        [
            path
            for patient, path in zip(normals, alleles[start : start + len(normals)], strict=True)
            if patient in members
        ]
        for start in range(0, len(alleles), len(normals))
    ],
    snakemake.input.index,
    snakemake.output.vcf,
    snakemake.params.minimum_number,
)
