"""Site: exposures of tumours to mutational signatures."""


rule estimate_signature_exposures:
    input:
        variants="results/{study}/sites/{site}/variants/somatic_variants.parquet",
        mafs=lambda wildcards: [
            samples[0].path for samples in cohorts[wildcards.site].mafs.values()
        ],
        # Without a genome (a site with MAF files only) contexts come from the MAF itself.
        genome=(
            ["results/{study}/reference/genome.fa", "results/{study}/reference/genome.fa.fai"]
            if study.reference.genome
            else []
        ),
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/sites/{site}/variants/signature_exposures.parquet",
    log:
        "results/{study}/sites/{site}/logs/estimate_signature_exposures.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/estimate_signature_exposures.tsv"
    # A fault of what was given stays one however often it is tried.
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        maf_patients=lambda wildcards: [
            {sample.name_in_file: sample.patient for sample in samples}
            for samples in cohorts[wildcards.site].mafs.values()
        ],
        settings=study.variants.signatures.model_dump(),
    message:
        "Estimate mutational signatures of {wildcards.site}"
    script:
        "../../scripts/signatures/estimate_signature_exposures.py"
