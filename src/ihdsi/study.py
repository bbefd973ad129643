"""Typed study, site and run configuration: the protocol, the hospital and the machine."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    model_validator,
)

from ihdsi.cohort import Assay
from ihdsi.disclosure_terms import PRESETS, PresetName
from ihdsi.errors import InputError, Problem
from ihdsi.yaml_documents import (
    expand_variables,
    line_of_key,
    load_document,
    validate_document,
)

__all__ = [
    "SIGNATURE_PREFIX",
    "SUBTYPE",
    "UNASSIGNED",
    "AlignmentSettings",
    "BiomarkerSettings",
    "ClinicalDictionary",
    "ClinicalVariable",
    "Contrast",
    "CopyNumberSettings",
    "DisclosureOverrides",
    "DisclosureSettings",
    "Endpoint",
    "ExpressionSettings",
    "GermlineFilters",
    "IntakeSettings",
    "MatrixSettings",
    "MetaSettings",
    "QualityMetric",
    "Reference",
    "ReferenceFiles",
    "ReleaseSettings",
    "RunConfig",
    "SampleChecks",
    "SexCheck",
    "SignatureConstants",
    "SignatureSettings",
    "Simulation",
    "SingleCellSettings",
    "Site",
    "SomaticFilters",
    "Study",
    "Tier",
    "VariantSettings",
    "load_run",
    "load_site",
    "load_study",
    "study_hash",
]

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
LocalPath = Annotated[str, StringConstraints(min_length=1), AfterValidator(expand_variables)]
Share = Annotated[float, Field(gt=0, le=1)]
MatrixAssay = Literal["protein", "methylation", "metabolite"]

#: Variables of the cohort profile that are computed from expression: the marker-based subtype, its
#: level where none is clear, and what begins the names of signature scores.
SUBTYPE, UNASSIGNED, SIGNATURE_PREFIX = "molecular_subtype", "unassigned", "signature_"


class _Document(BaseModel):
    """Unknown keys are refused, because a misspelt threshold must not fall back to a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Simulation(_Document):
    """How a simulated study is made."""

    seed: int = Field(ge=0, description="Seed of every random number of the simulated cohort.")


class ReferenceFiles(_Document):
    """Reference files. Paths are this machine's; they are no part of the study hash."""

    genome: LocalPath | None = Field(None, description="FASTA of the genome.")
    annotation: LocalPath | None = Field(None, description="GFF3 in Ensembl's form.")
    targets: LocalPath | None = Field(
        None, description="BED of the sequenced regions; without it the whole genome is called."
    )
    transcripts: LocalPath | None = Field(
        None, description="FASTA of transcripts; without it, extracted from the annotation."
    )
    transcript_to_gene: LocalPath | None = Field(
        None,
        description="TSV with transcript_id, gene_id, gene_name; without it, read from the "
        "annotation; without both, every transcript counts as its own feature.",
    )
    gene_catalogue: LocalPath | None = Field(
        None,
        description="TSV with gene_id, gene_name and optionally coding_length: the genes that "
        "the summaries report; without it, all genes of the annotation.",
    )
    common_sites: LocalPath | None = Field(
        None,
        description="VCF of common SNVs with INFO/AF, for identity and contamination; without it, "
        "the site's own germline SNVs.",
    )
    germline_resource: LocalPath | None = Field(
        None, description="VCF of population variants with INFO/AF, for example gnomAD."
    )
    panel_of_normals: LocalPath | None = Field(
        None, description="VCF of alleles seen in normals elsewhere; somatic calls of them fail."
    )
    clinvar: LocalPath | None = Field(None, description="VCF of ClinVar with INFO/CLNSIG.")
    hotspots: LocalPath | None = Field(
        None, description="TSV of hotspots; without it, resources/hotspots.tsv."
    )

    @property
    def paths(self) -> dict[str, str]:
        """The files that are given, by key."""
        keys = ReferenceFiles.model_fields
        return {key: value for key in keys if (value := getattr(self, key)) is not None}


class Reference(ReferenceFiles):
    """Reference genome and annotation. The name and the checksums are shared by all sites."""

    name: str = Field(description="Name of the build; bundles made on another build are refused.")
    sha256: dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict,
        description="SHA-256 of the files above by key; part of the study hash.",
    )


class ClinicalVariable(_Document):
    """One variable of the study's clinical data dictionary."""

    type: Literal["categorical", "number"]
    levels: tuple[str, ...] = Field((), description="The study's codes of a categorical variable.")
    unit: str | None = Field(None, description="UCUM unit of a number.")
    minimum: float | None = None
    maximum: float | None = None
    bins: tuple[float, ...] = Field((), description="Edges of the histogram that may be released.")
    required: bool = Field(False, description="Every site must map this variable.")
    description: str = ""

    @model_validator(mode="after")
    def _complete(self) -> ClinicalVariable:
        if self.type == "categorical" and len(self.levels) < 2:
            raise ValueError("a categorical variable needs at least two levels")
        if len(set(self.levels)) != len(self.levels):
            raise ValueError("a level occurs twice")
        if self.type == "number" and not self.unit:
            raise ValueError("a number needs a UCUM unit ('1' when it has none)")
        if any(left >= right for left, right in pairwise(self.bins)):
            raise ValueError("bins must increase")
        return self


class ClinicalDictionary(_Document):
    """The variables that all sites harmonise to."""

    variables: dict[Identifier, ClinicalVariable]


class Contrast(_Document):
    """A comparison of two groups of patients."""

    variable: str
    case: str
    control: str
    covariates: tuple[str, ...] = ()
    label: str = Field("", description="What the comparison is, in words, for the report.")


class Endpoint(_Document):
    """A time-to-event outcome."""

    time: str = Field(description="Numeric clinical variable, in days.")
    event: str = Field(description="Categorical clinical variable with the levels yes and no.")
    covariates: tuple[str, ...] = ()
    label: str = ""
    curve_bins: tuple[float, ...] = Field(
        (), description="Edges in days, from 0, of the survival curve that may be released."
    )

    @model_validator(mode="after")
    def _increasing(self) -> Endpoint:
        if self.curve_bins and (len(self.curve_bins) < 2 or self.curve_bins[0] != 0):
            raise ValueError("curve_bins must begin with 0 and have at least two edges")
        if any(left >= right for left, right in pairwise(self.curve_bins)):
            raise ValueError("curve_bins must increase")
        return self


class DifferentialPrivacy(_Document):
    """Random noise on the counts of some tables, and how much of it suffices."""

    epsilon: float = Field(gt=0, description="Privacy loss of one release, over all its tables.")
    budget: float = Field(
        gt=0, description="Privacy loss of all releases of a site together; they add up."
    )
    tables: tuple[Literal["gene_alterations", "variant_frequencies"], ...] = Field(
        min_length=1, description="Tables whose counts get noise."
    )

    @model_validator(mode="after")
    def _affordable(self) -> DifferentialPrivacy:
        if self.epsilon > self.budget:
            raise ValueError("epsilon exceeds the budget, so that nothing could be released")
        if len(set(self.tables)) != len(self.tables):
            raise ValueError("a table occurs twice in 'tables'")
        return self


def _with_preset(document: Any) -> Any:  # noqa: ANN401 - not validated yet
    """Fill in the values of the preset that a document names, where it gives none of its own."""
    if not isinstance(document, dict) or not isinstance(document.get("preset"), str):
        return document
    preset = PRESETS.get(document["preset"])  # type: ignore[call-overload]  # may be unknown
    return document if preset is None else {**preset.values, **document}


class DisclosureSettings(_Document):
    """Thresholds below which nothing leaves a site."""

    preset: PresetName = Field(
        "ihdsi",
        exclude=True,  # what counts is the values: in the study hash and wherever else they stand
        description="Values of the keys of this section that are not given.",
    )
    minimum_n: PositiveInt = Field(
        10, description="Smallest number of patients behind a statistic."
    )
    minimum_cell_count: PositiveInt = Field(5, description="Smallest count in a released cell.")
    zero_cells_allowed: bool = Field(False, description="Whether a count of zero may leave.")
    maximum_parameter_share: Share = Field(
        0.2, description="Most model parameters per patient (or per event, for survival)."
    )
    maximum_contribution: Share = Field(
        0.5,
        description="Most that one patient may contribute to a mean, to a feature's squared "
        "deviations, and to what a numeric covariate varies.",
    )

    minimum_residual_degrees_of_freedom: NonNegativeInt = Field(
        10, description="Fewest patients (events, for survival) in excess of model parameters."
    )
    dominance_n: PositiveInt = Field(
        2, description="Number of patients who may together not contribute dominance_k of a sum."
    )
    dominance_k: Share = Field(
        0.9, description="Share that dominance_n patients may not reach; 1 turns the rule off."
    )
    p_ratio: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Least sum of all but the two largest values, relative to the largest; 0 "
        "turns the rule off.",
    )
    maximum_levels_density: Share = Field(
        0.33, description="Most levels of a categorical variable per patient."
    )
    maximum_membership_power: Share = Field(
        0.10,
        description="Largest predicted power of a membership attack on the released germline "
        "frequencies; so many of them leave that it is kept.",
    )
    membership_false_positive_rate: float = Field(
        0.05, gt=0, le=0.5, description="False positives that the membership attack accepts."
    )
    stratified_frequencies: bool = Field(
        False,
        description="Whether germline frequencies leave by stratum as well; whole cohort and "
        "strata then share the limit of the power.",
    )
    differential_privacy: DifferentialPrivacy | None = Field(
        None, description="Random noise on counts; without it there is none."
    )

    _preset = model_validator(mode="before")(_with_preset)


class DisclosureOverrides(_Document):
    """A site's own thresholds; each may only be stricter than the study's."""

    preset: PresetName | None = Field(
        None,
        exclude=True,
        description="Values of the keys of this section that are not given.",
    )
    minimum_n: PositiveInt | None = None
    minimum_cell_count: PositiveInt | None = None
    zero_cells_allowed: bool | None = None
    maximum_parameter_share: Share | None = None
    maximum_contribution: Share | None = None

    minimum_residual_degrees_of_freedom: NonNegativeInt | None = None
    dominance_n: PositiveInt | None = None
    dominance_k: Share | None = None
    p_ratio: float | None = Field(None, ge=0, le=1)
    maximum_levels_density: Share | None = None
    maximum_membership_power: Share | None = None
    stratified_frequencies: bool | None = None
    differential_privacy: DifferentialPrivacy | None = None

    _preset = model_validator(mode="before")(_with_preset)


class QualityMetric(_Document):
    """Limits and histogram of one quality metric."""

    assay: Assay
    unit: str
    minimum: float | None = Field(None, description="A sample below fails.")
    maximum: float | None = Field(None, description="A sample above fails.")
    warn_minimum: float | None = Field(None, description="A sample below gets a warning.")
    warn_maximum: float | None = Field(None, description="A sample above gets a warning.")
    bins: tuple[float, ...] = Field(min_length=2)
    label: str = ""

    @property
    def warns(self) -> bool:
        """Whether a value can get a warning."""
        return self.warn_minimum is not None or self.warn_maximum is not None

    @model_validator(mode="after")
    def _increasing(self) -> QualityMetric:
        if any(left >= right for left, right in pairwise(self.bins)):
            raise ValueError("bins must increase")
        names = ("minimum", "warn_minimum", "warn_maximum", "maximum")
        given = [(name, limit) for name in names if (limit := getattr(self, name)) is not None]
        for (low_name, low), (high_name, high) in pairwise(given):
            if low > high:
                raise ValueError(f"{low_name} must not exceed {high_name}")
        return self


class AlignmentSettings(_Document):
    """How reads are aligned."""

    aligner: Literal["bwa", "bwa-mem2", "minimap2"] = Field(
        "bwa", description="The program; see ihdsi.alignment.aligners."
    )


class SexCheck(_Document):
    """How the sex seen in the coverage is compared with the clinical table."""

    variable: str = Field(description="Categorical clinical variable of the sex at birth.")
    female: str = Field(description="Its level for two X chromosomes.")
    male: str = Field(description="Its level for X and Y.")
    minimum_female_x_ratio: float = Field(
        0.75, gt=0, description="Least coverage of X relative to the autosomes with two X."
    )
    maximum_male_x_ratio: float = Field(
        0.7, gt=0, description="Most coverage of X relative to the autosomes with one X."
    )
    minimum_male_y_ratio: float = Field(
        0.1, gt=0, description="Least coverage of Y relative to the autosomes with a Y."
    )
    minimum_xist_expression: float = Field(
        2, gt=0, description="Counts per million of XIST with two X, in RNA."
    )
    minimum_y_expression: float = Field(
        5, gt=0, description="Counts per million of four genes of Y together with a Y, in RNA."
    )


class SampleChecks(_Document):
    """How samples are compared with each other and with the clinical table."""

    sex: SexCheck | None = Field(None, description="Without it the sex is not judged.")
    minimum_site_frequency: float = Field(
        0.1, ge=0, le=1, description="Least allele frequency of a common site."
    )
    maximum_site_frequency: float = Field(
        0.9, ge=0, le=1, description="Largest allele frequency of a common site."
    )
    maximum_sites: PositiveInt = Field(5000, description="Most common sites, evenly spread.")
    minimum_sites: PositiveInt = Field(
        20, description="Fewest homozygous sites behind a concordance or a contamination."
    )
    minimum_depth: PositiveInt = Field(8, description="Fewest reads behind a genotype.")
    minimum_homozygous_depth: PositiveInt = Field(
        20, description="Fewest reads behind a homozygous site that tells contamination."
    )
    minimum_base_quality: int = Field(20, ge=0, description="Phred of a base that counts.")
    minimum_mapping_quality: int = Field(20, ge=0, description="Of a read that counts.")
    same_person_percent: float = Field(
        90, ge=0, le=100, description="Concordance from which two samples are of one person."
    )
    artefact_reads: PositiveInt = Field(
        100_000, description="Most reads that are looked at for oxidation and deamination."
    )


class SomaticFilters(_Document):
    """Limits of somatic calling and filtering; see ihdsi.variants.somatic_filters for the model."""

    caller_fraction: Share = Field(
        0.02, description="Fraction of alternate reads from which the caller proposes an allele."
    )
    caller_alternate_depth: PositiveInt = Field(
        3, description="Alternate reads from which the caller proposes an allele."
    )
    caller_mapping_quality: int = Field(20, ge=0, description="Reads below are not looked at.")
    caller_base_quality: int = Field(15, ge=0, description="Bases below are not looked at.")
    minimum_tumour_lod: float = Field(
        6.3, description="log10 odds of variant against error (Cibulskis et al. 2013)."
    )
    minimum_normal_lod: float = Field(
        2.3, description="log10 odds of reference against heterozygous in the normal."
    )
    minimum_normal_lod_known: float = Field(
        5.5, description="The same at known germline alleles (MuTect's rule for dbSNP)."
    )
    known_germline_frequency: float = Field(
        0.001, ge=0, le=1, description="Population frequency from which an allele is known."
    )
    maximum_normal_fraction: float = Field(0.02, ge=0, le=1)
    maximum_normal_ratio: float = Field(
        0.1, ge=0, le=1, description="Fraction in the normal relative to the tumour's."
    )
    minimum_depth: PositiveInt = Field(15, description="Reads in tumour and in normal.")
    minimum_alternate_depth: PositiveInt = 4
    minimum_allele_fraction: float = Field(0.03, ge=0, le=1)
    minimum_base_quality: float = Field(20, ge=0, description="Mean Phred of alternate bases.")
    minimum_mapping_quality: float = Field(30, ge=0, description="Mean of alternate reads.")
    minimum_strand_p_value: float = Field(
        0.001, ge=0, le=1, description="Fisher's exact test of strand by allele."
    )
    minimum_end_distance: float = Field(
        5, ge=0, description="Median bases between the allele and the nearer end of its reads."
    )
    minimum_slippage_units: PositiveInt = Field(
        8, description="Repeat units from which an indel of them may be polymerase slippage."
    )
    slippage_rate: float = Field(
        0.05, gt=0, lt=1, description="Share of molecules in which it may slip there."
    )
    minimum_panel_normals: PositiveInt = Field(
        2, description="Other normals of the site that show the allele, at least so many."
    )
    minimum_panel_share: float = Field(
        0.05, ge=0, le=1, description="And at least this share of them."
    )
    minimum_shared_reads: float = Field(
        0.7,
        gt=0.5,
        le=1,
        description="Of the reads with either of two neighbouring substitutions, those with both.",
    )
    somatic_prior: float = Field(
        3e-6, gt=0, lt=1, description="Somatic variants a base (Cibulskis et al. 2013)."
    )
    unlisted_population_frequency: float = Field(
        1e-6, gt=0, lt=1, description="Of an allele that the germline resource does not hold."
    )
    heterozygosity: float = Field(
        0.001,
        gt=0,
        lt=1,
        description="Heterozygous germline variants a base; used without a germline resource.",
    )
    maximum_germline_lod: float = Field(
        0.0, description="log10 odds of germline against somatic, for tumours without a normal."
    )


class GermlineFilters(_Document):
    """How germline variants are called and which of them count.

    See ihdsi.variants.germline_filters for the hard filters and their sources.
    """

    caller: Literal["bcftools", "freebayes"] = Field(
        "bcftools", description="Joint caller of the normals that bring reads."
    )
    minimum_read_mapping_quality: int = Field(
        20, ge=0, description="Reads below are not seen by the caller."
    )
    minimum_base_quality: int = Field(
        20, ge=0, description="Bases below are not seen by the caller."
    )
    maximum_depth: PositiveInt = Field(
        2000, description="Reads of one sample that bcftools looks at, at one position."
    )
    minimum_quality: float = Field(30, ge=0, description="Phred-scaled QUAL of the variant.")
    minimum_mapping_quality: float = Field(
        40, ge=0, description="Mean of the reads (bcftools) or the alternate reads (freebayes)."
    )
    maximum_bias: float = Field(
        3.5,
        ge=0,
        description="z of rank tests of alternate against reference reads (bcftools); the limit "
        "widens with depth.",
    )
    maximum_strand_bias: float = Field(
        60, ge=0, description="Phred-scaled p of strand by allele in most carriers (bcftools)."
    )
    minimum_indel_fraction: float = Field(
        0.1, ge=0, le=1, description="Reads with the indel in the sample that has most (bcftools)."
    )
    minimum_quality_per_read: float = Field(
        10, ge=0, description="QUAL per alternate read (freebayes)."
    )
    minimum_strand_reads: int = Field(
        1, ge=0, description="Alternate reads on each strand (freebayes)."
    )
    minimum_side_reads: int = Field(
        2, ge=0, description="Alternate reads placed to each side of the variant (freebayes)."
    )
    minimum_depth: PositiveInt = Field(10, description="Reads behind a genotype.")
    minimum_genotype_quality: float = Field(20, ge=0)
    callable_depth: PositiveInt = Field(
        20, description="Coverage from which a site without a variant counts as reference."
    )
    minimum_call_rate: float = Field(
        0.9, ge=0, le=1, description="Patients of the site with a genotype."
    )
    minimum_hardy_weinberg_p_value: float = Field(
        1e-6, ge=0, le=1, description="Exact test over the site's patients, on autosomes."
    )


class SignatureSettings(_Document):
    """Which mutational signatures tumours are fitted to; see ihdsi.variants.signatures."""

    signatures: tuple[Annotated[str, StringConstraints(pattern=r"^SBS\d+[a-z]?$")], ...] = Field(
        # Those that were found in urothelial carcinoma (Alexandrov et al. 2020, Nature 578:94,
        # figure 3, Bladder-TCC); version 3.4 has split SBS40, whose part a is the common one.
        ("SBS1", "SBS2", "SBS5", "SBS8", "SBS13", "SBS29", "SBS40a"),
        min_length=1,
        description="COSMIC signatures that may contribute.",
    )
    groups: dict[Identifier, tuple[str, ...]] = Field(
        default={"apobec": ("SBS2", "SBS13"), "clock_like": ("SBS1", "SBS5")},
        description="Signatures whose shares are added up and summarised.",
    )
    cosmic_version: Literal["3", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6"] = "3.4"
    build: Literal["GRCh37", "GRCh38"] = Field(
        "GRCh38", description="Build whose trinucleotides COSMIC's signatures refer to."
    )
    opportunities: Literal["targets", "exome", "genome"] = Field(
        "targets", description="Whose trinucleotides the signatures are rescaled to."
    )
    estimator: Literal["least_squares", "maximum_likelihood"] = Field(
        "least_squares", description="How exposures are fitted where every context is known."
    )
    minimum_mutations: PositiveInt = Field(
        20, description="Single-base substitutions that a patient needs for an estimate."
    )

    @model_validator(mode="after")
    def _consistent(self) -> SignatureSettings:
        if len(set(self.signatures)) != len(self.signatures):
            raise ValueError("a signature is listed twice")
        for name, members in self.groups.items():
            absent = [member for member in members if member not in self.signatures]
            if absent:
                raise ValueError(f"groups.{name} names {absent[0]}, which is not in signatures")
            if not members or len(set(members)) != len(members):
                raise ValueError(f"groups.{name} must name signatures, each once")
        return self


class CopyNumberSettings(_Document):
    """How copy number is measured and called; see ihdsi.variants.copy_number.

    The defaults are those of CNVkit 0.9 (Talevich et al. 2016), where it has one.
    """

    target_bin_size: PositiveInt = Field(
        267, description="Mean size in bp of the bins that targets are split into."
    )
    off_target_bin_size: NonNegativeInt = Field(
        150_000,
        description="Mean size in bp of the bins between targets; 0 for amplicons, which have no "
        "reads there.",
    )
    genome_bin_size: PositiveInt = Field(
        2000, description="Size in bp of the bins of a genome, where there are no targets."
    )
    segmentation: Literal["haar", "cbs", "hmm-tumor"] = Field(
        "haar", description="How bins are joined to segments; cbs needs R with DNAcopy."
    )
    minimum_bins: PositiveInt = Field(3, description="Bins without which a gene is not assessed.")
    focal_p_value: Share = Field(
        0.001,
        description="p-value up to which a gene differs from its segments and is called from its "
        "own bins.",
    )
    deletion_threshold: float = Field(-1.1, description="log2 ratio up to which: deletion.")
    loss_threshold: float = Field(-0.25, description="log2 ratio up to which: loss.")
    gain_threshold: float = Field(0.2, description="log2 ratio above which: gain.")
    amplification_threshold: float = Field(
        0.7, description="log2 ratio above which: amplification."
    )

    @model_validator(mode="after")
    def _ordered(self) -> CopyNumberSettings:
        thresholds = (
            self.deletion_threshold,
            self.loss_threshold,
            0.0,
            self.gain_threshold,
            self.amplification_threshold,
        )
        if any(left >= right for left, right in pairwise(thresholds)):
            raise ValueError("thresholds must increase: deletion, loss, 0, gain, amplification")
        return self


class VariantSettings(_Document):
    """How variants are filtered."""

    somatic: SomaticFilters = SomaticFilters()
    germline: GermlineFilters = GermlineFilters()
    signatures: SignatureSettings = SignatureSettings()
    copy_number: CopyNumberSettings = CopyNumberSettings()


class SignatureConstants(_Document):
    """Distribution of a signature's centred score in a reference cohort."""

    mean: float = Field(description="Mean of the centred score.")
    standard_deviation: float = Field(gt=0, description="Standard deviation of the centred score.")


class ExpressionSettings(_Document):
    """Marker signatures and the subtype called from them; see ihdsi.expression.signatures."""

    counts: Literal["estimated", "length_scaled"] = Field(
        "estimated",
        description="How salmon's transcripts are summed to genes: estimated counts as they are, "
        "or corrected for the length of the transcripts that a sample uses.",
    )
    maximum_unknown_transcripts: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Largest share of a sample's transcripts, and of its reads, that are of no "
        "gene of the study.",
    )
    maximum_missing_genes_percent: float = Field(
        10.0,
        ge=0,
        le=100,
        description="Largest share of the genes of all count files of a site, in per cent, that "
        "one file may lack; what one lacks is left out for all patients.",
    )
    stranded_percent: float = Field(
        80,
        gt=50,
        le=100,
        description="Fragments of one strand, in percent, from which a library is stranded.",
    )
    signatures: tuple[Identifier, ...] = Field(
        (
            *("luminal", "basal", "neuroendocrine_like", "stroma", "immune", "emt", "cell_cycle"),
            *("fgfr3", "hypoxia", "interferon"),
        ),
        description="Signatures of resources/expression_signatures.tsv that are scored.",
    )
    subtypes: tuple[Identifier, ...] = Field(
        ("luminal", "basal", "neuroendocrine_like"),
        description="Signatures that are candidates of the marker-based subtype.",
    )
    minimum_genes: PositiveInt = Field(
        5, description="Measured genes without which a signature is not scored."
    )
    minimum_standardised_score: float = Field(
        2.0, description="Standardised score that the highest candidate must reach."
    )
    minimum_margin: float = Field(
        1.0, ge=0, description="By which it must exceed the second; else unassigned."
    )
    constants: dict[Identifier, SignatureConstants] = Field(
        default_factory=dict,
        description="Mean and standard deviation by which scores are standardised; without them, "
        "those of random genes of the same sample.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ExpressionSettings:
        for key in ("signatures", "subtypes"):
            names = getattr(self, key)
            if len(set(names)) != len(names):
                raise ValueError(f"{key} names a signature twice")
        for key, names in (("subtypes", self.subtypes), ("constants", tuple(self.constants))):
            for name in names:
                if name not in self.signatures:
                    raise ValueError(f"{key} names {name}, which is not in signatures")
        if len(self.subtypes) == 1:
            raise ValueError("subtypes needs two signatures or none: one cannot be compared")
        if UNASSIGNED in self.subtypes:
            raise ValueError(f"no subtype can be named {UNASSIGNED}")
        return self

    @property
    def profile_variables(self) -> dict[str, ClinicalVariable]:
        """Variables that expression adds to the cohort profile."""
        score = ClinicalVariable(type="number", unit="1", minimum=0, maximum=1)
        variables = {SIGNATURE_PREFIX + name: score for name in self.signatures}
        if self.subtypes:
            levels = (*self.subtypes, UNASSIGNED)
            variables[SUBTYPE] = ClinicalVariable(type="categorical", levels=levels)
        return variables


class MatrixSettings(_Document):
    """What the matrices of one assay hold, and how their values are modelled (ihdsi.matrices)."""

    feature: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="Column of the features' public identifiers, the same at all sites."
    )
    feature_name: str | None = Field(None, description="Column of names for readers.")
    gene_id: str | None = Field(
        None, description="Column of the Ensembl gene that a feature belongs to, if to any."
    )
    unit: Annotated[
        str, StringConstraints(min_length=1, max_length=40, pattern=r"^[!-~]+( [!-~]+)*$")
    ] = Field(description="Unit of the values in the files: UCUM, or a few words.")
    transform: Literal["none", "log2", "m_value"] = Field(
        "none",
        description="How values are brought onto a scale on which effects add up: as they are, "
        "their logarithm, or the M value of a methylation beta value.",
    )
    nonpositive: Literal["refuse", "missing"] = Field(
        "refuse",
        description="What a value of 0 or less is where logarithms are taken: an error, or a "
        "missing value.",
    )
    beta_clip: float = Field(
        0.001, gt=0, lt=0.5, description="Beta values nearer than this to 0 or 1 are set to it."
    )
    missing: tuple[str, ...] = Field(
        ("", "NA", "NaN", "nan", "null"), description="What stands in a cell without a value."
    )
    minimum_values: PositiveInt = Field(
        10, description="Samples of a site with a value that a feature needs."
    )
    covariates: tuple[Literal["plate", "batch"], ...] = Field(
        (), description="Columns of the site's table of plates that enter the model."
    )
    minimum_level_samples: PositiveInt = Field(
        10, description="Samples that a plate or batch needs; fewer are rare."
    )
    rare_levels: Literal["merge", "refuse"] = Field(
        "merge", description="Whether rare plates or batches count as one, or are an error."
    )

    @model_validator(mode="after")
    def _consistent(self) -> MatrixSettings:
        named = [name for name in (self.feature, self.feature_name, self.gene_id) if name]
        if len(set(named)) != len(named):
            raise ValueError("feature, feature_name and gene_id must be different columns")
        if len(set(self.covariates)) != len(self.covariates):
            raise ValueError("a covariate is listed twice")
        if self.transform == "m_value" and self.unit != "1":
            raise ValueError("beta values are shares, so 'm_value' needs unit: \"1\"")
        return self

    @property
    def modelled_unit(self) -> str:
        """Unit of the values in the model, and so of differences between groups."""
        if self.transform == "m_value":
            return "M value"
        return f"log2({self.unit})" if self.transform == "log2" else self.unit


class SingleCellSettings(_Document):
    """How single cells are filtered, clustered and named; see ihdsi.single_cell.

    Adaptive limits are those of Heumos et al. 2023, Nat Rev Genet 24:550 (sc-best-practices.org).
    """

    seed: int = Field(0, ge=0, description="Of doublets, clusters, scores and UMAP.")
    minimum_genes: PositiveInt = Field(
        200, description="Genes with a count below which a barcode holds no cell."
    )
    outlier_deviations: float = Field(
        5,
        gt=0,
        description="Median absolute deviations from the sample's median beyond which a cell is an "
        "outlier, in log1p counts, log1p genes and share of the 20 highest genes.",
    )
    mitochondrial_deviations: float = Field(
        3, gt=0, description="The same above the median, in the mitochondrial share."
    )
    maximum_mitochondrial_percent: float = Field(
        20, gt=0, le=100, description="Share above which a cell fails whatever the others have."
    )
    expected_doublet_rate: float = Field(
        0.05, gt=0, lt=1, description="Of droplets with two cells, for Scrublet."
    )
    minimum_doublet_cells: PositiveInt = Field(
        500,
        description="Cells of a sample without which no doublets are looked for: few cells have "
        "few doublets, and rare types look like them.",
    )
    maximum_doublet_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="Share of a sample's cells above Scrublet's threshold beyond which the "
        "threshold is a wrong one and no doublet is taken out.",
    )
    minimum_sample_cells: PositiveInt = Field(
        100, description="Cells that pass without which a sample is set aside."
    )
    variable_genes: PositiveInt = Field(2000, description="Highly variable genes behind the PCA.")
    components: PositiveInt = Field(30, description="Principal components behind the neighbours.")
    neighbours: int = Field(15, ge=2, description="Nearest neighbours of a cell in the graph.")
    resolution: float = Field(1.0, gt=0, description="Of the Leiden clustering.")
    minimum_markers: PositiveInt = Field(
        2, description="Measured markers without which a cell type is not looked for."
    )
    minimum_score: float = Field(
        0.2,
        gt=0,
        description="Mean score of a cluster (log1p counts per 10,000 above control genes) from "
        "which it may be of a type.",
    )
    minimum_margin: float = Field(
        0.5,
        ge=0,
        description="Standard deviations by which the best standardised score of a cluster that "
        "may be of several types must exceed the next; else its cells are unassigned.",
    )
    minimum_type_cells: PositiveInt = Field(
        10, description="Cells of a type without which a donor has no pseudobulk of it."
    )


class MetaSettings(_Document):
    """How the coordinator pools."""

    model: Literal["fixed", "dersimonian_laird"] = "dersimonian_laird"
    false_discovery_rate: Share = 0.05


class Tier(_Document):
    """A class of biomarkers, strictest first."""

    name: str
    maximum_fdr: Share
    same_direction: bool = False
    maximum_i_squared: float | None = Field(None, ge=0, le=1)
    minimum_sites: PositiveInt = 1


class BiomarkerSettings(_Document):
    """How genes are ranked and reported."""

    tiers: tuple[Tier, ...] = ()
    report_genes: PositiveInt = 12


class Study(_Document):
    """The protocol that all sites share."""

    study: Identifier
    version: str
    title: str
    simulated: bool = False
    simulation: Simulation | None = None
    participants: tuple[Identifier, ...] = Field(min_length=1)
    reference: Reference
    clinical: ClinicalDictionary
    trust_store: LocalPath | None = Field(
        None,
        description="Whose keys count (YAML); no part of the study hash, so that keys can be "
        "renewed under the same protocol.",
    )
    strata: tuple[str, ...] = ()
    contrasts: dict[Identifier, Contrast] = Field(default_factory=dict)
    endpoints: dict[Identifier, Endpoint] = Field(default_factory=dict)
    disclosure: DisclosureSettings
    quality_control: dict[Identifier, QualityMetric] = Field(default_factory=dict)
    alignment: AlignmentSettings = AlignmentSettings()
    sample_checks: SampleChecks = SampleChecks()
    variants: VariantSettings = VariantSettings()
    expression: ExpressionSettings = ExpressionSettings()
    matrices: dict[MatrixAssay, MatrixSettings] = Field(
        default_factory=dict, description="What the matrices of each assay hold."
    )
    single_cell: SingleCellSettings = SingleCellSettings()
    meta: MetaSettings = MetaSettings()
    biomarkers: BiomarkerSettings = BiomarkerSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        variables = self.clinical.variables

        def categorical(name: str, where: str, levels: tuple[str, ...] = ()) -> None:
            if name not in variables:
                raise ValueError(
                    f"{where} names the clinical variable '{name}', which is not defined"
                )
            if variables[name].type != "categorical":
                raise ValueError(f"{where} needs a categorical variable; '{name}' is a number")
            for level in levels:
                if level not in variables[name].levels:
                    raise ValueError(f"{where} names the level '{level}', which '{name}' lacks")

        for name in self.expression.profile_variables:
            if name in variables:
                raise ValueError(
                    f"the clinical variable '{name}' has the name of one computed from expression"
                )
        for stratum in self.strata:
            categorical(stratum, "strata")
        for key, contrast in self.contrasts.items():
            where = f"contrasts.{key}"
            categorical(contrast.variable, where, (contrast.case, contrast.control))
            if contrast.case == contrast.control:
                raise ValueError(f"{where} compares '{contrast.case}' with itself")
            self._known(contrast.covariates, where)
        for key, endpoint in self.endpoints.items():
            where = f"endpoints.{key}"
            categorical(endpoint.event, where, ("yes", "no"))
            if endpoint.time not in variables or variables[endpoint.time].type != "number":
                raise ValueError(f"{where}.time must be a numeric clinical variable")
            self._known(endpoint.covariates, where)
            self._one_set_of_times(endpoint, where)
        if (sex := self.sample_checks.sex) is not None:
            categorical(sex.variable, "sample_checks.sex", (sex.female, sex.male))
        for assay, matrix in self.matrices.items():
            if matrix.transform == "m_value" and assay != "methylation":
                raise ValueError(f"matrices.{assay}: only methylation has M values")
        if self.simulated and self.simulation is None:
            raise ValueError("a simulated study needs the key 'simulation' with a seed")
        if self.simulated and not (self.contrasts and self.endpoints):
            raise ValueError("a simulated study needs a contrast and an endpoint to recover")
        if len(set(self.participants)) != len(self.participants):
            raise ValueError("a participant occurs twice")
        return self

    @property
    def simulated_folder(self) -> str | None:
        """Folder of the files that a simulated study makes itself; None of a real study."""
        return f"results/{self.study}/simulated/" if self.simulated else None

    def _one_set_of_times(self, endpoint: Endpoint, where: str) -> None:
        """Two sets of edges over the same times would tell the patients between them."""
        if not endpoint.curve_bins:
            return
        if self.clinical.variables[endpoint.time].bins:
            raise ValueError(
                f"{where} has curve_bins, so the variable '{endpoint.time}' must not have bins"
            )
        for other in self.endpoints.values():
            if other.time == endpoint.time and other.curve_bins not in ((), endpoint.curve_bins):
                raise ValueError(f"{where} needs the curve_bins of the endpoint of the same times")

    def _known(self, covariates: tuple[str, ...], where: str) -> None:
        for covariate in covariates:
            if covariate not in self.clinical.variables:
                raise ValueError(f"{where} names the covariate '{covariate}', which is not defined")


class ReleaseSettings(_Document):
    """What a site releases with. The keys are files of this machine; what they hold stays there."""

    producer_key: LocalPath = Field(
        description="Private key with which the workflow signs release candidates."
    )
    transport_key: LocalPath = Field(
        description="Private key with which approved bundles are sealed for the coordinator."
    )
    ledger: LocalPath = Field(
        description="SQLite file in which every decision on a release is kept. What was released "
        "lies beside it. Back both up."
    )
    permit: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = Field(
        None, description="The permit under which the data may be used, in words or by its number."
    )
    membership_override: LocalPath | None = Field(
        None,
        description="Document, signed by a data steward, that allows a larger membership power.",
    )


class Site(_Document):
    """One hospital: who it is and where its sheets are."""

    site: Identifier
    title: str
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = Field(
        description="ISO 3166-1 alpha-2 code."
    )
    study: Identifier
    study_version: str = Field(description="The protocol version that the site has agreed to.")
    samples: LocalPath = Field(description="Sample sheet (TSV).")
    alignments: Literal["reuse", "realign"] = Field(
        "reuse",
        description="Whether given BAM and CRAM files are used as they are or aligned anew.",
    )
    clinical: LocalPath | None = Field(None, description="Clinical table in local codes.")
    codebook: LocalPath | None = Field(None, description="How local codes map to the study's.")
    plates: LocalPath | None = Field(
        None,
        description="Table (TSV) with sample, plate and batch of the samples of matrices, where "
        "the study asks for them.",
    )
    disclosure: DisclosureOverrides = DisclosureOverrides()
    release: ReleaseSettings | None = Field(
        None, description="What the site releases with; without it nothing can be released."
    )

    @model_validator(mode="after")
    def _complete(self) -> Site:
        if (self.clinical is None) != (self.codebook is None):
            raise ValueError("'clinical' and 'codebook' go together: give both or neither")
        return self


class LocalReference(ReferenceFiles):
    """Where this machine keeps the study's reference files."""


class IntakeSettings(_Document):
    """What the coordinator takes bundles in with."""

    transport_key: LocalPath = Field(
        description="Private key for whose public half the sites seal."
    )
    audit_log: LocalPath = Field(
        description="Log of everything that was accepted or refused. It decides what counts as a "
        "replay, so keep it, and back it up."
    )


class RunConfig(_Document):
    """config/config.yaml: what this machine runs."""

    study: LocalPath = Field(description="The study file.")
    sites: tuple[LocalPath, ...] = Field((), description="Site files that are run here.")
    coordinator: bool = Field(False, description="Whether this machine also pools the bundles.")
    intake: IntakeSettings | None = Field(
        None, description="What the coordinator takes bundles in with; a coordinator needs it."
    )
    reference: LocalReference = Field(
        default=LocalReference(), description="Local paths that replace those of the study file."
    )
    regions: PositiveInt = Field(
        2, description="Into how many parts the genome or the targets are split for calling."
    )


def load_study(path: Path | str, local: LocalReference | None = None) -> Study:
    """Read a study file, with this machine's reference paths in place of the study's."""
    study = load_document(path, Study)
    replaced = local.model_dump(exclude_none=True) if local else {}
    if not replaced:
        return study
    return study.model_copy(update={"reference": study.reference.model_copy(update=replaced)})


def load_site(path: Path | str, study: Study | None = None) -> Site:
    """Read a site file; with `study`, check that both speak of the same protocol version."""
    site = load_document(path, Site)
    if study is None:
        return site
    if site.study != study.study:
        raise InputError(
            Problem(
                f"the site takes part in '{site.study}', but the run is of '{study.study}'",
                "Name the site file of this study in config/config.yaml.",
                file=path,
                row=line_of_key(path, ("study",)),
                column="study",
            )
        )
    if site.study_version != study.version:
        raise InputError(
            Problem(
                f"the site agreed to version '{site.study_version}', the study file is version "
                f"'{study.version}'",
                "Use the study file of that version, or review this one and raise study_version.",
                file=path,
                row=line_of_key(path, ("study_version",)),
                column="study_version",
            )
        )
    if site.site not in study.participants:
        raise InputError(
            Problem(
                f"'{site.site}' is not among the study's participants "
                f"({', '.join(study.participants)})",
                "Correct the site's id, or have the study amended.",
                file=path,
                row=line_of_key(path, ("site",)),
                column="site",
            )
        )
    return site


def load_run(config: dict[str, Any], path: Path | str = "config/config.yaml") -> RunConfig:
    """Check the run configuration that Snakemake has read and merged."""
    return validate_document(config, RunConfig, path)


def study_hash(study: Study) -> str:
    """Canonical SHA-256 of the protocol.

    The document is serialised as JSON with sorted keys and without insignificant white space
    (as in RFC 8785 for the value types used here). Local paths (of the reference and the trust
    store) are left out, since every hospital keeps its files elsewhere; the build's name and the
    files' checksums stay in.
    """
    document = study.model_dump(mode="json")
    document.pop("trust_store")
    for key in ReferenceFiles.model_fields:
        document["reference"].pop(key)
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()
