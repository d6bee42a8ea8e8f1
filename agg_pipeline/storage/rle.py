"""Masks as compressed COCO run lengths: column-major counts, as pycocotools writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import rlemasklib
from numpy.typing import NDArray

from schemas.crop import MaskCrop, crop_mask
from schemas.limits import IMAGE_PIXELS


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
    return _dense(_checked(counts, height, width))


def decode_crop(counts: bytes, height: int, width: int) -> MaskCrop:
    """Decode compressed counts as ``decode`` does, into a packed mask; only the mask's box is ever unpacked."""
    rle = _checked(counts, height, width)
    left, top, box_width, box_height = map(int, rlemasklib.to_bbox(rle))
    inside = _dense(rlemasklib.crop(rle, [left, top, box_width, box_height]))
    return crop_mask(inside, height, width, top, left)


def _checked(counts: bytes, height: int, width: int) -> dict[str, Any]:
    """Counts as the library takes them; ValueError for a mask of too many pixels."""
    if not 0 <= height * width <= IMAGE_PIXELS or min(height, width) < 0:
        raise ValueError(f"a mask of {height:,} x {width:,} pixels; the limit is {IMAGE_PIXELS:,} pixels")
    return {"size": [height, width], "counts": counts}


def _dense(rle: dict[str, Any]) -> NDArray[np.bool_]:
    mask: NDArray[np.uint8] = rlemasklib.decode(rle)
    return np.ascontiguousarray(mask).view(np.bool_)
