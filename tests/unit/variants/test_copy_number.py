import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.simulate.genome import read_gene_panel
from ihdsi.study import CopyNumberSettings, SexCheck
from ihdsi.variants.copy_number import (
    GENE_SCHEMA,
    SEGMENT_SCHEMA,
    call_copy_number,
    gather_copy_number,
    gene_log2_ratios,
    locate_genes,
    read_reported_genes,
    recorded_sex,
    usable_coverage,
)

PROJECT = Path(__file__).parents[3]
GENES = PROJECT / "resources/copy_number_genes.tsv"
SETTINGS = CopyNumberSettings()
CNVKIT = shutil.which("cnvkit.py", path=str(Path(sys.executable).parent)) or shutil.which(
    "cnvkit.py"
)


def call(log2, chromosome="chr1", sex="female"):
    ratios = pl.DataFrame(
        {"chromosome": chromosome, "log2": log2}, schema_overrides={"log2": pl.Float64}
    )
    return call_copy_number(ratios, sex, SETTINGS)


def test_reported_genes_are_those_of_the_panel():
    genes = read_reported_genes(GENES)
    wanted = {"FGFR3", "CCND1", "MDM2", "ERBB2", "PPARG", "E2F3", "CDKN2A", "RB1", "PTEN"}
    assert set(genes["gene_name"]) == wanted
    assert set(genes["usual_direction"]) == {"gain", "loss"}
    panel = read_gene_panel(PROJECT / "resources/bladder_gene_panel.tsv")
    assert genes.join(panel, on=["gene_id", "gene_name"]).height == genes.height


def test_a_gene_table_with_a_repeated_gene_or_without_a_column_is_refused(tmp_path):
    path = tmp_path / "genes.tsv"
    path.write_text("gene_name\tgene_id\tusual_direction\tsource\nA\tE1\tgain\ts\nB\tE1\tgain\ts\n")
    with pytest.raises(InputError, match="E1 occurs twice"):
        read_reported_genes(path)
    path.write_text("gene_name\tgene_id\tsource\nA\tE1\ts\n")
    with pytest.raises(InputError, match="usual_direction"):
        read_reported_genes(path)


def test_thresholds_must_increase():
    with pytest.raises(ValueError, match="must increase"):
        CopyNumberSettings(loss_threshold=-1.2)
    with pytest.raises(ValueError, match="must increase"):
        CopyNumberSettings(gain_threshold=-0.1)


def test_calls_on_autosomes_are_those_of_cnvkit():
    pytest.importorskip("cnvlib")
    from cnvlib.call import absolute_threshold
    from cnvlib.cnary import CopyNumArray

    log2 = [-20.0, -1.2, -1.1, -1.0, -0.25, -0.2, 0.0, 0.2, 0.21, 0.7, 0.71, 1.0, 1.01, 2.7]
    array = CopyNumArray.from_columns(
        {
            "chromosome": ["chr1"] * len(log2),
            "start": range(len(log2)),
            "end": range(1, len(log2) + 1),
            "gene": "-",
            "log2": log2,
        }
    )
    expected = absolute_threshold(array, 2, (-1.1, -0.25, 0.2, 0.7), False)
    called = call(log2)
    assert called["copy_number"].to_list() == expected.astype(int).tolist()
    names = ("deletion", "loss", "neutral", "gain", "amplification")
    assert called["copy_number_class"].to_list() == [names[min(int(n), 4)] for n in expected]
    assert called["log2_ratio"].to_list() == log2


def test_sex_chromosomes_are_compared_with_what_the_sex_lets_expect():
    # One X of a male stands at -1 against a reference with two.
    male = call([-1.0, -1.15, -0.3, 0.6, -4.0], "chrX", "male")
    assert male["copy_number_class"].to_list() == [
        "neutral", "neutral", "gain", "amplification", "deletion"
    ]  # fmt: skip
    assert male["copy_number"].to_list() == [1, 1, 2, 4, 0]
    assert male["log2_ratio"].to_list() == pytest.approx([0.0, -0.15, 0.7, 1.6, -3.0])
    assert call([0.0, -1.0], "X", "female")["copy_number"].to_list() == [2, 1]
    assert call([0.0, -1.0], "chrY", "male")["copy_number"].to_list() == [1, 0]
    for chromosome, sex in (("chrY", "female"), ("chrX", None), ("Y", None)):
        unknown = call([0.0], chromosome, sex)
        assert unknown.select("log2_ratio", "copy_number", "copy_number_class").row(0) == (
            None, None, None
        )  # fmt: skip
    assert call([0.0], "chr1", None)["copy_number"].to_list() == [2]


def test_sex_is_read_where_the_study_records_it():
    clinical = pl.DataFrame({"patient": ["A", "B", "C"], "sex": ["male", None, "female"]})
    check = SexCheck(variable="sex", female="female", male="male")
    assert recorded_sex(clinical, check) == {"A": "male", "C": "female"}
    assert recorded_sex(clinical.drop("sex"), check) == {}
    assert recorded_sex(clinical, None) == {}
    assert recorded_sex(None, check) == {}
    local = clinical.select("patient", gender=pl.col("sex").replace({"male": "m", "female": "f"}))
    named = SexCheck(variable="gender", female="f", male="m")
    assert recorded_sex(local, named) == {"A": "male", "C": "female"}


def test_failed_normals_are_no_reference():
    coverage = [("N1", "a"), ("N1", "b"), ("N2", "c"), ("N2", "d"), ("N3", "e")]
    decisions = pl.DataFrame(
        {"sample": ["N1", "N2", "T2", "N3"], "decision": ["warn", "fail", "fail", "pass"]}
    )
    assert usable_coverage(coverage, decisions) == ["a", "b", "e"]
    assert usable_coverage([], decisions) == []


def test_genes_are_found_in_annotation_or_in_names_of_targets(tmp_path):
    reported = pl.DataFrame(
        {"gene_id": ["ENSG00000000001", "ENSG00000000002"], "gene_name": ["AB1", "CD2"]}
    )
    gtf = tmp_path / "a.gtf"
    gtf.write_text(
        'chr2\tx\tgene\t101\t500\t.\t+\t.\tgene_id "ENSG00000000002.4"; gene_name "OTHER";\n'
    )
    bed = tmp_path / "t.bed"
    bed.write_text(
        "chr1\t10\t20\tAB1_exon1\nchr1\t50\t90\tNM_1|AB1|2\nchr5\t5\t9\tAB1\nchr1\t95\t99\tAB11\n"
    )
    by_id = locate_genes(reported, gtf, bed)
    # The study's own name is kept; positions are 0-based and half-open.
    assert by_id.rows() == [("ENSG00000000002", "CD2", "chr2", 100, 500)]
    by_name = locate_genes(reported, None, bed)
    assert by_name.rows() == [("ENSG00000000001", "AB1", "chr1", 10, 90)]
    nameless = tmp_path / "n.bed"
    nameless.write_text("chr1\t10\t20\n")
    for nothing in (nameless, None):
        found = locate_genes(reported, None, nothing)
        assert found.is_empty()
        assert found.schema == by_name.schema


def table(rows, *columns):
    schema = {"chromosome": pl.String, "start": pl.Int64, "end": pl.Int64}
    return pl.DataFrame(rows, schema={**schema, **dict.fromkeys(columns, pl.Float64)}, orient="row")


def gene(name, chromosome, start, end):
    return {
        "gene_id": f"id_{name}", "gene_name": name, "chromosome": chromosome, "start": start,
        "end": end,
    }  # fmt: skip


def test_a_gene_takes_its_segments_and_a_breakpoint_within_splits_it():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.2, 100)
    bins = table(
        [("chr1", i * 100, i * 100 + 100, (1.0 if i >= 50 else 0.0) + noise[i], 1.0)
         for i in range(100)],
        "log2", "weight",
    )  # fmt: skip
    segments = table([("chr1", 0, 5000, 0.0), ("chr1", 5000, 10000, 1.0)], "log2")
    genes = pl.DataFrame(
        [
            gene("LEFT", "chr1", 1000, 2000),
            gene("SPLIT", "chr1", 4700, 5100),
            gene("FEW", "chr1", 100, 310),
            gene("ELSEWHERE", "chr2", 100, 10_000),
        ]
    )
    found = gene_log2_ratios(bins, segments, genes, CopyNumberSettings(focal_p_value=1e-9))
    assert found["gene_name"].to_list() == ["LEFT", "SPLIT"]
    assert found["log2"].to_list() == pytest.approx([0.0, 0.25])
    assert found["n_bins"].to_list() == [10, 4]
    weighted = bins.with_columns(weight=pl.when(pl.col("start") >= 5000).then(3.0).otherwise(1.0))
    found = gene_log2_ratios(weighted, segments, genes, CopyNumberSettings(focal_p_value=1e-9))
    assert found["log2"][1] == pytest.approx(0.5)
    without = weighted.with_columns(weight=pl.lit(0.0))
    assert gene_log2_ratios(without, segments, genes, SETTINGS).is_empty()


def test_a_gene_that_the_segmentation_missed_is_called_from_its_own_bins():
    rng = np.random.default_rng(2)
    truth = np.zeros(2000)
    truth[1000:1007] = 0.35  # one gene of seven bins, lost in one segment
    log2 = truth + rng.normal(0, 0.12, 2000)
    rows = [("chr1", i * 100, i * 100 + 100, float(log2[i]), 0.9) for i in range(2000)]
    bins = table(rows, "log2", "weight")
    segments = table([("chr1", 0, 200_000, 0.001)], "log2")
    genes = pl.DataFrame([gene(f"G{i}", "chr1", i * 700, i * 700 + 700) for i in range(285)])
    genes = pl.concat([genes, pl.DataFrame([gene("FOCAL", "chr1", 100_000, 100_700)])])
    found = gene_log2_ratios(bins, segments, genes, SETTINGS)
    ratio = dict(found.select("gene_name", "log2").iter_rows())
    assert ratio.pop("FOCAL") == pytest.approx(log2[1000:1007].mean())
    own = [name for name, value in ratio.items() if abs(value - 0.001) > 1e-9]
    # 285 null genes at p = 0.001, besides the two that share bins with the focal one.
    assert len(set(own) - {"G142", "G143"}) <= 3


def test_a_bin_without_reads_deletes_no_gene_and_a_gene_without_reads_is_deleted():
    rng = np.random.default_rng(5)
    log2 = rng.normal(0, 0.1, 1000)
    log2[100], log2[500:510] = -20.0, -20.0
    bins = table(
        [("chr1", i * 100, i * 100 + 100, float(log2[i]), 1.0) for i in range(1000)],
        "log2", "weight",
    )  # fmt: skip
    segments = table([("chr1", 0, 100_000, 0.0)], "log2")
    genes = pl.DataFrame(
        [gene("DROPOUT", "chr1", 10_000, 11_000), gene("DELETED", "chr1", 50_000, 51_000)]
    )
    found = dict(gene_log2_ratios(bins, segments, genes, SETTINGS)["gene_name", "log2"].iter_rows())
    assert abs(found["DROPOUT"]) < 0.15
    assert found["DELETED"] < -5


def write(frame, path, **names):
    frame.rename(names).write_csv(path, separator="\t")
    return path


def test_tables_of_a_site_hold_the_assessed_patients_and_genes(tmp_path):
    bins = table(
        [(c, i * 100, i * 100 + 100, r, 1.0) for c, r in (("chr1", 1.5), ("chrX", -1.0))
         for i in range(5)],
        "log2", "weight",
    )  # fmt: skip
    segments = table([("chr1", 0, 500, 1.5, 5), ("chrX", 0, 500, -1.0, 5)], "log2", "probes")
    files = write(bins, tmp_path / "a.cnr"), write(segments, tmp_path / "a.cns")
    genes = pl.DataFrame([gene("A", "chr1", 0, 500), gene("X", "chrX", 0, 500)])
    arguments = (["M", "U"], [files[0]] * 2, [files[1]] * 2, genes, {"M": "male"}, SETTINGS, 4)
    called, pieces = gather_copy_number(*arguments)
    assert called.schema == pl.Schema(GENE_SCHEMA)
    assert pieces.schema == pl.Schema(SEGMENT_SCHEMA)
    rows = called.select("patient", "gene_name", "copy_number", "copy_number_class").rows()
    assert rows == [
        ("M", "A", 6, "amplification"),
        ("M", "X", 1, "neutral"),
        ("U", "A", 6, "amplification"),  # the sex is unknown, so X is not assessed
    ]
    assert called["n_reference_normals"].to_list() == [4, 4, 4]
    assert pieces.filter(pl.col("patient") == "U")["copy_number"].to_list() == [6, None]
    for nothing in gather_copy_number([], [], [], genes, {}, SETTINGS, 0):
        assert nothing.is_empty()
    empty = write(bins.clear(), tmp_path / "e.cnr"), write(segments.clear(), tmp_path / "e.cns")
    called, pieces = gather_copy_number(["E"], [empty[0]], [empty[1]], genes, {}, SETTINGS, 1)
    assert called.is_empty()
    assert pieces.is_empty()


N_GENES, BINS_PER_GENE = 120, 6
LOST, GAINED, AMPLIFIED = 30, 60, 90


def coverage(path, rng, copies, bait):
    """Coverage of a panel as ``cnvkit.py coverage`` writes it: capture bias, then Poisson reads."""
    n = N_GENES * BINS_PER_GENE
    depth = rng.poisson(300 * bait * np.repeat(copies, BINS_PER_GENE) / 2) / 2
    start = np.arange(n) * 400 + np.repeat(np.arange(N_GENES), BINS_PER_GENE) * 3000 + 1000
    pl.DataFrame(
        {
            "chromosome": np.where(np.arange(n) < n // 2, "chr1", "chr2"),
            "start": start,
            "end": start + 250,
            "gene": np.char.add("G", np.repeat(np.arange(N_GENES), BINS_PER_GENE).astype(str)),
            "log2": np.log2(np.maximum(depth, 2.0**-20)),
            "depth": depth,
        }
    ).write_csv(path, separator="\t")
    return path


def cnvkit(*arguments):
    answer = subprocess.run([CNVKIT, *map(str, arguments)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.skipif(CNVKIT is None, reason="CNVkit is not installed")
def test_cnvkit_and_the_calls_find_planted_genes_against_pooled_normals(tmp_path):
    """The installed numpy and pandas serve CNVkit, and the whole chain recovers the truth."""
    rng = np.random.default_rng(3)
    bait = rng.lognormal(0, 0.5, N_GENES * BINS_PER_GENE)
    normals = [
        coverage(tmp_path / f"N{i}.targetcoverage.cnn", rng, np.full(N_GENES, 2.0), bait)
        for i in range(4)
    ]
    copies = np.full(N_GENES, 2.0)
    # Tumour-cell content 0.6: one copy lost, one gained, six more gained.
    copies[[LOST, GAINED, AMPLIFIED]] = 2 + 0.6 * np.array([-1, 1, 6])
    tumour = coverage(tmp_path / "T.targetcoverage.cnn", rng, copies, bait)
    empty = tmp_path / "T.antitargetcoverage.cnn"
    pl.read_csv(tumour, separator="\t").clear().write_csv(empty, separator="\t")
    reference, bins, segments = (tmp_path / name for name in ("r.cnn", "T.cnr", "T.cns"))
    cnvkit("reference", *normals, "--output", reference)
    cnvkit("fix", tumour, empty, "--reference", reference, "--output", bins)
    cnvkit("segment", bins, "--method", SETTINGS.segmentation, "--output", segments)

    table = pl.read_csv(tumour, separator="\t")
    genes = (
        table.group_by("gene", "chromosome", maintain_order=True)
        .agg(pl.col("start").min(), pl.col("end").max())
        .select("chromosome", "start", "end", gene_id="gene", gene_name="gene")
    )
    called, _ = gather_copy_number(["T"], [bins], [segments], genes, {}, SETTINGS, len(normals))
    assert called.height == N_GENES
    altered = called.filter(pl.col("copy_number_class") != "neutral")
    assert dict(altered.select("gene_name", "copy_number_class").iter_rows()) == {
        f"G{LOST}": "loss", f"G{GAINED}": "gain", f"G{AMPLIFIED}": "amplification"
    }  # fmt: skip
    ratio = dict(called.select("gene_name", "log2_ratio").iter_rows())
    for number in (LOST, GAINED, AMPLIFIED):
        assert ratio[f"G{number}"] == pytest.approx(np.log2(copies[number] / 2), abs=0.12)

    # Taken from its own bins, a gene's ratio is that of `cnvkit.py genemetrics`.
    metrics = tmp_path / "metrics.tsv"
    cnvkit("genemetrics", bins, "--threshold", "0", "--output", metrics)
    own, _ = gather_copy_number(
        ["T"], [bins], [segments], genes, {}, CopyNumberSettings(focal_p_value=1), len(normals)
    )
    joined = own.join(pl.read_csv(metrics, separator="\t"), left_on="gene_name", right_on="gene")
    assert joined.height == N_GENES
    assert joined["log2_ratio"].to_list() == pytest.approx(joined["log2"].to_list(), abs=1e-5)
