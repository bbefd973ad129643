"""Germline frequencies that left before, as the membership attack of all releases needs them.

Whoever has two releases attacks with both. What counts is therefore the union: every allele
frequency, genotype count and number of carriers that ever left, with the patients whom it counted
then (the ledger keeps their hashes). Counts that left twice of the same patients are one frequency.

A site has the genotypes of today's patients only. Where a variant is still at hand, these stand for
those of then. For patients who left the cohort, and for variants and genes that are not at hand any
more or whose counts changed although the patients are the same, genotypes are drawn: the released
alleles are dealt by lot to those who were counted, which is all that the release tells of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.disclosure.members import members_of
from ihdsi.summaries.registry import TABLES
from ihdsi.summaries.strata import ALL
from ihdsi.summaries.variant_frequencies import VARIANT_KEY

__all__ = [
    "GENE_ROW",
    "NEVER",
    "CountedPeople",
    "EarlierFrequencies",
    "ReleasedLines",
    "alleles_by_lot",
    "earlier_frequencies",
    "people_of_releases",
    "released_lines",
]

#: Key of a row of `germline_gene_carriers` besides its stratum.
GENE_ROW = ("gene_id", "consequence_group")

BoolArray = NDArray[np.bool_]
Int8Array = NDArray[np.int8]

_POPULATION = "germline"
_WHOLE = (ALL, ALL)
_DIPLOID = 2
#: Number of no release: behind all others.
NEVER = np.iinfo(np.int64).max
#: Rows of alleles that are dealt at a time.
_BLOCK = 2_000


class _Release(Protocol):
    @property
    def sequence(self) -> int: ...
    @property
    def tables(self) -> Mapping[str, pl.DataFrame]: ...
    @property
    def populations(self) -> pl.DataFrame: ...


@dataclass(frozen=True)
class EarlierFrequencies:
    """What earlier releases told, each frequency once, that of the latest release first.

    Parameters
    ----------
    variants
        `VARIANT_KEY`, group, allele_count, allele_number, n_carriers (null where it never left) and
        first, the number of the first release that told it.
    genes
        gene_id, consequence_group, group, n_assessed, n_carriers and first.
    groups
        Hashes of the patients of each group, by the number in column group.
    cohorts
        Numbers of the groups that were everyone whom a release counted.
    hashes
        Hash of each patient of the release at hand, by name.
    """

    variants: pl.DataFrame
    genes: pl.DataFrame
    groups: tuple[frozenset[str], ...]
    cohorts: tuple[int, ...]
    hashes: Mapping[str, str]

    def __bool__(self) -> bool:
        """Whether any frequency left."""
        return bool(self.variants.height or self.genes.height)


def earlier_frequencies(
    earlier: Sequence[_Release], populations: pl.DataFrame | None
) -> EarlierFrequencies:
    """Collect the germline frequencies of earlier releases.

    Parameters
    ----------
    earlier
        All releases that left (see `ihdsi.disclosure.differencing.EarlierRelease`).
    populations
        Whom the tables at hand count: population, stratum_variable, stratum, patient_hash, and
        patient, where hashes are not the names themselves. Needed if there are earlier releases.
    """
    now = pl.DataFrame() if populations is None else populations
    germline = now.filter(pl.col("population") == _POPULATION) if now.width else now
    name = "patient" if "patient" in germline.columns else "patient_hash"
    hashes = dict(germline.select(name, hashed="patient_hash").iter_rows()) if now.width else {}
    numbers: dict[frozenset[str], int] = {}
    tables: dict[str, list[pl.DataFrame]] = {
        "variant_frequencies": [],
        "germline_gene_carriers": [],
    }
    cohorts: list[int] = []
    for release in sorted(earlier, key=lambda release: -release.sequence):
        counted = release.populations.filter(pl.col("population") == _POPULATION)
        members = members_of(counted).get(_POPULATION, {})
        told = {
            table: frame
            for table in tables
            if (frame := release.tables.get(table)) is not None and not frame.is_empty()
        }
        # Of whom nobody recorded whom they count differencing lets nothing leave again; today's
        # patients stand for them.
        everyone = members.get(_WHOLE, frozenset(hashes.values()))
        if told:
            cohorts.append(numbers.setdefault(everyone, len(numbers)))
        for table, frame in told.items():
            strata = frame.select("stratum_variable", "stratum").unique()
            groups = [
                numbers.setdefault(members.get(stratum, everyone), len(numbers))
                for stratum in strata.iter_rows()
            ]
            tables[table].append(
                frame.join(
                    strata.with_columns(group=pl.Series(groups, dtype=pl.Int64)),
                    on=["stratum_variable", "stratum"],
                    maintain_order="left",
                ).with_columns(first=pl.lit(release.sequence, dtype=pl.Int64))
            )
    return EarlierFrequencies(
        _each_once(
            tables["variant_frequencies"],
            "variant_frequencies",
            (*VARIANT_KEY, "group", "allele_count", "allele_number"),
            "n_carriers",
        ),
        _each_once(
            tables["germline_gene_carriers"],
            "germline_gene_carriers",
            (*GENE_ROW, "group", "n_assessed", "n_carriers"),
        ),
        tuple(numbers),
        tuple(dict.fromkeys(cohorts)),
        hashes,
    )


def _each_once(
    frames: Sequence[pl.DataFrame], table: str, columns: Sequence[str], *most: str
) -> pl.DataFrame:
    schema: dict[str, Any] = {
        name: TABLES[table].schema.get(name, pl.Int64) for name in (*columns, *most, "first")
    }
    parts = [pl.DataFrame(schema=schema), *(frame.select(list(schema)) for frame in frames)]
    return (
        pl.concat(parts)
        .group_by(columns, maintain_order=True)
        .agg(*(pl.col(name).max() for name in most), pl.col("first").min())
    )


@dataclass(frozen=True)
class CountedPeople:
    """Today's patients, then those who left; and the groups of which frequencies were released.

    Parameters
    ----------
    n_patients
        Today's.
    members
        Shape (people, groups): the groups of the release at hand come first.
    n_groups
        Groups of the release at hand.
    column
        Column of `members` of each group of `EarlierFrequencies.groups`.
    cohorts
        Shape (people, releases): whom the release at hand and earlier ones count, each set once.
    """

    n_patients: int
    members: BoolArray
    n_groups: int
    column: NDArray[np.intp]
    cohorts: BoolArray

    def is_present(self, group: int) -> bool:
        """Whether an earlier group is one of the release at hand."""
        return bool(self.column[group] < self.n_groups)


def people_of_releases(
    patients: Sequence[str], members: BoolArray, earlier: EarlierFrequencies
) -> CountedPeople:
    """Join the patients and groups of the release at hand with those of earlier ones.

    Parameters
    ----------
    patients, members
        The P patients of the release at hand, and their groups, shape (P, G); the first group is
        all of them.
    earlier
        What left before.

    Raises
    ------
    ValueError
        If a patient is not among the populations of the release at hand.
    """
    if not earlier:
        nobody = np.zeros(len(earlier.groups), dtype=np.intp)
        return CountedPeople(len(patients), members, members.shape[1], nobody, members[:, :1])
    unknown = [patient for patient in patients if patient not in earlier.hashes]
    if unknown:
        raise ValueError(
            f"nobody said whom the germline frequencies count ({len(unknown)} patients are not in "
            "the populations); nothing leaves without that"
        )
    hashes = [earlier.hashes[patient] for patient in patients]
    left = sorted(frozenset().union(*earlier.groups) - set(hashes))
    people = np.array([*hashes, *left], dtype=object)
    padded = np.zeros((len(people), members.shape[1]), dtype=bool)
    padded[: len(patients)] = members
    columns = {
        frozenset(people[column]): number for number, column in reversed(list(enumerate(padded.T)))
    }
    further = [group for group in earlier.groups if group not in columns]
    columns |= {group: padded.shape[1] + number for number, group in enumerate(further)}
    others = np.array([[person in group for group in further] for person in people], dtype=bool)
    joined = np.concatenate([padded, others.reshape(len(people), len(further))], axis=1)
    column = np.array([columns[group] for group in earlier.groups], dtype=np.intp)
    wholes = dict.fromkeys([0, *(int(column[number]) for number in earlier.cohorts)])
    releases = [whole for whole in wholes if joined[:, whole].any()]
    return CountedPeople(len(patients), joined, members.shape[1], column, joined[:, releases])


def alleles_by_lot(
    carried: NDArray[np.integer],
    called: NDArray[np.integer],
    n_people: int,
    rng: np.random.Generator,
    copies: int = _DIPLOID,
) -> tuple[Int8Array, Int8Array]:
    """Deal counted alleles to those who were counted, all ways being as likely.

    Parameters
    ----------
    carried, called
        Alternate and called alleles of each of V rows; cut to what the people can have.
    n_people, copies
        P people, each with so many copies.
    rng
        Of the lot.

    Returns
    -------
    tuple
        Dosage and ploidy, shape (V, P).
    """
    dosage = np.zeros((len(called), n_people), dtype=np.int8)
    ploidy = np.zeros_like(dosage)
    for start in range(0, len(called), _BLOCK):
        rows = slice(start, start + _BLOCK)
        shape = (len(called[rows]), n_people, copies)
        place = rng.random((shape[0], n_people * copies)).argsort(axis=1).argsort(axis=1)
        ploidy[rows] = (place < called[rows][:, None]).reshape(shape).sum(axis=2)
        least = np.minimum(carried[rows], called[rows])
        dosage[rows] = (place < least[:, None]).reshape(shape).sum(axis=2)
    return dosage, ploidy


@dataclass(frozen=True)
class ReleasedLines:
    """Earlier frequencies as genotypes, drawn by lot, and the groups of which they left.

    Parameters
    ----------
    dosage, ploidy
        Shape (lines, people); ploidy 0 where no frequency that left counted the person.
    released, genotyped
        Shape (lines, groups): where the allele frequency left, and where genotype counts did.
    first
        Shape (lines,): number of the first release that told something of the line; `NEVER` where
        none did.
    """

    dosage: Int8Array
    ploidy: Int8Array
    released: BoolArray
    genotyped: BoolArray
    first: NDArray[np.int64]


def released_lines(
    told: pl.DataFrame,
    keys: Sequence[str],
    counts: tuple[str, str],
    at_hand: pl.DataFrame,
    counted: pl.DataFrame,
    people: CountedPeople,
    copies: int = _DIPLOID,
) -> ReleasedLines:
    """Place earlier frequencies on the lines of what is at hand, or else on lines of their own.

    Frequencies of one variant in several groups stand on one line, where the attacker combines
    them. One whose counts are not today's although the patients are stands on a line of its own: it
    is a second measurement.

    Parameters
    ----------
    told, keys
        A table of `EarlierFrequencies`, and the columns of its key without group.
    counts
        Names of the smaller and the larger count, of carried and of called alleles.
    at_hand
        `keys` of what is at hand, in the order of the first lines.
    counted
        `keys`, group and both counts of today, of groups that earlier releases had as well.
    people
        From `people_of_releases`.
    copies
        Of each person: 2 alleles, or 1 where carriers are counted.
    """
    present = [group for group in range(len(people.column)) if people.is_present(group)]
    key = list(keys)
    entries = (
        told.join(at_hand.with_row_index("line"), on=key, how="left", maintain_order="left")
        .join(
            counted.select(*key, "group", *counts, same=pl.lit(value=True)),
            on=[*key, "group", *counts],
            how="left",
            maintain_order="left",
        )
        .with_columns(
            fits=pl.col("line").is_not_null()
            & (pl.col("same").fill_null(value=False) | ~pl.col("group").is_in(present))
        )
        .with_columns(nth=pl.int_range(pl.len()).over(*key, "group", "fits"))
        .with_columns(fits=pl.col("fits") & (pl.col("nth") == 0))
        .with_columns(nth=pl.int_range(pl.len()).over(*key, "group", "fits"))
        .with_columns(own=pl.struct(*key, "nth").rank("dense").over("fits").cast(pl.Int64))
    )
    line = np.where(
        entries["fits"], entries["line"].fill_null(0), at_hand.height - 1 + entries["own"]
    ).astype(np.intp)
    n_lines = max(at_hand.height, int(line.max(initial=-1)) + 1)
    n_people, n_groups = people.members.shape
    dosage = np.zeros((n_lines, n_people), dtype=np.int8)
    ploidy = np.zeros_like(dosage)
    released = np.zeros((n_lines, n_groups), dtype=bool)
    genotyped = np.zeros_like(released)
    groups = entries["group"].to_numpy()
    carried, called = (entries[name].to_numpy() for name in counts)
    rng = np.random.default_rng(0)
    # The latest release comes first in the table: it is dealt last, and stays.
    for group in reversed(list(dict.fromkeys(groups.tolist()))):
        rows = np.flatnonzero(groups == group)
        column = people.column[group]
        counted_people = np.flatnonzero(people.members[:, column])
        place = np.ix_(line[rows], counted_people)
        dosage[place], ploidy[place] = alleles_by_lot(
            carried[rows], called[rows], len(counted_people), rng, copies
        )
        released[line[rows], column] = True
    if copies == _DIPLOID:
        with_counts = entries["n_carriers"].is_not_null().to_numpy()
        genotyped[line[with_counts], people.column[groups[with_counts]]] = True
    first = np.full(n_lines, NEVER, dtype=np.int64)
    np.minimum.at(first, line, entries["first"].to_numpy())
    return ReleasedLines(dosage, ploidy, released, genotyped, first)
