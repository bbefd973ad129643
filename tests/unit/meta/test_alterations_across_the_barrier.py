"""Copy-number and promoter alterations from patients to the pooled table, through sealed releases.

The demo measures copy number in too few patients for any to leave, so this goes the way by hand.
"""

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control, disclosure_summary
from ihdsi.meta.pool import pool_alteration_contrasts, pool_gene_alterations
from ihdsi.meta.site_tables import read_site_tables
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.gene_alterations import build_gene_alterations
from sites_and_coordinator import Coordinator, Site

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
GENES = {"CCND1": "ENSG00000110092", "CDKN2A": "ENSG00000147889", "TERT": "ENSG00000164362"}
#: Probability of the classes amplification, gain, loss and deletion, by gene and stage.
PROBABILITIES = {
    ("CCND1", "MIBC"): (0.30, 0.20, 0.0, 0.0),
    ("CCND1", "NMIBC"): (0.12, 0.20, 0.0, 0.0),
    ("CDKN2A", "MIBC"): (0.0, 0.0, 0.25, 0.25),
    ("CDKN2A", "NMIBC"): (0.0, 0.0, 0.25, 0.25),
}
CLASSES = ("amplification", "gain", "loss", "deletion", "neutral")


def patients_of(site, n, rng):
    clinical = pl.DataFrame(
        {
            "patient": [f"{site}{i}" for i in range(n)],
            "stage": rng.choice(["MIBC", "NMIBC"], n).tolist(),
        }
    )
    copies = [
        (patient, GENES[gene], gene, rng.choice(CLASSES, p=(*odds, 1 - sum(odds))))
        for gene in ("CCND1", "CDKN2A")
        for patient, stage in clinical.iter_rows()
        for odds in [PROBABILITIES[gene, stage]]
    ]
    promoters = [
        (patient, GENES["TERT"], "promoter")
        for patient in clinical["patient"]
        if rng.random() < 0.6
    ]
    return (
        clinical,
        pl.DataFrame(
            copies,
            schema=["patient", "gene_id", "gene_name", "copy_number_class"],
            orient="row",
        ),
        pl.DataFrame(promoters, schema=["patient", "gene_id", "alteration_class"], orient="row"),
    )


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    """Patients of two sites, and their tables as the coordinator has accepted them."""
    folder = tmp_path_factory.mktemp("federation")
    rng = np.random.default_rng(17)
    catalogue = pl.DataFrame({"gene_id": list(GENES.values()), "gene_name": list(GENES)})
    truth, accepted, coordinator = {}, [], Coordinator(folder)
    for site, n in (("north", 160), ("south", 220)):
        clinical, copies, promoters = truth[site] = patients_of(site, n, rng)
        table = build_gene_alterations(
            promoters,
            clinical.select("patient"),
            catalogue,
            clinical,
            ["stage"],
            copy_number=copies,
            promoter_genes=["TERT"],
        )
        cleared, log = apply_disclosure_control(
            {"gene_alterations": table}, SETTINGS, set(clinical["patient"]), {}
        )
        sender = Site(folder, site)
        sender.release(given=cleared, disclosure=disclosure_summary(log, SETTINGS))
        coordinator.accept(sender.exchange, site)
        accepted.append(coordinator.destination(site) / "gene_alterations.parquet")
    return truth, read_site_tables(accepted)


def altered(truth, gene, name, stage=None):
    """Altered and assessed patients of both sites, counted from the patients."""
    numbers = [0, 0]
    for clinical, copies, promoters in truth.values():
        members = clinical if stage is None else clinical.filter(stage=stage)
        rows = promoters if name == "promoter" else copies.rename({"copy_number_class": "class_"})
        hit = (
            rows.filter(gene_id=GENES[gene])
            if name == "promoter"
            else rows.filter(gene_id=GENES[gene], class_=name)
        )
        numbers[0] += members.join(hit, on="patient", how="semi").height
        numbers[1] += members.height
    return tuple(numbers)


@pytest.mark.parametrize(
    ("gene", "name"),
    [
        ("CCND1", "amplification"),
        ("CCND1", "gain"),
        ("CDKN2A", "loss"),
        ("CDKN2A", "deletion"),
        ("TERT", "promoter"),
    ],
)
def test_pooled_counts_are_those_of_the_patients(federation, gene, name):
    truth, tables = federation
    pooled = pool_gene_alterations(tables).filter(gene_name=gene, alteration_class=name)
    for stage in (None, "MIBC", "NMIBC"):
        row = pooled.filter(stratum=stage or "all")
        assert row.select("n_altered", "n_assessed").row(0) == altered(truth, gene, name, stage)
        assert row["n_sites"].item() == 2


def test_the_association_is_recovered_and_the_null_stays_null(federation):
    _, tables = federation
    contrasts = pool_alteration_contrasts(tables, {"invasion": ("stage", "MIBC", "NMIBC")}, "fixed")

    def estimate(gene, name):
        return contrasts.filter(gene_name=gene, alteration_class=name).row(0, named=True)

    amplified = estimate("CCND1", "amplification")
    expected = np.log(0.30 / 0.70) - np.log(0.12 / 0.88)
    assert abs(amplified["effect"] - expected) < 3 * amplified["standard_error"]
    assert amplified["p_value"] < 0.01
    for name in ("loss", "deletion"):
        null = estimate("CDKN2A", name)
        assert abs(null["effect"]) < 3 * null["standard_error"]


def test_classes_that_nobody_has_do_not_expose_anybody(federation):
    """Deletions of CCND1 are none: whatever is released of them is zero, never a small count."""
    _, tables = federation
    for table in tables.values():
        rows = table.filter(gene_name="CCND1", alteration_class="deletion")
        assert set(rows["n_altered"].to_list()) <= {0}
        assert not table.filter((pl.col("n_altered") > 0) & (pl.col("n_altered") < 5)).height
