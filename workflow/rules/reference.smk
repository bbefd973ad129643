"""Reference files, staged and indexed."""

from ihdsi.alignment.aligners import ALIGNERS


localrules:
    stage_targets,


rule stage_targets:
    input:
        lambda wildcards: study.reference.targets,
    output:
        "results/{study}/reference/targets.bed",
    log:
        "results/{study}/logs/stage_targets.log",
    benchmark:
        "results/{study}/benchmarks/stage_targets.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=lambda wildcards, attempt: 5 * attempt,
    message:
        "Stage the target regions"
    shell:
        # Header lines of genome browsers are no regions, and mosdepth and CNVkit read plain files.
        "(export LC_ALL=C; gzip -cdf {input} | awk '!/^(#|track|browser)/ && NF'"
        " | sort -k1,1 -k2,2n > {output}) 2> {log}"


rule scatter_regions:
    input:
        index="results/{study}/reference/genome.fa.fai",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        expand(
            "results/{study}/reference/regions/{region}.bed",
            region=plan.regions,
            allow_missing=True,
        ),
    log:
        "results/{study}/logs/scatter_regions.log",
    benchmark:
        "results/{study}/benchmarks/scatter_regions.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=lambda wildcards, attempt: 5 * attempt,
    params:
        # Another number of parts makes all of them anew, also those whose file names stay.
        parts=len(plan.regions),
    message:
        "Split what is called into parts"
    script:
        "../../scripts/reference/scatter_regions.py"


rule stage_genome:
    input:
        lambda wildcards: study.reference.genome,
    output:
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
    log:
        "results/{study}/logs/stage_genome.log",
    benchmark:
        "results/{study}/benchmarks/stage_genome.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    message:
        "Stage and index the reference genome"
    shell:
        # The hospital's copy may be read-only or compressed, so the index is made beside a link.
        "(case {input} in *.gz) gzip -cd {input} > {output.genome} ;; "
        " *) ln -sf $(realpath {input}) {output.genome} ;; esac; "
        " samtools faidx {output.genome} -o {output.index}) 2> {log}"


rule index_genome:
    input:
        "results/{study}/reference/genome.fa",
    output:
        ALIGNERS["bwa"].index_files("results/{study}/reference"),
    log:
        "results/{study}/logs/index_genome.log",
    benchmark:
        "results/{study}/benchmarks/index_genome.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 180 * attempt,
    params:
        prefix=lambda wildcards, output: output[0].removesuffix(".amb"),
    message:
        "Index the reference genome for bwa"
    shell:
        "bwa index -p {params.prefix} {input} 2> {log}"


rule index_genome_bwa_mem2:
    input:
        "results/{study}/reference/genome.fa",
    output:
        ALIGNERS["bwa-mem2"].index_files("results/{study}/reference"),
    log:
        "results/{study}/logs/index_genome_bwa_mem2.log",
    benchmark:
        "results/{study}/benchmarks/index_genome_bwa_mem2.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 90000 * attempt,
        runtime=lambda wildcards, attempt: 180 * attempt,
    params:
        prefix=lambda wildcards, output: output[0].removesuffix(".0123"),
    message:
        "Index the reference genome for bwa-mem2"
    shell:
        # 28 bytes a base of the genome, as its authors say.
        "bwa-mem2 index -p {params.prefix} {input} > {log} 2>&1"


rule index_genome_minimap2:
    input:
        "results/{study}/reference/genome.fa",
    output:
        "results/{study}/reference/minimap2/genome.mmi",
    log:
        "results/{study}/logs/index_genome_minimap2.log",
    benchmark:
        "results/{study}/benchmarks/index_genome_minimap2.tsv"
    conda:
        "../../envs/alignment.yaml"
    threads: 3
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=lambda wildcards, attempt: 180 * attempt,
    message:
        "Index the reference genome for minimap2"
    shell:
        # In one part (-I), without which mates could be looked for in different ones.
        "minimap2 -x sr -I 64G -t {threads} -d {output} {input} 2> {log}"


rule build_gene_catalogue:
    input:
        given=[study.reference.gene_catalogue] if study.reference.gene_catalogue else [],
        annotation=[study.reference.annotation] if study.reference.annotation else [],
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/reference/gene_catalogue.parquet",
    log:
        "results/{study}/logs/build_gene_catalogue.log",
    benchmark:
        "results/{study}/benchmarks/build_gene_catalogue.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    message:
        "List the study's genes, how long their coding sequence is and whether it is sequenced"
    script:
        "../../scripts/reference/build_gene_catalogue.py"


rule extract_transcripts:
    input:
        genome="results/{study}/reference/genome.fa",
        annotation=lambda wildcards: study.reference.annotation,
    output:
        "results/{study}/reference/transcripts.fa",
    log:
        "results/{study}/logs/extract_transcripts.log",
    benchmark:
        "results/{study}/benchmarks/extract_transcripts.tsv"
    conda:
        "../../envs/expression.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    message:
        "Extract transcript sequences from genome and annotation"
    shell:
        "(gffread {input.annotation} -g {input.genome} -w - | sed 's/^>transcript:/>/' > {output}) 2> {log}"


rule build_transcript_to_gene:
    input:
        lambda wildcards: study.reference.transcript_to_gene
        or study.reference.annotation
        or study.reference.transcripts,
    output:
        "results/{study}/reference/transcript_to_gene.parquet",
    log:
        "results/{study}/logs/build_transcript_to_gene.log",
    benchmark:
        "results/{study}/benchmarks/build_transcript_to_gene.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        kind=next(
            (
                k
                for k in ("transcript_to_gene", "annotation", "transcripts")
                if k in study.reference.paths
            ),
            None,
        ),
    message:
        "Map transcripts to genes"
    script:
        "../../scripts/reference/build_transcript_to_gene.py"


rule index_transcriptome:
    input:
        transcripts=lambda wildcards: study.reference.transcripts
        or "results/{study}/reference/transcripts.fa",
        genome=["results/{study}/reference/genome.fa"] if study.reference.genome else [],
    output:
        directory("results/{study}/reference/salmon"),
    log:
        "results/{study}/logs/index_transcriptome.log",
    benchmark:
        "results/{study}/benchmarks/index_transcriptome.tsv"
    conda:
        "../../envs/expression.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        tmpdir=lambda wildcards: f"results/{wildcards.study}/reference",
    message:
        "Index transcripts for salmon, with the genome as decoy where it is given"
    shell:
        "(work=$(mktemp -d {resources.tmpdir}/salmon-XXXXXX); trap 'rm -rf $work' EXIT; "
        " gzip -cdf {input.transcripts} {input.genome} > $work/gentrome.fa; "
        " cat /dev/null {input.genome} | sed -n 's/^>\\([^ ]*\\).*/\\1/p' > $work/decoys.txt; "
        " salmon index -t $work/gentrome.fa $(test -s $work/decoys.txt && echo -d $work/decoys.txt)"
        " -i {output} -k 31 --keepDuplicates -p {threads}) > {log} 2>&1"
