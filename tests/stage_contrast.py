"""A contrast of stage with covariates of both kinds, for tests of linear models over sites."""

from ihdsi.study import ClinicalVariable, Contrast

VARIABLES = {
    "stage": ClinicalVariable(type="categorical", levels=("low", "high")),
    "smoking": ClinicalVariable(type="categorical", levels=("never", "former", "current")),
    "age": ClinicalVariable(type="number", unit="a"),
}
CONTRASTS = {
    "stage": Contrast(variable="stage", case="high", control="low", covariates=("smoking", "age"))
}
