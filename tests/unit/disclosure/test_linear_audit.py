"""Solve the linear system of what a site releases, and bound what it withholds.

An audit of its own, sharing no code with the suppression: every released number is an equation
over unknown, non-negative parts of the cohort; a linear program gives the smallest and the largest
value of each withheld cell. An unsafe cell may not be bounded within the threshold, unless the
margins that are safe to know leave it less room than that.
"""

import math
from collections import defaultdict
from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy.optimize import linprog
from scipy.sparse import coo_array

from cohort_in_memory import Cohort
from ihdsi.disclosure import apply_disclosure_control, complementary
from ihdsi.disclosure.tables import (
    cohort_profile,
    gene_alterations,
    judging,
    means,
    qc_profile,
    variant_frequencies,
)
from ihdsi.study import ClinicalVariable, DisclosureSettings
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.gene_alterations import (
    ANY,
    COPY_NUMBER,
    PROTEIN_ALTERING,
    build_gene_alterations,
)
from ihdsi.variants.genotypes import GenotypeBlock
from judged_features import nobody_makes_up

ALL = "all"


class LinearSystem:
    """Equations and inequalities over named unknowns, none of which is negative."""

    def __init__(self):
        self.column = {}
        self.rows = {"equal": [], "at_most": []}
        self.matrices = {}

    def add(self, kind, coefficients, value):
        self.rows[kind].append(
            ({self.column.setdefault(name, len(self.column)): c for name, c in coefficients}, value)
        )

    def equal(self, names, value):
        self.add("equal", [(name, 1.0) for name in names], value)

    def at_most(self, names, value):
        self.add("at_most", [(name, 1.0) for name in names], value)

    def _matrix(self, kind):
        rows = self.rows[kind]
        if not rows:
            return None, None
        if (size := (kind, len(rows), len(self.column))) in self.matrices:
            return self.matrices[size]
        entries = [(i, j, c) for i, (row, _) in enumerate(rows) for j, c in row.items()]
        i, j, c = (np.array(part) for part in zip(*entries, strict=True))
        matrix = coo_array((c, (i, j)), shape=size[1:]).tocsr()
        self.matrices[size] = matrix, [value for _, value in rows]
        return self.matrices[size]

    def bounds(self, names):
        """Smallest and largest whole number that the sum of `names` can be."""
        target = np.zeros(len(self.column))
        for name in names:
            target[self.column[name]] += 1
        (a, b), (c, d) = self._matrix("equal"), self._matrix("at_most")
        low, high = (
            linprog(sign * target, A_ub=c, b_ub=d, A_eq=a, b_eq=b, bounds=(0, None))
            for sign in (1, -1)
        )
        assert low.status == high.status == 0, (low.message, high.message)
        return math.ceil(low.fun - 1e-6), math.floor(-high.fun + 1e-6)


def unsafe(count, settings):
    return count < settings.minimum_cell_count and not (count == 0 and settings.zero_cells_allowed)


def audit(system, cells, settings):
    """Unsafe cells that the system bounds within the threshold.

    `cells` are (label, unknowns that add up to the cell, true counts that have to stay hidden,
    largest width that safe margins allow). Where zeros may be known, nobody hides behind one: the
    other counts are the size of the stratum.
    """
    leaks = []
    for label, names, counts, room in cells:
        if 0 in counts and settings.zero_cells_allowed:
            continue
        if any(unsafe(count, settings) for count in counts):
            low, high = system.bounds(names)
            if high - low < min(settings.minimum_cell_count, room):
                leaks.append((label, counts, (low, high)))
    return leaks


def places(sizes, unknown=True):
    """Stratum variable and stratum of all sizes; that of unknown patients is None."""
    return [(by, s) for by, inner in sizes.items() for s in inner if unknown or s is not None]


def room(size, everyone, whole=None):
    """Widest interval of a count among `size` patients where `whole` of everyone is known."""
    return size if whole is None else min(size, whole, everyone - whole, everyone - size)


def settings_of(seed):
    """Thresholds vary with the seed: zeros allowed or not, 3, 5 or 10 patients a cell."""
    least = (5, 3, 5, 10)[seed % 4]
    return DisclosureSettings(
        minimum_n=10,
        minimum_cell_count=least,
        zero_cells_allowed=seed % 2 == 0,
        maximum_levels_density=1.0,
    )


def clear(name, truth, settings, key=b""):
    made = {name: truth}
    features = nobody_makes_up(made)
    return apply_disclosure_control(made, settings, [], {}, features=features, key=key)[0][name]


def draw(rng, names, n, unknown=0):
    """Levels of very different sizes; the first `unknown` patients' are not known."""
    share = rng.dirichlet(np.full(len(names), 1.2))
    values = rng.choice(np.array(names, dtype=object), n, p=share)
    values[:unknown] = None
    return pl.Series(rng.permutation(values).tolist(), dtype=pl.String)


def cohort(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(30, 120))
    unknown = rng.integers(0, 7, 2) * (rng.random(2) < 0.6)
    stages = ["a", "b", "c", "d"][: rng.integers(2, 5)]
    return rng, pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(n)],
            "stage": draw(rng, stages, n, unknown[0]),
            "sex": draw(rng, ["f", "m"], n, unknown[1]),
        }
    )


def withheld_only(monkeypatch):
    """Switch complementary suppression off: rows leave unless they are unsafe themselves."""

    def grid(cells, totals, threshold, unsafe_count, *more, withheld_columns=None, **_):
        columns = withheld_columns if withheld_columns is not None else (more or [None])[-1]
        status = np.where(np.vectorize(unsafe_count, otypes=[bool])(cells), 1, 0)
        if columns is not None:
            status[:, columns] = 1
        return status

    def strata(frame, line, additive, safe, withheld, width=0, **_):
        return frame.with_columns(
            status=pl.when(withheld)
            .then(complementary.PRIMARY)
            .otherwise(complementary.RELEASED)
            .cast(pl.Int8)
        )

    for table in (cohort_profile, qc_profile):
        monkeypatch.setattr(table, "protect_grid", grid)
    for table in (judging, means, variant_frequencies):
        monkeypatch.setattr(table, "protect_strata", strata)
    monkeypatch.setattr(gene_alterations, "_bound_classes", lambda judged, *_: judged)
    monkeypatch.setattr(gene_alterations, "_protect_remainder", lambda judged, *_: judged)


# Levels and bins of clinical variables


def profile(seed):
    rng, clinical = cohort(seed)
    n = clinical.height
    levels = tuple(f"level{i}" for i in range(rng.integers(2, 6)))
    clinical = clinical.with_columns(
        smoking=draw(rng, levels, n, int(rng.integers(0, 4))), age=rng.normal(66, 10, n)
    )
    variables = {
        "smoking": ClinicalVariable(type="categorical", levels=levels),
        "age": ClinicalVariable(type="number", unit="a", bins=(45, 55, 65, 75)),
    }
    return build_cohort_profile(clinical, variables, ["stage", "sex"])


def audit_profile(truth, released, settings):
    """The parts are cell × stage × sex, so that what two variables tell together is seen."""
    leaks = []
    truth, released = (
        frame.filter(pl.col("kind") != "moments").with_columns(
            cell=pl.coalesce("level", pl.col("bin_lower").cast(pl.String))
        )
        for frame in (truth, released)
    )
    for (variable,), part in truth.group_by("variable"):
        totals = {
            (by, stratum): total
            for by, stratum, total in part.select("stratum_variable", "stratum", "n_total")
            .unique()
            .iter_rows()
        }
        everyone = totals[ALL, ALL]
        strata = {by: [*sorted({s for v, s in totals if v == by}), None] for by in ("stage", "sex")}
        counts = {
            (cell, by, stratum): n
            for cell, by, stratum, n in part.select(
                "cell", "stratum_variable", "stratum", "n"
            ).iter_rows()
        }
        cells = sorted(set(part["cell"]))
        outside = everyone - sum(counts[cell, ALL, ALL] for cell in cells)
        parts = list(
            product([*cells, *([None] if outside else [])], strata["stage"], strata["sex"])
        )

        def members(cell, by, stratum, parts=parts):
            place = {"stage": 1, "sex": 2}.get(by)
            return [
                p for p in parts if cell in (p[0], ALL) and (place is None or p[place] == stratum)
            ]

        system = LinearSystem()
        for (by, stratum), total in totals.items():
            system.equal(members(ALL, by, stratum), total)
        known = released.filter(variable=variable)
        shown = set()
        for cell, by, stratum, n in known.select(
            "cell", "stratum_variable", "stratum", "n"
        ).iter_rows():
            system.equal(members(cell, by, stratum), n)
            shown.add((cell, by, stratum))
        judged = [
            (
                (variable, *key),
                members(*key),
                [n],
                room(
                    totals[key[1:]],
                    everyone,
                    counts[key[0], ALL, ALL]
                    if key[1] != ALL and (key[0], ALL, ALL) in shown
                    else None,
                ),
            )
            for key, n in counts.items()
        ]
        leaks += audit(system, judged, settings)
    return leaks


PROFILES = range(10)


@pytest.mark.parametrize("seed", PROFILES)
def test_levels_and_bins(seed):
    truth, settings = profile(seed), settings_of(seed)
    released = clear("cohort_profile", truth, settings)
    assert audit_profile(truth, released, settings) == []


def test_the_audit_finds_levels_without_complementary_suppression(monkeypatch):
    withheld_only(monkeypatch)
    leaks = 0
    for seed in PROFILES:
        truth, settings = profile(seed), settings_of(seed)
        leaks += bool(audit_profile(truth, clear("cohort_profile", truth, settings), settings))
    assert leaks > len(PROFILES) / 2


# Alterations of genes


def alterations(seed, genes=4):
    rng, clinical = cohort(1000 + seed)
    patients = clinical["patient"]
    gene_ids = [f"ENSG{gene:011d}" for gene in range(genes)]
    rows, copies = [], []
    for gene in gene_ids:
        for kind in PROTEIN_ALTERING:
            rate = rng.beta(0.3, 1.5)
            rows += [(p, gene, kind) for p in patients if rng.random() < rate]
        share = rng.dirichlet(np.full(len(COPY_NUMBER) + 1, 0.8))
        copies += [
            (p, gene, "g", kind)
            for p, kind in zip(
                patients, rng.choice([*COPY_NUMBER, "neutral"], len(patients), p=share), strict=True
            )
        ]
    return build_gene_alterations(
        pl.DataFrame(rows, schema=["patient", "gene_id", "alteration_class"], orient="row"),
        clinical.select("patient"),
        pl.DataFrame({"gene_id": gene_ids, "gene_name": "g"}),
        clinical,
        ["stage", "sex"],
        copy_number=pl.DataFrame(
            copies,
            schema=["patient", "gene_id", "gene_name", "copy_number_class"],
            orient="row",
        ),
    )


def audit_alterations(truth, released, settings):
    """Classes of a gene by stratum; the classes of copy number exclude each other."""
    leaks = []
    sizes = defaultdict(dict)
    for by, stratum, n in (
        truth.select("stratum_variable", "stratum", "n_assessed").unique().iter_rows()
    ):
        sizes[by][stratum] = n
    for by in ("stage", "sex"):
        sizes[by][None] = sizes[ALL][ALL] - sum(sizes[by].values())
    groups = {"protein": (ANY, *PROTEIN_ALTERING), "copies": COPY_NUMBER}
    for ((gene,), part), (group, classes) in product(truth.group_by("gene_id"), groups.items()):
        part = part.filter(pl.col("alteration_class").is_in(classes))
        known = released.filter(pl.col("alteration_class").is_in(classes), gene_id=gene)
        system = LinearSystem()
        for by, stratum in places(sizes):
            size, here = sizes[by][stratum], [(kind, by, stratum) for kind in classes]
            if group == "copies":
                system.equal([*here, ("none", by, stratum)], size)
                continue
            union, *kinds = here
            system.at_most([union], size)
            for kind in kinds:
                system.add("at_most", [(kind, 1.0), (union, -1.0)], 0)
            system.add("at_most", [(union, 1.0), *((kind, -1.0) for kind in kinds)], 0)
        for by, kind in product(("stage", "sex"), classes):
            strata = [((kind, by, stratum), 1.0) for stratum in sizes[by]]
            system.add("equal", [*strata, ((kind, ALL, ALL), -1.0)], 0)
        shown = {}
        for key in known.select(
            "alteration_class", "stratum_variable", "stratum", "n_altered"
        ).rows():
            system.equal([key[:3]], key[3])
            shown[key[:3]] = key[3]
        cells = []
        for kind, by, stratum, n in part.select(
            "alteration_class", "stratum_variable", "stratum", "n_altered"
        ).iter_rows():
            size = sizes[by][stratum]
            widest = size
            if by != ALL:
                widest = room(size, sizes[ALL][ALL], shown.get((kind, ALL, ALL)))
            if group == "protein":
                widest = min(widest, shown.get((ANY, by, stratum), size))
            cells.append(((gene, kind, by, stratum), [(kind, by, stratum)], [n, size - n], widest))
        if group == "copies":
            for by, stratum in places(sizes, unknown=False):
                altered = part.filter(stratum_variable=by, stratum=stratum)["n_altered"].sum()
                size = sizes[by][stratum]
                counts = [size - altered, altered]
                cells.append(((gene, "none", by, stratum), [("none", by, stratum)], counts, size))
        leaks += audit(system, cells, settings)
    return leaks


ALTERATIONS = range(8)


@pytest.mark.parametrize("seed", ALTERATIONS)
def test_alterations(seed):
    truth, settings = alterations(seed), settings_of(seed)
    released = clear("gene_alterations", truth, settings)
    assert audit_alterations(truth, released, settings) == []


@pytest.mark.parametrize(("seed", "key"), [(6, b"2"), (1, b"1"), (3, b"3")])
def test_alterations_whatever_the_order_of_partners(seed, key):
    """With seed 6, the strata of the union bounded a class that this order withholds in strata."""
    truth, settings = alterations(seed), settings_of(seed)
    released = clear("gene_alterations", truth, settings, key)
    assert audit_alterations(truth, released, settings) == []


def test_the_audit_finds_alterations_without_complementary_suppression(monkeypatch):
    withheld_only(monkeypatch)
    leaks = 0
    for seed in range(2):
        truth, settings = alterations(seed), settings_of(seed)
        leaks += bool(
            audit_alterations(truth, clear("gene_alterations", truth, settings), settings)
        )
    assert leaks == 2


# Genotypes of variants


def genotyped(seed, variants=14):
    """A cohort with genotypes, as disclosure control reads them."""
    rng, clinical = cohort(2000 + seed)
    n = clinical.height
    dosage = rng.binomial(2, rng.beta(0.5, 1.2, variants)[:, None], (variants, n))
    block = GenotypeBlock(
        patients=tuple(clinical["patient"]),
        chromosome="1",
        position=np.arange(1, variants + 1),
        reference_alleles=["A"] * variants,
        alternate_alleles=["C"] * variants,
        consequences=[None] * variants,
        population_frequency=np.full(variants, np.nan),
        clinical_significance=[None] * variants,
        dosage=dosage.astype(np.int8),
        ploidy=np.full((variants, n), 2, dtype=np.int8),
        absent=np.zeros((variants, n), dtype=bool),
    )
    return Cohort(clinical.select("patient", "stage", "sex"), (block,))


def frequencies(seed):
    return genotyped(seed).frequencies()


def clear_frequencies(seed):
    """Frequencies by the rules of counts alone: a membership attack may have any power."""
    people, settings = genotyped(seed), settings_of(seed)
    anything = settings.model_copy(
        update={"maximum_membership_power": 1.0, "stratified_frequencies": True}
    )
    truth = {"variant_frequencies": people.frequencies()}
    return apply_disclosure_control(truth, anything, [], {}, genotypes=people)[0][
        "variant_frequencies"
    ]


def audit_frequencies(truth, released, settings):
    """Genotypes by stratum; the alleles released are het + 2 · hom."""
    leaks = []
    for (position,), part in truth.group_by("position"):
        known = released.filter(position=position)
        sizes = defaultdict(dict)
        for by, stratum, n in part.select(
            "stratum_variable", "stratum", "n_samples_called"
        ).iter_rows():
            sizes[by][stratum] = n
        for by in ("stage", "sex"):
            sizes[by][None] = sizes[ALL][ALL] - sum(sizes[by].values())
        system = LinearSystem()
        kinds = ("hom", "het", "ref")
        for by, stratum in places(sizes):
            system.equal([(kind, by, stratum) for kind in kinds], sizes[by][stratum])
        for by, kind in product(("stage", "sex"), kinds):
            strata = [((kind, by, stratum), 1.0) for stratum in sizes[by]]
            system.add("equal", [*strata, ((kind, ALL, ALL), -1.0)], 0)
        for by, stratum, alleles, carriers, homozygous in known.select(
            "stratum_variable", "stratum", "allele_count", "n_carriers", "n_homozygous"
        ).iter_rows():
            system.add("equal", [(("het", by, stratum), 1.0), (("hom", by, stratum), 2.0)], alleles)
            if carriers is not None:
                system.equal([("het", by, stratum), ("hom", by, stratum)], carriers)
                system.equal([("hom", by, stratum)], homozygous)
        cells = []
        whole = {}
        for carriers, homozygous in (
            known.filter(stratum=ALL).select("n_carriers", "n_homozygous").drop_nulls().iter_rows()
        ):
            whole = {"hom+het": carriers, "hom": homozygous, "het": carriers - homozygous}
        for by, stratum, n, carriers, homozygous in part.select(
            "stratum_variable", "stratum", "n_samples_called", "n_carriers", "n_homozygous"
        ).iter_rows():
            here = {kind: (kind, by, stratum) for kind in kinds}
            for names, counts in (
                (["hom", "het"], [carriers, n - carriers]),
                (["hom"], [homozygous, n - homozygous]),
                (["het"], [carriers - homozygous, n - carriers + homozygous]),
            ):
                what = "+".join(names)
                widest = n if by == ALL else room(n, sizes[ALL][ALL], whole.get(what))
                label = (position, by, stratum, what)
                cells.append((label, [here[name] for name in names], counts, widest))
        leaks += audit(system, cells, settings)
    return leaks


FREQUENCIES = range(6)


@pytest.mark.parametrize("seed", FREQUENCIES)
def test_genotypes(seed):
    truth, settings = frequencies(seed), settings_of(seed)
    released = clear_frequencies(seed)
    assert audit_frequencies(truth, released, settings) == []


def test_the_audit_finds_genotypes_without_complementary_suppression(monkeypatch):
    withheld_only(monkeypatch)
    leaks = 0
    for seed in range(2):
        truth, settings = frequencies(seed), settings_of(seed)
        leaks += bool(audit_frequencies(truth, clear_frequencies(seed), settings))
    assert leaks == 2


# The same table twice, and the sizes of strata


def crossed_profile(seed):
    """Stage and sex are variables and strata: each is broken down by the other."""
    _, clinical = cohort(3000 + seed)
    variables = {
        "stage": ClinicalVariable(type="categorical", levels=("a", "b", "c", "d")),
        "sex": ClinicalVariable(type="categorical", levels=("f", "m")),
    }
    return build_cohort_profile(clinical, variables, ["stage", "sex"])


def audit_crossed(truth, released, settings):
    """Stage by sex, whose margins are the n_total of either variable's strata."""
    system = LinearSystem()
    system.equal(["nothing"], 0)
    crossed = truth.filter(variable="stage", stratum_variable="sex")
    cells = {(a, b): n for a, b, n in crossed.select("level", "stratum", "n").iter_rows()}
    stages, sexes = (sorted({key[i] for key in cells}) for i in (0, 1))
    rows = {a: sum(cells[a, b] for b in sexes) for a in stages}
    columns = {b: sum(cells[a, b] for a in stages) for b in sexes}
    for a, total in rows.items():
        system.equal([(a, b) for b in sexes], total)
    for b, total in columns.items():
        system.equal([(a, b) for a in stages], total)
    for variable, level, stratum, n in (
        released.filter(pl.col("stratum_variable") != ALL)
        .select("variable", "level", "stratum", "n")
        .iter_rows()
    ):
        system.equal([(level, stratum) if variable == "stage" else (stratum, level)], n)
    judged = []
    everyone = sum(rows.values())
    for (a, b), n in cells.items():
        widest = min(rows[a], columns[b], everyone - rows[a], everyone - columns[b])
        judged.append(((a, b), [(a, b)], [n], widest))
    return audit(system, judged, settings)


CROSSED = range(29, 45)


@pytest.mark.parametrize("seed", CROSSED)
def test_two_variables_by_each_other(seed):
    truth, settings = crossed_profile(seed), settings_of(seed)
    assert audit_crossed(truth, clear("cohort_profile", truth, settings), settings) == []


def test_the_audit_finds_a_table_whose_mirror_image_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(cohort_profile, "_protect_crossed", lambda counts, _: counts)
    leaks = 0
    for seed in CROSSED:
        truth, settings = crossed_profile(seed), settings_of(seed)
        leaks += bool(audit_crossed(truth, clear("cohort_profile", truth, settings), settings))
    assert leaks


def sizes_profile(seed):
    rng, clinical = cohort(4000 + seed)
    clinical = clinical.with_columns(
        stage=draw(rng, ["a", "b", "c", "d"], clinical.height),
        smoking=draw(rng, ["no", "yes"], clinical.height),
        age=rng.normal(66, 10, clinical.height),
    )
    variables = {
        "stage": ClinicalVariable(type="categorical", levels=("a", "b", "c", "d")),
        "smoking": ClinicalVariable(type="categorical", levels=("no", "yes")),
        "age": ClinicalVariable(type="number", unit="a", bins=(45, 55, 65, 75)),
    }
    return build_cohort_profile(clinical, variables, ["stage"])


def audit_sizes(truth, released, settings):
    """Every n_total of a stratum of another variable is a count of a level of this one."""
    system = LinearSystem()
    whole = truth.filter(variable="stage", stratum_variable=ALL)
    system.equal(whole["level"], whole["n_total"][0])
    for level, n in released.filter(variable="stage").select("level", "n").iter_rows():
        system.equal([level], n)
    for level, total in (
        released.filter(stratum_variable="stage").select("stratum", "n_total").unique().iter_rows()
    ):
        system.equal([level], total)
    counts = whole.select("level", "n").iter_rows()
    return audit(system, [(level, [level], [n], 10**6) for level, n in counts], settings)


@pytest.mark.parametrize("seed", CROSSED)
def test_sizes_of_strata(seed):
    truth, settings = sizes_profile(seed), settings_of(seed)
    assert audit_sizes(truth, clear("cohort_profile", truth, settings), settings) == []


def test_the_audit_finds_sizes_that_n_total_gives_away(monkeypatch):
    monkeypatch.setattr(cohort_profile, "_hide_sizes", lambda totals, total, rules, *_: rules)
    leaks = 0
    for seed in CROSSED:
        truth, settings = sizes_profile(seed), settings_of(seed)
        leaks += bool(audit_sizes(truth, clear("cohort_profile", truth, settings), settings))
    assert leaks
