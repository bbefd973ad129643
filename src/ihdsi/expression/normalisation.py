"""Normalise gene counts and choose the genes that can be tested."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MINIMUM_COUNT", "expressed_genes", "log2_cpm", "median_of_ratios"]

FloatArray = NDArray[np.float64]

#: Reads that a gene needs in a patient to count as expressed there.
MINIMUM_COUNT = 10


def log2_cpm(counts: FloatArray) -> FloatArray:
    r"""Log2 counts per million, as limma-voom defines them.

    :math:`y_{gi} = \log_2\left(\frac{r_{gi} + 0.5}{R_i + 1} \cdot 10^6\right)` with counts
    :math:`r_{gi}` and library sizes :math:`R_i = \sum_g r_{gi}`.

    Parameters
    ----------
    counts
        Genes x patients, all genes of the library: filter afterwards.

    Returns
    -------
    ndarray
        Genes x patients.

    References
    ----------
    Law et al. 2014, Genome Biology 15:R29 (voom), equation in "log-counts per million".
    """
    library_size = counts.sum(axis=0)
    return np.asarray(np.log2((counts + 0.5) / (library_size + 1.0) * 1e6))


def expressed_genes(counts: FloatArray, smallest_group: int) -> NDArray[np.bool_]:
    """Genes with at least `MINIMUM_COUNT` reads in at least `smallest_group` patients.

    The filter knows nothing of which patients are cases, so it does not bias the test. It also
    keeps statistics from resting on fewer patients than the group.

    Parameters
    ----------
    counts
        Genes x patients.
    smallest_group
        Size of the smaller group of the comparison.

    References
    ----------
    Love, Anders & Huber, "Analyzing RNA-seq data with DESeq2" (vignette), section "Pre-filtering".
    """
    return np.asarray((counts >= MINIMUM_COUNT).sum(axis=1) >= smallest_group)


def median_of_ratios(counts: FloatArray) -> FloatArray:
    """Size factors of patients: medians of ratios to the genes' geometric means.

    They are those of `ihdsi.expression.differential.wald_test` wherever a gene has reads in all
    patients. Where none has, PyDESeq2 estimates them iteratively; here they are then proportional
    to the patients' sums of counts.

    Parameters
    ----------
    counts
        Genes x patients, at least one gene; rounded, as the test rounds them.

    Returns
    -------
    ndarray
        One factor a patient, positive.

    References
    ----------
    Anders & Huber 2010, Genome Biology 11:R106, equation 5.
    """
    # It brings pandas with it, which readers of the other functions do not need.
    from pydeseq2.preprocessing import deseq2_norm

    rounded = np.rint(counts)
    if not (rounded > 0).all(axis=1).any():
        sums = np.maximum(rounded.sum(axis=0), 1.0)
        return np.asarray(sums / sums.mean())
    return np.asarray(deseq2_norm(rounded.T)[1])
