"""How much the colours at two places of an image differ."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

AROUND = 4
"""Pixels on each side of a place that count for its colour."""


def differences(
    pixels: NDArray[np.uint8], place: tuple[int, int], others: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """Colour difference of each of the other places from a place, (N,): Euclidean in CIELAB, of means over 9x9 pixels.

    pixels: (H, W, 3) RGB. place, others: (row, col).
    """
    means = np.array([_mean(pixels, *each) for each in (place, *others)], np.float32)
    lab = cv2.cvtColor(means[None] / np.float32(255), cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    return np.asarray(np.linalg.norm(lab[1:] - lab[0], axis=1), np.float64)


def _mean(pixels: NDArray[np.uint8], row: int, col: int) -> NDArray[np.float64]:
    patch = pixels[max(0, row - AROUND) : row + AROUND + 1, max(0, col - AROUND) : col + AROUND + 1]
    return np.asarray(patch.mean(axis=(0, 1)))
