"""Given files, read through before anything is made from them.

What is made takes the account of the check as an ancient input: a check that is repeated, as when a
file is added to a site, does not by itself make everything anew. A changed file does.
"""


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
        first=lambda wildcards: next(
            (s.path for s in cohorts[wildcards.site].with_entry("dna", "bam") if not s.realigned),
            None,
        ),
        aligned_here=lambda wildcards: bool(cohorts[wildcards.site].newly_aligned),
        realigned=lambda wildcards: cohorts[wildcards.site].samples[wildcards.sample].realigned,
        sheet=lambda wildcards: str(cohorts[wildcards.site].sheet),
    message:
        "Compare the given alignment of {wildcards.sample} of {wildcards.site} with the genome"
    script:
        "../../scripts/given/check_alignment.py"


rule check_mafs:
    input:
        mafs=lambda wildcards: [
            samples[0].path for samples in cohorts[wildcards.site].mafs.values()
        ],
        genome=(
            ["results/{study}/reference/genome.fa", "results/{study}/reference/genome.fa.fai"]
            if study.reference.genome
            else []
        ),
    output:
        "results/{study}/sites/{site}/given/mafs.json",
    log:
        "results/{study}/sites/{site}/logs/check_mafs.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/check_mafs.tsv"
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        build=study.reference.name,
        sheet=lambda wildcards: str(cohorts[wildcards.site].sheet),
    message:
        "Compare the given MAF files of {wildcards.site} with the genome"
    script:
        "../../scripts/given/check_mafs.py"


rule check_call_sets:
    input:
        calls=lambda wildcards: [
            samples[0].path
            for samples in cohorts[wildcards.site].given_call_sets(wildcards.origin).values()
        ],
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/sites/{site}/given/{origin}_call_sets.json",
    log:
        "results/{study}/sites/{site}/logs/check_call_sets/{origin}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/check_call_sets/{origin}.tsv"
    wildcard_constraints:
        origin="germline|somatic",
    retries: 0
    conda:
        "../../envs/python.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        samples=lambda wildcards: [
            [sample.name_in_file for sample in samples]
            for samples in cohorts[wildcards.site].given_call_sets(wildcards.origin).values()
        ],
        sheet=lambda wildcards: str(cohorts[wildcards.site].sheet),
    message:
        "Read the given {wildcards.origin} call sets of {wildcards.site} through"
    script:
        "../../scripts/given/check_call_sets.py"
