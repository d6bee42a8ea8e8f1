"""The results of an evaluation mask by mask, as its tables hold them: every interaction, with its IoU per click."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import pyarrow as pa

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
        ValueError: the tables do not belong together.
    """
    found = _interactions_of(clicks)
    rows = targets.to_pylist()
    if {row["target_id"] for row in rows} != set(found):
        raise ValueError("targets and objects are not of the same masks")
    if any(sum(each.chosen for each in interactions) != 1 for interactions in found.values()):
        raise ValueError("some mask does not have exactly one chosen interaction")
    return [
        MaskResult(
            target_id=row["target_id"],
            image_id=row["image_id"],
            level=row["level"],
            class_name=row["class"],
            area=row["area"],
            target=row["target"],
            interactions=tuple(found[row["target_id"]]),
        )
        for row in rows
    ]


def _interactions_of(clicks: pa.Table) -> dict[str, list[InteractionResult]]:
    """The interactions of every mask, by target id."""
    columns = ["target_id", "attempt", "granularity", "chosen", "iou", "area"]
    rows = zip(*(clicks[name].to_pylist() for name in columns), strict=True)
    found: dict[str, list[InteractionResult]] = {}
    for (target_id, _), group in groupby(rows, key=itemgetter(0, 1)):
        _, _, granularities, chosen, ious, areas = zip(*group, strict=True)
        found.setdefault(target_id, []).append(InteractionResult(granularities[0], chosen[0], ious, areas))
    return found


def iou_after(interaction: InteractionResult, click: int) -> float:
    """IoU after a click; if the interaction has fewer clicks, after its last one."""
    return interaction.ious[min(click, len(interaction.ious)) - 1]
