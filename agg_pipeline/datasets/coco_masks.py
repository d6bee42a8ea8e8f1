"""Masks in COCO's JSON: polygons, and compressed or uncompressed run lengths."""

from __future__ import annotations

import math
from itertools import pairwise

from msgspec import Struct
from pycocotools import mask as coco_mask

from agg_pipeline.datasets.label_maps import check_size
from agg_pipeline.storage.rle import decode_crop
from schemas import limits
from schemas.checked_json import decode
from schemas.crop import MaskCrop
from schemas.errors import ImageError, UserError
from schemas.words import excerpt

Polygons = list[list[float]]


class RunLengths(Struct, frozen=True):
    """Runs of a mask in the order of its columns, as text or as numbers."""

    size: tuple[int, int]
    counts: str | list[int]


def read_segmentation(segmentation: bytes, height: int, width: int, what: str) -> MaskCrop:
    """Decode a segmentation.

    Args:
        segmentation: JSON: a list of polygons (x, y, x, y, ...), or an object with ``size`` and compressed or
            uncompressed run lengths in ``counts``.
        height: rows of the image.
        width: columns of the image.
        what: name of the annotation, for the error message.

    Raises:
        ImageError: ``unreadable_annotation``, the segmentation is broken or larger than its limits;
            ``size_mismatch``, it has another size.
    """
    try:
        _check_length(segmentation)
        kind: type[Polygons | RunLengths] = Polygons | RunLengths  # type: ignore[assignment]  # a union is no type
        found = decode(segmentation, kind, "its JSON", strict=False)
        if isinstance(found, RunLengths):
            check_size(found.size, (height, width), what)
            counts = _compressed(found.counts, height, width)
        else:
            counts = _rasterised(found, height, width)
        return decode_crop(counts, height, width)
    except (UserError, ValueError, OverflowError) as error:
        raise ImageError(
            "unreadable_annotation", f"{what} has no readable segmentation: {excerpt(str(error))}"
        ) from error


def _check_length(segmentation: bytes) -> None:
    if len(segmentation) > limits.SEGMENTATION_BYTES:
        raise ValueError(f"{len(segmentation):,} bytes; the limit is {limits.SEGMENTATION_BYTES:,}")
    numbers = segmentation.count(b",") + 1
    if numbers > limits.SEGMENTATION_NUMBERS:
        raise ValueError(f"{numbers:,} numbers; the limit is {limits.SEGMENTATION_NUMBERS:,}")


def _compressed(counts: str | list[int], height: int, width: int) -> bytes:
    """Run lengths as compressed counts."""
    if isinstance(counts, str):
        return counts.encode()
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(f"run lengths that do not add up to {height} x {width} pixels")
    return bytes(coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"])


def _rasterised(polygons: Polygons, height: int, width: int) -> bytes:
    """Polygons as compressed counts."""
    # pycocotools would take a polygon of four numbers for a box.
    if not polygons or any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise ValueError("a polygon of fewer than three points")
    # pycocotools walks along every edge: far points and long outlines would take all time and memory.
    if not all(abs(number) <= 2 * max(height, width) for polygon in polygons for number in polygon):
        raise ValueError("a polygon leaves the image by more than its size")
    outline = sum(map(_outline, polygons))
    if outline > limits.POLYGON_PIXELS:
        raise ValueError(f"an outline of {outline:,.0f} pixels; the limit is {limits.POLYGON_PIXELS:,}")
    masks = coco_mask.frPyObjects(polygons, height, width)
    # Pairs of pairs: one after the other would take a time that is quadratic in the number of polygons.
    while len(masks) > 1:
        masks = [coco_mask.merge(masks[first : first + 2]) for first in range(0, len(masks), 2)]
    return bytes(masks[0]["counts"])


def _outline(polygon: list[float]) -> float:
    """Length of a closed polygon, in pixels."""
    points = [*zip(polygon[::2], polygon[1::2], strict=True), (polygon[0], polygon[1])]
    return sum(math.dist(a, b) for a, b in pairwise(points))
