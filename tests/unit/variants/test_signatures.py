"""Exposures against known ones, against other software, and with hidden contexts."""

import numpy as np
import polars as pl
import pysam
import pytest
from scipy.optimize import lsq_linear, minimize
from test_mutation_contexts import MAF, write_maf

from coding_genome import CodingGenome
from ihdsi.study import SignatureSettings
from ihdsi.variants.mutation_contexts import (
    CHANNELS,
    TRINUCLEOTIDE_OF_CHANNEL,
    TRINUCLEOTIDES,
)
from ihdsi.variants.signatures import (
    EXPOSURE_SCHEMA,
    estimate_site_exposures,
    fit_channel_counts,
    fit_observations,
    human_trinucleotides,
    reference_signatures,
    rescale_signatures,
    signature_exposures,
)

NAMES = ["SBS1", "SBS2", "SBS5", "SBS13"]
APOBEC = [1, 3]
SCHEMA = {
    "patient": pl.String,
    "chromosome": pl.String,
    "position": pl.Int64,
    "reference_allele": pl.String,
    "alternate_allele": pl.String,
    "gene_name": pl.String,
    "protein_change": pl.String,
}


@pytest.fixture(scope="module")
def cosmic():
    return reference_signatures(NAMES, "3.4", "GRCh38")


def root_mean_square(difference):
    return np.sqrt((difference**2).mean(axis=0))


def test_the_matrix_is_cosmics(cosmic):
    assert cosmic.shape == (96, 4)
    assert cosmic.sum(axis=0) == pytest.approx(np.ones(4))
    column = dict(zip(CHANNELS, cosmic.T[1], strict=True))
    # SBS2 is C>T in TpC, SBS13 C>G and C>A in TpC, SBS1 C>T in NpCpG (COSMIC's descriptions).
    assert sum(p for name, p in column.items() if name.startswith("T[C>T]")) > 0.95
    of_13 = dict(zip(CHANNELS, cosmic.T[3], strict=True))
    assert sum(p for name, p in of_13.items() if name[:5] in ("T[C>G", "T[C>A")) > 0.9
    of_1 = dict(zip(CHANNELS, cosmic.T[0], strict=True))
    assert sum(p for name, p in of_1.items() if name.endswith("[C>T]G")) > 0.8


def test_an_unknown_signature_or_version_is_refused():
    with pytest.raises(ValueError, match=r"version 3\.4 has no signature SBS40, SBS400"):
        reference_signatures(["SBS2", "SBS40", "SBS400"], "3.4", "GRCh38")
    with pytest.raises(ValueError, match=r"no COSMIC version 2\.9 of GRCh38"):
        reference_signatures(["SBS2"], "2.9", "GRCh38")


@pytest.mark.parametrize("build", ["GRCh37", "GRCh38"])
def test_rescaling_to_the_exome_gives_cosmics_own_exome_matrix(build):
    from ihdsi.variants.signatures import _package_file

    path = _package_file(
        "SigProfilerAssignment",
        "data",
        "Reference_Signatures",
        build,
        f"COSMIC_v3.4_SBS_{build}_exome.txt",
    )
    theirs = (
        pl.DataFrame({"Type": CHANNELS})
        .join(pl.read_csv(path, separator="\t"), on="Type", how="left", maintain_order="left")
        .select(NAMES)
        .to_numpy()
    )
    genome, exome = (human_trinucleotides(build, kind) for kind in ("genome", "exome"))
    ours = rescale_signatures(reference_signatures(NAMES, "3.4", build), genome, exome)
    assert ours == pytest.approx(theirs, abs=5e-4)
    assert np.abs(reference_signatures(NAMES, "3.4", build) - theirs).max() > 0.02
    assert rescale_signatures(ours, exome, genome) == pytest.approx(
        reference_signatures(NAMES, "3.4", build)
    )


@pytest.mark.parametrize(("n", "largest"), [(50, 0.13), (150, 0.08), (500, 0.05)])
def test_known_exposures_are_recovered(cosmic, n, largest):
    """SBS1, 2, 5 and 13 within the error that counting noise leaves."""
    rng = np.random.default_rng(n)
    truth = rng.dirichlet(np.full(4, 1.5), 200)
    counts = np.array([rng.multinomial(n, cosmic @ row) for row in truth]).astype(float)
    shares = fit_channel_counts(counts, cosmic)
    assert shares.sum(axis=1) == pytest.approx(np.ones(200))
    assert (root_mean_square(shares - truth) < largest).all()
    assert np.abs((shares - truth).mean(axis=0)).max() < 0.02
    # Large counts leave no error.
    assert fit_channel_counts(truth @ cosmic.T * 1e6, cosmic) == pytest.approx(truth, abs=1e-6)


def test_an_absent_signature_stays_near_zero():
    names = ["SBS1", "SBS2", "SBS5", "SBS13", "SBS10a", "SBS17b", "SBS31"]
    signatures = reference_signatures(names, "3.4", "GRCh38")
    rng = np.random.default_rng(8)
    counts = rng.multinomial(200, signatures[:, [0, 2]] @ [0.4, 0.6], size=200).astype(float)
    mean = fit_channel_counts(counts, signatures).mean(axis=0)
    assert mean[[1, 3]].sum() < 0.02  # no APOBEC where there is none
    assert (mean[4:] < 0.03).all()


def test_least_squares_equals_another_solver(cosmic):
    rng = np.random.default_rng(4)
    counts = rng.multinomial(120, cosmic @ [0.2, 0.3, 0.0, 0.5], size=20).astype(float)
    expected = np.array(
        [lsq_linear(cosmic, row, bounds=(0, np.inf), tol=1e-14, method="bvls").x for row in counts]
    )
    expected /= expected.sum(axis=1, keepdims=True)
    assert fit_channel_counts(counts, cosmic) == pytest.approx(expected, abs=1e-6)


def test_shares_agree_with_sigprofilerassignment(cosmic, tmp_path):
    """SigProfilerAssignment drops signatures of small contribution, so the two are not equal."""
    from SigProfilerAssignment import Analyzer

    rng = np.random.default_rng(3)
    truth = rng.dirichlet([1, 2, 2, 2], 40)
    counts = np.array([rng.multinomial(500, cosmic @ row) for row in truth])
    columns = {f"S{number}": counts[number] for number in range(len(truth))}
    pl.DataFrame({"MutationType": CHANNELS} | columns).write_csv(
        tmp_path / "samples.txt", separator="\t"
    )
    pl.DataFrame({"Type": CHANNELS} | dict(zip(NAMES, cosmic.T, strict=True))).write_csv(
        tmp_path / "signatures.txt", separator="\t"
    )
    Analyzer.cosmic_fit(
        samples=str(tmp_path / "samples.txt"),
        output=str(tmp_path / "out"),
        input_type="matrix",
        context_type="96",
        signature_database=str(tmp_path / "signatures.txt"),
        genome_build="GRCh38",
        make_plots=False,
        sample_reconstruction_plots=None,
        cpu=1,
    )
    activities = pl.read_csv(
        tmp_path / "out/Assignment_Solution/Activities/Assignment_Solution_Activities.txt",
        separator="\t",
    )
    assert activities["Samples"].to_list() == list(columns)
    theirs = activities.select(NAMES).to_numpy() / 500
    ours = fit_channel_counts(counts.astype(float), cosmic)
    assert (root_mean_square(ours - theirs) < 0.15).all()
    assert (root_mean_square(ours - truth) <= 1.1 * root_mean_square(theirs - truth)).all()


def test_the_mixture_is_the_maximum_of_the_likelihood(cosmic):
    rng = np.random.default_rng(6)
    counts = rng.multinomial(60, cosmic @ [0.1, 0.4, 0.1, 0.4], size=3).astype(float)
    shares = fit_observations(
        np.repeat(np.arange(3), 96), counts.ravel(), np.tile(cosmic, (3, 1)), 4
    )
    assert shares[3].tolist() == [0.0] * 4  # a tumour without observations
    for row, found in zip(counts, shares, strict=False):

        def loss(logits, row=row):
            weights = np.exp(logits - logits.max())
            return -row @ np.log(cosmic @ (weights / weights.sum()) + 1e-300)

        best = minimize(
            loss,
            np.zeros(4),
            method="Nelder-Mead",
            options={"maxiter": 20000, "fatol": 1e-10, "xatol": 1e-8},
        )
        assert -row @ np.log(cosmic @ found) == pytest.approx(best.fun, abs=1e-3)


@pytest.mark.parametrize("silent", [True, False])
def test_hidden_contexts_give_the_same_shares(cosmic, silent):
    """Protein changes alone, against the truth and against least squares on the true contexts."""
    measured_in = human_trinucleotides("GRCh38", "genome")
    genome = CodingGenome(seed=12, n_genes=150, codons=300)
    shares = np.random.default_rng(7).dirichlet([1, 2.5, 3, 2.5], 60)
    table, truth = genome.mutations(shares, 150, cosmic, measured_in)
    if not silent:
        kept = ~pl.col("protein_change").str.contains(r"^(.)\d+(.)$") | (
            pl.col("protein_change").str.head(1) != pl.col("protein_change").str.tail(1)
        )
        table = table.filter(kept)
    found = hidden(table, cosmic, measured_in, genome.trinucleotides)
    patients = table["patient"].str.slice(1).cast(pl.Int64).to_numpy()
    counts = np.zeros((60, 96))
    np.add.at(counts, (patients, table["channel"].to_numpy()), 1)
    known = fit_channel_counts(
        counts, rescale_signatures(cosmic, measured_in, genome.trinucleotides)
    )
    apobec = {
        name: s[:, APOBEC].sum(axis=1) for name, s in (("t", truth), ("f", found), ("k", known))
    }
    # Measured: 0.042 hidden; 0.077 for least squares with the contexts known, whose weights do not
    # follow the counting noise.
    assert root_mean_square(apobec["f"] - apobec["t"]) < 0.06
    assert abs((apobec["f"] - apobec["t"]).mean()) < 0.03
    assert root_mean_square(apobec["f"] - apobec["t"]) < root_mean_square(apobec["k"] - apobec["t"])
    assert (root_mean_square(found - truth) < 0.07).all()


def hidden(table, cosmic, measured_in, coding):
    """Shares (patients × signatures) from the protein changes alone."""
    from ihdsi.variants.protein_contexts import class_probabilities, coding_sites, mutation_classes

    sites = coding_sites(coding)
    classes, probabilities = class_probabilities(sites, cosmic, measured_in)
    observed = mutation_classes(table.drop("channel"), sites).with_columns(
        channel=pl.lit(None, dtype=pl.Int64)
    )
    exposures = signature_exposures(
        observed,
        cosmic,
        classes,
        probabilities,
        SETTINGS.model_copy(update={"minimum_mutations": 1}),
    )
    return (
        exposures.pivot("signature", index="patient", values="share")
        .sort("patient")
        .select(NAMES)
        .to_numpy()
    )


SETTINGS = SignatureSettings(
    signatures=tuple(NAMES), minimum_mutations=20, opportunities="targets", build="GRCh38"
)


@pytest.fixture(scope="module")
def small_genome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genome")
    rng = np.random.default_rng(9)
    sequence = "".join(rng.choice(list("ACGT"), 300_000, p=[0.2, 0.3, 0.3, 0.2]))
    (folder / "genome.fa").write_text(f">1\n{sequence}\n")
    pysam.faidx(str(folder / "genome.fa"))
    (folder / "targets.bed").write_text("1\t1000\t250000\n")
    return folder, sequence


def variants_of(sequence, shares, n, cosmic, seed):
    """somatic_variants of patients with known exposures within the targets of `small_genome`."""
    from ihdsi.variants.mutation_contexts import base_codes, channels_of

    rng = np.random.default_rng(seed)
    codes = base_codes(sequence)
    place = np.repeat(np.arange(1000, 250_000), 4)
    alternate = np.tile(np.arange(4, dtype=np.uint8), 249_000)
    different = alternate != codes[place]
    place, alternate = place[different], alternate[different]
    channel = channels_of(codes[place - 1], codes[place], alternate, codes[place + 1])
    measured_in = human_trinucleotides("GRCh38", "genome")
    rates = (cosmic / measured_in[TRINUCLEOTIDE_OF_CHANNEL][:, np.newaxis])[channel]
    rates = rates / rates.sum(axis=0)
    letters = np.array(list("ACGT"))
    frames = []
    for number, row in enumerate(shares):
        chosen = rng.choice(len(place), size=n, replace=False, p=rates @ row)
        frames.append(
            pl.DataFrame(
                {
                    "patient": f"P{number}",
                    "chromosome": "1",
                    "position": place[chosen] + 1,
                    "reference_allele": letters[codes[place[chosen]]],
                    "alternate_allele": letters[alternate[chosen]],
                    "gene_name": "G1",
                    "protein_change": None,
                },
                schema=SCHEMA,
            )
        )
    return pl.concat(frames)


def test_a_site_with_a_genome_and_targets(small_genome, cosmic):
    folder, sequence = small_genome
    truth = np.array([[0.1, 0.4, 0.2, 0.3], [0.5, 0.0, 0.5, 0.0], [0.0, 0.6, 0.0, 0.4]])
    variants = variants_of(sequence, truth, 1500, cosmic, 1)
    # A second gene of the same variant, an indel, and a patient with too few mutations.
    variants = pl.concat(
        [
            variants,
            variants.head(500).with_columns(gene_name=pl.lit("G2")),
            variants.head(1).with_columns(alternate_allele=pl.lit("ACGT")),
            variants.head(19).with_columns(patient=pl.lit("few")),
        ]
    )
    found = estimate_site_exposures(
        variants, [], folder / "genome.fa", folder / "targets.bed", SETTINGS
    )
    assert found.schema == EXPOSURE_SCHEMA
    assert found["patient"].unique().sort().to_list() == ["P0", "P1", "P2"]
    assert found["n_mutations"].unique().to_list() == [1500]
    assert (found["exposure"] - found["share"] * 1500).abs().max() < 1e-9
    shares = found["share"].to_numpy().reshape(3, 4)
    assert shares == pytest.approx(truth, abs=0.05)
    likely = estimate_site_exposures(
        variants,
        [],
        folder / "genome.fa",
        folder / "targets.bed",
        SETTINGS.model_copy(update={"estimator": "maximum_likelihood"}),
    )
    assert likely["share"].to_numpy().reshape(3, 4) == pytest.approx(truth, abs=0.03)
    # Without the rescaling to the targets, which are rich in CpG, the answer is wrong.
    plain = estimate_site_exposures(variants, [], folder / "genome.fa", None, SETTINGS)
    assert np.abs(plain["share"].to_numpy().reshape(3, 4) - truth).max() > 0.06


def test_a_mafs_own_context_serves_without_a_genome(small_genome, cosmic, tmp_path):
    folder, sequence = small_genome
    variants = variants_of(sequence, [np.array([0.1, 0.4, 0.2, 0.3])], 1500, cosmic, 2)
    rows = [
        ("1", str(p), r, a, "T0", sequence[p - 6 : p + 5])
        for p, r, a in variants.select(
            "position", "reference_allele", "alternate_allele"
        ).iter_rows()
    ]
    maf = write_maf(tmp_path / "a.maf.gz", rows, (*MAF, "Tumor_Sample_Barcode", "CONTEXT"))
    settings = SETTINGS.model_copy(update={"opportunities": "genome"})
    by_maf = estimate_site_exposures(variants, [(maf, {"T0": "P0"})], None, None, settings)
    by_genome = estimate_site_exposures(variants, [], folder / "genome.fa", None, settings)
    assert by_maf.equals(by_genome)
    # Half with a context, half without any clue but the substitution: the likelihood takes both.
    half = write_maf(tmp_path / "b.maf.gz", rows[::2], (*MAF, "Tumor_Sample_Barcode", "CONTEXT"))
    mixed = estimate_site_exposures(variants, [(half, {"T0": "P0"})], None, None, settings)
    assert mixed["n_mutations"].unique().to_list() == [1500]
    difference = mixed["share"].to_numpy() - by_genome["share"].to_numpy()
    # The substitution alone is read against the human exome, which this genome is not.
    assert np.abs(difference).max() < 0.15


def test_a_site_without_mutations_has_no_exposures(small_genome):
    folder, _ = small_genome
    empty = pl.DataFrame(schema=SCHEMA)
    for genome in (folder / "genome.fa", None):
        found = estimate_site_exposures(empty, [], genome, None, SETTINGS)
        assert found.is_empty()
        assert found.schema == EXPOSURE_SCHEMA


def test_trinucleotides_of_the_human_genome():
    genome, exome = (human_trinucleotides("GRCh38", kind) for kind in ("genome", "exome"))
    assert 2.5e9 < genome.sum() < 3.1e9
    assert exome.sum() < 0.03 * genome.sum()
    cpg = [name[1:] == "CG" for name in TRINUCLEOTIDES]
    # CpG is depleted in the genome and less so in exons.
    assert genome[cpg].sum() / genome.sum() < 0.022
    assert exome[cpg].sum() / exome.sum() > 0.035
