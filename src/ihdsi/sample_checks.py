"""Checks that need more than one sample's own reads: sex, identity, swaps, contamination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ihdsi.alignment.artefacts import artefact_rates
from ihdsi.alignment.contamination import estimate_contamination
from ihdsi.alignment.identity import call_genotypes, pairwise_concordance
from ihdsi.alignment.sex import observed_sex, sex_chromosome_coverage
from ihdsi.quality_control import METRICS_SCHEMA, metric_rows
from ihdsi.study import SampleChecks

__all__ = [
    "CONCORDANCE_SCHEMA",
    "AlignedSample",
    "artefact_metrics",
    "compare_samples",
    "sex_metrics",
]

CONCORDANCE_SCHEMA = {
    "patient": pl.String,
    "sample": pl.String,
    "other_patient": pl.String,
    "other_sample": pl.String,
    "sites": pl.Int64,
    "concordance_percent": pl.Float64,
}


@dataclass(frozen=True)
class AlignedSample:
    """One DNA sample with reads."""

    patient: str
    sample: str
    tissue: str

    @property
    def is_normal(self) -> bool:
        """Whether it is of normal tissue."""
        return self.tissue == "normal"


def compare_samples(
    samples: Sequence[AlignedSample], counts: Sequence[pl.DataFrame], settings: SampleChecks
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Compare every sample of a site with every other, and each with its own patient's.

    Parameters
    ----------
    samples
        The site's samples with reads.
    counts
        Their allele counts (as of `ihdsi.alignment.common_sites.count_alleles`), all at the same
        sites in the same order.

    Returns
    -------
    metrics
        Columns of `METRICS_SCHEMA`: identity_concordance_percent (tumour against its patient's
        normal; on both samples, because it is not known which is wrong),
        foreign_concordance_percent (the best match with another patient's sample) and
        contamination_percent. Where reads at common sites are too few to tell, the value is null
        and the note says so. A metric that does not apply (no partner, no other patient) has no
        row.
    concordance
        Columns of `CONCORDANCE_SCHEMA`, every two samples once.
    """
    if not samples:
        return pl.DataFrame(schema=METRICS_SCHEMA), pl.DataFrame(schema=CONCORDANCE_SCHEMA)
    reference, alternate, other = (
        np.stack([frame[name].to_numpy() for frame in counts])
        for name in ("reference_count", "alternate_count", "other_count")
    )
    genotypes = call_genotypes(reference, alternate, settings.minimum_depth)
    concordance, sites = pairwise_concordance(
        genotypes, [sample.is_normal for sample in samples], settings.minimum_sites
    )
    place = {(sample.patient, sample.tissue): row for row, sample in enumerate(samples)}
    partner = np.array(
        [
            place.get((sample.patient, "tumour" if sample.is_normal else "normal"), -1)
            for sample in samples
        ]
    )
    rows = np.arange(len(samples))
    own = np.where(partner >= 0, concordance[rows, partner], np.nan)
    same_patient = np.array([[a.patient == b.patient for b in samples] for a in samples])
    foreign = np.where(same_patient | np.isnan(concordance), -1.0, concordance)
    best = foreign.argmax(axis=1)
    highest = foreign[rows, best]

    # A tumour's homozygous sites are those of its normal, unless the normal is another person's.
    is_tumour = np.array([not sample.is_normal for sample in samples])
    trusted = is_tumour & (partner >= 0) & (own >= settings.same_person_percent)
    # With few reads a heterozygous site looks homozygous, and its other allele like contamination.
    certain = call_genotypes(reference, alternate, settings.minimum_homozygous_depth)
    contamination = estimate_contamination(
        reference,
        alternate,
        other,
        certain[np.where(trusted, partner, rows)],
        counts[0]["allele_frequency"].to_numpy(),
        settings.minimum_sites,
        counts[0]["allele_number"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
    )
    # A tumour's own genotypes cannot stand in for a normal that is too shallow to tell: where
    # copies are lost, the other allele looks like contamination.
    undecided = is_tumour & (partner >= 0) & np.isnan(own)
    contamination = np.where(undecided, np.nan, contamination)
    notes = [
        _best_match(samples[match], share, settings.same_person_percent)
        for match, share in zip(best.tolist(), highest.tolist(), strict=True)
    ]
    described = pl.DataFrame(
        {
            "patient": [sample.patient for sample in samples],
            "sample": [sample.sample for sample in samples],
            "identity_concordance_percent": own,
            "foreign_concordance_percent": np.where(highest >= 0, highest, np.nan),
            "contamination_percent": contamination,
        }
    )
    expected = {
        "identity_concordance_percent": partner >= 0,
        "foreign_concordance_percent": ~same_patient.all(axis=1),
        "contamination_percent": np.ones(len(samples), dtype=bool),
    }
    shared = {
        "identity_concordance_percent": np.where(partner >= 0, sites[rows, partner], 0),
        "foreign_concordance_percent": np.where(same_patient, 0, sites).max(axis=1),
    }
    metrics = pl.concat(
        described.select(
            "patient",
            "sample",
            assay=pl.lit("dna"),
            metric=pl.lit(name),
            value=pl.col(name).fill_nan(None),
            note=pl.when(pl.col(name).is_nan())
            .then(pl.Series(_too_few_sites(shared.get(name), len(samples), settings)))
            .otherwise(
                pl.Series(notes if name in shared else [None] * len(samples), dtype=pl.String)
            ),
        ).filter(pl.Series(applies))
        for name, applies in expected.items()
    ).select(pl.col(name).cast(kind) for name, kind in METRICS_SCHEMA.items())
    return metrics, _pairs(samples, concordance, sites)


def _too_few_sites(
    shared: NDArray[np.int64] | None, n_samples: int, settings: SampleChecks
) -> list[str]:
    """Why a metric could not be judged, for each sample."""
    if shared is None:
        return [
            f"could not be judged: {settings.minimum_sites} homozygous common sites with at least "
            f"{settings.minimum_homozygous_depth} reads are needed"
        ] * n_samples
    return [
        f"could not be judged: {n:.0f} homozygous common sites with enough reads, "
        f"{settings.minimum_sites} are needed"
        for n in shared.tolist()
    ]


def _best_match(match: AlignedSample, share: float, same_person: float) -> str | None:
    if share < 0:
        return None
    if share >= same_person:
        return f"matches {match.sample} of patient {match.patient} ({share:.1f} %)"
    return "matches no other patient's sample"


def _pairs(
    samples: Sequence[AlignedSample], concordance: NDArray[np.float64], sites: NDArray[np.int64]
) -> pl.DataFrame:
    row, column = np.triu_indices(len(samples), k=1)
    named = pl.DataFrame(
        {
            "patient": [sample.patient for sample in samples],
            "sample": [sample.sample for sample in samples],
        }
    )
    others = named.select(pl.all().name.prefix("other_"))
    return pl.concat(
        [
            named[row],
            others[column],
            pl.DataFrame(
                {"sites": sites[row, column], "concordance_percent": concordance[row, column]}
            ).fill_nan(None),
        ],
        how="horizontal",
    ).select(pl.col(name).cast(kind) for name, kind in CONCORDANCE_SCHEMA.items())


def sex_metrics(
    samples: Sequence[AlignedSample],
    regions: Sequence[Path | str],
    settings: SampleChecks,
    clinical: pl.DataFrame | None,
) -> pl.DataFrame:
    """Measure coverage of X and Y, and compare the sex that it shows with the clinical table's.

    Parameters
    ----------
    samples, regions
        Samples and their ``PREFIX.regions.bed.gz`` of mosdepth.
    clinical
        The site's harmonised clinical table, or None.

    Returns
    -------
    polars.DataFrame
        Columns of `METRICS_SCHEMA`: x_coverage_ratio and y_coverage_ratio where there are regions
        on these chromosomes, and sex_discordance (0 or 1). A sex is not judged where the study
        names no variable, the table has no value, or the coverage does not tell; nor in a tumour
        whose patient has a normal with reads, because tumours lose sex chromosomes.
    """
    check = settings.sex
    recorded: dict[str, str] = {}
    if check is not None and clinical is not None:
        recorded = dict(clinical.select("patient", check.variable).drop_nulls().iter_rows())
    with_normal = {sample.patient for sample in samples if sample.is_normal}
    frames = [pl.DataFrame(schema=METRICS_SCHEMA)]
    for sample, path in zip(samples, regions, strict=True):
        values = sex_chromosome_coverage(path)
        note = None
        if (
            check is not None
            and sample.patient in recorded
            and (sample.is_normal or sample.patient not in with_normal)
        ):
            seen = observed_sex(
                values.get("x_coverage_ratio"), values.get("y_coverage_ratio"), check
            )
            if seen is not None:
                level = check.female if seen == "female" else check.male
                values["sex_discordance"] = float(level != recorded[sample.patient])
                note = f"recorded as {recorded[sample.patient]}, coverage shows {level}"
        frames.append(
            metric_rows(sample.patient, sample.sample, "dna", values).with_columns(
                note=pl.when(pl.col("metric") == "sex_discordance").then(
                    pl.lit(note, dtype=pl.String)
                )
            )
        )
    return pl.concat(frames)


def artefact_metrics(
    samples: Sequence[AlignedSample], substitutions: Sequence[pl.DataFrame]
) -> pl.DataFrame:
    """Lay out the rates of oxidation and deamination of each sample (per million bases)."""
    return pl.concat(
        [pl.DataFrame(schema=METRICS_SCHEMA)]
        + [
            metric_rows(sample.patient, sample.sample, "dna", artefact_rates(frame))
            for sample, frame in zip(samples, substitutions, strict=True)
        ]
    )
