"""A site's patients and samples as look-up tables, and what will be done with each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from ihdsi.umi import Umi

__all__ = ["MATRIX_ASSAYS", "Assay", "Cohort", "Entry", "Lane", "Patient", "Sample", "Tissue"]

Tissue = Literal["tumour", "normal"]
Assay = Literal["dna", "rna", "protein", "methylation", "metabolite", "single_cell"]
Entry = Literal["fastq", "bam", "vcf", "maf", "counts", "salmon", "matrix", "cells"]

#: Assays whose samples are columns of a quantitative matrix.
MATRIX_ASSAYS: tuple[Assay, ...] = ("protein", "methylation", "metabolite")


@dataclass(frozen=True)
class Lane:
    """The FASTQ files of one lane of one library of a sample; `fastq_2` is empty for single-end."""

    lane: str
    fastq_1: str
    fastq_2: str
    line: int
    sample: str
    library: str
    umi: Umi | None = None

    @property
    def name(self) -> str:
        """What tells the lane from the sample's others in file names and read groups.

        The library is named only where the sheet names it, so that a sample of one library has
        short names. Names hold no points, so the two forms cannot be mistaken.
        """
        return self.lane if self.library == self.sample else f"{self.library}.{self.lane}"

    @property
    def is_paired(self) -> bool:
        """Whether the reads have mates."""
        return bool(self.fastq_2)

    @property
    def trimmed(self) -> tuple[str, ...]:
        """The lane's trimmed reads, below the site's folder: first and second, or the only ones."""
        start = f"{self.sample}.{self.name}"
        if self.is_paired:
            return (f"reads/{start}.R1.fastq.gz", f"reads/{start}.R2.fastq.gz")
        return (f"single_reads/{start}.fastq.gz",)

    @property
    def report(self) -> str:
        """The report of the trimming, below the site's folder."""
        folder = "reads" if self.is_paired else "single_reads"
        return f"{folder}/{self.sample}.{self.name}.fastp.json"

    @property
    def read_group(self) -> str:
        r"""The lane's @RG line with ``\t`` written out, as aligners take it (SAM 1.6, section 1.3).

        ID is unique over samples, libraries and lanes; PU tells the lane and the library in it.
        """
        return (
            rf"@RG\tID:{self.sample}.{self.name}\tSM:{self.sample}\tLB:{self.library}"
            rf"\tPU:{self.library}.{self.lane}\tPL:ILLUMINA"
        )


@dataclass(frozen=True)
class Sample:
    """One sample, from exactly one entry point.

    `path` is the BAM (or CRAM), VCF, MAF, matrix, salmon folder or cells of a sample,
    `name_in_file` the sample's name inside it. Both are empty for FASTQ, which has `lanes`.
    `realigned` says that the reads of a given alignment are aligned anew; `cells_column` is the
    column of an h5ad file in which `name_in_file` stands.
    """

    patient: str
    sample: str
    tissue: Tissue
    assay: Assay
    entry: Entry
    line: int
    lanes: tuple[Lane, ...] = ()
    path: str = ""
    name_in_file: str = ""
    realigned: bool = False
    cells_column: str = ""

    @property
    def kind(self) -> str:
        """Tissue and assay in words."""
        words = {"dna": "DNA", "rna": "RNA", "single_cell": "single-cell"}
        return f"{self.tissue} {words.get(self.assay, self.assay)}"

    @property
    def has_reads(self) -> bool:
        """Whether the sample brings reads (rather than calls or counts)."""
        return self.entry in ("fastq", "bam")

    @property
    def is_paired(self) -> bool:
        """Whether the sample's FASTQ files are pairs."""
        return all(lane.is_paired for lane in self.lanes)

    @cached_property
    def libraries(self) -> dict[str, tuple[Lane, ...]]:
        """Lanes by library, in the sheet's order."""
        names = dict.fromkeys(lane.library for lane in self.lanes)
        return {name: tuple(n for n in self.lanes if n.library == name) for name in names}


@dataclass(frozen=True)
class Patient:
    """The samples of one patient and what will be done with them."""

    patient: str
    tumour_dna: Sample | None = None
    normal_dna: Sample | None = None
    tumour_rna: Sample | None = None
    normal_rna: Sample | None = None
    tumour_protein: Sample | None = None
    normal_protein: Sample | None = None
    tumour_methylation: Sample | None = None
    normal_methylation: Sample | None = None
    tumour_metabolite: Sample | None = None
    normal_metabolite: Sample | None = None
    tumour_single_cell: Sample | None = None
    normal_single_cell: Sample | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples that are present, tumour DNA first."""
        everything = (
            *(self.tumour_dna, self.normal_dna, self.tumour_rna, self.normal_rna),
            *(self.tumour_protein, self.normal_protein),
            *(self.tumour_methylation, self.normal_methylation),
            *(self.tumour_metabolite, self.normal_metabolite),
            *(self.tumour_single_cell, self.normal_single_cell),
        )
        return tuple(sample for sample in everything if sample is not None)

    @property
    def somatic_calling(self) -> bool:
        """Whether tumour and normal reads are both there, so that somatic variants are called."""
        return (
            self.tumour_dna is not None
            and self.normal_dna is not None
            and self.tumour_dna.has_reads
            and self.normal_dna.has_reads
        )

    @property
    def tumour_only_calling(self) -> bool:
        """Whether the tumour has reads and no normal reads stand beside it."""
        return (
            self.tumour_dna is not None and self.tumour_dna.has_reads and not self.somatic_calling
        )

    @property
    def germline_calling(self) -> bool:
        """Whether germline variants are called from the normal's reads."""
        return self.normal_dna is not None and self.normal_dna.has_reads

    @property
    def cautions(self) -> tuple[tuple[Sample, str], ...]:
        """Tumours that are called without a normal, with the reason."""
        if self.tumour_dna is None or not self.tumour_only_calling:
            return ()
        reason = (
            "the patient has no normal DNA sample"
            if self.normal_dna is None
            else f"the normal enters as {self.normal_dna.entry.upper()}, without reads"
        )
        return (
            (
                self.tumour_dna,
                f"{reason}; variants that are likely germline are marked",
            ),
        )

    @property
    def skipped(self) -> tuple[tuple[Sample, str], ...]:
        """Samples that reach no summary, with the reason."""
        skipped = []
        normal = self.normal_dna
        if normal is not None and normal.entry == "maf":
            skipped.append((normal, "a MAF holds somatic variants; nothing is read for a normal"))
        if self.normal_rna is not None:
            skipped.append((self.normal_rna, "normal RNA takes no part in the study's contrasts"))
        skipped += [
            (sample, "values of normal tissue take no part in the study's contrasts")
            for sample in self.samples
            if sample.entry == "matrix" and sample.tissue == "normal"
        ]
        if self.normal_single_cell is not None:
            skipped.append((self.normal_single_cell, "only the cells of tumours are summarised"))
        return tuple(skipped)


@dataclass(frozen=True)
class Cohort:
    """All samples of one site as look-up tables; parsed once, never searched."""

    site: str
    patients: Mapping[str, Patient]
    samples: Mapping[str, Sample]
    clinical: str | None = None
    codebook: str | None = None
    sheet: Path = field(default=Path())

    def alignment(self, sample: str) -> str:
        """File name of a sample's analysis-ready alignment, below the site's alignment folder."""
        found = self.samples[sample]
        if found.entry == "fastq":
            made = "merged" if len(found.libraries) > 1 else "markdup"
        else:
            made = "realigned" if found.realigned else "adopted"
        return f"{sample}.{made}.bam"

    @cached_property
    def lanes(self) -> dict[tuple[str, str], Lane]:
        """FASTQ files by sample and the lane's name."""
        return {
            (sample.sample, lane.name): lane
            for sample in self.samples.values()
            for lane in sample.lanes
        }

    def with_entry(self, assay: Assay, *entries: Entry) -> list[Sample]:
        """Return the samples of an assay that come in by one of `entries`."""
        return [s for s in self.samples.values() if s.assay == assay and s.entry in entries]

    @cached_property
    def aligned(self) -> list[Sample]:
        """DNA samples that have (or get) an alignment and therefore alignment QC."""
        return self.with_entry("dna", "fastq", "bam")

    @cached_property
    def newly_aligned(self) -> list[Sample]:
        """DNA samples whose reads the study's aligner sees."""
        return [s for s in self.aligned if s.entry == "fastq" or s.realigned]

    @cached_property
    def somatic_pairs(self) -> dict[str, Patient]:
        """Patients whose tumour and normal reads are compared."""
        return {p.patient: p for p in self.patients.values() if p.somatic_calling}

    @cached_property
    def tumour_only(self) -> dict[str, Patient]:
        """Patients whose tumour reads are called without a normal."""
        return {p.patient: p for p in self.patients.values() if p.tumour_only_calling}

    @cached_property
    def somatic_called(self) -> dict[str, Patient]:
        """Patients whose somatic variants are called from reads: pairs, then tumours alone."""
        return {**self.somatic_pairs, **self.tumour_only}

    def called_samples(self, patient: str) -> list[str]:
        """List what a patient's somatic variants are called from: the tumour, then any normal."""
        samples = (self.patients[patient].tumour_dna, self.patients[patient].normal_dna)
        return [sample.sample for sample in samples if sample is not None and sample.has_reads]

    def other_normals(self, patient: str) -> list[str]:
        """List the other patients whose normals have reads and so form a panel of normals."""
        return [name for name in self.germline_patients if name != patient]

    @cached_property
    def germline_patients(self) -> dict[str, Patient]:
        """Patients whose germline variants are called from reads."""
        return {p.patient: p for p in self.patients.values() if p.germline_calling}

    @cached_property
    def copy_number_patients(self) -> dict[str, Patient]:
        """Patients whose tumour DNA reads are there, so that their copy number is measured."""
        return {
            p.patient: p
            for p in self.patients.values()
            if p.tumour_dna is not None and p.tumour_dna.has_reads
        }

    @cached_property
    def copy_number_normals(self) -> list[Sample]:
        """Normals that a tumour's coverage is compared with; without any, a flat reference is."""
        return [s for s in self.aligned if s.tissue == "normal"]

    def _files(self, entry: Entry, tissue: Tissue, assay: Assay = "dna") -> dict[str, list[Sample]]:
        files: dict[str, list[Sample]] = defaultdict(list)
        for sample in self.samples.values():
            if sample.entry == entry and sample.tissue == tissue and sample.assay == assay:
                files[sample.path].append(sample)
        # The first patient names the call set, so that a file added later renames none.
        return {samples[0].patient: samples for samples in files.values()}

    @cached_property
    def somatic_vcfs(self) -> dict[str, list[Sample]]:
        """Given somatic VCF files: call set name to the samples read from the file."""
        return self._files("vcf", "tumour")

    @cached_property
    def germline_vcfs(self) -> dict[str, list[Sample]]:
        """Given germline VCF files: call set name to the samples read from the file."""
        return self._files("vcf", "normal")

    def given_call_sets(self, origin: str) -> dict[str, list[Sample]]:
        """Given VCF files by call set, sorted, of `origin` ``somatic`` or ``germline``."""
        files = self.somatic_vcfs if origin == "somatic" else self.germline_vcfs
        return dict(sorted(files.items()))

    @cached_property
    def germline_call_sets(self) -> dict[str, dict[str, str]]:
        """Samples of each germline call set by patient: ``joint`` (called here) and given files.

        The value is the sample's name in the given file, or the sample of the sheet.
        """
        joint = {name: p.normal_dna.sample for name, p in self.germline_patients.items()}  # type: ignore[union-attr]
        given = {
            f"given-{name}": {sample.patient: sample.name_in_file for sample in samples}
            for name, samples in self.germline_vcfs.items()
        }
        return {**({"joint": joint} if joint else {}), **given}

    def germline_files(self, call_set: str, folder: str = "") -> list[str]:
        """File of each sample of a germline call set: a given VCF, or an alignment in `folder`."""
        samples = self.germline_call_sets[call_set]
        if call_set == "joint":
            return [f"{folder}/{self.alignment(sample)}" for sample in samples.values()]
        given = self.germline_vcfs[call_set.removeprefix("given-")]
        return [sample.path for sample in given]

    @property
    def germline_assessed(self) -> list[str]:
        """Patients with germline genotypes: the samples of the merged germline call set."""
        return [patient for samples in self.germline_call_sets.values() for patient in samples]

    @cached_property
    def germline_coverage(self) -> dict[str, str]:
        """Patients whose reads tell what their calls leave unsaid, with the alignment's name.

        Calls leave nothing unsaid where all normals are called together.
        """
        if not (self.germline_patients and self.germline_vcfs):
            return {}
        return {
            patient: self.alignment(sample).removesuffix(".bam")
            for patient, sample in self.germline_call_sets["joint"].items()
        }

    @cached_property
    def mafs(self) -> dict[str, list[Sample]]:
        """Given MAF files: call set name to the samples read from the file."""
        return self._files("maf", "tumour")

    @cached_property
    def count_matrices(self) -> dict[str, list[Sample]]:
        """Given gene-count matrices of tumours."""
        return self._files("counts", "tumour", "rna")

    @cached_property
    def quantified(self) -> list[Sample]:
        """Tumour RNA samples quantified from reads."""
        return [s for s in self.with_entry("rna", "fastq") if s.tissue == "tumour"]

    @cached_property
    def salmon_folders(self) -> list[Sample]:
        """Tumour RNA samples that enter as a folder that salmon wrote."""
        return [s for s in self.with_entry("rna", "salmon") if s.tissue == "tumour"]

    def salmon_folder(self, sample: Sample, results: str) -> str:
        """Folder of a sample's salmon output: the given one, or where this site's `results` are."""
        return sample.path or f"{results}/expression/salmon/{sample.sample}"

    @property
    def transcripts_counted(self) -> list[Sample]:
        """Tumour RNA samples whose gene counts are sums over transcripts, made here or given."""
        return [*self.quantified, *self.salmon_folders]

    def matrices(self, assay: Assay) -> dict[str, list[Sample]]:
        """Given matrices of an assay: first patient to the tumours read from the file."""
        return self._files("matrix", "tumour", assay)

    @cached_property
    def matrix_assays(self) -> tuple[Assay, ...]:
        """Assays of which a matrix holds any tumour."""
        return tuple(assay for assay in MATRIX_ASSAYS if self.matrices(assay))

    @cached_property
    def cell_samples(self) -> dict[str, Sample]:
        """Single-cell samples of tumours, by name; those of normals are not read."""
        samples = self.with_entry("single_cell", "cells")
        return {sample.sample: sample for sample in samples if sample.tissue == "tumour"}

    @cached_property
    def cell_files(self) -> dict[tuple[str, str], list[Sample]]:
        """Single-cell samples of tumours by file and the file's column that names samples."""
        files: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        for sample in self.cell_samples.values():
            files[sample.path, sample.cells_column].append(sample)
        return dict(files)

    def listed_beside(self, sample: str) -> list[str]:
        """Names in the file of all the sheet's samples in a file of cells, for the first of them.

        The others of the same file and column have none, so that each file is answered for once.
        """
        first = self.cell_samples[sample]
        files = self.cell_files[first.path, first.cells_column]
        if files[0].sample != sample:
            return []
        place = (first.path, first.cells_column)
        return [
            other.name_in_file
            for other in self.with_entry("single_cell", "cells")
            if (other.path, other.cells_column) == place
        ]

    def sample_of(self, kind: str) -> dict[str, str]:
        """Patient to sample of a kind (``tumour_dna``, ``normal_dna``, ``tumour_rna``, …)."""
        return {
            name: sample.sample
            for name, patient in self.patients.items()
            if (sample := getattr(patient, kind)) is not None
        }

    @property
    def has_somatic(self) -> bool:
        """Whether any patient has a somatic call set."""
        return bool(self.somatic_called or self.somatic_vcfs or self.mafs)

    @property
    def has_copy_number(self) -> bool:
        """Whether the copy number of any tumour is measured."""
        return bool(self.copy_number_patients)

    @property
    def has_germline(self) -> bool:
        """Whether any patient has germline genotypes."""
        return bool(self.germline_patients or self.germline_vcfs)

    @property
    def has_expression(self) -> bool:
        """Whether any tumour has gene counts."""
        return bool(self.count_matrices or self.transcripts_counted)

    @property
    def has_cells(self) -> bool:
        """Whether any tumour has single cells."""
        return bool(self.cell_samples)

    @cached_property
    def alignments(self) -> list[str]:
        """File names of the analysis-ready alignments, without suffix."""
        return [self.alignment(s.sample).removesuffix(".bam") for s in self.aligned]

    @cached_property
    def processed(self) -> list[Sample]:
        """Samples whose reads the tools see, and which therefore have reports of those tools."""
        return [*self.aligned, *self.quantified]

    @property
    def is_measured(self) -> bool:
        """Whether the site has quality metrics of any assay."""
        genomic = bool(self.aligned) or self.has_somatic or self.has_germline
        return genomic or self.has_expression or bool(self.matrix_assays) or self.has_cells

    @cached_property
    def summary_tables(self) -> tuple[str, ...]:
        """Names of the summary tables that this site builds before disclosure control.

        `germline_gene_carriers` is not among them: disclosure control makes it.
        """
        comparable = self.has_expression and self.clinical is not None
        comparable_matrices = bool(self.matrix_assays) and self.clinical is not None
        measured = {
            "cohort_profile": self.clinical is not None,
            "qc_profile": self.is_measured,
            "variant_frequencies": self.has_germline,
            "gene_alterations": self.has_somatic,
            "mutation_burden": self.has_somatic,
            "expression_effects": comparable,
            "expression_design": comparable,
            "expression_moments": comparable,
            "matrix_design": comparable_matrices,
            "matrix_moments": comparable_matrices,
            "survival_effects": comparable,
            "survival_curve": self.clinical is not None,
            "cell_composition": self.has_cells,
            "cell_expression_effects": self.has_cells and self.clinical is not None,
        }
        return tuple(name for name, present in measured.items() if present)

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """Every string of the sheet that points at a person or at one of their files."""
        names: set[str] = set()
        for sample in self.samples.values():
            names |= {sample.patient, sample.sample, sample.name_in_file}
            names |= {Path(p).name for lane in sample.lanes for p in (lane.fastq_1, lane.fastq_2)}
            names |= set(sample.libraries)
            names.add(Path(sample.path).name)
        return frozenset(names - {""})
