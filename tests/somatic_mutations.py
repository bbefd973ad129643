"""Somatic variants of which nothing matters but whose they are."""

import numpy as np
import polars as pl


def missense(patients):
    """Give each of `patients`, as often as it stands there, a missense variant at its own place."""
    return pl.DataFrame(
        {
            "patient": patients,
            "chromosome": "1",
            "position": np.arange(1, len(patients) + 1),
            "reference_allele": "A",
            "alternate_allele": "T",
            "alteration_class": "missense",
        }
    )
