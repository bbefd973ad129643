"""TCGA bladder cancer as a federation of its hospitals gives the published counts, exactly."""

import contextlib
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from ihdsi.cli import app
from ihdsi.files import sha256_of
from project_copy import copy_project

pytestmark = [pytest.mark.workflow, pytest.mark.realdata]

#: Patients mutated, of 394 (../shared/realdata/INDEX.tsv; TTN is a long-gene passenger).
PUBLISHED = {
    "TP53": 196,
    "KDM6A": 103,
    "ARID1A": 97,
    "PIK3CA": 86,
    "RB1": 70,
    "FGFR3": 56,
    "STAG2": 56,
    "ERCC2": 38,
    "TTN": 189,
}


@pytest.fixture(scope="module")
def federation(tmp_path_factory, shared):
    """TCGA bladder cancer, split by collecting hospital, run as a federation."""
    project = copy_project(tmp_path_factory.mktemp("tcga") / "project")
    data = shared / "realdata/tcga_blca"
    subprocess.run(
        [
            *(Path(sys.executable).with_name("ihdsi"), "public-cohort", "split"),
            *("--maf", data / "tcga_blca.maf.tsv.gz"),
            *("--clinical", data / "tcga_blca.clinical.tsv.gz"),
            *("--study", "config/studies/tcga_blca.yaml"),
            *("--codebook", "config/sites/tcga_blca/codebook.yaml"),
            *("--output", "results/tcga_blca/input"),
        ],
        cwd=project.root,
        check=True,
    )
    config = "results/tcga_blca/input/config.yaml"
    sites = sorted(path.name for path in (project.root / config).parent.glob("tss_*"))
    quietly = ("--configfile", config, "--cores", "2", "--quiet", "all", "--")
    drafts = [f"results/tcga_blca/sites/{site}/candidate/manifest.dsse.json" for site in sites]
    project.run(*quietly, *drafts)
    # Nothing has left: these are no simulated patients.
    assert not (project.root / "exchange").exists()
    with contextlib.chdir(project.root):
        for site in sites:
            key = f"results/tcga_blca/input/keys/{site}/steward"
            manifest = sha256_of(f"results/tcga_blca/sites/{site}/candidate/manifest.json")
            arguments = ("--key", key, "--reason", "public data", "--configfile", config)
            arguments = (*arguments, "--manifest", manifest)
            answer = CliRunner().invoke(app, ["release", "approve", site, *arguments])
            assert answer.exit_code == 0, answer.output
    project.run(
        *quietly,
        "results/tcga_blca/meta/gene_alterations.parquet",
        "results/tcga_blca/report/index.html",
    )
    return project.root


def test_the_federation_gives_the_real_pooled_counts_exactly(federation, shared):
    pooled = pl.read_parquet(federation / "results/tcga_blca/meta/gene_alterations.parquet")
    anywhere = pooled.filter(alteration_class="any", stratum="all")
    assert anywhere["n_assessed"].unique().to_list() == [394]
    assert anywhere["n_sites"].unique().to_list() == [35]
    counts = dict(anywhere.select("gene_name", "n_altered").iter_rows())
    assert {gene: counts[gene] for gene in PUBLISHED} == PUBLISHED

    # Every gene of the panel, and every class, against the undivided file.
    maf = pl.read_csv(
        shared / "realdata/tcga_blca/tcga_blca.maf.tsv.gz",
        separator="\t",
        infer_schema=False,
        quote_char=None,
    )
    truth = maf.group_by("Hugo_Symbol").agg(n=pl.col("Tumor_Sample_Barcode").n_unique())
    both = anywhere.join(truth, left_on="gene_name", right_on="Hugo_Symbol", how="left")
    assert both.height >= 50
    assert both.filter(pl.col("n_altered") != pl.col("n").fill_null(0)).is_empty()

    # Hotspots by a look-up written for this test: single residues, spelt as the file spells them.
    listed = pl.read_csv(
        federation / "resources/hotspots.tsv", separator="\t", infer_schema=False
    ).filter(pl.col("kind") == "protein")
    rows = listed.select("gene_name", "reference", "position", "alternate").rows()
    exact = {row for row in rows if row[3]}
    spelt = exact | {
        (*row[:3], residue) for row in rows if not row[3] for residue in "ACDEFGHIKLMNPQRSTVWY"
    }
    single = maf["Protein_Change"].str.extract_groups(r"^p\.([A-Z])(\d+)([A-Z])$").struct.unnest()
    changes = zip(maf["Hugo_Symbol"], *(single[name] for name in "123"), strict=True)
    # At the border of an exon a listed exchange is a Splice_Site of this file (PIK3CA G118D).
    is_hotspot = [
        change in (spelt if kind == "Missense_Mutation" else exact)
        for change, kind in zip(changes, maf["Variant_Classification"], strict=True)
    ]
    missense = maf.with_columns(
        alteration_class=pl.when(pl.Series(is_hotspot))
        .then(pl.lit("hotspot"))
        .when(pl.col("Variant_Classification") == "Missense_Mutation")
        .then(pl.lit("missense"))
    ).filter(pl.col("alteration_class").is_not_null())
    by_class = missense.group_by("Hugo_Symbol", "alteration_class").agg(
        n=pl.col("Tumor_Sample_Barcode").n_unique()
    )
    classes = pooled.filter(
        pl.col("alteration_class").is_in(["missense", "hotspot"]), stratum="all"
    ).join(
        by_class,
        left_on=["gene_name", "alteration_class"],
        right_on=["Hugo_Symbol", "alteration_class"],
        how="left",
    )
    assert classes.filter(pl.col("n_altered") != pl.col("n").fill_null(0)).is_empty()
    hotspots = dict(
        classes.filter(alteration_class="hotspot").select("gene_name", "n_altered").iter_rows()
    )
    # S249C 29, Y373C 8, G370C 5, R248C 3, S371C 2, K650E 2, G380R 2 and combinations.
    assert hotspots["FGFR3"] >= 45
    assert hotspots["PIK3CA"] >= 50
    assert hotspots["KDM6A"] == 0


def test_strata_of_the_federation_add_up(federation, shared):
    pooled = pl.read_parquet(federation / "results/tcga_blca/meta/gene_alterations.parquet")
    by_sex = (
        pooled.filter(alteration_class="any", stratum_variable="sex")
        .group_by("gene_id")
        .agg(pl.col("n_assessed", "n_altered").sum())
    )
    everyone = pooled.filter(alteration_class="any", stratum="all")
    both = everyone.join(by_sex, on="gene_id", suffix="_by_sex")
    assert both.height == everyone.height
    assert (both["n_assessed"] == both["n_assessed_by_sex"]).all()
    assert (both["n_altered"] == both["n_altered_by_sex"]).all()


def test_the_federation_sees_apobec_mutagenesis_without_a_genome(federation):
    burden = pl.read_parquet(federation / "results/tcga_blca/meta/mutation_burden.parquet")
    pooled = burden.filter(
        pl.col("site").is_null(), measure="signature_share_apobec", stratum_variable="all"
    )
    # Hospitals with a single patient have no variance, and so no row.
    assert pooled["n"].item() > 350
    assert pooled["n_sites"].item() > 20
    assert pooled["confidence_low"].item() > 0.45
    assert pooled["confidence_high"].item() < 0.65
    # Without targets nothing is known of the sequenced megabases.
    assert burden.filter(unit="1/Mb").is_empty()
