"""Gather somatic variants over a site's patients."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pysam
from cyvcf2 import VCF

from ihdsi.alignment.quality import callable_intervals
from ihdsi.errors import InputError, Problem
from ihdsi.variants.call_sets import require_genotypes
from ihdsi.variants.consequences import CLASS_OF_MAF, consequence_entries, protein_changes
from ihdsi.variants.hotspots import (
    KnownAlterations,
    mark_promoters,
    with_hotspots,
    with_tiers,
)
from ihdsi.variants.regions import read_targets, shared_megabases, within_targets

__all__ = [
    "SOMATIC_SCHEMA",
    "gather_somatic",
    "read_maf",
    "read_somatic_calls",
    "with_gene_ids",
]

logger = logging.getLogger(__name__)

#: protein_change is one-letter HGVS without ``p.`` (null outside coding sequence),
#: population_frequency the allele frequency in the study's germline resource,
#: clinical_significance ClinVar's CLNSIG, tier the ESCAT tier of resources/alteration_tiers.tsv.
SOMATIC_SCHEMA: dict[str, Any] = {
    "patient": pl.String,
    "chromosome": pl.String,
    "position": pl.Int64,
    "reference_allele": pl.String,
    "alternate_allele": pl.String,
    "gene_id": pl.String,
    "gene_name": pl.String,
    "consequence": pl.String,
    "alteration_class": pl.String,
    "tumour_depth": pl.Int64,
    "tumour_alternate_depth": pl.Int64,
    "allele_fraction": pl.Float64,
    "protein_change": pl.String,
    "population_frequency": pl.Float64,
    "clinical_significance": pl.String,
    "tier": pl.String,
}


def read_somatic_calls(
    path: Path | str, patients: Mapping[str, str], known: KnownAlterations | None = None
) -> pl.DataFrame:
    """Read one annotated somatic call set.

    Parameters
    ----------
    path
        Normalised VCF/BCF with INFO/BCSQ (without it, the gene and consequence stay null). Where
        it holds INFO/LOCAL_BCSQ too, BCSQ is haplotype-aware: of its entries those count that
        FORMAT/BCSQ gives the tumour, and LOCAL_BCSQ where that is none (unphased genotypes).
        INFO/POPULATION_AF and INFO/CLINVAR_CLNSIG are read if present.
    patients
        Tumour sample name in the file to patient.
    known
        Hotspots, and the transcripts that a gene is represented by.

    Returns
    -------
    polars.DataFrame
        Columns of `SOMATIC_SCHEMA` without gene identifiers: one row per patient, PASS variant
        carried by the tumour, and gene.

    Raises
    ------
    InputError
        If a sample or the genotypes are absent.
    """
    with pysam.VariantFile(str(path)) as source:
        require_genotypes(source.header, patients, path)
        has_phase = {"BCSQ", "LOCAL_BCSQ"} <= set(source.header.info)
    carried = _carried_alleles(path, patients)
    unphased = pl.col("mask").is_null() | pl.col("mask").str.contains(r"^[0,.]*$")
    carried = carried.with_columns(
        bcsq=pl.when(unphased).then("local").otherwise("bcsq") if has_phase else pl.col("bcsq"),
        mask=pl.when(~unphased).then("mask") if has_phase else pl.lit(None, dtype=pl.String),
    )
    chosen = _chosen_consequences(
        carried.select("bcsq", "mask").unique(maintain_order=True), known or KnownAlterations()
    )
    return (
        carried.join(
            chosen, on=["bcsq", "mask"], how="left", nulls_equal=True, maintain_order="left_right"
        )
        .with_columns(
            pl.col("alteration_class").fill_null("noncoding"),
            pl.lit(None, dtype=pl.String).alias("gene_id"),
            pl.lit(None, dtype=pl.String).alias("tier"),
        )
        .select(_somatic_columns())
    )


def _somatic_columns() -> list[pl.Expr]:
    return [pl.col(name).cast(dtype) for name, dtype in SOMATIC_SCHEMA.items()]


_SITE_COLUMNS = (
    *("chromosome", "position", "id", "reference_allele", "alternate_allele", "quality"),
    *("filter", "info", "format"),
)
_INFO_COLUMNS = {
    "bcsq": "BCSQ",
    "local": "LOCAL_BCSQ",
    "population_frequency": "POPULATION_AF",
    "clinical_significance": "CLINVAR_CLNSIG",
}
#: Genotypes whose text is held at a time.
_BLOCK = 500_000


def _carried_alleles(path: Path | str, patients: Mapping[str, str]) -> pl.DataFrame:
    """Read the passing alleles that the tumours carry, one row per tumour and allele.

    htslib hands over the lines of the tumours' columns, and polars takes them apart, block by
    block: no field of a record becomes a Python object.
    """
    calls = VCF(str(path), samples=list(patients))
    samples = list(calls.samples)
    tumours = [patients[name] for name in samples]
    blocks, n_others = [], 0
    while lines := [str(record) for record in islice(calls, max(1, _BLOCK // len(samples)))]:
        block, skipped = _carried_of_lines("".join(lines), tumours)
        blocks.append(block)
        n_others += skipped
    if n_others:
        logger.info("%d alleles without a spelled-out sequence are left out", n_others)
    return pl.concat(blocks) if blocks else _carried_of_lines("", tumours)[0]


def _carried_of_lines(text: str, tumours: Sequence[str]) -> tuple[pl.DataFrame, int]:
    """Alleles of some lines of a VCF whose sample columns are `tumours`, and how many are odd."""
    names = [*_SITE_COLUMNS, *(str(index) for index in range(len(tumours)))]
    schema = dict.fromkeys(names, pl.String)
    lines = (
        pl.read_csv(
            text.encode(),
            separator="\t",
            has_header=False,
            schema=schema,
            null_values=".",
            quote_char=None,
        )
        if text
        else pl.DataFrame(schema=schema)
    )
    passing = lines.filter(
        (pl.col("filter").is_null() | (pl.col("filter") == "PASS"))
        & pl.col("format").str.contains(r"^GT(?:$|:)")
    ).with_row_index("line")
    # GT comes first where it is present (VCF 4.3, section 1.6.2); most cells are done with here.
    cells = (
        passing.unpivot(
            on=names[len(_SITE_COLUMNS) :],
            index="line",
            variable_name="tumour",
            value_name="cell",
        )
        .filter(pl.col("cell").str.contains(r"^(?:[^:]*[/|])?1(?:$|[:/|])"))
        .join(passing.select("line", *_SITE_COLUMNS), on="line")
        .with_columns(pl.col("cell").str.split(":"), patient=pl.col("tumour").cast(pl.Int64))
    )
    # Records of a file have few different FORMATs; within one, a field has a fixed place.
    fields = {"dp": "DP", "ad": "AD", "mask": "BCSQ"}
    parts = [
        part.with_columns(
            _cell_value(name, part["format"][0]).alias(column) for column, name in fields.items()
        )
        for part in cells.partition_by("format")
    ] or [cells.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in fields)]
    carried = pl.concat(parts)
    is_allele = pl.col("alternate_allele").str.contains(r"^(?i)[ACGTN]+$").fill_null(value=False)
    alternate = pl.col("ad").str.split(",").list.get(1, null_on_oob=True)
    wanted = (
        carried.filter(is_allele)
        .sort("line", "patient")
        .with_columns(
            pl.col("position").cast(pl.Int64),
            patient=pl.col("patient").replace_strict(
                dict(enumerate(tumours)), return_dtype=pl.String
            ),
            tumour_depth=pl.col("dp").cast(pl.Int64, strict=False),
            tumour_alternate_depth=alternate.cast(pl.Int64, strict=False),
            **{
                column: pl.col("info").str.extract(rf"(?:^|;){name}=([^;]+)")
                for column, name in _INFO_COLUMNS.items()
            },
        )
        .with_columns(
            pl.col("population_frequency").cast(pl.Float64, strict=False),
            allele_fraction=pl.when(pl.col("tumour_depth") > 0).then(
                pl.col("tumour_alternate_depth") / pl.col("tumour_depth")
            ),
        )
        .select(
            *("patient", "chromosome", "position", "reference_allele", "alternate_allele"),
            *(*_INFO_COLUMNS, "mask"),
            *("tumour_depth", "tumour_alternate_depth", "allele_fraction"),
        )
    )
    return wanted, carried.height - wanted.height


def _cell_value(field: str, layout: str) -> pl.Expr:
    """Value of a FORMAT field in cells that are split at colons, null where it is absent."""
    names = layout.split(":")
    if field not in names:
        return pl.lit(None, dtype=pl.String)
    return pl.col("cell").list.get(names.index(field), null_on_oob=True)


#: Consequences of one haplotype pair that an integer of FORMAT/BCSQ holds (bcftools csq manual).
_PER_INTEGER = 15


def _chosen_consequences(values: pl.DataFrame, known: KnownAlterations) -> pl.DataFrame:
    """Choose each gene's consequence of distinct BCSQ values (and, where phased, their bitmasks).

    A hotspot comes first, then the most severe consequence, then the gene's representative
    transcript, then the longest coding sequence, then the order of the file.
    """
    entries = consequence_entries(values["bcsq"])
    transcripts = known.transcripts.select(
        "is_representative", "coding_length", transcript="transcript_id"
    ).unique("transcript")
    entries = (
        entries.join(
            protein_changes(entries),
            on=["consequence", "amino_acids"],
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
        .join(transcripts, on="transcript", how="left", maintain_order="left")
        .rename({"gene": "gene_name"})
    )
    entries = with_hotspots(entries, known.hotspots)
    # Bit 2i of the mask is consequence i on the first haplotype, bit 2i + 1 on the second.
    word = pl.col("mask").str.split(",").list.get(pl.col("entry") // _PER_INTEGER, null_on_oob=True)
    share = word.cast(pl.Int64, strict=False) // 4 ** (pl.col("entry") % _PER_INTEGER) % 4
    order = ["hotspot", "severity", "is_representative", "coding_length", "entry"]
    return (
        values.join(entries, on="bcsq", maintain_order="left_right")
        .filter(pl.col("mask").is_null() | (share > 0).fill_null(value=False))
        .with_columns(hotspot=pl.col("alteration_class") == "hotspot")
        .sort(order, descending=[True, False, True, True, False], nulls_last=True)
        .unique(["bcsq", "mask", "gene_name"], keep="first", maintain_order=True)
        .select("bcsq", "mask", "gene_name", "consequence", "alteration_class", "protein_change")
    )


_MAF_COLUMNS = (
    "Hugo_Symbol",
    "Chromosome",
    "Start_Position",
    "Reference_Allele",
    "Tumor_Seq_Allele2",
    "Variant_Classification",
    "Tumor_Sample_Barcode",
)
_OPTIONAL_MAF_COLUMNS = (
    *("Protein_Change", "HGVSp_Short"),
    *("t_depth", "t_ref_count", "t_alt_count", "t_vaf"),
)


def read_maf(
    path: Path | str, patients: Mapping[str, str], known: KnownAlterations | None = None
) -> pl.DataFrame:
    """Read the mutations of some tumours from a MAF file (GDC MAF Format; may be gzipped).

    Parameters
    ----------
    path
        Tab-separated MAF; lines that begin with ``#`` are comments. Protein_Change or
        HGVSp_Short, t_depth, t_ref_count, t_alt_count and t_vaf are read if present.
    patients
        ``Tumor_Sample_Barcode`` to patient. A tumour without a row has no mutation.
    known
        Hotspots; they need a column with the change of the protein.

    Returns
    -------
    polars.DataFrame
        Columns of `SOMATIC_SCHEMA` without gene identifiers. Alleles stay in MAF notation, where
        an insertion or deletion has ``-`` as the other allele.

    Raises
    ------
    InputError
        If the file lacks a column or holds none of the tumours.
    """
    frame = pl.scan_csv(
        path, separator="\t", comment_prefix="#", infer_schema=False, quote_char=None
    )
    columns = frame.collect_schema().names()
    absent = [column for column in _MAF_COLUMNS if column not in columns]
    if absent:
        raise InputError(
            [
                Problem("this MAF column is missing", "Export the MAF with it.", path, 1, column)
                for column in absent
            ]
        )
    optional = [column for column in _OPTIONAL_MAF_COLUMNS if column in columns]
    mine = (
        frame.select(*_MAF_COLUMNS, *optional)
        .filter(pl.col("Tumor_Sample_Barcode").is_in(list(patients)))
        .collect(engine="streaming")
    )
    if mine.is_empty():
        raise InputError(
            Problem(
                f"none of the {len(patients)} tumours of the sample sheet occurs in the file",
                "Give the barcode in the sheet's column maf_sample.",
                path,
                None,
                "Tumor_Sample_Barcode",
            )
        )
    depth, alternate, fraction = _maf_depths(optional)
    changes = [name for name in ("Protein_Change", "HGVSp_Short") if name in optional]
    mutations = mine.with_columns(
        patient=pl.col("Tumor_Sample_Barcode").replace_strict(patients, return_dtype=pl.String),
        chromosome="Chromosome",
        position=pl.col("Start_Position").cast(pl.Int64),
        reference_allele="Reference_Allele",
        alternate_allele="Tumor_Seq_Allele2",
        gene_id=pl.lit(None, dtype=pl.String),
        gene_name="Hugo_Symbol",
        consequence="Variant_Classification",
        alteration_class=pl.col("Variant_Classification").replace_strict(
            CLASS_OF_MAF, default="noncoding", return_dtype=pl.String
        ),
        tumour_depth=depth.cast(pl.Int64, strict=False),
        tumour_alternate_depth=alternate.cast(pl.Int64, strict=False),
        allele_fraction=fraction.cast(pl.Float64, strict=False),
        protein_change=pl.coalesce(
            *(pl.col(name).str.strip_prefix("p.").replace(["", "."], None) for name in changes),
            pl.lit(None, dtype=pl.String),
        ),
        population_frequency=pl.lit(None, dtype=pl.Float64),
        clinical_significance=pl.lit(None, dtype=pl.String),
        tier=pl.lit(None, dtype=pl.String),
    ).select(_somatic_columns())
    return with_hotspots(mutations, (known or KnownAlterations()).hotspots)


def _maf_depths(columns: Iterable[str]) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Depth, alternate depth and allele fraction; what a row leaves empty comes from the others."""
    present = set(columns)

    def number(name: str) -> pl.Expr:
        nothing = pl.lit(None, dtype=pl.Float64)
        return pl.col(name).cast(pl.Float64, strict=False) if name in present else nothing

    alternate = number("t_alt_count")
    depth = pl.coalesce(number("t_depth"), number("t_ref_count") + alternate)
    counted = pl.when(depth > 0).then(alternate / depth)
    return depth, alternate, pl.coalesce(number("t_vaf"), counted)


def with_gene_ids(variants: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    """Fill gene_id by gene name from a catalogue; names outside it keep null."""
    names = catalogue.unique("gene_name", keep="none").select("gene_name", found="gene_id")
    return (
        variants.join(names, on="gene_name", how="left", maintain_order="left")
        .with_columns(gene_id=pl.coalesce("gene_id", "found"))
        .drop("found")
    )


def gather_somatic(
    call_sets: Sequence[tuple[Path | str, Mapping[str, str]]],
    mafs: Sequence[tuple[Path | str, Mapping[str, str]]],
    coverage: Sequence[tuple[str, Path | str]],
    catalogue: pl.DataFrame,
    targets: Path | str | None,
    callable_depth: int,
    known: KnownAlterations | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Gather a site's somatic variants.

    Parameters
    ----------
    call_sets, mafs
        Files with the samples to read from each (name in the file to patient).
    coverage
        Patient and quantized coverage (mosdepth) of each sample that they were called from: the
        tumour and, where there is one, the normal. A base is callable where all of them cover it.
    catalogue
        gene_id and gene_name.
    targets
        BED of the sequenced regions; given call sets are taken to have covered all of it. Variants
        outside are left out, because nothing outside is in any denominator.
    callable_depth
        Coverage from which a base counts as assessed.
    known
        Hotspots, promoter positions, tiers and representative transcripts.

    Returns
    -------
    tuple of polars.DataFrame
        The variants (`SOMATIC_SCHEMA`) and the assessed patients: patient, callable_megabases
        (null where it cannot be known).
    """
    known = known or KnownAlterations()
    regions = read_targets(targets) if targets else None
    frames = [read_somatic_calls(path, patients, known) for path, patients in call_sets]
    for path, patients in mafs:
        frames.append(read_maf(path, patients, known))
        if regions is not None:
            _require_same_names(frames[-1], regions, path)
    variants = pl.concat(frames) if frames else pl.DataFrame(schema=SOMATIC_SCHEMA)
    variants = with_tiers(mark_promoters(variants, known.promoters), known.tiers)
    variants = variants.select(list(SOMATIC_SCHEMA))
    if regions is not None:
        everywhere = variants.height
        variants = within_targets(variants, regions)
        if variants.height < everywhere:
            outside = everywhere - variants.height
            logger.warning("%d of %d variants lie outside the targets", outside, everywhere)
    covered = defaultdict(list)
    for patient, path in coverage:
        covered[patient].append(callable_intervals(path, callable_depth))
    target_megabases = shared_megabases(regions) if regions is not None else None
    rows: list[tuple[str, float | None]] = []
    for _, patients in call_sets:
        rows += [
            (
                patient,
                shared_megabases(*covered[patient], *([regions] if regions is not None else []))
                if patient in covered
                else target_megabases,
            )
            for patient in patients.values()
        ]
    rows += [(patient, target_megabases) for _, patients in mafs for patient in patients.values()]
    assessed = pl.DataFrame(
        rows, schema={"patient": pl.String, "callable_megabases": pl.Float64}, orient="row"
    )
    key = ["patient", "chromosome", "position", "reference_allele", "alternate_allele", "gene_name"]
    return with_gene_ids(variants, catalogue).sort(key), assessed.sort("patient")


def _require_same_names(variants: pl.DataFrame, regions: pl.DataFrame, path: Path | str) -> None:
    """Refuse a file whose chromosomes are the targets' under other names (``1`` for ``chr1``).

    All its variants would count as outside the targets, and its patients as free of mutations.
    """
    names, targeted = set(variants["chromosome"]), set(regions["chromosome"])
    bare = {name.removeprefix("chr") for name in targeted}
    otherwise = sorted(n for n in names - targeted if n.removeprefix("chr") in bare)
    if otherwise and not names & targeted:
        raise InputError(
            Problem(
                f"the file names chromosomes otherwise than the targets ('{otherwise[0]}')",
                "Write the chromosomes as the study's genome and targets do.",
                path,
                None,
                "Chromosome",
            )
        )
