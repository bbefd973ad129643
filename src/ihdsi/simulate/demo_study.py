"""All files of the demonstration study except the reads, from one seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.files import write_parquet, write_text, write_tsv
from ihdsi.simulate import cells as cell_model_settings
from ihdsi.simulate import cohort as cohort_model
from ihdsi.simulate import copy_number as copy_number_model
from ihdsi.simulate import expression as expression_model
from ihdsi.simulate import proteins as protein_model
from ihdsi.simulate import reads as reads_model
from ihdsi.simulate import variants as variant_model
from ihdsi.simulate.cells import (
    cell_donors,
    cell_effect_truth,
    cell_files,
    cell_model,
    cell_truth,
    composition_truth,
    read_cell_markers,
    share_truth,
    simulate_donor_cells,
    write_site_cells,
)
from ihdsi.simulate.cohort import DEMO_SITES, SiteDesign, simulate_patients
from ihdsi.simulate.copy_number import simulate_copy_number
from ihdsi.simulate.expression import expression_truth
from ihdsi.simulate.genome import (
    Genome,
    gene_list,
    read_gene_panel,
    simulate_genome,
    write_annotation,
    write_genome_fasta,
    write_targets,
)
from ihdsi.simulate.patients import Cohort, simulate_cohort
from ihdsi.simulate.proteins import plates_of, protein_matrix, protein_parameters
from ihdsi.simulate.variants import (
    DRIVERS,
    SomaticModel,
    hotspot_table,
    simulate_germline,
    simulate_population,
    simulate_somatic,
)
from ihdsi.simulate.vcf import germline_records, somatic_records, write_vcf

__all__ = ["simulate_demo_study", "simulated_files"]

TRUTH_FILES = (
    "genes.tsv",
    "somatic.parquet",
    "germline.parquet",
    "copy_number.parquet",
    "expression.parquet",
    "transcripts.parquet",
    "patients.parquet",
    "proteins.tsv",
    "cells.parquet",
    "cell_composition.tsv",
    "cell_shares.tsv",
    "cell_effects.tsv",
    "parameters.json",
)


def simulated_files(
    root: str, seed: int, sites: Sequence[SiteDesign] = DEMO_SITES
) -> dict[str, list[str]]:
    """Paths that `simulate_demo_study` writes below `root`, by kind.

    The seed decides who gives cells, and so the names of their files.

    Returns
    -------
    dict
        reference, truth, somatic_vcf, germline_vcf (both with their ``.tbi``), gene_counts,
        protein_matrix, plates, cells.
    """
    reference = ("genome.fa", "genome.fa.fai", "annotation.gff3", "targets.bed", "hotspots.tsv")
    somatic = [
        f"{root}/{design.site}/vcf/{patient}-T.somatic.vcf.gz"
        for design in sites
        for patient in design.table_patients
    ]
    germline = [f"{root}/{design.site}/vcf/{design.site}.germline.vcf.gz" for design in sites]
    patients = simulate_patients(seed, sites)
    return {
        "reference": [f"{root}/reference/{name}" for name in reference],
        "truth": [f"{root}/truth/{name}" for name in TRUTH_FILES],
        "somatic_vcf": somatic + [f"{path}.tbi" for path in somatic],
        "germline_vcf": germline + [f"{path}.tbi" for path in germline],
        "gene_counts": [f"{root}/{design.site}/gene_counts.tsv" for design in sites],
        "protein_matrix": [f"{root}/{design.site}/protein_matrix.tsv" for design in sites],
        "plates": [f"{root}/{design.site}/plates.tsv" for design in sites],
        "cells": [
            path
            for design in sites
            for path in cell_files(design, cell_donors(patients, design), f"{root}/{design.site}")
        ],
    }


def _gene_truth(genome: Genome, parameters: pl.DataFrame) -> pl.DataFrame:
    # Driver tests ask for coding changes beyond what the coding length explains.
    drivers = [driver.gene_name for driver in DRIVERS if not driver.promoter]
    return (
        genome.genes.select(
            "gene_id", "gene_name", "chromosome", "coding_length", "is_panel", "is_targeted", "role"
        )
        .with_columns(is_driver=pl.col("gene_name").is_in(drivers))
        .join(parameters.drop("gene_name"), on="gene_id", maintain_order="left")
    )


def _germline_truth(
    patients: pl.DataFrame, population: pl.DataFrame, genotypes: NDArray[np.bool_]
) -> pl.DataFrame:
    """Carried variants only: patient, variant, dosage, haplotype_1, haplotype_2."""
    row, variant = np.nonzero(genotypes.any(axis=2))
    carried = genotypes[row, variant]
    return pl.concat(
        [
            pl.DataFrame({"patient": patients["patient"].to_numpy()[row]}, {"patient": pl.String}),
            population.select(
                "chromosome", "position", "reference_allele", "alternate_allele", "kind"
            )[variant],
            pl.DataFrame(
                {
                    "dosage": carried.sum(axis=1),
                    "haplotype_1": carried[:, 0],
                    "haplotype_2": carried[:, 1],
                }
            ),
        ],
        how="horizontal",
    ).sort("patient", "chromosome", "position")


def _transcript_truth(genome: Genome) -> pl.DataFrame:
    """Transcripts with exons in the concatenated genome, in gene order."""
    exons = genome.features.filter(pl.col("kind") == "exon")
    return (
        exons.with_columns(
            exon_start=pl.Series(genome.in_concatenation(exons, "start")),
            exon_end=pl.Series(genome.in_concatenation(exons, "end")),
        )
        .group_by("transcript_id", "gene_index", maintain_order=True)
        .agg("exon_start", "exon_end")
        .join(genome.transcripts.select("transcript_id", "share"), on="transcript_id")
        .join(genome.genes.select("gene_index", "gene_id"), on="gene_index")
        .sort("gene_index", "transcript_id")
        .select("transcript_id", "gene_id", "share", "exon_start", "exon_end")
    )


def _effective_lengths(genome: Genome) -> NDArray[np.float64]:
    """Positions at which a mean fragment can start, averaged over the gene's molecules."""
    return (
        genome.transcripts.with_columns(
            effective=(pl.col("length") - reads_model.FRAGMENT_MEAN + 1).clip(lower_bound=1)
        )
        .group_by("gene_index")
        .agg((pl.col("effective") * pl.col("share")).sum())
        .sort("gene_index")["effective"]
        .to_numpy()
    )


def _constants(seed: int, sites: Sequence[SiteDesign]) -> str:
    """Return the models' settings as JSON: every upper-case number of their modules."""
    settings = {
        module.__name__.rpartition(".")[2]: {
            name.lower(): value
            for name, value in vars(module).items()
            if name.isupper() and isinstance(value, int | float | tuple | dict)
            if name not in ("DRIVERS", "DEMO_SITES", "COPY_NUMBER_SCHEMA", "SEX_CHROMOSOME_COPIES")
        }
        for module in (
            cell_model_settings,
            cohort_model,
            copy_number_model,
            expression_model,
            protein_model,
            variant_model,
            reads_model,
        )
    }
    document = {
        "seed": seed,
        "sites": {design.site: design.n_patients for design in sites},
        "drivers": [vars(driver) for driver in DRIVERS],
        **settings,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _write_site(
    design: SiteDesign,
    root: Path,
    seed: int,
    cohort: Cohort,
    somatic: pl.DataFrame,
    population: pl.DataFrame,
    genotypes: NDArray[np.bool_],
    model: SomaticModel,
) -> None:
    """VCFs and the count matrix of the patients who do not enter as FASTQ."""
    folder = root / design.site
    sex = dict(cohort.patients.select("patient", "sex").iter_rows())
    by_patient = somatic.partition_by("patient", as_dict=True)
    for patient in design.table_patients:
        own = by_patient.get((patient,), somatic.clear())
        write_vcf(
            somatic_records(seed, patient, own, model, sex[patient]),
            [f"{patient}-T", f"{patient}-N"],
            model.genome,
            folder / "vcf" / f"{patient}-T.somatic.vcf.gz",
        )
    rows = np.flatnonzero(cohort.patients["patient"].is_in(design.table_patients).to_numpy())
    on_target = model.in_target[population["global_position"].to_numpy()]
    write_vcf(
        germline_records(
            seed,
            design.table_patients,
            population.filter(pl.Series(on_target)),
            genotypes[rows][:, on_target],
            sex,
        ),
        [f"{patient}-N" for patient in design.table_patients],
        model.genome,
        folder / "vcf" / f"{design.site}.germline.vcf.gz",
    )
    counts = cohort.expression.fragments[rows]
    write_tsv(
        cohort.parameters.select("gene_id", "gene_name").with_columns(
            **{
                f"{patient}-R": pl.Series(counts[row])
                for row, patient in enumerate(design.table_patients)
            }
        ),
        folder / "gene_counts.tsv",
    )


def _write_cells(
    seed: int,
    root: Path,
    cohort: Cohort,
    markers: pl.DataFrame,
    sites: Sequence[SiteDesign],
) -> None:
    """Single cells of each site's donors, and their truth."""
    model = cell_model(seed, cohort.parameters, markers, sites)
    stages = dict(cohort.patients.select("patient", "stage_group").iter_rows())
    of_barcodes, everybody = [], []
    for design in sites:
        cells = [
            simulate_donor_cells(seed, donor, design.site, stages[donor], model)
            for donor in cell_donors(cohort.patients, design)
        ]
        write_site_cells(design, cells, model.genes, root / design.site)
        of_barcodes.append(cell_truth(design, cells))
        everybody += cells
    truth = root / "truth"
    write_parquet(pl.concat(of_barcodes), truth / "cells.parquet")
    write_tsv(composition_truth(), truth / "cell_composition.tsv")
    write_tsv(share_truth(model, everybody), truth / "cell_shares.tsv")
    write_tsv(cell_effect_truth(model), truth / "cell_effects.tsv")


def simulate_demo_study(
    seed: int,
    panel_path: Path | str,
    markers_path: Path | str,
    root: Path | str,
    sites: Sequence[SiteDesign] = DEMO_SITES,
) -> None:
    """Write reference, truth and all files but the reads; `simulated_files` lists them.

    Parameters
    ----------
    seed
        The study's seed; the same seed gives the same bytes.
    panel_path
        ``resources/bladder_gene_panel.tsv``.
    markers_path
        ``resources/cell_type_markers.tsv``.
    root
        ``results/<study>/simulated``.
    """
    root = Path(root)
    panel = read_gene_panel(panel_path)
    genes = gene_list(panel)
    genome = simulate_genome(seed, genes)
    cohort = simulate_cohort(seed, genes, sites)
    proteins = protein_parameters(seed, cohort.parameters, panel["gene_name"].to_list())
    population = simulate_population(seed, genome, sites)
    genotypes = simulate_germline(seed, cohort.patients, population)
    model = SomaticModel(seed, genome, population)
    copy_number = simulate_copy_number(seed, cohort.patients, genome)
    somatic = simulate_somatic(seed, cohort.patients, model, copy_number)

    reference, truth = root / "reference", root / "truth"
    write_genome_fasta(genome, reference / "genome.fa")
    write_annotation(genome, reference / "annotation.gff3")
    write_targets(genome, reference / "targets.bed")
    write_tsv(hotspot_table(model), reference / "hotspots.tsv")
    for design in sites:
        _write_site(design, root, seed, cohort, somatic, population, genotypes, model)
        write_tsv(
            protein_matrix(seed, design, cohort.patients, proteins),
            root / design.site / "protein_matrix.tsv",
        )
        write_tsv(
            plates_of(design, cohort.patients).drop("patient"), root / design.site / "plates.tsv"
        )
    _write_cells(seed, root, cohort, read_cell_markers(markers_path), sites)
    write_tsv(proteins, truth / "proteins.tsv")
    write_tsv(_gene_truth(genome, cohort.parameters), truth / "genes.tsv")
    write_parquet(somatic, truth / "somatic.parquet")
    write_parquet(copy_number, truth / "copy_number.parquet")
    write_parquet(
        _germline_truth(cohort.patients, population, genotypes), truth / "germline.parquet"
    )
    write_parquet(
        expression_truth(
            cohort.expression, cohort.patients, cohort.parameters, _effective_lengths(genome)
        ),
        truth / "expression.parquet",
    )
    write_parquet(_transcript_truth(genome), truth / "transcripts.parquet")
    write_parquet(cohort.patients, truth / "patients.parquet")
    write_text(_constants(seed, sites), truth / "parameters.json")
