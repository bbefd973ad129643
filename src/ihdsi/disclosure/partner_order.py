"""In which order safe cells are withheld to hide unsafe ones.

Complementary suppression withholds cells that are safe by themselves. Were the smallest taken
first, what is released would tell about what is withheld: each of the withheld cells was smaller
than the released ones beside it, or was withheld for its own sake, and whoever knows the rule can
list the tables for which it withholds just these cells, often a single one (minimality attack:
Wong et al. 2007, Minimality attack in privacy preserving data publishing, VLDB). So the order
depends on no count: it is that of a keyed hash (HMAC-SHA256, RFC 2104) of the names of the cells,
under a secret of the site, so that it is random to everybody else and the same in every run.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["partner_ranks"]

IntArray = NDArray[np.int64]


def partner_ranks(key: bytes, names: Iterable[Sequence[object]]) -> IntArray:
    """Rank cells by the keyed hash of their names.

    Parameters
    ----------
    key
        The site's secret (see `ihdsi.disclosure.ledger.Ledger.partner_key`). Without one, as in
        a site that keeps no ledger and so releases nothing, the order is not secret.
    names
        What names each cell in its table: texts, numbers, None.

    Returns
    -------
    ndarray
        The place of each cell in the order, from 0; cells of equal names keep theirs.
    """
    digests = [hmac.digest(key, json.dumps(list(name)).encode(), "sha256") for name in names]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks
