"""Site: reads of FASTQ files, trimmed, with molecular barcodes moved into their names."""


wildcard_constraints:
    # Where the sheet names the library, the lane's name holds it; see ihdsi.cohort.Lane.
    lane=r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?",
    library="[A-Za-z0-9_-]+",


rule trim_reads:
    input:
        fastq_1=lambda wildcards: cohorts[wildcards.site]
        .lanes[(wildcards.sample, wildcards.lane)]
        .fastq_1,
        fastq_2=lambda wildcards: cohorts[wildcards.site]
        .lanes[(wildcards.sample, wildcards.lane)]
        .fastq_2,
        # fastp ends at a cut as if the file ended there; nothing is made from such a file.
        checked=ancient("results/{study}/sites/{site}/given/reads/{sample}.{lane}.json"),
    output:
        fastq_1=temp("results/{study}/sites/{site}/reads/{sample}.{lane}.R1.fastq.gz"),
        fastq_2=temp("results/{study}/sites/{site}/reads/{sample}.{lane}.R2.fastq.gz"),
        json="results/{study}/sites/{site}/reads/{sample}.{lane}.fastp.json",
    log:
        "results/{study}/sites/{site}/logs/trim_reads/{sample}.{lane}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/trim_reads/{sample}.{lane}.tsv"
    conda:
        "../../envs/reads.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        umi=lambda wildcards: (
            umi.fastp_options
            if (umi := cohorts[wildcards.site].lanes[(wildcards.sample, wildcards.lane)].umi)
            else ""
        ),
    message:
        "Trim {wildcards.sample} lane {wildcards.lane} of {wildcards.site}"
    shell:
        # Level 1: the trimmed reads are read once and deleted. Duplicates are counted after alignment,
        # where they can be told; fastp's own estimate takes a gigabyte of memory.
        "fastp --thread {threads} --compression 1 --detect_adapter_for_pe --dont_eval_duplication"
        " {params.umi}"
        " --in1 {input.fastq_1} --in2 {input.fastq_2}"
        " --out1 {output.fastq_1} --out2 {output.fastq_2}"
        " --json {output.json} --html /dev/null --report_title {wildcards.sample}.{wildcards.lane}"
        " 2> {log}"


rule trim_single_reads:
    input:
        fastq=lambda wildcards: cohorts[wildcards.site]
        .lanes[(wildcards.sample, wildcards.lane)]
        .fastq_1,
        checked=ancient("results/{study}/sites/{site}/given/reads/{sample}.{lane}.json"),
    output:
        fastq=temp("results/{study}/sites/{site}/single_reads/{sample}.{lane}.fastq.gz"),
        json="results/{study}/sites/{site}/single_reads/{sample}.{lane}.fastp.json",
    log:
        "results/{study}/sites/{site}/logs/trim_single_reads/{sample}.{lane}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/trim_single_reads/{sample}.{lane}.tsv"
    conda:
        "../../envs/reads.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        umi=rules.trim_reads.params.umi,
    message:
        "Trim single-end {wildcards.sample} lane {wildcards.lane} of {wildcards.site}"
    shell:
        "fastp --thread {threads} --compression 1 --dont_eval_duplication {params.umi}"
        " --in1 {input.fastq} --out1 {output.fastq}"
        " --json {output.json} --html /dev/null --report_title {wildcards.sample}.{wildcards.lane}"
        " 2> {log}"
