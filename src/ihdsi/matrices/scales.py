"""Bring measured values onto a scale on which the effects of a linear model add up."""

from __future__ import annotations

import polars as pl

from ihdsi.study import MatrixSettings

__all__ = ["beta_to_m", "faulty_values", "transformed"]


def beta_to_m(beta: pl.Expr, clip: float) -> pl.Expr:
    """M value of a methylation beta value, log2(beta / (1 - beta)).

    Parameters
    ----------
    beta
        Share of methylated molecules, 0 to 1.
    clip
        Values nearer than this to 0 or 1 are set to it first, since their M value is infinite, or
        rests on the last digit that the array gave. 0.001 bounds M values by 9.96, beyond what
        arrays measure.

    References
    ----------
    Du et al. 2010, BMC Bioinformatics 11:587. The paper adds an offset of 1 to both intensities
    for the same reason; beta values alone do not tell the intensities.
    """
    clipped = beta.clip(clip, 1 - clip)
    return (clipped / (1 - clipped)).log(2)


def faulty_values(values: pl.Series, settings: MatrixSettings) -> list[int]:
    """Rows whose value has no place on the scale: infinite, or none that the transform takes."""
    faulty = values.is_infinite()
    if settings.transform == "log2" and settings.nonpositive == "refuse":
        faulty |= values <= 0
    elif settings.transform == "m_value":
        faulty |= (values < 0) | (values > 1)
    return faulty.fill_null(value=False).arg_true().to_list()


def transformed(values: pl.Series, settings: MatrixSettings) -> pl.Series:
    """Values on the scale of the model; null where there is none (see `faulty_values`)."""
    value = pl.col("value")
    expression = {
        "none": value,
        "log2": pl.when(value > 0).then(value).log(2),
        "m_value": beta_to_m(value, settings.beta_clip),
    }[settings.transform]
    return pl.DataFrame({"value": values}).select(expression).to_series()
