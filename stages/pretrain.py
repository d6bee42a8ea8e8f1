"""Pre-training on whole objects: the loss of the first epochs, and objects pasted on other images."""

from __future__ import annotations

import cv2
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from schemas.crop import tight_box

HALF = 0.5
"""Share of a pixel that a resized mask must exceed to contain the pixel."""
SMOOTHED = 3
"""Side of the square over which the edge of a pasted object is blended, in pixels."""


def cross_entropy_and_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy plus Dice loss per image.

    Unlike the focal loss, it does not give hard pixels more weight: at first all pixels are hard.

    Args:
        logits: (B, 1, H, W).
        target: (B, 1, H, W); 1 object, 0 background, -1 ignored.

    Returns:
        (B,), the mean cross-entropy over the counted pixels plus the Dice loss.
    """
    counted = (target >= 0).to(logits.dtype)
    truth = (target == 1).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * counted
    probability = logits.sigmoid() * counted
    both, either = (probability * truth).sum(dim=(1, 2, 3)), (probability + truth).sum(dim=(1, 2, 3))
    dice = 1 - (2 * both + 1) / (either + 1)
    return each.sum(dim=(1, 2, 3)) / counted.sum(dim=(1, 2, 3)).clamp(min=1) + dice


def place(
    pixels: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    frame: NDArray[np.uint8],
    scale: float,
    centre: tuple[int, int],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paste an object of one image on another image.

    Args:
        pixels: (h, w, 3) uint8 RGB, the object's image.
        mask: (h, w), the object.
        frame: (H, W, 3) uint8 RGB, the other image; it is not changed.
        scale: factor of the object's size.
        centre: (row, col) of the centre of the object's box in the frame; what lies outside of the frame is cut.

    Returns:
        The frame with the object, (H, W, 3) uint8 RGB, and the object's mask in it, (H, W).

    Raises:
        ValueError: the mask is empty.
    """
    own = tight_box(mask)
    if own is None:
        raise ValueError("a mask without a pixel cannot be placed")
    cut = np.s_[own.top : own.bottom + 1, own.left : own.right + 1]
    height, width = max(1, round(scale * own.height)), max(1, round(scale * own.width))
    # INTER_AREA enlarges pixels to squares, by which a model could tell pasted objects from others.
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(pixels[cut], (width, height), interpolation=how)
    fitted = cv2.resize(mask[cut].astype(np.float32), (width, height), interpolation=how) > HALF
    top, left = centre[0] - height // 2, centre[1] - width // 2
    rows, cols = slice(max(0, top), max(0, top + height)), slice(max(0, left), max(0, left + width))
    shown = frame[rows, cols].shape[:2]
    seen = np.s_[rows.start - top : rows.start - top + shown[0], cols.start - left : cols.start - left + shown[1]]
    covered = np.zeros(frame.shape[:2], np.bool_)
    covered[rows, cols] = fitted[seen]
    share = cv2.blur(covered[rows, cols].astype(np.float32), (SMOOTHED, SMOOTHED))[..., None]
    put = frame.copy()
    put[rows, cols] = np.rint(share * resized[seen] + (1 - share) * frame[rows, cols])
    return put, covered
