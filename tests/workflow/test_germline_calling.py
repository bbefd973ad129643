"""Joint calling over regions, whose borders must not matter, and its merge with given calls."""

import random

import numpy as np
import pysam
import pytest
import yaml

from ihdsi.study import GermlineFilters
from ihdsi.variants.germline import read_genotypes
from project_copy import need_tools

pytestmark = pytest.mark.workflow

LENGTH, READ, DEPTH = 3_000, 100, 40
#: Three regions of 3,000 bases end at 1,000 and 2,000. SNVs lie on both sides of one border (one
#: of them of P1 alone), and a deletion (first base that is absent, 0-based, and length) crosses
#: the other.
SNVS = {500: "het", 1990: "hom", 2000: "hom", 2001: "het", 2010: "het"}
ONLY_P1 = (500, 2001)
DELETION = (997, 5)
PATIENTS = ("P1", "P2")


def haplotypes(reference, patient):
    """Two sequences with the variants, each a list of (reference position, base or gap)."""
    copies = [list(reference), list(reference)]
    for position, kind in SNVS.items():
        if patient == "P2" and position in ONLY_P1:
            continue
        base = reference[position - 1]
        alternate = "ACGT"["ACGT".index(base) - 1]
        for copy in copies if kind == "hom" else copies[:1]:
            copy[position - 1] = alternate
    if patient == "P2":
        start, length = DELETION
        for index in range(start, start + length):
            copies[1][index] = ""
    return copies


def write_alignment(path, reference, patient, rng):
    header = pysam.AlignmentHeader.from_dict(
        {
            "HD": {"VN": "1.6", "SO": "coordinate"},
            "SQ": [{"SN": "chr1", "LN": LENGTH}],
            "RG": [{"ID": patient, "SM": f"{patient}-N"}],
        }
    )
    reads = []
    for number in range(LENGTH * DEPTH // READ):
        copy = haplotypes(reference, patient)[number % 2]
        start = int(rng.integers(0, LENGTH - READ - 10))
        bases, cigar, place = [], [], start
        while len(bases) < READ:
            operation = 0 if copy[place] else 2
            if cigar and cigar[-1][0] == operation:
                cigar[-1][1] += 1
            else:
                cigar.append([operation, 1])
            bases += [copy[place]] if copy[place] else []
            place += 1
        if cigar[0][0] == 2:
            continue
        read = pysam.AlignedSegment(header)
        read.query_name = f"read{number}"
        read.query_sequence = "".join(bases)
        read.query_qualities = pysam.qualitystring_to_array("I" * READ)
        read.flag = 16 * (number // 2 % 2)
        read.reference_id, read.reference_start, read.mapping_quality = 0, start, 60
        read.cigartuples = [tuple(part) for part in cigar]
        read.set_tag("RG", patient)
        reads.append(read)
    with pysam.AlignmentFile(str(path), "wb", header=header) as target:
        for read in sorted(reads, key=lambda read: read.reference_start):
            target.write(read)
    pysam.index(str(path))


@pytest.fixture
def cohort(project):
    """Two normals on a genome of one chromosome, each with reads of its own."""
    rng = np.random.default_rng(1)
    reference = "".join(random.Random(1).choices("ACGT", k=LENGTH))
    folder = project.root / "data"
    folder.mkdir()
    (folder / "genome.fa").write_text(f">chr1\n{reference}\n")
    rows = ["patient\tsample\ttissue\tassay\tbam"]
    for patient in PATIENTS:
        write_alignment(folder / f"{patient}.bam", reference, patient, rng)
        rows.append(f"{patient}\t{patient}-N\tnormal\tdna\tdata/{patient}.bam")
    (folder / "samples.tsv").write_text("\n".join(rows) + "\n")
    study = {
        "study": "borders",
        "version": "1.0",
        "title": "Borders of regions",
        "participants": ["alpha"],
        "reference": {"name": "tiny", "genome": "data/genome.fa"},
        "clinical": {"variables": {}},
        "disclosure": {"minimum_n": 10, "minimum_cell_count": 5},
    }
    site = {
        "site": "alpha",
        "title": "Alpha",
        "country": "ZZ",
        "study": "borders",
        "study_version": "1.0",
        "samples": "data/samples.tsv",
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(site))

    def call(caller, regions, targets=None, names=PATIENTS, **resources):
        study["reference"].update(resources)
        if targets:
            (folder / "targets.bed").write_text(targets)
            study["reference"]["targets"] = "data/targets.bed"
        study["variants"] = {"germline": {"caller": caller}}
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        run = {"study": "data/study.yaml", "sites": ["data/site.yaml"], "regions": regions}
        (folder / "config.yaml").write_text(yaml.safe_dump(run))
        target = "results/borders/sites/alpha/variants/germline/cohort.bcf"
        project.run("--configfile", "data/config.yaml", "--cores", "2", "--", target)
        with pysam.VariantFile(str(project.root / target)) as source:
            assert list(source.header.samples) == list(names)
        return project.root / target

    return call, reference


def read(path):
    """Records as text, and genotypes of the patients with reads."""
    with pysam.VariantFile(str(path)) as source:
        lines = [str(record) for record in source]
    return lines, read_genotypes(path, PATIENTS, GermlineFilters())


@pytest.mark.parametrize("caller", ["bcftools", "freebayes"])
def test_borders_do_not_matter(cohort, caller):
    need_tools("bcftools", "freebayes", "samtools")
    call, reference = cohort
    whole, genotypes = read(call(caller, 1))
    parts, _ = read(call(caller, 3))
    assert parts == whole
    # What was planted is found, once, with the right genotypes and names.
    found = {
        (patient, position, reference_allele): dosage
        for patient, position, reference_allele, dosage in genotypes.select(
            "patient", "position", "reference_allele", "allele_dosage"
        ).iter_rows()
    }
    assert len(found) == genotypes.height
    expected = {}
    for position, kind in SNVS.items():
        carriers = ("P1",) if position in ONLY_P1 else PATIENTS
        for patient in PATIENTS:
            dosage = (2 if kind == "hom" else 1) if patient in carriers else 0
            expected[patient, position, reference[position - 1]] = dosage
    start, length = DELETION
    deletions = {key: dosage for key, dosage in found.items() if len(key[2]) > 1}
    assert {key: dosage for key, dosage in found.items() if len(key[2]) == 1} == expected
    assert sorted((key[0], dosage) for key, dosage in deletions.items()) == [("P1", 0), ("P2", 1)]
    assert all(start - length <= key[1] <= start for key in deletions)


@pytest.mark.parametrize("caller", ["bcftools", "freebayes"])
def test_more_regions_than_bases(cohort, caller):
    """The parts at the end are empty: nothing is asked of the callers, and nothing is lost."""
    need_tools("bcftools", "freebayes", "samtools")
    call, _ = cohort
    _, genotypes = read(call(caller, 3, targets="chr1\t1999\t2001\n"))
    assert genotypes["position"].unique().sort().to_list() == [2000, 2001]


GIVEN_HEADER = """\
##fileformat=VCFv4.2
##contig=<ID=chr1,length=3000>
##FILTER=<ID=bad,Description="Bad">
##INFO=<ID=DP,Number=1,Type=String,Description="Defined as no caller does">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">
##FORMAT=<ID=GQ,Number=1,Type=Float,Description="With decimals">
##FORMAT=<ID=AD,Number=.,Type=Integer,Description="Not by allele">
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO	FORMAT	other	second	first
"""


def test_given_calls_are_merged_with_those_from_reads(cohort, project):
    """V1 and V2 come from a VCF that holds a third sample, in another order."""
    need_tools("bcftools", "samtools")
    call, reference = cohort
    folder = project.root / "data"

    def base(position):
        return reference[position - 1]

    def other(position):
        return "ACGT"["ACGT".index(base(position)) - 1]

    lines = [
        # Two alternate alleles, of which P1 and P2 have the first.
        (500, base(500), f"{other(500)},{'ACGT'['ACGT'.index(base(500)) - 2]}", "PASS",
         "0/0:30:50.5:1,2", "1/2:30:50.5:1,2", "0/1:30:50.5:1,2"),
        # Fails in the file, so that V1 and V2 have no genotype; passes in the joint calls.
        (1990, base(1990), other(1990), "bad",
         "0/0:30:50.5:1", "0/1:30:50.5:1", "1/1:30:50.5:1"),
        # Known of the given file only; V1's genotype is of low quality.
        (2500, base(2500), other(2500), ".",
         "1/1:30:50.5:1", "0/1:30:50.5:1", "0/1:30:19.9:1"),
    ]  # fmt: skip
    text = GIVEN_HEADER + "".join(
        f"chr1\t{position}\t.\t{ref}\t{alt}\t50\t{status}\tDP=x\tGT:DP:GQ:AD\t"
        + "\t".join(genotypes)
        + "\n"
        for position, ref, alt, status, *genotypes in lines
    )
    (folder / "given.vcf").write_text(text)
    resource = folder / "population.vcf"
    resource.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=3000>\n"
        '##INFO=<ID=AF,Number=A,Type=Float,Description="x">\n'
        '##INFO=<ID=CLNSIG,Number=.,Type=String,Description="x">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"chr1\t2500\t.\t{base(2500)}\t{other(2500)}\t.\t.\tAF=0.125;CLNSIG=Benign\n"
    )
    pysam.tabix_index(str(resource), preset="vcf")
    sheet = folder / "samples.tsv"
    rows = [
        line + ("\tvcf\tvcf_sample" if line.startswith("patient") else "\t\t")
        for line in sheet.read_text().splitlines()
    ]
    rows += [
        f"V{number}\tV{number}-N\tnormal\tdna\t\tdata/given.vcf\t{name}"
        for number, name in ((1, "first"), (2, "second"))
    ]
    sheet.write_text("\n".join(rows) + "\n")
    path = call(
        "bcftools",
        2,
        names=("P1", "P2", "V1", "V2"),
        germline_resource="data/population.vcf.gz",
        clinvar="data/population.vcf.gz",
    )
    with pysam.VariantFile(str(path)) as source:
        found = {
            (record.pos, record.alts[0]): (
                list(record.filter),
                record.info["AC"][0],
                record.info["AN"],
                *("/".join("." if a is None else str(a) for a in s["GT"])
                  for s in record.samples.values()),
            )
            for record in source
            if record.pos in (500, 1990, 2500)
        }  # fmt: skip
        (last,) = source.fetch("chr1", 2499, 2500)
        assert last.info["population_AF"] == pytest.approx((0.125,))
        assert last.info["CLNSIG"] == ("Benign",)
    third = "ACGT"["ACGT".index(base(500)) - 2]
    assert found == {
        (500, other(500)): (["PASS"], 3, 8, "0/1", "0/0", "0/1", "1/0"),
        (500, third): (["PASS"], 1, 4, "./.", "./.", "0/0", "0/1"),
        (1990, other(1990)): (["PASS"], 4, 4, "1/1", "1/1", "./.", "./."),
        (2500, other(2500)): (["PASS"], 1, 2, "./.", "./.", "./.", "0/1"),
    }
