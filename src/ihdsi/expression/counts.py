"""Gene counts of a site's tumours, from salmon and from given matrices."""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ihdsi.delimited import fields_of_line
from ihdsi.errors import InputError, Problem
from ihdsi.study import ExpressionSettings
from ihdsi.summaries.table import ENSEMBL_GENE

__all__ = [
    "CountTable",
    "combine_gene_counts",
    "gather_gene_counts",
    "read_count_matrix",
    "salmon_gene_counts",
]

logger = logging.getLogger(__name__)
GENE_COLUMNS = ["gene_id", "gene_name"]
#: Names of nf-core/rnaseq (3.x) for gene counts that are estimates; those of TPM end otherwise.
_ESTIMATED_BY_NAME = re.compile(
    r"(salmon|kallisto|rsem)\.merged\.gene_counts(_length_scaled|_scaled)?\.tsv(\.gz)?"
)
_SHOWN = 5
_DEFAULTS = ExpressionSettings()


@dataclass(frozen=True)
class CountTable:
    """Gene counts of files that list the same genes.

    Parameters
    ----------
    files
        The files that the counts are of.
    counts
        gene_id (each once), gene_name and one Float64 column a patient.
    """

    files: tuple[Path | str, ...]
    counts: pl.DataFrame

    @property
    def name(self) -> str:
        """What messages call it: its first file, and how many others list the same."""
        others = len(self.files) - 1
        return f"{self.files[0]}" + (f" and {others} files that list the same" if others else "")


def salmon_gene_counts(
    quantifications: Mapping[str, Path | str],
    transcript_to_gene: pl.DataFrame,
    *,
    length_scaled: bool = False,
    maximum_unknown: float = 1.0,
    maximum_missing_percent: float = _DEFAULTS.maximum_missing_genes_percent,
) -> pl.DataFrame:
    """Sum salmon's transcript counts to genes with pytximport.

    Files are imported together if they list the same transcripts, in whatever order; others (made
    with another index) by themselves.

    Parameters
    ----------
    quantifications
        Patient to ``quant.sf`` (or ``quant.sf.gz``).
    transcript_to_gene
        transcript_id, gene_id, gene_name (identifiers without version).
    length_scaled
        Whether counts are corrected for the mean length of the transcripts that each sample uses
        (tximport's lengthScaledTPM), so that a model needs no offset of lengths. A sample's counts
        then depend a little on the samples that are imported with it.
    maximum_unknown
        Largest share, of a file's transcripts and of its reads, that `transcript_to_gene` may lack.
    maximum_missing_percent
        As for `combine_gene_counts`.

    Returns
    -------
    polars.DataFrame
        gene_id, gene_name and one column of estimated counts a patient (Float64), by gene_id; the
        genes that all files hold.

    Raises
    ------
    InputError
        If a file cannot be read, a value is no number, a transcript occurs twice (with another
        version, too), a file has too many transcripts of unknown gene or lacks too many genes of
        the others, or lengths are to be corrected for and files list different transcripts.

    References
    ----------
    Soneson, Love & Robinson 2015, F1000Research 4:1521 (tximport).
    """
    tables = _salmon_tables(quantifications, transcript_to_gene, length_scaled, maximum_unknown)
    combined = combine_gene_counts(tables, maximum_missing_percent)
    return combined.select(*GENE_COLUMNS, *quantifications)


def _salmon_tables(
    quantifications: Mapping[str, Path | str],
    transcript_to_gene: pl.DataFrame,
    length_scaled: bool,
    maximum_unknown: float,
) -> list[CountTable]:
    """Gene counts of the files of each set of transcripts."""
    known = transcript_to_gene["transcript_id"].unique()
    groups: list[tuple[pl.Series, dict[str, str]]] = []
    problems: list[Problem] = []
    for patient, path in quantifications.items():
        names, faults = _read_transcripts(path, known, maximum_unknown)
        problems += faults
        # Another order of rows is no other set: pytximport gets the rows sorted.
        names = _identifier(names).sort()
        group = next((files for listed, files in groups if listed.equals(names)), None)
        if group is None:
            groups.append((names, {patient: str(path)}))
        else:
            group[patient] = str(path)
    if problems:
        raise InputError(problems)
    if len(groups) > 1 and length_scaled:
        raise InputError(_different_transcripts(groups))
    return [
        CountTable(tuple(files.values()), _sum_to_genes(files, transcript_to_gene, length_scaled))
        for _, files in groups
    ]


def _identifier(names: pl.Series) -> pl.Series:
    """Cut names of transcripts at a bar, which GENCODE's FASTA puts behind the identifier."""
    return names.str.split("|").list.first()


def _different_transcripts(groups: Sequence[tuple[pl.Series, Mapping[str, str]]]) -> list[Problem]:
    """Lengths are averaged over the files that are imported together, so all have to be."""
    most, usual = max(groups, key=lambda group: len(group[1]))
    problems = []
    for names, files in groups:
        if files is usual:
            continue
        first, *others = files.values()
        more = f" (with {len(others)} others)" if others else ""
        lacking, further = (
            most.filter(~most.is_in(names.implode())),
            names.filter(~names.is_in(most.implode())),
        )
        problems.append(
            Problem(
                f"the file{more} lacks {len(lacking)} of the transcripts of "
                f"{next(iter(usual.values()))} and lists {len(further)} that it does not, for "
                f"example {pl.concat([lacking, further])[0]}, so that lengths cannot be averaged",
                "Quantify all samples with one index and copy cut files again, or set "
                "expression.counts: estimated.",
                first,
                column="Name",
            )
        )
    return problems


def _read_transcripts(
    path: Path | str, known: pl.Series, maximum_unknown: float
) -> tuple[pl.Series, list[Problem]]:
    """Transcripts of a file in its order, and what speaks against using it."""
    frame = _read_text(path, "Copy the file again, or run salmon again.")
    reads = frame["NumReads"].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    faults = []
    for column in ("EffectiveLength", "TPM", "NumReads"):
        given = frame[column]
        values = given.cast(pl.Float64, strict=False)
        bad = (values.is_infinite() | (values < 0)).fill_null(value=True)
        if column == "NumReads":
            bad |= values.is_nan().fill_null(value=True)
        else:
            # Of a sample without reads salmon's abundances may be no numbers.
            bad &= ~given.str.to_lowercase().is_in(["nan", "-nan"]).fill_null(value=False)
        faults += [
            Problem(
                f"'{given[row]}' is not a number" + (" of reads" if column == "NumReads" else ""),
                "Copy the file again, or run salmon again.",
                path,
                row + 2,
                column,
            )
            for row in bad.arg_true()[:1]
        ]
    identifier = _identifier(frame["Name"])
    bare = identifier.str.split(".").list.first()
    # The copy of a pseudoautosomal transcript on Y has the version of that on X.
    once = (
        bare
        + pl.select(
            pl.when(identifier.str.ends_with("_PAR_Y")).then(pl.lit("_PAR_Y")).otherwise(pl.lit(""))
        ).to_series()
    )
    faults += [
        Problem(
            f"the transcript '{identifier[row]}' occurs twice (first as "
            f"'{identifier[int((once == once[row]).arg_max() or 0)]}')",
            "Run salmon on transcripts of one annotation, each once.",
            path,
            row + 2,
            "Name",
        )
        for row in (~once.is_first_distinct()).arg_true()[:1]
    ]
    if faults:
        return frame["Name"], faults
    unknown = (~bare.is_in(known.implode()).fill_null(value=False)).to_numpy()
    if not unknown.any():
        return frame["Name"], []
    share = float(unknown.mean())
    of_reads = float(reads[unknown].sum() / max(reads.sum(), 1.0))
    what = (
        f"{100 * share:.3g} % of the transcripts ({unknown.sum()} of {unknown.size}), with "
        f"{100 * of_reads:.3g} % of the reads, are of no gene of the study; for example "
        f"{bare[int(unknown.argmax())]}"
    )
    if max(share, of_reads) <= maximum_unknown and not unknown.all():
        logger.warning("%s: %s; they are left out", path, what)
        return frame["Name"], []
    remedy = (
        "Give the annotation that the index was made of as reference.transcript_to_gene, or run "
        "salmon on the study's transcripts. expression.maximum_unknown_transcripts is the limit."
    )
    return frame["Name"], [Problem(what, remedy, path, column="Name")]


def _sum_to_genes(
    quantifications: Mapping[str, str], transcript_to_gene: pl.DataFrame, length_scaled: bool
) -> pl.DataFrame:
    # Imported on use: most jobs of this module read matrices and need none of its dependencies.
    from pytximport import tximport
    from pytximport.importers import read_salmon

    def read_sorted(path: Path | str, **options: Any) -> Any:  # noqa: ANN401 - pytximport's types
        """Bring the rows of every file into one order, since pytximport joins them by position."""
        read = read_salmon(path, **options)
        order = _identifier(pl.Series(read["transcript_id"])).arg_sort().to_numpy()
        read["transcript_id"] = np.asarray(read["transcript_id"], dtype=object)[order].tolist()
        for column in ("counts", "length", "abundance"):
            read[column] = np.asarray(read[column])[order]
        return read

    result = tximport(
        list(quantifications.values()),
        data_type="salmon",
        custom_importer=read_sorted,
        transcript_gene_map=transcript_to_gene.select("transcript_id", "gene_id").to_pandas(),
        counts_from_abundance="length_scaled_tpm" if length_scaled else None,
        ignore_transcript_version=True,
        return_transcript_data=False,
        output_type="xarray",
    )
    counts = result["counts"].transpose("gene_id", "file").to_numpy()
    if length_scaled:
        # A sample without reads has no abundance to scale.
        counts = np.nan_to_num(counts, nan=0.0)
    frame = pl.DataFrame(
        {
            "gene_id": result["gene_id"].to_numpy().astype(str),
            **{patient: counts[:, index] for index, patient in enumerate(quantifications)},
        }
    )
    names = transcript_to_gene.select(GENE_COLUMNS).unique("gene_id")
    return (
        frame.join(names, on="gene_id", how="left")
        .select(*GENE_COLUMNS, *quantifications)
        .sort("gene_id")
    )


def _read_text(path: Path | str, remedy: str, comment: str | None = None) -> pl.DataFrame:
    """Read a table of tabs as text; `InputError` if that cannot be done."""
    try:
        return pl.read_csv(path, separator="\t", comment_prefix=comment, infer_schema=False)
    except (OSError, EOFError, pl.exceptions.PolarsError) as error:
        first = str(error).strip().split("\n")[0]
        raise InputError(Problem(f"the file cannot be read ({first})", remedy, path)) from None


def _opening(path: Path | str) -> tuple[int, list[str]]:
    """Count the lines of comment before a table's header, and split the header."""
    opener = gzip.open if str(path).endswith(".gz") else open
    number = 0
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines):
            if not line.startswith("#"):
                return number, fields_of_line(line, "\t")
    return number, []


def read_count_matrix(path: Path | str, patients: Mapping[str, str]) -> pl.DataFrame:
    """Read some columns of a gene-count matrix.

    Parameters
    ----------
    path
        TSV with gene_id, optionally gene_name, then one column of raw counts a sample. Counts are
        whole numbers, unless the file says that they are estimated: by the name that nf-core/rnaseq
        gives (``salmon.merged.gene_counts.tsv``, ``…_scaled.tsv``, ``…_length_scaled.tsv``, or the
        same of kallisto or rsem), or by a first line that begins with ``#`` and says "estimated
        counts". The copy of a pseudoautosomal gene on Y (``_PAR_Y``) is added to its gene.
    patients
        Column of the matrix to patient.

    Returns
    -------
    polars.DataFrame
        gene_id (without version), gene_name and one Float64 column a patient. Rows without an
        Ensembl id (spike-ins, symbols) are kept, and the log names some.

    Raises
    ------
    InputError
        If the file cannot be read, a column is missing or occurs twice, a row has no gene or a gene
        occurs twice (with other versions, too), no identifier is of Ensembl, or a value is not a
        count.
    """
    frame = _read_text(path, "Give UTF-8 text with tabs, every row as long as the header.", "#")
    try:
        n_comments, header = _opening(path)
    except ValueError as error:
        remedy = "Close quotation marks in the header, or write none."
        raise InputError(Problem(str(error), remedy, path)) from None
    strange = [name for name in ("gene_id", *patients) if header.count(name) != 1]
    if strange:
        raise InputError(
            [
                Problem(
                    "the column occurs twice"
                    if name in header
                    else "the matrix has no such column",
                    "Correct the sample name in the sample sheet, or the header of the matrix.",
                    path,
                    n_comments + 1,
                    name,
                )
                for name in strange
            ]
        )
    unread = [name for name in frame.columns if name not in (*GENE_COLUMNS, *patients)]
    if unread:
        logger.warning(
            "%s: %d columns are of no sample of the sheet and are not read: %s",
            path,
            len(unread),
            ", ".join(unread),
        )
    if not frame["gene_id"].str.starts_with("ENS").any():
        raise InputError(
            Problem(
                "no gene identifier is Ensembl's",
                "Give Ensembl gene ids (ENSG…); symbols belong in gene_name.",
                path,
                n_comments + 2,
                "gene_id",
            )
        )
    bare_id = pl.col("gene_id").str.replace(r"(\.\d+)?(_PAR_Y)?$", "")
    frame = frame.with_columns(
        given_id="gene_id",
        gene_id=bare_id,
        gene_name=pl.col("gene_name") if "gene_name" in frame.columns else bare_id,
        # GENCODE names the copy of a pseudoautosomal gene on Y apart; both are one gene.
        on_y=pl.col("gene_id").str.ends_with("_PAR_Y"),
    ).with_row_index("row", offset=n_comments + 2)
    problems = [
        Problem("the row has no gene", "Give its Ensembl gene id.", path, row, "gene_id")
        for row in frame.filter(pl.col("gene_id").is_null())["row"].head(3)
    ]
    strange_ids = frame.filter(~pl.col("gene_id").str.contains(ENSEMBL_GENE))["given_id"]
    if len(strange_ids):
        logger.warning(
            "%s: %d of %d rows have no Ensembl gene id, and no table holds them: %s%s",
            path,
            len(strange_ids),
            frame.height,
            ", ".join(strange_ids.head(_SHOWN)),
            ", …" if len(strange_ids) > _SHOWN else "",
        )
    repeated = (
        frame.drop_nulls("gene_id")
        .with_columns(first=pl.col("given_id").first().over("gene_id", "on_y"))
        .filter(~pl.struct("gene_id", "on_y").is_first_distinct())
    )
    problems += [
        Problem(
            f"gene '{gene}' occurs twice" + ("" if first == given else f" ({first} and {given})"),
            "Sum or remove the rows.",
            path,
            row,
            "gene_id",
        )
        for row, gene, first, given in repeated.select(
            "row", "gene_id", "first", "given_id"
        ).iter_rows()
    ]
    numbers = frame.with_columns(pl.col(name).cast(pl.Float64, strict=False) for name in patients)
    declared = _says_estimated(path)
    for name in patients:
        value = pl.col(name)
        bad = numbers.select("row", value, given=frame[name]).filter(
            value.is_null() | ~value.is_finite() | (value < 0)
        )
        problems += [
            Problem(f"'{given}' is not a count", "Give raw counts, 0 or more.", path, row, name)
            for row, given in bad.select("row", "given").head(3).iter_rows()
        ]
        if bad.is_empty():
            problems += _fractional(numbers.select("row", name), path, declared)
    if problems:
        raise InputError(problems)
    if numbers["on_y"].any():
        # The gene's own row names it.
        numbers = (
            numbers.sort("on_y", maintain_order=True)
            .group_by("gene_id", maintain_order=True)
            .agg(pl.col("gene_name").first(), pl.col(list(patients)).sum())
        )
    return numbers.select(*GENE_COLUMNS, *(pl.col(n).alias(p) for n, p in patients.items()))


def _says_estimated(path: Path | str) -> bool:
    """Whether a matrix says of itself that its counts are estimates, which need not be whole."""
    if _ESTIMATED_BY_NAME.fullmatch(Path(path).name):
        return True
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        first = next(lines, "").lower()
    return first.startswith("#") and "estimated counts" in first


def _fractional(column: pl.DataFrame, path: Path | str, declared: bool) -> list[Problem]:
    """Refuse fractions where counts are said to be raw, and what adds up to a million anywhere."""
    row, name = column.columns
    fractions = column.filter(pl.col(name) != pl.col(name).round())
    if fractions.is_empty():
        return []
    if abs(float(column[name].sum()) - 1e6) < 1e3:
        what = "the values add up to a million: they are TPM or CPM, not counts"
        remedy = "Give counts; of nf-core/rnaseq: salmon.merged.gene_counts.tsv."
    elif declared:
        return []
    else:
        what = f"{fractions[name][0]:g} is not a whole number, so the matrix holds no raw counts"
        remedy = (
            "Give raw counts. Estimated counts (as of salmon or RSEM) need a first line "
            "'# estimated counts', or the file name that nf-core/rnaseq gives them "
            "(salmon.merged.gene_counts.tsv). TPM, FPKM and logarithms are no counts."
        )
    return [Problem(what, remedy, path, int(fractions[row][0]), name)]


def combine_gene_counts(
    tables: Sequence[CountTable],
    maximum_missing_percent: float = _DEFAULTS.maximum_missing_genes_percent,
) -> pl.DataFrame:
    """Join count tables of different origin on the genes that all of them hold.

    A gene that one origin never counted is not zero there, so it cannot be compared, and is lost
    for all patients. The log says which table lacks how many genes.

    Parameters
    ----------
    tables
        Tables of different patients.
    maximum_missing_percent
        Largest share of the genes of all tables, in per cent, that one table may lack.

    Returns
    -------
    polars.DataFrame
        gene_id, gene_name and one Float64 column a patient, by gene_id. A gene's name is the first
        that a table gives it; tables without names, which repeat the identifier, come last.

    Raises
    ------
    InputError
        If a table lacks more genes than that, or no gene is in all tables.
    """
    if not tables:
        return pl.DataFrame(schema=dict.fromkeys(GENE_COLUMNS, pl.String))
    named = pl.concat([table.counts.select(GENE_COLUMNS) for table in tables])
    is_name = pl.col("gene_name").is_not_null() & (pl.col("gene_name") != pl.col("gene_id"))
    genes = (
        named.group_by("gene_id", maintain_order=True)
        .agg(
            gene_name=pl.coalesce(
                pl.col("gene_name").filter(is_name).first(),
                pl.col("gene_name").drop_nulls().first(),
            ),
            n_tables=pl.len(),
        )
        .sort("gene_id")
    )
    shared = genes.filter(pl.col("n_tables") == len(tables)).select(GENE_COLUMNS)
    problems = []
    for table in tables:
        lacking = genes.join(table.counts, on="gene_id", how="anti", maintain_order="left")
        if lacking.is_empty():
            continue
        percent = 100 * lacking.height / genes.height
        what = (
            f"{lacking.height} of the {genes.height} genes of all count tables ({percent:.3g} %) "
            f"are missing: {', '.join(lacking['gene_id'].head(_SHOWN))}"
            f"{', …' if lacking.height > _SHOWN else ''}"
        )
        if percent > maximum_missing_percent or shared.is_empty():
            others = len(table.files) - 1
            more = f" (as in {others} files more that list the same)" if others else ""
            problems.append(
                Problem(
                    what + more + ("; no gene is in all tables" if shared.is_empty() else ""),
                    "A gene that one file lacks is lost for all patients. Copy the file again if "
                    "it was cut off; else give all files of one annotation, or raise "
                    "expression.maximum_missing_genes_percent.",
                    table.files[0],
                )
            )
        else:
            logger.warning("%s: %s; they are left out for all patients", table.name, what)
    if problems:
        raise InputError(problems)
    for table in tables:
        shared = shared.join(
            table.counts.drop("gene_name"), on="gene_id", how="left", maintain_order="left"
        )
    return shared


def gather_gene_counts(
    quantifications: Mapping[str, Path | str],
    transcript_to_gene: Path | str | None,
    matrices: Sequence[tuple[Path | str, Mapping[str, str]]],
    settings: ExpressionSettings | None = None,
) -> pl.DataFrame:
    """Gather the gene counts of a site's tumours, quantified here or given.

    Parameters
    ----------
    quantifications
        Patient to ``quant.sf``.
    transcript_to_gene
        Parquet with transcript_id, gene_id, gene_name; needed where there are quantifications.
    matrices
        Count matrices with the columns to read from each (column to patient).
    settings
        The study's `counts`, `maximum_unknown_transcripts` and `maximum_missing_genes_percent`;
        without them, its defaults.

    Returns
    -------
    polars.DataFrame
        gene_id, gene_name and one Float64 column a patient, for the genes that all origins hold.

    Raises
    ------
    InputError
        As `salmon_gene_counts`, `read_count_matrix` and `combine_gene_counts`.
    """
    settings = settings or _DEFAULTS
    tables: list[CountTable] = []
    if quantifications:
        if transcript_to_gene is None:
            raise ValueError("transcripts of salmon need transcript_to_gene")
        tables += _salmon_tables(
            quantifications,
            pl.read_parquet(transcript_to_gene),
            settings.counts == "length_scaled",
            settings.maximum_unknown_transcripts,
        )
    tables += [CountTable((path,), read_count_matrix(path, names)) for path, names in matrices]
    combined = combine_gene_counts(tables, settings.maximum_missing_genes_percent)
    patients = [*quantifications, *(name for _, names in matrices for name in names.values())]
    return combined.select(*GENE_COLUMNS, *patients)
