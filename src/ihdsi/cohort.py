"""A site's patients and samples as look-up tables, and what will be done with each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

__all__ = ["Assay", "Cohort", "Entry", "Lane", "Patient", "Sample", "Tissue"]

Tissue = Literal["tumour", "normal"]
Assay = Literal["dna", "rna"]
Entry = Literal["fastq", "bam", "vcf", "maf", "counts"]


@dataclass(frozen=True)
class Lane:
    """One pair of FASTQ files of a sample."""

    lane: str
    fastq_1: str
    fastq_2: str
    line: int


@dataclass(frozen=True)
class Sample:
    """One sample, from exactly one entry point.

    `path` is the BAM, VCF, MAF or count matrix of an entry that is a file, `name_in_file` the
    sample's name inside it. Both are empty for FASTQ, which has `lanes`.
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

    @property
    def has_reads(self) -> bool:
        """Whether the sample brings reads (rather than calls or counts)."""
        return self.entry in ("fastq", "bam")


@dataclass(frozen=True)
class Patient:
    """The samples of one patient and what will be done with them."""

    patient: str
    tumour_dna: Sample | None = None
    normal_dna: Sample | None = None
    tumour_rna: Sample | None = None
    normal_rna: Sample | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples that are present, tumour DNA first."""
        everything = (self.tumour_dna, self.normal_dna, self.tumour_rna, self.normal_rna)
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
    def germline_calling(self) -> bool:
        """Whether germline variants are called from the normal's reads."""
        return self.normal_dna is not None and self.normal_dna.has_reads

    @property
    def skipped(self) -> tuple[tuple[Sample, str], ...]:
        """Samples that reach no summary, with the reason."""
        skipped = []
        tumour, normal = self.tumour_dna, self.normal_dna
        if tumour is not None and tumour.has_reads and not self.somatic_calling:
            reason = (
                "the patient has no normal DNA sample"
                if normal is None
                else f"the normal enters as {normal.entry.upper()}, without reads"
            )
            skipped.append((tumour, f"no somatic calling: {reason}; alignment QC only"))
        if normal is not None and normal.entry == "maf":
            skipped.append((normal, "a MAF holds somatic variants; nothing is read for a normal"))
        if self.normal_rna is not None:
            skipped.append((self.normal_rna, "normal RNA takes no part in the study's contrasts"))
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
        entry = self.samples[sample].entry
        return f"{sample}.{'markdup' if entry == 'fastq' else 'adopted'}.bam"

    @cached_property
    def lanes(self) -> dict[tuple[str, str], Lane]:
        """FASTQ pairs by (sample, lane)."""
        return {
            (sample.sample, lane.lane): lane
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
    def somatic_pairs(self) -> dict[str, Patient]:
        """Patients whose tumour and normal reads are compared."""
        return {p.patient: p for p in self.patients.values() if p.somatic_calling}

    @cached_property
    def germline_patients(self) -> dict[str, Patient]:
        """Patients whose germline variants are called from reads."""
        return {p.patient: p for p in self.patients.values() if p.germline_calling}

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
        return bool(self.somatic_pairs or self.somatic_vcfs or self.mafs)

    @property
    def has_germline(self) -> bool:
        """Whether any patient has germline genotypes."""
        return bool(self.germline_patients or self.germline_vcfs)

    @property
    def has_expression(self) -> bool:
        """Whether any tumour has gene counts."""
        return bool(self.count_matrices or self.quantified)

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
        return bool(self.aligned) or self.has_somatic or self.has_germline or self.has_expression

    @cached_property
    def summary_tables(self) -> tuple[str, ...]:
        """Names of the summary tables for which this site has data."""
        comparable = self.has_expression and self.clinical is not None
        measured = {
            "cohort_profile": self.clinical is not None,
            "qc_profile": self.is_measured,
            "variant_frequencies": self.has_germline,
            "gene_alterations": self.has_somatic,
            "mutation_burden": self.has_somatic,
            "expression_effects": comparable,
            "expression_design": comparable,
            "expression_moments": comparable,
            "survival_effects": comparable,
        }
        return tuple(name for name, present in measured.items() if present)

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """Every string of the sheet that points at a person or at one of their files."""
        names: set[str] = set()
        for sample in self.samples.values():
            names |= {sample.patient, sample.sample, sample.name_in_file}
            names |= {Path(p).name for lane in sample.lanes for p in (lane.fastq_1, lane.fastq_2)}
            names.add(Path(sample.path).name)
        return frozenset(names - {""})
