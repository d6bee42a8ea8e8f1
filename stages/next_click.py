"""Where simulated clicks of an evaluation lie: in the centre of an error region, or drawn around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.config import ClickPlace
from schemas.crop import Box, MaskCrop, crop_mask
from schemas.records import Click
from stages.draws import index
from stages.morphology import depth


def first_clicks(truth: MaskCrop, ignore: MaskCrop | None, uniforms: NDArray[np.float64]) -> list[Click]:
    """Draw first clicks from the middle of a mask, where a person may click instead of on its centre.

    Args:
        truth: the mask; some of its pixels must not be ignored.
        ignore: ignored pixels, None for no pixel.
        uniforms: numbers in [0, 1), one per click.

    Returns:
        Positive clicks, one per number, on pixels that lie at least half as deep in the mask as its centre.
    """
    frame = truth.full()
    if ignore is not None:
        frame &= ~ignore.full()
    mask = crop_mask(frame, truth.height, truth.width)
    distance = depth(mask)
    middle = np.argwhere(distance >= distance.max() / 2)
    chosen = (middle[index(float(uniform), len(middle))] for uniform in uniforms)
    return [Click(int(row) + mask.box.top, int(col) + mask.box.left, True) for row, col in chosen]


def next_click(
    predicted: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    counted: NDArray[np.bool_] | None,
    clicks: Sequence[Click],
    place: ClickPlace = "centre",
    draw: float = 0.0,
) -> Click:
    """The next simulated click, into the larger error region (protocol, section 3).

    The centre of a region is the first maximum, row-major, of the distance transform, in which pixels clicked before
    are 0.

    Args:
        predicted, truth: masks, (H, W).
        counted: pixels that are not ignored, (H, W); None for all.
        clicks: those made before.
        place: where in the region: ``centre``; or a pixel that is drawn from the connected part around the centre,
            with a probability in proportion to its depth (``depth``) or the same for all (``uniform``), as the
            baselines of RClicks (Antonov et al. 2024, Section 4) have it.
        draw: number in [0, 1) that draws the pixel.

    Returns:
        A positive click where pixels are missing, a negative one where there are too many. Equal maxima give the
        negative click; without an error it is at (0, 0).
    """
    wrong = predicted != truth
    if counted is not None:
        wrong &= counted
    missing, surplus = _depths(wrong & truth, clicks), _depths(wrong & predicted, clicks)
    positive = missing.deepest > surplus.deepest
    region = missing if positive else surplus
    if region.deepest == 0.0:
        return Click(0, 0, False)
    return Click(*(region.centre if place == "centre" else region.drawn(place, draw)), positive)


@dataclass(frozen=True, eq=False, slots=True)
class _Depths:
    """An error region, whose pixels have a depth above 0 unless they were clicked before.

    Attributes:
        box: where it lies.
        values: distance transform, (box.height, box.width).
    """

    box: Box
    values: NDArray[np.floating[Any]]

    @property
    def deepest(self) -> float:
        """Depth of its deepest pixel; 0 for an empty region."""
        return float(self.values.max(initial=0.0))

    @property
    def centre(self) -> tuple[int, int]:
        """(row, col) of its first deepest pixel."""
        return self._position(int(self.values.argmax()))

    def drawn(self, place: ClickPlace, draw: float) -> tuple[int, int]:
        """(row, col) of a pixel that is drawn from the connected part around the centre."""
        _, parts = cv2.connectedComponents((self.values > 0).astype(np.uint8), connectivity=8)
        around = parts == parts.flat[int(self.values.argmax())]
        weights = np.where(around, self.values if place == "depth" else 1.0, 0.0).ravel().cumsum()
        return self._position(int(np.searchsorted(weights, draw * weights[-1], side="right")))

    def _position(self, pixel: int) -> tuple[int, int]:
        row, col = divmod(pixel, self.box.width)
        return row + self.box.top, col + self.box.left


def _depths(region: NDArray[np.bool_], clicks: Sequence[Click]) -> _Depths:
    """The depths of a region, (H, W), in which pixels clicked before are 0."""
    mask = crop_mask(region, *region.shape)
    box = mask.box
    if not mask.values.size:
        return _Depths(box, np.zeros((0, 0)))
    distance = depth(mask)
    for click in clicks:
        row, col = click.row - box.top, click.col - box.left
        if 0 <= row < box.height and 0 <= col < box.width:
            distance[row, col] = 0.0
    return _Depths(box, distance)
