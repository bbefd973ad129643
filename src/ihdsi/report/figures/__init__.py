"""All charts of the report: tables in, Altair charts out.

Every function returns None when its table has nothing to draw, so that the caller can say so in a
sentence.
"""

from ihdsi.report.figures.alterations import alteration_dots, driver_recurrence
from ihdsi.report.figures.burden import burden_means
from ihdsi.report.figures.cell_composition import composition_differences
from ihdsi.report.figures.forest import forest
from ihdsi.report.figures.histograms import binned_histograms
from ihdsi.report.figures.style import COLOURED_SITES, Drawing, save_svg, sentence
from ihdsi.report.figures.volcano import volcano

__all__ = [
    "COLOURED_SITES",
    "Drawing",
    "alteration_dots",
    "binned_histograms",
    "burden_means",
    "composition_differences",
    "driver_recurrence",
    "forest",
    "save_svg",
    "sentence",
    "volcano",
]
