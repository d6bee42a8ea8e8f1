"""What became of a mask, in words with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.config import MaskConfig
from schemas.crop import MaskCrop, area, iou
from schemas.tables import REASONS
from schemas.words import plural


@dataclass(frozen=True, eq=False)
class Kept:
    """A proposal that is kept.

    Attributes:
        name: its kind and step.
        mask: its pixels.
    """

    name: str
    mask: MaskCrop


def verdict(
    mask: MaskCrop, reason: str | None, object_mask: MaskCrop, earlier: Sequence[Kept], config: MaskConfig
) -> str:
    """What became of a mask.

    Args:
        mask: the mask after post-processing.
        reason: why it was dropped, one of ``schemas.tables.REASONS``; None if it was kept.
        object_mask: mask of its object.
        earlier: proposals that it was compared with.
        config: the limits.
    """
    if reason is None:
        return "Kept."
    dropped = f"Dropped ({reason}): {REASONS[reason]}."
    pixels, whole = area(mask), area(object_mask)
    if reason == "small":
        limit = min(config.min_area, config.min_area_share * whole)
        if pixels >= limit:
            return f"{dropped} Its scale rounds to less than {config.min_rounded_complement:g}."
        return f"{dropped} It has {plural(pixels, 'pixel')}; at least {limit:,.0f} are needed."
    if reason == "equals_object":
        return f"{dropped} Its IoU with the object is {iou(mask, object_mask):.3f}, above {config.max_object_iou:g}."
    if reason == "duplicate":
        alike = max(earlier, key=lambda other: iou(mask, other.mask))
        return f"{dropped} Its IoU with {alike.name} is {iou(mask, alike.mask):.3f}, above {config.max_proposal_iou:g}."
    return dropped
