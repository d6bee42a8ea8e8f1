"""Inverse-frequency sampler (Section 3.3): rare granularities are drawn as often as common ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.numbers import BINS


def bin_shares(bins: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Share of every bin among rows.

    Args:
        bins: (n,), bin per row, 1 to 10; n may be 0.

    Returns:
        (10,) float64, shares of bins 1 to 10; all 0 without rows.
    """
    counts = np.bincount(np.asarray(bins, np.int64), minlength=BINS + 1)[1:]
    return np.asarray(counts / max(1, counts.sum()), np.float64)


def row_weights(bins: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Weight of every row: 1 / share of its bin among the rows.

    Args:
        bins: (n,), bin per row, 1 to 10, of all rows that a source draws from.

    Returns:
        (n,) float64.
    """
    shares = bin_shares(bins)
    return 1.0 / shares[np.asarray(bins, np.int64) - 1]


def draw_probabilities(bins: NDArray[np.integer[Any]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that a row of an image is drawn: proportional to its weight / number of the image's rows in its bin.

    Args:
        bins: (n,), bin per row of the image, 1 to 10.
        weights: (n,), weight per row.

    Returns:
        (n,) float64 with sum 1.
    """
    bins = np.asarray(bins, np.int64)
    of_bin = np.bincount(bins, minlength=BINS + 1)
    shared = weights / of_bin[bins]
    return np.asarray(shared / shared.sum())
