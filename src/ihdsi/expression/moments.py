"""Sufficient statistics of gene-wise linear models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["linear_moments"]

FloatArray = NDArray[np.float64]


def linear_moments(
    design: FloatArray, responses: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cross-products from which ordinary least squares can be solved without the patients.

    Parameters
    ----------
    design
        X, patients x terms.
    responses
        y of every gene, genes x patients.

    Returns
    -------
    tuple of ndarray
        X'X (terms x terms), X'y (genes x terms), y'y (genes). They add up over sites, and
        coefficients (X'X)⁻¹X'y, residual sum of squares y'y − y'X(X'X)⁻¹X'y and everything built
        on them follow exactly.
    """
    return design.T @ design, responses @ design, np.einsum("gi,gi->g", responses, responses)
