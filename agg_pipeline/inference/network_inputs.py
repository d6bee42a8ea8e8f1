"""What a network sees of a region of an image: resized pixels, last mask and clicks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.inference.resizing import resized
from schemas.crop import Box, PixelMap
from schemas.records import Click

InputClick = tuple[float, float, bool]
"""(row, col, positive), in pixels of the network's input."""


def input_image(image: NDArray[np.uint8], box: Box, rows: int, cols: int) -> NDArray[np.float32]:
    """The region of an image as a network sees it.

    Args:
        image: (H, W, 3) RGB.
        box: the region.
        rows, cols: size of the network's input, in pixels.

    Returns:
        (3, rows, cols), in [0, 1].
    """
    planes = np.stack([resized(plane, rows, cols) for plane in cv2.split(image[box.slices])])
    planes /= np.float32(255)
    return planes


def input_mask(prompt: PixelMap[Any] | None, box: Box, rows: int, cols: int) -> NDArray[np.float32]:
    """The region of a mask prompt as a network sees it.

    Args:
        prompt: of the image's size; None for an empty one.
        box: the region.
        rows, cols: size of the network's input, in pixels.

    Returns:
        (rows, cols).
    """
    if prompt is None:
        return np.zeros((rows, cols), np.float32)
    return resized(prompt.window(box), rows, cols)


def input_clicks(clicks: Sequence[Click], box: Box, rows: int, cols: int) -> list[InputClick]:
    """Clicks of an image in the pixels of a network's input; those outside the region are outside the input.

    Args:
        clicks: in pixels of the image.
        box: the region.
        rows, cols: size of the network's input, in pixels.
    """
    return [
        (rows * (click.row - box.top) / box.height, cols * (click.col - box.left) / box.width, click.positive)
        for click in clicks
    ]
