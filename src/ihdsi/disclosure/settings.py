"""The thresholds in force at a site."""

from __future__ import annotations

from ihdsi.study import DifferentialPrivacy, DisclosureOverrides, DisclosureSettings

__all__ = ["stricter_of"]


def stricter_of(study: DisclosureSettings, site: DisclosureOverrides) -> DisclosureSettings:
    """Combine the study's thresholds with a site's own; of each, the stricter is in force.

    A site's looser value has no effect, so that a study that tightens a threshold does not have to
    wait for the sites' files. Zero cells, and germline frequencies by stratum, leave only if
    neither forbids them. The false positives of the membership attack are the study's: a power at
    one rate says nothing of that at another. Of differential privacy, the smaller epsilon and
    budget and the tables of both are in force. A preset that either names
    has become values by now, and `preset` of the result says nothing.
    """

    def larger(ours: int, theirs: int | None) -> int:
        return ours if theirs is None else max(ours, theirs)

    def smaller(ours: float, theirs: float | None) -> float:
        return ours if theirs is None else min(ours, theirs)

    return DisclosureSettings(
        minimum_n=larger(study.minimum_n, site.minimum_n),
        minimum_cell_count=larger(study.minimum_cell_count, site.minimum_cell_count),
        zero_cells_allowed=study.zero_cells_allowed and site.zero_cells_allowed is not False,
        maximum_parameter_share=smaller(
            study.maximum_parameter_share, site.maximum_parameter_share
        ),
        maximum_contribution=smaller(study.maximum_contribution, site.maximum_contribution),
        maximum_membership_power=smaller(
            study.maximum_membership_power, site.maximum_membership_power
        ),
        membership_false_positive_rate=study.membership_false_positive_rate,
        stratified_frequencies=(
            study.stratified_frequencies and site.stratified_frequencies is not False
        ),
        differential_privacy=_more_private(study.differential_privacy, site.differential_privacy),
        preset=study.preset,
        minimum_residual_degrees_of_freedom=larger(
            study.minimum_residual_degrees_of_freedom, site.minimum_residual_degrees_of_freedom
        ),
        # More patients, or a smaller share of them: either is stricter, so both together are.
        dominance_n=larger(study.dominance_n, site.dominance_n),
        dominance_k=smaller(study.dominance_k, site.dominance_k),
        p_ratio=study.p_ratio if site.p_ratio is None else max(study.p_ratio, site.p_ratio),
        maximum_levels_density=smaller(study.maximum_levels_density, site.maximum_levels_density),
    )


def _more_private(
    study: DifferentialPrivacy | None, site: DifferentialPrivacy | None
) -> DifferentialPrivacy | None:
    if study is None or site is None:
        return study or site
    budget = min(study.budget, site.budget)
    return DifferentialPrivacy(
        # More noise for a smaller budget.
        epsilon=min(study.epsilon, site.epsilon, budget),
        budget=budget,
        tables=tuple(dict.fromkeys((*study.tables, *site.tables))),
    )
