"""Minimality attack: which safe cells are withheld tells about the cell that they hide.

The attacker knows all rules and lists the cohorts for which they withhold just what was withheld
(Wong et al. 2007, VLDB). With the smallest safe cell as the partner the cohort is the only one; in
the order of a key that the attacker does not have, each number of the withheld cell fits.
"""

import hmac
from itertools import permutations, product

import numpy as np
import polars as pl

from ihdsi.disclosure import apply_disclosure_control
from ihdsi.disclosure.complementary import protect_grid
from ihdsi.disclosure.history import read_history
from ihdsi.disclosure.ledger import Ledger
from ihdsi.disclosure.partner_order import partner_ranks
from ihdsi.disclosure.tables import cohort_profile, gene_alterations, unsafe_counts
from ihdsi.study import ClinicalVariable, DisclosureSettings
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.gene_alterations import COPY_NUMBER
from ihdsi.summaries.parquet import empty_table

SETTINGS = DisclosureSettings()
REAL = (5, 5, 4, 67)
KEYS = [bytes([index]) for index in range(40)]


def smallest_first(cells, *given, ranks, **named):
    """The order by size: the smallest that is not empty, ties by their places."""
    sizes = np.where(cells == 0, cells.max() + 1, cells)
    by_size = np.argsort(np.argsort(sizes.ravel(), kind="stable")).reshape(cells.shape)
    return protect_grid(cells, *given, ranks=by_size, **named)


def released(counts, key=b""):
    """Numbers of the levels that leave, None for the others."""
    levels = tuple(f"l{i}" for i in range(len(counts)))
    variables = {"smoking": ClinicalVariable(type="categorical", levels=levels)}
    values = [level for level, n in zip(levels, counts, strict=True) for _ in range(n)]
    clinical = pl.DataFrame({"patient": [f"p{i}" for i in range(len(values))], "smoking": values})
    table = build_cohort_profile(clinical, variables, [])
    cleared, _ = apply_disclosure_control({"cohort_profile": table}, SETTINGS, [], {}, key=key)
    rows = dict(cleared["cohort_profile"].select("level", "n").iter_rows())
    return tuple(rows.get(level) for level in levels)


def candidates(seen, total):
    """Cohorts of so many patients with the released numbers."""
    hidden = [index for index, n in enumerate(seen) if n is None]
    rest = total - sum(n for n in seen if n is not None)
    for first in product(range(rest + 1), repeat=len(hidden) - 1):
        if sum(first) <= rest:
            counts = list(seen)
            for index, n in zip(hidden, [*first, rest - sum(first)], strict=True):
                counts[index] = n
            yield tuple(counts)


def test_the_smallest_partner_tells_the_withheld_number(monkeypatch):
    monkeypatch.setattr(cohort_profile, "protect_grid", smallest_first)
    seen = released(REAL)
    assert seen == (None, 5, None, 67)
    fits = [counts for counts in candidates(seen, sum(REAL)) if released(counts) == seen]
    assert fits == [REAL]


def in_order(counts, order):
    """Numbers that the rules let leave where cells are taken in an order."""
    column = np.array(counts).reshape(-1, 1)
    total = column.sum(axis=0)
    status = protect_grid(
        column,
        total,
        SETTINGS.minimum_cell_count,
        unsafe_counts(SETTINGS),
        ranks=np.array(order).reshape(-1, 1),
    )
    return tuple(n if left == 0 else None for n, left in zip(counts, status[:, 0], strict=True))


def test_the_keyed_partner_does_not():
    orders = {key: partner_ranks(key, [("smoking", f"l{i}") for i in range(4)]) for key in KEYS}
    secret = next(key for key, order in orders.items() if order.argmin() == 1)
    seen = released(REAL, secret)
    assert seen == in_order(REAL, orders[secret]) == (5, None, None, 67)
    # The attacker, who does not have the key, tries all orders of the four levels.
    fits = {
        counts
        for counts in candidates(seen, sum(REAL))
        if any(in_order(counts, order) == seen for order in permutations(range(4)))
    }
    assert {0, 1, 2, 3, 4} <= {counts[2] for counts in fits}
    # The answer is the same when the site runs again.
    assert released(REAL, secret) == seen


def test_the_partner_does_not_depend_on_sizes():
    """The same key withholds the same two levels whichever sizes the safe ones have."""
    sizes = [(4, *rest) for rest in ((20, 30, 40), (40, 30, 20), (21, 23, 22))]
    for key in KEYS[:3]:
        withheld = {tuple(n is None for n in released(counts, key)) for counts in sizes}
        assert len(withheld) == 1
    assert len({tuple(n is None for n in released(sizes[0], key)) for key in KEYS[:12]}) == 3


def test_strata_classes_and_cell_types_are_taken_by_key_not_by_size():
    settings = SETTINGS.model_copy(update={"zero_cells_allowed": True})
    strata = ("s0", "s1", "s2", "s3")

    def alterations(sizes, altered):
        rows = [
            ("ENSG00000000001", "TP53", "any", by, stratum, n, k)
            for by, stratum, n, k in [
                ("all", "all", sum(sizes), sum(altered)),
                *(("stage", s, n, k) for s, n, k in zip(strata, sizes, altered, strict=True)),
            ]
        ]
        names = ("gene_id", "gene_name", "alteration_class", "stratum_variable", "stratum")
        frame = pl.DataFrame(rows, schema=[*names, "n_assessed", "n_altered"], orient="row")
        empty = empty_table("gene_alterations")
        whole = pl.concat([empty, frame], how="diagonal_relaxed").select(empty.columns)
        return whole.with_columns(coding_length=pl.lit(None, empty.schema["coding_length"]))

    def left(sizes, altered, key):
        table = {"gene_alterations": alterations(sizes, altered)}
        cleared, _ = apply_disclosure_control(table, settings, [], {}, key=key)
        return frozenset(cleared["gene_alterations"]["stratum"]) - {"all"}

    found = {}
    for key in KEYS[:8]:
        one = left((30, 40, 50, 60), (2, 15, 20, 25), key)
        assert one == left((30, 60, 50, 40), (2, 25, 20, 15), key)
        assert len(one) == 2
        found[key] = one
    assert len(set(found.values())) == 3

    classes = COPY_NUMBER
    frame = pl.DataFrame(
        {
            "gene_id": "ENSG00000000001",
            "stratum_variable": "all",
            "stratum": "all",
            "alteration_class": classes,
            "n_altered": list(range(len(classes))),
        }
    )
    chosen = {
        gene_alterations._next_classes(frame, ["gene_id"], bytes([i]))["alteration_class"][0]
        for i in range(60)
    }
    assert chosen == set(classes)


def test_the_order_is_that_of_the_keyed_hash():
    names = [("a", 1, None), ("b", 2.5, "x"), ("c", None, "y")]
    digests = [
        hmac.new(b"k", text.encode(), "sha256").digest()
        for text in ('["a", 1, null]', '["b", 2.5, "x"]', '["c", null, "y"]')
    ]
    expected = [sorted(digests).index(digest) for digest in digests]
    assert partner_ranks(b"k", names).tolist() == expected
    assert partner_ranks(b"k", []).tolist() == []


def test_the_key_is_the_ledgers_and_stays(tmp_path):
    empty = pl.DataFrame(schema=dict.fromkeys(("population", "patient"), pl.String))
    path = tmp_path / "release" / "ledger.sqlite"
    first = read_history(path, empty)
    # The first run makes the ledger, so that the next has the same key.
    assert path.is_file()
    again = read_history(path, empty)
    assert len(first.key) == 32
    assert first.as_arguments()["key"] == again.key
    assert read_history(tmp_path / "other.sqlite", empty).key != first.key
    assert read_history(None, empty).key == b""
    with Ledger(path) as ledger:
        hashed = ledger.hash_patients(pl.DataFrame({"patient": ["order"]}))["patient_hash"][0]
    assert first.key.hex() != hashed
    assert first.key not in path.read_bytes()
