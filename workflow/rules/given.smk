"""Given files, read through before anything is made from them."""


rule check_reads:
    input:
        lambda wildcards: [
            path
            for path in (
                cohorts[wildcards.site].lanes[(wildcards.sample, wildcards.lane)].fastq_1,
                cohorts[wildcards.site].lanes[(wildcards.sample, wildcards.lane)].fastq_2,
            )
            if path
        ],
    output:
        "results/{study}/sites/{site}/given/reads/{sample}.{lane}.json",
    log:
        "results/{study}/sites/{site}/logs/check_reads/{sample}.{lane}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/check_reads/{sample}.{lane}.tsv"
    # A broken file stays broken.
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 300 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        strict=lambda wildcards: cohorts[wildcards.site].samples[wildcards.sample].assay == "dna",
        sheet=lambda wildcards: str(cohorts[wildcards.site].sheet),
        row=lambda wildcards: cohorts[wildcards.site].lanes[(wildcards.sample, wildcards.lane)].line,
    message:
        "Read {wildcards.sample} lane {wildcards.lane} of {wildcards.site} through"
    script:
        "../../scripts/given/check_reads.py"


rule check_alignment:
    input:
        alignment=lambda wildcards: cohorts[wildcards.site].samples[wildcards.sample].path,
        index="results/{study}/reference/genome.fa.fai",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/sites/{site}/given/alignment/{sample}.json",
    log:
        "results/{study}/sites/{site}/logs/check_alignment/{sample}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/check_alignment/{sample}.tsv"
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 300 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        sheet=lambda wildcards: str(cohorts[wildcards.site].sheet),
        row=lambda wildcards: cohorts[wildcards.site].samples[wildcards.sample].line,
    message:
        "Compare the given alignment of {wildcards.sample} of {wildcards.site} with the genome"
    script:
        "../../scripts/given/check_alignment.py"


rule check_call_set:
    input:
        calls=lambda wildcards: getattr(cohorts[wildcards.site], f"{wildcards.origin}_vcfs")[
            wildcards.patient
        ][0].path,
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/sites/{site}/given/{origin}/{patient}.json",
    log:
        "results/{study}/sites/{site}/logs/check_call_set/{origin}.{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/check_call_set/{origin}.{patient}.tsv"
    wildcard_constraints:
        origin="germline|somatic",
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        samples=lambda wildcards: [
            sample.name_in_file
            for sample in getattr(cohorts[wildcards.site], f"{wildcards.origin}_vcfs")[
                wildcards.patient
            ]
        ],
        sheet=lambda wildcards: str(cohorts[wildcards.site].sheet),
        row=lambda wildcards: getattr(cohorts[wildcards.site], f"{wildcards.origin}_vcfs")[
            wildcards.patient
        ][0].line,
    message:
        "Read {wildcards.origin} call set {wildcards.patient} of {wildcards.site} through"
    script:
        "../../scripts/given/check_call_set.py"
