"""Differential expression with PyDESeq2. Importing this module is slow; import it in its job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydeseq2.dds import DeseqDataSet
from pydeseq2.default_inference import DefaultInference
from pydeseq2.ds import DeseqStats

__all__ = ["WaldTest", "wald_test"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class WaldTest:
    """One value a gene; NaN where the gene is not estimable."""

    base_mean: FloatArray
    log2_fold_change: FloatArray
    standard_error: FloatArray
    statistic: FloatArray
    p_value: FloatArray


def wald_test(
    counts: FloatArray, design: FloatArray, terms: Sequence[str], term: str, n_cpus: int = 1
) -> WaldTest:
    """Test one coefficient of the negative binomial model of DESeq2.

    Size factors are medians of ratios, dispersions are shrunken to their parametric trend, and
    outliers by Cook's distance are replaced and refitted where there are seven replicates or more;
    all of it is deterministic. Fold changes are not shrunken and nothing is filtered by mean count,
    because estimates of several sites are pooled and tested together later. A gene that one
    patient's outlying count decides (Cook's filter) gets no estimate: it would neither pool
    well nor be a statistic of several patients.

    Parameters
    ----------
    counts
        Genes x patients; estimated counts are rounded, as tximport does for DESeq2.
    design
        Patients x terms, full rank.
    terms
        Names of the columns of `design`.
    term
        The coefficient that is tested.
    n_cpus
        Worker processes.

    Returns
    -------
    WaldTest
        Mean of normalised counts, log2 fold change, standard error, Wald statistic, two-sided p.

    References
    ----------
    Love, Huber & Anders 2014, Genome Biology 15:550. Muzellec et al. 2023, Bioinformatics
    39:btad547 (PyDESeq2).
    """
    patients = [f"row{index}" for index in range(design.shape[0])]
    matrix = pd.DataFrame(design, index=patients, columns=list(terms))
    inference = DefaultInference(n_cpus=n_cpus)
    dataset = DeseqDataSet(
        counts=pd.DataFrame(
            np.rint(counts.T).astype(np.int64),
            index=patients,
            columns=[f"gene{index}" for index in range(counts.shape[0])],
        ),
        metadata=pd.DataFrame(index=patients),
        design=matrix,
        refit_cooks=True,
        inference=inference,
        quiet=True,
    )
    dataset.deseq2()
    contrast = (np.asarray(list(terms)) == term).astype(float)
    result = DeseqStats(
        dataset,
        contrast=contrast,
        cooks_filter=True,
        independent_filter=False,
        inference=inference,
        quiet=True,
    )
    result.summary()
    table = result.results_df
    usable = table["pvalue"].notna().to_numpy() & (table["lfcSE"].to_numpy() > 0)

    def of(column: str) -> FloatArray:
        return np.where(usable, table[column].to_numpy(dtype=float), np.nan)

    return WaldTest(
        base_mean=table["baseMean"].to_numpy(dtype=float),
        log2_fold_change=of("log2FoldChange"),
        standard_error=of("lfcSE"),
        statistic=of("stat"),
        p_value=of("pvalue"),
    )
