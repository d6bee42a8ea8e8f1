"""How much the colours at two places of an image differ."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

RADIUS = 4
"""The colour of a place is the mean of a square that reaches this many pixels in each direction: 9 x 9 pixels."""


def differences(
    pixels: NDArray[np.uint8], place: tuple[int, int], others: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """Colour difference of several places from one place: Euclidean distance of mean colours in CIELAB.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        place: (row, col) of the place to compare with.
        others: (row, col) of the N other places.

    Returns:
        (N,) float64.
    """
    means = np.array([_mean(pixels, row, col) for row, col in (place, *others)], np.float32)
    lab = cv2.cvtColor(means[None] / np.float32(255), cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    return np.asarray(np.linalg.norm(lab[1:] - lab[0], axis=1), np.float64)


def _mean(pixels: NDArray[np.uint8], row: int, col: int) -> NDArray[np.float64]:
    patch = pixels[max(0, row - RADIUS) : row + RADIUS + 1, max(0, col - RADIUS) : col + RADIUS + 1]
    return np.asarray(patch.mean(axis=(0, 1)))
