"""Protein matrices from the sample sheet to the biomarkers' evidence, over the barrier."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from ihdsi.meta.harmonise import NOT_RELEASED
from ihdsi.simulate.recovery import protein_recovery
from project_copy import copy_project

pytestmark = pytest.mark.workflow

SITES = ("lih", "ncck")
SHEETS = [f"config/sites/{site}/samples.tsv" for site in SITES]
SIMULATED, META = "results/demo/simulated", "results/demo/meta"


def keep_rows(project, keep):
    """Keep the rows of both sheets whose assay is one that `keep` says yes to."""
    for sheet in SHEETS:
        lines = (project.root / sheet).read_text(encoding="utf-8").splitlines()
        assay = lines[0].split("\t").index("assay")
        kept = [line for line in lines[1:] if keep(line.split("\t")[assay])]
        (project.root / sheet).write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def proteins(tmp_path_factory):
    """Both demo sites with their proteins alone, run to the coordinator's evidence."""
    project = copy_project(tmp_path_factory.mktemp("matrices") / "project")
    keep_rows(project, lambda assay: assay == "protein")
    project.run(
        *(
            f"{META}/{name}.parquet"
            for name in ("evidence", "matrix_linear_model", "harmonisation_account")
        ),
        "results/demo/report/index.html",
        "results/demo/report/figures/cohort.svg",
    )
    return project


def read(project, path):
    file = project.root / path
    return pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, separator="\t")


def individual_data(project, feature):
    """Log2 intensities of both sites' tumours, with intercept and plate of each site's own."""
    y, x = [], []
    for number, site in enumerate(SITES):
        folder = f"{SIMULATED}/{site}"
        matrix = read(project, f"{folder}/protein_matrix.tsv").filter(accession=feature)
        plates = read(project, f"{folder}/plates.tsv")
        clinical = read(project, f"results/demo/sites/{site}/clinical/clinical.parquet")
        rows = plates.with_columns(patient=pl.col("sample").str.strip_suffix("-P")).join(
            clinical, on="patient", maintain_order="left"
        )
        first = rows["plate"][0]
        for row in rows.iter_rows(named=True):
            own = [0.0] * 4
            own[2 * number : 2 * number + 2] = [1.0, float(row["plate"] == first)]
            y.append(np.log2(matrix[row["sample"]].item()))
            x.append(
                [row["stage_group"] == "MIBC", row["sex"] == "male", row["age"], *own],
            )
    return np.array(y), np.array(x, dtype=float)


def test_the_pooled_model_is_least_squares_on_all_patients(proteins):
    pooled = read(proteins, f"{META}/matrix_linear_model.parquet")
    complete = pooled.filter(n=116)
    assert complete.height >= 30
    for row in complete.head(12).iter_rows(named=True):
        reference = sm.OLS(*individual_data(proteins, row["feature"])).fit()
        assert row["coefficient"] == pytest.approx(reference.params[0], abs=1e-8)
        assert row["standard_error"] == pytest.approx(reference.bse[0], rel=1e-8)
        assert row["degrees_of_freedom"] == reference.df_resid
    assert set(pooled["unit"]) == {"log2(intensity)"}


def test_planted_differences_are_found_and_no_others(proteins):
    pooled = read(proteins, f"{META}/matrix_linear_model.parquet")
    truth = read(proteins, f"{SIMULATED}/truth/proteins.tsv")
    recovery = protein_recovery(truth, pooled, "muscle_invasion")
    assert recovery["protein_planted_released_n"] >= 8
    assert recovery["protein_power_at_fdr5"] >= 0.9
    assert recovery["protein_false_discovery"] <= 0.15
    assert recovery["protein_sign_agreement"] == 1


def test_proteins_are_evidence_on_their_genes(proteins):
    evidence = read(proteins, f"{META}/evidence.parquet")
    pooled = read(proteins, f"{META}/matrix_linear_model.parquet")
    assert set(evidence["layer"]) == {"protein"}
    assert "SPIKE_IN" in set(pooled["feature"])
    genes = pooled.drop_nulls("gene_id")
    assert evidence.height == genes.height == pooled.height - 1
    both = evidence.join(genes, on="gene_id", suffix="_pooled")
    assert (both["effect"] == both["coefficient"]).all()
    assert both["p_value"].to_list() == pytest.approx(both["moderated_p_value"].to_list())


def test_every_feature_of_both_sites_is_accounted_for(proteins):
    pooled = read(proteins, f"{META}/matrix_linear_model.parquet")
    account = read(proteins, f"{META}/harmonisation_account.parquet")
    assert set(account["analysis"]) == {"protein"}
    assert account.height == 2 * pooled.height
    used = account.filter("used").group_by("feature").agg(pl.len().cast(pl.Int64).alias("n_sites"))
    assert used.sort("feature").rows() == pooled.select("feature", "n_sites").sort("feature").rows()
    assert set(account.filter(~pl.col("used"))["reason"]) <= {NOT_RELEASED}


def test_the_report_shows_the_leading_proteins_and_no_cell_types(proteins):
    page = (proteins.root / "results/demo/report/index.html").read_text(encoding="utf-8")
    first = read(proteins, f"{META}/matrix_linear_model.parquet").sort("p_value").row(0, named=True)
    section = page[page.index('<section id="matrices">') :].split("</section>")[0]
    assert f'<th scope="row">{first["feature"]}</th>' in section
    assert 'id="cells"' not in page
    drawn = proteins.root / "results/demo/report/figures/cell_composition_muscle_invasion.svg"
    assert "No site released shares of cell types" in drawn.read_text(encoding="utf-8")


def test_no_name_of_a_plate_leaves_the_site(proteins):
    for site in SITES:
        folder = f"results/demo/sites/{site}"
        account = read(proteins, f"{folder}/matrices/protein/samples.tsv")
        names = dict(account.select("plate_code", "plate").unique().iter_rows())
        assert set(names) == {"plate_1", "plate_2"}
        assert account["n_missing"].sum() > 0
        design = read(proteins, f"{folder}/candidate/tables/matrix_design.parquet")
        terms = set(design["row_term"])
        assert terms == {"intercept", "case", "sex=male", "age", "site:protein_plate=plate_2"}
        for table in (proteins.root / folder / "candidate/tables").glob("*.parquet"):
            text = table.read_bytes()
            assert not [name for name in names.values() if name.encode() in text]


def test_samples_are_judged_and_their_quality_may_leave(proteins):
    for site in SITES:
        folder = f"results/demo/sites/{site}"
        decisions = read(proteins, f"{folder}/quality_control/sample_decisions.parquet")
        account = read(proteins, f"{folder}/matrices/protein/samples.tsv")
        assert set(decisions["sample"]) == set(account["sample"])
        assert set(decisions["kind"]) == {"tumour_protein"}
        assert set(decisions["decision"]) == {"pass"}
        profile = read(proteins, f"{folder}/candidate/tables/qc_profile.parquet")
        assert set(profile["metric"]) == {
            "failed_limits",
            "protein_missing_percent",
            "protein_median_value",
            "protein_outlier_score",
        }
        assert profile["n"].null_count() == 0
        assert profile["n_total"].unique().to_list() == [account.height]


def test_a_cell_that_is_no_number_stops_the_site_and_is_named(proteins):
    path = f"{SIMULATED}/lih/protein_matrix.tsv"
    file = proteins.root / path
    before = file.read_text(encoding="utf-8")
    lines = before.split("\n")
    cells = lines[5].split("\t")
    cells[7] = "high"
    lines[5] = "\t".join(cells)
    column = lines[0].split("\t")[7]
    try:
        file.write_text("\n".join(lines), encoding="utf-8")
        answer = proteins.snakemake("results/demo/sites/lih/matrices/protein/values.parquet")
    finally:
        file.write_text(before, encoding="utf-8")
    assert answer.returncode != 0
    place = f"{path}, row 6, column '{column}': 'high' is not a number."
    assert place in " ".join(answer.stdout.split())


def test_sites_without_matrices_run_no_job_of_them(tmp_path):
    project = copy_project(tmp_path / "project")
    keep_rows(project, lambda assay: assay != "protein")
    rules = {job["rule"] for job in project.jobs("all")}
    assert not {"build_matrix_table", "build_matrix_moments"} & rules
    assert {"build_expression_moments", "pool_matrix_model"} <= rules
