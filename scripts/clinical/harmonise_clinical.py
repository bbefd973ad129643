"""Harmonise a site's clinical table."""

from ihdsi.clinical import harmonise_clinical, load_codebook
from ihdsi.files import write_parquet
from ihdsi.logs import log_to
from ihdsi.sheets import read_cohort
from ihdsi.study import load_site, load_study

log_to(snakemake.log[0])
study = load_study(snakemake.params.study_file)
# Patients' names are read here rather than passed as parameters, which workflow records show.
patients = read_cohort(load_site(snakemake.params.site_file, study), study).patients
codebook = load_codebook(snakemake.input.codebook, study)
write_parquet(
    harmonise_clinical(
        snakemake.input.clinical, codebook, study, snakemake.input.codebook, patients
    ),
    snakemake.output[0],
)
