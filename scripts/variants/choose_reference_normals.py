"""Choose the normals that tumours are compared with."""

import polars as pl

from ihdsi.files import write_text
from ihdsi.logs import log_to
from ihdsi.variants.copy_number import usable_coverage

log_to(snakemake.log[0])
chosen = usable_coverage(
    list(zip(snakemake.params.normals, snakemake.input.coverage, strict=True)),
    pl.read_parquet(snakemake.input.decisions),
)
write_text("".join(f"{path}\n" for path in chosen), snakemake.output[0])
