"""Gene counts from salmon and from given matrices."""

import gzip
import json
import logging
import random
import shutil
import subprocess

import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.expression.counts import (
    CountTable,
    combine_gene_counts,
    gather_gene_counts,
    read_count_matrix,
    salmon_gene_counts,
)
from ihdsi.expression.salmon_output import output_fault, quantification_file, salmon_metrics
from ihdsi.study import ExpressionSettings

TRANSCRIPT_TO_GENE = pl.DataFrame(
    {
        "transcript_id": [f"ENST0000000000{n}" for n in (1, 2, 3, 4)],
        "gene_id": ["ENSG00000000002"] * 2 + ["ENSG00000000001", "ENSG00000000003"],
        "gene_name": ["B", "B", "A", None],
    }
)
QUANT_HEADER = "Name\tLength\tEffectiveLength\tTPM\tNumReads\n"


def quant(folder, name, reads):
    path = folder / name / "quant.sf"
    path.parent.mkdir()
    path.write_text(
        QUANT_HEADER
        + "".join(f"{transcript}\t1000\t800.5\t1.5\t{n}\n" for transcript, n in reads.items())
    )
    return path


# --- salmon -------------------------------------------------------------------------------------


def test_transcripts_add_up_to_genes(tmp_path):
    names = [f"ENST0000000000{n}.{n + 5}" for n in (1, 2, 3, 4)]
    files = {
        "patient-b": quant(tmp_path, "1", dict(zip(names, (10, 5.5, 0, 7.25), strict=True))),
        "patient-a": quant(tmp_path, "2", dict(zip(names, (1, 2, 4.125, 0), strict=True))),
    }
    counts = salmon_gene_counts(files, TRANSCRIPT_TO_GENE)
    assert counts.columns == ["gene_id", "gene_name", "patient-b", "patient-a"]
    assert counts.rows() == [
        ("ENSG00000000001", "A", 0.0, 4.125),
        ("ENSG00000000002", "B", 15.5, 3.0),
        ("ENSG00000000003", None, 7.25, 0.0),
    ]


@pytest.mark.parametrize(
    "form", ["{0}", "{0}.3", "{0}.3|ENSG00000000002.5|OTTHUMG1|-|B-201|B|1000|lncRNA|"]
)
def test_forms_of_transcript_names(tmp_path, form):
    reads = {form.format(f"ENST0000000000{n}"): n for n in (1, 2, 3, 4)}
    counts = salmon_gene_counts({"a": quant(tmp_path, "a", reads)}, TRANSCRIPT_TO_GENE)
    assert counts["a"].to_list() == [3.0, 3.0, 4.0]


def test_pseudoautosomal_copies_add_to_their_gene(tmp_path):
    reads = {"ENST00000000001.3": 4, "ENST00000000001.3_PAR_Y": 2, "ENST00000000003.1": 1}
    counts = salmon_gene_counts({"a": quant(tmp_path, "a", reads)}, TRANSCRIPT_TO_GENE)
    assert dict(counts.select("gene_name", "a").iter_rows()) == {"A": 1.0, "B": 6.0}


def test_many_transcripts_are_summed_exactly(tmp_path):
    rng = random.Random(3)
    mapping, reads, expected = [], {}, {}
    for number in range(300):
        transcript, gene = f"ENST{number:011d}", f"ENSG{rng.randrange(80):011d}"
        mapping.append((transcript, gene, gene.lower()))
        reads[transcript] = rng.randrange(0, 2**20) / 1024  # sums of these are exact in binary
        expected[gene] = expected.get(gene, 0) + reads[transcript]
    table = pl.DataFrame(mapping, schema=TRANSCRIPT_TO_GENE.schema, orient="row")
    counts = salmon_gene_counts({"a": quant(tmp_path, "a", reads)}, table)
    assert dict(counts.select("gene_id", "a").iter_rows()) == expected
    assert counts["gene_id"].is_sorted()
    assert counts.filter(pl.col("gene_name") != pl.col("gene_id").str.to_lowercase()).is_empty()


@pytest.mark.skipif(shutil.which("salmon") is None, reason="salmon is not installed")
def test_the_files_of_a_real_salmon(tmp_path):
    rng = random.Random(1)
    sequences = {f"ENST0000000000{n}.1": "".join(rng.choices("ACGT", k=1000)) for n in (1, 2, 3, 4)}
    fasta = tmp_path / "transcripts.fa"
    fasta.write_text("".join(f">{name}\n{bases}\n" for name, bases in sequences.items()))
    complement = str.maketrans("ACGT", "TGCA")
    n_pairs = {"ENST00000000001.1": 40, "ENST00000000002.1": 25, "ENST00000000003.1": 10}
    noise = 5
    with (tmp_path / "1.fq").open("w") as first, (tmp_path / "2.fq").open("w") as second:
        for name, n in [*n_pairs.items(), ("noise", noise)]:
            for pair in range(n):
                whole = sequences.get(name) or "".join(rng.choices("ACGT", k=1000))
                start = rng.randrange(0, 700)
                fragment = whole[start : start + 250]
                mate = fragment.translate(complement)[::-1]
                for stream, bases in ((first, fragment), (second, mate)):
                    stream.write(f"@{name}_{pair}\n{bases[:100]}\n+\n{'I' * 100}\n")
    index, folder = tmp_path / "index", tmp_path / "quantification"
    for command in (
        f"index -t {fasta} -i {index} -k 31 -p 1",
        f"quant --index {index} --libType A --validateMappings --threads 1"
        f" -1 {tmp_path}/1.fq -2 {tmp_path}/2.fq --output {folder}",
    ):
        command = ["salmon", *command.split()]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
    counts = salmon_gene_counts({"a": folder / "quant.sf"}, TRANSCRIPT_TO_GENE)
    assert counts["a"].to_list() == pytest.approx([10, 65, 0])
    assert salmon_metrics(folder / "aux_info" / "meta_info.json") == {
        "mapping_rate_percent": pytest.approx(100 * 75 / 80),
        "read_pairs": 80.0,
    }


def test_salmon_metrics(tmp_path):
    path = tmp_path / "meta_info.json"
    path.write_text(json.dumps({"percent_mapped": 91.25, "num_processed": 1000, "num_mapped": 7}))
    metrics = salmon_metrics(path)
    assert metrics == {"mapping_rate_percent": 91.25, "read_pairs": 1000.0}
    assert all(isinstance(value, float) for value in metrics.values())


# --- given matrices -----------------------------------------------------------------------------


def matrix(folder, *lines, name="counts.tsv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_of_the_patients_in_their_order(tmp_path):
    path = matrix(
        tmp_path,
        "gene_id\tgene_name\tS1\tS2\tS3",
        "ENSG00000141510.18\tTP53\t10\tnot read\t35",
        "ENSG00000139687\tRB1\t0\t\t1e3",
    )
    counts = read_count_matrix(path, {"S3": "patient-c", "S1": "patient-a"})
    assert counts.schema == {
        "gene_id": pl.String,
        "gene_name": pl.String,
        "patient-c": pl.Float64,
        "patient-a": pl.Float64,
    }
    assert counts.rows() == [
        ("ENSG00000141510", "TP53", 35.0, 10.0),
        ("ENSG00000139687", "RB1", 1000.0, 0.0),
    ]


def test_matrix_without_gene_names_calls_genes_by_id(tmp_path):
    path = matrix(tmp_path, "gene_id\tS1", "ENSG00000141510.18\t10")
    assert read_count_matrix(path, {"S1": "a"}).rows() == [
        ("ENSG00000141510", "ENSG00000141510", 10.0)
    ]


def test_missing_columns_of_a_matrix_are_named(tmp_path):
    path = matrix(tmp_path, "Geneid\tS1", "ENSG00000141510\t10")
    with pytest.raises(InputError) as caught:
        read_count_matrix(path, {"S1": "a", "S2": "b"})
    assert [(p.file, p.row, p.column) for p in caught.value.problems] == [
        (path, 1, "gene_id"),
        (path, 1, "S2"),
    ]


@pytest.mark.parametrize("value", ["-1", "NaN", "nan", "inf", "-inf", "", "NA", "ten", "1,5"])
def test_what_is_not_a_count_is_placed(tmp_path, value):
    path = matrix(tmp_path, "gene_id\tS0\tS1", "ENSG1\t1\t7", f"ENSG2\t1\t{value}")
    with pytest.raises(InputError, match="is not a count") as caught:
        read_count_matrix(path, {"S0": "a", "S1": "b"})
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.column) == (path, 3, "S1")
    assert problem.what.startswith(f"'{value or None}'")


def test_genes_may_occur_once_whatever_their_version(tmp_path):
    path = matrix(tmp_path, "gene_id\tS1", "ENSG1.1\t1", "ENSG2.1\t2", "ENSG1.2\t3", "ENSG2\t4")
    with pytest.raises(InputError) as caught:
        read_count_matrix(path, {"S1": "a"})
    assert [(p.row, p.column) for p in caught.value.problems] == [(4, "gene_id"), (5, "gene_id")]
    assert "'ENSG1' occurs twice" in caught.value.problems[0].what


def test_faults_are_reported_together_a_few_of_each_column(tmp_path):
    rows = [f"ENSG{n}\t-1\tx\t3" for n in range(9)]
    path = matrix(tmp_path, "gene_id\tS1\tS2\tS3", *rows, "ENSG0\t1\t1\t1")
    with pytest.raises(InputError) as caught:
        read_count_matrix(path, {"S1": "a", "S2": "b", "S3": "c"})
    assert [(p.row, p.column) for p in caught.value.problems] == [
        (11, "gene_id"),
        *((row, "S1") for row in (2, 3, 4)),
        *((row, "S2") for row in (2, 3, 4)),
    ]


# --- together -----------------------------------------------------------------------------------


def table(patient, **counts):
    return pl.DataFrame(
        {
            "gene_id": list(counts),
            "gene_name": [f"{patient}'s {gene}" for gene in counts],
            patient: [float(n) for n in counts.values()],
        }
    )


def tables(*frames):
    return [CountTable((f"{frame.columns[2]}.tsv",), frame) for frame in frames]


def test_genes_that_all_tables_hold(caplog):
    frames = [table("a", G3=3, G1=1, G2=2), table("b", G1=4, G3=6, G4=9), table("c", G3=7, G5=1)]
    with caplog.at_level(logging.WARNING, logger="ihdsi"):
        combined = combine_gene_counts(tables(*frames), 60)
    assert combined.columns == ["gene_id", "gene_name", "a", "b", "c"]
    assert combined.rows() == [("G3", "a's G3", 3.0, 6.0, 7.0)]
    tail = "they are left out for all patients"
    assert [record.getMessage() for record in caplog.records] == [
        f"a.tsv: 2 of the 5 genes of all count tables (40 %) are missing: G4, G5; {tail}",
        f"b.tsv: 2 of the 5 genes of all count tables (40 %) are missing: G2, G5; {tail}",
        f"c.tsv: 3 of the 5 genes of all count tables (60 %) are missing: G1, G2, G4; {tail}",
    ]


def test_a_table_that_lacks_too_many_genes_is_named():
    whole = {f"G{n:02d}": n for n in range(20)}
    cut = dict(list(whole.items())[:17])
    given = tables(table("a", **whole), table("b", **cut), table("c", **whole))
    with pytest.raises(InputError, match="3 of the 20 genes") as caught:
        combine_gene_counts(given)
    (problem,) = caught.value.problems
    assert problem.file == "b.tsv"
    assert "(15 %) are missing: G17, G18, G19" in problem.what
    assert "expression.maximum_missing_genes_percent" in problem.remedy
    assert combine_gene_counts(given, 15).height == 17
    with pytest.raises(InputError):
        combine_gene_counts(given, 14.9)


def test_tables_without_a_gene_in_common_are_refused_whatever_the_limit():
    with pytest.raises(InputError, match="no gene is in all tables") as caught:
        combine_gene_counts(tables(table("a", G1=1, G2=1), table("b", G3=1)), 100)
    assert [problem.file for problem in caught.value.problems] == ["a.tsv", "b.tsv"]


def test_equal_genes_need_no_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="ihdsi"):
        combined = combine_gene_counts(tables(table("a", G2=2, G1=1), table("b", G1=3, G2=4)), 0)
    assert combined.select("gene_id", "a", "b").rows() == [("G1", 1.0, 3.0), ("G2", 2.0, 4.0)]
    assert not caplog.records


def test_no_tables_give_no_genes():
    assert combine_gene_counts([]).schema == {"gene_id": pl.String, "gene_name": pl.String}


def test_a_gene_is_named_by_the_first_table_that_names_it():
    bare = pl.col("gene_id")
    first = table("a", G1=1, G2=2, G3=3, G4=4).with_columns(gene_name=bare)
    second = table("b", G1=1, G2=2, G3=3, G4=4).with_columns(
        gene_name=pl.Series([None, "B", None, None], dtype=pl.String)
    )
    third = table("c", G1=1, G2=2, G3=3, G4=4).with_columns(
        gene_name=pl.Series(["A", "other", None, "G4"])
    )
    combined = combine_gene_counts(tables(first, second, third))
    assert combined["gene_name"].to_list() == ["A", "B", "G3", "G4"]


def test_counts_of_all_origins(tmp_path):
    mapping = tmp_path / "t2g.parquet"
    TRANSCRIPT_TO_GENE.write_parquet(mapping)
    reads = {f"ENST0000000000{n}.1": n for n in (1, 2, 3, 4)}
    path = matrix(tmp_path, "gene_id\tS1\tS2", "ENSG00000000002.4\t9\t8", "ENSG00000000009\t5\t5")
    files = {"a": quant(tmp_path, "a", reads)}
    counts = gather_gene_counts(
        files,
        mapping,
        [(path, {"S2": "c", "S1": "b"})],
        ExpressionSettings(maximum_missing_genes_percent=50),
    )
    assert counts.columns == ["gene_id", "gene_name", "a", "c", "b"]
    assert counts.rows() == [("ENSG00000000002", "B", 3.0, 8.0, 9.0)]
    with pytest.raises(InputError) as caught:
        gather_gene_counts(files, mapping, [(path, {"S2": "c"})])
    assert [problem.file for problem in caught.value.problems] == [str(files["a"]), path]
    only_given = gather_gene_counts({}, None, [(path, {"S1": "b"})])
    assert only_given["b"].to_list() == [9.0, 5.0]


# --- given salmon folders -----------------------------------------------------------------------

NAMES = [f"ENST0000000000{n}.1" for n in (1, 2, 3, 4)]


def test_files_of_another_index_are_not_read_by_position(tmp_path, caplog):
    reads = dict(zip(NAMES, (1, 2, 4, 8), strict=True))
    files = {
        "a": quant(tmp_path, "a", reads),
        "b": quant(tmp_path, "b", dict(reversed(reads.items()))),
        "c": quant(tmp_path, "c", {name: reads[name] for name in NAMES[:3]}),
        "d": quant(tmp_path, "d", reads),
    }
    with caplog.at_level(logging.WARNING, logger="ihdsi"):
        counts = salmon_gene_counts(files, TRANSCRIPT_TO_GENE, maximum_missing_percent=50)
    assert counts.columns == ["gene_id", "gene_name", *files]
    # The third gene has no transcript in c's index, so it is compared at nobody's.
    assert counts.drop("gene_name").rows() == [
        ("ENSG00000000001", 4.0, 4.0, 4.0, 4.0),
        ("ENSG00000000002", 3.0, 3.0, 3.0, 3.0),
    ]
    assert f"{files['c']}: 1 of the 3 genes" in caplog.text
    # As of a file that was cut off between two lines.
    with pytest.raises(InputError, match=r"1 of the 3 genes .*: ENSG00000000003") as caught:
        salmon_gene_counts(files, TRANSCRIPT_TO_GENE)
    assert [problem.file for problem in caught.value.problems] == [str(files["c"])]


def lengths_and_reads(folder, name, rows):
    path = folder / name / "quant.sf"
    path.parent.mkdir()
    lines = (
        f"{transcript}\t{length}\t{length}\t{tpm}\t{reads}\n"
        for transcript, length, tpm, reads in rows
    )
    path.write_text(QUANT_HEADER + "".join(lines))
    return path


def test_scaled_counts_do_not_depend_on_the_order_of_rows(tmp_path):
    short = list(zip(NAMES[:3], (500, 2000, 1000), (3e5, 0, 7e5), (150.0, 0, 700.0), strict=True))
    long = list(zip(NAMES[:3], (510, 2010, 990), (0, 3e5, 7e5), (0, 600.0, 700.0), strict=True))
    first = lengths_and_reads(tmp_path, "1", short)
    second = lengths_and_reads(tmp_path, "2", long)
    turned = lengths_and_reads(tmp_path, "3", long[::-1])
    found = [
        salmon_gene_counts(files, TRANSCRIPT_TO_GENE, length_scaled=True)
        for files in (
            {"a": first, "b": second},
            {"a": first, "b": turned},
        )
    ]
    assert found[0].equals(found[1])
    # Lengths are averaged over both: gene B has as many molecules in both.
    share = found[0].select(pl.col("a", "b").get(1) / pl.col("a", "b").get(0)).row(0)
    assert share[0] == pytest.approx(share[1])


def test_scaled_counts_need_the_same_transcripts_in_all_files(tmp_path):
    reads = dict.fromkeys(NAMES, 5)
    files = {
        "a": quant(tmp_path, "a", dict.fromkeys(NAMES[:3], 5)),
        "b": quant(tmp_path, "b", reads),
        "c": quant(tmp_path, "c", reads),
    }
    with pytest.raises(InputError, match="lacks 1 of the transcripts") as caught:
        salmon_gene_counts(files, TRANSCRIPT_TO_GENE, length_scaled=True)
    (problem,) = caught.value.problems
    assert (problem.file, problem.column) == (str(files["a"]), "Name")
    assert "for example ENST00000000004.1" in problem.what


def test_unknown_transcripts_are_named_and_limited(tmp_path, caplog):
    reads = dict(zip([*NAMES[:3], "ENST00000000099.2"], (50, 20, 20, 10), strict=True))
    files = {"a": quant(tmp_path, "a", reads)}
    with caplog.at_level(logging.WARNING, logger="ihdsi"):
        counts = salmon_gene_counts(files, TRANSCRIPT_TO_GENE, maximum_unknown=0.25)
    assert counts["a"].to_list() == [20.0, 70.0]
    said = "25 % of the transcripts (1 of 4), with 10 % of the reads"
    assert said in caplog.text
    with pytest.raises(InputError) as caught:
        salmon_gene_counts(files, TRANSCRIPT_TO_GENE, maximum_unknown=0.2)
    (problem,) = caught.value.problems
    assert (problem.file, problem.column) == (files["a"], "Name")
    assert said in problem.what
    assert "ENST00000000099" in problem.what
    # Few transcripts may hold most reads; none known is refused whatever the limit.
    few = {**dict.fromkeys(NAMES, 1), "ENST00000000099.2": 400}
    with pytest.raises(InputError, match=r"20 % of the transcripts \(1 of 5\), with 99 %"):
        salmon_gene_counts(
            {"a": quant(tmp_path, "few", few)}, TRANSCRIPT_TO_GENE, maximum_unknown=0.5
        )
    none = quant(tmp_path, "none", {"X1": 1, "X2": 2})
    with pytest.raises(InputError, match=r"100 % of the transcripts"):
        salmon_gene_counts({"a": none}, TRANSCRIPT_TO_GENE)


@pytest.mark.parametrize("value", ["x", "-1", "nan", ""])
def test_what_is_no_number_of_reads_is_placed(tmp_path, value):
    path = quant(tmp_path, "a", {NAMES[0]: 1, NAMES[1]: value})
    with pytest.raises(InputError, match="is not a number of reads") as caught:
        salmon_gene_counts({"a": path}, TRANSCRIPT_TO_GENE)
    assert (caught.value.problems[0].row, caught.value.problems[0].column) == (3, "NumReads")


def test_length_scaled_counts_take_out_the_length_of_the_transcripts(tmp_path):
    """Gene B's isoforms are 500 and 2000 bases long; two samples use one each, at equal TPM."""
    lines = {
        "short": (("500", "300000", "150"), ("2000", "0", "0")),
        "long": (("500", "0", "0"), ("2000", "300000", "600")),
    }
    files = {}
    for patient, (first, second) in lines.items():
        files[patient] = tmp_path / patient / "quant.sf"
        files[patient].parent.mkdir()
        rows = zip(NAMES[:3], (first, second, ("1000", "700000", "700")), strict=True)
        files[patient].write_text(
            QUANT_HEADER
            + "".join(f"{name}\t{n}\t{n}\t{tpm}\t{reads}\n" for name, (n, tpm, reads) in rows)
        )
    plain = salmon_gene_counts(files, TRANSCRIPT_TO_GENE)
    assert plain.rows() == [
        ("ENSG00000000001", "A", 700.0, 700.0),
        ("ENSG00000000002", "B", 150.0, 600.0),
    ]
    scaled = salmon_gene_counts(files, TRANSCRIPT_TO_GENE, length_scaled=True)
    ratio = scaled.select(pl.col("short", "long").get(1) / pl.col("short", "long").get(0)).row(0)
    # As many molecules in both, so the ratio to gene A is the same; totals stay the samples' own.
    assert ratio[0] == pytest.approx(ratio[1])
    assert scaled["short"].sum() == pytest.approx(850)
    assert scaled["long"].sum() == pytest.approx(1300)
    mapping = tmp_path / "t2g.parquet"
    TRANSCRIPT_TO_GENE.write_parquet(mapping)
    settings = ExpressionSettings(counts="length_scaled")
    assert gather_gene_counts(files, mapping, [], settings).equals(scaled)


def test_a_sample_without_reads_has_counts_of_zero(tmp_path):
    path = tmp_path / "empty" / "quant.sf"
    path.parent.mkdir()
    path.write_text(QUANT_HEADER + "".join(f"{name}\t1000\t800\t0\t0\n" for name in NAMES))
    files = {"a": quant(tmp_path, "a", dict.fromkeys(NAMES, 5)), "b": path}
    for scaled in (False, True):
        counts = salmon_gene_counts(files, TRANSCRIPT_TO_GENE, length_scaled=scaled)
        assert counts["b"].to_list() == [0.0, 0.0, 0.0]
        assert counts["a"].sum() == pytest.approx(20)


def test_folders_and_what_keeps_them_from_being_salmons(tmp_path):
    path = quant(tmp_path, "good", {NAMES[0]: 1})
    assert output_fault(path.parent) is None
    assert quantification_file(path.parent) == str(path)
    packed = tmp_path / "packed" / "quant.sf.gz"
    packed.parent.mkdir()
    with gzip.open(packed, "wt") as target:
        target.write(path.read_text())
    assert output_fault(packed.parent) is None
    assert quantification_file(packed.parent) == str(packed)
    assert salmon_gene_counts({"a": packed}, TRANSCRIPT_TO_GENE)["a"].to_list() == [1.0]
    assert "is a file" in output_fault(path)[0]
    assert "holds no quant.sf" in output_fault(tmp_path)[0]
    for name, text, said in (
        ("genes", "Name\tTPM\n", "lacks the column Length"),
        ("empty", QUANT_HEADER, "lists no transcript"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "quant.sf").write_text(text)
        assert said in output_fault(folder)[0]
    packed.write_bytes(packed.read_bytes()[:20])
    assert "cannot be read" in output_fault(packed.parent)[0]


# --- what is no count ---------------------------------------------------------------------------


def test_fractions_are_refused_unless_the_file_says_estimated(tmp_path):
    lines = ("gene_id\tS1", "ENSG1\t3.5", "ENSG2\t7")
    path = matrix(tmp_path, *lines)
    with pytest.raises(InputError, match="holds no raw counts") as caught:
        read_count_matrix(path, {"S1": "a"})
    (problem,) = caught.value.problems
    assert (problem.row, problem.column) == (2, "S1")
    assert "salmon.merged.gene_counts.tsv" in problem.remedy
    said = matrix(tmp_path, "# Estimated counts of salmon", *lines, name="said.tsv")
    assert read_count_matrix(said, {"S1": "a"})["a"].to_list() == [3.5, 7.0]
    for name in ("salmon.merged.gene_counts.tsv", "salmon.merged.gene_counts_length_scaled.tsv"):
        of_nf_core = matrix(tmp_path, *lines, name=name)
        assert read_count_matrix(of_nf_core, {"S1": "a"})["a"].to_list() == [3.5, 7.0]
    packed = tmp_path / "said.tsv.gz"
    packed.write_bytes(gzip.compress(said.read_bytes()))
    assert read_count_matrix(packed, {"S1": "a"})["a"].to_list() == [3.5, 7.0]


def test_what_adds_up_to_a_million_is_refused_whatever_the_file_says(tmp_path):
    lines = ("gene_id\tS1\tS2", "ENSG1\t250000.5\t9", "ENSG2\t749999.5\t999991")
    path = matrix(tmp_path, *lines, name="salmon.merged.gene_counts.tsv")
    with pytest.raises(InputError, match="TPM or CPM") as caught:
        read_count_matrix(path, {"S1": "a", "S2": "b"})
    # Whole numbers may happen to add up to it.
    assert [problem.column for problem in caught.value.problems] == ["S1"]


def test_a_gene_in_two_versions_is_said_with_both(tmp_path):
    path = matrix(tmp_path, "gene_id\tS1", "ENSG1.1\t1", "ENSG1.2\t3", "ENSG1.2\t3")
    with pytest.raises(InputError) as caught:
        read_count_matrix(path, {"S1": "a"})
    assert [problem.what for problem in caught.value.problems] == [
        "gene 'ENSG1' occurs twice (ENSG1.1 and ENSG1.2)"
    ] * 2


def test_symbols_in_place_of_identifiers_are_refused(tmp_path):
    path = matrix(tmp_path, "gene_id\tS1", "TP53\t1", "RB1\t3")
    with pytest.raises(InputError, match="no gene identifier is Ensembl's"):
        read_count_matrix(path, {"S1": "a"})


def test_symbols_among_identifiers_are_named(tmp_path, caplog):
    rows = [f"ENSG{n:011d}.2\t1" for n in range(20)]
    path = matrix(tmp_path, "gene_id\tS1", *rows[:10], "TP53\t1", "RB1\t3", *rows[10:])
    with caplog.at_level(logging.WARNING, logger="ihdsi"):
        assert read_count_matrix(path, {"S1": "a"}).height == 22
    assert f"{path}: 2 of 22 rows have no Ensembl gene id" in caplog.text
    assert "TP53, RB1" in caplog.text
    caplog.clear()
    read_count_matrix(matrix(tmp_path, "gene_id\tS1", *rows), {"S1": "a"})
    assert not caplog.records


def test_the_copy_of_a_gene_on_y_adds_to_its_gene(tmp_path):
    path = matrix(
        tmp_path,
        "gene_id\tgene_name\tS1\tS2",
        "ENSG00000002586.20_PAR_Y\ton Y\t2\t0",
        "ENSG00000000003.15\tTSPAN6\t7\t7",
        "ENSG00000002586.20\tCD99\t10\t5",
    )
    counts = read_count_matrix(path, {"S1": "a", "S2": "b"})
    assert sorted(counts.rows()) == [
        ("ENSG00000000003", "TSPAN6", 7.0, 7.0),
        ("ENSG00000002586", "CD99", 12.0, 5.0),
    ]
    twice = matrix(tmp_path, "gene_id\tS1", "ENSG1.2\t1", "ENSG1.2_PAR_Y\t1", "ENSG1.3_PAR_Y\t1")
    with pytest.raises(InputError, match="occurs twice") as caught:
        read_count_matrix(twice, {"S1": "a"})
    assert places(caught.value.problems) == [(4, "gene_id")]


@pytest.mark.parametrize(
    ("name", "estimated"),
    [
        ("salmon.merged.gene_counts_scaled.tsv", True),
        ("salmon.merged.gene_counts.tsv.gz", True),
        ("rsem.merged.gene_counts.tsv", True),
        ("kallisto.merged.gene_counts_length_scaled.tsv", True),
        ("salmon.merged.gene_counts_log2.tsv", False),
        ("mine.merged.gene_counts.tsv", False),
        ("vst.salmon.merged.gene_counts.tsv", False),
        ("salmon.merged.gene_counts.normalised.tsv", False),
    ],
)
def test_only_names_that_nf_core_gives_say_that_counts_are_estimated(tmp_path, name, estimated):
    path = tmp_path / name
    data = b"gene_id\tS1\nENSG1\t3.5\nENSG2\t7\n"
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    if estimated:
        assert read_count_matrix(path, {"S1": "a"})["a"].to_list() == [3.5, 7.0]
    else:
        with pytest.raises(InputError, match="not a whole number"):
            read_count_matrix(path, {"S1": "a"})


def test_columns_of_no_sample_of_the_sheet_are_named(tmp_path, caplog):
    path = matrix(tmp_path, "gene_id\tgene_name\tS1\tS2\tS3", "ENSG1\tG\t1\t2\t3")
    with caplog.at_level(logging.WARNING, logger="ihdsi"):
        read_count_matrix(path, {"S2": "a"})
    assert "2 columns are of no sample of the sheet and are not read: S1, S3" in caplog.text


def places(problems):
    return [(problem.row, problem.column) for problem in problems]


def test_a_column_that_occurs_twice_is_refused_and_not_chosen_from(tmp_path):
    path = matrix(tmp_path, "gene_id\tS1\tS2\tS1", "ENSG1\t1\t2\t3")
    with pytest.raises(InputError, match="the column occurs twice") as caught:
        read_count_matrix(path, {"S1": "a"})
    assert places(caught.value.problems) == [(1, "S1")]
    # Of no sample of the sheet, it does not matter.
    assert read_count_matrix(path, {"S2": "a"})["a"].to_list() == [2.0]


def test_rows_are_those_of_the_file_below_its_comments(tmp_path):
    head = ("# estimated counts", "# of salmon", "gene_id\tS1")
    path = matrix(tmp_path, *head, "ENSG1\t1.5", "ENSG2\t-1", "ENSG1.2\t2")
    with pytest.raises(InputError) as caught:
        read_count_matrix(path, {"S1": "a"})
    assert places(caught.value.problems) == [(6, "gene_id"), (5, "S1")]
    with pytest.raises(InputError) as caught:
        read_count_matrix(path, {"S9": "a"})
    assert places(caught.value.problems) == [(3, "S9")]


def test_a_row_without_a_gene_is_refused(tmp_path):
    path = matrix(tmp_path, "gene_id\tS1", "ENSG1\t1", "\t3", "\t4")
    with pytest.raises(InputError, match="the row has no gene") as caught:
        read_count_matrix(path, {"S1": "a"})
    assert places(caught.value.problems) == [(3, "gene_id"), (4, "gene_id")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"gene_id\tS1\nENSG1\t1\t4\n",
        "gene_id\tgene_name\tS1\nENSG1\t\u00e9\t3\n".encode("latin1"),
    ],
)
def test_a_matrix_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "m.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.tsv: the file cannot be read .*every row as long"):
        read_count_matrix(path, {"S1": "a"})


def test_a_matrix_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "m.tsv.gz"
    whole = "gene_id\tS1\n" + "".join(f"ENSG{n}\t{n * n % 97}\n" for n in range(500))
    path.write_bytes(gzip.compress(whole.encode())[:200])
    with pytest.raises(InputError, match="cannot be read"):
        read_count_matrix(path, {"S1": "a"})


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_bytes(b"\xef\xbb\xbfgene_id\tS1\nENSG1\t1\n")
    assert read_count_matrix(path, {"S1": "a"})["a"].to_list() == [1.0]


def test_names_in_the_header_may_be_quoted(tmp_path):
    path = matrix(tmp_path, '"gene_id"\t"S\t1"\tS2', '"ENSG1"\t1\t2')
    assert read_count_matrix(path, {"S\t1": "a"})["a"].to_list() == [1.0]


@pytest.mark.parametrize("second", [NAMES[0], "ENST00000000001.2", "ENST00000000001"])
def test_a_transcript_may_occur_once_whatever_its_version(tmp_path, second):
    path = quant(tmp_path, "a", {NAMES[0]: 1, NAMES[1]: 5})
    path.write_text(path.read_text() + f"{second}\t1000\t800\t1\t7\n")
    with pytest.raises(InputError, match=r"'ENST00000000001\.1'\)\. Run salmon on") as caught:
        salmon_gene_counts({"a": path}, TRANSCRIPT_TO_GENE)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.column) == (path, 4, "Name")
    assert problem.what.startswith(f"the transcript '{second}' occurs twice")


@pytest.mark.parametrize(
    ("column", "value"), [("EffectiveLength", "-5"), ("TPM", "x"), ("TPM", "inf"), ("TPM", "")]
)
def test_abundances_and_lengths_of_salmon_are_numbers(tmp_path, column, value):
    path = quant(tmp_path, "a", dict.fromkeys(NAMES, 1))
    old = {"EffectiveLength": "800.5", "TPM": "1.5"}[column]
    path.write_text(path.read_text().replace(f"\t{old}\t", f"\t{value}\t", 1))
    with pytest.raises(InputError, match="is not a number") as caught:
        salmon_gene_counts({"a": path}, TRANSCRIPT_TO_GENE)
    assert places(caught.value.problems) == [(2, column)]


def test_a_quantification_that_was_cut_off_is_named(tmp_path):
    path = quant(tmp_path, "a", {f"ENST{n:011d}": n * n % 89 for n in range(300)})
    cut = path.with_name("quant.sf.gz")
    cut.write_bytes(gzip.compress(path.read_bytes())[:300])
    with pytest.raises(InputError, match=r"quant\.sf\.gz: the file cannot be read .*run salmon"):
        salmon_gene_counts({"a": cut}, TRANSCRIPT_TO_GENE)
