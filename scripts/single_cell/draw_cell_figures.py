"""Draw the figures of a site's cells, which stay at the site."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.single_cell.figures import draw_composition, draw_quality, draw_umap

log_to(snakemake.log[0])
cells = pl.read_parquet(snakemake.input.cells)
title, made = snakemake.params.title, snakemake.output
draw_umap(cells, "cell_type", title, made.types)
draw_umap(cells, "patient", title, made.donors)
draw_quality(pl.read_parquet(snakemake.input.decisions), title, made.quality)
draw_composition(pl.read_parquet(snakemake.input.composition), title, made.composition)
