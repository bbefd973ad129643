"""The rules, each a small expression over counts, sums and sums of squares."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ihdsi.study import DisclosureSettings

__all__ = [
    "dominance_rule",
    "enough_degrees_of_freedom",
    "enough_patients",
    "few_levels",
    "few_parameters",
    "group_size",
    "largest_weighted_sum",
    "p_ratio_rule",
    "safe_count",
    "safe_part",
    "safe_survival_step",
    "small_contributions",
]

#: Sums that are computed from means and variances are exact up to rounding; on the border the
#: rules refuse.
_ROUNDING = 1e-9


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


def enough_degrees_of_freedom(
    parameters: pl.Expr, n: pl.Expr, settings: DisclosureSettings
) -> pl.Expr:
    """Require that patients (or events) exceed the parameters by the study's residual minimum.

    A share alone lets a large model pass that leaves few degrees of freedom: ACRO's
    ``safe_dof_threshold`` (Smith et al. 2023, SACRO) and Ritchie 2019, Analyzing the disclosure
    risk of regression coefficients, Trans Data Priv 12:145, bound the residual ones.
    """
    return n - parameters >= settings.minimum_residual_degrees_of_freedom


def few_levels(levels: pl.Expr, n: pl.Expr, settings: DisclosureSettings) -> pl.Expr:
    """Allow at most `maximum_levels_density` levels per patient.

    A variable with nearly as many levels as patients names them: DataSHIELD's option
    ``nfilter.levels.density`` (dsBase).
    """
    return levels <= settings.maximum_levels_density * n


def safe_survival_step(
    at_risk: pl.Expr, events: pl.Expr, censored: pl.Expr, settings: DisclosureSettings
) -> pl.Expr:
    """Require safe counts in one step (bin of time) of a survival table.

    Who is at risk leaves the step with the event, censored, or at risk of the next step; each of
    the three is known with the others. A step of the whole follow-up has none of the third.
    What a step tells: O'Keefe et al. 2012, Confidentialising survival analysis output in a remote
    data access system, J Priv Confid 4:127; ACRO withholds steps of few patients as well
    (``survival_safe_threshold``).

    Parameters
    ----------
    at_risk, events, censored
        Patients at risk when the step begins; of these, with the event and censored within it.
    """
    remaining = at_risk - events - censored
    return (
        enough_patients(at_risk, settings)
        & safe_count(events, settings)
        & safe_count(censored, settings)
        & (safe_count(remaining, settings) | (remaining == 0))
    )


def largest_weighted_sum(
    weights: Sequence[float], n: pl.Expr, total: pl.Expr, squares: pl.Expr
) -> pl.Expr:
    """Bound Σ wᵢ x₍ᵢ₎, a weighted sum of the largest of n values of which two sums are known.

    With mean m and sum of squared deviations V = Σx² − (Σx)²/n, and with weights padded by zeros
    to n, the Cauchy–Schwarz inequality of the centred vectors gives
    Σ wᵢ x₍ᵢ₎ ≤ m Σw + √(V (Σw² − (Σw)²/n)). For one value it is Samuelson's inequality (1968,
    J Am Stat Assoc 63:1522). It is at most √(Σw² Σx²), the bound without centring. It holds for
    any values, and no patient's value is needed; with more values than weights it is attained only
    by few vectors, so that a rule built on it is conservative: it refuses whatever the true
    values break, and some of what they keep.
    """
    first, second = sum(weights), sum(weight**2 for weight in weights)
    deviations = (squares - total**2 / n).clip(lower_bound=0)
    return total / n * first + (deviations * (second - first**2 / n).clip(lower_bound=0)).sqrt()


def dominance_rule(
    n: pl.Expr, total: pl.Expr, squares: pl.Expr, settings: DisclosureSettings
) -> pl.Expr:
    """Require that the `dominance_n` largest values make up less than `dominance_k` of the sum.

    The (n, k) rule (Hundepool et al. 2012, chapter 4) for values that are not negative, by the
    bound of `largest_weighted_sum`; ACRO's ``safe_nk_n`` and ``safe_nk_k``. The share itself is
    refused, as there. `dominance_k` = 1 turns the rule off.
    """
    if settings.dominance_k >= 1:
        return pl.lit(value=True)
    largest = largest_weighted_sum([1.0] * settings.dominance_n, n, total, squares)
    # Fewer patients than dominance_n are all of the sum.
    return (n > settings.dominance_n) & (largest < settings.dominance_k * total * (1 - _ROUNDING))


def p_ratio_rule(
    n: pl.Expr, total: pl.Expr, squares: pl.Expr, settings: DisclosureSettings
) -> pl.Expr:
    """Require that all but the two largest values sum up to `p_ratio` of the largest or more.

    The p% rule (Hundepool et al. 2012, chapter 4; ACRO's ``safe_pratio_p``): whoever has the
    second largest value must not estimate the largest to within p. The remainder
    Σx − x₍₁₎ − x₍₂₎ is at least p x₍₁₎ whatever the values are if (1 + p) x₍₁₎ + x₍₂₎, by the bound
    of `largest_weighted_sum`, cannot exceed Σx. `p_ratio` = 0 turns the rule off.
    """
    if settings.p_ratio <= 0:
        return pl.lit(value=True)
    largest = largest_weighted_sum([1.0 + settings.p_ratio, 1.0], n, total, squares)
    return (n > 2) & (total > 0) & (largest <= total * (1 - _ROUNDING))


def small_contributions(total: pl.Expr, squares: pl.Expr, settings: DisclosureSettings) -> pl.Expr:
    """Require that no patient can make up more than `maximum_contribution` of a sum.

    Dominance rule (Hundepool et al. 2012, (1, k) rule) for values that are not negative. Of the
    values only their sum and sum of squares are known here, as they are to whoever reads mean and
    variance; no value exceeds the root of the sum of squares, so the rule is kept whatever
    they are. A sum of zero is no patient's contribution.
    """
    return squares <= (settings.maximum_contribution * total) ** 2 * (1 + 1e-9)
