"""One training sample: a mask of an image, randomly cropped, with changed colours and its first clicks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.crop import Box, tight_box
from schemas.records import Click
from schemas.training import AugmentConfig
from stages.augment import change_colours, draw_map, warp_mask, warp_pixels
from stages.finetune import initial_clicks, parting_clicks

TRIES = 50
"""Crops drawn at most until one holds a pixel of the mask."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """A mask that was drawn for a sample, in its image, before augmentation.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        mask: (H, W), the mask to learn.
        others: (H, W), the image's other objects.
        around: (H, W), the object that the mask belongs to.
        bin: bin of the mask's granularity, 1 to 10.
        ignored: (H, W), pixels ignored in the loss; None for none.
    """

    pixels: NDArray[np.uint8]
    mask: Mask
    others: Mask
    around: Mask
    bin: int
    ignored: Mask | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """A crop of side S.

    Attributes:
        pixels: (S, S, 3) uint8 RGB.
        target: (S, S) int8; 1 object, 0 background, -1 ignored.
        prompt: (S, S) bool, the first mask prompt; empty for none.
        clicks: the first clicks, in pixels of the crop.
        row: row of the granularity table, 0 to 9; -1 for none.
    """

    pixels: NDArray[np.uint8]
    target: NDArray[np.int8]
    prompt: Mask
    clicks: tuple[Click, ...]
    row: int


def make_sample(
    drawn: DrawnMask,
    config: AugmentConfig,
    click_decay: float,
    rng: np.random.Generator,
    *,
    row: int = -1,
    parted: float = 0.0,
) -> Sample:
    """Crop and augment a mask, and draw its first clicks (protocol, section 5).

    A crop without a pixel of the mask is drawn again, except for a share of ``config.keep_background``. If what is left
    of the mask in the crop is smaller than ``config.min_area``, the sample is background alone.

    Args:
        drawn: the mask and its image.
        config: augmentation.
        click_decay: each further click is this many times as likely.
        rng: of all draws.
        row: row of the granularity table; -1 for none.
        parted: share of the samples with other objects that start with a mask prompt of all objects, from which the
            clicks separate the mask.

    Returns:
        The sample; none of its clicks lies on an ignored pixel.
    """
    height, width = drawn.mask.shape
    shown = drawn.mask if rng.random() < config.on_mask else drawn.around
    focus = tight_box(shown) or Box(0, 0, height, width)
    ignored = np.zeros_like(drawn.mask) if drawn.ignored is None else drawn.ignored
    own = drawn.mask & ~ignored
    for _ in range(TRIES):
        matrix = draw_map(height, width, focus, config, rng)
        mask = warp_mask(own, matrix, config.size)
        if mask.any() or rng.random() < config.keep_background:
            break
    pixels = change_colours(warp_pixels(drawn.pixels, matrix, config.size), config, rng)
    others = warp_mask(drawn.others & ~ignored, matrix, config.size)
    ignored = warp_mask(ignored, matrix, config.size)
    if np.count_nonzero(mask) < config.min_area:
        mask = np.zeros_like(mask)
    if mask.any() and others.any() and rng.random() < parted:
        prompt, clicks = mask | others, parting_clicks(mask, others, rng, click_decay)
    else:
        prompt, clicks = np.zeros_like(mask), initial_clicks(mask, others, rng, click_decay)
    target = np.where(ignored, np.int8(-1), mask.astype(np.int8))
    return Sample(pixels, target, prompt, tuple(click for click in clicks if not ignored[click.row, click.col]), row)
