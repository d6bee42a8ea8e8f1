"""Mask operations on the padded box of a mask, never on the whole frame. Outside the image is background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.crop import MaskCrop, area, crop_mask
from stages.opencv import without_ipp


def fill_holes(mask: MaskCrop) -> MaskCrop:
    """Fill the background that is not 4-connected to the outside of the mask."""
    if mask.box.height == 0:
        return mask
    # With a margin of one background pixel, a flood from the corner reaches everything outside the mask.
    padded = _padded(mask, 1)
    cv2.floodFill(padded, None, (0, 0), (2,))
    return _recropped(padded[1:-1, 1:-1] != 2, mask)


def cut(mask: MaskCrop, object_mask: MaskCrop) -> MaskCrop:
    """The pixels of a mask inside the object."""
    return _recropped(mask.window(object_mask.box) & object_mask.values, object_mask)


def minus(object_mask: MaskCrop, mask: MaskCrop) -> MaskCrop:
    """The pixels of the object that are not in the mask."""
    return _recropped(object_mask.values & ~mask.window(object_mask.box), object_mask)


def opened(mask: MaskCrop, side: int) -> MaskCrop:
    """Morphological opening with a square.

    Args:
        mask: the mask.
        side: side of the square in pixels; 1 changes nothing.
    """
    if side == 1 or mask.box.height == 0:
        return mask
    padded = cv2.morphologyEx(_padded(mask, side), cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    return _recropped(padded[side:-side, side:-side] > 0, mask)


@dataclass(frozen=True, eq=False, slots=True)
class Components:
    """The 8-connected components of a mask, the largest first.

    If several are largest, the one that contains the first pixel (row-major) comes first.

    Attributes:
        areas: pixels per component.
    """

    areas: tuple[int, ...]
    _mask: MaskCrop
    _labels: NDArray[np.int32]
    _order: tuple[int, ...]

    def mask(self, number: int) -> MaskCrop:
        """The component at a position of ``areas``."""
        if len(self.areas) == 1:
            return self._mask
        return _recropped(self._labels == self._order[number], self._mask)


def components(mask: MaskCrop) -> Components:
    """Find the 8-connected components of a mask; an empty mask has none."""
    if mask.box.height == 0:
        return Components((), mask, np.zeros((0, 0), np.int32), ())
    count, found = cv2.connectedComponents(mask.values.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    labels = np.asarray(found, np.int32)
    if count == 2:
        return Components((area(mask),), mask, labels, (1,))
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count)
    sizes[0] = 0
    largest = np.flatnonzero(sizes == sizes.max())
    leading = flat[np.isin(flat, largest).argmax()] if len(largest) > 1 else largest[0]
    order = sorted(range(1, count), key=lambda label: (-sizes[label], label != leading))
    return Components(tuple(int(sizes[label]) for label in order), mask, labels, tuple(order))


def centre(mask: MaskCrop) -> tuple[int, int]:
    """The centre of a non-empty mask: its pixel that is farthest from the outside.

    Returns:
        (row, col) of the first maximum (row-major) of the exact Euclidean distance transform.
    """
    row, col = divmod(int(depth(mask).argmax()), mask.box.width)
    return row + mask.box.top, col + mask.box.left


def depth(mask: MaskCrop) -> NDArray[np.float32]:
    """Exact Euclidean distance transform of a mask.

    Returns:
        (box.height, box.width) float32: distance of each pixel of the mask's box to the outside, in pixels.
    """
    with without_ipp():
        distance = cv2.distanceTransform(_padded(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance[1:-1, 1:-1], np.float32)


def eroded(mask: MaskCrop, iterations: int) -> MaskCrop:
    """Erosion by a 3x3 square; unlike elsewhere in this module, the edges of the image do not erode.

    Args:
        mask: the mask.
        iterations: how many times it is eroded.
    """
    box = mask.box
    # OpenCV does not erode from the array's border, so background is added only where the mask ends inside the image.
    top, bottom = int(box.top > 0), int(box.bottom < mask.height - 1)
    left, right = int(box.left > 0), int(box.right < mask.width - 1)
    padded = np.pad(mask.values.view(np.uint8), ((top, bottom), (left, right)))
    values = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=iterations)
    return _recropped(values[top : top + box.height, left : left + box.width] > 0, mask)


def _padded(mask: MaskCrop, margin: int) -> NDArray[np.uint8]:
    # np.pad takes ten times as long.
    padded = np.zeros((mask.box.height + 2 * margin, mask.box.width + 2 * margin), np.uint8)
    padded[margin : margin + mask.box.height, margin : margin + mask.box.width] = mask.values
    return padded


def _recropped(values: NDArray[np.bool_], like: MaskCrop) -> MaskCrop:
    return crop_mask(values, like.height, like.width, like.box.top, like.box.left)
