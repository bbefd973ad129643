"""Read and filter the cells of one sample."""

import json

import polars as pl

from ihdsi.files import atomic_output, write_parquet, write_text
from ihdsi.given_cells import unlisted_samples
from ihdsi.logs import log_to
from ihdsi.single_cell.quality import cell_metrics, filter_cells
from ihdsi.single_cell.reading import read_cells
from ihdsi.study import SingleCellSettings

log_to(snakemake.log[0])
params, sample = snakemake.params, snakemake.wildcards.sample
catalogue = [pl.read_parquet(path) for path in snakemake.input.catalogue]
cells = read_cells(
    params.path,
    sample,
    params.name_in_file,
    params.column,
    next(iter(catalogue), None),
    params.sheet,
)
unmapped = cells.uns["unmapped_features"].tolist()
kept, decisions, notes = filter_cells(
    cells, params.patient, sample, SingleCellSettings(**params.settings)
)
unlisted = unlisted_samples(params.path, params.column, params.listed) if params.listed else None
if unlisted:
    notes.append(unlisted)
with atomic_output(snakemake.output.cells) as temporary:
    kept.write_h5ad(temporary, compression="lzf")
write_parquet(decisions, snakemake.output.decisions)
write_parquet(cell_metrics(params.patient, sample, decisions, notes), snakemake.output.metrics)
account = {"patient": params.patient, "sample": sample, "notes": notes, "unmapped": unmapped}
write_text(json.dumps(account, indent=1, ensure_ascii=False) + "\n", snakemake.output.account)
