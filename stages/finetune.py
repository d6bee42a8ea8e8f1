"""Granularity-controllable learning (Section 3.3; protocol, section 5): its loss, and the clicks of training."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.records import Click
from stages.opencv import without_ipp

MAX_CLICKS = 24
"""Most clicks per sign, positive or negative."""
DECAY = 0.8
"""Each further initial click is this many times as likely."""
ERODED = 0.9
"""Probability that initial positive clicks are drawn from the eroded mask."""
EROSIONS = 3
"""Erosions of that mask, with a 3x3 square."""
MIN_ERODED = 10
"""If no more than this many pixels are left, the whole mask is used."""
BACKGROUND, OTHERS = 0.1, 0.4
"""Shares of the negative clicks drawn from the background and from other objects; the rest is drawn from the border."""
BORDER = 0.1
"""Width of the border around a mask, as a share of the square root of its area."""
THRESHOLD = 0.49
"""A pixel above this probability is in the predicted mask, which iterative clicks correct."""
ALPHA, GAMMA, EPSILON = 0.5, 2.0, 1e-12
"""Constants of the normalised focal loss."""

Mask = NDArray[np.bool_]
_SQUARE = np.ones((3, 3), np.uint8)


def normalised_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Normalised focal loss per image (protocol, section 5).

    The focal weights are scaled to a mean of 1 over the counted pixels; the scale has no gradient.

    Args:
        logits: (B, 1, H, W).
        target: (B, 1, H, W); 1 object, 0 background, -1 ignored.

    Returns:
        (B,), the mean over the counted pixels.
    """
    counted = (target >= 0).to(logits.dtype)
    probability = torch.sigmoid(logits)
    right = torch.where(target == 1, probability, 1 - probability)
    right = torch.where(target >= 0, right, torch.ones_like(right))
    weight = (1 - right) ** GAMMA
    pixels = counted.sum(dim=(1, 2, 3))
    scale = pixels / (weight.sum(dim=(1, 2, 3)) + EPSILON)
    loss = -ALPHA * weight * scale.detach().view(-1, 1, 1, 1) * torch.log(torch.clamp(right + EPSILON, max=1.0))
    return (loss * counted).sum(dim=(1, 2, 3)) / (pixels + EPSILON)


def order_loss(lower: Tensor, higher: Tensor) -> Tensor:
    """Share of a finer mask that lies outside of a coarser one after the same clicks, per image. Not in the paper.

    Args:
        lower: logits at the lower granularity, (B, 1, H, W).
        higher: logits at the higher granularity, (B, 1, H, W).

    Returns:
        (B,), in [0, 1]; 0 where the finer mask lies inside, or both are the same.
    """
    finer, coarser = torch.sigmoid(lower), torch.sigmoid(higher)
    outside = torch.relu(finer - coarser).sum(dim=(1, 2, 3))
    return outside / (finer.sum(dim=(1, 2, 3)) + EPSILON)


def lower_rows(rows: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw a lower granularity for each sample.

    Args:
        rows: of the granularity table, (B,) int64; -1 for none.
        rng: of the draws.

    Returns:
        Rows below, uniform from 0 on; the same row where there is none below.
    """
    drawn = [int(rng.integers(row)) if row > 0 else row for row in rows.tolist()]
    return torch.tensor(drawn)


def initial_clicks(mask: Mask, others: Mask, rng: np.random.Generator, decay: float = DECAY) -> list[Click]:
    """Draw the initial clicks of a sample: positive clicks in the mask, negative clicks outside of it.

    Args:
        mask: (H, W), the mask; if it is empty, all clicks are negative, and none of them is drawn from a border.
        others: (H, W), the other objects of the image.
        rng: of the draws.
        decay: each further click is this many times as likely.
    """
    clicks: list[Click] = []
    if mask.any():
        clicks += _drawn(_inside(mask, rng), 1 + _count(MAX_CLICKS, decay, rng), mask.shape[1], True, rng)
    background = np.flatnonzero(~(mask | others))
    elsewhere = np.flatnonzero(others & ~mask)
    around = _border(mask)
    for _ in range(_count(MAX_CLICKS + 1, decay, rng)):
        kind = rng.random()
        pixels = background if kind < BACKGROUND or not elsewhere.size else elsewhere
        if kind >= BACKGROUND + OTHERS:
            pixels = around if mask.any() else background
        if pixels.size:
            clicks += _drawn(pixels, 1, mask.shape[1], False, rng)
    return clicks


def parting_clicks(mask: Mask, others: Mask, rng: np.random.Generator, decay: float = DECAY) -> list[Click]:
    """Draw clicks that separate a mask from other objects if the mask prompt holds both: at least one per sign.

    Args:
        mask: (H, W), the mask; not empty.
        others: (H, W), the other objects; not empty.
        rng: of the draws.
        decay: each further click is this many times as likely.
    """
    positive = _drawn(_inside(mask, rng), 1 + _count(MAX_CLICKS, decay, rng), mask.shape[1], True, rng)
    return positive + _drawn(_inside(others, rng), 1 + _count(MAX_CLICKS, decay, rng), mask.shape[1], False, rng)


def _inside(mask: Mask, rng: np.random.Generator) -> NDArray[np.int64]:
    """The pixels of a mask that clicks are drawn from: usually of the eroded mask, if it is large enough."""
    if rng.random() < ERODED:
        eroded = cv2.erode(mask.view(np.uint8), _SQUARE, iterations=EROSIONS) > 0
        if np.count_nonzero(eroded) > MIN_ERODED:
            return np.flatnonzero(eroded)
    return np.flatnonzero(mask)


def _count(values: int, decay: float, rng: np.random.Generator) -> int:
    """A number n from 0 to values - 1 with probability proportional to decay^n."""
    weights = decay ** np.arange(values)
    return int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right").clip(0, values - 1))


def _drawn(pixels: NDArray[np.int64], count: int, width: int, positive: bool, rng: np.random.Generator) -> list[Click]:
    chosen = pixels[rng.integers(len(pixels), size=count)]
    return [Click(int(pixel) // width, int(pixel) % width, positive) for pixel in chosen]


def _border(mask: Mask) -> NDArray[np.int64]:
    """The pixels of the border around a mask."""
    steps = int(np.ceil(BORDER * np.sqrt(np.count_nonzero(mask))))
    return np.flatnonzero((cv2.dilate(mask.view(np.uint8), _SQUARE, iterations=steps) > 0) & ~mask)


def corrective_clicks(
    probability: NDArray[np.float32], target: NDArray[np.int8], rng: np.random.Generator, pool: Executor | None = None
) -> list[Click | None]:
    """Draw a click for each prediction that corrects it, among the pixels that lie deep inside the larger error.

    Missing and surplus pixels are compared by the largest distance to their outside; the click is uniform over the
    pixels of more than half that distance.

    Args:
        probability: (B, H, W), the predictions.
        target: (B, H, W); 1 object, 0 background, -1 ignored.
        rng: of the draws, in the order of the predictions.
        pool: threads that search the errors; None for this thread. The clicks do not depend on it.

    Returns:
        Positive clicks on missing pixels and negative clicks on surplus pixels; None where there is no error.
    """
    clicks: list[Click | None] = []
    for positive, pixels in (map if pool is None else pool.map)(_larger_error, probability, target):
        if pixels.size:
            row, col = divmod(int(pixels[rng.integers(len(pixels))]), target.shape[2])
            clicks.append(Click(row, col, positive))
        else:
            clicks.append(None)
    return clicks


def _larger_error(probability: NDArray[np.float32], target: NDArray[np.int8]) -> tuple[bool, NDArray[np.int64]]:
    """Whether more is missing than surplus, and the pixels deep inside that error."""
    predicted = probability > THRESHOLD
    missing, surplus = (_depth(error) for error in ((target == 1) & ~predicted, (target == 0) & predicted))
    positive = missing.largest > surplus.largest
    return positive, (missing if positive else surplus).deep_pixels(target.shape[1])


@dataclass(frozen=True)
class _Depth:
    """Distance of an error's pixels to its outside, in the error's box.

    Attributes:
        values: (h, w), 0 outside; empty if there is no error.
        top, left: first row and column of the box.
    """

    values: NDArray[np.float32]
    top: int
    left: int

    @property
    def largest(self) -> float:
        return float(self.values.max(initial=0))

    def deep_pixels(self, width: int) -> NDArray[np.int64]:
        """Pixels of more than half the largest distance, row * width + col, ascending."""
        rows, cols = np.nonzero(self.values > self.largest / 2)
        return (rows + self.top) * width + cols + self.left


def _depth(error: Mask) -> _Depth:
    """OpenCV's approximate distance to the outside; beyond the image is outside."""
    left, top, width, height = cv2.boundingRect(error.view(np.uint8))
    padded = np.pad(error[top : top + height, left : left + width], 1).view(np.uint8)
    with without_ipp():
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    return _Depth(np.asarray(distance[1:-1, 1:-1], np.float32), top, left)


def with_corrections(initial: Sequence[Click], corrections: Sequence[Click | None]) -> list[Click]:
    """The clicks of a sample after iterative rounds (protocol, section 5).

    A network takes 24 clicks per sign. The initial clicks fill these slots from the first on; the click of round 1, 2,
    ... takes slot 24 - round of its sign.

    Args:
        initial: the initial clicks.
        corrections: a click per round; None for no click.
    """
    clicks: list[Click] = []
    for positive in (True, False):
        slots: list[Click | None] = [None] * MAX_CLICKS
        same = [click for click in initial if click.positive == positive]
        slots[: len(same)] = same
        for round_, click in enumerate(corrections, start=1):
            if click is not None and click.positive == positive:
                slots[MAX_CLICKS - round_] = click
        clicks += [click for click in slots if click is not None]
    return clicks
