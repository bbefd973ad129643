"""The report's figures: which table each draws, its words, and what it says when empty."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ihdsi.report import figures
from ihdsi.report.inputs import ReportInputs
from ihdsi.report.tables import unit_suffix
from ihdsi.summaries.gene_alterations import COPY_NUMBER, PROMOTER
from ihdsi.summaries.mutation_burden import ALL_MUTATIONS, NONSYNONYMOUS, SHARE_PREFIX
from ihdsi.summaries.qc_profile import FAILED_LIMITS

__all__ = ["Figure", "all_figures", "write_figures"]

#: Assays of quality metrics in words.
_ASSAYS = {
    "dna": "DNA",
    "rna": "RNA",
    "protein": "proteins",
    "methylation": "methylation",
    "metabolite": "metabolites",
    "single_cell": "single cells",
}


@dataclass(frozen=True)
class Figure:
    """A chart with its words, or the sentence that stands in for it."""

    name: str
    title: str
    caption: str
    chart: figures.Drawing | None
    absence: str

    @property
    def description(self) -> str:
        """Alternative text."""
        return f"{self.title}. {self.caption}" if self.chart is not None else self.absence


def _words(identifier: str, label: str = "") -> str:
    return label or identifier.replace("_", " ")


def _sites(inputs: ReportInputs) -> str:
    count = len(inputs.releases)
    return "one site" if count == 1 else f"{count} sites"


def _withheld_bins(inputs: ReportInputs) -> str:
    if len(inputs.releases) <= figures.COLOURED_SITES:
        return "× marks a bin that a site withheld."
    return (
        "The sites' released counts are added up, so bins that sites withheld look smaller than "
        "they are."
    )


def all_figures(inputs: ReportInputs) -> dict[str, Figure]:
    """Build every figure of the study, by name; the names are those of the SVG files."""
    built = [
        _cohort(inputs),
        _quality_control(inputs),
        _alterations(inputs),
        _drivers(inputs),
        _mutation_burden(inputs),
        *(
            figure
            for contrast in inputs.study.contrasts
            for figure in _expression(inputs, contrast)
        ),
        *(
            _cell_composition(inputs, name)
            for name, contrast in inputs.study.contrasts.items()
            if contrast.variable in inputs.study.strata
        ),
        *(
            _matrix(inputs, assay, settings.modelled_unit, contrast)
            for assay, settings in inputs.study.matrices.items()
            for contrast in inputs.study.contrasts
        ),
        *(figure for endpoint in inputs.study.endpoints for figure in _survival(inputs, endpoint)),
    ]
    return {figure.name: figure for figure in built}


def write_figures(inputs: ReportInputs, folder: Path | str) -> None:
    """Write every figure as SVG; one without data holds the sentence that says why."""
    for figure in all_figures(inputs).values():
        chart = figure.chart if figure.chart is not None else figures.sentence(figure.absence)
        figures.save_svg(chart, Path(folder) / f"{figure.name}.svg")


def _cohort(inputs: ReportInputs) -> Figure:
    bins = {
        site: profile.filter(
            (pl.col("kind") == "bin") & (pl.col("stratum") == "all") & pl.col("n").is_not_null()
        )
        for site, profile in inputs.cohort_profile.items()
    }
    variables = inputs.study.clinical.variables
    titles = {
        name: f"{_words(name)}{unit_suffix(variable.unit)}" for name, variable in variables.items()
    }
    title = "Numeric characteristics of the cohorts"
    caption = (
        "Share of each site's patients with a known value, by the study's bins (lower edge "
        "included). " + _withheld_bins(inputs)
    )
    return Figure(
        "cohort",
        title,
        caption,
        figures.binned_histograms(bins, "variable", titles, "patients", f"{title}. {caption}"),
        "No site released a histogram of a numeric clinical variable.",
    )


def _quality_control(inputs: ReportInputs) -> Figure:
    metrics = inputs.study.quality_control
    titles = {name: f"{_words(name, m.label)}{unit_suffix(m.unit)}" for name, m in metrics.items()}
    # A panel holds one assay.
    failed = pl.col("metric") == FAILED_LIMITS
    profiles = {
        site: profile.filter(pl.col("n").is_not_null()).with_columns(
            metric=pl.when(failed)
            .then(pl.concat_str("assay", pl.lit("_"), "metric"))
            .otherwise("metric")
        )
        for site, profile in inputs.qc_profile.items()
    }
    titles |= {
        f"{assay}_{FAILED_LIMITS}": f"Limits that a sample of {words} fails (last: 3 on)"
        for assay, words in _ASSAYS.items()
    }
    title = "Quality control by site"
    shown = {name for profile in profiles.values() for name in profile["metric"]}
    absent = [_words(name, m.label) for name, m in metrics.items() if name not in shown]
    caption = "Share of each site's samples by the study's bins. " + _withheld_bins(inputs)
    if absent and shown:
        caption += (
            f" No site released: {'; '.join(absent)} (not measured, or too few samples to leave)."
        )
    return Figure(
        "quality_control",
        title,
        caption,
        figures.binned_histograms(profiles, "metric", titles, "samples", f"{title}. {caption}"),
        "No site released a quality-control histogram.",
    )


def _alterations(inputs: ReportInputs) -> Figure:
    anywhere = inputs.pooled_alterations.filter(
        (pl.col("alteration_class") == "any")
        & (pl.col("stratum") == "all")
        & (pl.col("n_altered") > 0)
    )
    tested = inputs.drivers.filter(pl.col("p_value").is_not_null() & (pl.col("n_altered") > 0))
    ranked = tested if tested.height else anywhere.sort("frequency", descending=True)
    # Genes that are altered mainly otherwise: TERT in its promoter, CCND1 in its copy number.
    otherwise = (
        inputs.pooled_alterations.filter(
            pl.col("alteration_class").is_in([PROMOTER, *COPY_NUMBER])
            & (pl.col("stratum") == "all")
            & (pl.col("n_altered") > 0)
        )
        .sort("frequency", descending=True)["gene_id"]
        .unique(maintain_order=True)
        .head(8)
    )
    genes = list(dict.fromkeys([*ranked["gene_id"].head(15), *otherwise]))
    title = "Somatic alterations by gene"
    caption = (
        f"Patients with a nonsynonymous alteration at {_sites(inputs)}, with Wilson 95 % "
        "intervals, and the mix of classes of small variants (a patient with two classes counts in "
        "both; hotspot: a recurrent change of the study's table; a gene without a bar has no class "
        "whose count could leave). Promoters have rows of their own, and no test of recurrence. "
        "Copy numbers, where released, are shares of the patients in whom they were measured. "
        "Genes in the order of "
        + ("their recurrence p-value" if tested.height else "their pooled frequency")
        + ", then those with other alterations."
    )
    return Figure(
        "alterations",
        title,
        caption,
        figures.alteration_dots(
            inputs.gene_alterations, inputs.pooled_alterations, genes, f"{title}. {caption}"
        ),
        "No site released somatic alterations of a gene.",
    )


def _drivers(inputs: ReportInputs) -> Figure:
    title = "Recurrence beyond the background mutation rate"
    caption = (
        "Observed share of patients with an altered gene against the share expected from the "
        "cohort's mean nonsynonymous burden and the gene's coding length; numbers are altered / "
        "assessed patients."
    )
    return Figure(
        "drivers",
        title,
        caption,
        figures.driver_recurrence(inputs.drivers, f"{title}. {caption}"),
        "Recurrence could not be tested: the alterations, the mutation burden or the coding "
        "lengths were not released.",
    )


def _mutation_burden(inputs: ReportInputs) -> Figure:
    settings = inputs.study.variants.signatures
    titles = {
        NONSYNONYMOUS: "protein-altering mutations per Mb",
        ALL_MUTATIONS: "all mutations per Mb",
    } | {
        f"{SHARE_PREFIX}{name}": f"share of {' + '.join(members)} ({_words(name)})"
        for name, members in settings.groups.items()
    }
    title = "Mutation burden and mutational signatures"
    caption = (
        "Mean over patients with Student's 95 % interval. Burden is per callable megabase; all "
        "mutations include synonymous and non-coding ones. Shares are of single-base "
        f"substitutions, in patients with at least {settings.minimum_mutations}, fitted to COSMIC "
        f"{settings.cosmic_version}."
    )
    return Figure(
        "mutation_burden",
        title,
        caption,
        figures.burden_means(inputs.mutation_burden, titles, f"{title}. {caption}"),
        "No site released a mutation burden or a signature share.",
    )


def _expression(inputs: ReportInputs, contrast: str) -> tuple[Figure, Figure]:
    spec = inputs.study.contrasts[contrast]
    pooled = inputs.pooled_expression.filter(pl.col("contrast") == contrast)
    effects = inputs.site_effects.filter(
        (pl.col("analysis") == "expression") & (pl.col("contrast") == contrast) & pl.col("used")
    )
    versus = f"{spec.case} over {spec.control}"
    absence = (
        f"No site released expression effects for the contrast {_words(contrast, spec.label)}, "
        "so there is nothing to pool."
    )
    axis = f"log₂ fold change ({versus})"
    rate = inputs.study.meta.false_discovery_rate
    title = f"Differential expression: {versus}"
    caption = (
        f"Each point is a gene, pooled over up to {_sites(inputs)}; the dashed line is the largest "
        f"p-value at a false discovery rate of {rate:g}."
    )
    top = pooled.head(inputs.study.biomarkers.report_genes)
    forest_title = f"Site effects of the leading genes: {versus}"
    forest_caption = (
        "Squares: sites with 95 % intervals, area by weight; diamond: pooled estimate and interval."
    )
    return (
        Figure(
            f"volcano_expression_{contrast}",
            title,
            caption,
            figures.volcano(pooled, f"pooled {axis}", rate, f"{title}. {caption}"),
            absence,
        ),
        Figure(
            f"forest_expression_{contrast}",
            forest_title,
            forest_caption,
            figures.forest(effects, top, axis, f"{forest_title}. {forest_caption}"),
            absence,
        ),
    )


def _cell_composition(inputs: ReportInputs, contrast: str) -> Figure:
    spec = inputs.study.contrasts[contrast]
    compared = inputs.composition_contrasts.filter(pl.col("contrast") == contrast)
    effects = inputs.site_effects.filter(
        (pl.col("analysis") == "cell_composition") & (pl.col("contrast") == contrast)
    )
    title = f"Shares of cell types: {spec.case} less {spec.control}"
    caption = (
        "Diamonds: difference in the mean share among a donor's cells, over the donors of up to "
        f"{_sites(inputs)}, with 95 % intervals; small points: each site's own difference. Cases "
        f"are {spec.case}, controls {spec.control}; one donor counts once, however many cells."
    )
    return Figure(
        f"cell_composition_{contrast}",
        title,
        caption,
        figures.composition_differences(
            compared,
            effects,
            f"difference in mean share, percentage points ({spec.case} − {spec.control})",
            f"{title}. {caption}",
        ),
        f"No site released shares of cell types for the contrast {_words(contrast, spec.label)}.",
    )


def _matrix(inputs: ReportInputs, assay: str, unit: str, contrast: str) -> Figure:
    spec = inputs.study.contrasts[contrast]
    pooled = inputs.matrices.filter((pl.col("assay") == assay) & (pl.col("contrast") == contrast))
    features = pooled.with_columns(
        effect="coefficient", gene_name="feature_name", gene_id="feature"
    )
    rate = inputs.study.meta.false_discovery_rate
    title = f"{assay.capitalize()}: {spec.case} less {spec.control}"
    caption = (
        f"Each point is a feature, fitted in the patients of up to {_sites(inputs)} in "
        "whom it was measured; the dashed line is the largest p-value at a false discovery rate "
        f"of {rate:g}."
    )
    return Figure(
        f"volcano_{assay}_{contrast}",
        title,
        caption,
        figures.volcano(
            features,
            f"difference, {unit} ({spec.case} − {spec.control})",
            rate,
            f"{title}. {caption}",
            of_genes=False,
        ),
        f"No site released features of {assay} matrices for the contrast "
        f"{_words(contrast, spec.label)}, so there is nothing to fit.",
    )


def _survival(inputs: ReportInputs, endpoint: str) -> tuple[Figure, Figure]:
    spec = inputs.study.endpoints[endpoint]
    pooled = inputs.pooled_survival.filter(pl.col("endpoint") == endpoint)
    effects = inputs.site_effects.filter(
        (pl.col("analysis") == "survival") & (pl.col("contrast") == endpoint) & pl.col("used")
    )
    words = _words(endpoint, spec.label)
    absence = f"No site released survival effects for {words}, so there is nothing to pool."
    rate = inputs.study.meta.false_discovery_rate
    title = f"Expression and {words}"
    caption = (
        "Cox regression with the study's covariates, per unit of log₂ CPM, pooled over up to "
        f"{_sites(inputs)}; a positive value means a shorter time to the event."
    )
    forest_title = f"Site effects of the leading genes: {words}"
    forest_caption = (
        "Hazard ratio per unit of log₂ CPM; squares: sites with 95 % intervals, area by weight; "
        "diamond: pooled estimate and interval."
    )
    top = pooled.head(max(1, inputs.study.biomarkers.report_genes // 2))
    return (
        Figure(
            f"volcano_survival_{endpoint}",
            title,
            caption,
            figures.volcano(
                pooled, "pooled log hazard ratio per unit of log₂ CPM", rate, f"{title}. {caption}"
            ),
            absence,
        ),
        Figure(
            f"forest_survival_{endpoint}",
            forest_title,
            forest_caption,
            figures.forest(
                effects,
                top,
                "hazard ratio",
                f"{forest_title}. {forest_caption}",
                exponentiate=True,
            ),
            absence,
        ),
    )
