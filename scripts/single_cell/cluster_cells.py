"""Cluster a site's cells, name the clusters, and add the cells up by donor."""

import json

import polars as pl

from ihdsi.files import write_parquet, write_text, write_tsv
from ihdsi.logs import log_to
from ihdsi.quality_control import failed_samples
from ihdsi.single_cell.cell_types import read_markers
from ihdsi.single_cell.clusters import analyse_cells, cluster_metrics
from ihdsi.study import SingleCellSettings

log_to(snakemake.log[0])
failed = failed_samples(pl.read_parquet(snakemake.input.decisions))
given = zip(snakemake.params.samples, snakemake.input.cells, strict=True)
found = analyse_cells(
    [path for sample, path in given if sample not in failed],
    read_markers(snakemake.input.markers),
    SingleCellSettings(**snakemake.params.settings),
)
write_parquet(found.cells, snakemake.output.cells)
write_parquet(cluster_metrics(found.cells), snakemake.output.metrics)
write_tsv(found.clusters, snakemake.output.clusters)
write_parquet(found.composition, snakemake.output.composition)
write_parquet(found.pseudobulk, snakemake.output.pseudobulk)
write_text(json.dumps(found.notes, indent=1, ensure_ascii=False) + "\n", snakemake.output.notes)
