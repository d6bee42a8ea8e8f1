"""Bilinear resizing of single maps on the CPU."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.crop import Box


def resized(values: NDArray[np.float32], height: int, width: int, window: Box | None = None) -> NDArray[np.float32]:
    """Resize a map bilinearly with aligned corners, as ``F.interpolate(align_corners=True)`` does up to rounding.

    Args:
        values: the map, (h, w) float32.
        height, width: size of the resized map, in pixels.
        window: the box of the resized map that is computed; None for all of it.

    Returns:
        The resized map, or its window, float32.
    """
    top, left, wanted_height, wanted_width = window or (0, 0, height, width)
    if not (wanted_height and wanted_width):
        return np.zeros((wanted_height, wanted_width), np.float32)
    # Rows first, then columns as the rows of the transposed map: rows lie in one piece in memory.
    rows = _interpolated_rows(values, height, top, wanted_height)
    columns = _interpolated_rows(_transposed(rows), width, left, wanted_width)
    return _transposed(columns)


def _transposed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.transpose(values), np.float32)


def _interpolated_rows(values: NDArray[np.float32], target: int, first: int, count: int) -> NDArray[np.float32]:
    """Rows ``first .. first + count - 1`` of (h, w) values stretched to ``target`` rows."""
    last = len(values) - 1
    step = np.float32(last / (target - 1) if target > 1 else 0.0)
    position = np.arange(first, first + count, dtype=np.float32) * step
    above = np.minimum(position.astype(np.int32), last)
    share = (position - above.astype(np.float32))[:, None]
    rows = values[above]
    rows *= 1 - share
    below = values[np.minimum(above + 1, last)]
    below *= share
    rows += below
    return rows
