"""Disclosure control of models: their effects, designs and moments."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ihdsi.disclosure.designs import Patterns, cross_products, safe_groups, unexplained
from ihdsi.disclosure.partner_order import partner_ranks
from ihdsi.disclosure.rules import (
    enough_degrees_of_freedom,
    enough_patients,
    few_parameters,
    group_size,
    safe_survival_step,
)
from ihdsi.disclosure.tables.judging import (
    Context,
    Judged,
    mark,
    mark_features,
    unmarked,
    unsafe_counts,
)
from ihdsi.disclosure.tables.means import control_cell_composition
from ihdsi.disclosure.tables.reasons import (
    CONSTANT,
    DESIGN,
    GROUPS,
    MINIMUM_CELL_COUNT,
    MINIMUM_N,
    PARAMETERS,
    PATTERNS,
    RESIDUAL,
    TYPES,
)
from ihdsi.summaries.matrix_moments import PATTERN
from ihdsi.summaries.strata import ALL

__all__ = [
    "control_cell_expression_effects",
    "control_expression_design",
    "control_expression_effects",
    "control_expression_moments",
    "control_matrix_design",
    "control_matrix_moments",
    "control_survival_effects",
]


def _mark_model(
    frame: pl.DataFrame, model: str, n: pl.Expr, context: Context, terms: pl.Expr | None = None
) -> pl.DataFrame:
    """Withhold models with many parameters for their patients (or events).

    `terms` are those that the model has at the site, if these can be more than the study's.
    """
    parameters, settings = _parameters(frame, model, context), context.settings
    if terms is not None:
        parameters = pl.max_horizontal(parameters, terms)
    return frame.with_columns(
        mark(~few_parameters(parameters, n, settings), PARAMETERS)
    ).with_columns(mark(~enough_degrees_of_freedom(parameters, n, settings), RESIDUAL))


def _parameters(frame: pl.DataFrame, model: str, context: Context) -> pl.Expr:
    names = frame[model].unique().to_list()
    unknown = sorted(set(names) - set(context.parameters))
    if unknown:
        raise ValueError(
            f"no number of parameters was given for {model} {', '.join(unknown)}; "
            "nothing leaves without a rule"
        )
    return pl.col(model).replace_strict(
        dict(context.parameters), default=None, return_dtype=pl.Int64
    )


def control_expression_effects(frame: pl.DataFrame, context: Context) -> Judged:
    """Both groups are large enough, the model is small enough, and nobody makes up the mean."""
    return _control_effects(frame, "expression_effects", pl.lit(""), context)


def control_cell_expression_effects(frame: pl.DataFrame, context: Context) -> Judged:
    """Judge each cell type's effects as those of all cells, and how many donors lack the type.

    The numbers of cases and controls of two types of a contrast differ by the donors who have too
    few cells of one of them. So the types that leave have numbers that are equal or differ by safe
    counts, from each other and from the donors whose shares of cell types leave: in the strata of
    the two groups, and in all. Types with more donors come first.
    """
    judged = _control_effects(frame, "cell_expression_effects", pl.col("cell_type"), context).frame
    place = ["contrast", "cell_type", "n_case", "n_control"]
    sizes = judged.filter(pl.col("rule").is_null()).select(place).unique().sort(place)
    ranks = partner_ranks(context.key, sizes.select("contrast", "cell_type").rows())
    sizes = sizes.with_columns(_n=pl.col("n_case") + pl.col("n_control"), _rank=pl.Series(ranks))
    composition = context.tables["cell_composition"]
    if not composition.is_empty():
        composition = control_cell_composition(composition, context).frame
    donors = {
        (variable, stratum): n
        for variable, stratum, n in composition.filter(pl.col("rule").is_null())
        .select("stratum_variable", "stratum", "n_donors")
        .iter_rows()
    }
    unsafe, lacking = unsafe_counts(context.settings), []

    def apart(numbers: Sequence[int], others: Sequence[int | None]) -> bool:
        return any(
            other is not None and number != other and unsafe(abs(number - other))
            for number, other in zip(numbers, others, strict=True)
        )

    for (name,), types in sizes.group_by("contrast", maintain_order=True):
        contrast = context.contrasts.get(str(name))
        told: list[tuple[int | None, ...]] = [(None, None, donors.get((ALL, ALL)))]
        if contrast is not None:
            groups = (contrast.case, contrast.control)
            told.append((*(donors.get((contrast.variable, level)) for level in groups), None))
        for row in types.sort("_n", "_rank", descending=[True, False]).iter_slices(1):
            numbers = row.select("n_case", "n_control", "_n").row(0)
            if any(apart(numbers, others) for others in told):
                lacking.append(row.select(place))
            else:
                told.append(numbers)
    return Judged(_mark_groups(judged, place, lacking, TYPES), unmarked(frame))


def _control_effects(frame: pl.DataFrame, table: str, part: pl.Expr, context: Context) -> Judged:
    settings = context.settings
    least = group_size(settings)
    case, control = pl.col("n_case"), pl.col("n_control")
    judged = frame.with_columns(mark((case < least) | (control < least), MINIMUM_N))
    judged = _mark_model(judged, "contrast", case + control, context)
    judged = mark_features(judged, table, part, pl.col("gene_id"), case + control, context)
    return Judged(judged, unmarked(frame))


def control_expression_design(frame: pl.DataFrame, context: Context) -> Judged:
    """Every group that a sum is over, and every cell of two groups, is large enough.

    What X'X does not show is judged on the patients: their leverage, and numeric covariates that
    have few values.
    """
    judged = _judge_designs(frame, ["contrast"], context)
    judged = mark_features(
        judged, "expression_design", pl.lit(""), pl.lit(""), pl.col("n"), context
    )
    return Judged(judged, unmarked(frame))


def _judge_designs(frame: pl.DataFrame, keys: Sequence[str], context: Context) -> pl.DataFrame:
    """Judge each X'X (named by `keys`) by the counts in it."""
    settings = context.settings
    judged = frame.with_columns(mark(~enough_patients(pl.col("n"), settings), MINIMUM_N))
    # Plates and batches of the site come on top of what the study's model has.
    terms = pl.col("row_term").n_unique().over(keys).cast(pl.Int64)
    judged = _mark_model(judged, "contrast", pl.col("n"), context, terms)
    crowded = [
        part.select(keys).head(1)
        for part in frame.partition_by(keys)
        if not safe_groups(part, settings.minimum_n, unsafe_counts(settings))
    ]
    return _mark_groups(judged, keys, crowded, GROUPS)


def _mark_groups(
    judged: pl.DataFrame, keys: Sequence[str], groups: Sequence[pl.DataFrame], rule: str
) -> pl.DataFrame:
    """Name the rule for all rows of some groups, each given as one row of its keys."""
    if not groups:
        return judged
    marked = pl.concat(groups).with_columns(_marked=pl.lit(value=True))
    return (
        judged.join(marked, on=list(keys), how="left", maintain_order="left")
        .with_columns(mark(pl.col("_marked").fill_null(value=False), rule))
        .drop("_marked")
    )


def control_matrix_design(frame: pl.DataFrame, context: Context) -> Judged:
    """Judge groups as in expression, and the differences between the designs of a contrast.

    Two missingness patterns that differ by one patient give this patient's covariates away. So the
    designs that leave (of all assays, and of expression) have to differ by as many patients as a
    statistic needs, and by safe counts in each group. Patterns with more features come first.
    """
    settings = context.settings
    judged = _judge_designs(frame, list(PATTERN), context)
    pattern = pl.col("pattern").cast(pl.String)
    judged = mark_features(judged, "matrix_design", pl.col("assay"), pattern, pl.col("n"), context)
    expression = context.tables["expression_design"]
    leaving = control_expression_design(expression, context).frame.filter(pl.col("rule").is_null())
    sizes = context.tables["matrix_moments"].group_by(PATTERN).agg(_features=pl.len())
    order = (
        judged.filter(pl.col("rule").is_null())
        .select(PATTERN)
        .unique()
        .join(sizes, on=list(PATTERN), how="left")
        .with_columns(pl.col("_features").fill_null(0))
        .sort("_features", *PATTERN, descending=[True, False, False, False])
        .with_columns(_rank=pl.int_range(pl.len()).over("assay", "contrast"))
        .sort("_rank", maintain_order=True)
    )
    patterns = Patterns(group_size(settings), unsafe_counts(settings))
    for (contrast,), design in leaving.group_by("contrast"):
        patterns.add("expression", str(contrast), cross_products(design))
    close = []
    for row in order.select(PATTERN).iter_slices(1):
        assay, contrast, _ = row.row(0)
        products = cross_products(judged.join(row, on=list(PATTERN), how="semi"))
        if patterns.may_join(assay, contrast, products):
            patterns.add(assay, contrast, products)
        else:
            close.append(row)
    return Judged(_mark_groups(judged, PATTERN, close, PATTERNS), unmarked(frame))


def control_expression_moments(frame: pl.DataFrame, context: Context) -> Judged:
    """Moments leave with their design or not at all, and only where nobody makes them up."""
    design = context.tables["expression_design"]
    judged = _judge_moments(frame, control_expression_design(design, context).frame, ["contrast"])
    judged = mark_features(
        judged, "expression_moments", pl.lit(""), pl.col("gene_id"), pl.col("n"), context
    )
    return Judged(judged, unmarked(frame))


def control_matrix_moments(frame: pl.DataFrame, context: Context) -> Judged:
    """Judge moments as in expression, with the design of their missingness pattern."""
    design = context.tables["matrix_design"]
    judged = _judge_moments(frame, control_matrix_design(design, context).frame, list(PATTERN))
    judged = mark_features(
        judged, "matrix_moments", pl.col("assay"), pl.col("feature"), pl.col("n"), context
    )
    return Judged(judged, unmarked(frame))


def _judge_moments(
    frame: pl.DataFrame, judged_design: pl.DataFrame, keys: Sequence[str]
) -> pl.DataFrame:
    """Hold moments to their design, and to leave residuals: without, the model tells each value."""
    released = (
        judged_design.group_by(keys)
        .agg(
            _open=pl.col("rule").is_null().all(),
            _n=pl.col("n").first(),
            _terms=pl.col("row_term").unique().sort(),
        )
        .filter("_open")
    )
    judged = (
        frame.with_row_index("_row")
        .join(released, on=list(keys), how="left", maintain_order="left")
        .with_columns(
            mark(
                ~(
                    (pl.col("n") == pl.col("_n"))
                    & (pl.col("terms").list.sort() == pl.col("_terms"))
                ),
                DESIGN,
            )
        )
    )
    fitted = [unmarked(judged).select("_row", _varies=pl.lit(value=True))]
    for part in judged.filter(pl.col("rule").is_null()).partition_by(*keys):
        design = judged_design.join(part.head(1), on=list(keys), how="semi")
        residual = unexplained(design, part)
        fitted.append(part.select("_row", _varies=pl.Series(residual)))
    return (
        judged.join(pl.concat(fitted), on="_row", how="left", maintain_order="left")
        .with_columns(mark(~pl.col("_varies"), CONSTANT))
        .drop("_row", "_open", "_n", "_terms", "_varies")
    )


def control_survival_effects(frame: pl.DataFrame, context: Context) -> Judged:
    """Enough patients, events and survivors, and few parameters per event."""
    settings = context.settings
    n, events = pl.col("n"), pl.col("n_events")
    judged = frame.with_columns(mark(~enough_patients(n, settings), MINIMUM_N)).with_columns(
        # The whole follow-up is one step, at whose end nobody is at risk any more.
        mark(~safe_survival_step(n, events, n - events, settings), MINIMUM_CELL_COUNT)
    )
    return Judged(_mark_model(judged, "endpoint", events, context), unmarked(frame))
