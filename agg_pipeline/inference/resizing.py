"""Bilinear resizing of single maps on the CPU, at once or when the resized map is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.crop import Box, Crop, common

BLOCK = 1 << 20
"""Values of the resized map that are computed at a time, so that a large map needs little memory besides its own."""


def resized(values: NDArray[Any], height: int, width: int, window: Box | None = None) -> NDArray[np.float32]:
    """Resize a map bilinearly with aligned corners, as ``F.interpolate(align_corners=True)`` does up to rounding.

    Args:
        values: the map, (h, w), of any type of number or bool.
        height, width: size of the resized map, in pixels.
        window: the box of the resized map that is computed; None for all of it.

    Returns:
        The resized map, or its window, float32.
    """
    top, left, wanted_height, wanted_width = window or (0, 0, height, width)
    if not (wanted_height and wanted_width):
        return np.zeros((wanted_height, wanted_width), np.float32)
    result = np.empty((wanted_height, wanted_width), np.float32)
    block = max(1, BLOCK // wanted_width)
    for start in range(0, wanted_height, block):
        part = result[start : start + block]
        # Rows first, then columns as the rows of the transposed map: rows lie in one piece in memory.
        rows = _interpolated_rows(values, height, top + start, len(part))
        columns = _interpolated_rows(cv2.transpose(rows), width, left, wanted_width)
        cv2.transpose(columns, part)
    return result


def _interpolated_rows(values: NDArray[Any], target: int, first: int, count: int) -> NDArray[np.float32]:
    """Rows ``first .. first + count - 1`` of (h, w) values stretched to ``target`` rows."""
    last = len(values) - 1
    step = np.float32(last / (target - 1) if target > 1 else 0.0)
    position = np.arange(first, first + count, dtype=np.float32) * step
    above = np.minimum(position.astype(np.int32), last)
    share = (position - above.astype(np.float32))[:, None]
    # The rows are chosen first, so that no more than these become float32.
    rows: NDArray[np.float32] = values[above].astype(np.float32, copy=False)
    rows *= 1 - share
    below = values[np.minimum(above + 1, last)].astype(np.float32, copy=False)
    below *= share
    rows += below
    return rows


@dataclass(frozen=True, eq=False, slots=True)
class ResizedMap:
    """A pixel map that is held as the small map that it is resized from, and resized by every use.

    Attributes:
        height: rows of the frame (the image).
        width: columns of the frame.
        region: the box of the frame that the small map covers.
        box: the part of the region that is not 0.
        small: the small map, (h, w) float32.
    """

    height: int
    width: int
    region: Box
    box: Box
    small: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the small map takes."""
        return self.small.nbytes

    @property
    def values(self) -> NDArray[np.float32]:
        """(box.height, box.width) float32, resized anew by every call."""
        return self._part(self.box).values

    def full(self) -> NDArray[np.float32]:
        """The image-sized map, (height, width) float32."""
        return self._part(self.box).full()

    def window(self, box: Box) -> NDArray[np.float32]:
        """Cut another box out of the frame, (box.height, box.width) float32; no more than it is resized."""
        return self._part(common(box, self.box)).window(box)

    def _part(self, part: Box) -> Crop[np.float32]:
        window = part.relative_to(self.region)
        return Crop(self.height, self.width, part, resized(self.small, self.region.height, self.region.width, window))
