"""Site: germline variants of normals: joint calling by regions, given call sets, one cohort file."""

from ihdsi.variants.germline_filters import filter_command

GERMLINE = study.variants.germline
GERMLINE_FOLDER = "results/{study}/sites/{site}/variants"
GERMLINE_KNOWN = {
    resource: field
    for resource, field in (
        ("germline_resource", "INFO/population_AF:=INFO/AF"),
        ("clinvar", "INFO/CLNSIG"),
    )
    if resource in study.reference.paths
}


localrules:
    list_germline_samples,


wildcard_constraints:
    caller="bcftools|freebayes",
    call_set="joint|given-[A-Za-z0-9_-]+",
    region="[0-9]+",


# Command lines have a limit; thousands of alignments are handed over in a file.
rule list_germline_samples:
    input:
        # Nothing but the parameters, so that a change of the sheet concerns its own call set only.
        [],
    output:
        f"{GERMLINE_FOLDER}/germline_samples/{{call_set}}.tsv",
    log:
        "results/{study}/sites/{site}/logs/list_germline_samples/{call_set}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/list_germline_samples/{call_set}.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=lambda wildcards, attempt: 5 * attempt,
    params:
        files=lambda wildcards: cohorts[wildcards.site].germline_files(
            wildcards.call_set, f"results/{STUDY}/sites/{wildcards.site}/alignment"
        ),
        samples=lambda wildcards: cohorts[wildcards.site].germline_call_sets[wildcards.call_set],
    message:
        "List the samples of germline call set {wildcards.call_set} of {wildcards.site}"
    script:
        "../../scripts/variants/list_germline_samples.py"


rule call_germline_bcftools:
    input:
        samples=f"{GERMLINE_FOLDER}/germline_samples/joint.tsv",
        alignments=lambda wildcards: [
            f"{path}{suffix}"
            for path in cohorts[wildcards.site].germline_files(
                "joint", f"results/{STUDY}/sites/{wildcards.site}/alignment"
            )
            for suffix in ("", ".bai")
        ],
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        region="results/{study}/reference/regions/{region}.bed",
    output:
        f"{GERMLINE_FOLDER}/germline_called/bcftools/{{region}}.bcf",
    log:
        "results/{study}/sites/{site}/logs/call_germline_bcftools/{region}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/call_germline_bcftools/{region}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        mapping_quality=GERMLINE.minimum_read_mapping_quality,
        base_quality=GERMLINE.minimum_base_quality,
        depth=GERMLINE.maximum_depth,
    message:
        "Call germline variants of all normals of {wildcards.site}, region {wildcards.region}"
    shell:
        # A part without bases cannot be asked for; it is called at one base and left empty. Without
        # its suffix a BED would be read as 1-based. Read groups are ignored because each file is
        # one sample; the names then follow the list.
        "(ulimit -S -n $(ulimit -H -n);"
        " region=$(mktemp --suffix=.bed); names=$(mktemp); alignments=$(mktemp);"
        " trap 'rm -f $region $names $alignments' EXIT;"
        " awk '{{print $1 \"\\t0\\t1\"; exit}}' {input.index} > $region;"
        " test ! -s {input.region} || cp {input.region} $region;"
        " awk -F'\\t' '{{print $1}}' {input.samples} > $alignments;"
        " awk -F'\\t' '{{print $3}}' {input.samples} > $names;"
        " bcftools mpileup --ignore-RG --bam-list $alignments --fasta-ref {input.genome}"
        " --regions-file $region --min-MQ {params.mapping_quality}"
        " --min-BQ {params.base_quality} --max-depth {params.depth} --max-idepth {params.depth}"
        " --annotate FORMAT/AD,FORMAT/DP,FORMAT/SP --output-type u"
        " | bcftools call --multiallelic-caller --variants-only --annotate GQ --output-type u"
        " | bcftools reheader --samples $names"
        " | bcftools view $(test -s {input.region} || echo --header-only)"
        " --output-type b --output {output}) 2> {log}"


rule call_germline_freebayes:
    input:
        samples=f"{GERMLINE_FOLDER}/germline_samples/joint.tsv",
        alignments=lambda wildcards: [
            f"{path}{suffix}"
            for path in cohorts[wildcards.site].germline_files(
                "joint", f"results/{STUDY}/sites/{wildcards.site}/alignment"
            )
            for suffix in ("", ".bai")
        ],
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        region="results/{study}/reference/regions/{region}.bed",
    output:
        f"{GERMLINE_FOLDER}/germline_called/freebayes/{{region}}.bcf",
    log:
        "results/{study}/sites/{site}/logs/call_germline_freebayes/{region}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/call_germline_freebayes/{region}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 2880 * attempt,
    params:
        mapping_quality=GERMLINE.minimum_read_mapping_quality,
        base_quality=GERMLINE.minimum_base_quality,
    message:
        "Call germline variants of all normals of {wildcards.site}, region {wildcards.region}"
    shell:
        # Without haplotype alleles (length -1) a call depends on the reads at its place alone, not
        # on where a region begins. Samples are named by their read groups (SM, the sheet's name)
        # and in freebayes' own order, which view turns into the list's.
        "(ulimit -S -n $(ulimit -H -n);"
        " region=$(mktemp --suffix=.bed); names=$(mktemp); alignments=$(mktemp); patients=$(mktemp);"
        " trap 'rm -f $region $names $alignments $patients' EXIT;"
        " awk '{{print $1 \"\\t0\\t1\"; exit}}' {input.index} > $region;"
        " test ! -s {input.region} || cp {input.region} $region;"
        " awk -F'\\t' '{{print $1}}' {input.samples} > $alignments;"
        " awk -F'\\t' '{{print $2}}' {input.samples} > $names;"
        " awk -F'\\t' '{{print $3}}' {input.samples} > $patients;"
        " freebayes --bam-list $alignments --fasta-reference {input.genome} --targets $region"
        " --min-mapping-quality {params.mapping_quality}"
        " --min-base-quality {params.base_quality} --min-alternate-fraction 0.2"
        " --haplotype-length -1 --use-best-n-alleles 4 --strict-vcf --genotype-qualities"
        " | bcftools view --samples-file $names --targets-file $region --targets-overlap 0"
        " --output-type u"
        " | bcftools reheader --samples $patients"
        " | bcftools view $(test -s {input.region} || echo --header-only)"
        " --output-type b --output {output}) 2> {log}"


# A genotype that fails a filter, of the site or of its own, is not called from here on; the call
# sets as they came stay in germline_called and in the given files.
rule filter_germline:
    input:
        calls=expand(
            f"{GERMLINE_FOLDER}/germline_called/{GERMLINE.caller}/{{region}}.bcf",
            region=plan.regions,
            allow_missing=True,
        ),
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
    output:
        calls=f"{GERMLINE_FOLDER}/germline/joint.bcf",
        index=f"{GERMLINE_FOLDER}/germline/joint.bcf.csi",
    log:
        "results/{study}/sites/{site}/logs/filter_germline.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/filter_germline.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        filters=filter_command(GERMLINE),
        depth=GERMLINE.minimum_depth,
        quality=GERMLINE.minimum_genotype_quality,
    message:
        "Gather, normalise and filter the germline calls of {wildcards.site}"
    shell:
        "(bcftools concat --output-type u {input.calls}"
        " | bcftools norm --fasta-ref {input.genome} --check-ref e --atomize --multiallelics -any"
        " --output-type u"
        " | bcftools norm --rm-dup exact --output-type u"
        " | {params.filters}"
        " | bcftools +setGT --output-type u -- --target-gt q --new-gt ."
        " --include 'FILTER!=\"PASS\"'"
        " | bcftools +setGT --output-type u -- --target-gt q --new-gt ."
        " --include 'FMT/DP<{params.depth} | FMT/GQ<{params.quality}'"
        " | bcftools view --output-type b --output {output.calls}"
        " && bcftools index --output {output.index} {output.calls}) 2> {log}"


rule normalise_germline:
    input:
        samples=f"{GERMLINE_FOLDER}/germline_samples/{{call_set}}.tsv",
        calls=lambda wildcards: cohorts[wildcards.site].germline_files(wildcards.call_set)[0],
        # bcftools norm ends at a cut as if the file ended there; given files are read through.
        checked=ancient("results/{study}/sites/{site}/given/germline_call_sets.json"),
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        calls=f"{GERMLINE_FOLDER}/germline/{{call_set}}.bcf",
        index=f"{GERMLINE_FOLDER}/germline/{{call_set}}.bcf.csi",
    log:
        "results/{study}/sites/{site}/logs/normalise_germline/{call_set}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/normalise_germline/{call_set}.tsv"
    wildcard_constraints:
        call_set="given-[A-Za-z0-9_-]+",
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        targets=lambda wildcards, input: (
            f"--targets-file {input.targets}" if input.targets else ""
        ),
        depth=GERMLINE.minimum_depth,
        quality=GERMLINE.minimum_genotype_quality,
    message:
        "Normalise germline call set {wildcards.call_set} of {wildcards.site}"
    shell:
        # Other tags are left behind: files that define one differently cannot be merged (GQ is a
        # whole number in some and has decimals in others, so it is used here and then dropped).
        "(names=$(mktemp); patients=$(mktemp); header=$(mktemp);"
        " trap 'rm -f $names $patients $header' EXIT;"
        " awk -F'\\t' '{{print $2}}' {input.samples} > $names;"
        " awk -F'\\t' '{{print $3}}' {input.samples} > $patients;"
        " printf '##FORMAT=<ID=%s,Number=1,Type=Integer,Description=\"%s\">\\n'"
        " DP 'Read depth' GQ 'Genotype quality' > $header;"
        " bcftools view --samples-file $names --output-type u {input.calls}"
        " | bcftools reheader --samples $patients"
        " | bcftools annotate --header-lines $header"
        " --remove INFO,^FORMAT/GT,FORMAT/DP,FORMAT/GQ --output-type u"
        " | bcftools norm --fasta-ref {input.genome} --check-ref e --multiallelics -any"
        " {params.targets} --output-type u"
        " | bcftools norm --rm-dup exact --output-type u"
        " | bcftools filter --soft-filter low_quality --mode + --exclude 'QUAL<0' --output-type u"
        " | bcftools +setGT --output-type u -- --target-gt q --new-gt ."
        " --include 'FILTER!=\"PASS\"'"
        " | bcftools +setGT --output-type u -- --target-gt q --new-gt ."
        " --include 'FMT/DP<{params.depth} | FMT/GQ<{params.quality}'"
        " | bcftools annotate --remove FORMAT/GQ --output-type b --output {output.calls}"
        " && bcftools index --output {output.index} {output.calls}) 2> {log}"


rule describe_germline_call_sets:
    input:
        call_sets=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/variants/germline/{name}.bcf"
            for name in cohorts[wildcards.site].germline_call_sets
        ],
    output:
        call_sets=f"{GERMLINE_FOLDER}/germline_samples/call_sets.txt",
        options=f"{GERMLINE_FOLDER}/germline_samples/consequence_options.txt",
    log:
        "results/{study}/sites/{site}/logs/describe_germline_call_sets.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/describe_germline_call_sets.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    message:
        "See whether the germline call sets of {wildcards.site} are phased"
    script:
        "../../scripts/variants/describe_germline_call_sets.py"


rule merge_germline:
    input:
        call_sets=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/variants/germline/{name}.bcf{suffix}"
            for name in cohorts[wildcards.site].germline_call_sets
            for suffix in ("", ".csi")
        ],
        listed=f"{GERMLINE_FOLDER}/germline_samples/call_sets.txt",
        options=f"{GERMLINE_FOLDER}/germline_samples/consequence_options.txt",
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        annotation=[study.reference.annotation] if study.reference.annotation else [],
        known=expand(
            "results/{study}/reference/known/{resource}.vcf.gz{suffix}",
            study=STUDY,
            resource=GERMLINE_KNOWN,
            suffix=["", ".csi"],
        ),
    output:
        calls=f"{GERMLINE_FOLDER}/germline/cohort.bcf",
        index=f"{GERMLINE_FOLDER}/germline/cohort.bcf.csi",
    log:
        "results/{study}/sites/{site}/logs/merge_germline.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/merge_germline.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
    params:
        # A single call set is read as it is. A record passes if it passes in any call set, because
        # genotypes of the others are not called there.
        merge=lambda wildcards, input: (
            f"bcftools merge --merge none --filter-logic x --file-list {input.listed}"
            if len(cohorts[wildcards.site].germline_call_sets) > 1
            else f"bcftools view {input.call_sets[0]}"
        ),
        consequences=lambda wildcards, input: (
            f"bcftools csq $(cat {input.options}) --fasta-ref {input.genome}"
            f" --gff-annot {input.annotation} --output-type u"
            if input.annotation
            else "bcftools view --output-type u"
        ),
        # A resource in VCF is read beside a file with an index, not beside a stream.
        known=lambda wildcards, output: " ".join(
            f"bcftools annotate --annotations results/{STUDY}/reference/known/{resource}.vcf.gz"
            f" --columns {field} --output-type b --output $annotated {output.calls};"
            f" cp $annotated {output.calls};"
            f" bcftools index --force --output {output.index} {output.calls};"
            for resource, field in GERMLINE_KNOWN.items()
        ),
    message:
        "Merge and annotate the germline call sets of {wildcards.site}"
    shell:
        "(ulimit -S -n $(ulimit -H -n);"
        " annotated=$(mktemp --suffix=.bcf); trap 'rm -f $annotated' EXIT;"
        " {params.merge} --output-type u"
        " | bcftools +fill-tags --output-type u -- --tags AC,AN"
        " | {params.consequences}"
        " | bcftools view --output-type b --output {output.calls};"
        " bcftools index --output {output.index} {output.calls};"
        " {params.known}) 2> {log}"
