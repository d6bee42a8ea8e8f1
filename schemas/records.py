"""Records that readers, stages and the predictor exchange. Coordinates are (row, col), 0-based, in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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


@dataclass(frozen=True, eq=False, slots=True)
class Target:
    """An object to be parsed, with its image."""

    image: ImageRecord
    object: ObjectMask

    @property
    def key(self) -> tuple[str, int]:
        """image_id and instance_id, which identify the object in its data set."""
        return self.image.image_id, self.object.instance_id


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """The mask Y_t > 0.5 of one step of an object's loop, before post-processing, and the clicks that made it.

    step: t, counted on through the object's loops (``first_step``).
    """

    step: int
    clicks: tuple[Click, ...]
    mask: MaskCrop


@dataclass(frozen=True, eq=False, slots=True)
class Loop:
    """What the simulation of one object gave. ended: why it stopped before its drawn length, None if it did not."""

    target: Target
    candidates: tuple[Candidate, ...]
    ended: str | None
    ended_step: int


@dataclass(frozen=True, eq=False, slots=True)
class Proposal:
    """A part of an object before its granularity is known. clicks: the simulated interaction that made it."""

    step: int
    clicks: tuple[Click, ...]
    mask: MaskCrop


@dataclass(frozen=True, slots=True)
class Reject:
    """What was dropped and why; reason is one of ``schemas.tables.REASONS``; None where a field has no meaning."""

    image_id: str
    instance_id: int | None
    step: int | None
    stage: str
    reason: str
    detail: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ObjectProposals:
    """The proposals of one object, in the order of their steps, and what was dropped of it so far."""

    target: Target
    parts: tuple[Proposal, ...]
    complements: tuple[Proposal, ...]
    rejects: tuple[Reject, ...]


Kind = Literal["object", "part", "complement", "annotated"]


@dataclass(frozen=True, eq=False, slots=True)
class Query:
    """A mask of an object whose granularity is wanted: a proposal, or a part as people annotated it."""

    target: Target
    kind: Kind
    part: Proposal | PartMask


@dataclass(frozen=True, eq=False, slots=True)
class Estimate:
    """A query with its granularities.

    peak_proposal, peak_object: peak differences of Eq. 5, as float32 numbers. scale: Eq. 4, semantic: Eq. 5,
    granularity: Eq. 6, float64 in [0, 1]. bin: 1..10. click: of Eq. 3. mask: the proposal's, or the object's where
    the preset puts the object in its place.
    """

    query: Query
    mask: MaskCrop
    click: Click
    peak_proposal: float
    peak_object: float
    scale: float
    semantic: float
    granularity: float
    bin: int


@dataclass(frozen=True, eq=False)
class ImageSummary:
    """What the database keeps of an image once its pixels are no longer needed."""

    image_id: str
    path: str
    height: int
    width: int
    sha256: str
    licence: str
