"""Decide which barcodes of a sample hold one healthy cell."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import anndata as ad
import numpy as np
import polars as pl
import scanpy as sc
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from ihdsi.quality_control import CELLS_KEPT, METRICS_SCHEMA
from ihdsi.single_cell.genes import MITOCHONDRIAL_GENES
from ihdsi.study import SingleCellSettings

__all__ = [
    "DECISIONS_SCHEMA",
    "PASS",
    "SET_ASIDE",
    "cell_metrics",
    "count_reasons",
    "filter_cells",
    "sample_notes",
]

logger = logging.getLogger(__name__)

PASS = "pass"
SET_ASIDE = "set aside"
#: Beginnings of the notes on what a sample was not judged by.
NO_DOUBLETS = "no doublets are"
NO_MITOCHONDRIAL_GENE = "no mitochondrial gene is measured"
#: Why a barcode is left out, in the order in which the reasons are looked for.
REASONS = (
    "few genes",
    "outlier in counts",
    "outlier in genes",
    "outlier in highest genes",
    "mitochondrial",
    "doublet",
)
DECISIONS_SCHEMA: dict[str, Any] = {
    "cell": pl.String,
    "patient": pl.String,
    "sample": pl.String,
    "total_counts": pl.Int64,
    "n_genes": pl.Int64,
    "highest_genes_percent": pl.Float64,
    "mitochondrial_percent": pl.Float64,
    "doublet_score": pl.Float64,
    "decision": pl.String,
    "reasons": pl.String,
}
#: More outliers than this in one metric are worth a look: plasma cells, for example, have most of
#: their counts in few genes.
MOST_OUTLIERS = 0.1
_HIGHEST = 20
_SHOWN = 20
Flags = NDArray[np.bool_]


def filter_cells(
    cells: ad.AnnData, patient: str, sample: str, settings: SingleCellSettings
) -> tuple[ad.AnnData, pl.DataFrame, list[str]]:
    """Judge every barcode of a sample, and keep those that hold one healthy cell.

    Barcodes with few genes are taken out first, because the adaptive limits are to come from
    cells. Limits are medians and median absolute deviations over the sample's cells: in both
    directions for log1p counts, log1p genes and the share of the 20 highest genes, upwards for the
    mitochondrial share. Doublets are looked for among the cells that are no outliers.

    Parameters
    ----------
    cells
        As of `ihdsi.single_cell.reading.read_cells`.
    patient, sample
        Whose cells they are.
    settings
        The study's.

    Returns
    -------
    cells
        Those that pass; none where a sample is set aside, because too few pass.
    decisions
        Columns of `DECISIONS_SCHEMA`, a row a barcode, by its name. All reasons are given.
    notes
        What could not be done, and whether the sample is set aside.

    References
    ----------
    Heumos et al. 2023, Nature Reviews Genetics 24:550. Wolock, Lopez & Klein 2019, Cell Systems
    8:281 (Scrublet).
    """
    notes: list[str] = []
    names = cells.var["gene_name"].astype(str).str.upper()
    cells.var["mitochondrial"] = names.str.startswith("MT-").to_numpy() | np.isin(
        cells.var_names.to_numpy(dtype=str), sorted(MITOCHONDRIAL_GENES)
    )
    metrics, _ = sc.pp.calculate_qc_metrics(
        cells, qc_vars=["mitochondrial"], percent_top=[min(_HIGHEST, cells.n_vars)], log1p=True
    )
    counts = metrics["total_counts"].to_numpy(dtype=float)
    genes = metrics["n_genes_by_counts"].to_numpy(dtype=float)
    highest = _known(metrics[f"pct_counts_in_top_{min(_HIGHEST, cells.n_vars)}_genes"])
    mitochondrial = _known(metrics["pct_counts_mitochondrial"])
    is_cell = genes >= settings.minimum_genes
    if not cells.var["mitochondrial"].any():
        notes.append(f"{NO_MITOCHONDRIAL_GENE}, so that its share is not judged")

    deviations = settings.outlier_deviations
    flags: dict[str, Flags] = {
        "few genes": ~is_cell,
        "outlier in counts": _outliers(np.log1p(counts), is_cell, deviations, deviations),
        "outlier in genes": _outliers(np.log1p(genes), is_cell, deviations, deviations),
        "outlier in highest genes": _outliers(highest, is_cell, deviations, deviations),
        "mitochondrial": _outliers(
            mitochondrial, is_cell, np.inf, settings.mitochondrial_deviations
        )
        | (is_cell & (mitochondrial > settings.maximum_mitochondrial_percent)),
    }
    notes += [
        f"{reason} takes out {100 * share:.0f} % of the cells, which may be a type of cells"
        for reason, flagged in flags.items()
        if reason.startswith("outlier")
        and (share := flagged.sum() / max(1, is_cell.sum())) > MOST_OUTLIERS
    ]
    healthy = ~np.any(list(flags.values()), axis=0)
    scores, flags["doublet"] = _doublets(cells, healthy, settings, notes)
    table = np.column_stack([flags[reason] for reason in REASONS])
    fails = table.any(axis=1)
    reasons = ["; ".join(np.array(REASONS)[row]) for row in table]
    passing = int((~fails).sum())
    if passing < settings.minimum_sample_cells:
        notes.append(
            f"{SET_ASIDE}: {passing} of {cells.n_obs} barcodes hold a cell that passes, "
            f"{settings.minimum_sample_cells} are needed"
        )
    decisions = pl.DataFrame(
        {
            "cell": cells.obs_names.to_list(),
            "patient": patient,
            "sample": sample,
            "total_counts": counts,
            "n_genes": genes,
            "highest_genes_percent": highest,
            "mitochondrial_percent": mitochondrial,
            "doublet_score": pl.Series(scores).fill_nan(None),
            "decision": np.where(fails, "fail", PASS),
            "reasons": reasons,
        }
    ).select(pl.col(name).cast(kind) for name, kind in DECISIONS_SCHEMA.items())
    for note in notes:
        logger.warning("%s of %s: %s", sample, patient, note)
    set_aside = passing < settings.minimum_sample_cells
    kept = cells[np.zeros(cells.n_obs, dtype=bool) if set_aside else ~fails].copy()
    kept.obs = kept.obs.assign(patient=patient, sample=sample)
    kept.var = kept.var[["gene_name"]]
    return kept, decisions.sort("cell"), notes


def _known(shares: Any) -> NDArray[np.float64]:  # noqa: ANN401 - a pandas column
    """Shares of nothing are 0; barcodes without a count fail by their genes."""
    values: NDArray[np.float64] = np.nan_to_num(np.asarray(shares, dtype=float))
    return values


def _outliers(values: NDArray[np.float64], among: Flags, below: float, above: float) -> Flags:
    """Flag cells further from the median of `among` than so many median absolute deviations.

    Where more than half of the cells have the same value there is no deviation to measure by, and
    no cell is flagged.
    """
    if not among.any():
        return np.zeros(values.size, dtype=bool)
    median = np.median(values[among])
    deviation = median_abs_deviation(values[among])
    if deviation == 0:
        return np.zeros(values.size, dtype=bool)
    distance = (values - median) / deviation
    return np.asarray(among & ((distance < -below) | (distance > above)))


def _doublets(
    cells: ad.AnnData, healthy: Flags, settings: SingleCellSettings, notes: list[str]
) -> tuple[NDArray[np.float64], Flags]:
    """Score healthy cells with Scrublet; the threshold lies between the modes of its simulation."""
    scores = np.full(cells.n_obs, np.nan)
    flags = np.zeros(cells.n_obs, dtype=bool)
    n_healthy = int(healthy.sum())
    if n_healthy < settings.minimum_doublet_cells:
        notes.append(
            f"{NO_DOUBLETS} looked for among {n_healthy} cells, "
            f"{settings.minimum_doublet_cells} are needed"
        )
        return scores, flags
    subset = ad.AnnData(cells.X[healthy].astype(np.float32))
    # Scrublet takes the variable genes of at least three cells; its components cannot exceed them.
    components = min(30, n_healthy - 1)
    with warnings.catch_warnings():
        # Once cells without any of the variable genes are scaled, which is of no harm to others.
        warnings.filterwarnings("ignore", message="Some cells have zero counts")
        for n_components in (components, 10, 3):
            try:
                sc.pp.scrublet(
                    subset,
                    expected_doublet_rate=settings.expected_doublet_rate,
                    n_prin_comps=n_components,
                    # Exact neighbours: the same on every machine, and scanpy 1.11 cannot read
                    # what pynndescent 0.7 returns for many cells.
                    use_approx_neighbors=False,
                    random_state=settings.seed,
                    verbose=False,
                )
                break
            except ValueError as error:
                logger.info("Scrublet with %d components: %s", n_components, error)
        else:
            notes.append(f"{NO_DOUBLETS} looked for, because too few genes vary")
            return scores, flags
    scores[healthy] = subset.obs["doublet_score"].to_numpy(dtype=float)
    if "threshold" not in subset.uns["scrublet"]:
        notes.append(f"{NO_DOUBLETS} taken out: simulated scores have no two modes to part them")
        return scores, flags
    flags[healthy] = scores[healthy] > float(subset.uns["scrublet"]["threshold"])
    # No droplet experiment has that many doublets.
    if flags.sum() > settings.maximum_doublet_share * n_healthy:
        notes.append(
            f"{NO_DOUBLETS} taken out: {100 * flags.sum() / n_healthy:.0f} % of the cells score "
            "above the threshold, which therefore does not part doublets from cells"
        )
        flags[:] = False
    return scores, flags


def cell_metrics(
    patient: str, sample: str, decisions: pl.DataFrame, notes: Sequence[str]
) -> pl.DataFrame:
    """Measure the quality of a sample of cells.

    Parameters
    ----------
    patient, sample
        Whose cells they are.
    decisions, notes
        As of `filter_cells`.

    Returns
    -------
    polars.DataFrame
        Columns of `ihdsi.quality_control.METRICS_SCHEMA` (assay ``single_cell``), and of these
        `ihdsi.quality_control.CELL_METRICS`: cells_passed;
        cells_kept, which is 0 with a note where the sample is set aside; and, over the barcodes
        with enough genes for a cell, median_counts_per_cell, median_genes_per_cell and
        median_mitochondrial_percent. Cells that fail otherwise count in the medians, because they
        tell of the sample. doublet_percent is of the cells among which doublets were looked for.
        What was not measured (doublets of few cells, a share of genes that are not there) has no
        row.
    """
    passed = int((decisions["decision"] == PASS).sum())
    set_aside = next((note for note in notes if note.startswith(SET_ASIDE)), None)
    cells = decisions.filter(~pl.col("reasons").str.contains(REASONS[0], literal=True))
    scored = decisions.filter(pl.col("doublet_score").is_not_null())
    rows: list[tuple[str, float | None, str | None]] = [
        ("cells_passed", passed, None),
        (CELLS_KEPT, 0 if set_aside else passed, set_aside),
    ]
    columns = {"counts_per_cell": "total_counts", "genes_per_cell": "n_genes"}
    if not any(note.startswith(NO_MITOCHONDRIAL_GENE) for note in notes):
        columns["mitochondrial_percent"] = "mitochondrial_percent"
    if cells.height:
        medians = cells.select(pl.col(column).median() for column in columns.values()).row(0)
        rows += [
            (f"median_{name}", value, None) for name, value in zip(columns, medians, strict=True)
        ]
    if scored.height and not any(note.startswith(NO_DOUBLETS) for note in notes):
        doublets = int(scored["reasons"].str.contains(REASONS[-1], literal=True).sum())
        rows.append(("doublet_percent", 100.0 * doublets / scored.height, None))
    return pl.DataFrame(
        [(patient, sample, "single_cell", *row) for row in rows],
        schema=METRICS_SCHEMA,
        orient="row",
    )


def count_reasons(decisions: pl.DataFrame) -> pl.DataFrame:
    """Count the barcodes of each sample by reason; a barcode with two reasons counts in both.

    Returns
    -------
    polars.DataFrame
        patient, sample, reason (``barcodes`` for all, ``pass``, or a reason) and n.
    """
    key = ["patient", "sample"]
    order = {name: number for number, name in enumerate(("barcodes", PASS, *REASONS))}
    return (
        decisions.group_by(key)
        .agg(
            pl.len().cast(pl.Int64).alias("barcodes"),
            (pl.col("decision") == PASS).sum().cast(pl.Int64).alias(PASS),
            *(
                pl.col("reasons")
                .str.split("; ")
                .list.contains(reason)
                .sum()
                .cast(pl.Int64)
                .alias(reason)
                for reason in REASONS
            ),
        )
        .unpivot(index=key, variable_name="reason", value_name="n")
        .with_columns(_order=pl.col("reason").replace_strict(order))
        .sort(*key, "_order")
        .drop("_order")
    )


def sample_notes(accounts: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Gather what is noted of each sample.

    Parameters
    ----------
    accounts
        patient, sample, notes and unmapped (names of features that are no gene) of each sample. Of
        these the first are shown.

    Returns
    -------
    polars.DataFrame
        patient, sample and note, one row a note.
    """
    rows = [
        (account["patient"], account["sample"], note)
        for account in accounts
        for note in (
            *account["notes"],
            *([_unmapped_note(account["unmapped"])] if account["unmapped"] else []),
        )
    ]
    schema = dict.fromkeys(("patient", "sample", "note"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row").sort("patient", "sample")


def _unmapped_note(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"{len(names)} features name no gene of the study and are left out: {shown}"
