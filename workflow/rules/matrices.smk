"""Site: gather protein, methylation and metabolite values from given matrices."""


rule build_matrix_table:
    input:
        matrices=lambda wildcards: [
            samples[0].path
            for samples in cohorts[wildcards.site].matrices(wildcards.assay).values()
        ],
        plates=lambda wildcards: (
            [sites[wildcards.site].plates] if study.matrices[wildcards.assay].covariates else []
        ),
    output:
        table="results/{study}/sites/{site}/matrices/{assay}/values.parquet",
        covariates="results/{study}/sites/{site}/matrices/{assay}/covariates.parquet",
        samples="results/{study}/sites/{site}/matrices/{assay}/samples.tsv",
        metrics="results/{study}/sites/{site}/matrices/{assay}/metrics.parquet",
    log:
        "results/{study}/sites/{site}/logs/build_matrix_table/{assay}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/build_matrix_table/{assay}.tsv"
    wildcard_constraints:
        assay="protein|methylation|metabolite",
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        patients=lambda wildcards: [
            {sample.name_in_file: sample.patient for sample in samples}
            for samples in cohorts[wildcards.site].matrices(wildcards.assay).values()
        ],
        samples=lambda wildcards: {
            sample.patient: sample.sample
            for samples in cohorts[wildcards.site].matrices(wildcards.assay).values()
            for sample in samples
        },
        settings=lambda wildcards: study.matrices[wildcards.assay].model_dump(),
        minimum_n=lambda wildcards: plan.thresholds[wildcards.site].minimum_n,
        # Who fails leaves before features and plates are counted.
        limits=lambda wildcards: {
            name: limit.model_dump()
            for name, limit in study.quality_control.items()
            if name.startswith(f"{wildcards.assay}_")
        },
    message:
        "Gather {wildcards.assay} values of {wildcards.site}"
    script:
        "../../scripts/matrices/build_matrix_table.py"
