"""Signature scores and marker-based subtypes."""

from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ihdsi.errors import InputError
from ihdsi.expression.signatures import (
    call_subtypes,
    profile_of_expression,
    rank_scores,
    read_signatures,
    score_signatures,
)
from ihdsi.simulate.cohort import DEMO_SITES
from ihdsi.simulate.demo_study import simulate_cohort
from ihdsi.simulate.genome import gene_list, read_gene_panel
from ihdsi.study import ExpressionSettings

RESOURCE = Path(__file__).parents[3] / "resources/expression_signatures.tsv"
SETTINGS = ExpressionSettings()
SIGNATURES = read_signatures(RESOURCE, SETTINGS.signatures)
N_GENES = 4000


def members(n, *genes):
    return np.isin(np.arange(n), genes)[None, :]


NONE = members(5)


# --- the score ----------------------------------------------------------------------------------


def test_a_worked_example():
    """Ranks 5 3 1 4 2 of five genes, by the formula of Foroutan et al. 2018 on paper."""
    sample = np.array([[50.0], [30], [10], [40], [20]])
    # Up {0, 3}: mean rank 4.5, the highest of two: (4.5 - 1.5) / (4.5 - 1.5) - 0.5.
    assert rank_scores(sample, members(5, 0, 3), NONE).centred == pytest.approx(0.5)
    # Up {0, 2}: mean rank 3, half-way.
    assert rank_scores(sample, members(5, 0, 2), NONE).centred == pytest.approx(0.0)
    # Down {1, 2}: reversed ranks 3 and 5, mean 4: (4 - 1.5) / 3 - 0.5; up {4}: rank 2, (2 - 1) / 4.
    both = rank_scores(sample, members(5, 4), members(5, 1, 2))
    assert both.centred == pytest.approx(2.5 / 3 - 0.5 + 0.25 - 0.5)
    assert both.share == pytest.approx((2.5 / 3 + 0.25) / 2)
    assert rank_scores(sample, NONE, members(5, 1, 2)).share == pytest.approx(2.5 / 3)


def test_ties_get_their_lowest_rank():
    sample = np.array([[0.0], [0], [0], [7], [9]])
    # Rising 1 1 1 4 5; falling is 6 minus that.
    assert rank_scores(sample, members(5, 0, 3), NONE).centred == pytest.approx(1 / 3 - 0.5)
    assert rank_scores(sample, NONE, members(5, 0, 3)).centred == pytest.approx(2 / 3 - 0.5)


@pytest.mark.parametrize("sample", [(3, 1, 4, 15, 9, 2, 6), (0, 0, 0, 5, 5, 2, 8)])
@pytest.mark.parametrize(("n_up", "n_down"), [(2, 0), (0, 3), (2, 2), (3, 1)])
def test_standardised_by_all_sets_of_the_same_size(sample, n_up, n_down):
    values = np.array(sample, dtype=float)[:, None]
    genes = range(len(sample))
    sets = [
        (up, down)
        for up in combinations(genes, n_up)
        for down in combinations(sorted(set(genes) - set(up)), n_down)
    ]
    up = np.concatenate([members(len(sample), *chosen) for chosen, _ in sets])
    down = np.concatenate([members(len(sample), *chosen) for _, chosen in sets])
    scores = rank_scores(values, up, down)
    centred = scores.centred[:, 0]
    np.testing.assert_allclose(
        scores.standardised[:, 0], (centred - centred.mean()) / centred.std(), atol=1e-12
    )


def test_what_cannot_be_scored_is_not_a_number():
    sample = np.array([[1.0, 4], [2, 4], [3, 4]])
    scores = rank_scores(
        sample, np.array([[True, False, False], [False] * 3]), np.zeros((2, 3), bool)
    )
    assert np.isfinite(scores.share).tolist() == [[True, False], [False, False]]
    assert np.isfinite(scores.standardised).tolist() == [[True, False], [False, False]]


def test_a_score_needs_one_sample_only_and_only_the_order_of_its_genes():
    counts = simulate(6)
    alone = pl.concat(
        [
            score_signatures(counts.select("gene_id", "gene_name", name), SIGNATURES, SETTINGS)
            for name in counts.columns[2:]
        ]
    )
    together = score_signatures(counts, SIGNATURES, SETTINGS)
    assert together.equals(alone)
    million = counts.with_columns(
        pl.col(name) * 1e6 / pl.col(name).sum() for name in counts.columns[2:]
    )
    shuffled = million.sample(fraction=1, shuffle=True, seed=1)
    other = score_signatures(shuffled, SIGNATURES, SETTINGS)
    assert other.drop("score", "centred_score", "standardised_score").equals(
        together.drop("score", "centred_score", "standardised_score")
    )
    np.testing.assert_allclose(other["standardised_score"], together["standardised_score"])


# --- the marker lists ---------------------------------------------------------------------------


def test_the_lists_have_sources_and_ids_of_the_gene_panel():
    assert set(SIGNATURES["signature"]) == set(SETTINGS.signatures)
    assert SIGNATURES.filter(~pl.col("source").str.contains("doi:10.")).is_empty()
    sizes = SIGNATURES.group_by("signature").len()
    assert sizes["len"].min() >= SETTINGS.minimum_genes
    assert (
        SIGNATURES.select("gene_name", "gene_id")
        .unique()
        .select(pl.col("gene_name").is_unique() & pl.col("gene_id").is_unique())
        .to_series()
        .all()
    )
    panel = pl.read_csv(RESOURCE.with_name("bladder_gene_panel.tsv"), separator="\t")
    shared = SIGNATURES.join(panel, on="gene_name", suffix="_of_panel")
    assert shared.height > 10
    assert shared.filter(pl.col("gene_id") != pl.col("gene_id_of_panel")).is_empty()


def test_faults_of_a_list_are_placed(tmp_path):
    path = tmp_path / "lists.tsv"
    lines = [
        "signature\tgene_name\tgene_id\tdirection\tsource",
        "basal\tKRT5\tENSG00000186081.12\tup\tdoi:1",
        "basal\tKRT14\tENSG00000186847\tsideways\tdoi:1",
        "basal\tCD44\tENSG00000026508\tup\t",
        "basal\tCD44\tENSG00000026508\tup\tdoi:1",
    ]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as caught:
        read_signatures(path, ["basal", "luminal"])
    assert [(p.row, p.column) for p in caught.value.problems] == [
        (2, "gene_id"),
        (3, "direction"),
        (4, "source"),
        (5, "signature"),
        (None, "signature"),
    ]
    assert "'luminal'" in caught.value.problems[-1].what
    path.write_text("signature\tgene_name\tgene_id\tsource\na\tb\tc\td\n")
    with pytest.raises(InputError, match="missing"):
        read_signatures(path, [])


# --- recovery -----------------------------------------------------------------------------------


def simulate(n, planted=(), seed=3, genes=N_GENES):
    """Gene counts in which the markers of each patient's planted signature are raised."""
    rng = np.random.default_rng(seed)
    markers = SIGNATURES.unique("gene_id", maintain_order=True)
    ids = markers["gene_id"].to_list()
    ids += [f"ENSG9{number:010d}" for number in range(genes - len(ids))]
    # Markers are spread over the genes' means like any others.
    mean = rng.lognormal(4, 1.5, genes)[:, None] * rng.gamma(4, 1 / 4, (genes, n))
    for patient, name in enumerate(planted):
        for gene, direction in (
            SIGNATURES.filter(signature=name).select("gene_id", "direction").iter_rows()
        ):
            mean[ids.index(gene), patient] *= 16.0 if direction == "up" else 1 / 16
    counts = rng.poisson(mean)
    return pl.DataFrame(
        {
            "gene_id": ids,
            "gene_name": ids,
            **{f"p{patient}": counts[:, patient].astype(float) for patient in range(n)},
        }
    )


def test_planted_subtypes_are_recovered():
    planted = ["luminal", "basal", "neuroendocrine_like"] * 20
    scores = score_signatures(simulate(60, planted), SIGNATURES, SETTINGS)
    calls = call_subtypes(scores, SETTINGS)["molecular_subtype"].to_list()
    right = sum(call == truth for call, truth in zip(calls, planted, strict=True))
    assert right >= 57
    assert {call for call, truth in zip(calls, planted, strict=True) if call != truth} <= {
        "unassigned"
    }


def test_the_demo_cohort_loses_luminal_markers_with_invasion():
    """Its muscle-invasive tumours have fewer luminal and more basal transcripts, by design."""
    genes = gene_list(read_gene_panel(RESOURCE.with_name("bladder_gene_panel.tsv")))
    cohort = simulate_cohort(20260401, genes, DEMO_SITES)
    counts = cohort.parameters.select("gene_id", "gene_name").with_columns(
        pl.Series(patient, reads.astype(float))
        for patient, reads in zip(
            cohort.patients["patient"], cohort.expression.fragments, strict=True
        )
    )
    scores = score_signatures(counts, SIGNATURES, SETTINGS)
    assert set(scores.drop_nulls("score")["signature"]) == {"luminal", "basal"}
    calls = call_subtypes(scores, SETTINGS).join(
        cohort.patients.select("patient", "stage_group"), on="patient"
    )
    found = dict(
        calls.group_by("stage_group").agg(pl.col("molecular_subtype").value_counts()).iter_rows()
    )
    shares = {
        stage: {row["molecular_subtype"]: row["count"] for row in rows}
        for stage, rows in found.items()
    }
    assert "basal" not in shares["NMIBC"]
    assert shares["NMIBC"]["luminal"] > 0.8 * sum(shares["NMIBC"].values())
    assert "luminal" not in shares["MIBC"]
    assert shares["MIBC"]["basal"] >= 5


@pytest.mark.parametrize("name", SETTINGS.signatures)
def test_every_signature_sees_its_own_genes(name):
    counts = simulate(24, [name] * 12)
    scores = score_signatures(counts, SIGNATURES, SETTINGS).filter(signature=name)
    raised, rest = scores["score"][:12], scores["score"][12:]
    assert raised.min() > rest.max()


def test_without_planted_subtypes_nearly_all_are_unassigned():
    """Each seed draws other genes as markers, so that their means are no constant of the cohort."""
    calls = [
        call
        for seed in range(60)
        for call in call_subtypes(
            score_signatures(simulate(2, seed=seed, genes=600), SIGNATURES, SETTINGS), SETTINGS
        )["molecular_subtype"]
    ]
    # Three candidates above 2 by chance: 0.068.
    assert 1 - calls.count("unassigned") / len(calls) < 0.12
    assert None not in calls


def test_standardised_scores_of_random_markers_have_mean_0_and_variance_1():
    scores = pl.concat(
        score_signatures(simulate(1, seed=seed, genes=600), SIGNATURES, SETTINGS)
        for seed in range(100)
    )["standardised_score"]
    # 1000 values, of which those of a seed share their sample but hardly any genes.
    assert abs(scores.mean()) < 0.12
    assert 0.85 < scores.std() < 1.15


# --- what is not scored, and not called ---------------------------------------------------------


def test_too_few_measured_genes_give_a_reason():
    counts = simulate(3).filter(
        ~pl.col("gene_id").is_in(SIGNATURES.filter(signature="basal")["gene_id"][:9].to_list())
    )
    scores = score_signatures(counts, SIGNATURES, SETTINGS)
    basal = scores.filter(signature="basal")
    assert basal["n_measured"].to_list() == [4] * 3
    assert basal["score"].null_count() == basal["standardised_score"].null_count() == 3
    assert basal["reason"].unique().to_list() == ["4 of 13 genes are measured, fewer than 5"]
    assert scores.filter(signature="luminal")["reason"].null_count() == 3
    fewer = ExpressionSettings(minimum_genes=4)
    assert (
        score_signatures(counts, SIGNATURES, fewer)
        .filter(signature="basal")["score"]
        .is_finite()
        .all()
    )
    # One candidate is no comparison.
    two = ExpressionSettings(subtypes=("luminal", "basal"))
    calls = call_subtypes(score_signatures(counts, SIGNATURES, two), two)
    assert calls["molecular_subtype"].null_count() == 3
    assert calls["reason"].unique().to_list() == ["fewer than two subtypes have a score"]


def test_a_sample_without_counts_has_no_score_and_no_subtype():
    counts = simulate(2, ["luminal"] * 2).with_columns(p1=pl.lit(0.0))
    scores = score_signatures(counts, SIGNATURES, SETTINGS)
    assert scores.filter(patient="p1")["score"].null_count() == len(SETTINGS.signatures)
    assert scores.filter(patient="p1")["reason"].unique().to_list() == [
        "all genes of the sample have the same count"
    ]
    assert call_subtypes(scores, SETTINGS)["molecular_subtype"].to_list() == ["luminal", None]


def test_a_low_or_close_best_score_is_unassigned():
    def called(luminal, basal, **settings):
        scores = pl.DataFrame(
            {
                "patient": ["a"] * 3,
                "signature": ["luminal", "basal", "stroma"],
                "standardised_score": [luminal, basal, 9.0],
            }
        )
        row = call_subtypes(scores, ExpressionSettings(subtypes=("luminal", "basal"), **settings))
        return row["molecular_subtype"].item(), row["reason"].item()

    assert called(3.0, 1.9) == ("luminal", None)
    assert called(1.0, 3.0) == ("basal", None)
    assert called(3.0, 2.1) == ("unassigned", "the two highest scores differ by less than 1")
    assert called(1.9, -5.0) == ("unassigned", "no score reaches 2")
    assert called(3.0, 2.1, minimum_margin=0.5) == ("luminal", None)
    assert called(1.9, -5.0, minimum_standardised_score=1.5) == ("luminal", None)


def test_constants_of_a_reference_cohort_replace_random_genes():
    settings = ExpressionSettings(constants={"basal": {"mean": 0.1, "standard_deviation": 0.05}})
    scores = score_signatures(simulate(4), SIGNATURES, settings)
    basal = scores.filter(signature="basal")
    np.testing.assert_allclose(basal["standardised_score"], (basal["centred_score"] - 0.1) / 0.05)
    others = score_signatures(simulate(4), SIGNATURES, SETTINGS)
    assert scores.filter(pl.col("signature") != "basal").equals(
        others.filter(pl.col("signature") != "basal")
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"signatures": ["basal", "basal"], "subtypes": []}, "twice"),
        ({"signatures": ["basal"], "subtypes": ["basal", "luminal"]}, "luminal"),
        ({"signatures": ["basal"], "subtypes": ["basal"]}, "cannot be compared"),
        ({"signatures": ["basal", "unassigned"], "subtypes": ["basal", "unassigned"]}, "named"),
        ({"constants": {"other": {"mean": 0, "standard_deviation": 1}}}, "other"),
        ({"constants": {"basal": {"mean": 0, "standard_deviation": 0}}}, "greater than 0"),
    ],
)
def test_settings_that_cannot_be_meant(keys, message):
    with pytest.raises(ValueError, match=message):
        ExpressionSettings(**keys)


def test_a_study_may_call_no_subtypes_or_score_nothing():
    settings = ExpressionSettings(subtypes=())
    assert set(settings.profile_variables) == {f"signature_{n}" for n in settings.signatures}
    scores = score_signatures(simulate(2), SIGNATURES, settings)
    assert call_subtypes(scores, settings)["molecular_subtype"].null_count() == 2
    nothing = ExpressionSettings(signatures=(), subtypes=())
    assert nothing.profile_variables == {}
    scores = score_signatures(simulate(2), SIGNATURES.clear(), nothing)
    profile = profile_of_expression(scores, call_subtypes(scores, nothing))
    assert profile.is_empty()


def test_the_profile_has_one_row_a_patient_and_scores_from_0_to_1():
    scores = score_signatures(simulate(5, ["basal"] * 2), SIGNATURES, SETTINGS)
    profile = profile_of_expression(scores, call_subtypes(scores, SETTINGS))
    assert profile["patient"].to_list() == [f"p{number}" for number in range(5)]
    assert set(profile.columns) == {"patient", *SETTINGS.profile_variables}
    values = profile.drop("patient", "molecular_subtype").to_numpy()
    assert values.min() >= 0
    assert values.max() <= 1
    assert profile["molecular_subtype"][0] == "basal"
