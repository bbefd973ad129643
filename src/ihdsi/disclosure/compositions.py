"""Parts of a whole: means of shares that add up to one, by stratum."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from ihdsi.disclosure.partner_order import partner_ranks
from ihdsi.disclosure.rules import (
    dominance_rule,
    enough_patients,
    p_ratio_rule,
    small_contributions,
)
from ihdsi.study import DisclosureSettings

__all__ = ["released_strata", "withheld_parts"]

#: The stratum of those who are in none of the released strata. No level has an empty name.
REST = ""
#: A sum of shares, per donor, that rounding explains.
ROUNDING = 1e-9

_COLUMNS = ("cell_type", "stratum", "n_donors", "_total", "_squares")


def released_strata(
    strata: pl.DataFrame, whole: pl.DataFrame, settings: DisclosureSettings, key: bytes = b""
) -> tuple[list[str], pl.DataFrame]:
    """Choose the strata of one variable that have enough donors, as have those in none of them.

    Strata that only hide others are withheld in a keyed order (`partner_ranks`), not by size.

    Parameters
    ----------
    strata, whole
        cell_type, stratum_variable, stratum, n_donors, _total and _squares (sums over donors of
        the share and of its square) of the strata and of the whole cohort.
    settings
        The thresholds in force.
    key
        The site's secret.

    Returns
    -------
    tuple
        Names of the strata, and their rows with those of the rest of the cohort (stratum `REST`),
        which everybody can compute; no rest where it is nobody.
    """
    sizes = (
        strata.group_by("stratum")
        .agg(n=pl.col("n_donors").min())
        .filter(enough_patients(pl.col("n"), settings))
        .sort("stratum")
    )
    variable = strata["stratum_variable"].first()
    ranks = partner_ranks(key, [(variable, stratum) for stratum in sizes["stratum"]])
    sizes = sizes.with_columns(_rank=pl.Series(ranks)).sort("_rank")
    everyone = 0 if whole.is_empty() else int(whole["n_donors"].max())  # type: ignore[arg-type]
    while sizes.height and 0 < everyone - sizes["n"].sum() < settings.minimum_n:
        sizes = sizes.head(-1)
    names = sizes["stratum"].to_list()
    chosen = strata.filter(pl.col("stratum").is_in(names)).select(_COLUMNS)
    rest = (
        pl.concat(
            [
                whole.select(_COLUMNS),
                chosen.with_columns(-pl.col("n_donors", "_total", "_squares")),
            ]
        )
        .group_by("cell_type")
        .agg(pl.col("n_donors", "_total", "_squares").sum())
        .filter(pl.col("n_donors") > 0)
        .with_columns(stratum=pl.lit(REST))
        .select(_COLUMNS)
    )
    return names, pl.concat([chosen, rest])


def withheld_parts(
    columns: pl.DataFrame,
    safe: pl.Expr,
    settings: DisclosureSettings,
    withheld: Collection[str],
    key: bytes = b"",
) -> list[str]:
    """Choose the cell types that no stratum of these releases.

    Withheld are those that are unsafe in any stratum, and then others, in a keyed order
    (`partner_ranks`: the smallest would tell of the withheld shares), until the withheld ones are
    safe in sum: two or more of them, whose sum a few donors do not make up, in
    every stratum. Of the sum's squares only a bound is known here, the square of the sum of the
    types' roots (Minkowski's inequality); the attacker knows no more.

    Parameters
    ----------
    columns
        cell_type, stratum, n_donors, _total and _squares.
    safe
        The rule of a released row.
    settings
        The thresholds in force.
    withheld
        Cell types that are withheld in any case.
    key
        The site's secret.

    Returns
    -------
    list of str
        In the order in which they were withheld.
    """
    types = columns.group_by("cell_type").agg(_safe=safe.fill_null(value=False).all())
    hidden = [*withheld, *types.filter(~pl.col("_safe"))["cell_type"].sort()]
    hidden = list(dict.fromkeys(hidden))
    found = types["cell_type"].sort().to_list()
    ranks = partner_ranks(key, [(name,) for name in found])
    candidates = [name for _, name in sorted(zip(ranks.tolist(), found, strict=True))]
    sums = (
        pl.col("_total").sum(),
        pl.col("_squares").clip(lower_bound=0).sqrt().sum() ** 2,
        pl.col("n_donors").max(),
    )
    moments = (pl.col("n_donors"), pl.col("_total"), pl.col("_squares"))
    while hidden:
        part = columns.filter(pl.col("cell_type").is_in(hidden))
        sound = (
            part.group_by("stratum")
            .agg(_total=sums[0], _squares=sums[1], n_donors=sums[2])
            .select(
                (
                    small_contributions(pl.col("_total"), pl.col("_squares"), settings)
                    & dominance_rule(*moments, settings)
                    & p_ratio_rule(*moments, settings)
                    & (pl.col("_total") > ROUNDING * pl.col("n_donors"))
                ).all()
            )
            .item()
        )
        if len(hidden) >= 2 and sound:
            break
        further = next((name for name in candidates if name not in hidden), None)
        if further is None:
            break
        hidden.append(further)
    return hidden
