"""Read sample sheets, and refuse what cannot be meant."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from ihdsi.cohort import Assay, Cohort, Entry, Lane, Patient, Sample, Tissue
from ihdsi.delimited import DelimitedTable, Row, read_delimited
from ihdsi.errors import InputError, Problem
from ihdsi.matrices.plates import plate_faults
from ihdsi.matrices.reading import SUFFIXES
from ihdsi.study import Site, Study
from ihdsi.umi import LOCATIONS, Umi, parse_umi
from ihdsi.yaml_documents import expand_variables

__all__ = [
    "ENTRIES_OF_ASSAY",
    "NAME",
    "OPTIONAL_COLUMNS",
    "REQUIRED_COLUMNS",
    "TISSUES",
    "read_cohort",
]

REQUIRED_COLUMNS = ("patient", "sample", "tissue", "assay")
OPTIONAL_COLUMNS = (
    "library",
    "lane",
    "umi",
    "fastq_1",
    "fastq_2",
    "bam",
    "vcf",
    "vcf_sample",
    "maf",
    "maf_sample",
    "counts",
    "counts_sample",
    "salmon",
    "matrix",
    "matrix_sample",
    "cells",
    "cells_sample",
    "cells_column",
)
FILE_COLUMNS = ("fastq_1", "fastq_2", "bam", "vcf", "maf", "counts", "salmon", "matrix", "cells")
TISSUES: tuple[Tissue, ...] = ("tumour", "normal")
ENTRIES_OF_ASSAY: dict[Assay, tuple[Entry, ...]] = {
    "dna": ("fastq", "bam", "vcf", "maf"),
    "rna": ("fastq", "counts", "salmon"),
    "protein": ("matrix",),
    "methylation": ("matrix",),
    "metabolite": ("matrix",),
    "single_cell": ("cells",),
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
#: Column of an h5ad file's cells that names their sample, where the sheet names no other.
SAMPLE_COLUMN = "sample"
_NAME_RULE = "Use letters, digits, '-' and '_' only, beginning with a letter or digit."


def read_cohort(site: Site, study: Study) -> Cohort:
    """Read and check a site's sample sheet.

    Raises
    ------
    InputError
        With every problem of the sheet: a missing or unknown column, a name that cannot be a
        file name, an unknown tissue or assay, several entry points or none, second reads without
        first, single reads among pairs, a molecular barcode that cannot be, files that do not
        exist or are used twice, a sample or lane that occurs twice, and a patient with two samples
        of one kind.
    """
    table = read_delimited(site.samples)
    _check_columns(table)
    problems: list[Problem] = []
    table = _with_expanded_paths(table, problems)
    unresolved = {(p.row, p.column) for p in problems}
    samples = _samples_of(table, problems, site.alignments == "realign")
    missing = _missing_files(table, study.simulated_folder)
    problems += [p for p in missing if (p.row, p.column) not in unresolved]
    problems += _repeated_files(table)
    problems += _repeated_columns(samples, table.path)
    problems += _matrix_faults(samples, site, study, table.path)
    patients = _patients_of(samples, table.path, problems)
    if problems:
        raise InputError(sorted(problems, key=lambda p: (p.row or 0, p.column or "")))
    return Cohort(
        site=site.site,
        patients=patients,
        samples={sample.sample: sample for sample in samples},
        clinical=site.clinical,
        codebook=site.codebook,
        sheet=table.path,
    )


def _check_columns(table: DelimitedTable) -> None:
    problems = [
        Problem(
            "this required column is missing",
            f"Add it to the header; required are: {', '.join(REQUIRED_COLUMNS)}.",
            table.path,
            1,
            column,
        )
        for column in REQUIRED_COLUMNS
        if column not in table.columns
    ]
    known = {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS}
    problems += [
        Problem(
            "this column is not known",
            f"Remove or rename it; known are: {', '.join((*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS))}.",
            table.path,
            1,
            column,
        )
        for column in table.columns
        if column not in known
    ]
    if problems:
        raise InputError(problems)


def _with_expanded_paths(table: DelimitedTable, problems: list[Problem]) -> DelimitedTable:
    rows = []
    for row in table.rows:
        values = dict(row.values)
        for column in FILE_COLUMNS:
            try:
                values[column] = expand_variables(values.get(column, ""))
            except ValueError as error:
                problems.append(
                    Problem(
                        str(error).split(";")[0],
                        "Export the variable, or write the path in full.",
                        table.path,
                        row.line,
                        column,
                    )
                )
        rows.append(Row(row.line, values))
    return DelimitedTable(table.path, table.columns, tuple(rows))


def _samples_of(table: DelimitedTable, problems: list[Problem], realigned: bool) -> list[Sample]:
    """One `Sample` per name; the rows of a name must be lanes of one FASTQ sample."""
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in table.rows:
        faults = _row_problems(table.path, row)
        problems += faults
        if not faults:
            grouped[row.values["sample"]].append(row)
    return [_sample_of(table.path, rows, problems, realigned) for rows in grouped.values()]


def _row_problems(path: Path, row: Row) -> list[Problem]:
    problems: list[Problem] = []

    def problem(column: str, what: str, remedy: str) -> None:
        problems.append(Problem(what, remedy, path, row.line, column))

    value = row.values.get
    for column in ("patient", "sample"):
        if not NAME.fullmatch(row.values[column]):
            problem(column, f"'{row.values[column]}' cannot be a name", _NAME_RULE)
    for column in ("lane", "library"):
        if (name := value(column)) and not NAME.fullmatch(name):
            problem(column, f"'{name}' cannot be a {column} name", _NAME_RULE)
    if row.values["tissue"] not in TISSUES:
        problem(
            "tissue", f"unknown tissue '{row.values['tissue']}'", f"Use {' or '.join(TISSUES)}."
        )
    assay = row.values["assay"]
    if assay not in ENTRIES_OF_ASSAY:
        problem("assay", f"unknown assay '{assay}'", f"Use {' or '.join(ENTRIES_OF_ASSAY)}.")
        return problems
    entries = _entries_of(row)
    allowed = ENTRIES_OF_ASSAY[assay]  # type: ignore[index]
    if not entries:
        problem(
            "fastq_1" if "fastq" in allowed else allowed[0],
            "the sample has no entry point",
            f"Fill one of: {', '.join(allowed).replace('fastq', 'fastq_1 and fastq_2')}.",
        )
    elif len(entries) > 1:
        problem(
            entries[1] if entries[1] != "fastq" else "fastq_1",
            f"the sample has {len(entries)} entry points ({', '.join(entries)})",
            "Keep the one that the run should start from and empty the others.",
        )
    elif entries[0] not in allowed:
        problem(
            entries[0],
            f"a {assay} sample cannot enter as {entries[0]}",
            f"Use one of: {', '.join(allowed)}.",
        )
    elif entries[0] == "fastq":
        if not value("fastq_1"):
            problem(
                "fastq_1",
                "fastq_2 is given without fastq_1",
                "Give both files of a pair; a single-end file stands in fastq_1.",
            )
        elif text := value("umi"):
            _check_umi(text, bool(value("fastq_2")), problem)
    for column in ("library", "umi"):
        if value(column) and len(entries) == 1 and entries[0] != "fastq":
            problem(
                column,
                f"{column} is given for a sample that enters as {entries[0]}",
                f"Empty it; a {column} is told of FASTQ files only.",
            )
    for column in ("cells_sample", "cells_column"):
        if value(column) and not is_annotated(value("cells") or ""):
            problem(
                column,
                f"{column} is given, but the column cells names no h5ad file",
                "Empty it; a 10x matrix holds the cells of one sample.",
            )
    return problems


def _check_umi(text: str, is_paired: bool, problem: Callable[[str, str, str], None]) -> None:
    try:
        umi = parse_umi(text)
    except ValueError as error:
        problem(
            "umi",
            str(error),
            "Write LOCATION:LENGTH or LOCATION:LENGTH:SKIP with read1, read2 or per_read, for "
            "example read1:8:2, or an index alone: index1, index2 or per_index.",
        )
        return
    if umi.needs_pairs and not is_paired:
        alone = ", ".join(name for name in LOCATIONS if not Umi(name).needs_pairs)
        problem(
            "umi",
            f"the barcode stands in '{umi.location}', but the lane is single-end",
            f"Give fastq_2, or a place that single reads have ({alone}).",
        )


def is_annotated(path: str) -> bool:
    """Whether a path of the column ``cells`` is an h5ad file, which may hold many samples."""
    return path.endswith(".h5ad")


def _entries_of(row: Row) -> list[Entry]:
    given: list[Entry] = []
    if row.values.get("fastq_1") or row.values.get("fastq_2"):
        given.append("fastq")
    files: tuple[Entry, ...] = ("bam", "vcf", "maf", "counts", "salmon", "matrix", "cells")
    given += [entry for entry in files if row.values.get(entry)]
    return given


def _sample_of(path: Path, rows: list[Row], problems: list[Problem], realigned: bool) -> Sample:
    first = rows[0]
    entry = _entries_of(first)[0]
    name = first.values["sample"]
    for row in rows[1:]:
        problems += [
            Problem(
                f"sample '{name}' has {column} '{row.values[column]}' here and "
                f"'{first.values[column]}' in row {first.line}",
                "Give the sample one meaning, or another name.",
                path,
                row.line,
                column,
            )
            for column in ("patient", "tissue", "assay")
            if row.values[column] != first.values[column]
        ]
        if entry != "fastq" or _entries_of(row) != ["fastq"]:
            problems.append(
                Problem(
                    f"sample '{name}' occurs twice (first in row {first.line})",
                    "Only FASTQ samples may have several rows, one per lane; remove or rename one.",
                    path,
                    row.line,
                    "sample",
                )
            )
    lanes = _lanes_of(path, rows, problems) if entry == "fastq" else ()
    file = "" if entry == "fastq" else first.values[entry]
    inside = first.values.get(f"{entry}_sample") or name
    annotated = entry == "cells" and is_annotated(file)
    whole = entry in ("fastq", "bam", "salmon") or (entry == "cells" and not annotated)
    return Sample(
        patient=first.values["patient"],
        sample=name,
        tissue=first.values["tissue"],  # type: ignore[arg-type]
        assay=first.values["assay"],  # type: ignore[arg-type]
        entry=entry,
        line=first.line,
        lanes=lanes,
        path=file,
        name_in_file="" if whole else inside,
        realigned=realigned and entry == "bam",
        cells_column=first.values.get("cells_column") or SAMPLE_COLUMN if annotated else "",
    )


def _lanes_of(path: Path, rows: list[Row], problems: list[Problem]) -> tuple[Lane, ...]:
    """Lanes of one FASTQ sample; all are pairs or all single, and a library has one barcode."""
    lanes: dict[tuple[str, str], Lane] = {}
    for row in rows:
        if _entries_of(row) != ["fastq"]:
            continue

        def problem(column: str, what: str, remedy: str, line: int = row.line) -> None:
            problems.append(Problem(what, remedy, path, line, column))

        value = row.values.get
        name = row.values["sample"]
        text = value("umi")
        lane = Lane(
            lane=value("lane") or "L001",
            fastq_1=value("fastq_1") or "",
            fastq_2=value("fastq_2") or "",
            line=row.line,
            sample=name,
            library=value("library") or name,
            umi=parse_umi(text) if text else None,
        )
        of_library = "" if lane.library == name else f" of library '{lane.library}'"
        if previous := lanes.get((lane.library, lane.lane)):
            problem(
                "lane",
                f"sample '{name}' has lane '{lane.lane}'{of_library} twice "
                f"(first in row {previous.line})",
                "Give each pair of FASTQ files of a sample its own lane name, "
                "or rename the sample if it is another one.",
            )
            continue
        first = next(iter(lanes.values()), lane)
        if lane.is_paired != first.is_paired:
            kinds = {True: "pairs of reads", False: "single reads"}
            problem(
                "fastq_2",
                f"sample '{name}' has {kinds[lane.is_paired]} here and "
                f"{kinds[first.is_paired]} in row {first.line}",
                "Give all lanes of a sample both files, or all one; or name two samples.",
            )
        same_library = next((n for n in lanes.values() if n.library == lane.library), lane)
        if lane.umi != same_library.umi:
            problem(
                "umi",
                f"library '{lane.library}' of sample '{name}' has the barcode "
                f"'{lane.umi or ''}' here and '{same_library.umi or ''}' in row "
                f"{same_library.line}",
                "Write the same in all lanes of a library, or name its libraries in the "
                "column library.",
            )
        lanes[lane.library, lane.lane] = lane
    return tuple(lanes.values())


def _missing_files(table: DelimitedTable, simulated: str | None) -> list[Problem]:
    """Problems of files that do not exist; each folder is listed once, no file is probed alone."""
    listings: dict[Path, set[str]] = {}
    problems = []
    for row in table.rows:
        for column in FILE_COLUMNS:
            name = row.values.get(column)
            if not name or (simulated and name.startswith(simulated)):
                continue
            target = Path(name)
            if target.parent not in listings:
                try:
                    listings[target.parent] = {e.name for e in os.scandir(target.parent)}
                except OSError:
                    listings[target.parent] = set()
            if target.name not in listings[target.parent]:
                problems.append(
                    Problem(
                        f"the file {name} does not exist",
                        "Correct the path; relative paths start at the working directory.",
                        table.path,
                        row.line,
                        column,
                    )
                )
    return problems


def _repeated_files(table: DelimitedTable) -> list[Problem]:
    """Find files of one sample that stand twice: one patient's reads under two names."""
    folder = Path.cwd()
    first_use: dict[str, tuple[int, str]] = {}
    problems = []
    for row in table.rows:
        for column in ("fastq_1", "fastq_2", "bam", "salmon", "cells"):
            name = row.values.get(column)
            if not name or (column == "cells" and is_annotated(name)):
                continue
            key = os.path.normpath(folder / name)
            if key in first_use:
                line, where = first_use[key]
                problems.append(
                    Problem(
                        f"the file {name} is already used in row {line}, column '{where}'",
                        f"Name each file of {'cells' if column == 'cells' else 'reads'} once.",
                        table.path,
                        row.line,
                        column,
                    )
                )
            else:
                first_use[key] = (row.line, column)
    return problems


def _repeated_columns(samples: Iterable[Sample], path: Path) -> list[Problem]:
    """Find samples that read the same column of the same file: one person under two names."""
    folder = Path.cwd()
    first_use: dict[tuple[str, str], Sample] = {}
    problems = []
    for sample in samples:
        if not sample.name_in_file:
            continue
        key = (os.path.normpath(folder / sample.path), sample.name_in_file)
        first = first_use.setdefault(key, sample)
        if first is not sample:
            problems.append(
                Problem(
                    f"'{sample.name_in_file}' of {sample.path} is already read as sample "
                    f"'{first.sample}' (row {first.line})",
                    f"Give the name that this sample has in the file in {sample.entry}_sample, "
                    "or remove the row.",
                    path,
                    sample.line,
                    sample.entry,
                )
            )
    return problems


def _matrix_faults(
    samples: Iterable[Sample], site: Site, study: Study, path: Path
) -> list[Problem]:
    """Find samples of matrices that the study, or the site's table of plates, says nothing of."""
    problems: list[Problem] = []
    grouped: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.entry != "matrix":
            continue
        settings = study.matrices.get(sample.assay)  # type: ignore[arg-type]
        if settings is None:
            problems.append(
                Problem(
                    f"the study says nothing of {sample.assay} matrices",
                    f"Have matrices.{sample.assay} added to the study file, or remove the row.",
                    path,
                    sample.line,
                    "assay",
                )
            )
        elif not sample.path.endswith(SUFFIXES):
            problems.append(
                Problem(
                    f"the end of {sample.path} does not tell what kind of file it is",
                    f"Give a file that ends in {', '.join(SUFFIXES)}.",
                    path,
                    sample.line,
                    "matrix",
                )
            )
        elif settings.covariates and sample.tissue == "tumour":
            grouped[settings.covariates].append(sample)
    for covariates, members in grouped.items():
        if site.plates is None:
            problems.append(
                Problem(
                    f"the study adjusts {members[0].assay} values for {' and '.join(covariates)}, "
                    "but the site file names no table of them",
                    "Give the table (sample, plate, batch) as 'plates' in the site file.",
                    path,
                    members[0].line,
                    "matrix",
                )
            )
        elif not (study.simulated_folder and site.plates.startswith(study.simulated_folder)):
            names = {sample.sample: sample.line for sample in members}
            problems += plate_faults(site.plates, covariates, names, path)
    return problems


def _patients_of(
    samples: Iterable[Sample], path: Path, problems: list[Problem]
) -> dict[str, Patient]:
    slots: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        slot = f"{sample.tissue}_{sample.assay}"
        previous = slots[sample.patient].get(slot)
        if previous is not None:
            problems.append(
                Problem(
                    f"patient '{sample.patient}' has two {sample.kind} "
                    f"samples ('{previous.sample}' in row {previous.line} and '{sample.sample}')",
                    "Keep one; for lanes of one sample use the same sample name.",
                    path,
                    sample.line,
                    "sample",
                )
            )
            continue
        slots[sample.patient][slot] = sample
    return {patient: Patient(patient, **kinds) for patient, kinds in slots.items()}
