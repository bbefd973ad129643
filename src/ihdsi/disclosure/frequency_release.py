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

The limit holds for everything that ever left: the attack is on the union of earlier releases and
the one at hand (see `ihdsi.disclosure.released_frequencies`), among the patients of the release
where it does best. What left before with the same counts of the same patients tells nothing new; it
comes first in the list and may leave again whatever the power is. Where earlier releases alone
exceed the limit, because a signed override allowed it then or because the cohort changed, nothing
else leaves: what an override let leave counts in later releases as all else.
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
from ihdsi.disclosure.released_frequencies import (
    GENE_ROW,
    NEVER,
    CountedPeople,
    ReleasedLines,
    people_of_releases,
    released_lines,
)
from ihdsi.disclosure.tables import Context, Judged
from ihdsi.disclosure.tables.reasons import (
    DIFFERENCING,
    MEMBERSHIP,
    MEMBERSHIP_GENOTYPES,
    MINIMUM_CELL_COUNT,
    NOT_JUDGED,
)
from ihdsi.disclosure.tables.variant_frequencies import (
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
_ROW = GENE_ROW
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
        counted), and of what leaves, both with what left before. The more pessimistic of
        simulation and formula.
    area_under_curve
        Of the attack on what leaves and what left before.
    maximum_power, false_positive_rate
        The limits in force.
    exceeded_before
        Whether earlier releases alone exceed `maximum_power`, so that nothing new leaves.
    """

    n_patients: int | None
    power_before: float
    power_after: float
    area_under_curve: float
    maximum_power: float
    false_positive_rate: float
    exceeded_before: bool


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
        variants = _without_genotypes(variants, choice.known_genotypes)
    carriers = pl.concat([choice.gene_rows(size), given])
    return FrequencyRelease(variants, Judged(carriers, carriers.clear()), choice.statement(after))


def _without_genotypes(judged: Judged, known: pl.DataFrame) -> Judged:
    """Set the genotype counts of what leaves to null, but of rows (`_KEYS`) that are `known`."""
    counts = ["n_carriers", "n_homozygous"]
    frame = judged.frame.join(
        known.select(*_KEYS, _known=pl.lit(value=True)),
        on=_KEYS,
        how="left",
        maintain_order="left",
    ).with_columns(_null=pl.col("rule").is_null() & pl.col("_known").is_null())
    nulled = frame.filter(pl.col("_null") & pl.col("n_carriers").is_not_null())
    return Judged(
        frame.with_columns(
            pl.when(~pl.col("_null")).then(name).alias(name) for name in counts
        ).select(judged.frame.columns),
        pl.concat(
            [
                judged.nulled,
                nulled.select(judged.frame.columns).with_columns(rule=pl.lit(MEMBERSHIP_GENOTYPES)),
            ]
        ),
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
        self._earlier = context.earlier_frequencies
        self._groups = self._group_names()
        open_rows = judged.filter(pl.col("rule").is_null())
        unchanged = self._unchanged_variants(open_rows)
        whole = open_rows.filter(_IS_WHOLE)
        names = self._panel["gene_name"].to_list()
        ranked = whole[np.argsort(release_priority(whole, names), kind="stable")]
        self.candidates = pl.concat(
            [
                ranked.join(unchanged, on=VARIANT_KEY, how="semi", maintain_order="left"),
                ranked.join(unchanged, on=VARIANT_KEY, how="anti", maintain_order="left"),
            ]
        )
        self._n_unchanged = unchanged.height
        self._rows, folded = self._foldable()
        told_rows = self._rows.join(self._earlier.genes, on=_ROW, how="semi", maintain_order="left")
        self._items = self._ordered(names, self._n_unchanged + told_rows.height)
        self._n_before = min(self.candidates.height, MOST_GENOTYPES // _N_OTHERS)
        n_read = max(self._n_before, self._items["row"].null_count())
        read_rows = pl.concat([self._items["row"].drop_nulls(), told_rows["row"]])
        # Candidates come first and in their order: the place in what is read is that in the list.
        variants = pl.concat(
            [
                self.candidates.head(n_read).select(VARIANT_KEY),
                folded.filter(pl.col("row").is_in(read_rows.implode())).select(VARIANT_KEY),
                self._told_at_hand(),
            ]
        ).unique(maintain_order=True)
        self._variants = variants
        self._dosage, self._ploidy = genotypes.read(variants)
        self._check(variants)
        self._folded = folded.join(
            variants.with_row_index("place"), on=VARIANT_KEY, how="inner", maintain_order="left"
        )
        placed = open_rows.join(variants.head(n_read).with_row_index("place"), on=VARIANT_KEY)
        self._released = self._mask(placed, n_read)
        self._genotyped = self._mask(placed.drop_nulls("n_carriers"), n_read)
        self._told = self._told_variants(variants)
        self._told_genes, self._told_place = self._lines_of_genes(told_rows)
        self._unread = self._rows.join(self._items, on="row", how="anti", maintain_order="left")

    @cached_property
    def _people(self) -> CountedPeople:
        return people_of_releases(self._genotypes.patients, self._members, self._earlier)

    def _told_at_hand(self) -> pl.DataFrame:
        """Variants of earlier releases that the table at hand counts, too."""
        return (
            self._context.tables["variant_frequencies"]
            .filter(_IS_WHOLE)
            .join(self._earlier.variants, on=VARIANT_KEY, how="semi", maintain_order="left")
            .select(VARIANT_KEY)
        )

    @cached_property
    def _same_groups(self) -> pl.DataFrame:
        """Groups of the release at hand that earlier ones had: their names, and number as there."""
        members = self._people.members[:, : len(self._groups)]
        rows = [
            (*name, group)
            for name, patients in zip(self._groups, members.T, strict=True)
            for group, column in enumerate(self._people.column)
            if (self._people.members[:, column] == patients).all()
        ]
        schema = {"stratum_variable": pl.String, "stratum": pl.String, "group": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _unchanged_variants(self, open_rows: pl.DataFrame) -> pl.DataFrame:
        """Variants whose rows all left before with the counts that they have now.

        Notes the rows whose genotype counts did (`known_genotypes`).
        """
        strata = ["stratum_variable", "stratum"]
        told = self._earlier.variants.rename({"n_carriers": "_n_carriers"}).join(
            self._same_groups, on="group"
        )
        compared = open_rows.join(
            told.with_columns(_told=pl.lit(value=True)),
            on=[*VARIANT_KEY, *strata, "allele_count", "allele_number"],
            how="left",
            maintain_order="left",
        )
        self.known_genotypes = compared.filter(
            pl.col("_told") & (pl.col("n_carriers") == pl.col("_n_carriers"))
        ).select(_KEYS)
        return (
            compared.group_by(VARIANT_KEY)
            .agg(pl.col("_told").is_not_null().all())
            .filter("_told")
            .select(VARIANT_KEY)
        )

    def _told_variants(self, variants: pl.DataFrame) -> ReleasedLines:
        """Place what was told of variants on those that were read; the patients' genotypes stay."""
        counted = self._context.tables["variant_frequencies"].join(
            self._same_groups, on=["stratum_variable", "stratum"]
        )
        told = released_lines(
            self._earlier.variants,
            VARIANT_KEY,
            ("allele_count", "allele_number"),
            variants,
            counted,
            self._people,
        )
        told.dosage[: len(self._dosage), : self._people.n_patients] = self._dosage
        told.ploidy[: len(self._dosage), : self._people.n_patients] = self._ploidy
        return told

    def _lines_of_genes(self, told_rows: pl.DataFrame) -> tuple[ReleasedLines, dict[int, int]]:
        """Place what was told of genes, with the line of each row of a gene at hand.

        Rows that leave again with the same counts are put first in the list.
        """
        lines = told_rows.select("row", place=pl.int_range(pl.len(), dtype=pl.get_index_type()))
        _, _, judged = self._count_rows(lines, self._n_unchanged)
        told = self._earlier.genes.join(self._same_groups, on="group")
        names = ["stratum_variable", "stratum", "n_assessed", "n_carriers"]
        again = (
            judged.filter(pl.col("rule").is_null())
            .join(
                told.with_columns(_told=pl.lit(value=True)),
                on=[*_ROW, *names],
                how="left",
                maintain_order="left",
            )
            .group_by("row")
            .agg(pl.col("_told").is_not_null().all())
            .filter("_told")["row"]
        )
        self._items = self._ordered(self._panel["gene_name"].to_list(), self._n_unchanged, again)
        self._n_unchanged += len(again)
        placed = released_lines(
            self._earlier.genes,
            _ROW,
            ("n_carriers", "n_assessed"),
            told_rows.select(_ROW),
            judged.join(self._same_groups, on=["stratum_variable", "stratum"]),
            self._people,
            copies=1,
        )
        return placed, dict(lines.iter_rows())

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

    def _ordered(
        self, names: list[str], n_further: int, first_rows: pl.Series | None = None
    ) -> pl.DataFrame:
        """List variants and gene rows in their order of release, as far as any could leave.

        Column row is that of a gene row, null for a variant; variants keep their own order. The
        first variants and `first_rows` leave again as they did, and come first.
        """
        again = (
            pl.Series("row", [], dtype=pl.get_index_type()) if first_rows is None else first_rows
        )
        ranked = self.candidates.with_row_index("rank")
        items = (
            self._in_order(ranked, names)
            .with_columns(
                new=pl.when(pl.col("row").is_null())
                .then(pl.col("rank") >= self._n_unchanged)
                .otherwise(~pl.col("row").is_in(again.implode()))
            )
            .sort("new", maintain_order=True)
        )
        most = possible_frequencies(
            len(self._genotypes.patients),
            self._settings.maximum_membership_power,
            self._settings.membership_false_positive_rate,
        )
        self._n_listed = items.height
        return items if np.isinf(most) else items.head(int(_MARGIN * most) + n_further + len(again))

    def _in_order(self, variants: pl.DataFrame, names: list[str]) -> pl.DataFrame:
        """Sort variants, which have a rank, and gene rows into one list: rank and row."""
        terms = variants["consequence"].unique()
        severity = {term: float(severity_rank(term)) for term in terms}
        kinds = {name: group_severity(name) for name in germline_gene_carriers.GROUPS}
        # Fewer carriers of all its variants together than a cell needs: it cannot leave.
        genes = self._rows.filter(
            pl.col("most_carriers") >= self._settings.minimum_cell_count
        ).select(
            outside=pl.lit(False),
            severity=pl.col("consequence_group").replace_strict(kinds).cast(pl.Float64),
            rank=pl.col("gene").cast(pl.Int64),
            row="row",
        )
        lines = variants.select(
            outside=~pl.col("gene_name").is_in(names).fill_null(value=False),
            severity=pl.col("consequence").replace_strict(severity).cast(pl.Float64),
            rank=pl.col("rank").cast(pl.Int64),
            row=pl.lit(None, dtype=pl.get_index_type()),
        )
        return pl.concat([lines, genes]).sort("outside", "severity", "rank")

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
            self._n_unchanged,
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
        """Everything that left or leaves with the first `size`: variants, and gene rows as 0 and 1.

        What left before comes first, in the order of the releases: so it meets the same simulated
        people again, and chance does not change what was found of it.
        """
        carriers, assessed, judged = self._counted(size)
        mask = self._mask(judged.filter(pl.col("rule").is_null()), len(carriers))
        dosage, ploidy, released, place = self._frequencies(self.n_variants(size), with_genotypes)
        told, people = self._told_genes, self._people
        leaves = np.flatnonzero(mask.any(axis=1))
        rows = self._items.head(size)["row"].drop_nulls().to_numpy()[leaves]
        shape = (len(rows), len(people.members))
        own, counted = np.zeros(shape, dtype=np.int8), np.zeros(shape, dtype=np.int8)
        groups = np.zeros((len(rows), people.members.shape[1]), dtype=bool)
        line = np.array([self._told_place.get(int(row), -1) for row in rows], dtype=np.intp)
        again = line >= 0
        own[again], counted[again] = told.dosage[line[again]], told.ploidy[line[again]]
        groups[again] = told.released[line[again]]
        own[:, : people.n_patients] = carriers[leaves]
        counted[:, : people.n_patients] = assessed[leaves]
        groups[:, : people.n_groups] |= mask[leaves]
        other = np.asarray(told.released.any(axis=1))
        other[line[again]] = False
        variant_places, gene_places = self._places
        line_places = np.full(len(other), variant_places.max(initial=0) + 1, dtype=np.intp)
        for row, number in self._told_place.items():
            line_places[number] = gene_places.get(row, line_places[number])
        places = [
            variant_places[place],
            np.array([gene_places[int(row)] for row in rows], dtype=np.intp),
            line_places[other],
        ]
        first = [
            self._told.first[place],
            np.where(again, np.append(told.first, NEVER)[line], NEVER),
            told.first[other],
        ]
        order = np.lexsort([np.concatenate(places), np.concatenate(first)])
        masks = np.concatenate([released, groups, told.released[other]])[order]
        # Of whom nothing leaves nobody can tell that a release counted them.
        cohorts = people.cohorts
        if cohorts.shape[1] > 1 and not masks[:, : people.n_groups].any():
            cohorts = cohorts[:, 1:]
        return (
            np.concatenate([dosage, own, told.dosage[other]])[order],
            np.concatenate([ploidy, counted, told.ploidy[other]])[order],
            ReleasedGroups(people.members, masks, cohorts),
        )

    @cached_property
    def _places(self) -> tuple[NDArray[np.intp], dict[int, int]]:
        """Place of each line of variants and each gene row in the order of release.

        It follows from the variants alone, so that it is the same in every release; what is not at
        hand any more comes last.
        """
        names = self._panel["gene_name"].to_list()
        whole = self._context.tables["variant_frequencies"].filter(_IS_WHOLE)
        at_hand = self._variants.join(whole, on=VARIANT_KEY, how="left", maintain_order="left")
        ranks = pl.Series(release_priority(at_hand, names))
        order = self._in_order(at_hand.with_columns(rank=ranks), names)
        places = at_hand.height + self._rows.height + np.arange(len(self._told.dosage))
        # Lines are found again by their rank.
        variants = order.with_row_index("place").filter(pl.col("row").is_null())
        lines = np.argsort(ranks.to_numpy())[variants["rank"].to_numpy()]
        places[lines] = variants["place"].to_numpy()
        genes = order.with_row_index("place").drop_nulls("row").select("row", "place")
        return places, dict(genes.iter_rows())

    def _frequencies(
        self, n_variants: int, with_genotypes: bool
    ) -> tuple[Int8Array, Int8Array, BoolArray, NDArray[np.intp]]:
        """Frequencies that left, or leave with the first variants.

        Genotype counts are the frequency of carriers among the called, and that of homozygotes
        among the carriers; their likelihoods multiply to that of the genotype. Gives dosage,
        ploidy, of which groups they leave, and the lines of the variants.
        """
        told = self._told
        further = np.flatnonzero(told.released[n_variants:].any(axis=1)) + n_variants
        rows = np.concatenate([np.arange(n_variants), further])
        dosage, ploidy = told.dosage[rows], told.ploidy[rows]
        released: BoolArray = told.released[rows]
        genotyped: BoolArray = told.genotyped[rows]
        n_groups = self._people.n_groups
        released[:n_variants, :n_groups] |= self._released[:n_variants]
        if with_genotypes:
            genotyped[:n_variants, :n_groups] |= self._genotyped[:n_variants]
        if not genotyped.any():
            return dosage, ploidy, released, rows
        alleles_only = released & ~genotyped
        plain, double = alleles_only.any(axis=1), genotyped.any(axis=1)
        called = ploidy[double] > 0
        carried = called & (dosage[double] > 0)
        return (
            np.concatenate([dosage[plain], carried, carried & (dosage[double] > 1)]),
            np.concatenate([ploidy[plain], called, carried]),
            np.concatenate([alleles_only[plain], genotyped[double], genotyped[double]]),
            np.concatenate([rows[plain], rows[double], rows[double]]),
        )

    def _counted(self, size: int) -> tuple[BoolArray, BoolArray, pl.DataFrame]:
        """Carriers and assessed (rows × patients) of the gene rows that are listed by then.

        The frame holds their counts by group with rule and place. The variants that leave by
        themselves are the first of what was read; all others count.
        """
        rows = self._items.head(size).drop_nulls("row").select("row").with_row_index("place")
        return self._count_rows(rows, self.n_variants(size))

    def _count_rows(
        self, rows: pl.DataFrame, n_variants: int
    ) -> tuple[BoolArray, BoolArray, pl.DataFrame]:
        """Count gene rows (row, place) if the first `n_variants` leave by themselves."""
        folded = self._folded.filter(pl.col("place") >= n_variants).join(
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
        dosage, ploidy, released, place = self._frequencies(self._n_before, with_genotypes=True)
        # In the order of `_matrices`: where all of it leaves, the power is the same.
        order = np.lexsort([self._places[0][place], self._told.first[place]])
        before = self._power(
            dosage[order],
            ploidy[order],
            ReleasedGroups(self._people.members, released[order], self._people.cohorts),
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
            exceeded_before=bool(self._earlier)
            and after.pessimistic > settings.maximum_membership_power,
        )
