"""Count a site's germline alleles."""

import polars as pl

from ihdsi.logs import log_to
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.summaries import write_table
from ihdsi.summaries.variant_frequencies import build_variant_frequencies

log_to(snakemake.log[0])
excluded = excluded_patients(pl.read_parquet(snakemake.input.decisions), ["normal_dna"])
clinical = next(iter(snakemake.input.clinical), None)
frequencies = build_variant_frequencies(
    without_patients(pl.read_parquet(snakemake.input.genotypes), excluded),
    clinical=pl.read_parquet(clinical) if clinical else None,
    strata=snakemake.params.strata,
)
write_table(frequencies, "variant_frequencies", snakemake.output[0])
