"""Quality metrics of RNA samples."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ihdsi.expression.quality import (
    composition_metrics,
    expressed_sex,
    expression_checks,
    five_to_three_prime_ratio,
    forward_strand_percent,
    outlier_scores,
    read_quality_genes,
    strandedness,
)
from ihdsi.quality_control import (
    METRICS_SCHEMA,
    MINIMUM_SAMPLES,
    decide_samples,
    judge_metrics,
)
from ihdsi.study import QualityMetric, SexCheck

ROOT = Path(__file__).parents[3]
GENES = read_quality_genes(ROOT / "resources/expression_quality_genes.tsv")
POSITIONS = ROOT / "scripts/expression/fragment_positions.awk"
SEX = SexCheck(variable="sex", female="F", male="M")


def test_the_genes_of_each_role():
    assert {role: len(ids) for role, ids in GENES.items()} == {
        "mitochondrial": 13,
        "ribosomal_rna": 2,
        "female": 1,
        "male": 4,
    }
    assert GENES["female"] == ["ENSG00000229807"]


# --- libraries ----------------------------------------------------------------------------------


def formats(path, **counts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"expected_format": "IU", "strand_mapping_bias": 0.5} | counts))
    return path


@pytest.mark.parametrize(
    ("counts", "percent", "kind"),
    [
        ({"ISF": 900, "SF": 60, "ISR": 40}, 96.0, "forward"),
        ({"ISF": 20, "ISR": 900, "SR": 80}, 2.0, "reverse"),
        ({"ISF": 300, "OSF": 200, "MSF": 40, "ISR": 400, "OSR": 40, "MSR": 20}, 54.0, "unstranded"),
        ({"ISF": 999}, None, None),
        ({"IU": 5000}, None, None),
    ],
)
def test_strands_of_a_library(tmp_path, counts, percent, kind):
    found = forward_strand_percent(formats(tmp_path / "f.json", **counts))
    assert found == (None if percent is None else pytest.approx(percent))
    assert found is None or strandedness(found, 80) == kind


def test_borders_of_strandedness():
    def kinds(limit, *percents):
        return [strandedness(percent, limit) for percent in percents]

    assert kinds(80, 80, 79.9, 20.1, 20) == ["forward", "unstranded", "unstranded", "reverse"]
    assert kinds(95, 95, 94.9, 5.1, 5) == ["forward", "unstranded", "unstranded", "reverse"]


def test_the_study_says_from_where_a_library_is_stranded(tmp_path):
    counts, samples, folders, clinical = site(tmp_path)  # 95 % of one strand, except for p3
    found = {
        limit: set(
            expression_checks(counts, samples, folders, clinical, SEX, GENES, limit)
            .filter(metric="forward_strand_percent")
            .filter(pl.col("patient") != "p3")["note"]
        )
        for limit in (95, 96)
    }
    assert found == {95: {"reverse"}, 96: {"unstranded"}}


def sam(*records):
    header = ["@HD\tVN:1.0", "@SQ\tSN:long\tLN:1000\tDS:T", "@SQ\tSN:short\tLN:499\tDS:T"]
    return "\n".join([*header, *("\t".join(map(str, record)) for record in records)]) + "\n"


def positions(text):
    awk = subprocess.run(
        ["awk", "-f", POSITIONS], input=text, text=True, capture_output=True, check=True
    )
    lines = [line.split("\t") for line in awk.stdout.splitlines()]
    assert lines[0] == ["twentieth", "fragments"]
    assert [line[0] for line in lines[1:]] == [str(n) for n in range(1, 21)]
    return {int(n): int(count) for n, count in lines[1:] if int(count)}


def record(flag, name, start, mate, length, bases="A" * 100):
    return ("r", flag, name, start, 1, "100M", "=", mate, length, bases, "*")


def test_fragments_are_placed_by_their_middle():
    found = positions(
        sam(
            record(99, "long", 1, 101, 200),  # bases 1 to 200, middle 101
            record(147, "long", 101, 1, -200),  # its mate counts with it
            record(83, "long", 901, 701, -300),  # first mate downstream: 701 to 1000
            record(163, "long", 701, 901, 300),
            record(355, "long", 401, 501, 200),  # secondary
            record(99, "short", 1, 101, 200),  # too short a transcript
            record(77, "*", 0, 0, 0),  # unmapped
            record(0, "long", 951, 0, 0),  # single read, 951 to 1050
            record(73, "long", 1, 1, 0),  # orphan, 1 to 100
        )
    )
    assert found == {3: 1, 18: 1, 20: 1, 2: 1}


def test_bias_of_the_ends(tmp_path):
    def ratio(counts):
        path = tmp_path / "p.tsv"
        lines = [f"{n}\t{count}" for n, count in enumerate(counts, 1)]
        path.write_text("twentieth\tfragments\n" + "\n".join(lines) + "\n")
        return five_to_three_prime_ratio(path)

    assert ratio([100] * 20) == 1
    assert ratio([20] * 5 + [100] * 10 + [200] * 5) == pytest.approx(0.1)
    assert ratio([49] * 20) is None
    assert ratio([1000] * 5 + [0] * 15) is None


@pytest.mark.skipif(shutil.which("salmon") is None, reason="salmon is not installed")
def test_degraded_reads_of_a_real_salmon(tmp_path):
    """Fragments from the last 400 bases of transcripts, against fragments from anywhere."""
    rng = np.random.default_rng(2)
    transcripts = {f"T{n}": "".join(rng.choice(list("ACGT"), 1500)) for n in range(8)}
    fasta = tmp_path / "t.fa"
    fasta.write_text("".join(f">{name}\n{bases}\n" for name, bases in transcripts.items()))
    index = tmp_path / "index"
    quiet = {"capture_output": True, "check": True}
    subprocess.run(["salmon", "index", "-t", fasta, "-i", index, "-p", "1"], **quiet)
    complement = str.maketrans("ACGT", "TGCA")
    ratios = {}
    for name, first in (("whole", 0), ("degraded", 1100)):
        mates = ([], [])
        for number in range(1500):
            bases = transcripts[f"T{number % 8}"]
            start = int(rng.integers(first, 1500 - 200))
            fragment = bases[start : start + 200]
            for kept, read in zip(
                mates, (fragment.translate(complement)[::-1], fragment), strict=True
            ):
                kept.append(f"@r{number}\n{read[:75]}\n+\n{'I' * 75}\n")
        files = [tmp_path / f"{name}.{mate}.fq" for mate in (1, 2)]
        for file, reads in zip(files, mates, strict=True):
            file.write_text("".join(reads))
        folder = tmp_path / name
        mapped = subprocess.run(
            [
                *("salmon", "quant", "-i", index, "-l", "A", "-p", "1", "--writeMappings"),
                *("-1", files[0], "-2", files[1], "-o", folder),
            ],
            text=True,
            **quiet,
        ).stdout
        awk = subprocess.run(["awk", "-f", POSITIONS], input=mapped, text=True, **quiet)
        (folder / "fragment_positions.tsv").write_text(awk.stdout)
        ratios[name] = five_to_three_prime_ratio(folder / "fragment_positions.tsv")
        # First mates lie on the reverse strand.
        assert forward_strand_percent(folder / "lib_format_counts.json") == pytest.approx(0, abs=1)
    assert ratios["whole"] == pytest.approx(1, abs=0.2)
    assert ratios["degraded"] < 0.01


# --- counts -------------------------------------------------------------------------------------


def test_shares_of_mitochondrial_and_ribosomal_counts():
    ids = [GENES["mitochondrial"][0], GENES["ribosomal_rna"][0], "ENSG1", "ENSG2"]
    counts = np.array([[10.0, 0, 0], [5, 0, 0], [5, 0, 0], [80, 50, 0]])
    found = composition_metrics(counts, ids, ["", "", "RNA28SN5", "TP53"], GENES)
    np.testing.assert_allclose(found["mitochondrial_percent"], [10, 0, np.nan])
    np.testing.assert_allclose(found["ribosomal_rna_percent"], [10, 0, np.nan])
    np.testing.assert_allclose(found["top_50_genes_percent"], [100, 100, np.nan])
    assert set(composition_metrics(counts[2:], ids[2:], ["A", "B"], GENES)) == {
        "top_50_genes_percent"
    }
    many = np.ones((200, 1))
    many[:50] = 9
    found = composition_metrics(many, [f"G{n}" for n in range(200)], [""] * 200, GENES)
    assert found["top_50_genes_percent"] == pytest.approx(100 * 450 / 600)


def test_sex_is_told_only_where_one_is_expressed_and_the_other_is_not():
    female = np.array([50.0, 0, 50, 0, 2, 1.9])
    male = np.array([0.0, 90, 90, 0, 4.9, 5])
    assert expressed_sex(female, male, SEX) == ["female", "male", None, None, "female", "male"]


def library(rng, n, genes=2000, mean=None):
    mean = rng.lognormal(4, 1.5, (genes, 1)) if mean is None else mean
    return rng.poisson(mean * rng.gamma(4, 1 / 4, (genes, n))).astype(float)


def test_outliers_stand_out_and_nobody_else_does():
    highest = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        counts = library(rng, 40)
        counts[:200, :15] *= 3  # a biological group
        scores = outlier_scores(counts)
        highest.append(scores.max())
        degraded = counts.copy()
        degraded[rng.choice(2000, 400, replace=False), 7] *= 0.1
        mixed = counts.copy()
        mixed[:, 7] = rng.permutation(mixed[:, 7])
        for bad in (degraded, mixed):
            scores = outlier_scores(bad)
            assert scores.argmax() == 7
            assert scores[7] > 6
            assert np.delete(scores, 7).max() < 4
    assert max(highest) < 4


def test_depth_alone_makes_no_outlier():
    rng = np.random.default_rng(4)
    counts = library(rng, 20)
    shallow = counts.copy()
    shallow[:, 3] = np.round(shallow[:, 3] / 4)
    assert outlier_scores(shallow)[3] < 5


def test_few_or_empty_samples_have_no_score():
    rng = np.random.default_rng(5)
    counts = library(rng, MINIMUM_SAMPLES, 100)
    assert np.isfinite(outlier_scores(counts)).all()
    assert np.isnan(outlier_scores(counts[:, 1:])).all()
    empty = np.column_stack([counts, np.zeros(100)])
    scores = outlier_scores(empty)
    assert np.isnan(scores[-1])
    np.testing.assert_allclose(scores[:-1], outlier_scores(counts))
    assert np.isnan(outlier_scores(np.ones((5, 12)))).all()


# --- together -----------------------------------------------------------------------------------


def site(tmp_path, n=12):
    rng = np.random.default_rng(6)
    patients = [f"p{number}" for number in range(n)]
    ids = [*GENES["female"], *GENES["male"], *GENES["mitochondrial"]]
    ids += [f"ENSG9{number:010d}" for number in range(300)]
    counts = library(rng, n, len(ids))
    is_female = np.arange(n) % 2 == 0
    counts[0] = np.where(is_female, 500, 0)
    counts[1:5] = np.where(is_female, 0, 300)
    counts[0:5, 11] = 700  # lost or mixed: told by nothing
    frame = pl.DataFrame(
        {"gene_id": ids, "gene_name": ids} | dict(zip(patients, counts.T, strict=True))
    )
    clinical = pl.DataFrame({"patient": patients, "sex": np.where(is_female, "F", "M").tolist()})
    folders = {}
    for patient in patients:
        folders[patient] = tmp_path / patient
        strand = {"ISF": 900, "ISR": 900} if patient == "p3" else {"ISR": 1900, "ISF": 100}
        formats(folders[patient] / "lib_format_counts.json", **strand)
        info = folders[patient] / "aux_info" / "meta_info.json"
        info.parent.mkdir()
        info.write_text(json.dumps({"percent_mapped": 90.0, "num_processed": 2000}))
    return frame, {p: f"{p}-R" for p in patients}, folders, clinical


def test_every_sample_has_its_metrics(tmp_path):
    counts, samples, folders, clinical = site(tmp_path)
    swapped = clinical.with_columns(
        sex=pl.when(pl.col("patient") == "p4").then(pl.lit("M")).otherwise("sex")
    )
    (folders["p5"] / "aux_info" / "meta_info.json").unlink()
    (folders["p6"] / "lib_format_counts.json").unlink()
    metrics = expression_checks(counts, samples, folders, swapped, SEX, GENES)
    assert metrics.schema == METRICS_SCHEMA
    assert metrics["assay"].unique().to_list() == ["rna"]
    numbers = dict(metrics["metric"].value_counts().iter_rows())
    assert numbers == {
        "mitochondrial_percent": 12,
        "top_50_genes_percent": 12,
        "expression_outlier_score": 12,
        "mapping_rate_percent": 12,
        "read_pairs": 11,
        "forward_strand_percent": 11,
        "strandedness_discordance": 11,
        "expressed_sex_discordance": 11,
    }
    sex = metrics.filter(metric="expressed_sex_discordance", value=1)
    assert sex.select("sample", "note").rows() == [("p4-R", "recorded as M, expression shows F")]
    strand = metrics.filter(metric="strandedness_discordance", value=1)
    assert strand.select("sample", "note").rows() == [("p3-R", "unstranded, most are reverse")]
    lacking = metrics.filter(metric="mapping_rate_percent", patient="p5").row(0, named=True)
    assert lacking["value"] is None
    assert "meta_info.json" in lacking["note"]
    limits = {
        "expressed_sex_discordance": QualityMetric(
            assay="rna", unit="1", maximum=0, bins=(0, 1, 2)
        ),
        "strandedness_discordance": QualityMetric(assay="rna", unit="1", maximum=0, bins=(0, 1, 2)),
        "mapping_rate_percent": QualityMetric(assay="rna", unit="%", minimum=50, bins=(0, 50, 100)),
    }
    decisions = decide_samples(judge_metrics(metrics, limits), {"tumour_rna": samples})
    found = dict(
        decisions.filter(pl.col("decision") != "pass").select("sample", "decision").iter_rows()
    )
    assert found == {"p3-R": "fail", "p4-R": "fail", "p5-R": "warn"}
    reasons = dict(decisions.select("sample", "reasons").iter_rows())
    assert "recorded as M, expression shows F" in reasons["p4-R"]
    assert "unstranded, most are reverse" in reasons["p3-R"]


def test_what_the_site_does_not_have_has_no_row(tmp_path):
    counts, samples, folders, clinical = site(tmp_path)
    alone = expression_checks(counts, samples, {}, None, None, GENES)
    assert set(alone["metric"]) == {
        "mitochondrial_percent",
        "top_50_genes_percent",
        "expression_outlier_score",
    }
    few = {patient: folders[patient] for patient in list(folders)[:9]}
    found = set(expression_checks(counts, samples, few, clinical, SEX, GENES)["metric"])
    assert "forward_strand_percent" in found
    assert "strandedness_discordance" not in found
    without_y = counts.filter(~pl.col("gene_id").is_in(GENES["male"]))
    found = expression_checks(without_y, samples, {}, clinical, SEX, GENES)
    assert "expressed_sex_discordance" not in set(found["metric"])
