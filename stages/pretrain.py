"""Learning to segment whole objects from clicks: the loss of the first half, and objects on other backgrounds."""

from __future__ import annotations

import cv2
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

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


def fit_mask(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask squeezed or stretched to (height, width), nearest."""
    fitted = cv2.resize(mask.view(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(fitted, np.bool_)


def paste(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An object on another image, which is squeezed to the object's: (H, W, 3) uint8 RGB, (H, W) and any (h, w, 3)."""
    height, width = mask.shape
    behind = cv2.resize(background, (width, height), interpolation=cv2.INTER_AREA)
    share = cv2.blur(mask.astype(np.float32), (SMOOTHED, SMOOTHED))[..., None]
    return np.asarray(np.rint(share * pixels + (1 - share) * behind), np.uint8)
