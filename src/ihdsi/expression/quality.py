"""Quality of a site's RNA samples: of their libraries, their gene counts, and beside each other."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.expression.counts import GENE_COLUMNS
from ihdsi.expression.normalisation import log2_cpm
from ihdsi.expression.salmon_output import salmon_metrics
from ihdsi.quality_control import METRICS_SCHEMA, MINIMUM_SAMPLES, distance_scores
from ihdsi.study import SexCheck

__all__ = [
    "composition_metrics",
    "expressed_sex",
    "expression_checks",
    "five_to_three_prime_ratio",
    "forward_strand_percent",
    "outlier_scores",
    "read_quality_genes",
    "strandedness",
]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

#: A patient's metric: its name, value and note.
Row = tuple[str, str, float | None, str | None]

_TOP_GENES = 50
#: Fewest fragments behind a share of strands, or a ratio of ends.
_MINIMUM_FRAGMENTS = 1000
#: Nuclear ribosomal RNA by HGNC symbol (5S, 5.8S, 18S, 28S and the 45S precursor).
_RIBOSOMAL_NAME = r"^RNA(5|5-8|18|28|45)S"


def read_quality_genes(path: Path | str) -> dict[str, list[str]]:
    """Read which genes tell the quality of RNA: role to Ensembl ids.

    Parameters
    ----------
    path
        ``resources/expression_quality_genes.tsv``: gene_name, gene_id, role (``mitochondrial``,
        ``ribosomal_rna``, ``female``, ``male``), source.
    """
    frame = pl.read_csv(path, separator="\t")
    return dict(frame.group_by("role", maintain_order=True).agg("gene_id").iter_rows())


def forward_strand_percent(library_formats: Path | str) -> float | None:
    """Share of fragments whose first read lies on the transcript's strand, in percent.

    Parameters
    ----------
    library_formats
        Salmon's ``lib_format_counts.json``: fragments by orientation and strand (ISF, ISR, SF, SR
        and so on; salmon's documentation, "Fragment Library Types").

    Returns
    -------
    float or None
        About 100 of a forward, 0 of a reverse (most kits with dUTP) and 50 of an unstranded
        library; None with fewer than 1000 fragments.
    """
    counts = json.loads(Path(library_formats).read_text(encoding="utf-8"))
    forward = sum(counts.get(name, 0) for name in ("ISF", "OSF", "MSF", "SF"))
    reverse = sum(counts.get(name, 0) for name in ("ISR", "OSR", "MSR", "SR"))
    total = forward + reverse
    return 100.0 * forward / total if total >= _MINIMUM_FRAGMENTS else None


def strandedness(forward_percent: float, stranded_percent: float) -> str:
    """Name a library's strandedness by its share of forward fragments.

    Parameters
    ----------
    forward_percent
        Share of forward fragments; the others are reverse.
    stranded_percent
        The study's share of one strand from which a library is ``forward`` or ``reverse``.
    """
    if forward_percent >= stranded_percent:
        return "forward"
    return "reverse" if 100 - forward_percent >= stranded_percent else "unstranded"


def five_to_three_prime_ratio(positions: Path | str) -> float | None:
    """Fragments in the first quarter of their transcripts, relative to the last quarter.

    Parameters
    ----------
    positions
        Output of ``scripts/expression/fragment_positions.awk``: twentieth of the transcript from
        its 5' end, fragments.

    Returns
    -------
    float or None
        About 1 without bias, less where degraded RNA was captured by its poly(A) tail; None with
        fewer than 1000 fragments.
    """
    fragments = pl.read_csv(positions, separator="\t").sort("twentieth")["fragments"].to_numpy()
    if fragments.sum() < _MINIMUM_FRAGMENTS or not (last := fragments[-5:].sum()):
        return None
    return float(fragments[:5].sum() / last)


def composition_metrics(
    counts: FloatArray, gene_ids: Sequence[str], gene_names: Sequence[str], genes: Mapping[str, Any]
) -> dict[str, FloatArray]:
    """Shares of the counts in genes that show poor RNA or a poor library.

    Parameters
    ----------
    counts
        Genes x samples.
    gene_ids, gene_names
        Of the rows.
    genes
        Ids by role (see `read_quality_genes`).

    Returns
    -------
    dict
        In percent of each sample's counts: mitochondrial_percent, ribosomal_rna_percent (without
        them, if the counts hold no such gene) and top_50_genes_percent, the share of each sample's
        50 most abundant genes, which is large where a library is of few molecules. NaN in samples
        without counts.
    """
    ids, names = pl.Series(gene_ids, dtype=pl.String), pl.Series(gene_names, dtype=pl.String)
    members = {
        "mitochondrial_percent": ids.is_in(list(genes.get("mitochondrial", ()))),
        "ribosomal_rna_percent": ids.is_in(list(genes.get("ribosomal_rna", ())))
        | names.str.contains(_RIBOSOMAL_NAME).fill_null(value=False),
    }
    total = np.where(counts.sum(axis=0) > 0, counts.sum(axis=0), np.nan)
    shares = {
        name: 100.0 * counts[rows.to_numpy()].sum(axis=0) / total
        for name, rows in members.items()
        if rows.any()
    }
    n_top = min(_TOP_GENES, counts.shape[0])
    top = np.partition(counts, counts.shape[0] - n_top, axis=0)[counts.shape[0] - n_top :]
    return {**shares, "top_50_genes_percent": 100.0 * top.sum(axis=0) / total}


def expressed_sex(female: FloatArray, male: FloatArray, check: SexCheck) -> list[str | None]:
    """Tell the sex that each sample expresses.

    Parameters
    ----------
    female, male
        Counts per million of XIST, and of the genes of the Y chromosome together.
    check
        The study's limits. A tumour can lose its Y chromosome or its inactive X, so the sex is told
        only where one is expressed and the other is not.

    Returns
    -------
    list of str or None
        ``female``, ``male`` or None for each sample.

    References
    ----------
    Staedtler et al. 2013, Biomarkers 18:436 (the genes).
    """
    has_x = female >= check.minimum_xist_expression
    has_y = male >= check.minimum_y_expression
    return [
        "female" if x and not y else "male" if y and not x else None
        for x, y in zip(has_x.tolist(), has_y.tolist(), strict=True)
    ]


def outlier_scores(counts: FloatArray) -> FloatArray:
    """How far each sample's expression lies from the middle of all, in robust standard deviations.

    These are `ihdsi.quality_control.distance_scores` of log2 counts per million.

    Parameters
    ----------
    counts
        Genes x samples.

    Returns
    -------
    ndarray
        One score a sample; NaN for samples without counts, and for all where fewer than
        `ihdsi.quality_control.MINIMUM_SAMPLES` have counts or most are alike.
    """
    present = counts.sum(axis=0) > 0
    values = np.full(counts.shape, np.nan)
    values[:, present] = log2_cpm(counts[:, present])
    return distance_scores(values)


def expression_checks(
    counts: pl.DataFrame,
    samples: Mapping[str, str],
    folders: Mapping[str, Path | str],
    clinical: pl.DataFrame | None,
    check: SexCheck | None,
    genes: Mapping[str, Sequence[str]],
    stranded_percent: float = 80,
) -> pl.DataFrame:
    """Measure the quality of a site's RNA samples.

    Parameters
    ----------
    counts
        gene_id, gene_name and one column a patient.
    samples
        Patient to RNA sample.
    folders
        Patient to the folder that salmon wrote, where there is one.
    clinical, check
        Clinical table of the site, and how the study names the recorded sex.
    genes
        As of `read_quality_genes`.
    stranded_percent
        As of `strandedness`.

    Returns
    -------
    polars.DataFrame
        patient, sample, assay (``rna``), metric, value, note; the metrics of this module, and
        mapping_rate_percent and read_pairs. What does not apply has no row; what salmon's folder
        does not tell is null, with a note.
    """
    patients = [name for name in counts.columns if name not in GENE_COLUMNS]
    matrix = counts.select(patients).to_numpy().astype(float)
    rows: list[Row] = []
    composition = composition_metrics(matrix, counts["gene_id"], counts["gene_name"], genes)  # type: ignore[arg-type]
    for name, values in composition.items():
        rows += [
            (patient, name, value, None)
            for patient, value in zip(patients, values.tolist(), strict=True)
            if np.isfinite(value)
        ]
    rows += [
        (patient, "expression_outlier_score", score, None)
        for patient, score in zip(patients, outlier_scores(matrix).tolist(), strict=True)
        if np.isfinite(score)
    ]
    rows += _sex_rows(counts, patients, clinical, check, genes)
    for patient, folder in folders.items():
        rows += _library_rows(patient, Path(folder), stranded_percent)
    rows += _strand_rows(rows)
    return pl.DataFrame(
        [
            (patient, samples[patient], "rna", metric, value, note)
            for patient, metric, value, note in rows
            if patient in samples
        ],
        schema=METRICS_SCHEMA,
        orient="row",
    )


def _library_rows(patient: str, folder: Path, stranded_percent: float) -> list[Row]:
    meta_info = folder / "aux_info" / "meta_info.json"
    formats, positions = folder / "lib_format_counts.json", folder / "fragment_positions.tsv"
    rows: list[Row] = []
    if meta_info.is_file():
        rows += [(patient, name, value, None) for name, value in salmon_metrics(meta_info).items()]
    else:
        note = "could not be judged: salmon's folder holds no aux_info/meta_info.json"
        rows.append((patient, "mapping_rate_percent", None, note))
    if formats.is_file() and (share := forward_strand_percent(formats)) is not None:
        kind = strandedness(share, stranded_percent)
        rows.append((patient, "forward_strand_percent", share, kind))
    if positions.is_file() and (ratio := five_to_three_prime_ratio(positions)) is not None:
        rows.append((patient, "five_to_three_prime_ratio", ratio, None))
    return rows


def _strand_rows(
    rows: Sequence[Row],
) -> list[Row]:
    """Compare each library's strandedness with that of most of the site's."""
    found = {
        patient: note for patient, metric, _, note in rows if metric == "forward_strand_percent"
    }
    kinds = list(found.values())
    most = max(sorted({str(kind) for kind in kinds}), key=kinds.count, default="")
    if len(kinds) < MINIMUM_SAMPLES or 2 * kinds.count(most) <= len(kinds):
        return []
    return [
        (patient, "strandedness_discordance", float(kind != most), f"{kind}, most are {most}")
        for patient, kind in found.items()
    ]


def _sex_rows(
    counts: pl.DataFrame,
    patients: Sequence[str],
    clinical: pl.DataFrame | None,
    check: SexCheck | None,
    genes: Mapping[str, Sequence[str]],
) -> list[Row]:
    if check is None or clinical is None or check.variable not in clinical.columns:
        return []
    recorded = dict(clinical.select("patient", check.variable).drop_nulls().iter_rows())
    total = counts.select(patients).sum().to_numpy()[0].astype(float)
    million = {}
    for role in ("female", "male"):
        members = counts.filter(pl.col("gene_id").is_in(list(genes.get(role, ()))))
        if members.is_empty():
            logger.warning("the counts hold no gene of the %s sex, so sex is not judged", role)
            return []
        part = members.select(patients).sum().to_numpy()[0]
        million[role] = 1e6 * np.divide(part, total, out=np.zeros_like(total), where=total > 0)
    seen = expressed_sex(million["female"], million["male"], check)
    levels = {"female": check.female, "male": check.male}
    return [
        (
            patient,
            "expressed_sex_discordance",
            float(levels[sex] != recorded[patient]),
            f"recorded as {recorded[patient]}, expression shows {levels[sex]}",
        )
        for patient, sex in zip(patients, seen, strict=True)
        if sex is not None and patient in recorded
    ]
