"""The somatic rules on reads of known truth: a pair, a tumour alone, a panel, several parts."""

import gzip
import subprocess

import numpy as np
import pysam
import pytest
import yaml

from project_copy import need_tools

pytestmark = pytest.mark.workflow

LENGTHS = {"chrB": 3600, "chrA": 2400}
READ = 100
FOLDER = "results/tiny/sites/alpha/variants/somatic_filtered"


class Sample:
    """Single reads from a mixture of haplotypes, aligned by bwa."""

    def __init__(self, root, genome, seed):
        self.root, self.genome = root, genome
        self.rng = np.random.default_rng(seed)

    def write(self, name, depth, variants):
        """Write a BAM; each variant is (chromosome, position, reference, alternate, fraction)."""
        lines = []
        for chromosome, sequence in self.genome.items():
            own = [v for v in variants if v[0] == chromosome]
            lines += [
                self._read(f"{chromosome}.{number}", sequence, own)
                for number in range(len(sequence) * depth // READ)
            ]
        fastq = self.root / f"{name}.fq"
        fastq.write_text("".join(lines))
        bam = self.root / f"{name}.bam"
        group = f"@RG\\tID:{name}\\tSM:{name}\\tPL:ILLUMINA"
        subprocess.run(
            f"bwa mem -R '{group}' {self.root}/genome.fa {fastq} | samtools sort -o {bam} -",
            shell=True,
            check=True,
            capture_output=True,
        )

    def _read(self, name, sequence, variants):
        rng = self.rng
        start = int(rng.integers(-READ, len(sequence)))
        start = min(max(start, 0), len(sequence) - READ - 20)
        text = sequence[start : start + READ + 20]
        # A draw a fraction: variants of one fraction lie on the same molecules.
        draws = {fraction: rng.random() < fraction for *_, fraction in variants}
        for _, position, reference, alternate, fraction in sorted(variants, reverse=True):
            offset = position - 1 - start
            if draws[fraction] and 0 <= offset < READ:
                assert sequence[position - 1 : position - 1 + len(reference)] == reference
                text = text[:offset] + alternate + text[offset + len(reference) :]
        bases = np.frombuffer(text[:READ].encode(), dtype="S1").copy()
        wrong = rng.random(READ) < 0.001
        bases[wrong] = rng.choice(np.array([b"A", b"C", b"G", b"T"]), size=int(wrong.sum()))
        read = bases.tobytes().decode()
        if rng.random() < 0.5:
            read = read[::-1].translate(str.maketrans("ACGT", "TGCA"))
        return f"@{name}\n{read}\n+\n{'F' * READ}\n"


def substituted(genome, chromosome, position, fraction, length=1):
    reference = genome[chromosome][position - 1 : position - 1 + length]
    alternate = reference.translate(str.maketrans("ACGT", "CATG"))
    return (chromosome, position, reference, alternate, fraction)


@pytest.fixture
def tiny(project):
    """Two pairs' worth of samples, their truth, and a configuration that calls in three parts."""
    need_tools("bwa", "samtools", "bcftools", "freebayes", "bgzip")
    root = project.root
    rng = np.random.default_rng(11)
    genome = {
        name: "".join(rng.choice(list("ACGT"), size=length)) for name, length in LENGTHS.items()
    }
    (root / "genome.fa").write_text("".join(f">{n}\n{s}\n" for n, s in genome.items()))
    subprocess.run(["bwa", "index", root / "genome.fa"], check=True, capture_output=True)
    # The three parts end after base 1967 of chrA and base 1633 of chrB.
    (root / "targets.bed").write_text("chrB\t100\t3500\nchrA\t100\t2300\n")

    def sub(*arguments):
        return substituted(genome, *arguments)

    # A deletion that begins before the border and ends after it, in its leftmost place.
    start = next(p for p in range(1628, 1633) if genome["chrB"][p - 1] != genome["chrB"][p + 5])
    deletion = ("chrB", start, genome["chrB"][start - 1 : start + 6], genome["chrB"][start - 1])
    somatic = [
        sub("chrB", 400, 0.3),
        sub("chrB", 700, 0.08),
        sub("chrB", 1200, 0.25, 2),
        (*deletion, 0.35),
        sub("chrA", 1968, 0.2),
    ]
    germline = [sub("chrB", 900, 0.5), sub("chrA", 1500, 1.0)]
    # An artefact of the laboratory, in every sample but the pair's own normal.
    artefact = sub("chrB", 2600, 0.12)
    alone = [sub("chrB", 500, 0.15), sub("chrA", 2200, 0.22)]
    samples = {
        "P1-T": (160, [*somatic, *germline, artefact]),
        "P1-N": (60, germline),
        "P2-T": (160, [*alone, *germline, artefact]),
        "P3-N": (60, [artefact]),
        "P4-N": (60, [artefact]),
    }
    sheet = ["patient\tsample\ttissue\tassay\tbam"]
    for seed, (name, (depth, variants)) in enumerate(samples.items()):
        Sample(root, genome, seed).write(name, depth, variants)
        tissue = "tumour" if name.endswith("T") else "normal"
        sheet.append(f"{name[:2]}\t{name}\t{tissue}\tdna\t{name}.bam")
    (root / "samples.tsv").write_text("\n".join(sheet) + "\n")
    (root / "genes.tsv").write_text("gene_id\tgene_name\nENSG00000141510\tTP53\n")
    documents = {
        "study.yaml": {
            "study": "tiny",
            "version": "1",
            "title": "Somatic calling of a tiny genome",
            "participants": ["alpha"],
            "reference": {
                "name": "tiny",
                "genome": "genome.fa",
                "targets": "targets.bed",
                "gene_catalogue": "genes.tsv",
            },
            "clinical": {"variables": {}},
            "disclosure": {},
        },
        "site.yaml": {
            **{"site": "alpha", "title": "Alpha", "country": "LU", "study": "tiny"},
            **{"study_version": "1", "samples": "samples.tsv"},
        },
        "run.yaml": {"study": "study.yaml", "sites": ["site.yaml"], "regions": 3},
    }
    for name, document in documents.items():
        (root / name).write_text(yaml.safe_dump(document, sort_keys=False))
    return project, somatic, alone, germline, artefact


def written(root, patient):
    return gzip.decompress((root / FOLDER / f"{patient}.vcf.gz").read_bytes()).decode().splitlines()


def called(root, patient):
    with pysam.VariantFile(str(root / FOLDER / f"{patient}.vcf.gz")) as calls:
        assert calls.header.contigs.keys() == list(LENGTHS)
        return {(r.contig, r.pos, r.ref, r.alts[0]): ";".join(r.filter) for r in calls}


def passing(calls):
    return {allele for allele, reasons in calls.items() if reasons == "PASS"}


def test_calls_are_the_truth_and_do_not_depend_on_the_parts(tiny):
    project, somatic, alone, germline, artefact = tiny
    targets = [f"{FOLDER}/{patient}.vcf.gz" for patient in ("P1", "P2")]
    run = (*targets, "--cores", "2", "--configfile", "run.yaml")
    project.run(*run)
    pair, tumour = called(project.root, "P1"), called(project.root, "P2")

    assert passing(pair) == {variant[:4] for variant in somatic}
    assert pair[artefact[:4]] == "panel_of_normals"
    assert all("normal_lod" in pair[variant[:4]] for variant in germline)

    assert passing(tumour) == {variant[:4] for variant in alone}
    assert tumour[artefact[:4]] == "panel_of_normals"
    assert all(tumour[variant[:4]] == "likely_germline" for variant in germline)

    regions = [
        (project.root / f"results/tiny/reference/regions/{part}.bed").read_text().splitlines()
        for part in (1, 2, 3)
    ]
    assert regions == [
        ["chrA\t100\t1967"],
        ["chrA\t1967\t2300", "chrB\t100\t1633"],
        ["chrB\t1633\t3500"],
    ]
    parts = [written(project.root, patient) for patient in ("P1", "P2")]
    project.run(*run, "--config", "regions=1")
    assert [written(project.root, patient) for patient in ("P1", "P2")] == parts
