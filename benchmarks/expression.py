"""Time and peak memory of each step of bulk expression, against PyDESeq2 alone.

Negative binomial counts of 20,000 genes × 200 samples (half of them cases, sex and age as
covariates, a twentieth of the genes different by a factor of two) are simulated. Each step of a
site runs in a process of its own, limited to one thread, with its modules loaded before the clock
starts. Seconds are those of the processor, which other work on the machine does not stretch:

- ``salmon_gene_counts`` (pytximport) of 20 samples' ``quant.sf``, four transcripts a gene;
- ``read_count_matrix`` of the matrix as TSV;
- ``estimate_expression_effects`` (PyDESeq2 and what is around it);
- ``build_expression_moments``;
- ``estimate_survival_effects`` (Cox, every gene);
- ``expression_checks`` (quality) and ``score_signatures`` with ``call_subtypes``;
- ``judge_features``, what single patients make up of each gene's statistics;
- ``fit_pooled_linear_model`` of the moments of three sites, each of a third of the samples (at the
  coordinator's).

The reference, in the same run, is PyDESeq2 called by hand on the same counts and design:
``DeseqDataSet.deseq2()`` and ``DeseqStats.summary()``, on the genes that a site tests. Ratios are
to its seconds.

Then null contrasts: 20 seeds of 1,000 genes × 60 samples whose groups differ by nothing, and the
share of p < 0.05 over all of them, of the Wald test and of the moderated t; the run fails outside
0.04 to 0.06. With ``--quick`` there are 1,500 genes × 40 samples (salmon's files of 5) and 3 seeds
of 300 genes, whose shares are only printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[1]
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1"
)
PRELUDE = """\
import json, resource, sys, time
import numpy as np, pandas as pd, polars as pl
import pandera.polars
from ihdsi.study import ClinicalVariable, Contrast, Endpoint, ExpressionSettings
folder, root = sys.argv[1], sys.argv[2]
clinical = pl.read_parquet(folder + "/clinical.parquet")
variables = {
    "group": ClinicalVariable(type="categorical", levels=("control", "case")),
    "sex": ClinicalVariable(type="categorical", levels=("f", "m")),
    "age": ClinicalVariable(type="number", unit="a"),
    "time": ClinicalVariable(type="number", unit="d"),
    "event": ClinicalVariable(type="categorical", levels=("no", "yes")),
}
contrasts = {
    "c": Contrast(variable="group", case="case", control="control", covariates=("sex", "age"))
}
endpoints = {"e": Endpoint(time="time", event="event", covariates=("sex", "age"))}
samples = {name: name for name in clinical["patient"]}
counts = pl.read_parquet(folder + "/counts.parquet") if READ else None
by_site = [clinical["patient"].to_list()[number::3] for number in range(3)]
"""
CLOSING = """\
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak": peak, "answer": answer}))
"""
REFERENCE = "PyDESeq2 alone"
STEPS = {
    REFERENCE: """\
from pydeseq2.dds import DeseqDataSet
from pydeseq2.default_inference import DefaultInference
from pydeseq2.ds import DeseqStats
import ihdsi.expression.differential
# The genes that a site tests: ten reads in as many samples as the smaller group has.
known = clinical.to_pandas().set_index("patient")
matrix = counts.drop("gene_name").to_pandas().set_index("gene_id")
matrix = matrix[(matrix >= 10).sum(axis=1) >= len(known) // 2]
start = time.process_time()
dataset = DeseqDataSet(
    counts=matrix[known.index].T.astype(int),
    metadata=known,
    design="~ sex + age + group",
    inference=DefaultInference(n_cpus=1),
    quiet=True,
)
dataset.deseq2()
stats = DeseqStats(dataset, contrast=["group", "case", "control"], quiet=True)
stats.summary()
answer = int(stats.results_df["pvalue"].notna().sum())
""",
    "salmon_gene_counts": """\
from pathlib import Path
import pytximport
from ihdsi.expression.counts import salmon_gene_counts
files = {path.stem: path for path in sorted(Path(folder).glob("*.sf"))}
known = pl.read_parquet(folder + "/transcript_to_gene.parquet")
start = time.process_time()
answer = salmon_gene_counts(files, known).height
""",
    "read_count_matrix": """\
from ihdsi.expression.counts import read_count_matrix
start = time.process_time()
answer = read_count_matrix(folder + "/counts.tsv", samples).height
""",
    "estimate_expression_effects": """\
import ihdsi.expression.differential
from ihdsi.summaries.expression_effects import estimate_expression_effects
start = time.process_time()
answer = estimate_expression_effects(counts, clinical, contrasts, variables, 10).height
""",
    "build_expression_moments": """\
from ihdsi.summaries.expression_moments import build_expression_moments
start = time.process_time()
answer = build_expression_moments(counts, clinical, contrasts, variables, 10)[1].height
""",
    "estimate_survival_effects": """\
import ihdsi.survival.cox, scipy.special
from ihdsi.summaries.survival_effects import estimate_survival_effects
start = time.process_time()
answer = estimate_survival_effects(counts, clinical, endpoints, variables, 10).height
""",
    "expression_checks": """\
from ihdsi.expression.quality import expression_checks, read_quality_genes
genes = read_quality_genes(root + "/resources/expression_quality_genes.tsv")
start = time.process_time()
answer = expression_checks(counts, samples, {}, None, None, genes).height
""",
    "score_signatures": """\
import scipy.stats
from ihdsi.expression.signatures import call_subtypes, read_signatures, score_signatures
settings = ExpressionSettings()
lists = read_signatures(root + "/resources/expression_signatures.tsv", settings.signatures)
start = time.process_time()
answer = call_subtypes(score_signatures(counts, lists, settings), settings).height
""",
    "judge_features": """\
from types import SimpleNamespace
from ihdsi.disclosure.contributions import judge_features
from ihdsi.study import DisclosureSettings
import ihdsi.summaries.design
study = SimpleNamespace(
    contrasts=contrasts,
    clinical=SimpleNamespace(variables=variables),
    expression=SimpleNamespace(profile_variables={}),
    strata=("sex",),
)
frames = {"clinical": clinical, "counts": counts}
start = time.process_time()
answer = judge_features(study, DisclosureSettings(), frames).height
""",
    "fit_pooled_linear_model": """\
from ihdsi.meta.linear import fit_pooled_linear_model
from ihdsi.summaries.expression_moments import build_expression_moments
released = {
    f"site{number}": build_expression_moments(
        counts.select("gene_id", "gene_name", *patients),
        clinical.filter(pl.col("patient").is_in(patients)),
        contrasts,
        variables,
        5,
    )
    for number, patients in enumerate(by_site)
}
start = time.process_time()
answer = fit_pooled_linear_model(
    {name: design for name, (design, _) in released.items()},
    {name: moments for name, (_, moments) in released.items()},
).height
""",
}


def simulate(folder: Path, n_genes: int, n_samples: int, n_quantified: int, seed: int = 1) -> None:
    """Write counts, clinical table and, of the first samples, salmon's estimates."""
    rng = np.random.default_rng(seed)
    markers = pl.read_csv(ROOT / "resources/expression_signatures.tsv", separator="\t")["gene_id"]
    ids = markers.unique(maintain_order=True).to_list()[:n_genes]
    ids += [f"ENSG9{number:010d}" for number in range(n_genes - len(ids))]
    case = np.arange(n_samples) < n_samples // 2
    effect = np.where(np.arange(n_genes) % 20 == 0, 2.0, 1.0)[:, None] ** case
    mean = rng.lognormal(4.5, 1.6, (n_genes, 1)) * rng.lognormal(0, 0.3, n_samples) * effect
    dispersion = rng.uniform(0.05, 0.4, (n_genes, 1))
    reads = rng.poisson(mean * rng.gamma(1 / dispersion, dispersion, mean.shape))
    patients = [f"P{number:03d}" for number in range(n_samples)]
    counts = pl.DataFrame(
        {"gene_id": ids, "gene_name": ids} | dict(zip(patients, reads.T, strict=True))
    )
    counts.write_csv(folder / "counts.tsv", separator="\t")
    counts.with_columns(pl.col(patients).cast(pl.Float64)).write_parquet(folder / "counts.parquet")
    pl.DataFrame(
        {
            "patient": patients,
            "group": np.where(case, "case", "control").tolist(),
            "sex": rng.choice(["f", "m"], n_samples).tolist(),
            "age": rng.normal(68, 9, n_samples),
            "time": rng.exponential(900, n_samples).round() + 1,
            "event": np.where(rng.random(n_samples) < 0.5, "yes", "no").tolist(),
        }
    ).write_parquet(folder / "clinical.parquet")
    transcripts = [f"ENST{number:011d}" for number in range(4 * n_genes)]
    genes = np.repeat(ids, 4).tolist()
    pl.DataFrame(
        {"transcript_id": transcripts, "gene_id": genes, "gene_name": genes}
    ).write_parquet(folder / "transcript_to_gene.parquet")
    length = rng.integers(500, 6_000, 4 * n_genes)
    share = rng.dirichlet((1.0,) * 4, n_genes)
    for sample in range(n_quantified):
        of_transcript = (reads[:, [sample]] * share).ravel()
        rate = of_transcript / (length - 200)
        pl.DataFrame(
            {
                "Name": transcripts,
                "Length": length,
                "EffectiveLength": length - 200.0,
                "TPM": 1e6 * rate / rate.sum(),
                "NumReads": of_transcript,
            }
        ).write_csv(folder / f"{patients[sample]}.sf", separator="\t", float_precision=3)


def run(step: str, folder: Path) -> dict[str, float]:
    """Run one step in a process of its own."""
    read = step not in ("salmon_gene_counts", "read_count_matrix")
    program = PRELUDE.replace("READ", str(read)) + STEPS[step] + CLOSING
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, folder, ROOT],
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise SystemExit(f"{step} failed:\n{answer.stderr}")
    result: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return result


def null_shares(n_seeds: int, n_genes: int, n_samples: int = 60) -> dict[str, float]:
    """Share of p < 0.05 by test where groups differ by nothing, over all genes of all seeds."""
    from ihdsi.meta.linear import fit_pooled_linear_model
    from ihdsi.study import ClinicalVariable, Contrast
    from ihdsi.summaries.expression_effects import estimate_expression_effects
    from ihdsi.summaries.expression_moments import build_expression_moments

    variables = {
        "group": ClinicalVariable(type="categorical", levels=("control", "case")),
        "age": ClinicalVariable(type="number", unit="a"),
    }
    contrasts = {
        "c": Contrast(variable="group", case="case", control="control", covariates=("age",))
    }
    genes = [f"ENSG{number:011d}" for number in range(n_genes)]
    patients = [f"P{number}" for number in range(n_samples)]
    found: dict[str, list[pl.Series]] = {"wald": [], "moderated_t": []}
    for seed in range(n_seeds):
        rng = np.random.default_rng(1000 + seed)
        dispersion = rng.uniform(0.05, 0.4, (n_genes, 1))
        mean = rng.lognormal(5, 1.2, (n_genes, 1)) * rng.lognormal(0, 0.3, n_samples)
        reads = rng.poisson(mean * rng.gamma(1 / dispersion, dispersion, mean.shape))
        counts = pl.DataFrame(
            {"gene_id": genes, "gene_name": genes} | dict(zip(patients, reads.T, strict=True))
        )
        clinical = pl.DataFrame(
            {
                "patient": patients,
                "group": rng.permutation(["control", "case"] * (n_samples // 2)).tolist(),
                "age": rng.normal(68, 9, n_samples),
            }
        )
        site = counts, clinical, contrasts, variables, 10
        found["wald"].append(estimate_expression_effects(*site)["p_value"])
        design, moments = build_expression_moments(*site)
        fit = fit_pooled_linear_model({"site": design}, {"site": moments})
        found["moderated_t"].append(fit["moderated_p_value"])
    return {test: float((pl.concat(p).drop_nulls() < 0.05).mean()) for test, p in found.items()}


def main() -> None:
    """Measure, print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,500 genes × 40 samples, 3 seeds")
    arguments = parser.parse_args()
    n_genes, n_samples = (1_500, 40) if arguments.quick else (20_000, 200)
    with tempfile.TemporaryDirectory(prefix="expression_") as name:
        simulate(Path(name), n_genes, n_samples, 5 if arguments.quick else 20)
        results = {step: run(step, Path(name)) for step in STEPS}
    seconds = results[REFERENCE]["seconds"]
    print(f"{n_genes} genes × {n_samples} samples, one thread")
    print(f"{'step':<30}{'CPU (s)':>10}{'ratio':>9}{'peak (MiB)':>12}{'rows':>9}")
    for step, result in results.items():
        print(
            f"{step:<30}{result['seconds']:>10.2f}{result['seconds'] / seconds:>9.3f}"
            f"{result['peak']:>12.0f}{result['answer']:>9.0f}"
        )
    shares = null_shares(*((3, 300) if arguments.quick else (20, 1_000)))
    for test, share in shares.items():
        print(f"null contrasts, {test}: share of p < 0.05 is {share:.4f}")
    ours = results["estimate_expression_effects"]["seconds"]
    result = {
        "name": "expression",
        "ours": round(ours, 2),
        "reference": round(seconds, 2),
        "unit": "s of CPU",
        "ratio": round(ours / seconds, 3),
        "reference_is": "PyDESeq2 (deseq2, summary) by hand on the same genes, counts and design",
        "ratio_of_steps": {
            step: round(found["seconds"] / seconds, 4)
            for step, found in results.items()
            if step != REFERENCE
        },
        "peak_mebibytes": {step: round(found["peak"]) for step, found in results.items()},
        "null_share_below_0.05": {test: round(share, 4) for test, share in shares.items()},
    }
    print(json.dumps(result))
    if not arguments.quick and not all(0.04 <= share <= 0.06 for share in shares.values()):
        raise SystemExit("a null contrast does not stay null")


if __name__ == "__main__":
    main()
