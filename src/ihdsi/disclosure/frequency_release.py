"""Which germline frequencies leave: as many as keep a membership attack weak.

Thresholds and rounding hardly stop whoever has a person's genotypes from asking whether that person
is among the patients; the number of frequencies relative to the number of patients does (see
`ihdsi.disclosure.membership`). Frequencies are therefore taken from one list until the predicted
power of the attack on all of them together reaches the study's limit:

- variants of the study's genes before others, by severity, then by position;
- behind the last single variant of a kind (truncating, missense, other protein-altering) the
  genes' numbers of carriers of that kind, in the order of the panel: patients who carry at least
  one of the gene's variants that do not leave by themselves, those below the thresholds included.

Both share one limit, since each is a frequency. The order uses nothing of the patients' genotypes.
A gene row and a released variant have no variant in common, so that neither can be subtracted from
the other. Between releases neither: a variant that a gene row counted before does not leave by
itself, and a gene row does not leave that counts a variant which left by itself before. A row with
genotype counts is two frequencies (of carriers, and of homozygotes among these): where not
everything can leave, n_carriers and n_homozygous stay, and with them gone more variants leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.membership import (
    MOST_GENOTYPES,
    PredictedPower,
    ReleasedGroups,
    analytic_power,
    combined_power,
    largest_prefix,
    possible_frequencies,
    predict_power,
    release_priority,
)
from ihdsi.disclosure.tables import (
    DIFFERENCING,
    MEMBERSHIP,
    MEMBERSHIP_GENOTYPES,
    MINIMUM_CELL_COUNT,
    NOT_JUDGED,
    Context,
    Judged,
    control_germline_gene_carriers,
    control_variant_frequencies,
)
from ihdsi.errors import InputError, Problem
from ihdsi.summaries import germline_gene_carriers
from ihdsi.summaries.germline_gene_carriers import (
    carriers_of_rows,
    consequence_group,
    group_severity,
)
from ihdsi.summaries.strata import ALL
from ihdsi.summaries.variant_frequencies import VARIANT_KEY
from ihdsi.variants.consequences import severity_rank

__all__ = ["FrequencyRelease", "GenotypeSource", "MembershipPower", "judge_frequencies"]

BoolArray = NDArray[np.bool_]
Int8Array = NDArray[np.int8]

#: Simulated people who were not counted.
_N_OTHERS = 1_000
#: Draws of the attacker's frequencies, for what may leave and for far more than may.
_N_DRAWS, _N_ROUGH_DRAWS = 20, 5
#: The formula's number of frequencies holds for complete genotypes; with missing ones there may be
#: more. Beyond this multiple none is looked at, which bounds the genotypes that are held.
_MARGIN = 2
_ROW = ("gene_id", "consequence_group")
_KEYS = (*VARIANT_KEY, "stratum_variable", "stratum")
_IS_WHOLE = pl.col("stratum_variable") == ALL


class GenotypeSource(Protocol):
    """The patients behind `variant_frequencies` (see `ihdsi.disclosure.cohort_genotypes`)."""

    @property
    def patients(self) -> tuple[str, ...]:
        """Everyone who is counted."""

    @property
    def strata(self) -> pl.DataFrame:
        """Columns patient, stratum_variable, stratum."""

    @property
    def panel(self) -> pl.DataFrame:
        """Columns gene_id and gene_name of the study's genes, in their order of release."""

    @property
    def minimum_call_rate(self) -> float:
        """Share of a gene's variants at which a patient needs a genotype to be assessed."""

    def read(self, variants: pl.DataFrame) -> tuple[Int8Array, Int8Array]:
        """Dosage and ploidy at the variants, each of shape (V, P)."""


@dataclass(frozen=True)
class MembershipPower:
    """What a membership attack achieves against a site's germline frequencies.

    Parameters
    ----------
    n_patients
        Patients whose genotypes are counted; None below the study's minimum.
    power_before, power_after
        At `false_positive_rate`: of what the thresholds alone would release (gene rows not
        counted), and of what leaves. The more pessimistic of simulation and formula.
    area_under_curve
        Of the attack on what leaves.
    maximum_power, false_positive_rate
        The limits in force.
    """

    n_patients: int | None
    power_before: float
    power_after: float
    area_under_curve: float
    maximum_power: float
    false_positive_rate: float


@dataclass(frozen=True)
class FrequencyRelease:
    """Both tables with their rules, and the power; None if there was nothing to judge."""

    variants: Judged
    carriers: Judged
    power: MembershipPower | None


def judge_frequencies(context: Context, genotypes: GenotypeSource | None) -> FrequencyRelease:
    """Judge `variant_frequencies`, and make and judge `germline_gene_carriers`.

    Parameters
    ----------
    context
        The thresholds in force and the site's tables. Rows of `germline_gene_carriers` in it are
        withheld: what they count cannot be judged.
    genotypes
        The patients behind the frequencies; without them no frequency leaves.

    Raises
    ------
    InputError
        If the genotypes are not those that were counted.
    """
    frequencies = context.tables["variant_frequencies"]
    given = (
        context.tables["germline_gene_carriers"]
        .select(*germline_gene_carriers.SPEC.schema)
        .with_columns(rule=pl.lit(NOT_JUDGED, dtype=pl.String))
    )
    if frequencies.is_empty():
        empty = Judged(frequencies, frequencies.clear())
        return FrequencyRelease(empty, Judged(given, given.clear()), None)
    settings = context.settings
    # Strata that do not leave reveal nothing, so that the whole is judged without them.
    may_leave = frequencies.filter(_IS_WHOLE | settings.stratified_frequencies)
    strata = frequencies.join(may_leave, on=_KEYS, how="anti", maintain_order="left")
    judged = control_variant_frequencies(may_leave, context)
    if genotypes is None:
        nothing = frequencies.select(VARIANT_KEY).clear()
        return FrequencyRelease(
            _limited(judged, nothing, strata, NOT_JUDGED), Judged(given, given.clear()), None
        )
    choice = _Choice(context, judged.frame, genotypes)
    size, after, with_genotypes = choice.largest()
    chosen = choice.candidates.head(choice.n_variants(size)).select(VARIANT_KEY)
    variants = _limited(judged, chosen, strata, MEMBERSHIP)
    if not with_genotypes:
        variants = _without_genotypes(variants)
    carriers = pl.concat([choice.gene_rows(size), given])
    return FrequencyRelease(variants, Judged(carriers, carriers.clear()), choice.statement(after))


def _without_genotypes(judged: Judged) -> Judged:
    """Set the genotype counts of what leaves to null."""
    counts = ["n_carriers", "n_homozygous"]
    leaves = pl.col("rule").is_null()
    nulled = judged.frame.filter(leaves & pl.col("n_carriers").is_not_null())
    return Judged(
        judged.frame.with_columns(pl.when(~leaves).then(name).alias(name) for name in counts),
        pl.concat([judged.nulled, nulled.with_columns(rule=pl.lit(MEMBERSHIP_GENOTYPES))]),
    )


def _limited(judged: Judged, chosen: pl.DataFrame, strata: pl.DataFrame, rule: str) -> Judged:
    """Withhold the rows of variants that were not chosen, and those of `strata`."""
    kept = judged.frame.join(chosen, on=VARIANT_KEY, how="semi")
    others = (
        judged.frame.join(chosen, on=VARIANT_KEY, how="anti")
        .with_columns(rule=pl.col("rule").fill_null(rule))
        .select(judged.frame.columns)
    )
    frame = pl.concat([kept, others, strata.with_columns(rule=pl.lit(rule))])
    released = frame.filter(pl.col("rule").is_null())
    nulled = judged.nulled.join(released, on=_KEYS, how="semi", maintain_order="left")
    return Judged(frame, nulled)


class _Choice:
    """The list of frequencies of one site, and the power of the attack on its first so many."""

    def __init__(self, context: Context, judged: pl.DataFrame, genotypes: GenotypeSource) -> None:
        self._context, self._genotypes = context, genotypes
        self._settings = context.settings
        self._panel = genotypes.panel.unique("gene_id", keep="first", maintain_order=True)
        whole = judged.filter(_IS_WHOLE & pl.col("rule").is_null())
        names = self._panel["gene_name"].to_list()
        self.candidates = whole[np.argsort(release_priority(whole, names), kind="stable")]
        self._rows, folded = self._foldable()
        self._items = self._ordered(names)
        self._unread = self._rows.join(self._items, on="row", how="anti", maintain_order="left")
        self._n_before = min(self.candidates.height, MOST_GENOTYPES // _N_OTHERS)
        n_read = max(self._n_before, self._items["row"].null_count())
        # Candidates come first and in their order: the place in what is read is that in the list.
        variants = pl.concat(
            [
                self.candidates.head(n_read).select(VARIANT_KEY),
                folded.filter(pl.col("row").is_in(self._items["row"].implode())).select(
                    VARIANT_KEY
                ),
            ]
        ).unique(maintain_order=True)
        self._dosage, self._ploidy = genotypes.read(variants)
        self._check(variants)
        self._folded = folded.join(
            variants.with_row_index("place"), on=VARIANT_KEY, how="inner", maintain_order="left"
        )
        self._groups = self._group_names()
        open_rows = judged.filter(pl.col("rule").is_null()).join(
            variants.head(n_read).with_row_index("place"), on=VARIANT_KEY
        )
        self._released = self._mask(open_rows, n_read)
        self._genotyped = self._mask(open_rows.drop_nulls("n_carriers"), n_read)

    def _foldable(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows (gene and kind) of the panel, in its order, and the variants that count to each."""
        panel = self._panel.with_row_index("gene")
        whole = self._context.tables["variant_frequencies"].filter(_IS_WHOLE)
        kinds = {term: consequence_group(term) for term in whole["consequence"].unique()}
        variants = (
            whole.with_columns(
                consequence_group=pl.col("consequence").replace_strict(kinds).cast(pl.String)
            )
            .drop_nulls("consequence_group")
            .drop("gene_name")
            .join(panel, on="gene_id", how="inner", maintain_order="left")
        )
        rows = (
            variants.group_by("gene", *_ROW, "gene_name")
            .agg(most_carriers=pl.col("n_carriers").sum())
            .sort("gene", "consequence_group")
            .with_row_index("row")
        )
        folded = variants.join(rows.select("row", *_ROW), on=_ROW, maintain_order="left")
        return rows, folded.select(*VARIANT_KEY, "row")

    def _ordered(self, names: list[str]) -> pl.DataFrame:
        """List variants and gene rows in their order of release, as far as any could leave.

        Column row is that of a gene row, null for a variant; variants keep their own order.
        """
        terms = self.candidates["consequence"].unique()
        severity = {term: float(severity_rank(term)) for term in terms}
        variants = self.candidates.with_row_index("rank").select(
            outside=~pl.col("gene_name").is_in(names).fill_null(value=False),
            severity=pl.col("consequence").replace_strict(severity).cast(pl.Float64),
            rank="rank",
            row=pl.lit(None, dtype=pl.get_index_type()),
        )
        kinds = {name: group_severity(name) for name in germline_gene_carriers.GROUPS}
        # Fewer carriers of all its variants together than a cell needs: it cannot leave.
        genes = self._rows.filter(
            pl.col("most_carriers") >= self._settings.minimum_cell_count
        ).select(
            outside=pl.lit(False),
            severity=pl.col("consequence_group").replace_strict(kinds).cast(pl.Float64),
            rank="gene",
            row="row",
        )
        items = pl.concat([variants, genes]).sort("outside", "severity", "rank")
        most = possible_frequencies(
            len(self._genotypes.patients),
            self._settings.maximum_membership_power,
            self._settings.membership_false_positive_rate,
        )
        self._n_listed = items.height
        return items if np.isinf(most) else items.head(int(_MARGIN * most))

    def _check(self, variants: pl.DataFrame) -> None:
        """Refuse genotypes that are not those that the table counted."""
        counted = variants.join(
            self._context.tables["variant_frequencies"].filter(_IS_WHOLE),
            on=VARIANT_KEY,
            how="left",
            maintain_order="left",
        )
        same = (
            self._dosage.sum(axis=1, dtype=np.int64, where=self._ploidy > 0)
            == counted["allele_count"].to_numpy()
        ) & (self._ploidy.sum(axis=1, dtype=np.int64) == counted["allele_number"].to_numpy())
        if not same.all():
            raise InputError(
                Problem(
                    f"the genotypes of {int((~same).sum())} variants are not those that were "
                    "counted",
                    "Make variant_frequencies again from the present call set and decisions.",
                    file="variant_frequencies.parquet",
                )
            )

    def _group_names(self) -> list[tuple[str, str]]:
        whole = [(ALL, ALL)]
        if not self._settings.stratified_frequencies:
            return whole
        names = self._genotypes.strata.select("stratum_variable", "stratum").unique().sort(pl.all())
        return [*whole, *(name for name in names.iter_rows() if name != (ALL, ALL))]

    @cached_property
    def _members(self) -> BoolArray:
        """Patients × groups."""
        place = {name: row for row, name in enumerate(self._genotypes.patients)}
        column = {name: number for number, name in enumerate(self._groups)}
        members = np.zeros((len(place), len(column)), dtype=bool)
        members[:, 0] = True
        for patient, variable, stratum in self._genotypes.strata.select(
            "patient", "stratum_variable", "stratum"
        ).iter_rows():
            if patient in place and (variable, stratum) in column:
                members[place[patient], column[variable, stratum]] = True
        return members

    def _mask(self, open_rows: pl.DataFrame, n_rows: int) -> BoolArray:
        """Rows (by column place) × groups."""
        groups = pl.DataFrame(
            self._groups, schema=["stratum_variable", "stratum"], orient="row"
        ).with_row_index("group")
        hits = open_rows.join(groups, on=["stratum_variable", "stratum"])
        mask = np.zeros((n_rows, len(self._groups)), dtype=bool)
        mask[hits["place"].to_numpy(), hits["group"].to_numpy()] = True
        return mask

    def n_variants(self, size: int) -> int:
        """Variants among the first `size` of the list."""
        return self._items.head(size)["row"].null_count()

    def largest(self) -> tuple[int, PredictedPower, bool]:
        """How many of the list leave, the power of the attack on them, and if with genotype counts.

        All of the list with them, or else as many as can without.
        """
        size, limit = self._items.height, self._settings.maximum_membership_power
        if size == self._n_listed and self._formula(size, with_genotypes=True) <= limit:
            power = self._power(*self._matrices(size, with_genotypes=True))
            if power.pessimistic <= limit:
                return size, power, True
        size, power = largest_prefix(
            size,
            lambda size: self._power(*self._matrices(size, with_genotypes=False)),
            lambda size: self._formula(size, with_genotypes=False),
            limit,
        )
        return size, power, False

    def _formula(self, size: int, *, with_genotypes: bool) -> float:
        _, ploidy, groups = self._matrices(size, with_genotypes=with_genotypes)
        return combined_power(ploidy, groups, self._settings.membership_false_positive_rate)

    def _power(
        self,
        dosage: Int8Array,
        ploidy: Int8Array,
        groups: ReleasedGroups,
        n_draws: int = _N_DRAWS,
    ) -> PredictedPower:
        # No frequencies of a resource: people of another ancestry would be told from the patients
        # by it, and ancestry is not membership.
        return predict_power(
            dosage,
            ploidy,
            groups=groups,
            false_positive_rate=self._settings.membership_false_positive_rate,
            n_draws=n_draws,
            n_others=_N_OTHERS,
        )

    def _matrices(
        self, size: int, *, with_genotypes: bool
    ) -> tuple[Int8Array, Int8Array, ReleasedGroups]:
        """Everything that leaves with the first `size`: variants, then gene rows as 0 and 1."""
        carriers, assessed, judged = self._counted(size)
        mask = self._mask(judged.filter(pl.col("rule").is_null()), len(carriers))
        dosage, ploidy, released = self._frequencies(self.n_variants(size), with_genotypes)
        leaves = mask.any(axis=1)
        return (
            np.concatenate([dosage, carriers[leaves].astype(np.int8)]),
            np.concatenate([ploidy, assessed[leaves].astype(np.int8)]),
            ReleasedGroups(self._members, np.concatenate([released, mask[leaves]])),
        )

    def _frequencies(
        self, n_variants: int, with_genotypes: bool
    ) -> tuple[Int8Array, Int8Array, BoolArray]:
        """Frequencies that leave with the first variants: dosage, ploidy, and of which groups.

        Genotype counts are the frequency of carriers among the called, and that of homozygotes
        among the carriers; their likelihoods multiply to that of the genotype.
        """
        dosage, ploidy = self._dosage[:n_variants], self._ploidy[:n_variants]
        released, genotyped = self._released[:n_variants], self._genotyped[:n_variants]
        if not with_genotypes:
            return dosage, ploidy, released
        alleles_only = released & ~genotyped
        plain, double = alleles_only.any(axis=1), genotyped.any(axis=1)
        called = ploidy[double] > 0
        carried = called & (dosage[double] > 0)
        return (
            np.concatenate([dosage[plain], carried, carried & (dosage[double] > 1)]),
            np.concatenate([ploidy[plain], called, carried]),
            np.concatenate([alleles_only[plain], genotyped[double], genotyped[double]]),
        )

    def _counted(self, size: int) -> tuple[BoolArray, BoolArray, pl.DataFrame]:
        """Carriers and assessed (rows × patients) of the gene rows that are listed by then.

        The frame holds their counts by group with rule and place. The variants that leave by
        themselves are the first of what was read; all others count.
        """
        rows = self._items.head(size).drop_nulls("row").select("row").with_row_index("place")
        folded = self._folded.filter(pl.col("place") >= self.n_variants(size)).join(
            rows.rename({"place": "line"}), on="row"
        )
        taken = folded["place"].to_numpy()
        carriers, assessed = carriers_of_rows(
            self._dosage[taken],
            self._ploidy[taken],
            folded["line"].to_numpy(),
            rows.height,
            self._genotypes.minimum_call_rate,
        )
        members = self._members.astype(np.int64)
        n_groups = len(self._groups)
        frame = pl.DataFrame(
            {
                "place": np.repeat(np.arange(rows.height), n_groups),
                "group": np.tile(np.arange(n_groups), rows.height),
                "n_assessed": (assessed @ members).ravel(),
                "n_carriers": (carriers @ members).ravel(),
            },
            schema_overrides={"place": pl.get_index_type()},
        )
        released = folded.join(self._context.released_variants, on=VARIANT_KEY, how="semi")
        return carriers, assessed, self._judged_rows(frame, rows, released["row"])

    def _judged_rows(
        self, counts: pl.DataFrame, rows: pl.DataFrame, rows_with_released: pl.Series
    ) -> pl.DataFrame:
        """Judge gene rows; not those with a variant that left by itself in an earlier release."""
        variable, stratum = (list(part) for part in zip(*self._groups, strict=True))
        table = (
            counts.join(rows, on="place", maintain_order="left")
            .join(self._rows.select("row", *_ROW, "gene_name"), on="row", maintain_order="left")
            .with_columns(
                stratum_variable=pl.lit(pl.Series(variable)).gather(pl.col("group")),
                stratum=pl.lit(pl.Series(stratum)).gather(pl.col("group")),
            )
            .filter(pl.col("n_assessed") > 0)
            .select(*germline_gene_carriers.SPEC.schema, "place", "row")
        )
        # This table is made here, so that it has not been compared with earlier releases yet.
        table = self._context.mark("germline_gene_carriers", table).with_columns(
            rule=pl.when(pl.col("row").is_in(rows_with_released.implode()))
            .then(pl.lit(DIFFERENCING))
            .otherwise("rule")
        )
        return control_germline_gene_carriers(table, self._context).frame

    def gene_rows(self, size: int) -> pl.DataFrame:
        """Rows of `germline_gene_carriers` with rule, if the first `size` of the list leave."""
        columns = [*germline_gene_carriers.SPEC.schema, "rule"]
        _, _, judged = self._counted(size)
        later = pl.concat(
            [
                self._items.tail(self._items.height - size).select("row").drop_nulls(),
                self._unread.select("row"),
            ]
        )
        # Nobody counted these; that they are withheld is all there is to say.
        uncounted = self._rows.join(later, on="row", maintain_order="left").select(
            *_ROW,
            "gene_name",
            stratum_variable=pl.lit(ALL),
            stratum=pl.lit(ALL),
            n_assessed=pl.lit(None, dtype=pl.Int64),
            n_carriers=pl.lit(None, dtype=pl.Int64),
            rule=pl.when(pl.col("most_carriers") < self._settings.minimum_cell_count)
            .then(pl.lit(MINIMUM_CELL_COUNT))
            .otherwise(pl.lit(MEMBERSHIP)),
        )
        return pl.concat([judged.select(columns), uncounted.select(columns)])

    def statement(self, after: PredictedPower) -> MembershipPower:
        """State the power before (variants that the other rules let leave) and after."""
        settings, n = self._settings, len(self._genotypes.patients)
        dosage, ploidy, released = self._frequencies(self._n_before, with_genotypes=True)
        before = self._power(
            dosage,
            ploidy,
            ReleasedGroups(self._members, released),
            _N_DRAWS if self._n_before <= self._items.height else _N_ROUGH_DRAWS,
        )
        rate = settings.membership_false_positive_rate
        # Of more variants than can be simulated the formula speaks for the rest.
        n_before = self.candidates.height + self.candidates["n_carriers"].count()
        return MembershipPower(
            n_patients=n if n >= settings.minimum_n else None,
            power_before=round(max(before.pessimistic, analytic_power(n_before, n, rate)), 3),
            power_after=round(after.pessimistic, 3),
            area_under_curve=round(after.area_under_curve, 3),
            maximum_power=settings.maximum_membership_power,
            false_positive_rate=rate,
        )
