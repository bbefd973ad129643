"""What the cross-products of linear models tell of groups of patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.summaries.design import SITE_TERM

__all__ = [
    "Patterns",
    "Products",
    "cross_products",
    "equal_products",
    "safe_groups",
    "unexplained",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

INTERCEPT = "intercept"

#: Designs of one assay and contrast that may leave. The difference of two is a sum over all the
#: patients who are in one of them only; combinations of more could cancel down to a few patients.
MAXIMUM_PATTERNS = 2


@dataclass(frozen=True)
class Products:
    """X'X (terms x terms; NaN where an entry is missing) and the names of its terms."""

    terms: tuple[str, ...]
    xtx: FloatArray

    @property
    def n(self) -> float:
        """Patients."""
        one = self.terms.index(INTERCEPT)
        return float(self.xtx[one, one])


def cross_products(design: pl.DataFrame) -> Products:
    """Read X'X from its long form (row_term, column_term, value)."""
    terms = design["row_term"].unique(maintain_order=True).to_list()
    place = {term: index for index, term in enumerate(terms)}
    xtx = np.full((len(terms), len(terms)), np.nan)
    xtx[
        [place[term] for term in design["row_term"]],
        [place.get(term, 0) for term in design["column_term"]],
    ] = design["value"].to_numpy()
    return Products(tuple(terms), xtx)


def equal_products(one: Products, other: Products) -> bool:
    """Whether two X'X are the same up to rounding."""
    return one.terms == other.terms and np.allclose(one.xtx, other.xtx, rtol=1e-9, atol=1e-6)


def _shared_terms(one: Products, other: Products) -> tuple[Products, Products]:
    """Leave out the site's covariates (plates, batches) that only one of two designs has.

    What the other design lacks altogether cannot be subtracted from it, and the groups of the
    covariate are judged in the design that has them.
    """

    def variables(products: Products) -> set[str]:
        return {t.split("=", 1)[0] for t in products.terms if t.startswith(SITE_TERM)}

    alone = variables(one) ^ variables(other)

    def without(products: Products) -> Products:
        kept = [i for i, t in enumerate(products.terms) if t.split("=", 1)[0] not in alone]
        return Products(tuple(products.terms[i] for i in kept), products.xtx[np.ix_(kept, kept)])

    return without(one), without(other)


def _group_cells(products: Products) -> tuple[list[str], IntArray] | None:
    """Variable of each group of the design, and the patients in each two groups.

    The columns of indicators are the case group and the levels of categorical covariates
    (``variable=level``); a reference group is what the levels of its variable leave of n. None
    where X'X is not complete or has no group.
    """
    terms, xtx = products.terms, products.xtx
    if INTERCEPT not in terms or np.isnan(xtx).any():
        return None
    one = terms.index(INTERCEPT)
    members: dict[str, list[int]] = {}
    for index, term in enumerate(terms):
        if index != one and np.isclose(xtx[index, index], xtx[one, index], rtol=0, atol=1e-6):
            members.setdefault(term.split("=", 1)[0], []).append(index)
    groups: list[FloatArray] = []
    variable: list[str] = []
    for name, indices in members.items():
        rows = np.eye(len(terms))[indices]
        reference = np.eye(len(terms))[one] - rows.sum(axis=0)
        groups += [*rows, reference]
        variable += [name] * (len(indices) + 1)
    if not groups:
        return None
    transform = np.stack(groups)
    return variable, np.rint(transform @ xtx @ transform.T).astype(np.int64)


def _safe_cells(
    variable: list[str], cells: IntArray, minimum_n: int, unsafe: Callable[[int], bool]
) -> bool:
    sizes = np.diag(cells)
    if any(unsafe(int(size)) or 0 < size < minimum_n for size in sizes):
        return False
    return not any(
        unsafe(int(cells[i, j]))
        for i in range(len(sizes))
        for j in range(i)
        if variable[i] != variable[j]
    )


def safe_groups(design: pl.DataFrame, minimum_n: int, unsafe: Callable[[int], bool]) -> bool:
    """Whether the counts that X'X holds are safe: groups, reference groups, and pairs of them."""
    found = _group_cells(cross_products(design))
    return found is not None and _safe_cells(*found, minimum_n, unsafe)


@dataclass
class Patterns:
    """Designs that leave, of which every two differ by enough patients.

    Designs of different assays (and of expression) are compared two by two; sums and differences
    of three or more of them are not judged.

    Parameters
    ----------
    least
        Fewest patients by whom two designs may differ.
    unsafe
        Whether a count must be withheld.
    """

    least: int
    unsafe: Callable[[int], bool]
    _designs: dict[str, list[Products]] = field(default_factory=lambda: defaultdict(list))
    _n_of_assay: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, assay: str, contrast: str, products: Products) -> None:
        """Count a design among those that leave."""
        self._designs[contrast].append(products)
        self._n_of_assay[assay, contrast] += 1

    def may_join(self, assay: str, contrast: str, products: Products) -> bool:
        """Whether a design may leave beside those that do.

        The difference between two designs' n is at most the number of patients who are in one of
        them only; where the sets are nested it is exactly that, and the differences of the cells
        are counts of those patients.
        """
        if self._n_of_assay[assay, contrast] >= MAXIMUM_PATTERNS:
            return False
        return all(self.differ(products, other) for other in self._designs[contrast])

    def differ(self, one: Products, other: Products) -> bool:
        """Whether two designs are equal, or differ by enough patients, in the terms of both."""
        one, other = _shared_terms(one, other)
        if equal_products(one, other):
            return True
        if abs(one.n - other.n) < self.least:
            return False
        ours, theirs = _group_cells(one), _group_cells(other)
        if ours is None or theirs is None:
            return False
        if ours[0] != theirs[0]:
            # Levels that only one of them has: the groups cannot be told apart cell by cell.
            return False
        return _safe_cells(ours[0], np.abs(ours[1] - theirs[1]), self.least, self.unsafe)


def unexplained(design: pl.DataFrame, moments: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether a model leaves residuals of each feature.

    A feature that the design explains altogether (a constant one, say) has the fitted values as the
    values of its patients.

    Parameters
    ----------
    design
        X'X in long form.
    moments
        terms, xty and yty; each row's terms are those of the design, in any order.
    """
    products = cross_products(design)
    place = {term: index for index, term in enumerate(products.terms)}
    inverse = np.linalg.pinv(products.xtx, hermitian=True)
    # Each row has the terms in an order of its own.
    columns = moments["terms"].explode().replace_strict(place, return_dtype=pl.Int64)
    given = moments["xty"].list.to_array(len(place)).to_numpy().reshape(-1, len(place))
    xty = np.empty((moments.height, len(place)))
    np.put_along_axis(xty, columns.to_numpy().reshape(-1, len(place)), given, axis=1)
    yty = moments["yty"].to_numpy()
    residual = yty - np.einsum("fi,ij,fj->f", xty, inverse, xty)
    return np.asarray(residual > 1e-9 * np.maximum(yty, np.finfo(float).tiny))
