"""From the painted canvas to the photograph: exposure, white balance, vignette, lens blur and sensor noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.demo.shading import Floats

KNEE = np.float32(175)
"""Brightness from which highlights are compressed."""
SHOULDER = np.float32(0.45)
"""Slope of the compressed highlights."""


def photograph(pixels: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn a painted canvas into a photograph.

    Args:
        pixels: (3, H, W) float32 RGB in 0..255.
        rng: source of the random exposure, colours, blur and noise.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = pixels.shape[1:]
    exposure, balance = rng.uniform(0.95, 1.3), rng.uniform(0.94, 1.06, 3)
    y = (np.arange(height, dtype=np.float32)[:, None] / np.float32(height) - np.float32(0.5)) ** 2
    x = (np.arange(width, dtype=np.float32) / np.float32(width) - np.float32(0.5)) ** 2
    vignette = 1 - np.float32(rng.uniform(0.1, 0.7)) * (x + y)
    haze, sigma, strength = np.float32(rng.uniform(0, 12)), rng.uniform(0.35, 0.7), round(rng.uniform(2, 12))
    # The difference of two even bytes has a bell-like spread; one grain for all colours.
    grain = rng.integers(0, 256, (2, height, width), np.uint8).astype(np.int16)
    noise = ((grain[0] - grain[1]) * np.int16(strength)) >> 8
    planes = []
    for plane, gain in zip(pixels, balance, strict=True):
        exposed = plane * (vignette * np.float32(exposure * gain)) + haze
        exposed = np.minimum(exposed, exposed * SHOULDER + (1 - SHOULDER) * KNEE)  # highlights saturate gently
        exposed = np.minimum(exposed, 255).astype(np.uint8)
        soft = cv2.GaussianBlur(exposed, (0, 0), sigma).astype(np.int16)
        planes.append(np.clip(soft + noise, 0, 255).astype(np.uint8))
    return np.asarray(cv2.merge(planes), np.uint8)
