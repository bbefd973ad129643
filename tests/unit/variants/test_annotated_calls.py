"""What is told of somatic variants beyond their place: protein, haplotype, hotspot, resources."""

import shutil
import subprocess

import polars as pl
import pysam
import pytest

from ihdsi.annotation import TRANSCRIPT_SCHEMA
from ihdsi.variants.hotspots import PROMOTER_SCHEMA, KnownAlterations
from ihdsi.variants.somatic import SOMATIC_SCHEMA, gather_somatic, read_maf, read_somatic_calls

HOTSPOTS = pl.DataFrame(
    [
        ("FGFR3", "protein", 249, "S", "C", "s"),
        ("TP53", "protein", 248, "R", None, "s"),
    ],
    schema=["gene_name", "kind", "position", "reference", "alternate", "source"],
    orient="row",
)


def transcripts(*rows):
    return pl.DataFrame(
        [(name, "g", "G", "1", "+", 1, length, first) for name, length, first in rows],
        schema=TRANSCRIPT_SCHEMA,
        orient="row",
    )


def one(bcsq, tmp_path, known):
    path = tmp_path / "calls.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=10000>\n"
        '##INFO=<ID=BCSQ,Number=.,Type=String,Description="Consequence">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tT1\n"
        f"1\t10\t.\tA\tG\t.\tPASS\tBCSQ={bcsq}\tGT\t0/1\n"
    )
    found = read_somatic_calls(path, {"T1": "a"}, known)
    return found.select("gene_name", "consequence", "alteration_class", "protein_change").rows()


def test_a_hotspot_in_the_numbering_of_any_isoform(tmp_path):
    known = KnownAlterations(hotspots=HOTSPOTS)
    bcsq = (
        "missense|FGFR3|IIIb|protein_coding|+|251S>251C|10A>G,"
        "missense|FGFR3|IIIc|protein_coding|+|249S>249C|10A>G"
    )
    assert one(bcsq, tmp_path, known) == [("FGFR3", "missense", "hotspot", "S249C")]
    # Without the table it is a missense, in the numbering of the first isoform.
    assert one(bcsq, tmp_path, None) == [("FGFR3", "missense", "missense", "S251C")]
    other = "missense|FGFR3|T|protein_coding|+|249P>249C|10A>G"
    assert one(other, tmp_path, known) == [("FGFR3", "missense", "missense", "P249C")]
    stop = "stop_gained|TP53|T|protein_coding|-|248R>248*|10A>G"
    assert one(stop, tmp_path, known) == [("TP53", "stop_gained", "truncating", "R248*")]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "K1N"),
        ([("T2", 30, True), ("T3", 90, False)], "K2N"),
        ([("T2", 30, False), ("T3", 90, False)], "K3N"),
    ],
)
def test_equals_are_told_in_the_representative_isoform(tmp_path, rows, expected):
    bcsq = ",".join(f"missense|G|T{i}.5|protein_coding|+|{i}K>{i}N|10A>G" for i in (1, 2, 3))
    found = one(bcsq, tmp_path, KnownAlterations(transcripts=transcripts(*rows)))
    assert found == [("G", "missense", "missense", expected)]


def test_known_variants_of_the_resources(tmp_path):
    path = tmp_path / "calls.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=10000>\n"
        '##INFO=<ID=POPULATION_AF,Number=A,Type=Float,Description="f">\n'
        '##INFO=<ID=CLINVAR_CLNSIG,Number=.,Type=String,Description="c">\n'
        '##INFO=<ID=AF,Number=A,Type=Float,Description="of the caller">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tT1\n"
        "1\t10\t.\tA\tG\t.\t.\tAF=0.5;POPULATION_AF=1.5e-05;CLINVAR_CLNSIG=Pathogenic,_risk"
        "\tGT\t1\n"
        "1\t20\t.\tA\tG\t.\t.\tAF=0.5\tGT\t0/1\n"
    )
    found = read_somatic_calls(path, {"T1": "a"})
    assert found.select("population_frequency", "clinical_significance").rows() == [
        (1.5e-05, "Pathogenic,_risk"),
        (None, None),
    ]


def csq(tmp_path, *genotypes):
    """Annotate SNVs of codon AAA and beyond as the workflow annotates a given call set."""
    #        codons: ATG AAA TGG CGA GGC TCA GAT CCC AAG TAA at 11..40
    sequence = "T" * 10 + "ATGAAATGGCGAGGCTCAGATCCCAAGTAA" + "T" * 12
    genome, genes, calls = tmp_path / "g.fa", tmp_path / "g.gff3", tmp_path / "given.vcf"
    genome.write_text(f">1\n{sequence}\n")
    pysam.faidx(str(genome))
    features = [
        ("gene", 6, 45, ".", "ID=gene:ENSG1;Name=GENE;biotype=protein_coding;gene_id=ENSG1"),
        ("mRNA", 6, 45, ".", "ID=transcript:ENST1;Parent=gene:ENSG1;biotype=protein_coding"),
        ("exon", 6, 45, ".", "Parent=transcript:ENST1"),
        ("CDS", 11, 40, 0, "ID=CDS:P;Parent=transcript:ENST1"),
    ]
    genes.write_text(
        "".join(f"1\t.\t{k}\t{s}\t{e}\t.\t+\t{p}\t{a}\n" for k, s, e, p, a in features)
    )
    calls.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=52>\n"
        '##FILTER=<ID=weak,Description="Weak">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tT1\tT2\n"
        + "".join(
            f"1\t{p}\t.\t{r}\t{a}\t.\t{f}\t.\tGT\t{first}\t{second}\n"
            for p, r, a, f, first, second in genotypes
        )
    )
    reference = ("--fasta-ref", genome, "--gff-annot", genes)
    whole, both = tmp_path / "whole.bcf", tmp_path / "both.bcf"
    passing = 'FILTER="PASS" || FILTER="."'
    haplotypes = ("--phase", "s", "--ncsq", "150", "--include", passing)
    local = ("--local-csq", "--phase", "a", "--custom-tag", "LOCAL_BCSQ")
    for options, output, given in ((haplotypes, whole, calls), (local, both, whole)):
        subprocess.run(
            ["bcftools", "csq", "--output-type", "b", *options, *reference, "-o", output, given],
            check=True,
            capture_output=True,
        )
    found = read_somatic_calls(both, {"T1": "a", "T2": "b"})
    columns = ["position", "consequence", "protein_change"]
    return {name: found.filter(patient=name).select(columns).rows() for name in ("a", "b")}


need_bcftools = pytest.mark.skipif(shutil.which("bcftools") is None, reason="no bcftools")


@need_bcftools
def test_neighbours_on_one_haplotype_are_one_change(tmp_path):
    found = csq(
        tmp_path,
        (14, "A", "C", "PASS", "0|1", "0/1"),
        (15, "A", "C", "PASS", "0|1", "0/1"),
        # Multi-nucleotide record, as variants on the same reads are called.
        (20, "CG", "TA", "PASS", "0/1", "0/0"),
    )
    # Told at the first record; the second points at it.
    assert found["a"] == [
        (14, "missense", "K2P"),
        (15, None, None),
        (20, "stop_gained", "R4*"),
    ]
    # The same alleles without phase are told one by one: no compound effect is made up.
    assert found["b"] == [(14, "missense", "K2Q"), (15, "missense", "K2T")]


@need_bcftools
def test_neighbours_on_different_haplotypes(tmp_path):
    found = csq(tmp_path, (14, "A", "C", ".", "0|1", "1|1"), (15, "A", "C", ".", "1|0", "0|1"))
    assert found["a"] == [(14, "missense", "K2Q"), (15, "missense", "K2T")]
    # One haplotype carries both, the other the first alone.
    assert [row[1] for row in found["b"]] == ["missense", None]
    assert found["b"][0][2] in ("K2P", "K2Q")


@need_bcftools
def test_a_missense_behind_a_frameshift(tmp_path):
    found = csq(
        tmp_path,
        (20, "C", "CA", "PASS", "0|1", "0/1"),
        (30, "A", "C", "PASS", "0|1", "0/1"),
    )
    assert found["a"] == [(20, "frameshift", "R4fs"), (30, None, None)]
    assert found["b"] == [(20, "frameshift", "R4fs"), (30, "missense", "D7A")]


@need_bcftools
def test_a_call_that_is_filtered_out_changes_no_haplotype(tmp_path):
    found = csq(
        tmp_path, (14, "A", "C", "weak", "0|1", "0|0"), (15, "A", "C", "PASS", "0|1", "0|1")
    )
    assert found["a"] == found["b"] == [(15, "missense", "K2T")]


MAF_HEADER = (
    "Hugo_Symbol\tChromosome\tStart_Position\tReference_Allele\tTumor_Seq_Allele2\t"
    "Variant_Classification\tTumor_Sample_Barcode"
)
FGFR3 = "FGFR3\tchr4\t1801841\tC\tG\tMissense_Mutation\tTCGA-9"


def maf(tmp_path, *rows, header):
    path = tmp_path / "a.maf"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("column", ["Protein_Change", "HGVSp_Short"])
@pytest.mark.parametrize(
    ("value", "change", "kind"),
    [
        ("p.S249C", "S249C", "hotspot"),
        ("S249C", "S249C", "hotspot"),
        ("p.S249F", "S249F", "missense"),
        ("p.248_249RS>RC", "248_249RS>RC", "hotspot"),
        ("", None, "missense"),
        (".", None, "missense"),
    ],
)
def test_protein_changes_of_a_maf(tmp_path, column, value, change, kind):
    path = maf(tmp_path, f"{FGFR3}\t{value}", header=f"{MAF_HEADER}\t{column}")
    found = read_maf(path, {"TCGA-9": "a"}, KnownAlterations(hotspots=HOTSPOTS))
    assert found.select("protein_change", "alteration_class").row(0) == (change, kind)


def test_promoters_and_tiers_of_gathered_variants(tmp_path):
    header = f"{MAF_HEADER}\tProtein_Change"
    path = maf(
        tmp_path,
        f"{FGFR3}\tp.S249C",
        "TERT\tchr5\t1295228\tG\tA\t5'Flank\tTCGA-9\t",
        "TERT\tchr5\t1295229\tG\tA\t5'Flank\tTCGA-9\t",
        header=header,
    )
    promoters = pl.DataFrame(
        [("TERT", "5", 1295228, "G", "A")], schema=PROMOTER_SCHEMA, orient="row"
    )
    tiers = pl.DataFrame(
        [("FGFR3", "hotspot", "S249C", "I-A", "m", "s")],
        schema=["gene_name", "alteration_class", "protein_change", "tier", "meaning", "source"],
        orient="row",
    )
    catalogue = pl.DataFrame({"gene_id": ["ENSG1", "ENSG2"], "gene_name": ["TERT", "FGFR3"]})

    def gathered(known):
        variants, _ = gather_somatic([], [(path, {"TCGA-9": "a"})], {}, catalogue, None, 20, known)
        assert variants.schema == SOMATIC_SCHEMA
        return variants.select("position", "gene_id", "alteration_class", "tier").rows()

    assert gathered(KnownAlterations(HOTSPOTS, promoters, tiers)) == [
        (1801841, "ENSG2", "hotspot", "I-A"),
        (1295228, "ENSG1", "promoter", None),
        (1295229, "ENSG1", "noncoding", None),
    ]
    # Without an annotation nobody knows where the promoter is.
    assert [row[2] for row in gathered(None)] == ["missense", "noncoding", "noncoding"]
