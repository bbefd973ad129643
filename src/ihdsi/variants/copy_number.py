"""Copy number of genes, from the bins and segments that CNVkit leaves.

CNVkit (Talevich et al. 2016, PLoS Comput Biol 12:e1004873) counts reads in bins, corrects them for
the biases of capture, divides by a pool of normals and cuts the log2 ratios into segments. What a
segment's ratio says of a gene, given the sex of the patient, is decided here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist

import polars as pl

from ihdsi.annotation import gene_locations
from ihdsi.errors import InputError, Problem
from ihdsi.study import CopyNumberSettings, SexCheck

__all__ = [
    "COPY_NUMBER_CLASSES",
    "GENE_SCHEMA",
    "SEGMENT_SCHEMA",
    "call_copy_number",
    "expected_copies",
    "gather_copy_number",
    "gene_log2_ratios",
    "locate_genes",
    "read_reported_genes",
    "recorded_sex",
    "usable_coverage",
]

logger = logging.getLogger(__name__)

#: From fewest to most copies.
COPY_NUMBER_CLASSES = ("deletion", "loss", "neutral", "gain", "amplification")

_CALL = {"log2_ratio": pl.Float64, "copy_number": pl.Int64, "copy_number_class": pl.String}
GENE_SCHEMA = {
    "patient": pl.String,
    "gene_id": pl.String,
    "gene_name": pl.String,
    **_CALL,
    "n_bins": pl.Int64,
    "n_reference_normals": pl.Int64,
}
SEGMENT_SCHEMA = {
    "patient": pl.String,
    "chromosome": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "n_bins": pl.Int64,
    **_CALL,
}
#: Ratio below which a bin has no coverage to speak of (CNVkit's MIN_REF_COVERAGE).
NO_COVERAGE = -5.0
_X, _Y = r"^(chr)?X$", r"^(chr)?Y$"
_PLACE = {"chromosome": pl.String, "start": pl.Int64, "end": pl.Int64, "log2": pl.Float64}


def read_reported_genes(path: Path | str) -> pl.DataFrame:
    """Read ``resources/copy_number_genes.tsv``: gene_name, gene_id, usual_direction, source.

    Raises
    ------
    InputError
        If a column is missing or a gene occurs twice.
    """
    genes = pl.read_csv(path, separator="\t", comment_prefix="#", infer_schema=False)
    for column in ("gene_name", "gene_id", "usual_direction", "source"):
        if column not in genes.columns:
            raise InputError(
                Problem("this column is missing", "Add it to the header.", path, 1, column)
            )
    repeated = genes.filter(pl.col("gene_id").is_duplicated())
    if repeated.height:
        raise InputError(
            Problem(
                f"the gene {repeated['gene_id'][0]} occurs twice",
                "List it once.",
                path,
                None,
                "gene_id",
            )
        )
    return genes


def locate_genes(
    reported: pl.DataFrame, annotation: Path | str | None, targets: Path | str | None
) -> pl.DataFrame:
    """Find where the reported genes lie.

    With an annotation, a gene is found by its identifier. Without one, it is where the targets
    are that bear its name: in the fourth column of the BED, alone or as a part between
    punctuation (``FGFR3_exon7``). Genes that are found in neither way are left out, which a log
    line says.

    Parameters
    ----------
    reported
        gene_id, gene_name.
    annotation
        GFF3 or GTF.
    targets
        BED.

    Returns
    -------
    polars.DataFrame
        gene_id, gene_name, chromosome, start, end (0-based, half-open).
    """
    if annotation is not None:
        places = gene_locations(annotation).drop("gene_name")
        located = reported.join(places, on="gene_id", how="inner", maintain_order="left")
    elif targets is not None:
        located = _named_targets(reported, targets)
    else:
        located = reported.clear().with_columns(
            chromosome=pl.lit(""), start=pl.lit(0), end=pl.lit(0)
        )
    missing = reported.join(located, on="gene_id", how="anti")["gene_name"].to_list()
    if missing:
        logger.warning("Not in annotation or targets, so not assessed: %s", ", ".join(missing))
    return located.select(
        "gene_id", "gene_name", "chromosome", pl.col("start", "end").cast(pl.Int64)
    )


def _named_targets(reported: pl.DataFrame, targets: Path | str) -> pl.DataFrame:
    """Span of the targets that bear each gene's name, on the chromosome that has most of them."""
    bed = pl.read_csv(
        targets, separator="\t", has_header=False, comment_prefix="#", infer_schema=False
    )
    if bed.width < 4:
        logger.warning("The targets have no names (fourth column), and there is no annotation.")
        bed = bed.with_columns(column_3=pl.lit(""))
    return (
        bed.select(
            chromosome="column_0",
            start=pl.col("column_1").cast(pl.Int64),
            end=pl.col("column_2").cast(pl.Int64),
            gene_name=pl.col("column_3").str.extract_all(r"[A-Za-z0-9-]+"),
        )
        .explode("gene_name")
        .join(reported, on="gene_name", how="inner")
        .group_by("gene_id", "gene_name", "chromosome")
        .agg(pl.col("start").min(), pl.col("end").max(), n=pl.len())
        .sort("n", descending=True)
        .unique("gene_id", keep="first", maintain_order=True)
        .sort("gene_id")
    )


def recorded_sex(clinical: pl.DataFrame | None, check: SexCheck | None) -> dict[str, str]:
    """``female`` or ``male`` by patient, from the clinical variable that the study names.

    `check` is the study's ``sample_checks.sex``; without it nobody's sex is known.
    """
    if clinical is None or check is None or check.variable not in clinical.columns:
        return {}
    codes = {check.female: "female", check.male: "male"}
    known = clinical.select(
        "patient",
        sex=pl.col(check.variable).replace_strict(codes, default=None, return_dtype=pl.String),
    ).drop_nulls()
    return dict(known.iter_rows())


def usable_coverage(coverage: Sequence[tuple[str, str]], decisions: pl.DataFrame) -> list[str]:
    """Leave out the coverage of normals that failed quality control.

    Parameters
    ----------
    coverage
        Sample and file; a sample may have several files.
    decisions
        sample, decision (as of `ihdsi.quality_control.decide_samples`).

    Returns
    -------
    list of str
        Files of the others, in their order.
    """
    failed = set(decisions.filter(pl.col("decision") == "fail")["sample"])
    for sample in sorted(failed & {sample for sample, _ in coverage}):
        logger.info("%s failed quality control and is no reference for others", sample)
    return [path for sample, path in coverage if sample not in failed]


def expected_copies(chromosome: pl.Expr, sex: str | None) -> pl.Expr:
    """Give the copies of a chromosome in normal cells, null where they depend on an unknown sex.

    A female's Y has none, so that nothing can be gained or lost there: null as well. The
    pseudoautosomal regions are not told from the rest.
    """
    x = {"female": 2, "male": 1}.get(sex or "")
    y = {"male": 1}.get(sex or "")
    return (
        pl.when(chromosome.str.contains(_X))
        .then(pl.lit(x, dtype=pl.Int64))
        .when(chromosome.str.contains(_Y))
        .then(pl.lit(y, dtype=pl.Int64))
        .otherwise(pl.lit(2, dtype=pl.Int64))
    )


def call_copy_number(
    ratios: pl.DataFrame, sex: str | None, settings: CopyNumberSettings
) -> pl.DataFrame:
    """Give each log2 ratio a copy number and a class.

    Purity and ploidy are not known, so ratios are compared with fixed thresholds, as
    ``cnvkit.py call --method threshold`` does (CNVkit manual, "Calling copy number gains and
    losses"): its defaults assume one copy gained or lost in half of the cells. The ratio is first
    set in relation to the copies that the patient's sex lets expect.

    Parameters
    ----------
    ratios
        chromosome, log2 (against a reference in which autosomes and X have two copies and Y one,
        which is how CNVkit builds it by default), and any other columns.
    sex
        ``female``, ``male`` or None for unknown.
    settings
        Thresholds, log2.

    Returns
    -------
    polars.DataFrame
        `ratios` with log2_ratio (against the expected copies), copy_number (whole; above the last
        threshold ``ceil(expected * 2**log2_ratio)``, as CNVkit rounds) and copy_number_class, in
        place of log2. All three are null where the expected copies are.
    """
    thresholds = (
        settings.deletion_threshold,
        settings.loss_threshold,
        settings.gain_threshold,
        settings.amplification_threshold,
    )
    expected = expected_copies(pl.col("chromosome"), sex)
    in_reference = pl.when(pl.col("chromosome").str.contains(_Y)).then(1).otherwise(2)
    ratio, copies = pl.col("log2_ratio"), pl.col("expected")
    steps = pl.sum_horizontal([(ratio > threshold).cast(pl.Int64) for threshold in thresholds])
    return (
        ratios.with_columns(expected=expected)
        .with_columns(log2_ratio=pl.col("log2") - (copies / in_reference).log(2))
        .with_columns(step=pl.when(ratio.is_not_null()).then(steps))
        .with_columns(
            copy_number=pl.when(pl.col("step") == 0)
            .then(0)
            .when(pl.col("step") < 4)
            .then(copies + pl.col("step") - 2)
            .when(pl.col("step") == 4)
            .then((copies * pl.lit(2.0).pow(ratio)).ceil().cast(pl.Int64)),
            copy_number_class=pl.col("step").replace_strict(
                dict(enumerate(COPY_NUMBER_CLASSES)), return_dtype=pl.String
            ),
        )
        .drop("log2", "expected", "step")
    )


def gene_log2_ratios(
    bins: pl.DataFrame, segments: pl.DataFrame, genes: pl.DataFrame, settings: CopyNumberSettings
) -> pl.DataFrame:
    """Estimate the log2 ratio of each gene from its segments or, if it stands out, its own bins.

    A gene's ratio is the mean over its bins of the ratio of the segment that each is in, so that
    neighbours steady it and a breakpoint within it splits it as its evidence is split. Segmentation
    looks for breakpoints all over the genome and can miss an event of one gene with few bins. The
    reported genes are few and named beforehand, so each is also tested alone: the difference
    between its bins and its segments over the standard error of its mean, which is the noise of
    the sample (1.4826 times the median absolute deviation of bins from their segments) over the
    root of the gene's effective number of bins. A gene that differs takes the mean of its bins;
    bins without reads, which CNVkit gives a ratio of about −20, count only where they make up more
    than half of the gene, so that a single drop-out deletes none. Bins count by the weight that
    CNVkit gives them (from size and spread among the normals).

    Parameters
    ----------
    bins
        chromosome, start, end, log2, weight: a ``.cnr``. A bin is of a gene if its middle is in it.
    segments
        chromosome, start, end, log2: a ``.cns``.
    genes
        gene_id, gene_name, chromosome, start, end.
    settings
        minimum_bins: genes with fewer bins are left out, they are not assessed; focal_p_value:
        two-sided p-value up to which a gene differs from its segments.

    Returns
    -------
    polars.DataFrame
        gene_id, gene_name, chromosome, log2, n_bins, in the order of `genes`.
    """
    segmented = (
        bins.filter(pl.col("weight") > 0)
        .with_columns(middle=(pl.col("start") + pl.col("end")) // 2)
        .sort("middle")
        .join_asof(
            segments.select(
                "chromosome", segment_log2="log2", segment_start="start", segment_end="end"
            ).sort("segment_start"),
            left_on="middle",
            right_on="segment_start",
            by="chromosome",
            strategy="backward",
            check_sortedness=False,
        )
        .filter(pl.col("middle") < pl.col("segment_end"))
    )
    deviation = segmented.select((pl.col("log2") - pl.col("segment_log2")).abs().median()).item()
    noise = 1.4826 * (deviation or 0.0)
    critical = NormalDist().inv_cdf(1 - settings.focal_p_value / 2)
    place = genes.with_row_index("gene").rename({"start": "gene_start", "end": "gene_end"})
    weight, measured = pl.col("weight"), pl.col("log2") > NO_COVERAGE
    return (
        segmented.join(place, on="chromosome")
        .filter(pl.col("middle").is_between("gene_start", "gene_end", closed="left"))
        .group_by("gene", "gene_id", "gene_name", "chromosome")
        .agg(
            own=pl.when(weight.filter(measured).sum() >= weight.sum() / 2)
            .then((pl.col("log2") * weight).filter(measured).sum() / weight.filter(measured).sum())
            .otherwise((pl.col("log2") * weight).sum() / weight.sum()),
            shared=(pl.col("segment_log2") * weight).sum() / weight.sum(),
            effective=weight.sum() ** 2 / (weight**2).sum(),
            n_bins=pl.len().cast(pl.Int64),
        )
        .filter(pl.col("n_bins") >= settings.minimum_bins)
        .with_columns(
            stands_out=(pl.col("own") - pl.col("shared")).abs() * pl.col("effective").sqrt()
            > critical * noise
        )
        .sort("gene")
        .select(
            "gene_id",
            "gene_name",
            "chromosome",
            pl.when("stands_out").then("own").otherwise("shared").alias("log2"),
            "n_bins",
        )
    )


def _read_ratios(path: Path | str, *extra: str) -> pl.DataFrame:
    """Read CNVkit's table of bins (``.cnr``) or segments (``.cns``)."""
    table = pl.read_csv(path, separator="\t", infer_schema=False)
    columns = [*_PLACE, *extra]
    return table.select(pl.col(name).cast(_PLACE.get(name, pl.Float64)) for name in columns).filter(
        pl.col("log2").is_finite()
    )


def gather_copy_number(
    patients: Sequence[str],
    bins: Sequence[Path | str],
    segments: Sequence[Path | str],
    genes: pl.DataFrame,
    sex: Mapping[str, str],
    settings: CopyNumberSettings,
    n_reference_normals: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Call the genes and segments of a site's tumours.

    Parameters
    ----------
    patients
        Patients, in the order of the files.
    bins, segments
        CNVkit's ``.cnr`` and ``.cns`` of each patient's tumour.
    genes
        Result of `locate_genes`.
    sex
        ``female`` or ``male`` by patient, where known.
    settings
        Thresholds, and bins that a gene needs.
    n_reference_normals
        Normals in the pooled reference; 0 if it is flat.

    Returns
    -------
    tuple of polars.DataFrame
        `GENE_SCHEMA`, one row a patient and assessed gene; `SEGMENT_SCHEMA`, one row a segment
        (calls are null on sex chromosomes where the sex is unknown).
    """
    gene_calls = [pl.DataFrame(schema=GENE_SCHEMA)]
    segment_calls = [pl.DataFrame(schema=SEGMENT_SCHEMA)]
    for patient, bin_path, segment_path in zip(patients, bins, segments, strict=True):
        pieces = _read_ratios(segment_path, "probes")
        ratios = gene_log2_ratios(_read_ratios(bin_path, "weight"), pieces, genes, settings)
        called = call_copy_number(ratios, sex.get(patient), settings)
        assessed = called.filter(pl.col("copy_number").is_not_null())
        logger.info(
            "%s: %d of %d genes assessed, %d not neutral",
            patient,
            assessed.height,
            genes.height,
            assessed.filter(pl.col("copy_number_class") != "neutral").height,
        )
        gene_calls.append(
            assessed.select(
                pl.lit(patient).alias("patient"),
                "gene_id",
                "gene_name",
                *_CALL,
                "n_bins",
                pl.lit(n_reference_normals, dtype=pl.Int64).alias("n_reference_normals"),
            )
        )
        segment_calls.append(
            call_copy_number(pieces, sex.get(patient), settings).select(
                pl.lit(patient).alias("patient"),
                "chromosome",
                "start",
                "end",
                pl.col("probes").cast(pl.Int64).alias("n_bins"),
                *_CALL,
            )
        )
    return pl.concat(gene_calls), pl.concat(segment_calls)
