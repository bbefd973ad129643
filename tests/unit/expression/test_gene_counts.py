"""Gene counts from salmon and from given matrices."""

import json
import logging
import random
import shutil
import subprocess

import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.expression.counts import (
    combine_gene_counts,
    gather_gene_counts,
    read_count_matrix,
    salmon_gene_counts,
    salmon_metrics,
)

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
        "ENSG00000141510.18\tTP53\t10\tnot read\t3.5",
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
        ("ENSG00000141510", "TP53", 3.5, 10.0),
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


def test_genes_that_all_tables_hold(caplog):
    frames = [table("a", G3=3, G1=1, G2=2), table("b", G1=4, G3=6, G4=9), table("c", G3=7, G5=1)]
    with caplog.at_level(logging.WARNING, logger="ihdsi"):
        combined = combine_gene_counts(frames)
    assert combined.columns == ["gene_id", "gene_name", "a", "b", "c"]
    assert combined.rows() == [("G3", "a's G3", 3.0, 6.0, 7.0)]
    # G1, G2, G4 and G5.
    assert [record.getMessage() for record in caplog.records] == [
        "4 genes are not in every count table and are left out"
    ]


def test_equal_genes_need_no_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="ihdsi"):
        combined = combine_gene_counts([table("a", G2=2, G1=1), table("b", G1=3, G2=4)])
    assert combined.select("gene_id", "a", "b").rows() == [("G1", 1.0, 3.0), ("G2", 2.0, 4.0)]
    assert not caplog.records


def test_no_tables_give_no_genes():
    assert combine_gene_counts([]).schema == {"gene_id": pl.String, "gene_name": pl.String}


def test_counts_of_all_origins(tmp_path):
    mapping = tmp_path / "t2g.parquet"
    TRANSCRIPT_TO_GENE.write_parquet(mapping)
    reads = {f"ENST0000000000{n}.1": n for n in (1, 2, 3, 4)}
    path = matrix(tmp_path, "gene_id\tS1\tS2", "ENSG00000000002.4\t9\t8", "ENSG00000000009\t5\t5")
    counts = gather_gene_counts(
        {"a": quant(tmp_path, "a", reads)}, mapping, [(path, {"S2": "c", "S1": "b"})]
    )
    assert counts.columns == ["gene_id", "gene_name", "a", "c", "b"]
    assert counts.rows() == [("ENSG00000000002", "B", 3.0, 8.0, 9.0)]
    only_given = gather_gene_counts({}, None, [(path, {"S1": "b"})])
    assert only_given["b"].to_list() == [9.0, 5.0]
