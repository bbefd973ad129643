"""Statistical disclosure control: what may leave a site, and what is withheld instead.

What is protected: counts below the study's threshold, statistics of too few patients, every cell
that could be computed from released margins, strata, bins or genotype counts, or from an earlier
release of the same site, what sums over overlapping groups tell of one patient together, and
membership among the patients against whoever has a person's genotypes and asks all released
germline frequencies at once. What is not: the number of patients whose value of a variable is
unknown, by stratum; the number of patients whom one table counts and another does not (of one
patient without RNA, the levels of the clinical variables follow by subtraction); membership in what
somatic alterations and expression tell together; studies of the same patients with ledgers of their
own.
"""

from ihdsi.disclosure.contributions import judge_features
from ihdsi.disclosure.control import apply_disclosure_control, disclosure_summary
from ihdsi.disclosure.differencing import populations_of
from ihdsi.disclosure.identifiers import (
    refuse_identifiers,
    refuse_identifiers_in_document,
    refuse_identifiers_in_parquet,
)
from ihdsi.disclosure.settings import stricter_of

__all__ = [
    "apply_disclosure_control",
    "disclosure_summary",
    "judge_features",
    "populations_of",
    "refuse_identifiers",
    "refuse_identifiers_in_document",
    "refuse_identifiers_in_parquet",
    "stricter_of",
]
