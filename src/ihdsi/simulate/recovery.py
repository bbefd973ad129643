"""How much of the planted truth the pipeline finds again.

A share whose denominator is zero is None (null in JSON), never 0 or 1: a precision of nothing
called is not known. The counts behind each share stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

from ihdsi.simulate.cells import CELL, DOUBLET, DYING, EMPTY
from ihdsi.simulate.genome import read_targets
from ihdsi.study import SIGNATURE_PREFIX, SUBTYPE
from ihdsi.summaries.mutation_burden import ALL_MUTATIONS
from ihdsi.summaries.strata import ALL
from ihdsi.variants.regions import within_targets

__all__ = [
    "Truth",
    "burden_recovery",
    "cell_expression_recovery",
    "cell_recovery",
    "composition_recovery",
    "copy_number_recovery",
    "driver_recovery",
    "evaluate_recovery",
    "expression_effect_recovery",
    "expression_recovery",
    "format_recovery",
    "germline_recovery",
    "load_truth",
    "protein_recovery",
    "somatic_recovery",
    "subtype_recovery",
    "survival_recovery",
]

Number = float | int | None
VARIANT = ("patient", "chromosome", "position", "reference_allele", "alternate_allele")
LEVEL = 0.05
CLEAR_FRACTION = 0.10
#: Label, lower and upper edge of the bands of allele fraction.
FRACTION_BANDS = (
    ("below_05", 0.0, 0.05),
    ("05_to_075", 0.05, 0.075),
    ("075_to_10", 0.075, 0.10),
    ("10_to_20", 0.10, 0.20),
    ("from_20", 0.20, 1.01),
)


@dataclass(frozen=True)
class Truth:
    """What was planted.

    `patients` are those who entered as FASTQ, and the truth is of them. That of `tumours` is of all
    patients (patient, stage_group, and mutations, those that lie in targets), that of cells of all
    donors.
    """

    patients: list[str]
    tumours: pl.DataFrame
    targets: pl.DataFrame
    genes: pl.DataFrame
    somatic: pl.DataFrame
    germline: pl.DataFrame
    copy_number: pl.DataFrame
    expression: pl.DataFrame
    proteins: pl.DataFrame
    cells: pl.DataFrame
    cell_composition: pl.DataFrame
    cell_effects: pl.DataFrame


def load_truth(folder: Path | str, targets: Path | str) -> Truth:
    """Read the truth that `simulate_demo_study` wrote, for the patients who entered as FASTQ."""
    folder = Path(folder)

    def table(name: str) -> pl.DataFrame:
        return pl.read_csv(folder / name, separator="\t", infer_schema_length=None)

    everybody = pl.read_parquet(folder / "patients.parquet")
    names = everybody.filter(pl.col("entry") == "fastq")["patient"].to_list()
    bed = read_targets(targets)
    own = pl.col("patient").is_in(names)
    somatic = pl.read_parquet(folder / "somatic.parquet")
    mutations = within_targets(somatic, bed).group_by("patient").agg(mutations=pl.len())
    return Truth(
        patients=names,
        tumours=everybody.select("patient", "stage_group")
        .join(mutations, on="patient", how="left", maintain_order="left")
        .with_columns(pl.col("mutations").fill_null(0)),
        targets=bed,
        genes=table("genes.tsv"),
        somatic=somatic.filter(own),
        germline=within_targets(pl.read_parquet(folder / "germline.parquet").filter(own), bed),
        copy_number=pl.read_parquet(folder / "copy_number.parquet").filter(own),
        expression=pl.read_parquet(folder / "expression.parquet").filter(own),
        proteins=table("proteins.tsv"),
        cells=pl.read_parquet(folder / "cells.parquet"),
        cell_composition=table("cell_composition.tsv"),
        cell_effects=table("cell_effects.tsv"),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _f1(precision: float | None, recall: float | None) -> float | None:
    if precision is None or recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _is_snv() -> pl.Expr:
    return (pl.col("reference_allele").str.len_bytes() == 1) & (
        pl.col("alternate_allele").str.len_bytes() == 1
    )


def _detection(
    name: str, truth: pl.DataFrame, called: pl.DataFrame, keys: Sequence[str] = VARIANT
) -> dict[str, Number]:
    """Precision, recall and F1 of called variants, with the numbers behind them."""
    found = called.join(truth, on=list(keys), how="semi").height
    precision, recall = _share(found, called.height), _share(found, truth.height)
    return {
        f"{name}_precision": precision,
        f"{name}_recall": recall,
        f"{name}_f1": _f1(precision, recall),
        f"{name}_truth_n": truth.height,
        f"{name}_called_n": called.height,
        f"{name}_found_n": found,
    }


def somatic_recovery(
    truth: pl.DataFrame, variants: pl.DataFrame, patients: Sequence[str], targets: pl.DataFrame
) -> dict[str, Number]:
    """Compare somatic calls with the planted variants, patient by patient and allele by allele.

    Parameters
    ----------
    truth
        `VARIANT` columns and allele_fraction.
    variants
        Pooled `somatic_variants` of the sites (`VARIANT` columns, allele_fraction as observed);
        rows of one variant in several genes count once.
    patients
        Patients to assess (those who entered as FASTQ).
    targets
        Regions outside which calls are left out.

    Returns
    -------
    dict
        somatic_{snv,indel}_{precision,recall,f1,truth_n,called_n,found_n} of all variants; the
        same with the suffix _af10 from an allele fraction of 10 % on (recall of variants planted
        there, precision of variants observed there); recall by band of the planted fraction
        (somatic_recall_af_*); somatic_false_per_megabase, over the patients' target bases.
    """
    called = within_targets(
        variants.filter(pl.col("patient").is_in(list(patients)))
        .select(*VARIANT, "allele_fraction")
        .unique(VARIANT),
        targets,
    )
    megabases = targets.select((pl.col("end") - pl.col("start")).sum()).item() / 1e6 * len(patients)
    false = called.join(truth, on=VARIANT, how="anti").height
    result: dict[str, Number] = {}
    for name, kind in (("somatic_snv", _is_snv()), ("somatic_indel", ~_is_snv())):
        own_truth, own_calls = truth.filter(kind), called.filter(kind)
        result |= _detection(name, own_truth, own_calls)
        result |= _clear_detection(name, own_truth, own_calls)
    for label, low, high in FRACTION_BANDS:
        planted = truth.filter(pl.col("allele_fraction").is_between(low, high, closed="left"))
        found = planted.join(called, on=VARIANT, how="semi").height
        result[f"somatic_recall_af_{label}"] = _share(found, planted.height)
        result[f"somatic_recall_af_{label}_truth_n"] = planted.height
    return result | {
        "somatic_false_n": false,
        "somatic_false_per_megabase": false / megabases if megabases else None,
    }


def _clear_detection(name: str, truth: pl.DataFrame, called: pl.DataFrame) -> dict[str, Number]:
    """Precision, recall and F1 from `CLEAR_FRACTION` on, as planted (recall) and as seen."""
    clear = pl.col("allele_fraction") >= CLEAR_FRACTION
    planted, seen = truth.filter(clear), called.filter(clear)
    recall = _share(planted.join(called, on=VARIANT, how="semi").height, planted.height)
    precision = _share(seen.join(truth, on=VARIANT, how="semi").height, seen.height)
    return {
        f"{name}_precision_af10": precision,
        f"{name}_recall_af10": recall,
        f"{name}_f1_af10": _f1(precision, recall),
        f"{name}_recall_af10_truth_n": planted.height,
    }


def germline_recovery(
    truth: pl.DataFrame, genotypes: pl.DataFrame, patients: Sequence[str], targets: pl.DataFrame
) -> dict[str, Number]:
    """Compare germline carriers with the truth, and their genotypes where both have one.

    Parameters
    ----------
    truth
        `VARIANT` columns and dosage (1 or 2) of carried variants within targets.
    genotypes
        Genotypes of all sites (`read_genotypes`): `VARIANT` columns and allele_dosage.

    Returns
    -------
    dict
        germline_{precision,recall,f1,truth_n,called_n,found_n} of carried variants and
        germline_genotype_concordance, the share of found variants with the true dosage.
    """
    carried = within_targets(
        genotypes.filter(pl.col("patient").is_in(list(patients)) & (pl.col("allele_dosage") > 0))
        .select(*VARIANT, "allele_dosage")
        .unique(VARIANT),
        targets,
    )
    both = carried.join(truth.select(*VARIANT, "dosage"), on=VARIANT)
    same = both.filter(pl.col("allele_dosage") == pl.col("dosage")).height
    return {
        **_detection("germline", truth, carried),
        "germline_genotype_concordance": _share(same, both.height),
    }


def copy_number_recovery(
    truth: pl.DataFrame, genes: pl.DataFrame, patients: Sequence[str]
) -> dict[str, Number]:
    """Compare genes called gained or lost with the planted ones, patient by patient.

    A gain and an amplification are alike here, and a loss and a deletion: without the purity, a
    ratio does not tell one copy in all cells from several in some.

    Parameters
    ----------
    truth
        patient, gene_id, copy_number_class of the altered genes.
    genes
        Pooled `copy_number_genes` of the sites: patient, gene_id, copy_number_class.

    Returns
    -------
    dict
        copy_number_{precision,recall,f1,truth_n,called_n,found_n}. A planted gene that was not
        assessed is not found.
    """
    direction = {"gain": "gained", "amplification": "gained", "loss": "lost", "deletion": "lost"}
    planted, called = (
        table.select(
            "patient",
            "gene_id",
            direction=pl.col("copy_number_class").replace_strict(
                direction, default=None, return_dtype=pl.String
            ),
        )
        .drop_nulls("direction")
        .filter(pl.col("patient").is_in(list(patients)))
        for table in (truth, genes)
    )
    return _detection("copy_number", planted, called, ("patient", "gene_id", "direction"))


def expression_recovery(
    truth: pl.DataFrame, counts: Sequence[pl.DataFrame], patients: Sequence[str]
) -> dict[str, Number]:
    """Rank correlation of gene counts with the simulated abundance, over patients.

    Parameters
    ----------
    truth
        patient, gene_id, abundance (of the tumour), true_fragments (drawn from it).
    counts
        `gene_counts` of each site: gene_id, gene_name and a column per patient.

    Returns
    -------
    dict
        expression_spearman (against abundance, mean over patients), expression_spearman_minimum,
        expression_count_spearman (against the fragments that were drawn, which leaves out their
        sampling noise), expression_patients_n. A gene without a count is counted as zero.
    """
    correlations: dict[str, list[float]] = {"abundance": [], "true_fragments": []}
    for matrix in counts:
        present = [patient for patient in patients if patient in matrix.columns]
        measured = matrix.select("gene_id", *present).unpivot(
            index="gene_id", variable_name="patient", value_name="count"
        )
        pairs = truth.filter(pl.col("patient").is_in(present)).join(
            measured, on=["patient", "gene_id"], how="left"
        )
        for _, rows in sorted(pairs.partition_by("patient", as_dict=True).items()):
            for column, values in correlations.items():
                correlation = stats.spearmanr(rows[column], rows["count"].fill_null(0))
                if np.isfinite(correlation.statistic):
                    values.append(float(correlation.statistic))
    against_abundance, against_fragments = correlations.values()
    return {
        "expression_spearman": _mean(against_abundance),
        "expression_spearman_minimum": min(against_abundance, default=None),
        "expression_count_spearman": _mean(against_fragments),
        "expression_patients_n": len(against_abundance),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def expression_effect_recovery(
    genes: pl.DataFrame, effects: pl.DataFrame, contrast: str
) -> dict[str, Number]:
    """Compare pooled differential expression with the planted effects.

    Genes whose effect differs between sites have no common truth and are left out on both sides.

    Parameters
    ----------
    genes
        gene_id, is_differential, site_specific, log2_fold_change.
    effects
        contrast, gene_id, effect, fdr.

    Returns
    -------
    dict
        de_power_at_fdr5 (share of differential genes called), de_false_discovery (share of called
        genes that are null), de_sign_agreement (share of differential genes called whose sign is
        right), de_truth_n, de_called_n, de_found_n.
    """
    assessed = genes.filter(~pl.col("site_specific"))
    called = (
        effects.filter((pl.col("contrast") == contrast) & (pl.col("fdr") <= LEVEL))
        .select("gene_id", "effect")
        .join(assessed.select("gene_id", "is_differential", "log2_fold_change"), on="gene_id")
    )
    planted = assessed.filter("is_differential").height
    found = called.filter("is_differential")
    agreeing = found.filter(pl.col("effect").sign() == pl.col("log2_fold_change").sign()).height
    return {
        "de_power_at_fdr5": _share(found.height, planted),
        "de_false_discovery": _share(called.height - found.height, called.height),
        "de_sign_agreement": _share(agreeing, found.height),
        "de_truth_n": planted,
        "de_called_n": called.height,
        "de_found_n": found.height,
    }


def protein_recovery(
    proteins: pl.DataFrame, pooled: pl.DataFrame, contrast: str
) -> dict[str, Number]:
    """Compare the pooled linear model of proteins with the planted differences.

    Parameters
    ----------
    proteins
        feature, log2_difference (0 where nothing is planted).
    pooled
        `matrix_linear_model`: assay, contrast, feature, coefficient, fdr.

    Returns
    -------
    dict
        protein_power_at_fdr5 (share of planted proteins called, of those whose values left the
        sites), protein_false_discovery (share of called proteins that are null),
        protein_sign_agreement, protein_mean_absolute_error (of the coefficient, log2 units),
        protein_truth_n (planted), protein_released_n (all that were pooled),
        protein_planted_released_n, protein_called_n, protein_found_n. A protein with a pattern of
        missing values of its own does not leave a site (disclosure control), which is why released
        and simulated proteins are told apart.
    """
    released = pooled.filter(assay="protein", contrast=contrast).join(
        proteins.select("feature", "log2_difference"), on="feature"
    )
    return _difference_recovery(
        "protein",
        proteins["log2_difference"],
        released.select(estimate="coefficient", truth="log2_difference", fdr="fdr"),
    )


def _difference_recovery(
    name: str, planted: pl.Series, released: pl.DataFrame
) -> dict[str, Number]:
    """Compare pooled differences with the planted ones.

    Parameters
    ----------
    name
        Beginning of the keys.
    planted
        All planted differences; 0 where there is none.
    released
        estimate, truth and fdr of what was pooled.
    """
    is_planted = pl.col("truth") != 0
    called = released.filter(pl.col("fdr") <= LEVEL)
    found = called.filter(is_planted)
    agreeing = found.filter(pl.col("estimate").sign() == pl.col("truth").sign()).height
    planted_released = released.filter(is_planted).height
    errors = released.select((pl.col("estimate") - pl.col("truth")).abs())
    return {
        f"{name}_power_at_fdr5": _share(found.height, planted_released),
        f"{name}_false_discovery": _share(called.height - found.height, called.height),
        f"{name}_sign_agreement": _share(agreeing, found.height),
        f"{name}_mean_absolute_error": _mean(errors.to_series().drop_nulls().to_list()),
        f"{name}_truth_n": int((planted != 0).sum()),
        f"{name}_released_n": released.height,
        f"{name}_planted_released_n": planted_released,
        f"{name}_called_n": called.height,
        f"{name}_found_n": found.height,
    }


def cell_recovery(truth: pl.DataFrame, cells: pl.DataFrame) -> dict[str, Number]:
    """Compare the cells that passed, and their types, with what the barcodes are.

    Parameters
    ----------
    truth
        cell, kind (cell, doublet, dying, empty) and cell_type of every barcode.
    cells
        Pooled `single_cell/cells.parquet` of the sites: cell and cell_type of those that passed.

    Returns
    -------
    dict
        cell_type_accuracy (share of healthy single cells that passed and are named rightly: a cell
        that was left out, or is unassigned, is not), cell_passed_share and cell_truth_n of these;
        cell_{empty,dying,doublet}_found (share left out) and _truth_n.
    """
    judged = truth.join(
        cells.select("cell", found="cell_type"), on="cell", how="left", maintain_order="left"
    )
    healthy = judged.filter(kind=CELL)
    passed = healthy.drop_nulls("found")
    right = passed.filter(pl.col("found") == pl.col("cell_type")).height
    result: dict[str, Number] = {
        "cell_type_accuracy": _share(right, healthy.height),
        "cell_passed_share": _share(passed.height, healthy.height),
        "cell_truth_n": healthy.height,
    }
    for kind in (EMPTY, DYING, DOUBLET):
        barcodes = judged.filter(kind=kind)
        left_out = barcodes["found"].null_count()
        result[f"cell_{kind}_found"] = _share(left_out, barcodes.height)
        result[f"cell_{kind}_truth_n"] = barcodes.height
    return result


def composition_recovery(
    composition: pl.DataFrame, contrasts: pl.DataFrame, contrast: str
) -> dict[str, Number]:
    """Compare pooled differences of cell types' shares with the expected ones.

    Parameters
    ----------
    composition
        cell_type and difference (expected share in cases less that in controls; 0 where none is
        planted).
    contrasts
        Pooled `cell_composition_contrasts`: contrast, cell_type, difference, fdr. Of a type that
        nobody simulated, or of unassigned cells, no difference is expected.

    Returns
    -------
    dict
        composition_power_at_fdr5 (share of planted types called, of those that were pooled),
        composition_false_discovery (share of called types that are null),
        composition_sign_agreement, composition_mean_absolute_error (of the difference, as a share
        of the cells), composition_truth_n (planted), composition_released_n,
        composition_planted_released_n, composition_called_n, composition_found_n.
    """
    released = contrasts.filter(contrast=contrast).join(
        composition.select("cell_type", truth="difference"), on="cell_type", how="left"
    )
    return _difference_recovery(
        "composition",
        composition["difference"],
        released.select(estimate="difference", truth=pl.col("truth").fill_null(0.0), fdr="fdr"),
    )


def cell_expression_recovery(
    truth: pl.DataFrame, effects: pl.DataFrame, contrast: str
) -> dict[str, Number]:
    """Compare pooled effects within cell types with the planted ones.

    Parameters
    ----------
    truth
        cell_type, gene_id and log2_fold_change of every simulated type and gene; 0 where nothing is
        planted.
    effects
        Pooled `cell_expression_effects`: cell_type, contrast, gene_id, effect, fdr (within cell
        type and contrast). In a type that nobody simulated no effect is expected.

    Returns
    -------
    dict
        As of `composition_recovery`, beginning with cell_expression_, a pair of type and gene being
        the unit and the error that of the log2 fold change; and cell_expression_types_n, types of
        which any effect was pooled. Effects of a type that few donors have do not leave a site
        (disclosure control), which is why released and simulated pairs are told apart.
    """
    released = effects.filter(contrast=contrast).join(
        truth.select("cell_type", "gene_id", truth="log2_fold_change"),
        on=["cell_type", "gene_id"],
        how="left",
    )
    return {
        **_difference_recovery(
            "cell_expression",
            truth["log2_fold_change"],
            released.select(estimate="effect", truth=pl.col("truth").fill_null(0.0), fdr="fdr"),
        ),
        "cell_expression_types_n": released["cell_type"].n_unique(),
    }


def survival_recovery(
    genes: pl.DataFrame, effects: pl.DataFrame, endpoint: str
) -> dict[str, Number]:
    """Count planted prognostic genes that the pooled Cox models find, with the right sign.

    Genes that differ between stage groups are truly associated with survival through stage, so
    they are given as a number of their own; all others found are false discoveries.
    """
    planted = genes.filter(pl.col("survival_log_hazard_ratio") != 0)
    significant = effects.filter((pl.col("endpoint") == endpoint) & (pl.col("fdr") <= LEVEL))
    found = significant.join(planted, on="gene_id").filter(
        pl.col("effect").sign() == pl.col("survival_log_hazard_ratio").sign()
    )
    other = significant.join(planted, on="gene_id", how="anti").join(
        genes.select("gene_id", "is_differential", "site_specific"), on="gene_id"
    )
    differs = pl.col("is_differential") | pl.col("site_specific")
    return {
        "survival_genes_found": found["gene_id"].n_unique(),
        "survival_genes_planted": planted.height,
        "survival_genes_through_stage": other.filter(differs)["gene_id"].n_unique(),
        "survival_false_discoveries": other.filter(~differs)["gene_id"].n_unique(),
    }


def driver_recovery(genes: pl.DataFrame, drivers: pl.DataFrame) -> dict[str, Number]:
    """Count planted driver genes that are found, and the genes found that are not drivers."""
    planted = genes.filter("is_driver")
    significant = drivers.filter(pl.col("fdr") <= LEVEL).unique("gene_id")
    found = significant.join(planted, on="gene_id", how="semi").height
    return {
        "driver_genes_found": found,
        "driver_genes_planted": planted.height,
        "driver_false_discoveries": significant.height - found,
    }


def burden_recovery(
    tumours: pl.DataFrame, targets: pl.DataFrame, burden: pl.DataFrame
) -> dict[str, Number]:
    """Compare the pooled mean of mutations per megabase with that of the planted ones.

    Parameters
    ----------
    tumours
        patient and mutations, those planted in targets.
    targets
        Regions in which mutations count.
    burden
        Pooled `mutation_burden`: measure, stratum, site (null for all together), mean.

    Returns
    -------
    dict
        burden_truth_mean and burden_pooled_mean (1/Mb, over all patients), burden_relative_error
        (of the pooled mean; below 0 where mutations were missed).
    """
    megabases = targets.select((pl.col("end") - pl.col("start")).sum()).item() / 1e6
    true = _mean((tumours["mutations"] / megabases).to_list()) if megabases else None
    together = burden.filter(pl.col("site").is_null(), measure=ALL_MUTATIONS, stratum=ALL)["mean"]
    pooled = together[0] if together.len() else None
    return {
        "burden_truth_mean": true,
        "burden_pooled_mean": pooled,
        "burden_relative_error": pooled / true - 1 if true and pooled is not None else None,
    }


def subtype_recovery(tumours: pl.DataFrame, profiles: Sequence[pl.DataFrame]) -> dict[str, Number]:
    """See whether the marker-based subtypes follow what is planted in their markers.

    No tumour has a subtype as its truth. What is planted is that markers of luminal differentiation
    are lower, and basal ones higher, in muscle-invasive tumours.

    Parameters
    ----------
    tumours
        patient and stage_group.
    profiles
        `expression_profile` of each site: patient, molecular_subtype, signature_luminal,
        signature_basal.

    Returns
    -------
    dict
        subtype_direction_auc (how often a muscle-invasive tumour has a higher basal score, less the
        luminal one, than another tumour of its site; 0.5 if nothing was found) and
        subtype_pairs_n, the pairs that were compared; subtype_direction_agreement (share of tumours
        called luminal or basal that are called as their stage group is shifted) and
        subtype_called_n. Tumours around the middle may truly go against their group.
    """
    higher, pairs, agreeing, called = 0.0, 0, 0, 0
    for profile in profiles:
        own = profile.join(tumours, on="patient").with_columns(
            invasive=pl.col("stage_group") == "MIBC",
            basality=pl.col(f"{SIGNATURE_PREFIX}basal") - pl.col(f"{SIGNATURE_PREFIX}luminal"),
        )
        scored = own.drop_nulls("basality")
        cases, others = (
            scored.filter(pl.col("invasive") == side)["basality"].to_numpy()
            for side in (True, False)
        )
        apart = cases[:, None] - others[None, :]
        higher += float((apart > 0).sum() + (apart == 0).sum() / 2)
        pairs += apart.size
        calls = own.filter(pl.col(SUBTYPE).is_in(["luminal", "basal"]))
        agreeing += calls.filter((pl.col(SUBTYPE) == "basal") == pl.col("invasive")).height
        called += calls.height
    return {
        "subtype_direction_auc": higher / pairs if pairs else None,
        "subtype_pairs_n": pairs,
        "subtype_direction_agreement": _share(agreeing, called),
        "subtype_called_n": called,
    }


def evaluate_recovery(
    truth: Truth,
    *,
    somatic_variants: Sequence[pl.DataFrame],
    germline_genotypes: Sequence[pl.DataFrame],
    copy_number_genes: Sequence[pl.DataFrame],
    gene_counts: Sequence[pl.DataFrame],
    expression_effects: pl.DataFrame,
    survival_effects: pl.DataFrame,
    driver_genes: pl.DataFrame,
    matrix_linear_model: pl.DataFrame,
    expression_profiles: Sequence[pl.DataFrame],
    mutation_burden: pl.DataFrame,
    cells: Sequence[pl.DataFrame],
    cell_composition_contrasts: pl.DataFrame,
    cell_expression_effects: pl.DataFrame,
    contrast: str,
    endpoint: str,
) -> dict[str, Number]:
    """Compare all outputs with the truth.

    Parameters
    ----------
    truth
        Result of `load_truth`.
    somatic_variants, germline_genotypes, copy_number_genes, gene_counts
        Patient-level tables, one of each site; germline_genotypes by `read_genotypes`.
    expression_profiles, cells
        Such tables as well.
    expression_effects, survival_effects, driver_genes, matrix_linear_model, mutation_burden
        Pooled tables.
    cell_composition_contrasts, cell_expression_effects
        Pooled tables.
    contrast, endpoint
        The contrast that carries the planted effects, and the survival endpoint.

    Returns
    -------
    dict
        Flat, JSON-ready; None where a share is not defined.
    """
    alike = (
        pl.col("position").cast(pl.Int64),
        pl.col("reference_allele", "alternate_allele").str.to_uppercase(),
    )
    somatic = pl.concat(
        [
            table.select(*VARIANT, "allele_fraction").with_columns(*alike)
            for table in somatic_variants
        ],
        how="vertical_relaxed",
    )
    germline = pl.concat(
        [
            table.select(*VARIANT, "allele_dosage").with_columns(*alike)
            for table in germline_genotypes
        ],
        how="vertical_relaxed",
    )
    return {
        "patients_fastq": len(truth.patients),
        **somatic_recovery(truth.somatic, somatic, truth.patients, truth.targets),
        **germline_recovery(truth.germline, germline, truth.patients, truth.targets),
        **copy_number_recovery(truth.copy_number, pl.concat(copy_number_genes), truth.patients),
        **expression_recovery(truth.expression, gene_counts, truth.patients),
        **expression_effect_recovery(truth.genes, expression_effects, contrast),
        **survival_recovery(truth.genes, survival_effects, endpoint),
        **driver_recovery(truth.genes, driver_genes),
        **protein_recovery(truth.proteins, matrix_linear_model, contrast),
        **subtype_recovery(truth.tumours, expression_profiles),
        **burden_recovery(truth.tumours, truth.targets, mutation_burden),
        **cell_recovery(truth.cells, pl.concat(cells)),
        **composition_recovery(truth.cell_composition, cell_composition_contrasts, contrast),
        **cell_expression_recovery(truth.cell_effects, cell_expression_effects, contrast),
    }


def format_recovery(recovery: Mapping[str, Number]) -> str:
    """Render the result as a table of two columns; shares that are not defined are a dash."""
    width = max(map(len, recovery))
    return "\n".join(
        f"{name:<{width}}  "
        + ("-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value))
        for name, value in recovery.items()
    )
