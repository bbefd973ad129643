"""What differential privacy costs: the error of pooled frequencies and odds ratios.

Two sites of 300 patients each count the altered patients of a panel of genes in cases, controls and
together (true frequencies uniform from 0.1 to 0.6 in controls, log odds ratios from −1 to 1). The
sites' tables are pooled as the coordinator pools them, without noise and with that of OpenDP at
several epsilon of the release (`ihdsi.disclosure.differential_privacy`: one patient can be in
2 × (genes + 1) counts, which makes the scale). Errors are root mean squares against the truth that
was simulated, over genes and studies; of the log odds ratio also the coverage of the 95 % interval,
which does not know of the noise. The last line is one JSON object: ours is the error of the pooled
frequency at epsilon 5 of one release with 10 genes, the reference the same without noise. With
``--quick`` there are 10 studies instead of 200.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit

from ihdsi.disclosure.differential_privacy import cells_of, privatise
from ihdsi.meta.pool import pool_alteration_contrasts, pool_gene_alterations
from ihdsi.study import DifferentialPrivacy
from ihdsi.summaries.gene_alterations import build_gene_alterations

N_SITES, N_PATIENTS = 2, 300
PANELS = (5, 10, 50)
EPSILONS = (1.0, 5.0, 20.0)
JUDGED = (10, 5.0)
CONTRAST = {"x": ("group", "case", "control")}


def table_of(
    genes: list[str], probabilities: NDArray[np.float64], rng: np.random.Generator
) -> pl.DataFrame:
    """Count one site's altered patients; `probabilities` of genes × (control, case)."""
    n_genes = len(genes)
    group = rng.random(N_PATIENTS) < 0.5
    altered = rng.random((n_genes, N_PATIENTS)) < probabilities[:, group.astype(int)]
    number, patient = np.nonzero(altered)
    clinical = pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(N_PATIENTS)],
            "group": np.where(group, "case", "control").tolist(),
        }
    )
    variants = pl.DataFrame(
        {
            "patient": [f"p{i}" for i in patient],
            "gene_id": [genes[i] for i in number],
            "alteration_class": "missense",
        }
    )
    catalogue = pl.DataFrame({"gene_id": genes, "gene_name": genes})
    counted = build_gene_alterations(
        variants, clinical.select("patient"), catalogue, clinical, ["group"]
    )
    return counted.filter(alteration_class="any")


def errors_of(
    tables: dict[str, pl.DataFrame],
    genes: list[str],
    frequency: NDArray[np.float64],
    effect: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Errors of frequency and of log odds ratio, and whether the interval covers, by gene."""
    order = pl.DataFrame({"gene_id": genes})
    pooled = pool_gene_alterations(tables).filter(stratum="all")
    contrasts = pool_alteration_contrasts(tables, CONTRAST)
    found = order.join(pooled, on="gene_id", how="left", maintain_order="left")
    effects = order.join(contrasts, on="gene_id", how="left", maintain_order="left")
    estimate, low, high = (
        effects[column].to_numpy().astype(float)
        for column in ("effect", "confidence_low", "confidence_high")
    )
    covered = np.where(np.isfinite(estimate), (low <= effect) & (effect <= high), np.nan)
    return found["frequency"].to_numpy() - frequency, estimate - effect, covered


def main() -> None:
    """Simulate, pool, print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 studies of each size")
    parser.add_argument("--studies", type=int, default=200)
    arguments = parser.parse_args()
    n_studies = 10 if arguments.quick else arguments.studies
    print(
        f"{'genes':>5}  {'epsilon':>7}  {'scale':>6}  {'error of frequency':>18}  "
        f"{'error of log OR':>15}  {'coverage':>8}"
    )
    frequencies: dict[tuple[int, float | None], float] = {}
    odds: dict[tuple[int, float | None], float] = {}
    for n_genes in PANELS:
        genes = [f"ENSG{number:011d}" for number in range(n_genes)]
        results: dict[float | None, list] = {epsilon: [] for epsilon in (None, *EPSILONS)}
        sensitivity = 0
        for study in range(n_studies):
            rng = np.random.default_rng([n_genes, study])
            control = rng.uniform(0.1, 0.6, n_genes)
            effect = rng.uniform(-1, 1, n_genes)
            probabilities = np.stack([control, expit(logit(control) + effect)], axis=1)
            exact = {
                f"site{number}": table_of(genes, probabilities, rng) for number in range(N_SITES)
            }
            sensitivity = cells_of("gene_alterations", exact["site0"]).sensitivity
            for epsilon, found in results.items():
                tables = exact
                if epsilon is not None:
                    noise = DifferentialPrivacy(
                        epsilon=epsilon, budget=epsilon, tables=("gene_alterations",)
                    )
                    tables = {
                        site: privatise({"gene_alterations": table}, noise)["gene_alterations"]
                        for site, table in exact.items()
                    }
                found.append(errors_of(tables, genes, probabilities.mean(axis=1), effect))
        for epsilon, found in results.items():
            frequency, ratio, covered = (np.concatenate(part) for part in zip(*found, strict=True))
            key = (n_genes, epsilon)
            frequencies[key] = float(np.sqrt(np.mean(frequency**2)))
            odds[key] = float(np.sqrt(np.nanmean(ratio**2)))
            scale = "none" if epsilon is None else f"{sensitivity / epsilon:.1f}"
            name = "none" if epsilon is None else f"{epsilon:g}"
            print(
                f"{n_genes:>5}  {name:>7}  {scale:>6}  {frequencies[key]:>18.4f}  "
                f"{odds[key]:>15.3f}  {np.nanmean(covered):>8.3f}"
            )
    n_genes, epsilon = JUDGED
    ours, reference = frequencies[JUDGED], frequencies[n_genes, None]
    result = {
        "name": "differential_privacy",
        "ours": round(ours, 4),
        "reference": round(reference, 4),
        "unit": "root mean square error of a pooled frequency",
        "ratio": round(ours / reference, 2),
        "reference_is": f"the same studies pooled without noise ({N_SITES} sites of {N_PATIENTS} "
        f"patients, {n_genes} genes, epsilon {epsilon:g})",
        "log_odds_ratio_error": round(odds[JUDGED], 3),
        "log_odds_ratio_error_without_noise": round(odds[n_genes, None], 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
