"""Photographs and masks as pieces of inline SVG: embedded images, outlines, positions."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.crop import Box, MaskCrop

DENSITY = 2.0
"""Most pixels of the embedded photograph per CSS pixel of a drawing."""


@dataclass(frozen=True)
class View:
    """A box of an image as it is drawn; x and y of the drawing run right and down from 0, in CSS pixels.

    Attributes:
        box: the part of the image that is drawn.
        scale: CSS pixels per pixel of the image.
    """

    box: Box
    scale: float

    @property
    def width(self) -> float:
        """Width of the drawing, CSS pixels."""
        return round(self.box.width * self.scale, 1)

    @property
    def height(self) -> float:
        """Height of the drawing, CSS pixels."""
        return round(self.box.height * self.scale, 1)

    def position(self, row: int, col: int, edge: float) -> tuple[float, float, bool]:
        """Where a pixel of the image lies in the drawing.

        Args:
            row: row of the pixel.
            col: column of the pixel.
            edge: smallest distance from the border; positions farther out are moved there.

        Returns:
            (x, y, inside): the pixel's centre after moving, and whether it lies inside the drawing before.
        """
        x, y = (col + 0.5 - self.box.left) * self.scale, (row + 0.5 - self.box.top) * self.scale
        near_x = min(max(x, edge), self.width - edge)
        near_y = min(max(y, edge), self.height - edge)
        inside = 0 <= x <= self.width and 0 <= y <= self.height
        return round(near_x, 1), round(near_y, 1), inside

    def outline(self, mask: MaskCrop) -> str:
        """The outline of a mask, smoothed by half a pixel of the image or of the drawing, whichever is larger.

        Args:
            mask: a mask of the image.

        Returns:
            The ``d`` of an SVG path (fill rule evenodd); "" for an empty mask.
        """
        inside = np.ascontiguousarray(mask.window(self.box)).view(np.uint8)
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
        """The box of an (H, W, 3) uint8 RGB image, as a data URI of a WebP file."""
        inside = pixels[self.box.slices]
        shrink = min(1.0, self.scale * DENSITY)
        size = max(1, round(self.box.width * shrink)), max(1, round(self.box.height * shrink))
        resized = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
        return webp_uri(np.asarray(resized, np.uint8))


def webp_uri(pixels: NDArray[np.uint8]) -> str:
    """An (H, W, 3) uint8 RGB image as a data URI of a WebP file."""
    _, encoded = cv2.imencode(".webp", pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 82])
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()


def view_of(box: Box, height: int, width: int) -> View:
    """The largest view of a box that fits a drawing.

    Args:
        box: the box to draw.
        height: largest height of the drawing, CSS pixels.
        width: largest width of the drawing, CSS pixels.
    """
    return View(box, min(height / box.height, width / box.width))


def widened(box: Box, share: float, height: int, width: int) -> Box:
    """Add a margin to a box, as far as the frame reaches.

    Args:
        box: the box.
        share: margin as a share of the box's longer side.
        height: rows of the frame.
        width: columns of the frame.
    """
    margin = round(share * max(box.height, box.width)) + 1
    top, left = max(0, box.top - margin), max(0, box.left - margin)
    bottom, right = min(height, box.top + box.height + margin), min(width, box.left + box.width + margin)
    return Box(top, left, bottom - top, right - left)


def less_narrow(box: Box, ratio: float, height: int, width: int) -> Box:
    """Widen the shorter side of a narrow box on both sides, as far as the frame reaches.

    Args:
        box: the box.
        ratio: largest ratio of its sides afterwards, at least 1.
        height: rows of the frame.
        width: columns of the frame.
    """
    rows = min(height, max(box.height, round(box.width / ratio)))
    cols = min(width, max(box.width, round(box.height / ratio)))
    top = min(max(0, box.top - (rows - box.height) // 2), height - rows)
    left = min(max(0, box.left - (cols - box.width) // 2), width - cols)
    return Box(top, left, rows, cols)
