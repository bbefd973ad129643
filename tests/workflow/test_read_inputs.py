"""Every way in which DNA reads can enter, run to the analysis-ready BAM, against a known truth."""

import gzip
import shutil
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pysam
import pytest
import yaml

from ihdsi.plan import load_plan
from project_copy import copy_project, need_tools

pytestmark = pytest.mark.workflow

LENGTH = 100
COMPLEMENT = str.maketrans("ACGT", "TGCA")
HEADER = ("patient", "sample", "tissue", "assay", "library", "lane", "umi")
HEADER += ("fastq_1", "fastq_2", "bam")


@dataclass(frozen=True)
class Fragment:
    """One sequenced molecule of a simulated library; `insert` is 0 for a single read."""

    name: str
    chromosome: str
    start: int
    insert: int
    library: str = ""
    lane: str = "L001"
    umi: str = ""
    group: str | None = None

    @property
    def molecule(self):
        """What copies of one molecule have in common."""
        return self.library, self.chromosome, self.start, self.insert, self.umi


def simulated_genome(seed=11):
    rng = np.random.default_rng(seed)
    return {f"chr{i}": "".join(rng.choice(list("ACGT"), size=20_000)) for i in (1, 2)}


GENOME = simulated_genome()


def fragments(n, insert=260, seed=1, **fields):
    """`n` molecules at different places; names as of Illumina's machines."""
    rng = np.random.default_rng(seed)
    # Single reads start elsewhere: one that starts as a pair does is a copy to samtools.
    starts = rng.choice(np.arange(100 if insert else 103, 19_000, 7), size=n, replace=False)
    return [
        Fragment(f"SIM:1:FC:1:1101:{seed}:{i}", f"chr{1 + i % 2}", int(start), insert, **fields)
        for i, start in enumerate(starts)
    ]


def copies(originals, suffix, **changes):
    return [replace(one, name=f"{one.name}000{suffix}", **changes) for one in originals]


def mates(fragment):
    """Sequences of a fragment's reads as the machine gives them, with their positions."""
    chromosome = GENOME[fragment.chromosome]
    first = chromosome[fragment.start : fragment.start + LENGTH]
    if not fragment.insert:
        return [(first, fragment.start)]
    second = fragment.start + fragment.insert - LENGTH
    return [
        (first, fragment.start),
        (chromosome[second : second + LENGTH].translate(COMPLEMENT)[::-1], second),
    ]


def write_fastq(folder, sample, given, cut="{umi}"):
    """FASTQ files of each lane, and the sheet's columns of each."""
    lanes = defaultdict(list)
    for fragment in given:
        lanes[fragment.library, fragment.lane].append(fragment)
    rows = []
    for (library, lane), members in lanes.items():
        files = {}
        for mate in range(2 if members[0].insert else 1):
            path = folder / f"{sample}_{library}_{lane}_R{mate + 1}.fq.gz"
            with gzip.open(path, "wt", compresslevel=1) as out:
                for one in members:
                    head = cut.format(umi=one.umi) if mate == 0 else ""
                    sequence = head + mates(one)[mate][0]
                    out.write(f"@{one.name} {mate + 1}:N:0:1\n{sequence}\n+\n")
                    out.write("I" * len(sequence) + "\n")
            files[f"fastq_{mate + 1}"] = str(path)
        rows.append({"library": library, "lane": lane, **files})
    return rows


def write_alignment(path, given, groups, barcode=False):
    """Alignment of the fragments as a hospital might have it, duplicates not marked."""
    header = {
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": name, "LN": len(text)} for name, text in GENOME.items()],
    }
    if groups:
        header["RG"] = groups
    reads = []
    for one in given:
        pair = mates(one)
        for mate, (sequence, position) in enumerate(pair):
            read = pysam.AlignedSegment()
            read.query_name = one.name
            read.query_sequence = sequence.translate(COMPLEMENT)[::-1] if mate else sequence
            read.query_qualities = pysam.qualitystring_to_array("I" * LENGTH)
            read.reference_id = list(GENOME).index(one.chromosome)
            read.reference_start = position
            read.mapping_quality = 60
            read.cigarstring = f"{LENGTH}M"
            if len(pair) == 2:
                read.flag = (0x63, 0x93)[mate]
                read.next_reference_id = read.reference_id
                read.next_reference_start = pair[1 - mate][1]
                read.template_length = (one.insert, -one.insert)[mate]
            if one.group:
                read.set_tag("RG", one.group)
            if barcode:
                read.set_tag("RX", one.umi)
            reads.append(read)
    reads.sort(key=lambda read: (read.reference_id, read.reference_start))
    kind = {"reference_filename": str(path.parent / "genome.fa")} if path.suffix == ".cram" else {}
    with pysam.AlignmentFile(path, "wc" if kind else "wb", header=header, **kind) as out:
        for read in reads:
            out.write(read)
    return [{"bam": str(path)}]


SINGLE = [
    *(first := fragments(300, insert=0, seed=2)),
    *copies(first[:40], "9", lane="L002"),
]
LIBRARIES = [
    *(one := fragments(200, seed=3, library="A")),
    *copies(one[:30], "7", lane="L002"),
    *copies(one[20:60], "8", library="B"),
    *(two := fragments(100, seed=4, library="B", lane="L002")),
    *copies(two[:10], "9", lane="L001"),
]
# Names as of an archive: the barcode is not the eighth field of an Illumina name.
BARCODED = [
    *(
        three := [
            replace(one, name=one.name.replace(":", "."))
            for one in fragments(150, seed=5, umi="ACGTAC")
        ]
    ),
    *copies(three[:40], "6", umi="TTGCAA"),
    *copies(three[20:50], "7"),
    *copies(three[30:40], "8", umi="TTGCAA"),
]
WRONG_NAME = fragments(120, seed=6, group="run1")
NO_GROUP = fragments(110, seed=7)
RIGHT_NAME = fragments(90, seed=8, group="only")
# Pairs and single reads, of two libraries in three read groups, one group unknown to the header.
GIVEN = [
    *(four := fragments(160, seed=9, library="A", group="A.1", umi="AAAA")),
    *copies(four[:25], "7", group="A.2"),
    *copies(four[10:40], "8", group="B.1", library="B"),
    *copies(four[40:50], "6", umi="CCCC"),
    *(five := fragments(60, insert=0, seed=10, library="B", group="B.1", umi="AAAA")),
    *copies(five[:12], "9"),
    *fragments(20, seed=12, library="G-T", group="lost", umi="AAAA"),
]
GIVEN_GROUPS = [
    {"ID": "A.1", "SM": "other", "LB": "A", "PL": "ILLUMINA", "PU": "FC.1"},
    {"ID": "A.2", "SM": "other", "LB": "A", "PL": "ILLUMINA", "DS": "second run"},
    {"ID": "B.1", "SM": "other", "LB": "B"},
]


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """Run all inputs through bwa and minimap2; returns a function that opens a sample's BAM."""
    need_tools("bwa", "minimap2", "samtools", "fastp")
    project = copy_project(tmp_path_factory.mktemp("inputs") / "project")
    folder = project.root / "given"
    folder.mkdir()
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in GENOME.items())
    (folder / "genome.fa").write_text(text)
    pysam.faidx(str(folder / "genome.fa"))
    sheets = {
        "reads": {
            "S-N": write_fastq(folder, "S-N", SINGLE),
            "L-T": write_fastq(folder, "L-T", LIBRARIES),
            "U-N": [
                row | {"umi": "read1:6:2"}
                for row in write_fastq(folder, "U-N", BARCODED, cut="{umi}GG")
            ],
        },
        "reuse": {
            "W-N": write_alignment(
                folder / "w.cram", WRONG_NAME, [{"ID": "run1", "SM": "hospital 17", "CN": "LIH"}]
            ),
            "Z-N": write_alignment(folder / "z.bam", NO_GROUP, []),
            "R-N": write_alignment(folder / "r.bam", RIGHT_NAME, [{"ID": "only", "SM": "R-N"}]),
        },
        "again": {
            "G-T": write_alignment(folder / "g.bam", GIVEN, GIVEN_GROUPS, barcode=True),
            "C-N": write_alignment(folder / "c.cram", NO_GROUP, []),
        },
    }
    targets = {}
    for study, aligner, sites in (
        ("mini", "bwa", ("reads", "reuse", "again")),
        ("mini_two", "minimap2", ("again",)),
    ):
        document = {
            "study": study,
            "version": "1",
            "title": "Inputs",
            "participants": list(sheets),
            "reference": {"name": "random", "genome": "given/genome.fa"},
            "clinical": {"variables": {}},
            "disclosure": {},
            "alignment": {"aligner": aligner},
        }
        # Where somatic variants are called, the genes that are reported must be known.
        catalogue = "gene_id\tgene_name\nENSG1\tONE\n"
        (folder / "genes.tsv").write_text(catalogue)
        document["reference"]["gene_catalogue"] = "given/genes.tsv"
        (folder / f"{study}.yaml").write_text(yaml.safe_dump(document))
        run = {"study": f"given/{study}.yaml", "sites": []}
        for site in sites:
            rows = [
                {"patient": sample[0], "sample": sample, "assay": "dna"}
                | {"tissue": "tumour" if sample.endswith("T") else "normal"}
                | row
                for sample, lanes in sheets[site].items()
                for row in lanes
            ]
            lines = ["\t".join(row.get(c, "") for c in HEADER) for row in rows]
            (folder / f"{site}.tsv").write_text("\n".join(["\t".join(HEADER), *lines]) + "\n")
            settings = {"site": site, "title": site, "country": "LU", "study": study}
            settings |= {"study_version": "1", "samples": f"given/{site}.tsv"}
            settings |= {"alignments": "realign" if site == "again" else "reuse"}
            (folder / f"{study}.{site}.yaml").write_text(yaml.safe_dump(settings))
            run["sites"].append(f"given/{study}.{site}.yaml")
        (folder / f"{study}.run.yaml").write_text(yaml.safe_dump(run))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(project.root)
            cohorts = load_plan(run).cohorts
        files = {
            (study, sample): f"results/{study}/sites/{site}/alignment/{cohort.alignment(sample)}"
            for site, cohort in cohorts.items()
            for sample in cohort.samples
        }
        project.run(*files.values(), "--configfile", f"given/{study}.run.yaml", "--cores", "2")
        targets |= files

    def open_alignment(sample, study="mini"):
        path = project.root / targets[study, sample]
        assert path.with_name(f"{path.name}.bai").is_file()
        return pysam.AlignmentFile(path)

    open_alignment.project = project
    open_alignment.files = targets
    return open_alignment


def read_groups(alignment):
    return {group["ID"]: group for group in alignment.header.to_dict()["RG"]}


def check_reads(alignment, given, sample):
    """Each read is there once, in its place and in a read group of the sample, and copies are told.

    Of the reads of one molecule, exactly one is no duplicate.
    """
    groups = read_groups(alignment)
    assert {group["SM"] for group in groups.values()} == {sample}
    truth = {one.name: one for one in given}
    seen, kept, placed = Counter(), Counter(), 0
    library_of_molecule = defaultdict(set)
    for read in alignment:
        assert not (read.is_secondary or read.is_supplementary)
        # The barcode that fastp has moved into the name.
        name = read.query_name if read.query_name in truth else read.query_name.rpartition(":")[0]
        one = truth[name]
        seen[name] += 1
        mate = int(read.is_read2)
        assert read.is_paired == bool(one.insert)
        placed += (read.reference_name, read.reference_start) == (
            one.chromosome,
            mates(one)[mate][1],
        )
        library_of_molecule[one.library].add(groups[read.get_tag("RG")]["LB"])
        kept[one.molecule, mate] += not read.is_duplicate
    assert seen == {one.name: 2 if one.insert else 1 for one in given}
    assert placed >= 0.99 * seen.total()
    assert set(kept.values()) == {1}
    return library_of_molecule


def test_single_reads_of_two_lanes(aligned):
    with aligned("S-N") as alignment:
        assert check_reads(alignment, SINGLE, "S-N") == {"": {"S-N"}}
        assert read_groups(alignment) == {
            f"S-N.{lane}": {
                "ID": f"S-N.{lane}",
                "SM": "S-N",
                "LB": "S-N",
                "PU": f"S-N.{lane}",
                "PL": "ILLUMINA",
            }
            for lane in ("L001", "L002")
        }


def test_duplicates_are_told_within_a_library_and_over_its_lanes(aligned):
    with aligned("L-T") as alignment:
        assert check_reads(alignment, LIBRARIES, "L-T") == {"A": {"A"}, "B": {"B"}}
        groups = read_groups(alignment)
    assert {i: (g["LB"], g["PU"]) for i, g in groups.items()} == {
        f"L-T.{library}.{lane}": (library, f"{library}.{lane}")
        for library in "AB"
        for lane in ("L001", "L002")
    }
    folder = aligned.project.root / "results/mini/sites/reads/alignment"
    assert sorted(path.name for path in folder.glob("L-T*.bam")) == ["L-T.merged.bam"]


def test_molecules_with_other_barcodes_are_kept(aligned):
    with aligned("U-N") as alignment:
        check_reads(alignment, BARCODED, "U-N")
        alignment.reset()
        # Barcode and spacer are cut away, and nothing else.
        assert {read.query_length for read in alignment} == {LENGTH}


def test_a_cram_becomes_a_bam_that_names_the_sample(aligned):
    with aligned("W-N") as alignment:
        assert alignment.is_bam
        check_reads(alignment, WRONG_NAME, "W-N")
        expected = {"ID": "run1", "SM": "W-N", "CN": "LIH", "LB": "W-N"}
        assert read_groups(alignment) == {"run1": expected}


def test_a_bam_without_read_groups_gets_one(aligned):
    with aligned("Z-N") as alignment:
        check_reads(alignment, NO_GROUP, "Z-N")
        assert list(read_groups(alignment)) == ["Z-N"]


def test_a_bam_that_names_the_sample_is_only_linked(aligned):
    path = aligned.project.root / "results/mini/sites/reuse/alignment/R-N.adopted.bam"
    assert path.is_symlink()
    assert path.resolve() == aligned.project.root / "given/r.bam"


@pytest.mark.parametrize("study", ["mini", "mini_two"])
def test_a_given_alignment_is_aligned_anew(aligned, study):
    with aligned("G-T", study) as alignment:
        libraries = check_reads(alignment, GIVEN, "G-T")
        # Reads whose group the header does not know get one of the sample's own.
        assert libraries == {"A": {"A"}, "B": {"B"}, "G-T": {"G-T"}}
        groups = read_groups(alignment)
        for group in GIVEN_GROUPS:
            assert groups[group["ID"]] == {**group, "SM": "G-T"}
        programs = {line["PN"] for line in alignment.header.to_dict()["PG"]}
        assert ("bwa" if study == "mini" else "minimap2") in programs
        alignment.reset()
        for read in alignment:
            tags = [tag for tag, _ in read.get_tags()]
            assert tags.count("RG") == tags.count("RX") == 1
            assert "xl" not in tags


@pytest.mark.parametrize("study", ["mini", "mini_two"])
def test_a_cram_without_read_groups_is_aligned_anew(aligned, study):
    with aligned("C-N", study) as alignment:
        check_reads(alignment, NO_GROUP, "C-N")
        assert list(read_groups(alignment)) == ["C-N"]


def test_nothing_is_done_twice(aligned):
    files = [file for (study, _), file in aligned.files.items() if study == "mini"]
    text = aligned.project.run(*files, "--configfile", "given/mini.run.yaml", "--dry-run")
    assert "Nothing to be done" in text


def test_only_the_chosen_aligner_is_indexed(aligned):
    results = aligned.project.root / "results"
    assert (results / "mini/reference/bwa/genome.bwt").is_file()
    assert not (results / "mini/reference/minimap2").exists()
    assert (results / "mini_two/reference/minimap2/genome.mmi").is_file()
    assert not (results / "mini_two/reference/bwa").exists()


def test_an_absent_aligner_is_said_before_any_job(aligned):
    if shutil.which("bwa-mem2"):
        pytest.skip("bwa-mem2 is installed here")
    folder = aligned.project.root / "given"
    for part in ("", ".again", ".run"):
        text = (folder / f"mini_two{part}.yaml").read_text().replace("mini_two", "mini_three")
        (folder / f"mini_three{part}.yaml").write_text(text.replace("minimap2", "bwa-mem2"))
    target = "results/mini_three/sites/again/alignment/G-T.realigned.bam"
    arguments = (target, "--configfile", "given/mini_three.run.yaml", "--cores", "1")
    answer = aligned.project.snakemake(*arguments)
    assert answer.returncode != 0
    assert "The study aligns with bwa-mem2" in answer.stdout
    assert "Debian has no package" in answer.stdout
    assert "Traceback" not in answer.stdout
    assert not list((aligned.project.root / "results").glob("mini_three/**/*.*"))
    # A dry run says what would be done, and needs no tool.
    planned = aligned.project.run(*arguments, "--dry-run")
    assert "index_genome_bwa_mem2" in planned
