"""Alteration classes and the most severe consequence of each gene."""

import shutil
import subprocess

import polars as pl
import pysam
import pytest

from ihdsi.variants.consequences import (
    ALTERATION_CLASSES,
    CLASS_OF_MAF,
    alteration_class,
    consequence_entries,
    protein_changes,
    worst_per_gene,
)


@pytest.mark.parametrize(
    ("consequence", "expected"),
    [
        ("stop_gained", "truncating"),
        ("frameshift", "truncating"),
        ("start_lost", "truncating"),
        ("splice_acceptor", "splice"),
        ("splice_donor", "splice"),
        ("stop_lost", "other"),
        ("inframe_altering", "inframe"),
        ("inframe_insertion", "inframe"),
        ("inframe_deletion", "inframe"),
        ("missense", "missense"),
        ("coding_sequence", "other"),
        ("synonymous", "synonymous"),
        ("stop_retained", "synonymous"),
        ("start_retained", "synonymous"),
        ("splice_region", "noncoding"),
        ("5_prime_utr", "noncoding"),
        ("3_prime_utr", "noncoding"),
        ("non_coding", "noncoding"),
        ("intron", "noncoding"),
        ("intergenic", "noncoding"),
        ("a_term_of_tomorrow", "noncoding"),
        ("", "noncoding"),
        # Compound consequences count as their most severe term, in whatever order they are written.
        ("missense&splice_region", "missense"),
        ("splice_region&missense", "missense"),
        ("inframe_deletion&stop_gained", "truncating"),
        ("frameshift&splice_region", "truncating"),
        ("synonymous&splice_region", "synonymous"),
        ("splice_donor&coding_sequence", "splice"),
        ("a_term_of_tomorrow&missense", "missense"),
        # '*': downstream of a stop.
        ("*missense", "missense"),
        ("*frameshift&splice_region", "truncating"),
    ],
)
def test_alteration_class(consequence, expected):
    assert alteration_class(consequence) == expected


def test_maf_classes_are_the_contracts():
    assert set(CLASS_OF_MAF.values()) == {*ALTERATION_CLASSES, "synonymous"}
    assert CLASS_OF_MAF["Nonsense_Mutation"] == "truncating"
    assert CLASS_OF_MAF["Nonstop_Mutation"] == "other"
    assert "Intron" not in CLASS_OF_MAF


@pytest.mark.parametrize(
    ("bcsq", "expected"),
    [
        (
            "missense|TP53|ENST00000269305|protein_coding|-|175R>175H|7675088C>T",
            {"TP53": ("missense", "ENST00000269305")},
        ),
        (
            "intron|TP53|T1|protein_coding,stop_gained|TP53|T2|protein_coding|-|9R>9*|9C>T",
            {"TP53": ("stop_gained", "T2")},
        ),
        ("synonymous|G|T1|,missense|G|T2|,synonymous|G|T3|", {"G": ("missense", "T2")}),
        # The first of equals stays.
        ("missense|G|T1|,missense|G|T2|", {"G": ("missense", "T1")}),
        ("missense&splice_region|G|T1|", {"G": ("missense&splice_region", "T1")}),
        ("*missense|G|T1|,intron|G|T2|", {"G": ("missense", "T1")}),
        # Compound consequences are told at one record; the others point at it.
        ("@7675088", {}),
        ("@7675088,intron|G|T2|", {"G": ("intron", "T2")}),
        ("non_coding|RNU1||snRNA", {"RNU1": ("non_coding", "")}),
        ("intron|G", {"G": ("intron", "")}),
        ("a_term_of_tomorrow|G|T1|,intron|G|T2|", {"G": ("intron", "T2")}),
        (".", {}),
        ("", {}),
    ],
)
def test_worst_per_gene(bcsq, expected):
    assert worst_per_gene(bcsq) == expected


def test_genes_come_most_severe_first():
    worst = worst_per_gene("intron|A|T1|,3_prime_utr|B|T2|,missense|C|T3|,splice_donor|B|T4|")
    assert list(worst.items()) == [
        ("B", ("splice_donor", "T4")),
        ("C", ("missense", "T3")),
        ("A", ("intron", "T1")),
    ]


@pytest.mark.parametrize(
    ("consequence", "amino_acids", "expected"),
    [
        ("missense", "249S>249C", "S249C"),
        ("stop_gained", "280R>280*", "R280*"),
        ("synonymous", "2K", "K2="),
        ("synonymous", "4RG", "R4_G5="),
        # Two codons of one record, and one of which the second residue alone changes.
        ("missense", "2KW>2NR", "K2_W3delinsNR"),
        ("missense", "248RS>248RC", "S249C"),
        ("inframe_deletion", "6SD>6S", "D7del"),
        ("inframe_deletion", "3WRG>3W", "R4_G5del"),
        ("inframe_deletion", "5GS>5A", "G5_S6delinsA"),
        ("inframe_insertion", "4R>4QR", "R4delinsQR"),
        ("inframe_insertion", "6SD>6SSSD", "S6_D7delinsSSSD"),
        ("frameshift", "4RGSDPK*>4QRLRSQV", "R4fs"),
        ("frameshift", "3WRGSDPK*>3WLLRSQV", "R4fs"),
        ("frameshift&splice_region", "85G>85A", "G85fs"),
        ("stop_gained", "4RGG>4*", "R4*"),
        ("stop_lost", "10*>10Q", "*10Q"),
        ("start_lost", None, None),
        ("intron", None, None),
    ],
)
def test_protein_changes(consequence, amino_acids, expected):
    fields = [
        consequence,
        "G",
        "T1",
        "protein_coding",
        "+",
        *([amino_acids, "1A>C"] if amino_acids else []),
    ]
    entries = consequence_entries(pl.Series(["|".join(fields)]))
    changes = entries.join(
        protein_changes(entries), on=["consequence", "amino_acids"], how="left", nulls_equal=True
    )
    assert changes["protein_change"].to_list() == [expected]


def test_entries_agree_with_those_taken_one_by_one():
    values = [
        "missense|TP53|T1.4|protein_coding|-|175R>175H|7C>T,intron|TP53|T2|protein_coding",
        "@7,*stop_gained&inframe_insertion|G|T3|protein_coding|+|5G>5G*|25C>CTAA,intron|H",
        "splice_donor|A|T|pc,a_term_of_tomorrow|A|T|pc,5_prime_utr|B|T|pc",
        "@7",
        ".",
        "",
    ]
    entries = consequence_entries(pl.Series([*values, None, values[0]]))
    assert entries["bcsq"].unique().sort().to_list() == sorted(values[:3])
    assert entries["transcript"].to_list()[0] == "T1"
    for value in values:
        worst = (
            entries.filter(bcsq=value)
            .sort("severity", "entry")
            .unique("gene", keep="first", maintain_order=True)
        )
        expected = worst_per_gene(value)
        assert worst["gene"].to_list() == list(expected)
        assert worst["consequence"].to_list() == [term for term, _ in expected.values()]
        assert worst["alteration_class"].to_list() == [
            alteration_class(term) for term, _ in expected.values()
        ]


def test_no_consequence_at_all():
    entries = consequence_entries(pl.Series([None], dtype=pl.String))
    assert entries.is_empty()
    assert protein_changes(entries).is_empty()


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_terms_of_a_real_bcftools_csq(tmp_path):
    #        codons: ATG AAA TGG CGA GGC TAA at 11..28
    sequence = "T" * 10 + "ATGAAATGGCGAGGCTAA" + "T" * 12
    genome = tmp_path / "genome.fa"
    genome.write_text(f">1\n{sequence}\n")
    pysam.faidx(str(genome))
    features = [
        ("gene", 6, 33, ".", "ID=gene:ENSG1;Name=GENE;biotype=protein_coding;gene_id=ENSG1"),
        ("mRNA", 6, 33, ".", "ID=transcript:ENST1;Parent=gene:ENSG1;biotype=protein_coding"),
        ("exon", 6, 33, ".", "Parent=transcript:ENST1"),
        ("CDS", 11, 28, 0, "ID=CDS:P;Parent=transcript:ENST1"),
        ("three_prime_UTR", 29, 33, ".", "Parent=transcript:ENST1"),
    ]
    (tmp_path / "genes.gff3").write_text(
        "".join(f"1\t.\t{k}\t{s}\t{e}\t.\t+\t{p}\t{a}\n" for k, s, e, p, a in features)
    )
    variants = {
        (11, "A", "G"): ("start_lost", "truncating"),
        (14, "A", "C"): ("missense", "missense"),
        (16, "A", "G"): ("synonymous", "synonymous"),
        (19, "G", "A"): ("stop_gained", "truncating"),
        (20, "C", "CA"): ("frameshift", "truncating"),
        (20, "C", "CAAA"): ("inframe_insertion", "inframe"),
        (26, "T", "C"): ("stop_lost", "other"),
        (31, "T", "C"): ("3_prime_utr", "noncoding"),
    }
    calls = tmp_path / "calls.vcf"
    calls.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=40>\n"
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        + "".join(f"1\t{p}\t.\t{r}\t{a}\t.\t.\t.\n" for p, r, a in variants)
    )
    result = subprocess.run(
        [
            *("bcftools", "csq", "--local-csq", "--phase", "a", "--fasta-ref", genome),
            *("--gff-annot", tmp_path / "genes.gff3", "--output", tmp_path / "out.vcf", calls),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    with pysam.VariantFile(str(tmp_path / "out.vcf")) as annotated:
        found = {
            (r.pos, r.ref, r.alts[0]): worst_per_gene(",".join(r.info["BCSQ"])) for r in annotated
        }
    assert found.keys() == variants.keys()
    for variant, (consequence, expected) in variants.items():
        assert found[variant] == {"GENE": (consequence, "ENST1")}
        assert alteration_class(consequence) == expected
