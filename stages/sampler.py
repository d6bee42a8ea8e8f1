"""Inverse-frequency sampler (Section 3.3): rare granularities are drawn as often as common ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.numbers import BINS


def bin_shares(bins: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Share of every bin 1..10 among rows, (10,); all 0 without rows. bins: (n,) values 1..10."""
    counts = np.bincount(np.asarray(bins, np.int64), minlength=BINS + 1)[1:]
    return np.asarray(counts / max(1, counts.sum()), np.float64)


def row_weights(bins: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Weight of every row, 1 / (share of its bin in the given rows), (n,). bins: (n,) values 1..10 of the union of
    rows that the chosen source draws from."""
    shares = bin_shares(bins)
    return 1.0 / shares[np.asarray(bins, np.int64) - 1]


def draw_probabilities(bins: NDArray[np.integer[Any]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each of an image's rows to be drawn, (n,), summing to 1.

    Proportional to the weight, divided among the image's rows of the same bin. bins, weights: (n,) of one image.
    """
    bins = np.asarray(bins, np.int64)
    of_bin = np.bincount(bins, minlength=BINS + 1)
    shared = weights / of_bin[bins]
    return np.asarray(shared / shared.sum())
