"""Records that readers, stages and the predictor exchange. Coordinates are (row, col), 0-based, in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.crop import Box, MaskCrop, PixelMap, ProbabilityMap

Pixels = NDArray[np.uint8]
"""The RGB pixels of an image, (H, W, 3) uint8."""
Kind = Literal["object", "part", "complement", "annotated"]
"""Kind of a mask in a proposal database; ``annotated`` is a part that people annotated."""


class Click(NamedTuple):
    """A click on a pixel.

    Attributes:
        row: row of the pixel.
        col: column of the pixel.
        positive: True if the pixel belongs to the wanted mask, False if it does not.
    """

    row: int
    col: int
    positive: bool


@dataclass(frozen=True, eq=False, slots=True)
class PartMask:
    """An annotated part of an object.

    Attributes:
        part_id: id of the part, unique in its object.
        label: name as published.
        name: name in readable words.
        mask: the part's pixels.
        parent_id: part_id of the part that contains it; None if only the object does.
    """

    part_id: str
    label: str
    name: str
    mask: MaskCrop
    parent_id: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ObjectMask:
    """An object of an image with its annotated parts.

    Attributes:
        instance_id: id of the object, unique in its image.
        category: published class; None if unknown.
        mask: the object's pixels.
        parts: annotated parts; empty if none are published.
    """

    instance_id: int
    category: str | None
    mask: MaskCrop
    parts: tuple[PartMask, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image that is listed but not read: enough to read it later, in any process.

    Attributes:
        image_id: id of the image, unique in its data set.
        path: path below the data root.
        size: bytes of the image file; 0 for generated images.
        annotation: what the data set's reader needs to find the masks: a path below the root, or the annotations.
        problem: why the image cannot be used, if the listing shows it: a reason and a detail, as of ``ImageError``.
    """

    image_id: str
    path: str
    size: int
    annotation: Any
    problem: tuple[str, str] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ImageRecord:
    """An image of a data set with its masks.

    Attributes:
        image_id: id of the image, unique in its data set.
        path: path below the data root.
        sha256: hex hash of the image file; of the RGB bytes for generated images.
        licence: licence of the image as published; "" for that of its data set.
        pixels: its RGB pixels.
        objects: the annotated objects.
        ignore: pixels ignored in the metric; None if there are none.
        rejects: annotations that cannot be used, although others of the image can.
    """

    image_id: str
    path: str
    sha256: str
    licence: str
    pixels: Pixels
    objects: tuple[ObjectMask, ...]
    ignore: MaskCrop | None = None
    rejects: tuple[Reject, ...] = ()

    @property
    def height(self) -> int:
        """Rows of the image."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of the image."""
        return int(self.pixels.shape[1])

    @property
    def summary(self) -> ImageSummary:
        """The image without pixels and masks, made anew by every call."""
        return ImageSummary(self.image_id, self.path, self.height, self.width, self.sha256, self.licence)


@dataclass(frozen=True, eq=False, slots=True)
class ImageSummary:
    """What is known of an image while its pixels are not in memory; the database keeps it.

    Attributes:
        image_id: id of the image.
        path: path below the data root.
        height: rows, pixels.
        width: columns, pixels.
        sha256: hex hash of the image file; of the RGB bytes for generated images.
        licence: licence of the image as published.
    """

    image_id: str
    path: str
    height: int
    width: int
    sha256: str
    licence: str


@dataclass(frozen=True, eq=False, slots=True)
class Interaction:
    """Input of one prediction: an image, the clicks on one object, and the state left by earlier predictions.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        clicks: all clicks so far, in order.
        prompt: mask prompt, usually the previous probability map or a mask; None for an empty one.
        focus: map whose foreground (> 0.5) the region of interest follows; None for the whole image.
        roi: region of interest of the previous prediction; None before the first one.
        granularity: wanted granularity in [0, 1]; None to give the model none.
        wanted: box in which the probability is needed, so that a model may return 0 outside; None for everywhere.
    """

    image: NDArray[np.uint8]
    clicks: tuple[Click, ...]
    prompt: PixelMap[Any] | None
    focus: PixelMap[Any] | None
    roi: Box | None = None
    granularity: float | None = None
    wanted: Box | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Prediction:
    """Output of one prediction.

    Attributes:
        probability: float32 foreground probability in [0, 1]; 0 outside the region of interest and the wanted box.
        roi: the region of interest that the network saw; None if it has not chosen one yet.
        others: other maps of the same prediction, of which the ground truth may choose; empty for most models.
    """

    probability: ProbabilityMap
    roi: Box | None
    others: tuple[ProbabilityMap, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Target:
    """An object that AGG cuts into proposals, with its image, whose pixels are passed on apart from it."""

    image: ImageSummary
    object: ObjectMask

    @property
    def key(self) -> tuple[str, int]:
        """image_id and instance_id, which identify the object in its data set."""
        return self.image.image_id, self.object.instance_id


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """The mask of one step of an object's loop, before post-processing.

    Attributes:
        step: t of Y_t; numbered on through all loops of the object (``mask_engine.first_step``).
        clicks: the clicks that made the mask.
        mask: Y_t > 0.5.
    """

    step: int
    clicks: tuple[Click, ...]
    mask: MaskCrop


@dataclass(frozen=True, eq=False, slots=True)
class Loop:
    """Result of one simulated loop over an object.

    Attributes:
        target: the object.
        candidates: masks of the steps, in order.
        ended: why the loop stopped before its drawn length (``empty`` or ``no_click``); None if it did not.
        ended_step: step at which it stopped; 0 if it did not.
    """

    target: Target
    candidates: tuple[Candidate, ...]
    ended: str | None
    ended_step: int


@dataclass(frozen=True, eq=False, slots=True)
class Proposal:
    """A part of an object before its granularity is known.

    Attributes:
        step: step of the loop that made it.
        clicks: the clicks that made it.
        mask: the part's pixels.
    """

    step: int
    clicks: tuple[Click, ...]
    mask: MaskCrop


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that was dropped, and why.

    Attributes:
        image_id: id of the image.
        instance_id: id of the object; None if the whole image was dropped.
        step: step of the loop; None if the whole object was dropped.
        stage: stage that dropped it.
        reason: one of ``schemas.tables.REASONS``.
        detail: what was found, in words; None if the reason says everything.
    """

    image_id: str
    instance_id: int | None
    step: int | None
    stage: str
    reason: str
    detail: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ObjectProposals:
    """The proposals of one object.

    Attributes:
        target: the object.
        parts: kept masks of the loops, in the order of their steps.
        complements: kept complements, in the order of their steps.
        rejects: what was dropped so far.
    """

    target: Target
    parts: tuple[Proposal, ...]
    complements: tuple[Proposal, ...]
    rejects: tuple[Reject, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Query:
    """A mask of an object whose granularity is to be estimated.

    Attributes:
        target: the object.
        kind: kind of the mask.
        part: the mask: a proposal, or an annotated part.
    """

    target: Target
    kind: Kind
    part: Proposal | PartMask


@dataclass(frozen=True, eq=False, slots=True)
class Estimate:
    """A mask with its granularity (Section 3.2).

    Attributes:
        query: the mask that was asked about.
        mask: the mask to store: the query's, or the object's if the preset replaces it.
        click: the estimator's click (Eq. 3).
        peak_proposal: peak difference inside the mask (Eq. 5), a float32 number.
        peak_object: peak difference inside the object (Eq. 5), a float32 number.
        scale: Eq. 4, float64 in [0, 1].
        semantic: Eq. 5, float64 in [0, 1].
        granularity: Eq. 6, float64 in [0, 1].
        bin: bin of the granularity, 1 to 10.
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
