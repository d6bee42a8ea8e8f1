"""Compressed COCO run lengths of masks (column-major counts, as pycocotools writes them)."""

from __future__ import annotations

import numpy as np
import rlemasklib
from numpy.typing import NDArray

from schemas.crop import MaskCrop


def encode(mask: MaskCrop) -> bytes:
    """Compressed counts of the whole frame; only the mask's box is touched."""
    box = mask.box
    margins = [box.left, mask.width - box.left - box.width, box.top, mask.height - box.top - box.height]
    if box.height == 0:
        return bytes(rlemasklib.zeros([mask.height, mask.width])["counts"])
    return bytes(rlemasklib.pad(rlemasklib.encode(np.ascontiguousarray(mask.values)), margins)["counts"])


def decode(counts: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """The (height, width) mask; ValueError if the counts are broken or of another size."""
    mask: NDArray[np.uint8] = rlemasklib.decode({"size": [height, width], "counts": counts})
    return np.ascontiguousarray(mask).view(np.bool_)
