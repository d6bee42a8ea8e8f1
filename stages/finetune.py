"""Granularity-controllable learning (Section 3.3; protocol, section 5): the loss and the clicks of training."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.records import Click

MAX_CLICKS = 24
"""Of each sign."""
DECAY = 0.8
"""Each further initial click is so many times as likely."""
ERODED = 0.9
EROSIONS = 3
MIN_ERODED = 10
BACKGROUND, OTHERS = 0.1, 0.4
"""Shares of the negative clicks that lie anywhere in the background, and on other objects; the rest lies around."""
BORDER = 0.1
THRESHOLD = 0.49
"""Above it a pixel is in the mask that iterative clicks correct."""
ALPHA, GAMMA, EPSILON = 0.5, 2.0, 1e-12

Mask = NDArray[np.bool_]
_SQUARE = np.ones((3, 3), np.uint8)


def normalised_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Normalised focal loss of each image, (B,), from logits and targets (B, 1, H, W): 1, 0, or -1 for not counted.

    The focal weights are scaled to a mean of 1 over the counted pixels; that scale has no gradient.
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


def initial_clicks(mask: Mask, others: Mask, rng: np.random.Generator, decay: float = DECAY) -> list[Click]:
    """The clicks that a sample begins with: positive ones in the mask, negative ones outside of it.

    mask, others: (H, W), the mask and the other objects of the image. An empty mask gets negative clicks alone, and
    has no border: these are drawn from the background. decay: each further click is so many times as likely.
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
    """The clicks that part a mask from others where both are in the mask prompt: at least one of each sign.

    mask, others: (H, W), both with pixels.
    """
    positive = _drawn(_inside(mask, rng), 1 + _count(MAX_CLICKS, decay, rng), mask.shape[1], True, rng)
    return positive + _drawn(_inside(others, rng), 1 + _count(MAX_CLICKS, decay, rng), mask.shape[1], False, rng)


def _inside(mask: Mask, rng: np.random.Generator) -> NDArray[np.int64]:
    """The pixels of a mask that clicks are drawn from: mostly those that are not at its edge, if there are enough."""
    if rng.random() < ERODED:
        eroded = cv2.erode(mask.view(np.uint8), _SQUARE, iterations=EROSIONS) > 0
        if np.count_nonzero(eroded) > MIN_ERODED:
            return np.flatnonzero(eroded)
    return np.flatnonzero(mask)


def _count(values: int, decay: float, rng: np.random.Generator) -> int:
    """0 ... values - 1 with probability proportional to decay^n."""
    weights = decay ** np.arange(values)
    return int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right").clip(0, values - 1))


def _drawn(pixels: NDArray[np.int64], count: int, width: int, positive: bool, rng: np.random.Generator) -> list[Click]:
    chosen = pixels[rng.integers(len(pixels), size=count)]
    return [Click(int(pixel) // width, int(pixel) % width, positive) for pixel in chosen]


def _border(mask: Mask) -> NDArray[np.int64]:
    """The pixels around a mask, as far as it is dilated by a tenth of the root of its area."""
    steps = int(np.ceil(BORDER * np.sqrt(np.count_nonzero(mask))))
    return np.flatnonzero((cv2.dilate(mask.view(np.uint8), _SQUARE, iterations=steps) > 0) & ~mask)


def corrective_click(
    probability: NDArray[np.float32], target: NDArray[np.int8], rng: np.random.Generator
) -> Click | None:
    """A click on the larger error, uniform over its pixels of more than half the largest depth; None for no error.

    probability: (H, W). target: (H, W), 1, 0, or -1 for pixels that count nowhere.
    """
    predicted = probability > THRESHOLD
    missing, surplus = (_depth(error) for error in ((target == 1) & ~predicted, (target == 0) & predicted))
    positive = bool(missing.max() > surplus.max())
    depth = missing if positive else surplus
    inner = np.flatnonzero(depth > depth.max() / 2)
    if not inner.size:
        return None
    row, col = divmod(int(inner[rng.integers(len(inner))]), target.shape[1])
    return Click(row, col, positive)


def _depth(error: Mask) -> NDArray[np.float32]:
    """OpenCV's approximate distance to the outside, which the edge of the image is, too."""
    padded = np.pad(error, 1).view(np.uint8)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)


def with_corrections(initial: Sequence[Click], corrections: Sequence[Click | None]) -> list[Click]:
    """The clicks of a sample after iterative rounds: that of round 1, 2, ... takes slot 24 - round of its sign.

    initial: they fill the 24 slots of each sign from the first on. corrections: of each round, None for no click.
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
