"""Region of interest of an interaction: where the predictor zooms in (protocol, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.crop import Box, MaskCrop, PixelMap, threshold
from schemas.records import Click, Interaction
from stages.click_model import FOREGROUND

EXPANSION = 1.4
"""Sides of a region, as a multiple of those of the foreground and the positive clicks."""
MIN_SIDE = 200
"""Smallest side of a region that the image does not cut, in pixels."""
MIN_OVERLAP = 0.5
"""Overlap with the region that would be chosen anew below which the previous region is replaced."""


def next_roi(interaction: Interaction) -> Box:
    """The region of the image that the next prediction is made on (protocol, section 2).

    The region of the previous prediction stays as long as it holds the positive clicks and overlaps enough with the
    region that would be chosen anew.

    Args:
        interaction: its ``focus`` is the map that the region follows, ``roi`` the region of the previous prediction.

    Returns:
        A box inside the image.
    """
    height, width = interaction.image.shape[:2]
    proposed = _around_foreground(interaction.focus, interaction.clicks, height, width)
    current = interaction.roi
    if current is None or not _holds_clicks(current, interaction.clicks) or _overlap(proposed, current) < MIN_OVERLAP:
        return proposed
    return current


def foreground_box(focus: PixelMap[Any] | None) -> Box | None:
    """The tight box of a map's foreground (> 0.5).

    Args:
        focus: the map; None for an empty one.

    Returns:
        The box; None if there is no foreground.
    """
    if focus is None:
        return None
    tight = focus.box if isinstance(focus, MaskCrop) else threshold(focus, FOREGROUND).box
    return tight if tight.height else None


def _around_foreground(focus: PixelMap[Any] | None, clicks: Sequence[Click], height: int, width: int) -> Box:
    whole = Box(0, 0, height, width)
    tight = foreground_box(focus)
    if tight is None:
        return whole
    top, left, bottom, right = tight.top, tight.left, tight.bottom, tight.right
    for click in clicks:
        if click.positive:
            top, bottom = min(top, click.row), max(bottom, click.row)
            left, right = min(left, click.col), max(right, click.col)
    top, bottom = _expanded(top, bottom, height)
    left, right = _expanded(left, right, width)
    return Box(top, left, bottom - top + 1, right - left + 1)


def _expanded(first: int, last: int, size: int) -> tuple[int, int]:
    centre = 0.5 * (first + last)
    half = 0.5 * max(EXPANSION * (last - first + 1), MIN_SIDE)
    # Python rounds half to even, as the protocol asks.
    return max(0, round(centre - half)), min(size - 1, round(centre + half))


def _holds_clicks(roi: Box, clicks: Sequence[Click]) -> bool:
    # The last row and column count as outside, as in the authors' program; published numbers depend on it.
    return all(
        roi.top <= click.row < roi.bottom and roi.left <= click.col < roi.right for click in clicks if click.positive
    )


def _overlap(a: Box, b: Box) -> float:
    return _interval_iou(a.top, a.bottom, b.top, b.bottom) * _interval_iou(a.left, a.right, b.left, b.right)


def _interval_iou(a_first: int, a_last: int, b_first: int, b_last: int) -> float:
    common = max(0, min(a_last, b_last) - max(a_first, b_first) + 1)
    return common / (max(a_last, b_last) - min(a_first, b_first) + 1)
