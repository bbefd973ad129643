"""Site: copy number of genes in tumours, by CNVkit against the site's own normals."""

COPY_NUMBER = study.variants.copy_number
COPY_NUMBER_BINS = "results/{study}/reference/copy_number"
COPY_NUMBER_SITE = "results/{study}/sites/{site}/copy_number"
# As `cnvkit.py batch` does: the edges of targets bias the coverage of hybrid capture only, and a
# genome, with its many bins, takes a stricter threshold for breakpoints (of the methods that have one).
EDGE_CORRECTION = "" if study.reference.targets and COPY_NUMBER.off_target_bin_size else "--no-edge"
SEGMENTATION = f"--method {COPY_NUMBER.segmentation}" + (
    " --threshold 1e-6"
    if not study.reference.targets and COPY_NUMBER.segmentation in ("haar", "cbs")
    else ""
)


rule design_copy_number_bins:
    input:
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        accessible=f"{COPY_NUMBER_BINS}/accessible.bed",
        targets=f"{COPY_NUMBER_BINS}/target_bins.bed",
        antitargets=f"{COPY_NUMBER_BINS}/off_target_bins.bed",
    log:
        "results/{study}/logs/design_copy_number_bins.log",
    benchmark:
        "results/{study}/benchmarks/design_copy_number_bins.tsv"
    conda:
        "../../envs/copy_number.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        # The bins depend on nothing but study and reference, so that they are the same everywhere.
        tiled=lambda wildcards, input, output: input.targets or output.accessible,
        size=(
            COPY_NUMBER.target_bin_size if study.reference.targets else COPY_NUMBER.genome_bin_size
        ),
        between=lambda wildcards, input, output: (
            f"cnvkit.py antitarget {input.targets} --access {output.accessible}"
            f" --avg-size {COPY_NUMBER.off_target_bin_size} --output {output.antitargets}"
            if input.targets and COPY_NUMBER.off_target_bin_size
            else f"cp /dev/null {output.antitargets}"
        ),
    message:
        "Lay out the bins in which reads are counted for copy number"
    shell:
        "(cnvkit.py access {input.genome} --output {output.accessible}"
        " && cnvkit.py target {params.tiled} --split --avg-size {params.size}"
        " --output {output.targets}"
        " && {params.between}) 2> {log}"


rule locate_copy_number_genes:
    input:
        genes="resources/copy_number_genes.tsv",
        annotation=[study.reference.annotation] if study.reference.annotation else [],
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        f"{COPY_NUMBER_BINS}/genes.parquet",
    log:
        "results/{study}/logs/locate_copy_number_genes.log",
    benchmark:
        "results/{study}/benchmarks/locate_copy_number_genes.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    message:
        "Find the genes whose copy number is reported"
    script:
        "../../scripts/reference/locate_copy_number_genes.py"


rule count_reads_in_bins:
    input:
        bam="results/{study}/sites/{site}/alignment/{alignment}.bam",
        index="results/{study}/sites/{site}/alignment/{alignment}.bam.bai",
        genome="results/{study}/reference/genome.fa",
        targets=f"{COPY_NUMBER_BINS}/target_bins.bed",
        antitargets=f"{COPY_NUMBER_BINS}/off_target_bins.bed",
    output:
        targets=f"{COPY_NUMBER_SITE}/{{alignment}}.targetcoverage.cnn",
        antitargets=f"{COPY_NUMBER_SITE}/{{alignment}}.antitargetcoverage.cnn",
    log:
        "results/{study}/sites/{site}/logs/count_reads_in_bins/{alignment}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/count_reads_in_bins/{alignment}.tsv"
    conda:
        "../../envs/copy_number.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    message:
        "Count reads of {wildcards.alignment} of {wildcards.site} in bins"
    shell:
        "(cnvkit.py coverage {input.bam} {input.targets} --fasta {input.genome}"
        " --processes {threads} --output {output.targets}"
        " && cnvkit.py coverage {input.bam} {input.antitargets} --fasta {input.genome}"
        " --processes {threads} --output {output.antitargets}) 2> {log}"


# What failed quality control is no measure for others.
rule choose_reference_normals:
    input:
        decisions="results/{study}/sites/{site}/quality_control/alignment_decisions.parquet",
        coverage=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/copy_number/"
            + cohorts[wildcards.site].alignment(normal.sample).removesuffix(".bam")
            + f".{kind}coverage.cnn"
            for normal in cohorts[wildcards.site].copy_number_normals
            for kind in ("target", "antitarget")
        ],
    output:
        f"{COPY_NUMBER_SITE}/reference_normals.txt",
    log:
        "results/{study}/sites/{site}/logs/choose_reference_normals.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/choose_reference_normals.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=lambda wildcards, attempt: 5 * attempt,
    params:
        normals=lambda wildcards: [
            normal.sample
            for normal in cohorts[wildcards.site].copy_number_normals
            for _ in ("target", "antitarget")
        ],
    message:
        "Choose the normals of {wildcards.site} that tumours are compared with"
    script:
        "../../scripts/variants/choose_reference_normals.py"


rule pool_normal_coverage:
    input:
        # Every tumour of the site waits for all of its normals here.
        normals=f"{COPY_NUMBER_SITE}/reference_normals.txt",
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        targets=f"{COPY_NUMBER_BINS}/target_bins.bed",
        antitargets=f"{COPY_NUMBER_BINS}/off_target_bins.bed",
    output:
        f"{COPY_NUMBER_SITE}/reference.cnn",
    log:
        "results/{study}/sites/{site}/logs/pool_normal_coverage.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/pool_normal_coverage.tsv"
    conda:
        "../../envs/copy_number.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        edges=EDGE_CORRECTION,
    message:
        "Pool the coverage of the normals of {wildcards.site}"
    shell:
        # Without normals, equal coverage of all bins is expected (a "flat" reference).
        "(set -- --targets {input.targets} --antitargets {input.antitargets};"
        " test ! -s {input.normals} || set -- $(cat {input.normals});"
        ' cnvkit.py reference "$@" --fasta {input.genome} {params.edges}'
        " --output {output}) 2> {log}"


rule segment_copy_number:
    input:
        targets=lambda wildcards: f"results/{STUDY}/sites/{wildcards.site}/copy_number/"
        + cohorts[wildcards.site]
        .alignment(cohorts[wildcards.site].patients[wildcards.patient].tumour_dna.sample)
        .removesuffix(".bam")
        + ".targetcoverage.cnn",
        antitargets=lambda wildcards: f"results/{STUDY}/sites/{wildcards.site}/copy_number/"
        + cohorts[wildcards.site]
        .alignment(cohorts[wildcards.site].patients[wildcards.patient].tumour_dna.sample)
        .removesuffix(".bam")
        + ".antitargetcoverage.cnn",
        reference=f"{COPY_NUMBER_SITE}/reference.cnn",
    output:
        bins=f"{COPY_NUMBER_SITE}/{{patient}}.cnr",
        segments=f"{COPY_NUMBER_SITE}/{{patient}}.cns",
    log:
        "results/{study}/sites/{site}/logs/segment_copy_number/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/segment_copy_number/{patient}.tsv"
    conda:
        "../../envs/copy_number.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        edges=EDGE_CORRECTION,
        segmentation=SEGMENTATION,
    message:
        "Segment the copy number of {wildcards.patient} of {wildcards.site}"
    shell:
        "(cnvkit.py fix {input.targets} {input.antitargets} --reference {input.reference}"
        " --sample-id {wildcards.patient} {params.edges} --output {output.bins}"
        " && cnvkit.py segment {output.bins} {params.segmentation} --drop-low-coverage"
        " --output {output.segments}) > {log} 2>&1"


rule draw_copy_number:
    input:
        bins=f"{COPY_NUMBER_SITE}/{{patient}}.cnr",
        segments=f"{COPY_NUMBER_SITE}/{{patient}}.cns",
    output:
        f"{COPY_NUMBER_SITE}/{{patient}}.png",
    log:
        "results/{study}/sites/{site}/logs/draw_copy_number/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/draw_copy_number/{patient}.tsv"
    conda:
        "../../envs/copy_number.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    message:
        "Draw the copy number of {wildcards.patient} of {wildcards.site}"
    shell:
        "cnvkit.py scatter {input.bins} --segment {input.segments} --output {output} > {log} 2>&1"


rule call_copy_number:
    input:
        bins=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/copy_number/{patient}.cnr"
            for patient in cohorts[wildcards.site].copy_number_patients
        ],
        segments=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/copy_number/{patient}.cns"
            for patient in cohorts[wildcards.site].copy_number_patients
        ],
        genes=f"{COPY_NUMBER_BINS}/genes.parquet",
        normals=f"{COPY_NUMBER_SITE}/reference_normals.txt",
        clinical=lambda wildcards: (
            ["results/{study}/sites/{site}/clinical/clinical.parquet"]
            if cohorts[wildcards.site].clinical
            else []
        ),
    output:
        genes="results/{study}/sites/{site}/variants/copy_number_genes.parquet",
        segments="results/{study}/sites/{site}/variants/copy_number_segments.parquet",
    log:
        "results/{study}/sites/{site}/logs/call_copy_number.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/call_copy_number.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        patients=lambda wildcards: list(cohorts[wildcards.site].copy_number_patients),
        sex=study.sample_checks.sex.model_dump() if study.sample_checks.sex else None,
        settings=COPY_NUMBER.model_dump(),
    message:
        "Call gains and losses of genes of {wildcards.site}"
    script:
        "../../scripts/variants/call_copy_number.py"
