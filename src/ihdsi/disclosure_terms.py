"""Terms that study files, bundles and disclosure control share: presets, and bands of counts.

They depend on nothing else, because all three read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["PRESETS", "Preset", "PresetName", "WithheldBand", "withheld_band"]

PresetName = Literal["ihdsi", "datashield", "acro"]

#: How many rows a rule withheld, as the coordinator is told: "1 rare variant" would be a finding.
WithheldBand = Literal["1 to 9", "10 to 99", "100 to 999", "1,000 or more"]


@dataclass(frozen=True)
class Preset:
    """Thresholds of a well-known disclosure control, in the words of `DisclosureSettings`.

    Parameters
    ----------
    source
        Where the values are from.
    values
        Fields of `DisclosureSettings`. A rule that the source does not have is off.
    counterparts
        The source's own option behind a field, and its value there.
    without_counterpart
        Options of the source that no field stands for, and why.
    """

    source: str
    values: Mapping[str, bool | int | float]
    counterparts: Mapping[str, tuple[str, bool | int | float]]
    without_counterpart: Mapping[str, str]


PRESETS: Mapping[PresetName, Preset] = {
    "ihdsi": Preset(
        source="Defaults of this pipeline: ESSnet SDC's rules of thumb (Brandt et al. 2010, "
        "Guidelines for the checking of output based on microdata research) and the dominance "
        "rules of Hundepool et al. 2012 (Statistical Disclosure Control, Wiley)",
        values={
            "minimum_n": 10,
            "minimum_cell_count": 5,
            "zero_cells_allowed": False,
            "maximum_parameter_share": 0.2,
            "minimum_residual_degrees_of_freedom": 10,
            "maximum_contribution": 0.5,
            "dominance_n": 2,
            "dominance_k": 0.9,
            "p_ratio": 0.1,
            "maximum_levels_density": 0.33,
        },
        counterparts={},
        without_counterpart={},
    ),
    "datashield": Preset(
        source="DataSHIELD: default options of the R package dsBase 6.3 (CRAN); Gaye et al. 2014, "
        "Int J Epidemiol 43:1929",
        values={
            "minimum_n": 3,
            "minimum_cell_count": 3,
            # nfilter.tab is the smallest count that is not zero.
            "zero_cells_allowed": True,
            "maximum_parameter_share": 0.33,
            "minimum_residual_degrees_of_freedom": 0,
            "maximum_contribution": 1.0,
            "dominance_n": 2,
            "dominance_k": 1.0,
            "p_ratio": 0.0,
            "maximum_levels_density": 0.33,
        },
        counterparts={
            "minimum_n": ("nfilter.subset", 3),
            "minimum_cell_count": ("nfilter.tab", 3),
            "maximum_parameter_share": ("nfilter.glm", 0.33),
            "maximum_levels_density": ("nfilter.levels.density", 0.33),
        },
        without_counterpart={
            "nfilter.string": "length of an analyst's text (80): sites take no queries",
            "nfilter.stringShort": "length of an analyst's text (20): sites take no queries",
            "nfilter.kNN": "neighbours behind a point of a scatter plot (3): no plot of points "
            "leaves",
            "nfilter.noise": "variance of noise on points of a plot (0.25): no plot of points "
            "leaves",
            "nfilter.levels.max": "levels that a client may invent (40): the study names its "
            "levels",
        },
    ),
    "acro": Preset(
        source="ACRO 1.0: default.yaml of the Python package acro; Smith et al. 2023, SACRO",
        values={
            "minimum_n": 10,
            "minimum_cell_count": 10,
            "zero_cells_allowed": False,
            "maximum_parameter_share": 1.0,
            "minimum_residual_degrees_of_freedom": 10,
            "maximum_contribution": 1.0,
            "dominance_n": 2,
            "dominance_k": 0.9,
            "p_ratio": 0.1,
            "maximum_levels_density": 1.0,
        },
        counterparts={
            "minimum_n": ("safe_threshold", 10),
            "minimum_cell_count": ("safe_threshold", 10),
            "zero_cells_allowed": ("zeros_are_disclosive", True),
            "minimum_residual_degrees_of_freedom": ("safe_dof_threshold", 10),
            "dominance_n": ("safe_nk_n", 2),
            "dominance_k": ("safe_nk_k", 0.9),
            "p_ratio": ("safe_pratio_p", 0.1),
        },
        without_counterpart={
            "check_missing_values": "off there too; here n counts the patients with a value",
            "survival_safe_threshold": "equal to safe_threshold, which steps of survival keep",
            "safe_round_base": "counts are withheld, not rounded",
            "federated": "how that program is run",
            "blocked_extensions": "bundles hold Parquet and JSON only",
        },
    ),
}


def withheld_band(count: int) -> WithheldBand:
    """Name the band that a positive number of withheld rows lies in.

    Raises
    ------
    ValueError
        If nothing was withheld: then there is nothing to state.
    """
    if count < 1:
        raise ValueError(f"{count} withheld rows have no band")
    if count < 10:
        return "1 to 9"
    if count < 100:
        return "10 to 99"
    return "100 to 999" if count < 1000 else "1,000 or more"
