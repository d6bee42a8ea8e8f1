"""Tileable textures: (SIZE, SIZE) uint8 maps that mix the two colours of a material; the grain runs along the rows.

Every value comes from integer arithmetic, single numpy operations or OpenCV's bit-exact 16-bit filters, so that the
maps are the same on every processor.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 512
"""Side of a texture, pixels."""
LEVELS = 4
"""Resolutions of each texture: SIZE, SIZE / 2, ..."""
SYMMETRIC = frozenset({"leaf", "petal"})
"""Textures with an axis, which must lie on the axis of the shape."""

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]


def _blur(field: NDArray[np.uint16], sigma_x: float, sigma_y: float) -> NDArray[np.uint16]:
    pad = int(4 * max(sigma_x, sigma_y)) + 1
    wrapped = np.pad(field, pad, mode="wrap")
    blurred = cv2.GaussianBlur(wrapped, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)
    return np.asarray(blurred[pad:-pad, pad:-pad], np.uint16)


def _noise(rng: np.random.Generator, sigma_x: float, sigma_y: float, size: int = SIZE) -> NDArray[np.uint16]:
    if min(sigma_x, sigma_y) > 5:  # wide blurs are taken on a smaller grid
        small = _noise(rng, sigma_x / 2, sigma_y / 2, size // 2)
        return _blur(small.repeat(2, axis=0).repeat(2, axis=1), 1.2, 1.2)
    noise = _blur(rng.integers(0, 65536, (size, size), np.uint16), sigma_x, sigma_y)
    low, high = int(noise.min()), int(noise.max())
    return ((noise.astype(np.int64) - low) * 65535 // (high - low)).astype(np.uint16)


def _wave(phase: Field) -> Field:
    """Triangle wave in [0, 1] of period 1."""
    return np.asarray(np.abs(phase - np.floor(phase) - np.float32(0.5)) * 2, np.float32)


def _soft(field: Field, level: float, width: float) -> Field:
    """0 below ``level``, 1 above, with a ramp of ``width``."""
    return np.asarray(np.clip((field - np.float32(level)) / np.float32(width) + np.float32(0.5), 0, 1), np.float32)


@functools.cache
def atlas() -> dict[str, tuple[Grey, ...]]:
    """All textures by name, each at ``LEVELS`` resolutions, the finest first."""
    rng = np.random.Generator(np.random.Philox(key=20240601))

    def noise(sigma_x: float, sigma_y: float | None = None) -> Field:
        return _noise(rng, sigma_x, sigma_x if sigma_y is None else sigma_y).astype(np.float32) / np.float32(65535)

    fine, mid, wide, huge = noise(0.7), noise(2.5), noise(9), noise(28)
    hair, long_hair = noise(4.5, 0.8), noise(5, 1.6)
    col, row = (grid.astype(np.float32) / np.float32(SIZE) for grid in np.meshgrid(*[np.arange(SIZE)] * 2))
    speckle = np.float32(0.35) * fine + np.float32(0.65) * mid
    fur = np.clip(0.5 * hair + 0.35 * long_hair + 0.35 * wide - 0.1, 0, 1)
    weave = 0.5 * _wave(col * 128) + 0.5 * _wave(row * 128)
    course = np.floor(row * 16)
    brick_col = col * 8 + 0.5 * (course % 2)
    mortar = np.maximum(_soft(_wave(row * 16), 0.86, 0.1), _soft(_wave(brick_col), 0.93, 0.06))
    brick_tone = ((np.floor(brick_col) % 8 * 37 + course * 61) % 17).astype(np.float32) / np.float32(17)
    plank = np.floor(row * 8)
    plank_tone = (plank * 5 % 8).astype(np.float32) / np.float32(8)
    seam = _soft(_wave(row * 8), 0.95, 0.05)
    axis = np.abs(row - 0.5)  # distance from the middle row
    veins = _soft(_wave(col * 24 - axis * 36), 0.8, 0.2) * 0.6
    knit = np.minimum(_wave(col * 32 + _wave(row * 32) * 0.5) * 1.3, 1)
    board = (np.floor(col * 8) + np.floor(row * 8)) % 2
    fields = {
        "plain": 0.5 * mid + 0.5 * wide,
        "speckle": speckle,
        "fur": fur,
        "wool": 0.7 * np.abs(mid - 0.5) * 2 + 0.4 * fine,
        "stripes": np.clip(_soft(_wave(col * 9 + wide * 0.9) + 0.25 * hair, 0.72, 0.2) * 0.85 + 0.2 * fur, 0, 1),
        "tabby": 0.6 * _soft(_wave(col * 20 + wide * 1.1), 0.5, 0.5) + 0.4 * fur,
        "spots": np.clip(_soft(noise(7), 0.63, 0.05) * 0.85 + 0.2 * fur, 0, 1),
        "patches": np.clip(_soft(huge + 0.04 * long_hair, 0.54, 0.03) * 0.85 + 0.18 * fur, 0, 1),
        "feathers": 0.65 * _wave(col * 24 + _wave(row * 24) * 0.6) + 0.35 * hair,
        "plaid": 0.45 * _soft(_wave(col * 10), 0.6, 0.1) + 0.45 * _soft(_wave(row * 10), 0.6, 0.1) + 0.1 * weave,
        "bands": 0.9 * _soft(_wave(col * 14), 0.5, 0.08) + 0.1 * weave,
        "dots": _soft(np.minimum(_wave(col * 16) + _wave(row * 16), 1.4), 1.25, 0.15) * 0.9 + 0.1 * weave,
        "knit": 0.7 * knit + 0.3 * mid,
        "denim": 0.4 * _wave(col * 96 + row * 96) + 0.6 * speckle,
        "leaf": np.clip(_soft(-axis, -0.008, 0.008) + veins + 0.25 * wide, 0, 1),
        "petal": np.clip(0.6 * noise(7, 0.8) + 0.8 * col - 0.2, 0, 1),
        "wood": np.clip(0.45 * _wave(row * 18 + huge * 3) + 0.3 * hair + 0.25 * plank_tone + seam, 0, 1),
        "brick": np.clip(0.45 * brick_tone + 0.35 * speckle - 0.2 + mortar, 0, 1),
        "tiles": np.clip(0.3 * speckle + _soft(np.maximum(_wave(col * 8), _wave(row * 8)), 0.96, 0.04), 0, 1),
        "checks": 0.75 * board + 0.25 * speckle,
        "foliage": 0.6 * np.abs(noise(3.5) - 0.5) * 2 + 0.4 * wide,
        "gravel": 0.65 * np.abs(noise(1.6) - 0.5) * 2 + 0.35 * fine,
        "grass": 0.55 * noise(0.8, 4.5) + 0.2 * fine + 0.25 * wide,
        "cloud": huge,
    }
    return {name: _levels(field) for name, field in fields.items()}


def _levels(field: NDArray[np.floating]) -> tuple[Grey, ...]:
    grey = np.clip(np.rint(field * 255), 0, 255).astype(np.uint8)
    levels = [grey]
    for _ in range(LEVELS - 1):
        quads = levels[-1].astype(np.uint16)
        quads = quads[::2, ::2] + quads[1::2, ::2] + quads[::2, 1::2] + quads[1::2, 1::2]
        levels.append((quads // 4).astype(np.uint8))
    return tuple(levels)


def sample(name: str, col: NDArray[np.int32], row: NDArray[np.int32], step: float) -> Grey:
    """Look up a texture; coordinates wrap around.

    Args:
        name: name of the texture.
        col: columns in 1/256 of the texture's pixels, int32.
        row: rows in 1/256 of the texture's pixels, int32; broadcasts against ``col``.
        step: texture pixels per image pixel, which chooses the resolution.

    Returns:
        uint8 values of the broadcast shape.
    """
    level = 0
    while level < LEVELS - 1 and step > 1.5 * 2**level:
        level += 1
    mask, shift = (SIZE >> level) - 1, 8 + level
    index = ((row >> shift) & mask) * (mask + 1) + ((col >> shift) & mask)
    return atlas()[name][level].ravel().take(index)
