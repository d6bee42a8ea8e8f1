"""Image-sized arrays stored as their non-zero box: how masks and probability maps travel between stages.

Arrays that wait in large numbers, or are large themselves, are held in a smaller form, and made anew by whoever uses
them (``PixelMap.values``). The masks of a whole shard wait between two stages, so a mask is packed, 8 pixels to a byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)
T_co = TypeVar("T_co", bound=np.generic, covariant=True)


class Box(NamedTuple):
    """A rectangle of pixels.

    Attributes:
        top: first row.
        left: first column.
        height: number of rows.
        width: number of columns.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """Last row inside the box."""
        return self.top + self.height - 1

    @property
    def right(self) -> int:
        """Last column inside the box."""
        return self.left + self.width - 1

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the box, as the index of an array of shape (H, W, ...)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def relative_to(self, outer: Box) -> Box:
        """The same pixels in coordinates that start at the first pixel of ``outer``."""
        return Box(self.top - outer.top, self.left - outer.left, self.height, self.width)


class PixelMap(Protocol[T_co]):
    """An image-sized array that is 0 outside a box, whatever form it is held in."""

    @property
    def height(self) -> int:
        """Rows of the frame (the image)."""

    @property
    def width(self) -> int:
        """Columns of the frame."""

    @property
    def box(self) -> Box:
        """Place of ``values`` in the frame."""

    @property
    def values(self) -> NDArray[T_co]:
        """(box.height, box.width) array; may be made anew by every call."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""

    def full(self) -> NDArray[T_co]:
        """The image-sized array, (height, width)."""

    def window(self, box: Box) -> NDArray[T_co]:
        """Cut another box out of the frame.

        Args:
            box: the box to cut out, inside the frame.

        Returns:
            (box.height, box.width) array, 0 where the two boxes do not overlap.
        """


@dataclass(frozen=True, eq=False, slots=True)
class Crop(Generic[T]):
    """A pixel map that is held as the array of its box.

    Attributes:
        height: rows of the frame (the image).
        width: columns of the frame.
        box: place of ``values`` in the frame.
        values: (box.height, box.width) array.

    Raises:
        ValueError: the box does not fit the values or the frame.
    """

    height: int
    width: int
    box: Box
    values: NDArray[T]

    def __post_init__(self) -> None:
        if self.values.shape != (self.box.height, self.box.width):
            raise ValueError(f"values of shape {self.values.shape} do not fill {self.box}")
        _check_inside(self.box, self.height, self.width)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the values take."""
        return self.values.nbytes

    def full(self) -> NDArray[T]:
        """The image-sized array, (height, width)."""
        frame = np.zeros((self.height, self.width), self.values.dtype)
        frame[self.box.slices] = self.values
        return frame

    def window(self, box: Box) -> NDArray[T]:
        """Cut another box out of the frame; a view of ``values`` where possible."""
        if box == self.box:
            return self.values
        shared = common(box, self.box)
        inside = self.values[shared.relative_to(self.box).slices]
        if inside.shape == (box.height, box.width):
            return inside
        window = np.zeros((box.height, box.width), self.values.dtype)
        if inside.size:
            window[shared.relative_to(box).slices] = inside
        return window


ProbabilityMap = PixelMap[np.float32]
"""The foreground probability of an image's pixels, in [0, 1]."""


@dataclass(frozen=True, eq=False, slots=True)
class MaskCrop:
    """A mask of an image, a pixel map that is held as the bits of its tight box; ``crop_mask`` makes it.

    Attributes:
        height: rows of the frame (the image).
        width: columns of the frame.
        box: smallest box around the True pixels; 0 x 0 pixels for an empty mask.
        bits: (ceil(box.height * box.width / 8),) uint8; pixels of the box in row-major order, first pixel in the
            highest bit.

    Raises:
        ValueError: the box does not fit the bits or the frame.
    """

    height: int
    width: int
    box: Box
    bits: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.bits.shape != (-(-self.box.height * self.box.width // 8),):
            raise ValueError(f"bits of shape {self.bits.shape} do not fill {self.box}")
        _check_inside(self.box, self.height, self.width)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the bits take."""
        return self.bits.nbytes

    @property
    def values(self) -> NDArray[np.bool_]:
        """(box.height, box.width) bool, unpacked anew by every call."""
        unpacked = np.unpackbits(self.bits, count=self.box.height * self.box.width)
        return unpacked.reshape(self.box.height, self.box.width).view(np.bool_)

    def full(self) -> NDArray[np.bool_]:
        """The image-sized mask, (height, width) bool."""
        return self._unpacked().full()

    def window(self, box: Box) -> NDArray[np.bool_]:
        """Cut another box out of the frame, (box.height, box.width) bool."""
        return self._unpacked().window(box)

    def _unpacked(self) -> Crop[np.bool_]:
        return Crop(self.height, self.width, self.box, self.values)


def _check_inside(box: Box, height: int, width: int) -> None:
    if min(box.top, box.left, box.height, box.width) < 0:
        raise ValueError(f"{box} has a negative entry")
    if box.top + box.height > height or box.left + box.width > width:
        raise ValueError(f"{box} leaves the frame of {height}x{width}")


def tight_box(mask: NDArray[np.bool_]) -> Box | None:
    """Smallest box around the True pixels of a (H, W) mask; None if there are none."""
    height, width = mask.shape
    if mask.size and mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any():
        # Most masks are tight already.
        return Box(0, 0, height, width)
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    top, bottom = int(rows[0]), int(rows[-1])
    cols = np.flatnonzero(mask[top : bottom + 1].any(axis=0))
    left, right = int(cols[0]), int(cols[-1])
    return Box(top, left, bottom - top + 1, right - left + 1)


def crop_mask(mask: NDArray[np.bool_], height: int, width: int, top: int = 0, left: int = 0) -> MaskCrop:
    """Store a mask as its tight box.

    Args:
        mask: (h, w) bool; may be a part of the frame.
        height: rows of the frame.
        width: columns of the frame.
        top: row of the frame at which ``mask`` starts.
        left: column of the frame at which ``mask`` starts.

    Returns:
        The packed mask.
    """
    box = tight_box(mask)
    if box is None:
        return MaskCrop(height, width, Box(0, 0, 0, 0), np.zeros(0, np.uint8))
    place = Box(box.top + top, box.left + left, box.height, box.width)
    return MaskCrop(height, width, place, np.packbits(mask[box.slices]))


def area(mask: MaskCrop) -> int:
    """Number of True pixels."""
    return int(np.count_nonzero(mask.values))


def threshold(probability: PixelMap[Any], level: float) -> MaskCrop:
    """The mask of the pixels whose probability is larger than ``level``."""
    box = probability.box
    return crop_mask(probability.values > level, probability.height, probability.width, box.top, box.left)


def common(a: Box, b: Box) -> Box:
    """The overlap of two boxes; its height or width is 0 if they do not overlap."""
    top, left = max(a.top, b.top), max(a.left, b.left)
    return Box(top, left, max(0, min(a.bottom, b.bottom) - top + 1), max(0, min(a.right, b.right) - left + 1))


def enclosing(a: Box, b: Box) -> Box:
    """The smallest box that contains both boxes."""
    top, left = min(a.top, b.top), min(a.left, b.left)
    return Box(top, left, max(a.bottom, b.bottom) - top + 1, max(a.right, b.right) - left + 1)


def intersection(a: MaskCrop, b: MaskCrop) -> int:
    """Number of pixels that are True in both masks of the same frame."""
    shared = common(a.box, b.box)
    if not (shared.height and shared.width):
        return 0
    return int(np.count_nonzero(a.window(shared) & b.window(shared)))


def iou_above(a: MaskCrop, b: MaskCrop, level: float) -> bool:
    """Whether the IoU of two masks is larger than a level.

    Args:
        a, b: masks of the same frame.
        level: IoU, in [0, 1].
    """
    # The IoU is at most the ratio of the areas, which often decides.
    small, large = sorted((area(a), area(b)))
    if small <= level * large:
        return False
    both = intersection(a, b)
    return both / (small + large - both) > level


def iou(a: MaskCrop, b: MaskCrop) -> float:
    """Intersection over union of two masks of the same frame; 0 if both are empty."""
    both = intersection(a, b)
    union = area(a) + area(b) - both
    return both / union if union else 0.0
