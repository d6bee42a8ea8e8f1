"""Image-sized arrays stored as their non-zero box: the way masks and probability maps travel between stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


class Box(NamedTuple):
    """A rectangle in pixels: rows ``top .. top + height - 1``, columns ``left .. left + width - 1``."""

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


@dataclass(frozen=True, eq=False, slots=True)
class Crop(Generic[T]):
    """A box of an image-sized array; outside of the box the array is 0.

    height, width: size of the frame (the image). box: where ``values`` lies in it, inside the frame.
    values: (box.height, box.width) array.
    """

    height: int
    width: int
    box: Box
    values: NDArray[T]

    def __post_init__(self) -> None:
        box = self.box
        if self.values.shape != (box.height, box.width):
            raise ValueError(f"values of shape {self.values.shape} do not fill {box}")
        if min(box.top, box.left, box.height, box.width) < 0:
            raise ValueError(f"{box} has a negative entry")
        if box.top + box.height > self.height or box.left + box.width > self.width:
            raise ValueError(f"{box} leaves the frame of {self.height}x{self.width}")

    def full(self) -> NDArray[T]:
        """The image-sized array, (height, width)."""
        frame = np.zeros((self.height, self.width), self.values.dtype)
        box = self.box
        frame[box.top : box.top + box.height, box.left : box.left + box.width] = self.values
        return frame

    def window(self, box: Box) -> NDArray[T]:
        """The array's values in another box of the frame, (box.height, box.width); a view where possible."""
        if box == self.box:
            return self.values
        top, bottom = max(box.top, self.box.top), min(box.bottom, self.box.bottom)
        left, right = max(box.left, self.box.left), min(box.right, self.box.right)
        inside = self.values[
            max(0, top - self.box.top) : max(0, bottom - self.box.top + 1),
            max(0, left - self.box.left) : max(0, right - self.box.left + 1),
        ]
        if inside.shape == (box.height, box.width):
            return inside
        window = np.zeros((box.height, box.width), self.values.dtype)
        if inside.size:
            window[top - box.top : bottom - box.top + 1, left - box.left : right - box.left + 1] = inside
        return window


MaskCrop = Crop[np.bool_]
ProbabilityMap = Crop[np.float32]


def tight_box(mask: NDArray[np.bool_]) -> Box | None:
    """Smallest box around the True pixels of a (H, W) mask, or None for an empty mask."""
    height, width = mask.shape
    if mask.size and mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any():
        # Already tight, as most masks here are.
        return Box(0, 0, height, width)
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    top, bottom = int(rows[0]), int(rows[-1])
    cols = np.flatnonzero(mask[top : bottom + 1].any(axis=0))
    left, right = int(cols[0]), int(cols[-1])
    return Box(top, left, bottom - top + 1, right - left + 1)


def crop_mask(mask: NDArray[np.bool_], height: int, width: int, top: int = 0, left: int = 0) -> MaskCrop:
    """Cut a mask, itself at (top, left) of a height x width frame, down to its tight box (empty mask: 0x0)."""
    box = tight_box(mask)
    if box is None:
        return Crop(height, width, Box(0, 0, 0, 0), np.zeros((0, 0), np.bool_))
    # A copy, so that a small mask does not keep its frame alive.
    values = mask[box.top : box.top + box.height, box.left : box.left + box.width].copy()
    return Crop(height, width, Box(box.top + top, box.left + left, box.height, box.width), values)


def area(mask: MaskCrop) -> int:
    """Number of True pixels."""
    return int(np.count_nonzero(mask.values))


def threshold(probability: Crop[Any], level: float) -> MaskCrop:
    """Tight crop of ``probability > level``."""
    box = probability.box
    return crop_mask(probability.values > level, probability.height, probability.width, box.top, box.left)


def common(a: Box, b: Box) -> Box:
    """The box that two boxes have in common; of height or width 0 if there is none."""
    top, left = max(a.top, b.top), max(a.left, b.left)
    return Box(top, left, max(0, min(a.bottom, b.bottom) - top + 1), max(0, min(a.right, b.right) - left + 1))


def around(a: Box, b: Box) -> Box:
    """The smallest box that holds two boxes."""
    top, left = min(a.top, b.top), min(a.left, b.left)
    return Box(top, left, max(a.bottom, b.bottom) - top + 1, max(a.right, b.right) - left + 1)


def intersection(a: MaskCrop, b: MaskCrop) -> int:
    """Number of pixels that are True in both masks of one frame."""
    shared = common(a.box, b.box)
    if not (shared.height and shared.width):
        return 0
    return int(np.count_nonzero(a.window(shared) & b.window(shared)))


def iou_above(a: MaskCrop, b: MaskCrop, level: float) -> bool:
    """Whether the IoU of two masks of one frame is larger than ``level``; their areas alone often decide."""
    small, large = sorted((area(a), area(b)))
    return small > level * large and iou(a, b) > level


def iou(a: MaskCrop, b: MaskCrop) -> float:
    """Intersection over union of two masks of one frame; 0 if both are empty."""
    both = intersection(a, b)
    union = area(a) + area(b) - both
    return both / union if union else 0.0
