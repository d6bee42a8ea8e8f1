"""What the demo's page asks for, as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from schemas.limits import GIVEN_CLICKS, TEXT_LENGTH
from schemas.numbers import GRANULARITIES

Clicks = Annotated[list[tuple[float, float, bool]], msgspec.Meta(min_length=1, max_length=GIVEN_CLICKS)]
"""(row, col, positive) each, in pixels of the shown image."""
MOST_MASKS = 100
"""Most masks of an image that are exported together."""


@dataclass(frozen=True)
class Asked:
    """What a page asks about one mask.

    Attributes:
        clicks: all clicks so far.
        granularities: those that are wanted; null for none.
        urgent: whether the visitor waits for it.
    """

    clicks: Clicks
    granularities: Annotated[list[float | None], msgspec.Meta(min_length=1, max_length=len(GRANULARITIES))]
    urgent: bool = True


@dataclass(frozen=True)
class Kept:
    """A mask that is to be exported.

    Attributes:
        clicks: of the mask.
        granularity: null for none.
        label: what the visitor calls it.
    """

    clicks: Clicks
    granularity: float | None = None
    label: Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH)] = ""


@dataclass(frozen=True)
class Export:
    """What a page wants to keep.

    Attributes:
        kind: a mask, the pixels of a mask, or all masks as COCO annotations.
        masks: those; the first one alone but for ``coco``.
    """

    kind: Literal["mask", "cut-out", "coco"]
    masks: Annotated[list[Kept], msgspec.Meta(min_length=1, max_length=MOST_MASKS)]
