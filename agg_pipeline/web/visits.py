"""The images that visitors have opened: kept in memory for a while, never on disk."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.inference.session import Session
from schemas.crop import Box, MaskCrop, area, crop_mask
from schemas.errors import UserError

MOST_VISITS = 32
"""Images that are open at a time; the one that was used longest ago is closed for a new one."""
KEPT_SECONDS = 3600.0
"""An image that was not used for so long is forgotten."""
FORGETTING_SECONDS = 60.0
"""Time between two looks for images to forget."""
SHOWN_PIXELS = 1_500_000
"""Larger images are made smaller before they are shown and clicked on."""


Clicks = Sequence[tuple[float, float, bool]]
"""(row, col, positive) each, in pixels."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that can be opened.

    Attributes:
        name: what it is called.
        pixels: (H, W, 3) uint8 RGB, of at most ``SHOWN_PIXELS``.
        height, width: size of the image as it was given, in pixels.
        truths: its annotated masks, in pixels of ``pixels``; none if it has no ground truth.
    """

    name: str
    pixels: NDArray[np.uint8]
    height: int
    width: int
    truths: tuple[MaskCrop, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of ``pixels``."""
        height, width = self.pixels.shape[:2]
        return height, width

    def in_given_pixels(self, clicks: Clicks) -> Clicks:
        """Clicks on ``pixels`` as clicks on the image as it was given: there, the middle of the pixel clicked on."""
        height, width = self.size
        if (height, width) == (self.height, self.width):
            return clicks
        down, right = self.height / height, self.width / width
        return [
            (int((int(row) + 0.5) * down), int((int(col) + 0.5) * right), positive) for row, col, positive in clicks
        ]


@dataclass(eq=False)
class Visit:
    """An image that a visitor has opened.

    Attributes:
        key: secret of this opened image; only the page that opened it knows it.
        picture: the image.
        session: the model's interactions with it.
        truth: a mask that the visitor has brought to measure with, (H, W) bool, of the size of the picture's pixels.
        used: when it was used last, by the clock of this process.
    """

    key: str
    picture: Picture
    session: Session
    truth: NDArray[np.bool_] | None = None
    used: float = field(default_factory=time.monotonic)

    def truth_of(self, clicks: Clicks) -> NDArray[np.bool_] | None:
        """The mask to measure with: the visitor's, or that of the smallest annotated object under the first click."""
        if self.truth is not None:
            return self.truth
        row, col = int(clicks[0][0]), int(clicks[0][1])
        under = [mask for mask in self.picture.truths if mask.window(Box(row, col, 1, 1))[0, 0]]
        return min(under, key=area).full() if under else None


class Visits:
    """All images that are open.

    Args:
        open_session: begins to work on an image.
    """

    def __init__(self, open_session: Callable[[NDArray[np.uint8]], Session]) -> None:
        self._open_session = open_session
        self._visits: OrderedDict[str, Visit] = OrderedDict()

    def open(self, picture: Picture) -> Visit:
        """Open an image for a visitor."""
        self._forget_old()
        while len(self._visits) >= MOST_VISITS:
            self._visits.popitem(last=False)
        visit = Visit(secrets.token_urlsafe(16), picture, self._open_session(picture.pixels))
        self._visits[visit.key] = visit
        return visit

    def of(self, key: str) -> Visit:
        """An open image by its secret; UserError if it is not open any more."""
        self._forget_old()
        visit = self._visits.get(key)
        if visit is None:
            raise UserError("this image is not open any more; open it again")
        visit.used = time.monotonic()
        self._visits.move_to_end(key)
        return visit

    def close(self, key: str) -> None:
        """Forget an image."""
        self._visits.pop(key, None)

    async def keep_forgetting(self) -> None:
        """Forget images when their time is over, also when nobody asks for any; runs until it is cancelled."""
        while True:
            await asyncio.sleep(FORGETTING_SECONDS)
            self._forget_old()

    def __len__(self) -> int:
        return len(self._visits)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - KEPT_SECONDS
        for key in [key for key, visit in self._visits.items() if visit.used < oldest]:
            del self._visits[key]


def shown(name: str, pixels: NDArray[np.uint8], truths: Sequence[MaskCrop] = ()) -> Picture:
    """A picture of an image, made smaller if it has more than ``SHOWN_PIXELS``.

    Args:
        name: what the image is called.
        pixels: (H, W, 3) uint8 RGB.
        truths: its annotated masks; they are made smaller with it.
    """
    height, width = pixels.shape[:2]
    scale = (SHOWN_PIXELS / (height * width)) ** 0.5
    if scale >= 1:
        return Picture(name, np.ascontiguousarray(pixels), height, width, tuple(truths))
    size = max(1, int(height * scale)), max(1, int(width * scale))
    smaller = np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return Picture(
        name, smaller, height, width, tuple(crop_mask(resized(mask.full(), *size), *size) for mask in truths)
    )


def resized(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """A mask at another size: each pixel is the nearest one of the mask."""
    nearest = cv2.resize(mask.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(nearest, np.uint8).view(np.bool_)
