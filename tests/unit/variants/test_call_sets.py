"""A call set without the sample, or without genotypes, is refused rather than read as empty."""

import pysam
import pytest

from ihdsi.errors import InputError
from ihdsi.variants.somatic import read_somatic_calls


@pytest.fixture
def read():
    return read_somatic_calls


@pytest.fixture
def call_set(tmp_path):
    def write(genotypes=True):
        header = pysam.VariantHeader()
        header.contigs.add("chr1", length=1000)
        if genotypes:
            header.formats.add("GT", 1, "String", "Genotype")
        header.formats.add("DP", 1, "Integer", "Depth")
        for sample in ("TUMOR", "NORMAL"):
            header.add_sample(sample)
        path = tmp_path / "calls.vcf"
        with pysam.VariantFile(str(path), "w", header=header) as target:
            target.write(header.new_record(contig="chr1", start=9, alleles=("A", "T")))
        return path

    return write


def test_an_absent_sample_is_named_with_those_that_are_there(read, call_set):
    path = call_set()
    with pytest.raises(InputError) as caught:
        read(path, {"P1-T": "P1"})
    (problem,) = caught.value.problems
    assert (problem.file, problem.column) == (path, "P1-T")
    assert "it holds: TUMOR, NORMAL" in problem.what
    assert "vcf_sample" in problem.remedy


def test_calls_without_genotypes_are_not_read_as_no_variant(read, call_set):
    with pytest.raises(InputError, match="no genotypes"):
        read(call_set(genotypes=False), {"TUMOR": "P1"})


def test_a_good_call_set_is_read(read, call_set):
    read(call_set(), {"TUMOR": "P1"})


def test_reference_blocks_and_symbolic_alleles_are_no_variants(read, call_set):
    path = call_set()
    others = "".join(
        f"chr1\t{place}\t.\tA\t{allele}\t.\tPASS\t.\tGT:DP\t0/1:30\t0/0:30\n"
        for place, allele in enumerate((".", "*", "<DEL>", "<NON_REF>", "T"), 20)
    )
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    path.write_text("\n".join(header) + "\n" + others)
    assert read(path, {"TUMOR": "P1"})["alternate_allele"].to_list() == ["T"]
