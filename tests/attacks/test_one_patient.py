"""Attacks on one patient: each succeeds on the summaries and fails on what control leaves of them.

The attacker has the released tables and knows, or suspects, that the target took part: from a group
of one, from sums over a rare level, or by comparing released numbers with a value.
"""

import dataclasses

import numpy as np
import polars as pl
import pytest

from ihdsi.disclosure import apply_disclosure_control, judge_features
from ihdsi.disclosure.differencing import populations_of
from ihdsi.expression.normalisation import log2_cpm
from ihdsi.study import (
    ClinicalDictionary,
    ClinicalVariable,
    Contrast,
    DisclosureSettings,
    Endpoint,
    Study,
)
from ihdsi.summaries import TABLES
from ihdsi.summaries.cohort_profile import build_cohort_profile
from ihdsi.summaries.design import contrast_design
from ihdsi.summaries.expression_effects import estimate_expression_effects
from ihdsi.summaries.expression_moments import build_expression_moments
from ihdsi.summaries.mutation_burden import build_mutation_burden
from ihdsi.summaries.survival_effects import estimate_survival_effects
from ihdsi.summaries.table import Column
from judged_features import nobody_makes_up
from somatic_mutations import missense

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5)
N, GENES = 80, 60
VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    "smoking": ClinicalVariable(type="categorical", levels=("never", "former", "current")),
    "age": ClinicalVariable(type="number", unit="a", bins=(18, 55, 65, 75, 111)),
    "time": ClinicalVariable(type="number", unit="d", minimum=0),
    "event": ClinicalVariable(type="categorical", levels=("no", "yes")),
}
INVASION = {"invasion": Contrast(variable="stage", case="high", control="low")}
SMOKERS = {
    "invasion": Contrast(
        variable="stage", case="high", control="low", covariates=("smoking", "age")
    )
}
SURVIVAL = {"survival": Endpoint(time="time", event="event")}
PARAMETERS = {"invasion": 5, "survival": 1}


@pytest.fixture(scope="module")
def cohort():
    """Eighty patients; the first is the only current smoker."""
    rng = np.random.default_rng(11)
    smoking = rng.choice(["never", "former"], N).astype(object)
    smoking[0] = "current"
    clinical = pl.DataFrame(
        {
            "patient": [f"p{i}" for i in range(N)],
            "stage": ["high" if i % 2 else "low" for i in range(N)],
            "smoking": pl.Series(smoking.tolist(), dtype=pl.String),
            "age": rng.normal(68, 9, N).round(1).clip(30, 100),
            "time": rng.exponential(900, N).round() + 1,
            "event": rng.choice(["no", "yes"], N, p=[0.4, 0.6]),
        }
    )
    matrix = rng.negative_binomial(4, 0.02, (GENES, N))
    counts = pl.DataFrame(
        {"gene_id": [f"ENSG{g:011d}" for g in range(GENES)], "gene_name": "g"}
        | {f"p{i}": matrix[:, i] for i in range(N)}
    )
    return clinical, counts


def study_of(contrasts):
    return Study.model_construct(
        contrasts=contrasts,
        endpoints={},
        strata=(),
        clinical=ClinicalDictionary(variables=VARIABLES),
    )


def cleared(features=None, **tables):
    features = nobody_makes_up(tables) if features is None else features
    return apply_disclosure_control(tables, SETTINGS, [], PARAMETERS, features=features)[0]


def judged(clinical, counts, contrasts):
    frames = {"clinical": clinical, "counts": counts}
    return judge_features(study_of(contrasts), SETTINGS, frames)


def mean_of_a_stratum_of_one(profile):
    """Age of the only current smoker, read from the row of that stratum."""
    rows = profile.filter(
        kind="moments", variable="age", stratum_variable="smoking", stratum="current"
    )
    return None if rows.is_empty() else rows["mean"][0]


def test_a_stratum_of_one_tells_the_value(cohort):
    clinical, _ = cohort
    profile = build_cohort_profile(clinical, VARIABLES, ["smoking"])
    assert mean_of_a_stratum_of_one(profile) == clinical["age"][0]
    assert mean_of_a_stratum_of_one(cleared(cohort_profile=profile)["cohort_profile"]) is None


def mean_of_the_rest(profile):
    """Age of the only current smoker from the whole cohort less the other strata."""
    moments = profile.filter(kind="moments", variable="age")
    whole = moments.filter(stratum="all")
    others = moments.filter(
        pl.col("stratum_variable") == "smoking", pl.col("stratum").is_in(["never", "former"])
    )
    if whole.is_empty() or others.height != 2:
        return None
    n = whole["n"][0] - others["n"].sum()
    total = (whole["n"] * whole["mean"])[0] - (others["n"] * others["mean"]).sum()
    return n, total / n


def test_a_stratum_of_one_does_not_follow_from_the_others(cohort):
    clinical, _ = cohort
    profile = build_cohort_profile(clinical, VARIABLES, ["smoking"])
    # Hiding the stratum alone does not help.
    hidden = profile.filter(pl.col("stratum") != "current")
    n, age = mean_of_the_rest(hidden)
    assert (n, round(age, 1)) == (1, clinical["age"][0])
    released = cleared(cohort_profile=profile)["cohort_profile"]
    assert mean_of_the_rest(released) is None
    assert released.filter(kind="moments", variable="age", stratum="all").height == 1


def expression_of_the_smoker(moments):
    """The target's log2-CPM of every gene: X'y of an indicator that only the target has."""
    with_term = moments.filter(pl.col("terms").list.contains("smoking=current"))
    return np.array(
        [
            values[terms.index("smoking=current")]
            for terms, values in with_term.select("terms", "xty").iter_rows()
        ]
    )


def test_sums_over_a_rare_level_are_one_patients_expression(cohort):
    clinical, counts = cohort
    design, moments = build_expression_moments(counts, clinical, SMOKERS, VARIABLES, 10)
    truth = log2_cpm(counts.drop("gene_id", "gene_name").to_numpy())[:, 0]
    found = expression_of_the_smoker(moments)
    assert np.allclose(np.sort(found), np.sort(truth))
    features = judged(clinical, counts, SMOKERS)
    released = cleared(features, expression_design=design, expression_moments=moments)
    assert expression_of_the_smoker(released["expression_moments"]).size == 0


def age_of_the_smoker(design):
    """The target's age: X'X of age (centred) with the indicator, and the cohort's mean."""
    cell = design.filter(row_term="age", column_term="smoking=current")
    return None if cell.is_empty() else cell["value"][0]


def test_cross_products_of_a_rare_covariate_are_one_patients_covariates(cohort):
    clinical, counts = cohort
    design, moments = build_expression_moments(counts, clinical, SMOKERS, VARIABLES, 10)
    mean = cleared(cohort_profile=build_cohort_profile(clinical, VARIABLES, []))["cohort_profile"]
    known = mean.filter(kind="moments", variable="age", stratum="all")["mean"][0]
    # The released mean has three digits: enough to know the age to a tenth of a year.
    assert abs(age_of_the_smoker(design) + known - clinical["age"][0]) < 0.1
    released = cleared(expression_design=design, expression_moments=moments)
    assert age_of_the_smoker(released["expression_design"]) is None


def test_a_common_covariate_leaves_and_solving_its_cross_products_finds_groups_only(cohort):
    clinical, counts = cohort
    common = clinical.with_columns(
        smoking=pl.when(pl.int_range(N) % 4 < 2).then(pl.lit("never")).otherwise(pl.lit("former"))
    )
    design, moments = build_expression_moments(counts, common, SMOKERS, VARIABLES, 10)
    features = judged(common, counts, SMOKERS)
    released = cleared(features, expression_design=design, expression_moments=moments)
    assert released["expression_moments"].height == moments.height > 0
    sizes = released["expression_design"].filter(
        pl.col("row_term") == pl.col("column_term"), pl.col("row_term") != "age"
    )
    assert sizes["value"].min() >= SETTINGS.minimum_n


def released_numbers(tables):
    """Every released number that is computed from values, with the gene it belongs to, if any."""
    parts = []
    for frame in tables.values():
        numbers = [name for name, kind in frame.schema.items() if kind == pl.Float64]
        lists = [name for name, kind in frame.schema.items() if kind == pl.List(pl.Float64)]
        gene = pl.col("gene_id") if "gene_id" in frame.columns else pl.lit(None, pl.String)
        parts += [frame.select(gene_id=gene, value=pl.col(name)) for name in numbers]
        parts += [frame.select(gene_id=gene, value=pl.col(name)).explode("value") for name in lists]
    return pl.concat(parts).drop_nulls("value").unique()


def patients_read_back(tables, values):
    """Values of single patients that stand among the released numbers."""
    found = released_numbers(tables).join(
        values, on=["gene_id", "value"], how="semi", nulls_equal=True
    )
    return set(found.iter_rows())


def all_tables(cohort):
    clinical, counts = cohort
    design, moments = build_expression_moments(counts, clinical, INVASION, VARIABLES, 10)
    rng = np.random.default_rng(2)
    variants = missense(rng.choice(clinical["patient"], 900))
    assessed = clinical.select("patient", callable_megabases=pl.lit(30.5))
    return {
        "cohort_profile": build_cohort_profile(clinical, VARIABLES, ["stage", "smoking"]),
        "mutation_burden": build_mutation_burden(variants, assessed, clinical, ["smoking"]),
        "expression_effects": estimate_expression_effects(
            counts, clinical, INVASION, VARIABLES, 10
        ),
        "expression_design": design,
        "expression_moments": moments,
        "survival_effects": estimate_survival_effects(counts, clinical, SURVIVAL, VARIABLES, 10),
    }


def test_no_released_number_is_a_value_of_one_patient(cohort):
    clinical, counts = cohort
    genes, matrix = counts["gene_id"], counts.drop("gene_id", "gene_name").to_numpy()
    scales = [matrix.astype(float), log2_cpm(matrix)]
    values = pl.concat(
        [
            *(
                pl.DataFrame({"gene_id": np.repeat(genes.to_numpy(), N), "value": scale.ravel()})
                for scale in scales
            ),
            clinical.select(gene_id=pl.lit(None, pl.String), value=pl.col("age")),
            clinical.select(gene_id=pl.lit(None, pl.String), value=pl.col("time")),
        ]
    )
    tables = all_tables(cohort)
    # A published federated tool sends every gene's largest count, which is one patient's.
    largest = pl.DataFrame({"gene_id": genes, "maximum": matrix.max(axis=1).astype(float)})
    assert len(patients_read_back({"maxima": largest}, values)) == GENES
    # Uncleared, the only current smoker's age is a mean.
    age = clinical["age"][0]
    assert (None, age) in patients_read_back(
        {"profile": tables["cohort_profile"].filter(stratum="current", kind="moments")}, values
    )
    released = cleared(judged(clinical, counts, INVASION), **tables)
    assert sum(frame.height for frame in released.values()) > 3 * GENES
    # A rounded mean of a whole cohort may be somebody's age, too; what it may not be is a mean of
    # few. So descriptive moments are judged by the patients behind them.
    moments = released["cohort_profile"].filter(kind="moments")
    assert moments["n"].min() >= SETTINGS.minimum_n
    rest = released | {"cohort_profile": released["cohort_profile"].filter(kind="count")}
    # Without covariates the cross-products of the design are sizes of groups.
    assert set(rest.pop("expression_design")["value"]) == {float(N), float(N // 2)}
    assert patients_read_back(rest, values) == set()


def test_two_contrasts_one_patient_apart_tell_the_patients_expression(cohort):
    clinical, counts = cohort
    # The target's smoking is unknown, so that the contrast with this covariate leaves it out.
    common = clinical.with_columns(
        smoking=pl.when(pl.int_range(N) == 0)
        .then(None)
        .when(pl.int_range(N) % 4 < 2)
        .then(pl.lit("never"))
        .otherwise(pl.lit("former"))
    )
    contrasts = {
        "plain": INVASION["invasion"],
        "smoking": Contrast(variable="stage", case="high", control="low", covariates=("smoking",)),
    }
    design, moments = build_expression_moments(counts, common, contrasts, VARIABLES, 10)
    sums = {
        contrast: dict(part.select("gene_id", pl.col("xty").list.first()).iter_rows())
        for (contrast,), part in moments.partition_by("contrast", as_dict=True).items()
    }
    truth = log2_cpm(counts.drop("gene_id", "gene_name").to_numpy())[:, 0]
    found = [sums["plain"][gene] - sums["smoking"][gene] for gene in counts["gene_id"]]
    assert np.allclose(found, truth)
    populations = populations_of(study_of(contrasts), clinical=common, counts=counts)
    released = apply_disclosure_control(
        {"expression_design": design, "expression_moments": moments},
        SETTINGS,
        [],
        {"plain": 2, "smoking": 3},
        populations=populations.rename({"patient": "patient_hash"}),
        features=judged(common, counts, contrasts),
    )[0]
    assert released["expression_moments"]["contrast"].unique().to_list() == ["plain"]
    assert released["expression_design"]["contrast"].unique().to_list() == ["plain"]


@pytest.mark.parametrize("others", ["zero", "small"])
def test_a_numeric_covariate_of_one_patient_tells_the_patients_expression(cohort, others):
    clinical, counts = cohort
    rest = np.zeros(N) if others == "zero" else np.random.default_rng(3).uniform(0, 0.01, N)
    rest[0] = 1.0
    flagged = clinical.with_columns(flag=pl.Series(rest))
    variables = VARIABLES | {"flag": ClinicalVariable(type="number", unit="1")}
    contrasts = {
        "invasion": Contrast(variable="stage", case="high", control="low", covariates=("flag",))
    }
    # The attack, on what a design without the check would give.
    made = contrast_design(
        flagged, counts.columns[2:], contrasts["invasion"], variables, full_rank=False
    )
    expression = log2_cpm(counts.drop("gene_id", "gene_name").to_numpy())
    xty = expression @ made.matrix
    flag = made.terms.index("flag")
    scale = made.matrix[:, flag].max()
    found = xty[:, flag] / scale + xty[:, 0] / N
    assert np.abs(found - expression[:, 0]).max() < 0.2
    design, moments = build_expression_moments(counts, flagged, contrasts, variables, 10)
    assert design.is_empty()
    assert moments.is_empty()
    assert estimate_expression_effects(counts, flagged, contrasts, variables, 10).is_empty()


def test_a_mean_that_one_patient_makes_up_does_not_leave():
    values = np.zeros(N)
    values[0] = 437.0
    clinical = pl.DataFrame({"patient": [f"p{i}" for i in range(N)], "psa": values})
    psa = {"psa": ClinicalVariable(type="number", unit="ug/L", bins=(0, 10, 1000))}
    profile = build_cohort_profile(clinical, psa, [])
    row = profile.filter(kind="moments")
    assert round((row["n"] * row["mean"])[0], 6) == 437.0
    assert cleared(cohort_profile=profile)["cohort_profile"].filter(kind="moments").is_empty()


def test_a_count_that_no_rule_looks_at_does_not_leave(cohort, monkeypatch):
    clinical, counts = cohort
    effects = estimate_expression_effects(counts, clinical, INVASION, VARIABLES, 10)
    spec = TABLES["expression_effects"]
    added = Column("n_mutated", pl.Int64, "count", minimum=0, unit="1", description="Mutated.")
    wider = dataclasses.replace(spec, columns=(*spec.columns, added))
    monkeypatch.setitem(TABLES, "expression_effects", wider)
    with pytest.raises(ValueError, match="n_mutated"):
        cleared(expression_effects=effects.with_columns(n_mutated=pl.lit(1, dtype=pl.Int64)))
