"""What a page gets of a mask: its probabilities as a picture, its area, its IoU, and files to keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.storage.rle import encode
from schemas.canonical import Json
from schemas.crop import crop_mask
from stages.evaluate import counted_iou

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
MIDDLE = 127
"""Grey level of probability 0.5; a pixel above it is in the mask, as in ``mask_of``."""
FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)
"""Compression of pictures that only travel to a page."""


@dataclass(frozen=True, eq=False)
class MadeMask:
    """A mask that a visitor has made.

    Attributes:
        label: what the visitor calls it; "" for nothing.
        clicks: (row, col, positive) each, in pixels of the mask.
        granularity: None for none.
        mask: (H, W) bool.
    """

    label: str
    clicks: Sequence[tuple[float, float, bool]]
    granularity: float | None
    mask: Mask


def mask_of(probability: Map) -> Mask:
    """The mask of a probability map."""
    mask: Mask = probability > 0.5
    return mask


def probability_png(probability: Map) -> bytes:
    """A probability map as a grey PNG of 8 bits, in which the mask is what lies above ``MIDDLE``."""
    inside = mask_of(probability)
    below = np.rint(np.minimum(probability, 0.5) * (2 * MIDDLE))
    above = MIDDLE + 1 + np.rint((np.maximum(probability, 0.5) - 0.5) * (2 * MIDDLE))
    return _png(np.where(inside, above, below).astype(np.uint8), *FAST)


def facts(probability: Map, truth: Mask | None) -> Json:
    """Area of a mask in pixels, and its IoU with the ground truth if there is one."""
    mask = mask_of(probability)
    found: Json = {"area": int(mask.sum())}
    return found if truth is None else {**found, "iou": counted_iou(mask, truth, None)}


def full_size(probability: Map, height: int, width: int) -> Mask:
    """The mask of a map at the size of the image as it was given: probabilities are resized, then cut at 0.5."""
    if probability.shape == (height, width):
        return mask_of(probability)
    return mask_of(np.asarray(cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR), np.float32))


def mask_png(mask: Mask) -> bytes:
    """A mask as a PNG: 255 inside, 0 outside."""
    return _png(mask.astype(np.uint8) * 255)


def cut_out_png(pixels: NDArray[np.uint8], mask: Mask) -> bytes:
    """The pixels of a mask as a PNG with alpha, cut to the mask's box; one transparent pixel for an empty mask.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    place = (slice(top, top + max(1, height)), slice(left, left + max(1, width)))
    alpha = mask[place].astype(np.uint8) * 255
    return _png(np.dstack([pixels[place][..., ::-1], alpha]))


def coco_json(name: str, height: int, width: int, masks: Sequence[MadeMask]) -> bytes:
    """All masks of an image as COCO annotations, with their clicks and granularities as further keys."""
    labels = sorted({made.label or "object" for made in masks})
    annotations = []
    for number, made in enumerate(masks, 1):
        crop = crop_mask(made.mask, height, width)
        left, top, box_width, box_height = cv2.boundingRect(made.mask.view(np.uint8))
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": labels.index(made.label or "object") + 1,
                "segmentation": {"size": [height, width], "counts": encode(crop).decode("ascii")},
                "area": int(made.mask.sum()),
                "bbox": [left, top, box_width, box_height],
                "iscrowd": 0,
                "granularity": made.granularity,
                "clicks": [list(click) for click in made.clicks],
            }
        )
    content = {
        "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, 1)],
        "annotations": annotations,
    }
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A photograph as a JPEG of high quality."""
    _, content = cv2.imencode(".jpg", pixels[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))
    return content.tobytes()


def _png(pixels: NDArray[np.uint8], *options: int) -> bytes:
    _, content = cv2.imencode(".png", pixels, options)
    return content.tobytes()
