"""The rules, each a small expression over counts."""

from __future__ import annotations

import polars as pl

from ihdsi.study import DisclosureSettings

__all__ = [
    "enough_patients",
    "few_parameters",
    "group_size",
    "safe_count",
    "safe_part",
    "small_contributions",
]


def enough_patients(n: pl.Expr, settings: DisclosureSettings) -> pl.Expr:
    """Require that a statistic rests on at least `minimum_n` patients.

    Brandt et al. 2010, Guidelines for the checking of output based on microdata research (ESSnet
    SDC): rule of thumb of ten units behind each statistic.
    """
    return n >= settings.minimum_n


def group_size(settings: DisclosureSettings) -> int:
    """Smallest group whose sum may be known: it is a statistic and its size is a cell."""
    return max(settings.minimum_n, settings.minimum_cell_count)


def safe_count(count: pl.Expr, settings: DisclosureSettings) -> pl.Expr:
    """Require at least `minimum_cell_count`, or zero where the study allows zero.

    Hundepool et al. 2012, Statistical Disclosure Control (Wiley): threshold rule of frequency
    tables.
    """
    safe = count >= settings.minimum_cell_count
    return safe | (count == 0) if settings.zero_cells_allowed else safe


def safe_part(part: pl.Expr, total: pl.Expr, settings: DisclosureSettings) -> pl.Expr:
    """Require that both a part of `total` patients and the rest of them are safe counts.

    The rest is released with the part, because everybody can subtract: Hundepool et al. 2012,
    disclosure by differencing and group disclosure.
    """
    return (
        enough_patients(total, settings)
        & safe_count(part, settings)
        & safe_count(total - part, settings)
    )


def few_parameters(parameters: pl.Expr, n: pl.Expr, settings: DisclosureSettings) -> pl.Expr:
    """Allow at most `maximum_parameter_share` parameters per patient (or event).

    A saturated model reproduces its patients; DataSHIELD bounds its models in the same way (option
    ``nfilter.glm``; Gaye et al. 2014, Int J Epidemiol 43:1929).
    """
    return parameters <= settings.maximum_parameter_share * n


def small_contributions(total: pl.Expr, squares: pl.Expr, settings: DisclosureSettings) -> pl.Expr:
    """Require that no patient can make up more than `maximum_contribution` of a sum.

    Dominance rule (Hundepool et al. 2012, (1, k) rule) for values that are not negative. Of the
    values only their sum and sum of squares are known here, as they are to whoever reads mean and
    variance; no value exceeds the root of the sum of squares, so the rule is kept whatever
    they are. A sum of zero is no patient's contribution.
    """
    return squares <= (settings.maximum_contribution * total) ** 2 * (1 + 1e-9)
