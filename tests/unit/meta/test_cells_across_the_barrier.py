"""Shares of cell types from donors to the coordinator's comparison, through sealed releases."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from ihdsi.disclosure import apply_disclosure_control, disclosure_summary
from ihdsi.meta import harmonise
from ihdsi.meta.cell_composition import compare_cell_composition
from ihdsi.meta.site_tables import read_site_tables
from ihdsi.study import DisclosureSettings
from ihdsi.summaries.cell_composition import build_cell_composition
from sites_and_coordinator import Coordinator, Site

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
CONTRASTS = {"invasion": ("stage", "MIBC", "NMIBC")}
TYPES = ("tumour", "fibroblast", "t_cell", "myeloid", "mast_cell")


def donors_of(site, n, rng):
    """Counts by cell type, and the stage; at the site south two donors hold the mast cells."""
    stage = np.where(np.arange(n) % 5 < 3, "MIBC", "NMIBC")
    weights = np.tile([5.0, 2.0, 2.0, 1.0, 0.6], (n, 1))
    weights[:, 1] += 1.2 * (stage == "MIBC")
    counts = np.array([rng.multinomial(700, rng.dirichlet(6 * row)) for row in weights])
    if site == "south":
        counts[2:, 4] = 0
    patients = [f"{site}{i}" for i in range(n)]
    return (
        pl.DataFrame({"patient": patients}).hstack(pl.DataFrame(counts, schema=list(TYPES))),
        pl.DataFrame({"patient": patients, "stage": stage}),
    )


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    """Donors of two sites, and their tables as the coordinator has accepted them."""
    folder = tmp_path_factory.mktemp("federation")
    rng = np.random.default_rng(23)
    donors, accepted, coordinator = {}, [], Coordinator(folder)
    for site, n in (("north", 60), ("south", 45)):
        counts, clinical = donors[site] = donors_of(site, n, rng)
        table = build_cell_composition(counts, clinical, ["stage"])
        cleared, log = apply_disclosure_control(
            {"cell_composition": table}, SETTINGS, set(clinical["patient"]), {}
        )
        sender = Site(folder, site)
        sender.release(given=cleared, disclosure=disclosure_summary(log, SETTINGS))
        coordinator.accept(sender.exchange, site)
        accepted.append(coordinator.destination(site) / "cell_composition.parquet")
    return donors, read_site_tables(accepted)


def least_squares(donors, cell_type, sites):
    """Share on case and one intercept a site, over the donors themselves."""
    shares, case, site = [], [], []
    for name in sites:
        counts, clinical = donors[name]
        shares.append(counts[cell_type] / counts.select(pl.sum_horizontal(TYPES)).to_series())
        case.append((clinical["stage"] == "MIBC").to_numpy())
        site += [name] * counts.height
    own = [np.array([one == name for one in site]) for name in sites]
    return sm.OLS(np.concatenate(shares), np.column_stack([np.concatenate(case), *own])).fit()


def test_the_comparison_is_least_squares_on_the_donors_of_the_sites_that_released(federation):
    donors, tables = federation
    compared = compare_cell_composition(tables, CONTRASTS)
    released = {
        cell_type: [
            site
            for site, table in tables.items()
            if table.filter(cell_type=cell_type, stratum_variable="stage").height == 2
        ]
        for cell_type in TYPES
    }
    # A mean that two donors make up does not leave, nor does another that would tell it.
    assert released["mast_cell"] == ["north"]
    assert ["north", "south"] in released.values()
    assert set(compared["cell_type"]) == {name for name, sites in released.items() if sites}
    for row in compared.iter_rows(named=True):
        sites = released[row["cell_type"]]
        reference = least_squares(donors, row["cell_type"], sites)
        assert row["n_sites"] == len(sites)
        assert row["difference"] == pytest.approx(reference.params[0], abs=1e-8)
        assert row["standard_error"] == pytest.approx(reference.bse[0], rel=1e-8)
        assert row["degrees_of_freedom"] == reference.df_resid
        assert row["p_value"] == pytest.approx(reference.pvalues[0], rel=1e-6)
    assert compared.filter(cell_type="fibroblast")["fdr"].item() < 0.01


def test_the_account_names_the_types_that_a_site_withheld(federation):
    _, tables = federation
    effects = harmonise.composition_site_effects(tables, CONTRASTS)
    account = harmonise.harmonisation_account(effects, list(tables))
    refused = account.filter(~pl.col("used"))
    assert ("mast_cell", "south", harmonise.NOT_RELEASED) in refused.select(
        "feature", "site", "reason"
    ).rows()
    assert set(refused["site"]) == {"south"}
