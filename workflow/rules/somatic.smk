"""Site: somatic variants of tumours, called, filtered, annotated and gathered."""

# freebayes proposes alleles and counts reads; ihdsi.variants.somatic_filters decides. Pooled-
# continuous makes no assumption on ploidy, which tumours do not keep. Without haplotypes
# (--haplotype-length -1) every substitution is an allele of its own; what lies on the same reads
# is joined later. A part is called with a margin and cut after normalisation, so that what is
# found does not depend on where the parts end; a part without a base gives a header alone.
FREEBAYES_PART = (
    "(test -s {input.region} && keep='--targets-file {input.region}' || keep=--header-only;"
    " freebayes --fasta-reference {input.genome} --targets <(awk 'NR==FNR"
    " {{size[$1]=$2; if (NR==1) first=$1; next}} {{n++; name[n]=$1; start[n]=$2; end[n]=$3}}"
    ' END {{if (!n) {{print first "\\t0\\t1"; exit}}'
    " start[1]=(start[1]>200 ? start[1]-200 : 0);"
    " end[n]=(end[n]+200<size[name[n]] ? end[n]+200 : size[name[n]]);"
    ' for (i=1; i<=n; i++) print name[i] "\\t" start[i] "\\t" end[i]}}\''
    " {input.index} {input.region}) --pooled-continuous --haplotype-length -1"
    " --use-best-n-alleles 4"
    " --min-alternate-fraction {params.filters[caller_fraction]}"
    " --min-alternate-count {params.filters[caller_alternate_depth]}"
    " --min-mapping-quality {params.filters[caller_mapping_quality]}"
    " --min-base-quality {params.filters[caller_base_quality]} {params.alignments}"
    " | bcftools norm --fasta-ref {input.genome} --multiallelics -any --output-type u -"
    " | bcftools norm --fasta-ref {input.genome} --atomize --output-type u -"
)


rule call_somatic:
    input:
        alignments=lambda wildcards: expand(
            "results/{study}/sites/{site}/alignment/{file}{suffix}",
            study=STUDY,
            site=wildcards.site,
            file=[
                cohorts[wildcards.site].alignment(sample)
                for sample in cohorts[wildcards.site].called_samples(wildcards.patient)
            ],
            suffix=["", ".bai"],
        ),
        region="results/{study}/reference/regions/{region}.bed",
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
    output:
        temp("results/{study}/sites/{site}/variants/somatic_parts/{patient}.{region}.bcf"),
    log:
        "results/{study}/sites/{site}/logs/call_somatic/{patient}.{region}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/call_somatic/{patient}.{region}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        alignments=lambda wildcards, input: [
            name for name in input.alignments if not name.endswith(".bai")
        ],
        filters=study.variants.somatic.model_dump(),
    message:
        "Propose somatic variants of {wildcards.patient} of {wildcards.site}, part {wildcards.region}"
    shell:
        f"{FREEBAYES_PART} | bcftools view $keep --output-type b --output {{output}}) 2> {{log}}"


rule gather_somatic_parts:
    input:
        lambda wildcards: expand(
            "results/{study}/sites/{site}/variants/somatic_parts/{patient}.{region}.bcf",
            study=STUDY,
            site=wildcards.site,
            patient=wildcards.patient,
            region=plan.regions,
        ),
    output:
        temp("results/{study}/sites/{site}/variants/somatic_raw/{patient}.bcf"),
    log:
        "results/{study}/sites/{site}/logs/gather_somatic_parts/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/gather_somatic_parts/{patient}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    message:
        "Put the called parts of {wildcards.patient} of {wildcards.site} together"
    shell:
        # Targets are sorted by the names of chromosomes; the calls follow the genome.
        "(bcftools concat --output-type u {input}"
        " | bcftools sort --temp-dir {resources.tmpdir}/bcftools-XXXXXX --output-type b"
        " --output {output} -) 2> {log}"


rule list_normal_alleles:
    input:
        alignments=lambda wildcards: expand(
            "results/{study}/sites/{site}/alignment/{file}{suffix}",
            study=STUDY,
            site=wildcards.site,
            file=cohorts[wildcards.site].alignment(
                cohorts[wildcards.site].patients[wildcards.patient].normal_dna.sample
            ),
            suffix=["", ".bai"],
        ),
        region="results/{study}/reference/regions/{region}.bed",
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
    output:
        temp("results/{study}/sites/{site}/variants/normal_alleles/{patient}.{region}.tsv.gz"),
    log:
        "results/{study}/sites/{site}/logs/list_normal_alleles/{patient}.{region}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/list_normal_alleles/{patient}.{region}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
    params:
        alignments=lambda wildcards, input: input.alignments[0],
        filters=study.variants.somatic.model_dump(),
    message:
        "List alleles of the normal of {wildcards.patient} of {wildcards.site}, part {wildcards.region}"
    shell:
        f"{FREEBAYES_PART} | bcftools view $keep --output-type u"
        " | bcftools query --format '%CHROM\\t%POS\\t%REF\\t%ALT\\n'"
        " | bgzip > {output}) 2> {log}"


rule build_panel_of_normals:
    input:
        alleles=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/variants/normal_alleles/{patient}.{region}.tsv.gz"
            for region in plan.regions
            for patient in cohorts[wildcards.site].germline_patients
        ],
        decisions="results/{study}/sites/{site}/quality_control/alignment_decisions.parquet",
        index="results/{study}/reference/genome.fa.fai",
    output:
        vcf="results/{study}/sites/{site}/variants/panel_of_normals.vcf.gz",
        index="results/{study}/sites/{site}/variants/panel_of_normals.vcf.gz.tbi",
    log:
        "results/{study}/sites/{site}/logs/build_panel_of_normals.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/build_panel_of_normals.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        normals=lambda wildcards: list(cohorts[wildcards.site].germline_patients),
        minimum_number=study.variants.somatic.minimum_panel_normals,
    message:
        "Count the alleles that normals of {wildcards.site} show"
    script:
        "../../scripts/variants/build_panel_of_normals.py"


rule filter_somatic:
    input:
        calls="results/{study}/sites/{site}/variants/somatic_raw/{patient}.bcf",
        tumour=lambda wildcards: "results/{study}/sites/{site}/alignment/"
        + cohorts[wildcards.site].alignment(
            cohorts[wildcards.site].patients[wildcards.patient].tumour_dna.sample
        ),
        tumour_index=lambda wildcards: "results/{study}/sites/{site}/alignment/"
        + cohorts[wildcards.site].alignment(
            cohorts[wildcards.site].patients[wildcards.patient].tumour_dna.sample
        )
        + ".bai",
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        annotation=[study.reference.annotation] if study.reference.annotation else [],
        germline_resource=(
            [study.reference.germline_resource] if study.reference.germline_resource else []
        ),
        panel_of_normals=(
            [study.reference.panel_of_normals] if study.reference.panel_of_normals else []
        ),
        site_panel=lambda wildcards: (
            ["results/{study}/sites/{site}/variants/panel_of_normals.vcf.gz"]
            if cohorts[wildcards.site].other_normals(wildcards.patient)
            else []
        ),
        own_alleles=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/variants/normal_alleles/{name}.{region}.tsv.gz"
            for name in cohorts[wildcards.site].germline_patients
            if name == wildcards.patient and cohorts[wildcards.site].other_normals(name)
            for region in plan.regions
        ],
        decisions=lambda wildcards: (
            ["results/{study}/sites/{site}/quality_control/alignment_decisions.parquet"]
            if cohorts[wildcards.site].other_normals(wildcards.patient)
            else []
        ),
    output:
        vcf="results/{study}/sites/{site}/variants/somatic_filtered/{patient}.vcf.gz",
        index="results/{study}/sites/{site}/variants/somatic_filtered/{patient}.vcf.gz.tbi",
    log:
        "results/{study}/sites/{site}/logs/filter_somatic/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/filter_somatic/{patient}.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        tumour=lambda wildcards: cohorts[wildcards.site].called_samples(wildcards.patient)[0],
        normal=lambda wildcards: next(
            iter(cohorts[wildcards.site].called_samples(wildcards.patient)[1:]), None
        ),
        normals=lambda wildcards: list(cohorts[wildcards.site].germline_patients),
        filters=study.variants.somatic.model_dump(),
    message:
        "Filter somatic calls of {wildcards.patient} of {wildcards.site}"
    script:
        "../../scripts/variants/filter_somatic.py"


# What is taken over from the study's known variants, under names of its own: a call set may have
# an INFO/AF already.
KNOWN_FIELDS = {
    resource: field
    for resource, field in (
        ("germline_resource", "INFO/POPULATION_AF:=INFO/AF"),
        ("clinvar", "INFO/CLINVAR_CLNSIG:=INFO/CLNSIG"),
    )
    if resource in study.reference.paths
}


rule index_known_variants:
    input:
        calls=lambda wildcards: study.reference.paths[wildcards.resource],
        index="results/{study}/reference/genome.fa.fai",
    output:
        calls="results/{study}/reference/known/{resource}.vcf.gz",
        index="results/{study}/reference/known/{resource}.vcf.gz.csi",
    log:
        "results/{study}/logs/index_known_variants/{resource}.log",
    benchmark:
        "results/{study}/benchmarks/index_known_variants/{resource}.tsv"
    wildcard_constraints:
        resource="germline_resource|clinvar",
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    message:
        "Index the known variants of {wildcards.resource}"
    shell:
        # The hospital's copy may be read-only, so the index is made beside a link. Known variants
        # under other chromosome names (1 against chr1) would silently annotate nothing.
        "(ln -sf $(realpath {input.calls}) {output.calls};"
        " bcftools index --force --csi --output {output.index} {output.calls};"
        " bcftools index --stats {output.calls}"
        " | awk 'NR == FNR {{ genome[$1]; next }} $1 in genome {{ shared++ }}"
        ' END {{ if (!shared) {{ print "{input.calls} shares no chromosome name with the genome" ;'
        " exit 1 }} }}' {input.index} - >&2) 2> {log}"


rule annotate_somatic:
    input:
        calls=lambda wildcards: (
            cohorts[wildcards.site].somatic_vcfs[wildcards.patient][0].path
            if wildcards.patient in cohorts[wildcards.site].somatic_vcfs
            else "results/{study}/sites/{site}/variants/somatic_filtered/{patient}.vcf.gz"
        ),
        # bcftools norm ends at a cut as if the file ended there; given files are read through.
        checked=ancient(
            lambda wildcards: (
                [f"results/{STUDY}/sites/{wildcards.site}/given/somatic_call_sets.json"]
                if wildcards.patient in cohorts[wildcards.site].somatic_vcfs
                else []
            )
        ),
        genome="results/{study}/reference/genome.fa",
        index="results/{study}/reference/genome.fa.fai",
        annotation=[study.reference.annotation] if study.reference.annotation else [],
        known=expand(
            "results/{study}/reference/known/{resource}.vcf.gz{suffix}",
            study=STUDY,
            resource=KNOWN_FIELDS,
            suffix=["", ".csi"],
        ),
    output:
        "results/{study}/sites/{site}/variants/somatic/{patient}.bcf",
    log:
        "results/{study}/sites/{site}/logs/annotate_somatic/{patient}.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/annotate_somatic/{patient}.tsv"
    conda:
        "../../envs/variants.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        # Genotypes called here are unphased, and what lies on the same reads is one record: each
        # record is predicted on its own (local), so that no compound effect is invented. A given
        # call set may be phased; there, haplotypes of passing variants are predicted as a whole
        # (BCSQ; unphased heterozygous genotypes are skipped), and LOCAL_BCSQ holds each record's
        # own prediction for the rest. bcftools csq does not read phase sets (PS).
        haplotypes=lambda wildcards, input: (
            f' | bcftools csq --phase s --ncsq 150 --include \'FILTER="PASS" || FILTER="."\''
            f" --fasta-ref {input.genome} --gff-annot {input.annotation} --output-type u -"
            if input.annotation and wildcards.patient in cohorts[wildcards.site].somatic_vcfs
            else ""
        ),
        local=lambda wildcards, input: (
            " | bcftools csq --local-csq --phase a"
            + (
                " --custom-tag LOCAL_BCSQ"
                if wildcards.patient in cohorts[wildcards.site].somatic_vcfs
                else ""
            )
            + f" --fasta-ref {input.genome} --gff-annot {input.annotation} --output-type u -"
            if input.annotation
            else ""
        ),
        known=expand(
            "results/{study}/reference/known/{resource_and_field}",
            study=STUDY,
            resource_and_field=[f"{r}.vcf.gz,{field}" for r, field in KNOWN_FIELDS.items()],
        ),
    message:
        "Normalise and annotate somatic call set {wildcards.patient} of {wildcards.site}"
    shell:
        "(work=$(mktemp -d); trap 'rm -rf $work' EXIT;"
        " bcftools norm --fasta-ref {input.genome} --check-ref e --multiallelics -any"
        " --output-type b --output $work/calls.bcf {input.calls};"
        " for known in {params.known}; do bcftools index --force $work/calls.bcf;"
        " bcftools annotate --annotations ${{known%,*}} --columns ${{known#*,}}"
        " --output-type b --output $work/known.bcf $work/calls.bcf;"
        " cp $work/known.bcf $work/calls.bcf; done;"
        " bcftools view --output-type u $work/calls.bcf{params.haplotypes}{params.local}"
        " | bcftools view --output-type b --output {output} -) 2> {log}"


rule list_coding_transcripts:
    input:
        lambda wildcards: study.reference.annotation,
    output:
        "results/{study}/reference/coding_transcripts.parquet",
    log:
        "results/{study}/logs/list_coding_transcripts.log",
    benchmark:
        "results/{study}/benchmarks/list_coding_transcripts.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    message:
        "List coding transcripts and their start codons"
    script:
        "../../scripts/variants/list_coding_transcripts.py"


rule locate_promoter_hotspots:
    input:
        hotspots=study.reference.hotspots or "resources/hotspots.tsv",
        transcripts="results/{study}/reference/coding_transcripts.parquet",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
    output:
        "results/{study}/reference/promoter_hotspots.parquet",
    log:
        "results/{study}/logs/locate_promoter_hotspots.log",
    benchmark:
        "results/{study}/benchmarks/locate_promoter_hotspots.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=lambda wildcards, attempt: 5 * attempt,
    message:
        "Locate promoter hotspots on the study's genome"
    script:
        "../../scripts/variants/locate_promoter_hotspots.py"


rule collect_somatic_variants:
    input:
        calls=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/variants/somatic/{name}.bcf"
            for name in (
                *cohorts[wildcards.site].somatic_called,
                *cohorts[wildcards.site].somatic_vcfs,
            )
        ],
        mafs=lambda wildcards: [
            samples[0].path for samples in cohorts[wildcards.site].mafs.values()
        ],
        checked=ancient(
            lambda wildcards: (
                [f"results/{STUDY}/sites/{wildcards.site}/given/mafs.json"]
                if cohorts[wildcards.site].mafs
                else []
            )
        ),
        coverage=lambda wildcards: [
            f"results/{STUDY}/sites/{wildcards.site}/quality_control/"
            + cohorts[wildcards.site].alignment(sample).removesuffix(".bam")
            + ".quantized.bed.gz"
            for patient in cohorts[wildcards.site].somatic_called
            for sample in cohorts[wildcards.site].called_samples(patient)
        ],
        catalogue="results/{study}/reference/gene_catalogue.parquet",
        targets=(["results/{study}/reference/targets.bed"] if study.reference.targets else []),
        hotspots=study.reference.hotspots or "resources/hotspots.tsv",
        tiers="resources/alteration_tiers.tsv",
        # Coordinates and isoforms can be told where the study has an annotation.
        transcripts=(
            ["results/{study}/reference/coding_transcripts.parquet"]
            if study.reference.annotation
            else []
        ),
        promoters=(
            ["results/{study}/reference/promoter_hotspots.parquet"]
            if study.reference.annotation
            else []
        ),
    output:
        variants="results/{study}/sites/{site}/variants/somatic_variants.parquet",
        assessed="results/{study}/sites/{site}/variants/somatic_assessed.parquet",
    log:
        "results/{study}/sites/{site}/logs/collect_somatic_variants.log",
    benchmark:
        "results/{study}/sites/{site}/benchmarks/collect_somatic_variants.tsv"
    conda:
        "../../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        call_sets=lambda wildcards: [
            *(
                {patient.tumour_dna.sample: name}
                for name, patient in cohorts[wildcards.site].somatic_called.items()
            ),
            *(
                {sample.name_in_file: sample.patient for sample in samples}
                for samples in cohorts[wildcards.site].somatic_vcfs.values()
            ),
        ],
        maf_patients=lambda wildcards: [
            {sample.name_in_file: sample.patient for sample in samples}
            for samples in cohorts[wildcards.site].mafs.values()
        ],
        covered_patients=lambda wildcards: [
            patient
            for patient in cohorts[wildcards.site].somatic_called
            for _ in cohorts[wildcards.site].called_samples(patient)
        ],
        callable_depth=study.variants.germline.callable_depth,
    message:
        "Collect somatic variants of {wildcards.site}"
    script:
        "../../scripts/variants/collect_somatic_variants.py"
