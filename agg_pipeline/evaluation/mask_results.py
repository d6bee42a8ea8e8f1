"""The results of an evaluation mask by mask, as its tables hold them: every interaction, with its IoU per click."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa

from agg_pipeline.evaluation.result_rows import check_masks, interactions_in

SIZES = {"small": 32**2, "medium": 96**2, "large": math.inf}
"""COCO's size classes: a mask has the first size whose area, in pixels, is larger than its own."""


@dataclass(frozen=True, eq=False)
class InteractionResult:
    """One interaction with a mask.

    Attributes:
        granularity: granularity of its predictions; None if none was given.
        chosen: whether it is the reported interaction of its mask.
        ious: IoU after every click.
        areas: pixels of the predicted mask after every click.
    """

    granularity: float | None
    chosen: bool
    ious: tuple[float, ...]
    areas: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class MaskResult:
    """An evaluated mask with its interactions.

    Attributes:
        target_id: id of the mask.
        image_id: id of its image.
        level: object or part.
        class_name: class in words; None if unknown.
        area: pixels of the mask.
        target: IoU at which an interaction with it has succeeded.
        interactions: the interactions with it, in order.
    """

    target_id: str
    image_id: str
    level: str
    class_name: str | None
    area: int
    target: float
    interactions: tuple[InteractionResult, ...]

    @property
    def chosen(self) -> InteractionResult:
        """The reported interaction."""
        return next(each for each in self.interactions if each.chosen)

    @property
    def size(self) -> str:
        """COCO's size class: small, medium or large."""
        return next(name for name, limit in SIZES.items() if self.area < limit)


def masks_of(targets: pa.Table, clicks: pa.Table) -> list[MaskResult]:
    """Read the masks of an evaluation with their interactions.

    Args:
        targets: rows of ``targets.parquet``.
        clicks: rows of ``objects.parquet``; the rows of an interaction are consecutive.

    Returns:
        The masks in the order of ``targets``.

    Raises:
        DamagedRowsError: the rows are not those of an evaluation.
    """
    check_masks(targets)
    rows = interactions_in(targets, clicks)
    found: list[list[InteractionResult]] = [[] for _ in range(targets.num_rows)]
    for number, mask in enumerate(rows.mask.tolist()):
        own = slice(rows.bounds[number], rows.bounds[number + 1])
        ious, areas = tuple(rows.ious[own].tolist()), tuple(rows.areas[own].tolist())
        found[mask].append(InteractionResult(rows.granularity[number], bool(rows.chosen[number]), ious, areas))
    names = ["target_id", "image_id", "level", "class", "area", "target"]
    masks = zip(*(targets[name].to_pylist() for name in names), found, strict=True)
    return [
        MaskResult(target_id, image_id, level, class_name, area, target, tuple(interactions))
        for target_id, image_id, level, class_name, area, target, interactions in masks
    ]


def iou_after(interaction: InteractionResult, click: int) -> float:
    """IoU after a click; if the interaction has fewer clicks, after its last one."""
    return interaction.ious[min(click, len(interaction.ious)) - 1]
