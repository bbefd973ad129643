"""Small given files, whole, for tests that then break one: a genome, reads, alignments, calls."""

import gzip
import random
from pathlib import Path

import pysam

_RANDOM = random.Random(7)
GENOME = {name: "".join(_RANDOM.choices("ACGT", k=3000)) for name in ("chr1", "chr2", "chr3")}
LENGTHS = {name: len(sequence) for name, sequence in GENOME.items()}


def write_genome(path, *, index):
    """Write the genome as FASTA, with its index beside it or not."""
    with Path(path).open("w") as target:
        for name, sequence in GENOME.items():
            target.write(f">{name}\n")
            target.writelines(f"{sequence[i : i + 60]}\n" for i in range(0, len(sequence), 60))
    if index:
        pysam.faidx(str(path))


def fastq_text(mate, n=400, run="RUN", length=100):
    """Return reads that cover the genome evenly; mates lie 250 bases apart."""
    records = []
    for number in range(n):
        sequence = GENOME[f"chr{number % 3 + 1}"]
        start = (number * 37) % (len(sequence) - 400)
        bases = sequence[start : start + length]
        if mate == 2:
            last = sequence[start + 250 - length : start + 250]
            bases = last[::-1].translate(str.maketrans("ACGT", "TGCA"))
        records.append(f"@{run}:{number} {mate}:N:0\n{bases}\n+\n{'I' * length}\n")
    return "".join(records)


def write_fastq(path, mate, **options):
    with gzip.open(path, "wt", compresslevel=1) as target:
        target.write(fastq_text(mate, **options))


def read_group(sample, number="1", **tags):
    return {"ID": number, "SM": sample} | tags


def write_bam(path, lengths=None, groups=(), sort_order="coordinate", n=200, **checksums):
    """Write an alignment of perfect reads; `checksums` are M5 by contig."""
    lengths = LENGTHS if lengths is None else lengths
    header = {
        "HD": {"VN": "1.6"} | ({"SO": sort_order} if sort_order else {}),
        "SQ": [
            {"SN": name, "LN": length} | ({"M5": checksums[name]} if name in checksums else {})
            for name, length in lengths.items()
        ],
        "RG": list(groups),
    }
    with pysam.AlignmentFile(path, "wb", header=header) as target:
        for index, name in enumerate(lengths):
            sequence = GENOME.get(name)
            for number in range(n if sequence else 0):
                read = pysam.AlignedSegment(target.header)
                start = number * (len(sequence) - 100) // n
                read.query_name = f"{name}:{number}"
                read.reference_id, read.reference_start = index, start
                read.mapping_quality, read.cigarstring = 60, "100M"
                read.query_sequence = sequence[start : start + 100]
                read.query_qualities = pysam.qualitystring_to_array("I" * 100)
                if groups:
                    read.set_tag("RG", groups[0]["ID"])
                target.write(read)


def vcf_text(samples, lengths=None, sequences=None, n=60, head=()):
    """Return SNVs with the genome's reference alleles; `lengths` None leaves contigs unnamed."""
    sequences = GENOME if sequences is None else sequences
    lines = ["##fileformat=VCFv4.2", *head]
    lines += [f"##contig=<ID={name},length={length}>" for name, length in (lengths or {}).items()]
    lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
    lines.append("\t".join(columns + (["FORMAT", *samples] if samples else [])))
    for name, sequence in sequences.items():
        for number in range(n):
            position = 40 * number + 11
            base = sequence[position - 1]
            other = "C" if base == "A" else "A"
            fields = [name, str(position), ".", base, other, "50", "PASS", ".", "GT"]
            lines.append("\t".join(fields + ["0/1"] * len(samples)))
    return "\n".join(lines) + "\n"


def write_vcf(path, samples, lengths=LENGTHS, **options):
    text = vcf_text(samples, lengths, **options).encode()
    if str(path).endswith(".gz"):
        with pysam.BGZFile(str(path), "wb") as target:
            target.write(text)
    else:
        Path(path).write_bytes(text)


def cut(path, share=0.5, end=b""):
    """Keep the first part of a file, as a copy that broke off; with `end`, as one resumed."""
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: int(len(data) * share)] + end)


BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


STUDY = """study: given
version: "1.0"
title: Files that a site brings
participants: [alpha]
reference: {name: three contigs, genome: given/genome.fa, gene_catalogue: given/genes.tsv}
clinical: {variables: {}}
disclosure: {}
"""
SITE = """site: alpha
title: Alpha
country: LU
study: given
study_version: "1.0"
samples: given/samples.tsv
"""
RUN = "study: given/study.yaml\nsites: [given/site.yaml]\n"
COLUMNS = (
    *("patient", "sample", "tissue", "assay", "lane", "fastq_1", "fastq_2", "bam"),
    *("vcf", "vcf_sample", "counts", "counts_sample", "salmon"),
    *("cells", "cells_sample", "cells_column"),
)


def row(name, tissue="tumour", assay="dna", **files):
    """Return a sheet's row; the patient is what stands before the hyphen of the sample's name."""
    patient = name.split("-")[0]
    return {"patient": patient, "sample": name, "tissue": tissue, "assay": assay} | files


def write_sheet(path, rows):
    lines = ["\t".join(COLUMNS)]
    lines += ["\t".join(row.get(column, "") for column in COLUMNS) for row in rows]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_study(folder, rows, *, index):
    """Write a study of one site with its sheet, below ``given``; the run file is ``run.yaml``."""
    texts = {"study.yaml": STUDY, "site.yaml": SITE, "run.yaml": RUN}
    texts["genes.tsv"] = "gene_id\tgene_name\tcoding_length\nENSG01\tONE\t300\n"
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_genome(folder / "genome.fa", index=index)
    write_sheet(folder / "samples.tsv", rows)
