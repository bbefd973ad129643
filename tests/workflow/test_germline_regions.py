"""Joint calling scattered over regions: the calls do not depend on where the borders lie."""

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
#: Three regions of 3,000 bases end at 1,000 and 2,000. The variants lie on both sides of the
#: borders, and a deletion starts before one and ends behind it.
SNVS = {1000: "het", 1001: "het", 2000: "hom", 2001: "het", 500: "het", 1990: "hom"}
DELETION = (1998, 5)
PATIENTS = ("P1", "P2")


def haplotypes(reference, patient):
    """Two sequences with the variants, each a list of (reference position, base or gap)."""
    copies = [list(reference), list(reference)]
    for position, kind in SNVS.items():
        if patient == "P2" and position in (500, 1001):
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

    def call(caller, regions, targets=None):
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
            assert list(source.header.samples) == list(PATIENTS)
            lines = [str(record) for record in source]
        return lines, read_genotypes(project.root / target, PATIENTS, GermlineFilters())

    return call, reference


@pytest.mark.parametrize("caller", ["bcftools", "freebayes"])
def test_borders_do_not_matter(cohort, caller):
    need_tools("bcftools", "freebayes", "samtools")
    call, reference = cohort
    whole, genotypes = call(caller, 1)
    parts, _ = call(caller, 3)
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
        carriers = ("P1",) if position in (500, 1001) else PATIENTS
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
    _, genotypes = call(caller, 3, targets="chr1\t999\t1001\n")
    assert genotypes["position"].unique().sort().to_list() == [1000, 1001]
