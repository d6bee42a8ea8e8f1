"""Masks as compressed COCO run lengths: column-major counts, as pycocotools writes them."""

from __future__ import annotations

import numpy as np
import rlemasklib
from numpy.typing import NDArray

from schemas.crop import MaskCrop, crop_mask


def encode(mask: MaskCrop) -> bytes:
    """Compressed counts of the whole frame, made from the mask's box alone."""
    box = mask.box
    if box.height == 0:
        return bytes(rlemasklib.zeros([mask.height, mask.width])["counts"])
    # Left, right, top, bottom.
    margins = [box.left, mask.width - box.left - box.width, box.top, mask.height - box.top - box.height]
    return bytes(rlemasklib.pad(rlemasklib.encode(mask.values), margins)["counts"])


def decode(counts: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """Decode compressed counts.

    Args:
        counts: compressed COCO counts.
        height: rows of the mask.
        width: columns of the mask.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: the counts are broken or of another size.
    """
    mask: NDArray[np.uint8] = rlemasklib.decode({"size": [height, width], "counts": counts})
    return np.ascontiguousarray(mask).view(np.bool_)


def decode_crop(counts: bytes, height: int, width: int) -> MaskCrop:
    """Decode compressed counts as ``decode`` does, into a packed mask: for masks that are held in numbers."""
    return crop_mask(decode(counts, height, width), height, width)
