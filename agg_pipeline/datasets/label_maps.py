"""Object masks from label maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from schemas import limits
from schemas.crop import MaskCrop, crop_mask
from schemas.errors import ImageError

MAX_DENSE_ID = 65535
"""Largest instance id of a label map that is searched directly; larger ids are renumbered first."""


def instance_masks(labels: NDArray[np.integer[Any]]) -> list[tuple[int, MaskCrop]]:
    """Split a label map into one mask per id, in one pass over the frame.

    Args:
        labels: (H, W) instance ids; 0 is the background.

    Returns:
        (id, mask) pairs, sorted by id.

    Raises:
        ImageError: ``unreadable_annotation``, an id is negative, or there are more ids than an image has objects.
    """
    height, width = labels.shape
    if labels.min(initial=0) < 0:
        raise ImageError("unreadable_annotation", f"an instance id is {labels.min()}, below 0")
    ids: Sequence[int] = range(1, int(labels.max(initial=0)) + 1)
    if len(ids) > MAX_DENSE_ID:
        # Ids are sparse in some sets; find_objects makes a list as long as the largest id.
        found = np.unique(labels[labels > 0])
        if len(found) > limits.OBJECTS_PER_IMAGE:
            what = f"{len(found):,} instance ids; images have up to {limits.OBJECTS_PER_IMAGE:,} objects"
            raise ImageError("unreadable_annotation", what)
        labels, ids = _renumbered(labels, found), found.tolist()
    boxes = find_objects(labels)
    masks = []
    for label, (instance_id, box) in enumerate(zip(ids, boxes, strict=True), start=1):
        if box is not None:
            rows, cols = box
            masks.append((instance_id, crop_mask(labels[box] == label, height, width, rows.start, cols.start)))
    return masks


def _renumbered(labels: NDArray[np.integer[Any]], found: NDArray[np.integer[Any]]) -> NDArray[np.uint16]:
    """The labels with the number of their id among the (at most 65,535) ids ``found``, from 1, in place of it."""
    numbers = np.zeros(labels.shape, np.uint16)
    for row, own in zip(numbers, labels, strict=True):
        row[own > 0] = np.searchsorted(found, own[own > 0]) + 1
    return numbers


def ignore_mask(ignored: NDArray[np.bool_]) -> MaskCrop | None:
    """The mask of the (H, W) ignored pixels of an image; None if there are none."""
    return crop_mask(ignored, *ignored.shape) if ignored.any() else None


def check_size(mask_size: tuple[int, ...], image_size: tuple[int, ...], what: str) -> None:
    """Check that a mask has the size of its image.

    Args:
        mask_size: (height, width) of the mask, pixels.
        image_size: (height, width) of the image, pixels.
        what: name of the mask, for the error message.

    Raises:
        ImageError: ``size_mismatch``.
    """
    if tuple(mask_size) != tuple(image_size):
        size, expected = "x".join(map(str, mask_size)), "x".join(map(str, image_size))
        swapped = "; height and width are swapped" if tuple(mask_size) == tuple(image_size)[::-1] else ""
        raise ImageError("size_mismatch", f"{what} is {size}, its image {expected} (rows x columns){swapped}")
