"""Given alignments: read groups that name the sample, reads unchanged, bad files refused whole."""

import numpy as np
import pysam
import pytest

from ihdsi.alignment.adopt import adopt_alignment, corrected_read_groups, write_read_groups
from ihdsi.errors import InputError

SEQUENCE = "".join(np.random.default_rng(4).choice(list("ACGT"), size=3000))
GROUPS = [
    {"ID": "1", "SM": "hospital", "PL": "ILLUMINA", "PU": "FC.1", "DS": "two words"},
    {"ID": "2", "SM": "hospital", "LB": "lib"},
]


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_text(f">chr1\n{SEQUENCE}\n")
    pysam.faidx(str(path))
    return path


@pytest.fixture
def write(tmp_path, genome):
    def write_alignment(groups, name="given.bam", order=1, reference=genome, n=200):
        header = {
            "HD": {"VN": "1.6", "SO": "coordinate"},
            "SQ": [{"SN": "chr1", "LN": len(SEQUENCE)}],
            "PG": [{"ID": "caller", "PN": "caller", "CL": "caller -x 'a b'"}],
            "CO": ["RG: no read group"],
        }
        if groups:
            header["RG"] = groups
        path = tmp_path / name
        mode = "wc" if name.endswith("cram") else "wb"
        with pysam.AlignmentFile(
            path, mode, header=header, reference_filename=str(reference)
        ) as out:
            for i in range(n)[::order]:
                read = pysam.AlignedSegment(out.header)
                read.query_name = f"read{i}"
                read.query_sequence = SEQUENCE[10 * i : 10 * i + 50]
                read.query_qualities = pysam.qualitystring_to_array("F" * 50)
                read.reference_id, read.reference_start = 0, 10 * i
                read.cigarstring, read.mapping_quality = "50M", 60
                if groups:
                    read.set_tag("RG", groups[i % len(groups)]["ID"])
                out.write(read)
        return path

    return write_alignment


def content(path, **options):
    """Header lines by record type, and each read with its tags."""
    with pysam.AlignmentFile(path, **options) as source:
        reads = [
            (r.query_name, r.flag, r.reference_start, r.query_sequence, r.get_tag("RG"))
            for r in source
        ]
        return source.header.to_dict(), reads


@pytest.fixture
def adopt(tmp_path, genome):
    def run(given, sample="S-T"):
        done = adopt_alignment(
            given, genome, sample, tmp_path / "out.bam", tmp_path / "out.bam.bai"
        )
        with pysam.AlignmentFile(
            tmp_path / "out.bam", index_filename=str(tmp_path / "out.bam.bai")
        ) as source:
            assert source.is_bam
            assert source.count("chr1", 500, 600) == 14
        return done, *content(tmp_path / "out.bam")

    return run


def no_leftovers(folder, *names):
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)


CORRECTED = [
    {"ID": "1", "SM": "S-T", "PL": "ILLUMINA", "PU": "FC.1", "DS": "two words", "LB": "S-T"},
    {"ID": "2", "SM": "S-T", "LB": "lib"},
]


def test_a_wrong_name_is_corrected_and_nothing_else(tmp_path, write, adopt):
    given = write(GROUPS)
    before, reads = content(given)
    done, header, adopted = adopt(given)
    assert done == "header corrected"
    assert header["RG"] == CORRECTED
    assert adopted == reads
    assert {**header, "RG": GROUPS} == before
    assert content(given)[0]["RG"] == GROUPS
    assert not (tmp_path / "out.bam").is_symlink()
    no_leftovers(tmp_path, "genome.fa", "genome.fa.fai", "given.bam", "out.bam", "out.bam.bai")


def test_a_right_name_costs_no_copy(tmp_path, write, adopt):
    given = write([{**group, "SM": "S-T"} for group in GROUPS])
    done, _, _ = adopt(given)
    assert done == "linked"
    assert (tmp_path / "out.bam").is_symlink()
    assert (tmp_path / "out.bam").resolve() == given


def test_one_wrong_name_among_right_ones(write, adopt):
    done, header, _ = adopt(write([{**GROUPS[0], "SM": "S-T"}, GROUPS[1]]))
    assert done == "header corrected"
    assert header["RG"] == CORRECTED


@pytest.mark.parametrize("name", ["given.bam", "given.cram"])
def test_no_read_group(write, adopt, name):
    done, header, reads = adopt(write([], name))
    assert done == "read group added"
    assert header["RG"] == [{"ID": "S-T", "SM": "S-T", "LB": "S-T", "PL": "ILLUMINA"}]
    assert len(reads) == 200
    assert {read[-1] for read in reads} == {"S-T"}


@pytest.mark.parametrize(
    ("name", "expected"), [("hospital", "header corrected"), ("S-T", "decoded")]
)
def test_a_cram_becomes_a_bam(tmp_path, genome, write, adopt, name, expected):
    given = write([{**group, "SM": name} for group in GROUPS], "given.cram")
    done, header, reads = adopt(given)
    assert done == expected
    assert {group["SM"] for group in header["RG"]} == {"S-T"}
    assert reads == content(given, reference_filename=str(genome))[1]
    no_leftovers(tmp_path, "genome.fa", "genome.fa.fai", "given.cram", "out.bam", "out.bam.bai")


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("name", ["given.bam", "given.cram"])
@pytest.mark.parametrize("groups", [GROUPS, [], [{"ID": "1", "SM": "S-T"}]])
def test_a_truncated_file_leaves_nothing_behind(tmp_path, genome, write, name, groups):
    given = write(groups, name)
    truncate(given)
    with pytest.raises(InputError, match=r"given\..*the alignment of S-T cannot be used"):
        adopt_alignment(given, genome, "S-T", tmp_path / "out.bam", tmp_path / "out.bam.bai")
    no_leftovers(tmp_path, "genome.fa", "genome.fa.fai", name)


def test_an_unsorted_file(tmp_path, genome, write):
    given = write(GROUPS, order=-1)
    with pytest.raises(InputError, match="sorted by coordinate"):
        adopt_alignment(given, genome, "S-T", tmp_path / "out.bam", tmp_path / "out.bam.bai")
    no_leftovers(tmp_path, "genome.fa", "genome.fa.fai", "given.bam")


def test_a_cram_of_another_reference(tmp_path, genome, write):
    other = tmp_path / "other.fa"
    other.write_text(f">chr1\n{SEQUENCE[::-1]}\n")
    pysam.faidx(str(other))
    given = write(GROUPS, "given.cram", reference=other)
    with pytest.raises(InputError, match="made on the study's genome"):
        adopt_alignment(given, genome, "S-T", tmp_path / "out.bam", tmp_path / "out.bam.bai")
    assert not list(tmp_path.glob("out*"))


def test_what_is_no_alignment(tmp_path, genome):
    given = tmp_path / "given.bam"
    given.write_text("chr1\t1\n")
    with pytest.raises(InputError, match="cannot be used"):
        adopt_alignment(given, genome, "S-T", tmp_path / "out.bam", tmp_path / "out.bam.bai")
    with pytest.raises(InputError, match="cannot be read"):
        write_read_groups(given, "S-T", tmp_path / "groups", tmp_path / "libraries")


def test_an_alignment_of_no_reads(tmp_path, genome, write):
    given = write(GROUPS, n=0)
    adopt_alignment(given, genome, "S-T", tmp_path / "out.bam", tmp_path / "out.bam.bai")
    assert content(tmp_path / "out.bam") == ({**content(given)[0], "RG": CORRECTED}, [])


def test_read_groups_of_none_and_of_many():
    assert [group["SM"] for group in corrected_read_groups(GROUPS, "X")] == ["X", "X"]
    assert GROUPS[0]["SM"] == "hospital"
    assert corrected_read_groups([], "X")[0]["ID"] == "X"


@pytest.mark.parametrize(
    ("groups", "libraries"),
    [
        ([], ["RG:Z:S-T\tS-T"]),
        (GROUPS[:1], ["RG:Z:1\tS-T"]),
        # Among several groups it cannot be said which an unnamed read belongs to.
        (GROUPS, ["RG:Z:S-T\tS-T", "RG:Z:1\tS-T", "RG:Z:2\tlib"]),
        (
            [{"ID": "S-T", "SM": "a"}, {"ID": "b", "SM": "b"}],
            ["RG:Z:S-T.other\tS-T", "RG:Z:S-T\tS-T", "RG:Z:b\tS-T"],
        ),
    ],
)
def test_what_a_realignment_is_told(tmp_path, write, groups, libraries):
    write_read_groups(write(groups), "S-T", tmp_path / "groups", tmp_path / "libraries")
    assert (tmp_path / "libraries").read_text().splitlines() == libraries
    lines = [line.split("\t") for line in (tmp_path / "groups").read_text().splitlines()]
    assert [f"RG:Z:{line[1].removeprefix('ID:')}" for line in lines] == [
        row.split("\t")[0] for row in libraries
    ]
    assert all(line[0] == "@RG" and "SM:S-T" in line for line in lines)
