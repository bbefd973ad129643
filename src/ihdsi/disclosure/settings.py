"""The thresholds in force at a site."""

from __future__ import annotations

from ihdsi.study import DisclosureOverrides, DisclosureSettings

__all__ = ["stricter_of"]


def stricter_of(study: DisclosureSettings, site: DisclosureOverrides) -> DisclosureSettings:
    """Combine the study's thresholds with a site's own; of each, the stricter is in force.

    A site's looser value has no effect, so that a study that tightens a threshold does not have to
    wait for the sites' files. Zero cells leave only if neither forbids them.
    """

    def larger(ours: int, theirs: int | None) -> int:
        return ours if theirs is None else max(ours, theirs)

    share = site.maximum_parameter_share
    return DisclosureSettings(
        minimum_n=larger(study.minimum_n, site.minimum_n),
        minimum_cell_count=larger(study.minimum_cell_count, site.minimum_cell_count),
        zero_cells_allowed=study.zero_cells_allowed and site.zero_cells_allowed is not False,
        maximum_parameter_share=(
            study.maximum_parameter_share
            if share is None
            else min(study.maximum_parameter_share, share)
        ),
    )
