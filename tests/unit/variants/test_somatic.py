"""The somatic variants and territory of a site."""

import gzip

import numpy as np
import polars as pl
import pysam
import pytest

from ihdsi.errors import InputError
from ihdsi.variants.somatic import (
    SOMATIC_SCHEMA,
    gather_somatic,
    read_maf,
    read_somatic_calls,
    read_targets,
    with_gene_ids,
)

# --- given call sets ----------------------------------------------------------------------------

#: Columns that the tests further down look at.
LATER = ("protein_change", "population_frequency", "clinical_significance", "tier")
BCSQ = '##INFO=<ID=BCSQ,Number=.,Type=String,Description="Consequence">\n'


def annotated(tmp_path, *lines, samples=("T1", "N1"), bcsq=True, name="calls.bcf"):
    text = (
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=10000>\n"
        '##FILTER=<ID=weak,Description="Weak">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
        '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Depths">\n'
        + (BCSQ if bcsq else "")
        + "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
        + "\t".join(samples)
        + "\n"
        + "".join(f"{line}\n" for line in lines)
    )
    plain = tmp_path / "calls.vcf"
    plain.write_text(text)
    path = tmp_path / name
    with (
        pysam.VariantFile(str(plain)) as source,
        pysam.VariantFile(str(path), "wb", header=source.header) as target,
    ):
        for record in source:
            target.write(record)
    plain.unlink()
    return path


def test_passing_carried_variants_one_row_a_gene(tmp_path):
    path = annotated(
        tmp_path,
        "1\t10\t.\tA\tG\t.\tPASS\tBCSQ=missense|TP53|ENST1|protein_coding\tGT:DP:AD"
        "\t0/1:100:75,25\t0/0:50:50,0",
        "1\t20\t.\tA\tG\t.\tweak\tBCSQ=missense|TP53|ENST1|\tGT:DP:AD\t0/1:100:75,25\t0/0:50:50,0",
        # Carried by the normal only.
        "1\t30\t.\tA\tG\t.\tPASS\tBCSQ=missense|TP53|ENST1|\tGT:DP:AD\t0/0:9:9,0\t0/1:50:25,25",
        "1\t40\t.\tAC\tA\t.\tPASS\tBCSQ=frameshift|RB1|T1|,stop_gained&splice_region|LPAR6|T2|,"
        "intron|RB1|T3|\tGT:DP:AD\t1|0:40:30,10\t0/0:50:50,0",
        "1\t50\t.\tA\tG\t.\tPASS\tBCSQ=@40\tGT:DP:AD\t0/1:.:.\t0/0:50:50,0",
        "1\t60\t.\tA\tG\t.\tPASS\t.\tGT:DP:AD\t1:0:0,0\t0/0:50:50,0",
        "1\t70\t.\tA\tG\t.\tPASS\t.\tGT:DP:AD\t./.:9:9,0\t0/0:50:50,0",
    )
    variants = read_somatic_calls(path, {"T1": "patient-a"})
    assert variants.schema == SOMATIC_SCHEMA
    assert variants.drop("gene_id", *LATER).rows() == [
        ("patient-a", "1", 10, "A", "G", "TP53", "missense", "missense", 100, 25, 0.25),
        (
            *("patient-a", "1", 40, "AC", "A", "LPAR6", "stop_gained&splice_region"),
            *("truncating", 40, 10, 0.25),
        ),
        ("patient-a", "1", 40, "AC", "A", "RB1", "frameshift", "truncating", 40, 10, 0.25),
        ("patient-a", "1", 50, "A", "G", None, None, "noncoding", None, None, None),
        ("patient-a", "1", 60, "A", "G", None, None, "noncoding", 0, 0, None),
    ]
    assert variants["gene_id"].null_count() == variants.height


def test_several_tumours_of_one_file(tmp_path):
    path = annotated(
        tmp_path,
        "1\t10\t.\tA\tG\t.\tPASS\t.\tGT:DP:AD\t0/1:10:5,5\t0/1:10:6,4",
        "1\t20\t.\tA\tG\t.\t.\t.\tGT:DP:AD\t0/0:10:10,0\t1/1:10:0,10",
        samples=("T1", "T2"),
        bcsq=False,
    )
    variants = read_somatic_calls(path, {"T1": "a", "T2": "b"})
    assert variants.select("patient", "position", "allele_fraction").rows() == [
        ("a", 10, 0.5),
        ("b", 10, 0.4),
        ("b", 20, 1.0),
    ]
    assert variants["consequence"].null_count() == 3
    assert variants["alteration_class"].unique().to_list() == ["noncoding"]


def test_call_set_without_variants(tmp_path):
    variants = read_somatic_calls(annotated(tmp_path), {"T1": "a"})
    assert variants.is_empty()
    assert variants.schema == SOMATIC_SCHEMA


# --- MAF ----------------------------------------------------------------------------------------

MAF_HEADER = (
    "Hugo_Symbol\tEntrez_Gene_Id\tChromosome\tStart_Position\tReference_Allele\t"
    "Tumor_Seq_Allele2\tVariant_Classification\tTumor_Sample_Barcode"
)


def maf(tmp_path, *rows, header=MAF_HEADER, compress=False):
    text = "#version gdc-1.0.0\n# another comment\n" + "\n".join([header, *rows]) + "\n"
    path = tmp_path / ("a.maf.gz" if compress else "a.maf")
    path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())
    return path


ROWS = (
    "TP53\t7157\tchr17\t7675088\tC\tT\tMissense_Mutation\tTCGA-1",
    'RB1\t5925\tchr13\t48342714\tAG\t-\tFrame_Shift_Del\tTCGA-"2',
    "TTN\t7273\tchr2\t178527000\tC\tA\tIntron\tTCGA-1",
    "FGFR3\t2261\tchr4\t1801841\tC\tG\tMissense_Mutation\tTCGA-9",
)


@pytest.mark.parametrize("compress", [False, True])
def test_read_maf(tmp_path, compress):
    mutations = read_maf(maf(tmp_path, *ROWS, compress=compress), {"TCGA-1": "a", 'TCGA-"2': "b"})
    assert mutations.schema == SOMATIC_SCHEMA
    assert mutations["protein_change"].null_count() == mutations.height
    assert mutations.drop("gene_id", *LATER).rows() == [
        (
            *("a", "chr17", 7675088, "C", "T", "TP53", "Missense_Mutation", "missense"),
            *(None, None, None),
        ),
        (
            *("b", "chr13", 48342714, "AG", "-", "RB1", "Frame_Shift_Del", "truncating"),
            *(None, None, None),
        ),
        ("a", "chr2", 178527000, "C", "A", "TTN", "Intron", "noncoding", None, None, None),
    ]


@pytest.mark.parametrize(
    ("columns", "values", "expected"),
    [
        (("t_depth", "t_alt_count"), ("80", "20"), (80, 20, 0.25)),
        (("t_depth", "t_alt_count", "t_vaf"), ("80", "20", "0.31"), (80, 20, 0.31)),
        (("t_vaf",), ("0.31",), (None, None, 0.31)),
        (("t_alt_count",), ("20",), (None, 20, None)),
        (("t_depth", "t_alt_count"), ("", "NA"), (None, None, None)),
        (("t_depth", "t_alt_count"), ("80.0", "20.0"), (80, 20, 0.25)),
        # What a row leaves empty comes from its counts.
        (("t_depth", "t_alt_count", "t_vaf"), ("80", "20", ""), (80, 20, 0.25)),
        (("t_ref_count", "t_alt_count", "t_vaf"), ("60", "20", "NA"), (80, 20, 0.25)),
        (("t_depth", "t_alt_count"), ("0", "0"), (0, 0, None)),
    ],
)
def test_depths_of_a_maf(tmp_path, columns, values, expected):
    path = maf(tmp_path, "\t".join([ROWS[0], *values]), header="\t".join([MAF_HEADER, *columns]))
    mutations = read_maf(path, {"TCGA-1": "a"})
    depths = mutations.select("tumour_depth", "tumour_alternate_depth", "allele_fraction")
    assert depths.row(0) == expected


def test_missing_columns_of_a_maf_are_named(tmp_path):
    header = MAF_HEADER.replace("Chromosome", "Chrom").replace("Tumor_Seq_Allele2", "Allele")
    path = maf(tmp_path, *ROWS, header=header)
    with pytest.raises(InputError) as caught:
        read_maf(path, {"TCGA-1": "a"})
    assert [(p.file, p.column) for p in caught.value.problems] == [
        (path, "Chromosome"),
        (path, "Tumor_Seq_Allele2"),
    ]


def test_maf_of_other_tumours_is_refused(tmp_path):
    path = maf(tmp_path, *ROWS)
    with pytest.raises(InputError, match="none of the 2 tumours") as caught:
        read_maf(path, {"TCGA-5": "a", "TCGA-6": "b"})
    assert caught.value.problems[0].column == "Tumor_Sample_Barcode"


# --- genes --------------------------------------------------------------------------------------


def test_gene_ids_come_from_unambiguous_names():
    catalogue = pl.DataFrame(
        {
            "gene_id": ["ENSG1", "ENSG2", "ENSG3", "ENSG4"],
            "gene_name": ["TP53", "DOUBLE", "DOUBLE", None],
        }
    )
    variants = pl.DataFrame(
        {
            "gene_name": ["DOUBLE", "TP53", None, "ABSENT", "TP53"],
            "gene_id": [None, None, None, None, "ENSG9"],
        },
        schema_overrides={"gene_id": pl.String},
    )
    named = with_gene_ids(variants, catalogue)
    assert named.columns == variants.columns
    assert named["gene_name"].equals(variants["gene_name"])
    assert named["gene_id"].to_list() == [None, "ENSG1", None, None, "ENSG9"]


# --- territory ----------------------------------------------------------------------------------

CATALOGUE = pl.DataFrame(
    {"gene_id": ["ENSG00000141510", "ENSG00000139687"], "gene_name": ["TP53", "RB1"]}
)


def bed(tmp_path, name, *rows):
    path = tmp_path / name
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def coverage(tmp_path):
    return bed(
        tmp_path,
        "patient.quantized.bed",
        ("1", 0, 100, "0:20"),
        ("1", 100, 300, "20:inf"),
        ("1", 300, 350, "0:20"),
        ("1", 350, 900, "20:inf"),
        ("2", 0, 50, "20:inf"),
        ("2", 50, 900, "0:20"),
        ("X", 10, 60, "20:inf"),
    )


def assessed(tmp_path, targets, in_coverage=True, **more):
    calls = annotated(tmp_path)
    covered = [("a", coverage(tmp_path))] if in_coverage else []
    _, table = gather_somatic([(calls, {"T1": "a"})], [], covered, CATALOGUE, targets, 20, **more)
    assert table.schema == {"patient": pl.String, "callable_megabases": pl.Float64}
    return table.row(0)


@pytest.mark.parametrize(
    ("targets", "bases"),
    [
        ([("1", 0, 1000), ("2", 0, 1000), ("X", 0, 1000)], 200 + 550 + 50 + 50),
        ([("1", 250, 400)], 50 + 50),
        ([("1", 0, 100), ("1", 300, 350)], 0),
        ([("1", 100, 300)], 200),
        ([("1", 99, 101), ("1", 299, 301)], 2),
        # On another chromosome, at the same coordinates.
        ([("2", 100, 300), ("X", 50, 300)], 10),
        # Neighbours touch; overlapping and repeated targets are still the same bases.
        ([("1", 100, 200), ("1", 200, 300)], 200),
        ([("1", 100, 250), ("1", 150, 300), ("1", 150, 160), ("1", 150, 160)], 200),
        ([("1", 850, 2000), ("1", 0, 110)], 50 + 10),
    ],
)
def test_callable_megabases_within_targets(tmp_path, targets, bases):
    path = bed(tmp_path, "targets.bed", *targets)
    assert assessed(tmp_path, path) == ("a", pytest.approx(bases / 1e6))


def test_callable_megabases_without_targets(tmp_path):
    assert assessed(tmp_path, None) == ("a", pytest.approx(850 / 1e6))


def test_given_call_sets_cover_all_targets(tmp_path):
    path = bed(
        tmp_path, "targets.bed", ("1", 0, 1000, "x"), ("1", 500, 1200, "y"), ("2", 5, 10, "")
    )
    assert assessed(tmp_path, path, in_coverage=False) == ("a", pytest.approx(1205 / 1e6))
    assert assessed(tmp_path, None, in_coverage=False) == ("a", None)


def test_callable_megabases_of_random_regions(tmp_path):
    rng = np.random.default_rng(1)
    covered = np.zeros((2, 5000), dtype=bool)
    target = np.zeros((2, 5000), dtype=bool)
    quantized, targets = [], []
    for chromosome in range(2):
        edges = np.sort(rng.choice(np.arange(1, 5000), 200, replace=False)).tolist()
        for n, (start, end) in enumerate(zip([0, *edges], [*edges, 5000], strict=True)):
            quantized.append((f"c{chromosome}", start, end, "20:inf" if n % 2 else "0:20"))
            covered[chromosome, start:end] = n % 2
        for start in rng.integers(0, 4900, 60).tolist():
            end = start + int(rng.integers(1, 100))
            targets.append((f"c{chromosome}", start, end))
            target[chromosome, start:end] = True
    calls = annotated(tmp_path)
    files = bed(tmp_path, "q.bed", *quantized), bed(tmp_path, "t.bed", *targets)
    _, table = gather_somatic(
        [(calls, {"T1": "a"})], [], [("a", files[0])], CATALOGUE, files[1], 20
    )
    assert table.row(0) == ("a", pytest.approx((covered & target).sum() / 1e6))


def test_targets_of_many_numbered_chromosomes_then_x(tmp_path):
    path = tmp_path / "targets.bed"
    path.write_text(
        "# made by hand\n"
        + "".join(f"1\t{n}\t{n + 5}\tname\n" for n in range(2000))
        + "X\t1\t9\tx\n"
    )
    targets = read_targets(path)
    assert targets.columns == ["chromosome", "start", "end"]
    assert targets.height == 2001
    assert targets.row(-1) == ("X", 1, 9)


def test_gather_somatic(tmp_path):
    calls = annotated(
        tmp_path,
        "1\t10\t.\tA\tG\t.\tPASS\tBCSQ=missense|TP53|ENST1|\tGT:DP:AD\t0/1:10:5,5\t0/0:9:9,0",
        name="one.bcf",
    )
    given = annotated(tmp_path, samples=("T2", "N2"), name="two.bcf")
    mutations = maf(tmp_path, *ROWS)
    # What a given file holds outside the targets is in no denominator.
    targets = bed(tmp_path, "targets.bed", ("1", 0, 900), ("chr17", 7_000_000, 7_700_000))
    variants, table = gather_somatic(
        [(calls, {"T1": "d"}), (given, {"T2": "c"})],
        # TCGA-8 has no row in the MAF: no mutation, but assessed.
        [(mutations, {"TCGA-1": "b", "TCGA-8": "a"})],
        [("d", coverage(tmp_path))],
        CATALOGUE,
        targets,
        20,
    )
    assert variants.schema == SOMATIC_SCHEMA
    found = variants.select("patient", "chromosome", "gene_name", "gene_id")
    assert found.rows() == [
        ("b", "chr17", "TP53", "ENSG00000141510"),
        ("d", "1", "TP53", "ENSG00000141510"),
    ]
    assert table.rows() == [("a", 0.7009), ("b", 0.7009), ("c", 0.7009), ("d", 0.00075)]
    everywhere, _ = gather_somatic([], [(mutations, {"TCGA-1": "b"})], [], CATALOGUE, None, 20)
    assert everywhere["gene_name"].to_list() == ["TP53", "TTN"]


def test_a_maf_that_names_chromosomes_otherwise_is_refused(tmp_path):
    mutations = maf(tmp_path, *ROWS)
    targets = bed(tmp_path, "targets.bed", ("17", 7_000_000, 7_700_000), ("2", 0, 10))
    with pytest.raises(InputError, match="names chromosomes otherwise than the targets") as error:
        gather_somatic([], [(mutations, {"TCGA-1": "b"})], [], CATALOGUE, targets, 20)
    assert "Chromosome" in str(error.value)
    # Other chromosomes are no other names.
    elsewhere = bed(tmp_path, "elsewhere.bed", ("chr5", 0, 10))
    variants, table = gather_somatic(
        [], [(mutations, {"TCGA-1": "b"})], [], CATALOGUE, elsewhere, 20
    )
    assert variants.is_empty()
    assert table.height == 1


def test_a_base_is_callable_where_tumour_and_normal_cover_it(tmp_path):
    calls = annotated(tmp_path)
    normal = bed(tmp_path, "normal.bed", ("1", 0, 200, "20:inf"), ("1", 200, 900, "0:20"))
    covered = [("a", coverage(tmp_path)), ("a", normal)]
    _, table = gather_somatic([(calls, {"T1": "a"})], [], covered, CATALOGUE, None, 20)
    assert table.row(0) == ("a", pytest.approx(100 / 1e6))


def test_gather_somatic_of_a_site_without_any(tmp_path):
    variants, table = gather_somatic([], [], [], CATALOGUE, None, 20)
    assert variants.schema == SOMATIC_SCHEMA
    assert variants.is_empty()
    assert table.is_empty()
