"""Site: the clinical table in the study's codes and units."""

SITE_FILES = dict(zip(sites, plan.run.sites, strict=True))


rule harmonise_clinical:
    input:
        clinical=lambda wildcards: sites[wildcards.site].clinical,
        codebook=lambda wildcards: sites[wildcards.site].codebook,
        sheet=lambda wildcards: sites[wildcards.site].samples,
    output:
        "results/{study}/sites/{site}/clinical/clinical.parquet",
    log:
        "results/{study}/sites/{site}/logs/harmonise_clinical.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/harmonise_clinical.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        study_file=plan.run.study,
        site_file=lambda wildcards: SITE_FILES[wildcards.site],
        dictionary=study.clinical.model_dump(mode="json"),
    message:
        "Harmonise the clinical table of {wildcards.site}"
    script:
        "../../scripts/clinical/harmonise_clinical.py"
