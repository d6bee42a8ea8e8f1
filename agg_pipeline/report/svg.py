"""Photographs and masks as the pieces of inline SVG: embedded images, outlines, positions."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.crop import Box

T = TypeVar("T", bound=np.generic)
DENSITY = 2.0
"""Pixels that are embedded for each unit of a drawing, where the photograph has as many."""


@dataclass(frozen=True)
class View:
    """A box of an image that is drawn ``scale`` times as large; x and y of the drawing run right and down from 0."""

    box: Box
    scale: float

    @property
    def width(self) -> float:
        """Width of the drawing."""
        return round(self.box.width * self.scale, 1)

    @property
    def height(self) -> float:
        """Height of the drawing."""
        return round(self.box.height * self.scale, 1)

    def position(self, row: int, col: int, edge: float) -> tuple[float, float, bool]:
        """(x, y) of a pixel's centre, moved to ``edge`` from the border if it is farther out; whether it was not."""
        x, y = (col + 0.5 - self.box.left) * self.scale, (row + 0.5 - self.box.top) * self.scale
        near_x = min(max(x, edge), self.width - edge)
        near_y = min(max(y, edge), self.height - edge)
        inside = 0 <= x <= self.width and 0 <= y <= self.height
        return round(near_x, 1), round(near_y, 1), inside

    def outline(self, mask: NDArray[np.bool_]) -> str:
        """The ``d`` of a path (fill rule evenodd) around the True pixels of an image-sized (H, W) mask, "" for none.

        Smoothed by half a pixel of the image or of the drawing, whichever is more.
        """
        inside = np.ascontiguousarray(_cut(mask, self.box)).view(np.uint8)
        # Contours run through pixel centres; at twice the size that is a quarter of a pixel from the true edge.
        doubled = np.repeat(np.repeat(inside, 2, axis=0), 2, axis=1)
        contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        tolerance = max(1.0, 1.0 / self.scale)
        parts = []
        for contour in contours:
            points = (cv2.approxPolyDP(contour, tolerance, True)[:, 0] + 0.5) * (self.scale / 2)
            parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
        return "".join(parts)

    def photograph(self, pixels: NDArray[np.uint8]) -> str:
        """The box of an (H, W, 3) uint8 RGB image as a WebP data URI."""
        inside = _cut(pixels, self.box)
        shrink = min(1.0, self.scale * DENSITY)
        size = max(1, round(self.box.width * shrink)), max(1, round(self.box.height * shrink))
        resized = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(".webp", resized[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 82])
        return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()


def view_of(box: Box, height: int, width: int) -> View:
    """The view of a whole box that fits a drawing of this height and width."""
    return View(box, min(height / box.height, width / box.width))


def widened(box: Box, share: float, height: int, width: int) -> Box:
    """A box with a margin (a share of its longer side) as far as the frame of height x width reaches."""
    margin = round(share * max(box.height, box.width)) + 1
    top, left = max(0, box.top - margin), max(0, box.left - margin)
    bottom, right = min(height, box.top + box.height + margin), min(width, box.left + box.width + margin)
    return Box(top, left, bottom - top, right - left)


def _cut(array: NDArray[T], box: Box) -> NDArray[T]:
    return array[box.top : box.top + box.height, box.left : box.left + box.width]
