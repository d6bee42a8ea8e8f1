"""Augmentation for training (protocol, section 5): one affine map for image and masks, then colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.crop import Box
from schemas.training import AugmentConfig

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]


def draw_map(height: int, width: int, focus: Box, config: AugmentConfig, rng: np.random.Generator) -> Matrix:
    """Draw a map from an image to a square crop.

    With ``config.view`` "crop" the image is scaled, flipped, turned, shifted, padded and cropped (protocol, section 5).
    With "zoom" the whole image or a region around ``focus`` is squeezed into the crop, as the predictor does it, and
    then flipped, turned and shifted.

    Args:
        height, width: size of the image.
        focus: box of the object or mask.
        config: augmentation; ``config.size`` is the side of the crop.
        rng: of the draws.

    Returns:
        (2, 3) float64, from (x, y, 1) in the image to (x, y) in the crop, in pixels.
    """
    if config.view == "crop":
        window = Box(0, 0, height, width)
        across = down = rng.uniform(config.min_scale, config.max_scale)
    else:
        window = _window(height, width, focus, config, rng)
        across, down = config.size / window.width, config.size / window.height
    centre = window.left + (window.width - 1) / 2, window.top + (window.height - 1) / 2
    linear = np.diag([across, down]) @ _flip(config, rng)
    seen_width, seen_height = window.width * across, window.height * down
    if rng.random() < config.turn_90:
        quarter = int(rng.integers(4))
        linear = _rotation(90 * quarter) @ linear
        if quarter % 2:
            seen_width, seen_height = seen_height, seen_width
    moved = np.zeros(2)
    if rng.random() < config.shift_and_rotate:
        linear = _rotation(rng.uniform(-config.max_rotation, config.max_rotation)) @ linear
        moved += rng.uniform(-config.max_shift, config.max_shift, 2) * (seen_width, seen_height)
    # An image larger than the crop is cut at a random place, a smaller one is padded on all sides.
    spare = np.maximum(0.0, (seen_width - config.size, seen_height - config.size)) / 2
    moved += rng.uniform(-spare, spare) + (config.size - 1) / 2
    return np.column_stack([linear, moved - linear @ centre])


def _window(height: int, width: int, focus: Box, config: AugmentConfig, rng: np.random.Generator) -> Box:
    """The whole image, or a box around the focus with a random margin at a random place."""
    if rng.random() < config.whole_image:
        return Box(0, 0, height, width)
    grown = rng.uniform(config.min_zoom, config.max_zoom)
    tall, wide = max(config.min_side, grown * focus.height), max(config.min_side, grown * focus.width)
    row = focus.top + focus.height / 2 + rng.uniform(-config.jitter, config.jitter) * tall
    col = focus.left + focus.width / 2 + rng.uniform(-config.jitter, config.jitter) * wide
    top, bottom = max(0, round(row - tall / 2)), min(height, round(row + tall / 2))
    left, right = max(0, round(col - wide / 2)), min(width, round(col + wide / 2))
    return Box(top, left, max(1, bottom - top), max(1, right - left))


def _flip(config: AugmentConfig, rng: np.random.Generator) -> Matrix:
    """A random flip: horizontal, vertical or both with equal probability, or horizontal only."""
    if rng.random() >= config.flip:
        return np.eye(2)
    if config.flips == "horizontal":
        return np.diag([-1.0, 1.0])
    return np.diag([(-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)][int(rng.integers(3))])


def _rotation(degrees: float) -> Matrix:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def warp_pixels(pixels: Pixels, matrix: Matrix, size: int) -> Pixels:
    """Map an image to the crop, bilinear; black outside of the image.

    Args:
        pixels: (H, W, 3) uint8.
        matrix: (2, 3) float64, of ``draw_map``.
        size: side of the crop, in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    return np.asarray(cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_LINEAR), np.uint8)


def warp_mask(mask: Mask, matrix: Matrix, size: int) -> Mask:
    """Map a mask to the crop, nearest neighbour; False outside of the image.

    Args:
        mask: (H, W) bool.
        matrix: (2, 3) float64, of ``draw_map``.
        size: side of the crop, in pixels.

    Returns:
        (size, size) bool.
    """
    return np.asarray(cv2.warpAffine(mask.view(np.uint8), matrix, (size, size), flags=cv2.INTER_NEAREST), np.bool_)


def change_colours(pixels: Pixels, config: AugmentConfig, rng: np.random.Generator) -> Pixels:
    """Change brightness and contrast at random, then the three colours (protocol, section 5).

    Args:
        pixels: (H, W, 3) uint8 RGB.
        config: probabilities and largest changes.
        rng: of the draws.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    levels = np.repeat(np.arange(256.0)[:, None], 3, axis=1)
    if rng.random() < config.brightness_and_contrast:
        contrast = 1 + rng.uniform(config.min_contrast, config.max_contrast)
        levels = contrast * levels + 255 * rng.uniform(-config.max_brightness, config.max_brightness)
    levels = np.clip(levels, 0, 255)
    if rng.random() < config.colour_shift:
        levels = levels + rng.uniform(-config.max_colour_shift, config.max_colour_shift, 3)
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[None]), np.uint8)
