"""Bilinear resizing with aligned corners of what a model sees and gives, on the CPU."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from schemas.crop import Box


def resized(values: NDArray[np.float32], height: int, width: int, window: Box | None = None) -> NDArray[np.float32]:
    """A (h, w) float32 array resized to (height, width), as torch does it with ``align_corners``.

    window: only this box of the result. Rows first, then columns, each as a product with a sparse matrix: on one core
    this is faster than torch when a map is enlarged (``benchmarks/bench_resize.py``).
    """
    top, left, wanted_height, wanted_width = window or (0, 0, height, width)
    if not (wanted_height and wanted_width):
        return np.zeros((wanted_height, wanted_width), np.float32)
    rows = _weights(values.shape[0], height, top, wanted_height) @ values
    columns = _weights(values.shape[1], width, left, wanted_width)
    return np.asarray(cv2.transpose(columns @ cv2.transpose(rows)), np.float32)


@lru_cache(maxsize=1024)
def _weights(source: int, target: int, first: int, count: int) -> sparse.csr_array:
    """``count`` rows, from ``first`` on, of the (target, source) matrix with two weights in each row.

    float32 throughout, to meet torch's rounding.
    """
    step = np.float32((source - 1) / (target - 1) if target > 1 else 0.0)
    position = np.arange(first, first + count, dtype=np.float32) * step
    low = np.minimum(position.astype(np.int32), source - 1)
    share = position - low.astype(np.float32)
    weights = np.stack([1 - share, share], axis=1).ravel()
    columns = np.stack([low, np.minimum(low + 1, source - 1)], axis=1).ravel()
    return sparse.csr_array((weights, columns, np.arange(0, 2 * count + 1, 2)), shape=(count, source))
