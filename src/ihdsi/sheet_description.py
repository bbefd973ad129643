"""Say back how a sample sheet was understood, before anything runs."""

from __future__ import annotations

import textwrap
from collections import defaultdict

from ihdsi.cohort import Cohort, Patient, Sample

__all__ = ["describe_cohort", "outline_cohort"]


def describe_cohort(cohort: Cohort, title: str = "") -> str:
    """Say back, patient by patient, how a sample sheet was understood.

    Returns plain text: totals first, then one block a patient with each sample's entry point, the
    lanes that merge, the normal that a tumour is compared with, and what is skipped and why.
    """
    lines = [_describe_totals(cohort, title)]
    for patient in cohort.patients.values():
        lines.append(f"  {patient.patient}")
        lines += [
            f"    {sample.sample}: {_describe_sample(sample, patient)}"
            for sample in patient.samples
        ]
        lines += [f"    ! {sample.sample} {what}: {why}" for sample, what, why in _remarks(patient)]
    return "\n".join(lines)


def outline_cohort(cohort: Cohort, title: str = "") -> str:
    """Say the same in fewer lines: patients whose samples are treated alike share a block.

    Patients whose reads are processed are described one by one, with tumour, normal and lanes;
    those who enter with given calls and counts share a block, in which each is named.
    """
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for patient in cohort.patients.values():
        read = any(sample.has_reads for sample in patient.samples)
        key = tuple(
            f"{f'{sample.sample}: ' if read else ''}{_describe_sample(sample, patient, named=read)}"
            for sample in patient.samples
        )
        alike[key].append(patient.patient)
    lines = [_describe_totals(cohort, title)]
    for treatment, names in alike.items():
        alone = len(names) == 1
        lines.append(f"  {names[0]}:" if alone else f"  {len(names)} patients:")
        lines += [f"    - {text}" for text in treatment]
        if not alone:
            lines += textwrap.wrap(
                ", ".join(names), 100, initial_indent="    ", subsequent_indent="    "
            )
    lines += [
        f"  ! {sample.sample} {what}: {why}"
        for patient in cohort.patients.values()
        for sample, what, why in _remarks(patient)
    ]
    return "\n".join(lines)


def _remarks(patient: Patient) -> list[tuple[Sample, str, str]]:
    return [
        *((sample, "called without a normal", why) for sample, why in patient.cautions),
        *((sample, "skipped", why) for sample, why in patient.skipped),
    ]


def _describe_totals(cohort: Cohort, title: str) -> str:
    skipped = sum(len(patient.skipped) for patient in cohort.patients.values())
    given = sum(map(len, (*cohort.somatic_vcfs.values(), *cohort.mafs.values())))
    # Said only of sheets that have them.
    outputs = len(cohort.salmon_folders)
    from_salmon = f"RNA from salmon output: {outputs}; " if outputs else ""
    measured = {
        assay: sum(map(len, cohort.matrices(assay).values())) for assay in cohort.matrix_assays
    }
    return (
        f"Site {cohort.site}{f' ({title})' if title else ''}: {len(cohort.patients)} patients, "
        f"{len(cohort.samples)} samples, read from {cohort.sheet}\n"
        f"  tumour–normal pairs called from reads: {len(cohort.somatic_pairs)}; "
        f"tumours called without a normal: {len(cohort.tumour_only)}; "
        f"tumours with given calls: {given}; "
        f"normals with given genotypes: {sum(map(len, cohort.germline_vcfs.values()))}; "
        f"RNA from reads: {len(cohort.quantified)}; "
        f"RNA from count matrices: {sum(map(len, cohort.count_matrices.values()))}; "
        f"{from_salmon}{''.join(f'{assay} from matrices: {n}; ' for assay, n in measured.items())}"
        + (f"single cells: {len(cohort.cell_samples)}; " if cohort.has_cells else "")
        + f"skipped: {skipped}"
    )


def _describe_sample(sample: Sample, patient: Patient, named: bool = True) -> str:
    """Kind, origin and fate of a sample; without names, the same for all that are treated alike."""
    labels = {"counts": "count matrix", "salmon": "salmon output"}
    labels |= {"matrix": "matrix", "cells": "cells"}
    label = labels.get(sample.entry, sample.entry.upper())
    if sample.entry == "fastq":
        origin = _describe_lanes(sample)
    else:
        origin = f"{label} {sample.path}" if named else label
        if sample.entry == "bam":
            origin += ", aligned anew" if sample.realigned else ", used as aligned"
        elif named and sample.name_in_file not in ("", sample.sample):
            origin += f", there named {sample.name_in_file}"
    return f"{sample.kind} from {origin}{_fate(sample, patient)}"


def _describe_lanes(sample: Sample) -> str:
    origin = "FASTQ" if sample.is_paired else "single-end FASTQ"
    libraries = sample.libraries
    names = ", ".join(lane.name for lane in sample.lanes)
    if len(sample.lanes) == 1:
        origin += f", lane {names}"
    elif len(libraries) == 1:
        origin += f", {len(sample.lanes)} lanes merge ({names})"
    else:
        origin += f", {len(sample.lanes)} lanes of {len(libraries)} libraries merge ({names})"
    barcodes = dict.fromkeys(str(lane.umi) for lane in sample.lanes if lane.umi)
    return origin + (f", barcode in {', '.join(barcodes)}" if barcodes else "")


def _fate(sample: Sample, patient: Patient) -> str:
    if sample is patient.tumour_dna:
        if patient.somatic_calling and patient.normal_dna is not None:
            return f" → somatic calling against {patient.normal_dna.sample}"
        if patient.tumour_only_calling:
            return " → somatic calling without a normal"
        return " → somatic variants taken as given" if sample.entry in ("vcf", "maf") else ""
    if sample is patient.normal_dna:
        if patient.germline_calling:
            return " → germline calling"
        return " → germline genotypes taken as given" if sample.entry == "vcf" else ""
    if sample is patient.tumour_rna:
        fates = {"fastq": "quantified by salmon", "salmon": "transcripts summed to genes"}
        return f" → {fates.get(sample.entry, 'counts taken as given')}"
    if sample.entry == "matrix" and sample.tissue == "tumour":
        return " → values taken as given"
    if sample is patient.tumour_single_cell:
        return " → cell types"
    return ""
