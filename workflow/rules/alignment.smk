rule align_reads:
    input:
        fastq_1="results/{study}/sites/{site}/reads/{sample}.{lane}.R1.fastq.gz",
        fastq_2="results/{study}/sites/{site}/reads/{sample}.{lane}.R2.fastq.gz",
        index=multiext(
            "results/{study}/reference/bwa/genome",
            ".amb",
            ".ann",
            ".bwt",
            ".pac",
            ".sa",
        ),
    output:
        temp("results/{study}/sites/{site}/alignment/{sample}.{lane}.sorted.bam"),
    log:
        "results/{study}/sites/{site}/logs/align_reads/{sample}.{lane}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/align_reads/{sample}.{lane}.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 10000 * attempt,
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        index=lambda wildcards, input: input.index[0].removesuffix(".amb"),
        read_group=lambda wildcards: (
            rf"@RG\tID:{wildcards.sample}.{wildcards.lane}\tSM:{wildcards.sample}"
            rf"\tLB:{wildcards.sample}\tPU:{wildcards.lane}\tPL:ILLUMINA"
        ),
        # samtools sort spills beside its output when this is used up.
        sort_memory="500M",
    message:
        "Align {wildcards.sample} lane {wildcards.lane} of {wildcards.site}"
    shell:
        "(bwa mem -t {threads} -R '{params.read_group}' {params.index} {input.fastq_1} {input.fastq_2}"
        " | samtools fixmate -u -m - -"
        " | samtools sort -l 1 -m {params.sort_memory} -T {output}.part -o {output} -) 2> {log}"


rule mark_duplicates:
    input:
        lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/alignment/{wildcards.sample}.{lane.lane}.sorted.bam"
            for lane in cohorts[wildcards.site].samples[wildcards.sample].lanes
        ],
    output:
        bam="results/{study}/sites/{site}/alignment/{sample}.markdup.bam",
        index="results/{study}/sites/{site}/alignment/{sample}.markdup.bam.bai",
        statistics="results/{study}/sites/{site}/alignment/{sample}.markdup.txt",
    log:
        "results/{study}/sites/{site}/logs/mark_duplicates/{sample}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/mark_duplicates/{sample}.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    message:
        "Merge lanes and mark duplicates of {wildcards.sample} of {wildcards.site}"
    shell:
        "(samtools merge -u - {input}"
        " | samtools markdup -@ {threads} -T {output.bam}.part -f {output.statistics}"
        " --write-index - {output.bam}##idx##{output.index}) 2> {log}"


rule adopt_alignment:
    input:
        alignment=lambda wildcards: cohorts[wildcards.site].samples[wildcards.sample].path,
        checked=ancient("results/{study}/sites/{site}/given/alignment/{sample}.json"),
    output:
        bam="results/{study}/sites/{site}/alignment/{sample}.adopted.bam",
        index="results/{study}/sites/{site}/alignment/{sample}.adopted.bam.bai",
    log:
        "results/{study}/sites/{site}/logs/adopt_alignment/{sample}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/adopt_alignment/{sample}.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    message:
        "Index the given alignment of {wildcards.sample} of {wildcards.site}"
    shell:
        "(ln -sf $(realpath {input.alignment}) {output.bam}"
        " && samtools index {output.bam} {output.index}) 2> {log}"


rule alignment_statistics:
    input:
        "results/{study}/sites/{site}/alignment/{alignment}.bam",
    output:
        "results/{study}/sites/{site}/quality_control/{alignment}.stats.txt",
    log:
        "results/{study}/sites/{site}/logs/alignment_statistics/{alignment}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/alignment_statistics/{alignment}.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    message:
        "Alignment statistics of {wildcards.alignment} of {wildcards.site}"
    shell:
        "samtools stats {input} > {output} 2> {log}"


rule coverage:
    input:
        bam="results/{study}/sites/{site}/alignment/{alignment}.bam",
        index="results/{study}/sites/{site}/alignment/{alignment}.bam.bai",
        targets=lambda wildcards: ([study.reference.targets] if study.reference.targets else []),
    output:
        summary="results/{study}/sites/{site}/quality_control/{alignment}.mosdepth.summary.txt",
        distribution="results/{study}/sites/{site}/quality_control/{alignment}.mosdepth.global.dist.txt",
        regions="results/{study}/sites/{site}/quality_control/{alignment}.regions.bed.gz",
        thresholds="results/{study}/sites/{site}/quality_control/{alignment}.thresholds.bed.gz",
        quantized="results/{study}/sites/{site}/quality_control/{alignment}.quantized.bed.gz",
    log:
        "results/{study}/sites/{site}/logs/coverage/{alignment}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/coverage/{alignment}.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        prefix=lambda wildcards, output: output.summary.removesuffix(".mosdepth.summary.txt"),
        # Without targets, windows of 500 bases stand for regions.
        by=lambda wildcards, input: input.targets or 500,
        depth=study.variants.germline.callable_depth,
    message:
        "Coverage of {wildcards.alignment} of {wildcards.site}"
    shell:
        "mosdepth --threads {threads} --no-per-base --by {params.by} --thresholds 20,100"
        " --quantize 0:{params.depth}: {params.prefix} {input.bam} 2> {log}"
