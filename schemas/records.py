"""Records that readers, stages and the predictor exchange. Coordinates are (row, col), 0-based, in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.crop import Box, Crop, MaskCrop, ProbabilityMap


class Click(NamedTuple):
    """One click: a pixel, and whether it marks the object (positive) or what is not to be segmented."""

    row: int
    col: int
    positive: bool


@dataclass(frozen=True, eq=False, slots=True)
class PartMask:
    """An annotated part of an object.

    part_id: unique in its object. label: as published. name: in readable words. parent_id: part_id of the part around
    it, None for the object itself.
    """

    part_id: str
    label: str
    name: str
    mask: MaskCrop
    parent_id: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ObjectMask:
    """One object of an image. category: None if unknown."""

    instance_id: int
    category: str | None
    mask: MaskCrop
    parts: tuple[PartMask, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """What listing a data set gives for an image, without reading it: enough to read it later, anywhere.

    path: relative to the data root. size: bytes of the image file, 0 for generated images.
    annotation: what the set's reader needs to find the masks (a relative path, or the annotations themselves).
    """

    image_id: str
    path: str
    size: int
    annotation: Any


@dataclass(frozen=True, eq=False, slots=True)
class ImageRecord:
    """One image of a data set with its masks.

    path: relative to the data root. sha256: of the image file (of the RGB bytes for generated images).
    licence: as published for the set or the image. pixels: (H, W, 3) uint8 RGB. ignore: pixels that count nowhere.
    """

    image_id: str
    path: str
    sha256: str
    licence: str
    pixels: NDArray[np.uint8]
    objects: tuple[ObjectMask, ...]
    ignore: MaskCrop | None = None

    @property
    def height(self) -> int:
        """Rows of the image."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of the image."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True, eq=False, slots=True)
class Interaction:
    """The input of one prediction: an image, one object's clicks, and the state left by earlier predictions.

    image: (H, W, 3) uint8 RGB. prompt: the mask prompt (previous mask), None for an empty one.
    focus: the map whose foreground (> 0.5) the region of interest follows, None for the whole image.
    roi: the region of interest of the previous prediction, None at first. granularity: in [0, 1], None for none.
    wanted: the box outside of which the probability is not needed (a model may give 0 there), None for all.
    """

    image: NDArray[np.uint8]
    clicks: tuple[Click, ...]
    prompt: Crop[Any] | None
    focus: Crop[Any] | None
    roi: Box | None = None
    granularity: float | None = None
    wanted: Box | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Prediction:
    """Foreground probability (float32, 0 outside of the region of interest, and of what was wanted) and that region."""

    probability: ProbabilityMap
    roi: Box
