"""Learning to segment whole objects from clicks: the loss before the focal loss, and objects on other backgrounds."""

from __future__ import annotations

import cv2
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from schemas.crop import tight_box

HALF = 0.5
"""Of a pixel that a scaled mask must cover to hold it."""
SMOOTHED = 3
"""Side of the square over which the edge of a pasted object is blended, pixels."""


def cross_entropy_and_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy plus Dice loss of each image, (B,); arguments as ``normalised_focal_loss``.

    It does not weigh hard pixels more, which a model that has learnt nothing yet cannot use.
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
    """An object put into another image; that image with it, (H, W, 3) uint8 RGB, and where it lies there, (H, W).

    pixels, mask: (h, w, 3) and (h, w), an image and the object in it, which has pixels. frame: (H, W, 3). scale: of the
    object in the frame. centre: (row, col) of its box there; what lies outside of the frame is cut. ValueError for a
    mask without a pixel.
    """
    own = tight_box(mask)
    if own is None:
        raise ValueError("a mask without a pixel cannot be placed")
    cut = np.s_[own.top : own.bottom + 1, own.left : own.right + 1]
    height, width = max(1, round(scale * own.height)), max(1, round(scale * own.width))
    # Enlarged by INTER_AREA, an object is made of squares, which no photograph is: a model would look for these.
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
