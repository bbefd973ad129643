"""Verdicts on features for tests that have summary tables and no patients behind them."""

import polars as pl

from ihdsi.disclosure.contributions import FEATURES_SCHEMA

#: By table: columns of the part and of the feature, and the number of patients.
_PLACES = {
    "expression_design": (pl.lit(""), pl.lit(""), pl.col("n")),
    "matrix_design": (pl.col("assay"), pl.col("pattern").cast(pl.String), pl.col("n")),
    "cohort_profile": (pl.col("stratum_variable"), pl.col("variable"), pl.col("n")),
    "mutation_burden": (pl.col("stratum_variable"), pl.col("measure"), pl.col("n")),
    "expression_moments": (pl.lit(""), pl.col("gene_id"), pl.col("n")),
    "expression_effects": (pl.lit(""), pl.col("gene_id"), pl.col("n_case") + pl.col("n_control")),
    "matrix_moments": (pl.col("assay"), pl.col("feature"), pl.col("n")),
    "cell_expression_effects": (
        pl.col("cell_type"),
        pl.col("gene_id"),
        pl.col("n_case") + pl.col("n_control"),
    ),
}


def nobody_makes_up(tables):
    """Say of every feature of the tables that it was judged and that no rule withholds it."""
    parts = [pl.DataFrame(schema=FEATURES_SCHEMA)]
    for name, (part, feature, n) in _PLACES.items():
        if name in tables:
            table = tables[name]
            if name == "cohort_profile":
                table = table.filter(kind="moments")
            contrast = "contrast" if "contrast" in table.columns else "stratum"
            verdicts = {"table": pl.lit(name), "part": part, "contrast": contrast, "n": n}
            columns = verdicts | {"feature": feature, "feature_rule": pl.lit(None, pl.String)}
            rows = table.select(**columns).select(pl.col(c) for c in FEATURES_SCHEMA)
            parts.append(rows.unique(maintain_order=True))
    return pl.concat(parts)
