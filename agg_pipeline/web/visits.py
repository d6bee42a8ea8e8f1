"""The images that visitors have opened: kept in memory for a while, never on disk."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.inference.session import Session
from schemas.crop import Box, area
from schemas.errors import UserError
from schemas.records import ObjectMask

MOST_VISITS = 32
"""Images that are open at a time; the one that was used longest ago is closed for a new one."""
KEPT_SECONDS = 3600.0
"""An image that was not used for so long is forgotten."""
SHOWN_PIXELS = 1_500_000
"""Larger images are made smaller before they are shown and clicked on."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that can be opened.

    Attributes:
        name: what it is called.
        pixels: (H, W, 3) uint8 RGB, of at most ``SHOWN_PIXELS``.
        height, width: size of the image as it was given, in pixels.
        objects: its annotated masks, in pixels of ``pixels``; none if it has no ground truth.
    """

    name: str
    pixels: NDArray[np.uint8]
    height: int
    width: int
    objects: tuple[ObjectMask, ...] = ()


@dataclass(eq=False)
class Visit:
    """An image that a visitor has opened.

    Attributes:
        key: secret of the visitor; nobody else knows it.
        picture: the image.
        session: the model's interactions with it.
        truth: a mask that the visitor has brought to measure with, (H, W) bool.
        used: when it was used last, by the clock of this process.
    """

    key: str
    picture: Picture
    session: Session
    truth: NDArray[np.bool_] | None = None
    used: float = field(default_factory=time.monotonic)

    def truth_of(self, clicks: Sequence[tuple[float, float, bool]]) -> NDArray[np.bool_] | None:
        """The mask to measure with: the visitor's, or that of the smallest annotated object under the first click."""
        if self.truth is not None:
            return self.truth
        row, col = int(clicks[0][0]), int(clicks[0][1])
        under = [each.mask for each in self.picture.objects if each.mask.window(Box(row, col, 1, 1))[0, 0]]
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

    def __len__(self) -> int:
        return len(self._visits)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - KEPT_SECONDS
        for key in [key for key, visit in self._visits.items() if visit.used < oldest]:
            del self._visits[key]


def shown(name: str, pixels: NDArray[np.uint8], objects: tuple[ObjectMask, ...] = ()) -> Picture:
    """A picture of an image, made smaller if it has more than ``SHOWN_PIXELS``.

    Args:
        name: what the image is called.
        pixels: (H, W, 3) uint8 RGB.
        objects: its annotated masks; left out if the image is made smaller.
    """
    height, width = pixels.shape[:2]
    scale = (SHOWN_PIXELS / (height * width)) ** 0.5
    if scale >= 1:
        return Picture(name, np.ascontiguousarray(pixels), height, width, objects)
    size = max(1, int(width * scale)), max(1, int(height * scale))
    smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return Picture(name, np.asarray(smaller, np.uint8), height, width)
