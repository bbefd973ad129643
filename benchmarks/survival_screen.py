"""The cost of a Cox screen: all genes at once against lifelines, one gene at a time.

20,000 genes × 200 patients are simulated: log2 expression with five prognostic genes, age and sex
as covariates, exponential survival with uniform censoring, times in whole months so that there are
ties. Ours is `fit_cox` on all genes; the reference is ``lifelines.CoxPHFitter`` (Efron ties) on a
random sample of 100 genes, one after the other. Both run in this process, limited to one thread,
in turn; medians of three count, and what is compared is seconds per gene. Log hazard ratios and
standard errors of the sampled genes have to agree to 1e-6 and ours has to be at least 100 times
faster, or the run fails. With ``--quick`` there are 4,000 genes, 20 of which lifelines fits, once,
and how much faster ours is is only printed.
"""

from __future__ import annotations

import os

# Before numpy is loaded: one thread for both.
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)

import argparse
import json
import resource
import statistics
import time
import warnings

import lifelines
import numpy as np
import pandas as pd

from ihdsi.survival.cox import fit_cox


def simulate(n_genes: int, n_patients: int = 200, seed: int = 1) -> tuple[np.ndarray, ...]:
    """Time in months, event, expression (patients x genes) and covariates (age, sex)."""
    rng = np.random.default_rng(seed)
    expression = rng.normal(6.0, 1.5, (n_patients, n_genes))
    covariates = np.column_stack(
        [rng.normal(68.0, 9.0, n_patients), rng.integers(0, 2, n_patients).astype(float)]
    )
    effect = np.zeros(n_genes)
    effect[:5] = 0.4, -0.4, 0.3, -0.3, 0.3
    log_hazard = (expression - 6.0) @ effect + 0.03 * (covariates[:, 0] - 68.0)
    survival = rng.exponential(40.0 * np.exp(-log_hazard))
    censoring = rng.uniform(12.0, 84.0, n_patients)
    months = np.ceil(np.minimum(survival, censoring))
    return months, survival <= censoring, expression, covariates


def run_lifelines(
    months: np.ndarray, event: np.ndarray, expression: np.ndarray, covariates: np.ndarray
) -> np.ndarray:
    """Log hazard ratio and standard error (genes x 2)."""
    frame = pd.DataFrame(covariates, columns=["age", "sex"])
    frame["months"], frame["event"] = months, event
    found = []
    for gene in expression.T:
        frame["gene"] = gene
        fit = lifelines.CoxPHFitter().fit(
            frame, "months", "event", fit_options={"precision": 1e-10, "r_precision": 1e-12}
        )
        found.append((fit.params_["gene"], fit.standard_errors_["gene"]))
    return np.array(found)


def main() -> None:
    """Measure, print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4,000 genes, 20 sampled, one repeat")
    arguments = parser.parse_args()
    n_genes, n_sampled, repeats = (4_000, 20, 1) if arguments.quick else (20_000, 100, 3)
    warnings.simplefilter("ignore")
    months, event, expression, covariates = simulate(n_genes)
    sampled = np.random.default_rng(2).choice(n_genes, n_sampled, replace=False)
    fit_cox(months, event, expression[:, :10], covariates)  # modules are loaded
    ours, theirs = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        fit = fit_cox(months, event, expression, covariates)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        reference = run_lifelines(months, event, expression[:, sampled], covariates)
        theirs.append(time.perf_counter() - start)
    found = np.column_stack([fit.log_hazard_ratio[sampled], fit.standard_error[sampled]])
    difference = float(np.abs(found - reference).max())
    per_gene = statistics.median(ours) / n_genes
    of_lifelines = statistics.median(theirs) / n_sampled
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [
        ("genes × patients (events)", f"{n_genes} × {len(months)} ({int(event.sum())})"),
        ("ours, all genes (s)", f"{statistics.median(ours):.2f}"),
        ("ours, per gene (ms)", f"{1000 * per_gene:.4f}"),
        (f"lifelines, {n_sampled} genes (s)", f"{statistics.median(theirs):.2f}"),
        ("lifelines, per gene (ms)", f"{1000 * of_lifelines:.2f}"),
        ("lifelines / ours, per gene", f"{of_lifelines / per_gene:.0f}"),
        ("largest difference", f"{difference:.1e}"),
        ("genes with an estimate", str(int(fit.converged.sum()))),
        ("peak memory (MiB)", f"{peak:.0f}"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value:>20}")
    result = {
        "name": "survival_screen",
        "ours": round(1000 * per_gene, 5),
        "reference": round(1000 * of_lifelines, 3),
        "unit": "ms per gene",
        "ratio": round(per_gene / of_lifelines, 6),
        "reference_is": "lifelines.CoxPHFitter, one gene at a time, on a sample of the genes",
        "times_faster": round(of_lifelines / per_gene, 1),
        "seconds_all_genes": round(statistics.median(ours), 2),
        "largest_difference": difference,
        "peak_mebibytes": round(peak),
    }
    print(json.dumps(result))
    if not difference <= 1e-6:  # nor if it is not a number
        raise SystemExit("estimates differ from those of lifelines")
    if not arguments.quick and of_lifelines < 100 * per_gene:
        raise SystemExit("not 100 times faster than lifelines")


if __name__ == "__main__":
    main()
