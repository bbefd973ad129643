"""Compare what the pipeline found with what was planted."""

import json
from pathlib import Path

import polars as pl

from ihdsi.files import write_text
from ihdsi.logs import log_to
from ihdsi.simulate.recovery import evaluate_recovery, format_recovery, load_truth
from ihdsi.study import GermlineFilters
from ihdsi.variants.germline import read_genotypes

log_to(snakemake.log[0])
recovery = evaluate_recovery(
    load_truth(Path(snakemake.input.truth[0]).parent, snakemake.input.targets),
    somatic_variants=[pl.read_parquet(path) for path in snakemake.input.somatic_variants],
    germline_genotypes=[
        read_genotypes(path, patients, GermlineFilters(**snakemake.params.germline_filters))
        for path, patients in zip(
            snakemake.input.germline, snakemake.params.germline_patients, strict=True
        )
    ],
    copy_number_genes=[pl.read_parquet(path) for path in snakemake.input.copy_number_genes],
    gene_counts=[pl.read_parquet(path) for path in snakemake.input.gene_counts],
    expression_effects=pl.read_parquet(snakemake.input.expression_effects),
    survival_effects=pl.read_parquet(snakemake.input.survival_effects),
    driver_genes=pl.read_parquet(snakemake.input.driver_genes),
    matrix_linear_model=pl.read_parquet(snakemake.input.matrix_linear_model),
    expression_profiles=[pl.read_parquet(path) for path in snakemake.input.expression_profiles],
    mutation_burden=pl.read_parquet(snakemake.input.mutation_burden),
    cells=[pl.read_parquet(path) for path in snakemake.input.cells],
    cell_composition_contrasts=pl.read_parquet(snakemake.input.cell_composition_contrasts),
    cell_expression_effects=pl.read_parquet(snakemake.input.cell_expression_effects),
    contrast=snakemake.params.contrast,
    endpoint=snakemake.params.endpoint,
)
print(format_recovery(recovery))
write_text(json.dumps(recovery, indent=2) + "\n", snakemake.output[0])
