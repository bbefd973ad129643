"""The demo study end to end: from simulated reads at two sites to one report."""

import gzip
import json
import os
import re
import shutil
import stat
import time
from datetime import UTC, datetime

import polars as pl
import pysam
import pytest

from ihdsi.bundle.keys import load_transport_key, public_key_text
from ihdsi.bundle.release import open_release
from ihdsi.bundle.trust import load_trust_store
from ihdsi.expression.normalisation import log2_cpm
from ihdsi.meta.audit import verify_audit_log
from ihdsi.plan import load_plan
from ihdsi.study import load_study, study_hash
from ihdsi.summaries import TABLES
from project_copy import copy_project, need_tools

pytestmark = pytest.mark.workflow
SITES = ("lih", "ncck")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The project after `snakemake`, and what that printed."""
    need_tools(
        "art_illumina", "bcftools", "bwa", "fastp", "freebayes", "gffread", "mosdepth", "salmon"
    )
    project = copy_project(tmp_path_factory.mktemp("demo") / "project")
    output = project.run("--cores", "2", "--quiet", "reason", "host")
    return project, output


@pytest.fixture(scope="module")
def root(demo):
    return demo[0].root


@pytest.fixture(scope="module")
def identifiers(root):
    """Every patient and sample name of both sites' sheets."""
    names = set()
    for site in SITES:
        sheet = pl.read_csv(root / f"config/sites/{site}/samples.tsv", separator="\t")
        names |= {*sheet["patient"], *sheet["sample"]}
    return names


def test_the_first_lines_say_what_was_understood(demo):
    _, output = demo
    before_jobs = output[: re.search(r"\nJob \d", output).start()]
    assert "Site lih (Luxembourg Institute of Health (simulated)): 60 patients" in before_jobs
    assert "FASTQ, 2 lanes merge (L001, L002) → somatic calling against LIH-0001-N" in before_jobs
    assert "tumour DNA from VCF → somatic variants taken as given" in before_jobs
    assert "LIH-0060" in before_jobs


def test_it_finds_the_planted_truth(root):
    recovery = json.loads((root / "results/demo/recovery.json").read_text())
    # A share of nothing planted is not known; only a band of fractions may be empty.
    unknown = {name for name, value in recovery.items() if value is None}
    assert all(name.startswith("somatic_recall_af_") for name in unknown)
    assert recovery["somatic_snv_truth_n"] >= 30
    assert recovery["somatic_snv_precision"] >= 0.97
    assert recovery["somatic_snv_recall"] >= 0.9
    assert recovery["somatic_snv_f1_af10"] >= 0.97
    assert recovery["somatic_indel_f1_af10"] >= 0.92
    assert recovery["somatic_recall_af_from_20"] == 1
    assert recovery["somatic_false_per_megabase"] <= 2
    assert recovery["copy_number_truth_n"] >= 8
    assert recovery["copy_number_f1"] >= 0.9
    assert recovery["germline_f1"] >= 0.99
    assert recovery["germline_genotype_concordance"] >= 0.99
    assert recovery["copy_number_truth_n"] >= 8
    assert recovery["copy_number_f1"] >= 0.9
    assert recovery["expression_spearman"] >= 0.98
    assert recovery["expression_count_spearman"] >= 0.99
    assert recovery["de_power_at_fdr5"] >= 0.9
    assert recovery["de_false_discovery"] <= 0.12
    assert recovery["de_sign_agreement"] == 1
    assert recovery["protein_released_n"] >= 40
    assert recovery["protein_power_at_fdr5"] >= 0.9
    assert recovery["protein_false_discovery"] <= 0.15
    assert recovery["subtype_direction_auc"] >= 0.95
    assert recovery["subtype_direction_agreement"] >= 0.95
    assert recovery["subtype_called_n"] >= 40
    assert abs(recovery["burden_relative_error"]) <= 0.03
    # Some of the rarer types go with the doublets.
    assert recovery["cell_type_accuracy"] >= 0.9
    assert recovery["cell_empty_found"] == 1
    assert recovery["cell_dying_found"] >= 0.98
    assert recovery["cell_mixed_doublet_found"] >= 0.8
    assert recovery["composition_planted_released_n"] == recovery["composition_truth_n"] == 3
    # The shift of myeloid cells is about what 48 donors can show.
    assert recovery["composition_found_n"] >= 2
    assert recovery["composition_called_n"] == recovery["composition_found_n"]
    assert recovery["composition_sign_agreement"] == 1
    assert recovery["composition_mean_absolute_error"] <= 0.02
    assert recovery["cell_expression_types_n"] >= 3
    assert recovery["cell_expression_power_at_fdr5"] >= 0.9
    assert recovery["cell_expression_false_discovery"] <= 0.12
    assert recovery["cell_expression_sign_agreement"] == 1
    assert recovery["driver_genes_found"] >= recovery["driver_genes_planted"] - 1
    assert recovery["driver_false_discoveries"] == 0
    assert 1 <= recovery["survival_genes_found"] <= recovery["survival_genes_planted"]
    assert recovery["survival_false_discoveries"] <= 2


def test_a_second_run_does_nothing_in_seconds(demo):
    project, _ = demo
    start = time.monotonic()
    text = project.run("--cores", "2")
    assert "Nothing to be done" in text
    assert time.monotonic() - start < 60


def text_of(path):
    """Return all text of a file: raw bytes, decoded tables and their metadata."""
    data = path.read_bytes()
    seen = data.decode("latin-1") + data.decode("utf-8", errors="ignore")
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
        seen += frame.write_json() + str(frame.schema) + str(pl.read_parquet_metadata(path))
    return seen


def found_in(paths, identifiers):
    texts = {path: text_of(path) for path in paths}
    return {
        (path.name, name) for path, text in texts.items() for name in identifiers if name in text
    }


def files_below(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_no_identifier_is_in_any_byte_that_left(root, identifiers):
    assert len(identifiers) > 300
    for site in SITES:
        # What is sealed for the coordinator, and what lies in the exchange for everybody.
        inside = files_below(root / f"results/demo/sites/{site}/candidate")
        assert len(inside) == 5 + len(TABLES)
        assert found_in(inside, identifiers) == set()
        outside = files_below(root / f"exchange/demo/{site}")
        assert {path.name for path in outside} == {"bundle-1.tar.c4gh", "seal.dsse.json"}
        assert found_in(outside, identifiers) == set()
        assert sum(path.stat().st_size for path in outside) < 5_000_000
    assert found_in(files_below(root / "results/demo/meta"), identifiers) == set()
    assert found_in(files_below(root / "results/demo/report"), identifiers) == set()


def test_the_search_for_identifiers_finds_them_where_they_are(root, identifiers, tmp_path):
    patient_level = [root / "results/demo/sites/lih/variants/somatic_variants.parquet"]
    assert len(found_in(patient_level, identifiers)) > 40
    table = root / "results/demo/meta/intake/lih/gene_alterations.parquet"
    leaking = pl.read_parquet(table).with_columns(gene_name=pl.lit("LIH-0007-T"))
    leaking.write_parquet(tmp_path / "leak.parquet", compression="zstd")
    assert ("leak.parquet", "LIH-0007-T") in found_in([tmp_path / "leak.parquet"], identifiers)


def patient_values_released(effects, counts):
    """Genes of which a released statistic equals a value of one patient (counts or log2 CPM)."""
    matrix = counts.drop("gene_id", "gene_name").to_numpy()
    values = pl.concat(
        counts.select("gene_id")
        .hstack([pl.Series("value", list(scale))])
        .explode("value")
        .select("gene_id", pl.col("value").cast(pl.Float64))
        for scale in (matrix, log2_cpm(matrix))
    )
    statistics = [name for name, kind in effects.schema.items() if kind == pl.Float64]
    released = effects.select("gene_id", *statistics).unpivot(index="gene_id", value_name="value")
    return set(released.drop_nulls().join(values, on=["gene_id", "value"], how="semi")["gene_id"])


def test_no_released_statistic_is_a_value_of_one_patient(root):
    for site in SITES:
        counts = pl.read_parquet(root / f"results/demo/sites/{site}/expression/gene_counts.parquet")
        for table in ("expression_effects", "survival_effects"):
            effects = pl.read_parquet(root / f"results/demo/meta/intake/{site}/{table}.parquet")
            assert effects.height > 200
            assert patient_values_released(effects, counts) == set()
        # The search finds a value that does belong to one patient.
        one = counts.select("gene_id", log2_fold_change=pl.nth(2).cast(pl.Float64)).head(1)
        assert patient_values_released(one, counts) == {one["gene_id"][0]}


def test_released_counts_keep_the_thresholds(root):
    settings = load_study(root / "config/studies/demo.yaml").disclosure
    for site in SITES:
        folder = root / f"results/demo/meta/intake/{site}"
        altered = pl.read_parquet(folder / "gene_alterations.parquet")
        small = pl.col("n_altered").is_between(1, settings.minimum_cell_count - 1)
        assert altered.filter(small).is_empty()
        assert altered["n_assessed"].min() >= settings.minimum_n
        rest = pl.col("n_assessed") - pl.col("n_altered")
        assert altered.filter(rest.is_between(1, settings.minimum_cell_count - 1)).is_empty()
        effects = pl.read_parquet(folder / "expression_effects.parquet")
        assert (
            effects.select(pl.min_horizontal("n_case", "n_control").min()).item()
            >= settings.minimum_n
        )


def test_the_dna_summaries_leave_with_their_classes(root):
    for site in SITES:
        folder = root / f"results/demo/meta/intake/{site}"
        altered = pl.read_parquet(folder / "gene_alterations.parquet").filter(stratum="all")
        released = set(altered.select("gene_name", "alteration_class").iter_rows())
        assert {("FGFR3", "hotspot"), ("TERT", "promoter"), ("KDM6A", "truncating")} <= released
        # Copy number is measured in the three patients with reads, too few for any row to leave.
        assert not released & {("CCND1", "gain"), ("CCND1", "amplification"), ("PTEN", "deletion")}
        burden = pl.read_parquet(folder / "mutation_burden.parquet").filter(stratum="all")
        means = dict(burden.select("measure", "mean").iter_rows())
        assert means["all_mutations"] > means["nonsynonymous_mutations"] > 10
        assert means["signature_share_apobec"] > 0.3
        frequencies = pl.read_parquet(folder / "variant_frequencies.parquet")
        # Of some sixty patients a handful of frequencies keep a membership attack weak.
        stated = json.loads((folder / "disclosure.json").read_text())["membership"]
        assert 3 <= frequencies.height <= stated["n_frequencies"] <= 10
        assert stated["power_after"] <= stated["maximum_power"] == 0.1 < stated["power_before"]
        assert set(frequencies["consequence"]) <= {"stop_gained", "frameshift"}


def test_the_cells_of_both_sites_leave_by_donor_and_reach_the_biomarkers(root):
    for site in SITES:
        folder = root / f"results/demo/meta/intake/{site}"
        composition = pl.read_parquet(folder / "cell_composition.parquet")
        donors = dict(composition.group_by("stratum").agg(pl.col("n_donors").max()).iter_rows())
        assert donors == {"all": 24, "MIBC": 12, "NMIBC": 12}
        assert {"fibroblast", "myeloid", "urothelial_umbrella"} <= set(composition["cell_type"])
        effects = pl.read_parquet(folder / "cell_expression_effects.parquet")
        assert {"fibroblast", "tumour", "t_cell"} <= set(effects["cell_type"])
        assert effects.select(pl.min_horizontal("n_case", "n_control").min()).item() >= 10
        assert not list((root / f"results/demo/sites/{site}/candidate").rglob("*umap*"))
    biomarkers = pl.read_csv(root / "results/demo/meta/biomarkers.tsv", separator="\t")
    assert biomarkers["cell_expression_effect"].count() > 200
    # SIM0004 carries its effect in fibroblasts alone.
    (gene,) = biomarkers.filter(gene_name="SIM0004").iter_rows(named=True)
    assert gene["tier"] is not None
    assert gene["expression_fdr"] > 0.05 > gene["cell_expression_fdr"]


def test_every_sample_is_judged_and_none_fails(root):
    for site in SITES:
        path = root / f"results/demo/sites/{site}/quality_control/sample_decisions.parquet"
        decisions = pl.read_parquet(path)
        cohort = pl.read_csv(root / f"config/sites/{site}/samples.tsv", separator="\t")
        assert set(decisions["sample"]) == set(cohort["sample"])
        assert set(decisions["decision"]) <= {"pass", "warn"}
        metrics = pl.read_parquet(path.with_name("qc_metrics.parquet"))
        for metric in ("identity_concordance_percent", "contamination_percent", "sex_discordance"):
            assert metrics.filter(metric=metric).height >= 3


def test_releases_are_signed_by_both_and_of_this_protocol(root, tmp_path):
    study = load_study(root / "config/studies/demo.yaml")
    keys = root / "results/demo/simulated/keys"
    for site in SITES:
        release = open_release(
            root / f"exchange/demo/{site}",
            store=load_trust_store(keys / "trust_store.yaml"),
            study="demo",
            study_hash=study_hash(study),
            site=site,
            recipient=load_transport_key(keys / "coordinator/transport"),
            on=datetime.now(UTC).date(),
            working=tmp_path,
        )
        tables = release.bundle.tables
        assert set(tables) == set(TABLES)
        # Single variants may use up what may leave before genes' carriers have their turn.
        empty = {name for name, frame in tables.items() if frame.is_empty()}
        assert empty <= {"germline_gene_carriers"}
        assert (
            release.signatures.producer.public_key
            == public_key_text(keys / f"{site}/producer.pub")
            != release.signatures.steward.public_key
        )


def test_private_keys_are_private_and_nowhere_else(root):
    keys = root / "results/demo/simulated/keys"
    private = [path for path in files_below(keys) if path.suffix == ""]
    assert len(private) == 3 * len(SITES) + 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    secrets = [path.read_text().splitlines()[1] for path in private]
    elsewhere = [
        path
        for folder in ("exchange", "results", ".snakemake/log", "config")
        for path in files_below(root / folder)
        if keys not in path.parents and path.stat().st_size < 10_000_000
    ]
    assert len(elsewhere) > 100
    leaks = {path for path in elsewhere if any(s.encode() in path.read_bytes() for s in secrets)}
    assert leaks == set()


def test_the_audit_log_holds_every_acceptance(root):
    log = root / "results/demo/meta/audit.jsonl"
    assert verify_audit_log(log).intact
    accepted = [json.loads(line) for line in log.read_text().splitlines()]
    assert {(entry["event"], entry["site"], entry["sequence"]) for entry in accepted} == {
        ("accepted", site, 1) for site in SITES
    }


def test_a_coordinator_refuses_releases_of_another_protocol(demo, tmp_path):
    source, _ = demo
    project = copy_project(tmp_path / "coordinator")
    (project.root / "exchange").symlink_to(source.root / "exchange")
    # A coordinator has the trust store and its own key, and no key of a site.
    for name in ("trust_store.yaml", "coordinator/transport"):
        target = project.root / "results/demo/simulated/keys" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.root / "results/demo/simulated/keys" / name, target)
    project.edit("config/config.yaml", "sites:", "sites: []")
    for site in SITES:
        project.edit("config/config.yaml", f"  - config/sites/{site}/site.yaml\n", "")
    project.edit("config/studies/demo.yaml", "minimum_n: 10", "minimum_n: 11")
    answer = project.snakemake("--cores", "2", "meta")
    assert answer.returncode != 0
    assert "the bundle was made under another protocol" in answer.stdout
    meta = project.root / "results/demo/meta"
    assert not (meta / "intake").exists() or not files_below(meta / "intake")
    reasons = [json.loads(path.read_text()) for path in meta.glob("quarantine/*/reason.json")]
    assert {reason["site"] for reason in reasons} == set(SITES)
    project.edit("config/studies/demo.yaml", "minimum_n: 11", "minimum_n: 10")
    project.run("--cores", "2", "meta")
    events = [json.loads(line)["event"] for line in (meta / "audit.jsonl").read_text().splitlines()]
    assert events == ["refused", "refused", "accepted", "accepted"]
    here, there = (
        pl.read_csv(folder / "results/demo/meta/biomarkers.tsv", separator="\t")
        for folder in (project.root, source.root)
    )
    assert here.equals(there)
    # A later seal that is no good is seen, whatever its date, and leaves what was accepted.
    accepted = {path.name: path.read_bytes() for path in files_below(meta / "intake/lih")}
    (project.root / "exchange").unlink()
    shutil.copytree(source.root / "exchange", project.root / "exchange")
    seal = project.root / "exchange/demo/lih/seal.dsse.json"
    seal.write_bytes(seal.read_bytes().replace(b'"sig": "', b'"sig": "AAAA', 1))
    os.utime(seal, (1, 1))
    answer = project.snakemake("--cores", "2", "meta")
    assert answer.returncode != 0
    assert {path.name: path.read_bytes() for path in files_below(meta / "intake/lih")} == accepted
    assert "refused" in (meta / "audit.jsonl").read_text().splitlines()[-1]


def test_lanes_merge_under_one_sample(root):
    bam = root / "results/demo/sites/lih/alignment/LIH-0001-T.markdup.bam"
    with pysam.AlignmentFile(str(bam)) as alignment:
        groups = alignment.header.to_dict()["RG"]
        reads = list(alignment.fetch(until_eof=True))
    assert {group["ID"] for group in groups} == {"LIH-0001-T.L001", "LIH-0001-T.L002"}
    assert {group["SM"] for group in groups} == {"LIH-0001-T"}
    fastqs = sorted((root / "results/demo/simulated/lih/fastq").glob("LIH-0001-T_*.gz"))
    assert len(fastqs) == 4
    written = sum(gzip.decompress(path.read_bytes()).count(b"\n") // 4 for path in fastqs)
    primary = [read for read in reads if not read.is_secondary and not read.is_supplementary]
    # fastp drops reads of poor quality, and nothing else may.
    assert 0.97 * written <= len(primary) <= written
    assert any(read.is_duplicate for read in primary)


def test_big_intermediates_are_gone(root):
    site = root / "results/demo/sites"
    assert not list(site.rglob("*.sorted.bam"))
    assert not list(site.rglob("*.fastq.gz"))
    assert not list(root.rglob(".partial-*"))


def test_every_site_has_multiqc_and_judged_quality(root):
    for site in SITES:
        folder = root / f"results/demo/sites/{site}"
        data = (folder / "multiqc/multiqc_report_data/multiqc_data.json").read_text()
        for tool in ("fastp", "samtools", "mosdepth", "salmon", "bcftools"):
            assert tool in data.lower()
        metrics = pl.read_parquet(folder / "quality_control/qc_metrics.parquet")
        assert set(metrics["assay"]) == {"dna", "rna", "protein", "single_cell"}
        assert metrics.filter(pl.col("status") == "fail").is_empty()
        assert metrics.filter(metric="mean_target_coverage")["value"].min() > 60


def test_the_report_is_self_contained_and_says_that_it_is_simulated(root):
    page = (root / "results/demo/report/index.html").read_text(encoding="utf-8")
    assert len(page) < 10_000_000
    outside = re.findall(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//[^"'\s>]+""", page)
    assert outside == []
    assert re.search(r"default-src 'none'", page)
    assert "Simulated data" in page
    for name in (
        "volcano_expression_muscle_invasion",
        "forest_expression_muscle_invasion",
        "alterations",
        "mutation_burden",
        "quality_control",
        "cell_composition_muscle_invasion",
    ):
        assert name in page
        assert (root / f"results/demo/report/figures/{name}.svg").stat().st_size > 2000


def planned_jobs(project):
    """Rules and numbers of jobs that a run would do now."""
    text = project.run("--dry-run")
    table = re.search(r"Job stats:\n.*?\ntotal", text, flags=re.S).group()
    rows = [line.split() for line in table.splitlines()[3:-1]]
    return {name: int(count) for name, count in rows}


def test_a_site_that_is_summarised_again_releases_nothing_new(demo):
    project, _ = demo
    exchange = project.root / "exchange/demo/lih"
    before = {path.name: path.read_bytes() for path in exchange.iterdir()}
    again = ("build_mutation_burden", "build_cohort_profile", "build_gene_alterations")
    project.run("--forcerun", *again, "--cores", "2")
    assert {path.name: path.read_bytes() for path in exchange.iterdir()} == before
    archive = project.root / "results/demo/sites/lih/release/ledger.releases"
    assert [path.name for path in archive.iterdir()] == ["1"]
    page = (project.root / "results/demo/sites/lih/review/index.html").read_text(encoding="utf-8")
    assert "There is nothing to approve" in page


def test_only_what_depends_on_a_lost_file_is_made_again(demo):
    project, _ = demo
    for lost in ("meta/survival_effects.parquet", "report/index.html"):
        (project.root / "results/demo" / lost).unlink()
    assert planned_jobs(project) == dict.fromkeys(
        (
            "pool_survival_effects",
            "rank_biomarkers",
            "draw_figures",
            "build_report",
            "evaluate_recovery",
            "all",
        ),
        1,
    )
    project.run("--cores", "2")
    assert (project.root / "results/demo/report/index.html").is_file()


def test_a_changed_clinical_table_touches_no_read_and_no_other_site(demo):
    project, _ = demo
    project.edit("config/sites/ncck/clinical.tsv", "\t141\t", "\t142\t")
    planned = planned_jobs(project)
    project.edit("config/sites/ncck/clinical.tsv", "\t142\t", "\t141\t")
    assert planned["harmonise_clinical"] == 1
    assert planned["estimate_expression_effects"] == 1
    assert planned["draft_release"] == planned["intake_bundle"] == 1
    assert planned["build_report"] == 1
    assert planned.keys().isdisjoint(
        {"simulate_reads", "trim_reads", "align_reads", "call_somatic", "quantify_expression"}
    )


def test_the_plan_of_the_demo_says_every_patient(root, monkeypatch):
    monkeypatch.chdir(root)
    config = {
        "study": "config/studies/demo.yaml",
        "sites": [f"config/sites/{site}/site.yaml" for site in SITES],
    }
    described = load_plan(config).describe()
    assert "LIH-0001-T: tumour DNA from FASTQ, 2 lanes merge (L001, L002)" in described
    assert "→ somatic calling against LIH-0001-N" in described
    assert len(re.findall(r"^  (?:LIH|NCCK)-\d{4}$", described, flags=re.M)) == 116
