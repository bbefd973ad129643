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
        lines += [f"    ! {sample.sample} skipped: {why}" for sample, why in patient.skipped]
    return "\n".join(lines)


def outline_cohort(cohort: Cohort, title: str = "") -> str:
    """Say the same in fewer lines: patients whose samples are treated alike share a block.

    Every patient is named once, under what happens to their samples; what is skipped is listed.
    """
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for patient in cohort.patients.values():
        key = tuple(_describe_sample(s, patient, named=False) for s in patient.samples)
        alike[key].append(patient.patient)
    lines = [_describe_totals(cohort, title)]
    for treatment, names in alike.items():
        lines.append(f"  {len(names)} patient{'s' if len(names) > 1 else ''}:")
        lines += [f"    - {text}" for text in treatment]
        lines += textwrap.wrap(
            ", ".join(names), 100, initial_indent="    ", subsequent_indent="    "
        )
    lines += [
        f"  ! {sample.sample} skipped: {why}"
        for patient in cohort.patients.values()
        for sample, why in patient.skipped
    ]
    return "\n".join(lines)


def _describe_totals(cohort: Cohort, title: str) -> str:
    skipped = sum(len(patient.skipped) for patient in cohort.patients.values())
    given = sum(map(len, (*cohort.somatic_vcfs.values(), *cohort.mafs.values())))
    return (
        f"Site {cohort.site}{f' ({title})' if title else ''}: {len(cohort.patients)} patients, "
        f"{len(cohort.samples)} samples, read from {cohort.sheet}\n"
        f"  tumour–normal pairs called from reads: {len(cohort.somatic_pairs)}; "
        f"tumours with given calls: {given}; "
        f"normals with given genotypes: {sum(map(len, cohort.germline_vcfs.values()))}; "
        f"RNA from reads: {len(cohort.quantified)}; "
        f"RNA from count matrices: {sum(map(len, cohort.count_matrices.values()))}; "
        f"skipped: {skipped}"
    )


def _describe_sample(sample: Sample, patient: Patient, named: bool = True) -> str:
    """Kind, origin and fate of a sample; without names, the same for all that are treated alike."""
    kind = f"{sample.tissue} {sample.assay.upper()}"
    label = {"counts": "count matrix"}.get(sample.entry, sample.entry.upper())
    if sample.entry == "fastq":
        names = ", ".join(lane.lane for lane in sample.lanes)
        origin = (
            f"FASTQ, lane {names}"
            if len(sample.lanes) == 1
            else f"FASTQ, {len(sample.lanes)} lanes merge ({names})"
        )
    else:
        origin = f"{label} {sample.path}" if named else label
        if sample.entry == "bam":
            origin += ", used as aligned"
        elif named and sample.name_in_file != sample.sample:
            origin += f", there named {sample.name_in_file}"
    return f"{kind} from {origin}{_fate(sample, patient, named)}"


def _fate(sample: Sample, patient: Patient, named: bool) -> str:
    if sample is patient.tumour_dna:
        if patient.somatic_calling and patient.normal_dna is not None:
            against = patient.normal_dna.sample if named else "the patient's normal"
            return f" → somatic calling against {against}"
        return " → somatic variants taken as given" if sample.entry in ("vcf", "maf") else ""
    if sample is patient.normal_dna:
        if patient.germline_calling:
            return " → germline calling"
        return " → germline genotypes taken as given" if sample.entry == "vcf" else ""
    if sample is patient.tumour_rna:
        return " → quantified by salmon" if sample.entry == "fastq" else " → counts taken as given"
    return ""
