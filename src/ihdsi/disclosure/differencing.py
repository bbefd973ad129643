"""Differences between releases: what an earlier release and this one tell together.

Whoever has two releases can subtract them. If the patients of a table differ by one, the
difference is that patient's value. Here every table of the release at hand is therefore compared
with every earlier one: first the patients behind it (by stratum, contrast and endpoint), then the
counts of each row.

What is compared are pairs of releases, also of what has another name in the other. Combinations of
three or more, and groups of one release that overlap, are the subject of
`ihdsi.disclosure.overlaps`. A patient who is counted with another value than before (a corrected
age, a library sequenced anew) counts as one who left and another who came. Tables of whose patients
no population is recorded do not leave after an earlier release.

Not looked at: counts of few behind a new name of what left before with many other patients, but for
survival curves; and what left under another study, which has a ledger of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from ihdsi.disclosure.curve_differences import compare_curves
from ihdsi.disclosure.designs import (
    Patterns,
    Products,
    cross_products,
    equal_products,
    safe_groups,
)
from ihdsi.disclosure.joint_leverage import nearly_equal
from ihdsi.disclosure.members import GROUP_COLUMNS, Group, Stratum, members_of
from ihdsi.disclosure.rules import group_size, small_contributions
from ihdsi.disclosure.tables import unsafe_counts
from ihdsi.disclosure.tables.reasons import DIFFERENCING
from ihdsi.matrices.gather import read_assays
from ihdsi.matrices.plates import with_site_covariates
from ihdsi.quality_control import excluded_patients, without_patients
from ihdsi.study import ClinicalVariable, DisclosureSettings, Study
from ihdsi.summaries.cell_composition import donors_of
from ihdsi.summaries.cell_expression_effects import pseudobulk_by_type
from ihdsi.summaries.design import contrast_design, endpoint_cases
from ihdsi.summaries.gene_alterations import COPY_NUMBER
from ihdsi.summaries.germline_gene_carriers import consequence_group
from ihdsi.summaries.matrix_moments import PATTERN, missingness_patterns
from ihdsi.summaries.mutation_burden import SHARE_PREFIX
from ihdsi.summaries.qc_profile import FAILED_LIMITS, assay_of_kind
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.strata import ALL, stratify
from ihdsi.summaries.survival_curve import CURVE
from ihdsi.summaries.variant_frequencies import VARIANT_KEY

__all__ = [
    "ENDPOINT",
    "POPULATIONS_SCHEMA",
    "Comparison",
    "EarlierRelease",
    "Model",
    "changed_strata",
    "counted_groups",
    "earlier_releases",
    "model_of",
    "populations_of",
    "read_measured",
]

POPULATIONS_SCHEMA: dict[str, Any] = {
    "population": pl.String,
    "stratum_variable": pl.String,
    "stratum": pl.String,
    "patient": pl.String,
}

_WHOLE = (ALL, ALL)
#: The same of a row, under names that no table has.
_PLACE = ("_population", "_variable", "_stratum")
#: Populations of a model, whose groups are known together or not at all.
_MODELS = ("contrast:", "cell_contrast:", "design:", "endpoint:")
#: Populations of X'X: each is compared with every earlier one of its contrast.
_DESIGN, _MATRIX = "design:", "matrix:"
#: Kind of data of `endpoint:` populations.
ENDPOINT = "endpoint"
#: Populations that the study names: by another name they may be the same.
_NAMED = ("clinical:", "curve:", "endpoint:")
#: Populations whose strata are metrics, not parts of a whole.
_QUALITY = "quality:"
#: More levels than these are withheld together, because their subsets are too many to compare.
_MOST_LEVELS = 8

Members = Mapping[Stratum, Group]


@dataclass(frozen=True)
class EarlierRelease:
    """What left the site before.

    Parameters
    ----------
    sequence
        Number of the release.
    tables
        Its summary tables as they left.
    populations
        population, stratum_variable, stratum, patient_hash, value_hash: whom it counted, and by
        what. Patients without a value_hash are compared by name alone.
    """

    sequence: int
    tables: Mapping[str, pl.DataFrame]
    populations: pl.DataFrame


class _Release(Protocol):
    @property
    def sequence(self) -> int: ...


class _Ledger(Protocol):
    def releases(self) -> Sequence[_Release]: ...
    def released_tables(self, sequence: int) -> dict[str, pl.DataFrame]: ...
    def populations(self, sequence: int) -> pl.DataFrame: ...


def earlier_releases(ledger: _Ledger) -> list[EarlierRelease]:
    """Read every release that a site's ledger records (see `ihdsi.disclosure.ledger`)."""
    return [
        EarlierRelease(
            release.sequence,
            ledger.released_tables(release.sequence),
            ledger.populations(release.sequence),
        )
        for release in ledger.releases()
    ]


def populations_of(
    study: Study,
    *,
    clinical: pl.DataFrame | None = None,
    decisions: pl.DataFrame | None = None,
    metrics: pl.DataFrame | None = None,
    germline: Collection[str] = (),
    assessed: pl.DataFrame | None = None,
    exposures: pl.DataFrame | None = None,
    copy_number: pl.DataFrame | None = None,
    counts: pl.DataFrame | None = None,
    expression_profile: pl.DataFrame | None = None,
    matrices: Mapping[str, pl.DataFrame] | None = None,
    site_covariates: Mapping[str, pl.DataFrame] | None = None,
    cells: pl.DataFrame | None = None,
    pseudobulk: Mapping[str, pl.DataFrame] | None = None,
) -> pl.DataFrame:
    """List who is behind each summary table, by stratum.

    Parameters
    ----------
    study
        Its variables, strata, contrasts and endpoints.
    clinical
        ``patient`` and the clinical variables.
    decisions, metrics
        Decisions on samples (patient, kind, decision) and quality metrics (patient, assay,
        metric, value). Patients whose sample failed are left out as the summaries leave them out.
    germline
        Patients with germline genotypes.
    counts
        Gene counts: gene_id, gene_name and one column a patient.
    expression_profile
        patient, and the subtype and scores that the cohort profile counts.
    assessed, exposures, copy_number
        patient and callable_megabases of the somatic call sets; patients with signature shares;
        patients with copy numbers.
    matrices, site_covariates
        As for `ihdsi.summaries.matrix_moments.build_matrix_moments`.
    cells
        As for `ihdsi.summaries.cell_composition.build_cell_composition`.
    pseudobulk
        As for `ihdsi.summaries.cell_expression_effects.estimate_cell_expression_effects`, or the
        table of `ihdsi.single_cell.clusters.sum_by_donor`.

    Returns
    -------
    polars.DataFrame
        Columns of `POPULATIONS_SCHEMA`, sorted, each row once. Populations are
        ``clinical:<variable>`` (patients whose value is known, computed ones included),
        ``germline``, ``somatic``, ``burden`` (somatic with known callable territory),
        ``signatures``, ``copy_number``,
        ``cells`` (donors of cells) and ``curve:<endpoint>`` (time and event are known), each with
        its strata;
        ``contrast:<name>`` and ``cell_contrast:<cell type>:<name>`` with case and control as
        strata; ``design:<name>`` and ``matrix:<pattern>:<assay>:<name>`` with the levels of
        categorical covariates as well; ``endpoint:<name>`` with event and none; and
        ``quality:<assay>`` with metrics as strata.
    """
    strata = list(study.strata)

    def kept(patients: Iterable[str], *kinds: str) -> pl.Series:
        out = () if decisions is None else excluded_patients(decisions, kinds)
        return pl.Series("patient", sorted(set(patients) - set(out)), dtype=pl.String)

    dna = ("tumour_dna", "normal_dna")
    measured = {"germline": kept(germline, "normal_dna")}
    if assessed is not None:
        measured["somatic"] = kept(assessed["patient"], *dna)
        measured["burden"] = kept(
            assessed.filter(pl.col("callable_megabases") > 0)["patient"], *dna
        )
        if exposures is not None:
            shares = exposures.join(assessed, on="patient", how="semi")
            measured["signatures"] = kept(shares["patient"], *dna)
    if copy_number is not None:
        measured["copy_number"] = kept(copy_number["patient"], *dna)
    parts = [pl.DataFrame(schema=POPULATIONS_SCHEMA)]
    if clinical is not None:
        measured |= {
            f"clinical:{name}": clinical.drop_nulls(name)["patient"]
            for name in study.clinical.variables
            if name in clinical.columns
        }
        measured |= {
            f"curve:{name}": clinical.drop_nulls([endpoint.time, endpoint.event])["patient"]
            for name, endpoint in study.endpoints.items()
            if endpoint.curve_bins and {endpoint.time, endpoint.event} <= set(clinical.columns)
        }
        if expression_profile is not None:
            measured |= {
                f"clinical:{name}": kept(
                    expression_profile.drop_nulls(name).join(clinical, on="patient", how="semi")[
                        "patient"
                    ],
                    "tumour_rna",
                )
                for name in study.expression.profile_variables
                if name in expression_profile.columns
            }
        if counts is not None:
            expressed = kept(_patients(counts), "tumour_rna").to_list()
            parts += _models(study, clinical, expressed)
        parts += _matrices(study, clinical, matrices or {}, site_covariates or {})
        poor = () if decisions is None else excluded_patients(decisions, ["tumour_single_cell"])
        parts += _cell_types(
            study,
            clinical,
            {name: without_patients(sums, poor) for name, sums in (pseudobulk or {}).items()},
        )
    if cells is not None:
        measured["cells"] = kept(donors_of(cells)["patient"], "tumour_single_cell")
    parts += [
        _population(name, stratify(patients, clinical, strata))
        for name, patients in measured.items()
    ]
    if metrics is not None:
        known = metrics.filter(
            pl.col("value").is_finite(), pl.col("metric").is_in(list(study.quality_control))
        )
        parts.append(_quality(known.select("assay", "metric", "patient")))
    if decisions is not None:
        parts.append(
            _quality(
                decisions.select(
                    assay_of_kind().alias("assay"),
                    pl.lit(FAILED_LIMITS).alias("metric"),
                    "patient",
                )
            )
        )
    return pl.concat(parts).unique().sort(pl.all())


def read_measured(
    paths: Mapping[str, Iterable[Path | str]], names: Iterable[str]
) -> dict[str, pl.DataFrame | dict[str, pl.DataFrame]]:
    """Read the arguments of `populations_of` that are Parquet files, by the argument's name.

    What a site lacks has no path and is left out; tables of matrices are a mapping by assay, sums
    of cells one by cell type.
    """

    def read(name: str) -> pl.DataFrame | dict[str, pl.DataFrame] | None:
        if name in ("matrices", "site_covariates"):
            return read_assays(paths[name])
        tables = [pl.read_parquet(path) for path in paths[name]]
        if not tables:
            return None
        return pseudobulk_by_type(tables[0]) if name == "pseudobulk" else tables[0]

    return {name: found for name in names if (found := read(name)) is not None}


def _population(name: str, strata: pl.DataFrame) -> pl.DataFrame:
    return strata.select(pl.lit(name).alias("population"), *list(POPULATIONS_SCHEMA)[1:])


def _quality(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        (pl.lit(_QUALITY) + pl.col("assay")).alias("population"),
        pl.lit("metric").alias("stratum_variable"),
        pl.col("metric").alias("stratum"),
        "patient",
    )


def _patients(counts: pl.DataFrame) -> list[str]:
    return [name for name in counts.columns if name not in ("gene_id", "gene_name")]


def _grouped(
    name: str,
    patients: Sequence[str],
    clinical: pl.DataFrame,
    groups: Iterable[str],
    variables: Mapping[str, ClinicalVariable],
) -> pl.DataFrame:
    """Patients of a model, and the groups that its sums are over."""
    chosen = pl.Series("patient", list(patients), dtype=pl.String)
    categorical = [g for g in dict.fromkeys(groups) if variables[g].type == "categorical"]
    return _population(name, stratify(chosen, clinical, categorical))


def _matrices(
    study: Study,
    clinical: pl.DataFrame,
    matrices: Mapping[str, pl.DataFrame],
    site_covariates: Mapping[str, pl.DataFrame],
) -> list[pl.DataFrame]:
    """Patients of each missingness pattern."""
    models = [
        (
            assay,
            name,
            with_site_covariates(
                clinical, contrast, study.clinical.variables, site_covariates.get(assay)
            ),
        )
        for assay in matrices
        for name, contrast in study.contrasts.items()
        if {contrast.variable, *contrast.covariates} <= set(clinical.columns)
    ]
    return [
        _grouped(
            f"{_MATRIX}{pattern.number}:{assay}:{name}",
            pattern.patients,
            frame,
            [contrast.variable, *contrast.covariates],
            variables,
        )
        for assay, name, (frame, contrast, variables) in models
        for pattern in missingness_patterns(assay, matrices[assay], frame, contrast, variables)
    ]


def _cell_types(
    study: Study, clinical: pl.DataFrame, pseudobulk: Mapping[str, pl.DataFrame]
) -> list[pl.DataFrame]:
    """Donors of each contrast in each cell type."""
    variables, parts = study.clinical.variables, []
    for cell_type, counts in pseudobulk.items():
        for name, contrast in study.contrasts.items():
            if {contrast.variable, *contrast.covariates} <= set(clinical.columns):
                design = contrast_design(
                    clinical, _patients(counts), contrast, variables, full_rank=False
                )
                population = f"cell_contrast:{cell_type}:{name}"
                parts.append(
                    _grouped(population, design.patients, clinical, [contrast.variable], variables)
                )
    return parts


def _models(study: Study, clinical: pl.DataFrame, measured: Sequence[str]) -> list[pl.DataFrame]:
    """Patients of each contrast and endpoint, and the groups that the models' sums are over."""
    variables = study.clinical.variables
    parts = []

    def add(name: str, patients: Sequence[str], groups: Iterable[str]) -> None:
        parts.append(_grouped(name, patients, clinical, groups, variables))

    for name, contrast in study.contrasts.items():
        if {contrast.variable, *contrast.covariates} <= set(clinical.columns):
            design = contrast_design(clinical, measured, contrast, variables, full_rank=False)
            add(f"contrast:{name}", design.patients, [contrast.variable])
            groups = [contrast.variable, *contrast.covariates]
            add(f"design:{name}", design.patients, groups)
    for name, endpoint in study.endpoints.items():
        if {endpoint.time, endpoint.event, *endpoint.covariates} <= set(clinical.columns):
            cases = endpoint_cases(clinical, measured, endpoint)
            add(f"endpoint:{name}", cases["patient"].to_list(), [endpoint.event])
    return parts


def _of_row(table: str) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Name the population, stratum variable and stratum that a row of the table counts."""
    variable, stratum = pl.col("stratum_variable"), pl.col("stratum")
    whole = (pl.lit(ALL), pl.lit(ALL))
    if table == "cohort_profile":
        return pl.lit("clinical:") + pl.col("variable"), variable, stratum
    if table == "qc_profile":
        return pl.lit(_QUALITY) + pl.col("assay"), pl.lit("metric"), pl.col("metric")
    if table in ("variant_frequencies", "germline_gene_carriers"):
        return pl.lit("germline"), variable, stratum
    if table == "gene_alterations":
        copied = pl.col("alteration_class").is_in(COPY_NUMBER)
        name = pl.when(copied).then(pl.lit("copy_number")).otherwise(pl.lit("somatic"))
        return name, variable, stratum
    if table == "mutation_burden":
        is_share = pl.col("measure").str.starts_with(SHARE_PREFIX)
        name = pl.when(is_share).then(pl.lit("signatures")).otherwise(pl.lit("burden"))
        return name, variable, stratum
    if table == "expression_effects":
        return pl.lit("contrast:") + pl.col("contrast"), *whole
    if table in ("expression_design", "expression_moments"):
        return pl.lit("design:") + pl.col("contrast"), *whole
    if table == "survival_effects":
        return pl.lit("endpoint:") + pl.col("endpoint"), *whole
    if table == "survival_curve":
        return pl.lit("curve:") + pl.col("endpoint"), variable, stratum
    if table in ("matrix_design", "matrix_moments"):
        name = pl.format(_MATRIX + "{}:{}:{}", "pattern", "assay", "contrast")
        return name, *whole
    if table == "cell_composition":
        return pl.lit("cells"), variable, stratum
    if table == "cell_expression_effects":
        return pl.format("cell_contrast:{}:{}", "cell_type", "contrast"), *whole
    raise ValueError(f"nobody said whom the table '{table}' counts; nothing leaves without that")


def counted_groups(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Name population, stratum_variable and stratum that each row of a summary table counts."""
    return frame.select(
        place.alias(column) for column, place in zip(GROUP_COLUMNS, _of_row(table), strict=True)
    )


@dataclass(frozen=True)
class Model:
    """Model of a population: kind of the data of its sums, contrast (endpoint), and pattern."""

    kind: str
    name: str
    pattern: int = 0


def model_of(population: str) -> Model | None:
    """Read the name of a model's population; None for a population that is no model's."""
    prefix, _, rest = population.partition(":")
    if prefix in ("design", "contrast"):
        return Model("expression", rest)
    if prefix == "matrix":
        pattern, assay, contrast = rest.split(":", 2)
        return Model(f"matrix:{assay}", contrast, int(pattern))
    if prefix == "cell_contrast":
        # Names of cell types may hold a colon, those of contrasts cannot.
        cell_type, _, contrast = rest.rpartition(":")
        return Model(f"cells:{cell_type}", contrast)
    return Model(ENDPOINT, rest) if prefix == "endpoint" else None


@dataclass(frozen=True)
class _Counts:
    """Counts of a row: its patients, other counts, and counts that can be set to null instead."""

    size: str
    parts: tuple[pl.Expr, ...] = ()
    genotypes: tuple[pl.Expr, ...] = ()


def _and_rest(part: str, size: str) -> tuple[pl.Expr, pl.Expr]:
    """Return a part of `size` patients, and the others."""
    return pl.col(part), pl.col(size) - pl.col(part)


#: What a reader has or can compute, by table.
_COUNTS: Mapping[str, _Counts] = {
    "cohort_profile": _Counts("n_total", _and_rest("n", "n_total")),
    "qc_profile": _Counts(
        "n_total",
        (
            *_and_rest("n", "n_total"),
            *(pl.col(name) for name in ("n_passed", "n_warned", "n_failed")),
        ),
    ),
    "variant_frequencies": _Counts(
        "n_samples_called",
        (pl.col("allele_count"), pl.col("allele_number")),
        (
            *_and_rest("n_carriers", "n_samples_called"),
            *_and_rest("n_homozygous", "n_carriers"),
        ),
    ),
    "germline_gene_carriers": _Counts("n_assessed", _and_rest("n_carriers", "n_assessed")),
    "gene_alterations": _Counts("n_assessed", _and_rest("n_altered", "n_assessed")),
    "mutation_burden": _Counts("n"),
    "expression_effects": _Counts("n_case", (pl.col("n_control"),)),
    "expression_design": _Counts("n"),
    "expression_moments": _Counts("n"),
    "survival_effects": _Counts("n", _and_rest("n_events", "n")),
    "matrix_design": _Counts("n"),
    "matrix_moments": _Counts("n"),
    "cell_composition": _Counts("n_donors"),
    "cell_expression_effects": _Counts("n_case", (pl.col("n_control"),)),
    # Its bins are compared when they are merged (see `Comparison.compare_curves`).
    "survival_curve": _Counts("n_at_risk"),
}
#: Tables of means and variances, and the column of their n.
_MEANS: Mapping[str, str] = {"mutation_burden": "n", "cell_composition": "n_donors"}
#: Columns that name one X'X.
_CROSS_PRODUCTS: Mapping[str, tuple[str, ...]] = {
    "expression_design": ("contrast",),
    "matrix_design": PATTERN,
}


class Comparison:
    """A release at hand compared with all earlier ones.

    Parameters
    ----------
    settings
        Patients in whom two releases differ, and counts, have to be at least
        `ihdsi.disclosure.rules.group_size`.
    earlier
        All earlier releases.
    populations
        population, stratum_variable, stratum, patient_hash: whom the tables at hand count (see
        `populations_of`), hashed as those of the earlier releases. Needed if there are any.
        ``value_hash`` tells by what they are counted (`ihdsi.disclosure.patient_values`).
    design
        Table `expression_design` of the release at hand, before disclosure control.
    matrix_design
        The same of `matrix_design`.
    noisy
        Tables that get random noise: their counts are not compared, only their patients.

    Raises
    ------
    ValueError
        If there are earlier releases and no populations.
    """

    def __init__(
        self,
        settings: DisclosureSettings,
        earlier: Sequence[EarlierRelease] = (),
        populations: pl.DataFrame | None = None,
        design: pl.DataFrame | None = None,
        noisy: Collection[str] = (),
        matrix_design: pl.DataFrame | None = None,
    ) -> None:
        if earlier and populations is None:
            raise ValueError("earlier releases can only be compared if populations are given")
        self._settings, self._noisy = settings, noisy
        self._populations = (
            pl.DataFrame() if populations is None else populations.select(GROUP_COLUMNS)
        )
        # Whatever the endpoints at hand are, cleared curves or none.
        self._endpoints = (
            frozenset()
            if populations is None
            else frozenset(
                name.removeprefix("curve:")
                for name in populations["population"].unique()
                if name.startswith("curve:")
            )
        )
        self._tables: list[dict[str, pl.DataFrame]] = []
        self._strata: list[pl.DataFrame] = []
        self._designs: set[str] = set()
        self._patterns: set[tuple[Any, ...]] = set()
        designs = {"expression_design": design, "matrix_design": matrix_design}
        for release in earlier:
            before = {
                name: _placed(name, frame)
                for name, frame in release.tables.items()
                if name in TABLES and not frame.is_empty()
            }
            released = pl.concat(
                [
                    pl.DataFrame(schema=dict.fromkeys(_PLACE, pl.String)),
                    *(frame.select(_PLACE).unique() for frame in before.values()),
                ]
            ).rename(dict(zip(_PLACE, GROUP_COLUMNS, strict=True)))
            assert populations is not None
            strata = _changed_patients_or_values(
                populations, release.populations, group_size(settings), released
            )
            self._tables.append(before)
            self._strata.append(strata.rename(dict(zip(GROUP_COLUMNS, _PLACE, strict=True))))
            if design is not None and "expression_design" in before:
                self._designs |= _unsafe_designs(design, before["expression_design"], settings)
            for table, key in _close_designs(designs, before, settings):
                if table == "matrix_design":
                    self._patterns.add(key)
                else:
                    self._designs |= {str(key[0])}

    def mark(self, name: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Mark the rows of a table that tell of few patients together with an earlier release.

        Parameters
        ----------
        name, frame
            The table, not yet cleared; further columns stay as they are.

        Returns
        -------
        polars.DataFrame
            With three more columns: ``rule``, which is ``differencing`` or null; ``known``: whether
            the row left before, of the same patients or nearly so, so that withholding it now hides
            it from nobody; ``few_genotypes``: whether n_carriers and n_homozygous (of
            variant_frequencies) differ by few, while the row's other counts do not. Without earlier
            releases nothing is marked.

        Raises
        ------
        ValueError
            If there are earlier releases and nobody said whom a row counts.
        """
        marked = frame.with_columns(
            rule=pl.lit(None, dtype=pl.String),
            known=pl.lit(value=False),
            few_genotypes=pl.lit(value=False),
        )
        if not self._tables or frame.is_empty():
            return marked
        marked = _placed(name, marked)
        self._require_populations(name, marked)
        for tables, strata in zip(self._tables, self._strata, strict=True):
            placed = marked.join(strata, on=_PLACE, how="left", maintain_order="left")
            marked = _compared(
                name, placed, tables.get(name), self._settings, noisy=name in self._noisy
            ).drop("withheld", "near")
        if name == "variant_frequencies":
            for tables in self._tables:
                marked = _mark_counted_by_gene(marked, tables)
        if name.startswith("expression_"):
            marked = marked.with_columns(_mark(pl.col("contrast").is_in(list(self._designs))))
        if name.startswith("matrix_") and self._patterns:
            close = [
                pl.all_horizontal(
                    pl.col(column) == part for column, part in zip(PATTERN, key, strict=True)
                )
                for key in self._patterns
            ]
            marked = marked.with_columns(_mark(pl.any_horizontal(close)))
        return marked.drop(_PLACE)

    @property
    def released_variants(self) -> pl.DataFrame:
        """Variants that left by themselves before, each once (`VARIANT_KEY`)."""
        tables = [
            pl.DataFrame(
                schema={key: TABLES["variant_frequencies"].schema[key] for key in VARIANT_KEY}
            )
        ]
        tables += [
            earlier["variant_frequencies"].select(VARIANT_KEY)
            for earlier in self._tables
            if "variant_frequencies" in earlier
        ]
        return pl.concat(tables).unique()

    def compare_curves(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Merge bins of `survival_curve`, or withhold lines, that differ by few from earlier ones.

        Parameters
        ----------
        frame
            Rows that are to leave, with their bins merged as the release by itself requires.

        Returns
        -------
        polars.DataFrame
            The rows that may leave (see `ihdsi.disclosure.curve_differences.compare_curves`).
        """
        before = [tables["survival_curve"] for tables in self._tables if "survival_curve" in tables]
        if not before:
            return frame
        return compare_curves(
            frame,
            before,
            group_size(self._settings),
            unsafe_counts(self._settings),
            self._endpoints,
        )

    def _require_populations(self, name: str, placed: pl.DataFrame) -> None:
        lacking = (
            placed.select(_PLACE)
            .unique()
            .join(self._populations, left_on=list(_PLACE), right_on=list(GROUP_COLUMNS), how="anti")
        )
        if lacking.height:
            raise ValueError(
                f"nobody said whom the rows {', '.join(lacking.row(0))} of the table '{name}' "
                "count; nothing leaves without that"
            )


def _placed(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        place.alias(column) for column, place in zip(_PLACE, _of_row(name), strict=True)
    )


def changed_strata(
    now: pl.DataFrame, before: pl.DataFrame, least: int, released: pl.DataFrame
) -> pl.DataFrame:
    """Compare whom a release counts with whom an earlier one counted, stratum by stratum.

    A stratum is withheld if it lost, or gained, at least one patient and fewer than `least`: then
    the difference tells of them. Beyond that:

    - if the whole of a population changed in that way, nothing of the population leaves: every
      stratum that changed holds one of the patients, and the others bring nothing new;
    - the patients in no released stratum are known by subtraction, so that their number has to be
      the same, or to have changed by `least`, too. While it does not, or while they differ by few
      from withheld strata of before, the smallest stratum is withheld as well;
    - a stratum that is new or changed must not nearly be another one of before;
    - contrasts and endpoints leave with all their groups or not at all;
    - the patients of an X'X, and its groups, must not nearly be those of any earlier X'X of the
      contrast, unless they are exactly those of one that left;
    - no group of a contrast must nearly be a group of any other contrast that left of the same kind
      of data, unless all its groups are exactly those of one that left;
    - a clinical variable, curve or endpoint of which nothing left by its name is compared with all
      of those that left, as it may be one of them by another name.

    Parameters
    ----------
    now, before
        population, stratum_variable, stratum, patient_hash.
    least
        Smallest number of patients of whom a sum may be known.
    released
        population, stratum_variable, stratum of the rows that left before. Populations of which
        nothing left need no comparison; those that left without a record of whom they counted are
        withheld.

    Returns
    -------
    polars.DataFrame
        population, stratum_variable, stratum of `now`, ``withheld`` and ``near``: whether the
        stratum is the same as before or changed by fewer than `least` patients.

    References
    ----------
    Hundepool et al. 2012, Statistical Disclosure Control: disclosure by differencing. Fellegi 1972,
    On the question of statistical confidentiality, J Am Stat Assoc 67:7.
    """
    ours, theirs = members_of(now), members_of(before)
    left: dict[str, set[Stratum]] = {}
    for name, variable, level in released.select(GROUP_COLUMNS).sort(GROUP_COLUMNS).iter_rows():
        left.setdefault(name, set()).add((variable, level))
    rows = []
    for population, strata in ours.items():
        earlier = theirs.get(population, {})
        if population not in left:
            withheld: set[Stratum] = set()
        elif not earlier:
            withheld = set(strata)
        else:
            withheld = _changed(population, strata, earlier, left[population], least)
        if population.startswith((_DESIGN, _MATRIX)) and not withheld:
            others = [name for name in left if _same_contrast(name, population)]
            if _near_another(strata, [theirs.get(name) for name in others], least):
                withheld = set(strata)
        if not withheld:
            withheld = _under_another_name(population, strata, theirs, left, least)
        for stratum, patients in strata.items():
            old = earlier.get(stratum, frozenset())
            near = len(patients - old) < least and len(old - patients) < least
            rows.append((population, *stratum, stratum in withheld, near and bool(old)))
    schema = dict.fromkeys(GROUP_COLUMNS, pl.String) | dict.fromkeys(
        ("withheld", "near"), pl.Boolean
    )
    return pl.DataFrame(rows, schema=schema, orient="row")


def _changed_patients_or_values(
    now: pl.DataFrame, before: pl.DataFrame, least: int, released: pl.DataFrame
) -> pl.DataFrame:
    """Compare patients, and patients with the values that they are counted by.

    A patient whose value changed is one who left and another who came. Both comparisons are needed:
    where all values changed, a patient who came is told by the names.
    """
    strata = changed_strata(now, before, least, released)
    if "value_hash" not in now.columns or "value_hash" not in before.columns:
        return strata
    # Releases of before there were values say nothing of them.
    recorded = before.drop_nulls("value_hash").select("population").unique()
    valued = [
        frame.with_columns(
            patient_hash=pl.when(pl.col("population").is_in(recorded["population"].to_list()))
            .then(pl.concat_str("patient_hash", pl.col("value_hash").fill_null("")))
            .otherwise("patient_hash")
        )
        for frame in (now, before)
    ]
    return (
        strata.join(
            changed_strata(valued[0], valued[1], least, released),
            on=GROUP_COLUMNS,
            suffix="_value",
            how="left",
        )
        .with_columns(
            withheld=pl.col("withheld") | pl.col("withheld_value"),
            near=pl.col("near") & pl.col("near_value"),
        )
        .drop("withheld_value", "near_value")
    )


def _few_changed(now: Members, before: Members, least: int) -> set[Stratum]:
    """Strata that gained or lost at least one patient and fewer than `least`."""
    nobody: frozenset[str] = frozenset()

    def few(ours: frozenset[str], theirs: frozenset[str]) -> bool:
        return 0 < len(ours - theirs) < least or 0 < len(theirs - ours) < least

    return {
        stratum
        for stratum in {*now, *before}
        if few(now.get(stratum, nobody), before.get(stratum, nobody))
    }


def _contrast_of(population: str) -> str | None:
    """Contrast of a population that an X'X is of."""
    if population.startswith(_DESIGN):
        return population.removeprefix(_DESIGN)
    # matrix:<pattern>:<assay>:<contrast>
    return population.split(":", 3)[3] if population.startswith(_MATRIX) else None


def _same_contrast(one: str, other: str) -> bool:
    """Whether both populations are those of an X'X of the same contrast."""
    return _contrast_of(one) is not None and _contrast_of(one) == _contrast_of(other)


def _under_another_name(
    population: str,
    now: Members,
    theirs: Mapping[str, Members],
    left: Mapping[str, Collection[Stratum]],
    least: int,
) -> set[Stratum]:
    """Strata that are withheld because those of other names that left are nearly the same.

    A study's new version can name what it had before anew. Of models, the groups of all that left
    of the same kind of data are compared, as sums over any of them can be subtracted.
    """
    model = model_of(population)
    if model is not None and model.kind != ENDPOINT:
        same_kind = [
            name
            for name in left
            if (other := model_of(name)) is not None and other.kind == model.kind
        ]
        records = [set(theirs.get(name, {}).values()) for name in same_kind]
        if any(set(now.values()) <= record for record in records):
            return set()
        close = any(
            not record or nearly_equal(now.values(), record, least)
            for name, record in zip(same_kind, records, strict=True)
            if name != population
        )
        return set(now) if close else set()
    withheld: set[Stratum] = set()
    if population.startswith(_NAMED) and population not in left:
        prefix = population.partition(":")[0] + ":"
        for name in left:
            if name.startswith(prefix):
                before = theirs.get(name, {})
                changed = _changed(population, now, before, left[name], least)
                withheld |= changed if before else set(now)
    return withheld


def _near_another(now: Members, earlier: Sequence[Members | None], least: int) -> bool:
    """Whether a model's groups differ by few from those of another that left; no record counts."""
    if any(before == now for before in earlier):
        return False
    return any(before is None or _few_changed(now, before, least) for before in earlier)


def _changed(
    population: str, now: Members, before: Members, left: Collection[Stratum], least: int
) -> set[Stratum]:
    """Strata of one population that are withheld."""
    nobody: frozenset[str] = frozenset()
    changed = _few_changed(now, before, least)
    if population.startswith(_QUALITY):
        return changed & set(left)
    if population.startswith((*_MODELS, _MATRIX)):
        return set(now) if changed else set()
    for stratum, patients in now.items():
        if stratum in left and patients == before.get(stratum):
            continue
        if any(0 < len(patients ^ before.get(other, nobody)) < least for other in left):
            changed.add(stratum)
    if _WHOLE in changed:
        return set(now)
    withheld = set()
    for variable in sorted({name for name, _ in {*now, *before}} - {ALL}):
        levels = sorted(s for s in {*now, *before} if s[0] == variable)
        withheld |= _with_remainder(now, before, levels, changed, least)
    return withheld


def _with_remainder(
    now: Members, before: Members, levels: Sequence[Stratum], changed: set[Stratum], least: int
) -> set[Stratum]:
    """Withheld strata of one variable: those that changed, and others to hide them among."""
    nobody: frozenset[str] = frozenset()
    parts_now = {level: now.get(level, nobody) for level in levels}
    parts_before = {level: before.get(level, nobody) for level in levels}
    # Patients whose stratum is unknown are never released and always left over.
    unknown = now.get(_WHOLE, nobody) - frozenset(chain(*parts_now.values()))
    unknown_before = before.get(_WHOLE, nobody) - frozenset(chain(*parts_before.values()))

    def exposed(hidden: set[Stratum]) -> bool:
        rest = unknown.union(*(parts_now[level] for level in hidden))
        atoms = [unknown_before, *(parts_before[level] for level in sorted(hidden))]
        old = nobody.union(*atoms)
        if 0 < len(rest - old) < least or 0 < len(old - rest) < least:
            return True
        subsets = chain.from_iterable(combinations(atoms, n) for n in range(1, len(atoms)))
        return bool(hidden) and any(
            0 < len(rest ^ nobody.union(*subset)) < least for subset in subsets
        )

    hidden = changed & set(levels)
    if hidden and len(levels) > _MOST_LEVELS:
        return set(levels)
    others = sorted(set(levels) - hidden, key=lambda level: (len(parts_now[level]), level))
    while others and exposed(hidden):
        hidden.add(others.pop(0))
        if len(levels) > _MOST_LEVELS:
            return set(levels)
    return hidden


def _compared(
    name: str,
    frame: pl.DataFrame,
    before: pl.DataFrame | None,
    settings: DisclosureSettings,
    *,
    noisy: bool,
) -> pl.DataFrame:
    """Mark the rows of a table that differ from an earlier release by few, and those known of it.

    `frame` has the columns ``withheld`` and ``near`` of its strata.
    """
    frame = frame.with_columns(_mark(pl.col("withheld").fill_null(value=False)))
    if before is None:
        return frame
    spec, least = TABLES[name], group_size(settings)
    keys = [key for key in spec.keys if spec.schema[key] != pl.List(pl.String)]
    if name == "survival_curve":
        lines = before.select(CURVE).unique().with_columns(_left=pl.lit(value=True))
        return _with_known(frame.join(lines, on=list(CURVE), how="left", maintain_order="left"))
    known = _COUNTS[name]
    counts = [pl.col(known.size), *known.parts, *known.genotypes]
    names = [f"_count_{index}" for index in range(len(counts))]
    differences = [f"_difference_{index}" for index in range(len(counts))]
    n_rows = 1 + len(known.parts)
    moments = [_MEANS[name], "mean", "variance"] if name in _MEANS else []
    earlier = before.select(
        *keys,
        *(count.alias(column) for count, column in zip(counts, names, strict=True)),
        *(pl.col(column).alias(f"_before_{column}") for column in moments),
        _left=pl.lit(value=True),
    )
    # Of keys that a row lacks (level, bin) null equals null.
    joined = frame.join(earlier, on=keys, how="left", nulls_equal=True, maintain_order="left")
    joined = _with_known(joined)
    if not noisy:
        joined = joined.with_columns(
            (count - pl.col(column)).alias(difference)
            for count, column, difference in zip(counts, names, differences, strict=True)
        )
        few = [_few(pl.col(difference), least) for difference in differences]
        if not settings.zero_cells_allowed:
            grown = pl.col(differences[0]) != 0
            few = [
                few[0],
                *(
                    rule | (grown & (pl.col(difference) == 0))
                    for rule, difference in zip(few[1:], differences[1:], strict=True)
                ),
            ]
        of_row = list(few[:n_rows])
        if moments:
            unsafe = ~_safe_moments(moments, settings)
            if name == "cell_composition":
                # The shares add up to one over cell types, and the strata to the whole, so that one
                # row follows from the others.
                unsafe = _any([unsafe]).any()
            of_row.append(unsafe)
        joined = joined.with_columns(_mark(_any(of_row)))
        if known.genotypes:
            joined = joined.with_columns(few_genotypes=pl.col("few_genotypes") | _any(few[n_rows:]))
        if "stratum" in spec.keys:
            line = [key for key in keys if key not in ("stratum_variable", "stratum")]
            exposed = _rests(joined, line, differences).select(
                *line,
                "stratum_variable",
                _row=_any([_few(pl.col(name), least) for name in differences[:n_rows]]),
                _genotypes=_any([_few(pl.col(name), least) for name in differences[n_rows:]]),
            )
            joined = joined.join(
                exposed.filter(pl.col("_row") | pl.col("_genotypes")),
                on=[*line, "stratum_variable"],
                how="left",
                nulls_equal=True,
                maintain_order="left",
            ).with_columns(
                _mark(pl.col("_row").fill_null(value=False)),
                few_genotypes=pl.col("few_genotypes") | pl.col("_genotypes").fill_null(value=False),
            )
    return joined.drop(
        "_row",
        "_genotypes",
        *names,
        *differences,
        *(f"_before_{column}" for column in moments),
        strict=False,
    )


def _with_known(joined: pl.DataFrame) -> pl.DataFrame:
    """Note which rows left before (``_left``), of nearly the same patients (``near``)."""
    left = (pl.col("_left") & pl.col("near")).fill_null(value=False)
    return joined.with_columns(known=pl.col("known") | left).drop("_left")


def _any(conditions: Sequence[pl.Expr]) -> pl.Expr:
    if not conditions:
        return pl.lit(value=False)
    return pl.any_horizontal(conditions).fill_null(value=False)


def _mark(condition: pl.Expr) -> pl.Expr:
    return (
        pl.when(condition | pl.col("rule").is_not_null())
        .then(pl.lit(DIFFERENCING))
        .otherwise(None)
        .alias("rule")
    )


def _few(difference: pl.Expr, least: int) -> pl.Expr:
    return (difference != 0) & (difference.abs() < least)


def _safe_moments(moments: Sequence[str], settings: DisclosureSettings) -> pl.Expr:
    """Whether the patients whom two releases differ in have safe sums; true if there are none.

    Mean and variance give sum and sum of squares, and the differences of these are as good as
    released. `moments` are the columns of n, mean and variance.
    """
    now = [pl.col(name) for name in moments]
    before = [pl.col(f"_before_{name}") for name in moments]

    def sums(n: pl.Expr, mean: pl.Expr, variance: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
        return n * mean, (n - 1) * variance + n * mean**2

    sign = (now[0] - before[0]).sign()
    n = (now[0] - before[0]).abs()
    total, squares = (
        sign * (ours - theirs) for ours, theirs in zip(sums(*now), sums(*before), strict=True)
    )
    varies = squares - total**2 / n > 1e-9 * squares
    return (n == 0) | (varies & small_contributions(total, squares, settings))


def _rests(frame: pl.DataFrame, line: Sequence[str], differences: Sequence[str]) -> pl.DataFrame:
    """Compute by how much each line's whole changed without the strata that are not withheld.

    The whole minus these strata is known, now as before: a stratum that is withheld because it
    changed by one patient must not be had in this way. A row for each line and stratum variable.
    """
    is_whole = pl.col("stratum_variable") == ALL
    shown = pl.when(pl.col("rule").is_null())
    wholes = frame.filter(is_whole).select(*line, *differences)
    strata = (
        frame.filter(~is_whole)
        .group_by(*line, "stratum_variable")
        .agg(shown.then(pl.col(name)).sum().alias(f"{name}_shown") for name in differences)
    )
    return strata.join(wholes, on=list(line), how="inner", nulls_equal=True).with_columns(
        pl.col(name) - pl.col(f"{name}_shown") for name in differences
    )


def _unsafe_designs(
    now: pl.DataFrame, before: pl.DataFrame, settings: DisclosureSettings
) -> set[str]:
    """Contrasts whose X'X changed by an unsafe one: its groups and cells are counts."""
    keys = list(TABLES["expression_design"].keys)
    both = now.join(before, on=keys, suffix="_before", maintain_order="left").filter(
        pl.col("n") != pl.col("n_before")
    )
    # X'X of the patients in whom both differ, if none left or none came.
    change = both.with_columns(
        value=(pl.col("value") - pl.col("value_before")) * (pl.col("n") - pl.col("n_before")).sign()
    )
    return {
        str(contrast)
        for (contrast,), part in change.group_by("contrast")
        if not safe_groups(part, settings.minimum_n, unsafe_counts(settings))
    }


def _mark_counted_by_gene(frame: pl.DataFrame, before: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Mark variants that a row of `germline_gene_carriers` counted before.

    The row's patients minus the variant's are those who carry another one of the row only: neither
    number tells this by itself. A variant that left by itself in that release was not in the row.
    """
    rows = before.get("germline_gene_carriers")
    if rows is None:
        return frame
    kinds = {term: consequence_group(term) for term in frame["consequence"].unique()}
    group = pl.col("consequence").replace_strict(kinds, return_dtype=pl.String)
    counted = frame.with_columns(_group=group).join(
        rows.select("gene_id", _group="consequence_group").unique(),
        on=["gene_id", "_group"],
        how="semi",
    )
    if "variant_frequencies" in before:
        counted = counted.join(before["variant_frequencies"], on=VARIANT_KEY, how="anti")
    counted = counted.select(VARIANT_KEY).unique().with_columns(_counted=pl.lit(value=True))
    return (
        frame.join(counted, on=list(VARIANT_KEY), how="left", maintain_order="left")
        .with_columns(_mark(pl.col("_counted").is_not_null()))
        .drop("_counted")
    )


def _close_designs(
    now: Mapping[str, pl.DataFrame | None],
    before: Mapping[str, pl.DataFrame],
    settings: DisclosureSettings,
) -> list[tuple[str, tuple[Any, ...]]]:
    """List each X'X (table and key) that nearly is an earlier one of its contrast.

    Expression is compared with expression elsewhere. An X'X that left in the same form in the
    earlier release tells nothing new.
    """
    earlier: dict[str, list[tuple[str, Products]]] = {}
    for table, _, contrast, products in _all_products(before):
        earlier.setdefault(contrast, []).append((table, products))
    patterns = Patterns(group_size(settings), unsafe_counts(settings))
    close = []
    for table, key, contrast, products in _all_products(now):
        others = earlier.get(contrast, [])
        if any(equal_products(products, other) for _, other in others):
            continue
        if not all(
            patterns.differ(products, other)
            for name, other in others
            if "matrix_design" in (table, name)
        ):
            close.append((table, key))
    return close


def _all_products(
    tables: Mapping[str, pl.DataFrame | None],
) -> Iterator[tuple[str, tuple[Any, ...], str, Products]]:
    """Yield table, key, contrast and X'X of each design."""
    for table, columns in _CROSS_PRODUCTS.items():
        frame = tables.get(table)
        if frame is None:
            continue
        for key, part in frame.group_by(columns, maintain_order=True):
            contrast = str(key[columns.index("contrast")])
            # Released tables are sorted; products compare term by term.
            ordered = part.sort("row_term", "column_term")
            yield table, key, contrast, cross_products(ordered)
