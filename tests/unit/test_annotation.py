"""Gene catalogues and transcript maps from the forms in which annotations come."""

import gzip

import polars as pl
import pytest

from ihdsi.annotation import (
    TRANSCRIPT_SCHEMA,
    coding_transcripts,
    gene_catalogue,
    load_transcript_to_gene,
    read_gene_catalogue,
    transcript_to_gene,
    with_targeted_length,
)
from ihdsi.errors import InputError

TP53, RB1, XIST, WASH = (
    "ENSG00000141510",
    "ENSG00000139687",
    "ENSG00000229807",
    "ENSG00000310526",
)
# (transcript, gene, CDS parts as 1-based closed intervals); the longest CDS of TP53 is 40 + 11.
TRANSCRIPTS = [
    ("ENST00000269305", TP53, [(101, 140), (201, 211)]),
    ("ENST00000413465", TP53, [(101, 130)]),
    ("ENST00000267163", RB1, [(1001, 1009)]),
    ("ENST00000429829", XIST, []),
]
GENES = {TP53: ("17", "TP53"), RB1: ("13", "RB1"), XIST: ("X", "XIST")}


def line(chromosome, kind, start, end, attributes):
    return f"{chromosome}\thavana\t{kind}\t{start}\t{end}\t.\t+\t.\t{attributes}\n"


def ensembl_gff3():
    text = "##gff-version 3\n##sequence-region 17 1 83257441\n"
    for gene, (chromosome, name) in GENES.items():
        coding = gene != XIST
        text += line(
            chromosome,
            "gene" if coding else "ncRNA_gene",
            1,
            2000,
            f"ID=gene:{gene};Name={name};biotype=protein_coding;description=a; b;"
            f"gene_id={gene};version=17",
        )
        for transcript, owner, parts in TRANSCRIPTS:
            if owner == gene:
                text += line(
                    chromosome,
                    "mRNA" if coding else "lnc_RNA",
                    1,
                    2000,
                    f"ID=transcript:{transcript};Parent=gene:{gene};Name={name}-201;"
                    f"transcript_id={transcript};version=9",
                )
                text += line(chromosome, "exon", 1, 2000, f"Parent=transcript:{transcript};rank=1")
                for start, end in parts:
                    text += line(
                        chromosome,
                        "CDS",
                        start,
                        end,
                        f"ID=CDS:ENSP1;Parent=transcript:{transcript};protein_id=ENSP1",
                    )
        text += "###\n"
    return text


def gencode_gff3(suffix=""):
    text = "##gff-version 3\n#description: evidence-based annotation\n"
    for gene, (chromosome, name) in GENES.items():
        shared = f"gene_id={gene}.17{suffix};gene_type=protein_coding;gene_name={name}"
        text += line(f"chr{chromosome}", "gene", 1, 2000, f"ID={gene}.17{suffix};{shared};level=2")
        for transcript, owner, parts in TRANSCRIPTS:
            if owner == gene:
                versioned = f"{transcript}.9{suffix}"
                shared_too = f"{shared};transcript_id={versioned};transcript_name={name}-201"
                text += line(
                    f"chr{chromosome}",
                    "transcript",
                    1,
                    2000,
                    f"ID={versioned};Parent={gene}.17{suffix};{shared_too}",
                )
                for start, end in parts:
                    text += line(
                        f"chr{chromosome}",
                        "CDS",
                        start,
                        end,
                        f"ID=CDS:{versioned};Parent={versioned};{shared_too}",
                    )
    return text


def gtf(prefix="", gene_version="", transcript_version=""):
    text = "#!genome-build GRCh38.p14\n"
    for gene, (chromosome, name) in GENES.items():
        # Ensembl gives versions as attributes of their own; GENCODE appends them.
        shared = f'gene_id "{gene}{gene_version}"; gene_version "17"; '
        names = f'gene_name "{name}"; gene_biotype "protein_coding";'
        text += line(prefix + chromosome, "gene", 1, 2000, shared + names)
        for transcript, owner, parts in TRANSCRIPTS:
            if owner == gene:
                whole = (
                    f'{shared}transcript_id "{transcript}{transcript_version}"; '
                    f'transcript_version "9"; {names} transcript_name "{name}-201";'
                )
                text += line(prefix + chromosome, "transcript", 1, 2000, whole)
                text += line(prefix + chromosome, "exon", 1, 2000, whole)
                for start, end in parts:
                    text += line(prefix + chromosome, "CDS", start, end, whole)
    return text


FORMS = {
    "ensembl.gff3": (ensembl_gff3(), ""),
    "gencode.gff3": (gencode_gff3(), "chr"),
    "ensembl.gtf": (gtf(), ""),
    "gencode.gtf": (gtf("chr", ".17", ".9"), "chr"),
}


@pytest.fixture(params=FORMS)
def annotation(request, tmp_path):
    text, prefix = FORMS[request.param]
    path = tmp_path / request.param
    path.write_text(text)
    return path, prefix


def test_every_form_gives_the_same_catalogue(annotation):
    path, prefix = annotation
    catalogue = gene_catalogue(path)
    assert catalogue.schema == {
        "gene_id": pl.String,
        "gene_name": pl.String,
        "chromosome": pl.String,
        "coding_length": pl.Int64,
    }
    assert catalogue.rows() == [
        (TP53, "TP53", f"{prefix}17", 51),
        (RB1, "RB1", f"{prefix}13", 9),
        (XIST, "XIST", f"{prefix}X", None),
    ]


def test_every_form_gives_the_same_transcripts(annotation):
    path, _ = annotation
    assert transcript_to_gene(path).rows() == [
        (transcript, gene, GENES[gene][1]) for transcript, gene, _ in TRANSCRIPTS
    ]


def test_gzipped_annotation(tmp_path):
    path = tmp_path / "a.gff3.gz"
    path.write_bytes(gzip.compress(ensembl_gff3().encode()))
    assert gene_catalogue(path)["gene_id"].to_list() == list(GENES)


def test_pseudoautosomal_copies_on_y_neither_repeat_nor_lengthen_genes(tmp_path):
    path = tmp_path / "par.gff3"
    copies = gencode_gff3("_PAR_Y").replace("chrX", "chrY").replace("chr17", "chrY")
    path.write_text(gencode_gff3() + copies)
    assert gene_catalogue(path).rows() == [
        (TP53, "TP53", "chr17", 51),
        (RB1, "RB1", "chr13", 9),
        (XIST, "XIST", "chrX", None),
    ]
    assert transcript_to_gene(path)["transcript_id"].to_list() == [t for t, _, _ in TRANSCRIPTS]


def test_gene_without_name_is_called_by_its_id(tmp_path):
    path = tmp_path / "a.gff3"
    path.write_text(
        line("1", "gene", 1, 9, f"ID=gene:{WASH};biotype=lncRNA;gene_id={WASH}")
        + line("1", "lnc_RNA", 1, 9, f"ID=transcript:ENST00000000001;Parent=gene:{WASH}")
    )
    assert gene_catalogue(path).rows() == [(WASH, WASH, "1", None)]
    assert transcript_to_gene(path).rows() == [("ENST00000000001", WASH, WASH)]


@pytest.mark.parametrize(
    ("gene_type", "transcript_type"),
    [
        ("gene", "V_gene_segment"),
        ("gene", "unconfirmed_transcript"),
        ("pseudogene", "pseudogenic_transcript"),
        ("ncRNA_gene", "snoRNA"),
        ("ncRNA_gene", "a_type_of_tomorrow"),
    ],
)
def test_ensembls_gff3_types_of_genes_and_transcripts(tmp_path, gene_type, transcript_type):
    path = tmp_path / "a.gff3"
    path.write_text(
        line("1", gene_type, 1, 9, f"ID=gene:{WASH};Name=W;gene_id={WASH}")
        + line("1", transcript_type, 1, 9, f"ID=transcript:ENST00000000001;Parent=gene:{WASH}")
        + line("1", "exon", 1, 9, "Parent=transcript:ENST00000000001;rank=1")
    )
    assert transcript_to_gene(path).rows() == [("ENST00000000001", WASH, "W")]
    assert gene_catalogue(path).height == 1


def test_chromosomes_named_by_number_first_and_by_letter_late(tmp_path):
    path = tmp_path / "many.gtf"
    path.write_text(
        "".join(
            line("1", "gene", n, n + 1, f'gene_id "ENSG{n:011d}"; gene_name "G{n}";')
            for n in range(1, 2001)
        )
        + line("MT", "gene", 1, 9, 'gene_id "ENSG00000210049"; gene_name "MT-TF";')
    )
    catalogue = gene_catalogue(path)
    assert catalogue["chromosome"].unique(maintain_order=True).to_list() == ["1", "MT"]
    assert catalogue["coding_length"].null_count() == 2001


def test_annotation_without_genes_is_refused(tmp_path):
    path = tmp_path / "a.gff3"
    path.write_text(line("1", "exon", 1, 9, "Parent=transcript:ENST00000000001"))
    with pytest.raises(InputError, match="no feature of type 'gene'") as caught:
        gene_catalogue(path)
    assert caught.value.problems[0].file == path


def test_read_catalogue(tmp_path):
    path = tmp_path / "genes.tsv"
    path.write_text(
        f"# panel of 2024\ngene_id\tgene_name\trole\tcoding_length\n"
        f"{TP53}\tTP53\ttsg\t1182\n{RB1}\tRB1\ttsg\t\n"
    )
    catalogue = read_gene_catalogue(path)
    assert catalogue.schema == {
        "gene_id": pl.String,
        "gene_name": pl.String,
        "chromosome": pl.String,
        "coding_length": pl.Int64,
    }
    assert catalogue.rows() == [(TP53, "TP53", None, 1182), (RB1, "RB1", None, None)]


def test_optional_columns_may_be_absent_and_chromosomes_are_text(tmp_path):
    path = tmp_path / "genes.tsv"
    path.write_text(f"gene_name\tgene_id\tchromosome\nTP53\t{TP53}\t17\n")
    assert read_gene_catalogue(path).rows() == [(TP53, "TP53", "17", None)]


@pytest.mark.parametrize("column", ["gene_id", "gene_name"])
def test_catalogue_without_a_column_is_refused(tmp_path, column):
    path = tmp_path / "genes.tsv"
    path.write_text(f"gene_id\tgene_name\n{TP53}\tTP53\n".replace(column, "other"))
    with pytest.raises(InputError) as caught:
        read_gene_catalogue(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.column) == (path, 1, column)


@pytest.mark.parametrize(
    ("rows", "faults"),
    [
        ([f"{TP53}.12\tTP53\t9"], [(2, "gene_id", f"'{TP53}.12'")]),
        (["TP53\tTP53\t9", f"{RB1}\tRB1\t9"], [(2, "gene_id", "'TP53'")]),
        ([f"{RB1}\tRB1\t9", "\tTP53\t9"], [(3, "gene_id", "'None'")]),
        (
            [f"{RB1}\tRB1\t9", f"{TP53}\tTP53\t9", f"{RB1}\tRB1\t9"],
            [(2, "gene_id", "occurs twice"), (4, "gene_id", "occurs twice")],
        ),
        ([f"{RB1}\tRB1\t9", f"{TP53}\tTP53\t1.5kb"], [(3, "coding_length", "'1.5kb'")]),
        ([f"{RB1}\tRB1\t0"], [(2, "coding_length", "'0'")]),
    ],
)
def test_faults_of_a_catalogue_are_placed(tmp_path, rows, faults):
    path = tmp_path / "genes.tsv"
    path.write_text("\n".join(["gene_id\tgene_name\tcoding_length", *rows]) + "\n")
    with pytest.raises(InputError) as caught:
        read_gene_catalogue(path)
    found = [(problem.row, problem.column) for problem in caught.value.problems]
    assert found == [(row, column) for row, column, _ in faults]
    for problem, (_, _, text) in zip(caught.value.problems, faults, strict=True):
        assert text in problem.what


def test_transcripts_from_an_annotation(annotation):
    path, _ = annotation
    assert load_transcript_to_gene(path, "annotation").equals(transcript_to_gene(path))


def test_transcripts_from_a_table(tmp_path):
    path = tmp_path / "t2g.tsv"
    path.write_text(
        "gene_name\ttranscript_id\tgene_id\tlength\n"
        f"TP53\tENST00000269305.9\t{TP53}.17\t2512\nCD99\tENST00000381192.8_PAR_Y\tENSG1\t9\n"
    )
    assert load_transcript_to_gene(path, "transcript_to_gene").rows() == [
        ("ENST00000269305", TP53, "TP53"),
        ("ENST00000381192", "ENSG1", "CD99"),
    ]


def test_table_of_transcripts_names_all_missing_columns(tmp_path):
    path = tmp_path / "t2g.tsv"
    path.write_text("transcript\tgene_id\tgene\nENST1\tENSG1\tG\n")
    with pytest.raises(InputError) as caught:
        load_transcript_to_gene(path, "transcript_to_gene")
    assert [(p.row, p.column) for p in caught.value.problems] == [
        (1, "transcript_id"),
        (1, "gene_name"),
    ]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_transcripts_from_sequences_stand_for_themselves(tmp_path, compress):
    path = tmp_path / "transcripts.fa"
    path.write_bytes(
        compress(
            b">ENST00000269305.9 cdna chromosome:GRCh38:17 gene:ENSG00000141510.17\nACGT\nACG\n"
            b">ENST00000456328.2|ENSG00000290825.1|OTTHUMG00000002860.3|-|DDX11L2|1657|lncRNA|\nA\n"
            b">ENST00000381192.8|ENSG00000002586.20|\nA\n"
            b">ENST00000381192.8_PAR_Y|ENSG00000002586.20_PAR_Y|\nA\n"
        )
    )
    mapping = load_transcript_to_gene(path, "transcripts")
    names = ["ENST00000269305", "ENST00000456328", "ENST00000381192"]
    assert mapping.columns == ["transcript_id", "gene_id", "gene_name"]
    assert mapping.rows() == [(name,) * 3 for name in names]


# --- coding transcripts -------------------------------------------------------------------------


def coding_gff3(tmp_path, *transcripts, strand="+"):
    """A gene whose transcripts are (id, attributes, CDS parts as (start, end, phase))."""
    lines = [("gene", 1, 900, ".", f"ID=gene:{TP53};Name=TP53;gene_id={TP53}")]
    for name, tags, parts in transcripts:
        lines.append(("mRNA", 1, 900, ".", f"ID=transcript:{name};Parent=gene:{TP53}{tags}"))
        lines += [("CDS", s, e, phase, f"Parent=transcript:{name}") for s, e, phase in parts]
    path = tmp_path / "coding.gff3"
    path.write_text(
        "".join(f"17\tx\t{k}\t{s}\t{e}\t.\t{strand}\t{p}\t{a}\n" for k, s, e, p, a in lines)
    )
    return path


@pytest.mark.parametrize(("strand", "start"), [("+", 101), ("-", 330)])
def test_start_codons_on_both_strands(tmp_path, strand, start):
    # The phase of the first part is that at the end where translation starts.
    parts = [(101, 140, 0 if strand == "+" else 2), (301, 330, 1 if strand == "+" else 0)]
    path = coding_gff3(tmp_path, ("ENST1", "", parts[::-1]), strand=strand)
    found = coding_transcripts(path)
    assert found.schema == TRANSCRIPT_SCHEMA
    assert found.rows() == [("ENST1", TP53, "TP53", "17", strand, start, 70, True)]


def test_an_incomplete_start_has_no_start_codon(tmp_path):
    path = coding_gff3(tmp_path, ("ENST1", "", [(101, 140, 1)]))
    assert coding_transcripts(path)["start_codon"].to_list() == [None]


@pytest.mark.parametrize(
    ("tags", "representative"),
    [
        (("", "", ""), "ENST2"),
        ((";tag=basic,Ensembl_canonical", "", ""), "ENST1"),
        ((";tag=basic,Ensembl_canonical", "", ";tag=basic,MANE_Select"), "ENST3"),
    ],
)
def test_the_representative_transcript(tmp_path, tags, representative):
    lengths = (30, 60, 60)
    path = coding_gff3(
        tmp_path,
        *(
            (f"ENST{i}", tag, [(101, 100 + length, 0)])
            for i, (tag, length) in enumerate(zip(tags, lengths, strict=True), 1)
        ),
    )
    found = coding_transcripts(path)
    assert found.filter("is_representative")["transcript_id"].to_list() == [representative]


def test_coding_transcripts_of_a_gtf(tmp_path):
    ids = f'gene_id "{TP53}.5"; transcript_id "ENST1.2"; gene_name "TP53";'
    path = tmp_path / "a.gtf"
    path.write_text(
        f'17\tx\tgene\t1\t900\t.\t-\t.\tgene_id "{TP53}.5"; gene_name "TP53";\n'
        f'17\tx\ttranscript\t1\t900\t.\t-\t.\t{ids} tag "basic"; tag "MANE_Select";\n'
        f"17\tx\tCDS\t101\t130\t.\t-\t0\t{ids}\n"
    )
    assert coding_transcripts(path).rows() == [("ENST1", TP53, "TP53", "17", "-", 130, 30, True)]


def test_genes_and_coding_bases_that_are_sequenced(tmp_path):
    annotation = tmp_path / "genes.gff3"
    rows = [
        ("gene", 101, 900, "ID=gene:ENSG00000000001;Name=A"),
        ("mRNA", 101, 900, "ID=transcript:ENST00000000001;Parent=gene:ENSG00000000001"),
        ("CDS", 101, 200, "ID=CDS:P1;Parent=transcript:ENST00000000001"),
        ("CDS", 301, 600, "ID=CDS:P1;Parent=transcript:ENST00000000001"),
        ("gene", 2001, 2900, "ID=gene:ENSG00000000002;Name=B"),
        ("mRNA", 2001, 2900, "ID=transcript:ENST00000000002;Parent=gene:ENSG00000000002"),
        ("CDS", 2001, 2300, "ID=CDS:P2;Parent=transcript:ENST00000000002"),
        ("ncRNA_gene", 4001, 4900, "ID=gene:ENSG00000000003;Name=C"),
    ]
    annotation.write_text(
        "".join(f"1\tx\t{kind}\t{s}\t{e}\t.\t+\t0\t{text}\n" for kind, s, e, text in rows)
    )
    catalogue = gene_catalogue(annotation)
    targets = pl.DataFrame(
        {"chromosome": ["1", "1", "1"], "start": [100, 2300, 4500], "end": [300, 2900, 4501]}
    )
    found = with_targeted_length(catalogue, annotation, targets)
    assert found.select("gene_name", "coding_length", "is_targeted").rows() == [
        ("A", 100, True),  # the first of two exons
        ("B", None, False),  # only bases that code for nothing
        ("C", None, True),  # no coding sequence, but a base of the gene
    ]
    for nothing in ((None, targets), (annotation, None)):
        whole = with_targeted_length(catalogue, *nothing)
        assert whole.drop("is_targeted").equals(catalogue)
        assert whole["is_targeted"].all()
