"""Site: reads of FASTQ files and of given alignments, aligned, duplicates marked, indexed."""

from ihdsi.alignment.aligners import ALIGNERS
from ihdsi.umi import BARCODE_IN_NAME

ALIGNER = ALIGNERS[study.alignment.aligner]


rule align_reads:
    input:
        reads=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/{file}"
            for file in cohorts[wildcards.site].lanes[(wildcards.sample, wildcards.lane)].trimmed
        ],
        index=ALIGNER.index_files("results/{study}/reference"),
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
        mem_mb=lambda wildcards, attempt: ALIGNER.memory_mb * attempt,
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        aligner=ALIGNER.command,
        index=lambda wildcards: ALIGNER.index_argument(f"results/{wildcards.study}/reference"),
        read_group=lambda wildcards: cohorts[wildcards.site]
        .lanes[(wildcards.sample, wildcards.lane)]
        .read_group,
        # Of each thread; samtools sort spills beside its output when this is used up.
        sort_memory="400M",
    message:
        "Align {wildcards.sample} lane {wildcards.lane} of {wildcards.site}"
    shell:
        "({params.aligner} -t {threads} -R '{params.read_group}' {params.index} {input.reads}"
        " | samtools fixmate -u -m - -"
        " | samtools sort -@ {threads} -l 1 -m {params.sort_memory} -T {output}.part -o {output} -)"
        " 2> {log}"


rule mark_duplicates:
    input:
        lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/alignment/{wildcards.sample}.{lane.name}.sorted.bam"
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
    params:
        barcode=lambda wildcards: (
            f"--barcode-rgx '{BARCODE_IN_NAME}'"
            if cohorts[wildcards.site].samples[wildcards.sample].lanes[0].umi
            else ""
        ),
    message:
        "Merge lanes and mark duplicates of {wildcards.sample} of {wildcards.site}"
    shell:
        "(samtools merge -u - {input}"
        " | samtools markdup -@ {threads} {params.barcode} -T {output.bam}.part"
        " -f {output.statistics} --write-index - {output.bam}##idx##{output.index}) 2> {log}"


# What was amplified apart cannot be a copy of one molecule, so of a sample with several libraries the
# duplicates are marked in each before they are merged.
use rule mark_duplicates as mark_library_duplicates with:
    input:
        lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/alignment/{wildcards.sample}.{lane.name}.sorted.bam"
            for lane in cohorts[wildcards.site]
            .samples[wildcards.sample]
            .libraries[wildcards.library]
        ],
    output:
        bam=temp("results/{study}/sites/{site}/alignment/{sample}.{library}.markdup.bam"),
        index=temp("results/{study}/sites/{site}/alignment/{sample}.{library}.markdup.bam.bai"),
        statistics="results/{study}/sites/{site}/alignment/{sample}.{library}.markdup.txt",
    log:
        "results/{study}/sites/{site}/logs/mark_library_duplicates/{sample}.{library}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/mark_library_duplicates/{sample}.{library}.tsv"
    params:
        barcode=lambda wildcards: (
            f"--barcode-rgx '{BARCODE_IN_NAME}'"
            if cohorts[wildcards.site]
            .samples[wildcards.sample]
            .libraries[wildcards.library][0]
            .umi
            else ""
        ),
    message:
        "Merge lanes and mark duplicates of {wildcards.sample} library {wildcards.library} of {wildcards.site}"


rule merge_libraries:
    input:
        lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/alignment/{wildcards.sample}.{library}.markdup.bam"
            for library in cohorts[wildcards.site].samples[wildcards.sample].libraries
        ],
    output:
        bam="results/{study}/sites/{site}/alignment/{sample}.merged.bam",
        index="results/{study}/sites/{site}/alignment/{sample}.merged.bam.bai",
    log:
        "results/{study}/sites/{site}/logs/merge_libraries/{sample}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/merge_libraries/{sample}.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    message:
        "Merge the libraries of {wildcards.sample} of {wildcards.site}"
    shell:
        "samtools merge -f -@ {threads} --write-index -o {output.bam}##idx##{output.index} {input}"
        " 2> {log}"


rule adopt_alignment:
    input:
        alignment=lambda wildcards: cohorts[wildcards.site].samples[wildcards.sample].path,
        checked=ancient("results/{study}/sites/{site}/given/alignment/{sample}.json"),
        genome="results/{study}/reference/genome.fa",
        genome_index="results/{study}/reference/genome.fa.fai",
    output:
        bam="results/{study}/sites/{site}/alignment/{sample}.adopted.bam",
        index="results/{study}/sites/{site}/alignment/{sample}.adopted.bam.bai",
    log:
        "results/{study}/sites/{site}/logs/adopt_alignment/{sample}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/adopt_alignment/{sample}.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    message:
        "Take over the given alignment of {wildcards.sample} of {wildcards.site}"
    script:
        "../../scripts/alignment/adopt_alignment.py"


rule correct_read_groups:
    input:
        alignment=lambda wildcards: cohorts[wildcards.site].samples[wildcards.sample].path,
        checked=ancient("results/{study}/sites/{site}/given/alignment/{sample}.json"),
    output:
        read_groups=temp("results/{study}/sites/{site}/alignment/{sample}.read_groups.sam"),
        libraries=temp("results/{study}/sites/{site}/alignment/{sample}.libraries.tsv"),
    log:
        "results/{study}/sites/{site}/logs/correct_read_groups/{sample}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/correct_read_groups/{sample}.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=lambda wildcards, attempt: 5 * attempt,
    message:
        "Correct the read groups of {wildcards.sample} of {wildcards.site}"
    script:
        "../../scripts/alignment/correct_read_groups.py"


rule realign:
    input:
        alignment=lambda wildcards: cohorts[wildcards.site].samples[wildcards.sample].path,
        read_groups="results/{study}/sites/{site}/alignment/{sample}.read_groups.sam",
        libraries="results/{study}/sites/{site}/alignment/{sample}.libraries.tsv",
        label_reads="scripts/alignment/label_reads.awk",
        genome="results/{study}/reference/genome.fa",
        genome_index="results/{study}/reference/genome.fa.fai",
        index=ALIGNER.index_files("results/{study}/reference"),
    output:
        bam="results/{study}/sites/{site}/alignment/{sample}.realigned.bam",
        index="results/{study}/sites/{site}/alignment/{sample}.realigned.bam.bai",
        statistics="results/{study}/sites/{site}/alignment/{sample}.realigned.txt",
    log:
        "results/{study}/sites/{site}/logs/realign/{sample}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/realign/{sample}.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: ALIGNER.memory_mb * attempt,
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        aligner=f"{ALIGNER.command} {ALIGNER.stream_options}",
        index=lambda wildcards: ALIGNER.index_argument(f"results/{wildcards.study}/reference"),
        sort_memory="400M",
    message:
        "Align the reads of the given alignment of {wildcards.sample} of {wildcards.site} anew"
    shell:
        # One stream. Reads that failed the sequencer's filter (0x200) stay behind with the secondary
        # lines, because FASTQ cannot say so. The tag xl (library and molecular barcode) keeps
        # duplicates within a library, and leaves in the last step. REF_PATH: a CRAM is read with the
        # study's genome, never with sequences from the internet.
        "(export REF_PATH=:;"
        " samtools collate -@ {threads} -u -O --reference {input.genome} {input.alignment} {output.bam}.collate"
        " | samtools fastq -n -F 0xB00 -T RG,BC,QT,RX,QX -"
        " | awk -f {input.label_reads} {input.libraries} -"
        " | (cat {input.read_groups}; {params.aligner} -t {threads} {params.index} -)"
        " | samtools fixmate -u -m - -"
        " | samtools sort -@ {threads} -u -m {params.sort_memory} -T {output.bam}.part -"
        " | samtools markdup -u --barcode-tag xl -T {output.bam}.part -f {output.statistics} - -"
        " | samtools view -b -x xl -@ {threads} --write-index -o {output.bam}##idx##{output.index} -)"
        " 2> {log}"


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
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        summary="results/{study}/sites/{site}/quality_control/{alignment}.mosdepth.summary.txt",
        distribution="results/{study}/sites/{site}/quality_control/{alignment}.mosdepth.global.dist.txt",
        region_distribution="results/{study}/sites/{site}/quality_control/{alignment}.mosdepth.region.dist.txt",
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
        # Two decimals are too few for the share of bases at a depth.
        "MOSDEPTH_PRECISION=6 mosdepth --threads {threads} --no-per-base --by {params.by} --thresholds 20,100"
        " --quantize 0:{params.depth}: {params.prefix} {input.bam} 2> {log}"
