"""A bundle of a whole transcriptome is small enough to be sent in any way."""

import numpy as np
import polars as pl
import pytest

from ihdsi.bundle import write_bundle
from ihdsi.study import load_study
from ihdsi.summaries import TABLES
from ihdsi.summaries.parquet import empty_table
from project_copy import PROJECT

GENES, N = 20_000, 116


@pytest.fixture(scope="module")
def tables():
    """Values of 20,000 genes for every contrast and endpoint of the demo study, as random ones.

    Real values have no more digits than these, and their names repeat no less.
    """
    rng = np.random.default_rng(5)
    study = load_study(PROJECT / "config/studies/demo.yaml")
    numbers = np.sort(rng.choice(300_000, GENES, replace=False))
    genes = {
        "gene_id": [f"ENSG{number:011d}" for number in numbers],
        "gene_name": [f"{rng.choice(list('ABCDEFGH'))}N{number}" for number in numbers],
    }
    terms = ["intercept", "case", "sex=male", "age"]
    statistics = {"statistic": rng.normal(0, 1, GENES), "p_value": rng.uniform(0, 1, GENES)}
    made = {name: [empty_table(name)] for name in TABLES}

    def add(table, **columns):
        frame = pl.DataFrame({**genes, **columns})
        schema = TABLES[table].schema
        made[table].append(frame.select(pl.col(name).cast(kind) for name, kind in schema.items()))

    for contrast in study.contrasts:
        add(
            "expression_effects",
            contrast=[contrast] * GENES,
            n_case=[N // 2] * GENES,
            n_control=[N // 2] * GENES,
            base_mean=rng.lognormal(5, 2, GENES),
            log2_fold_change=rng.normal(0, 0.5, GENES),
            standard_error=rng.uniform(0.1, 0.4, GENES),
            **statistics,
        )
        add(
            "expression_moments",
            contrast=[contrast] * GENES,
            n=[N] * GENES,
            terms=[terms] * GENES,
            xty=rng.normal(100, 50, (GENES, len(terms))).tolist(),
            yty=rng.normal(1e4, 10, GENES),
        )
    for endpoint in study.endpoints:
        add(
            "survival_effects",
            endpoint=[endpoint] * GENES,
            feature_type=["expression"] * GENES,
            n=[N] * GENES,
            n_events=[70] * GENES,
            log_hazard_ratio=rng.normal(0, 0.3, GENES),
            standard_error=rng.uniform(0.1, 0.3, GENES),
            **statistics,
        )
    return {name: pl.concat(parts).sort(TABLES[name].keys) for name, parts in made.items()}


def test_twenty_thousand_genes_take_less_than_five_megabytes(tables, tmp_path):
    assert sum(frame.height for frame in tables.values()) >= 3 * GENES
    manifest = write_bundle(
        tmp_path / "bundle",
        tables,
        {"settings": {"minimum_n": 10}, "withheld": {}},
        study="demo",
        study_version="1.0",
        study_hash="0" * 64,
        site="lih",
        workflow_version="0.1.0",
    )
    size = sum(entry.size for entry in manifest.files)
    assert 1_000_000 < size < 5_000_000
