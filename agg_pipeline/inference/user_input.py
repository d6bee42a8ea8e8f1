"""Checks of what programs and notebooks hand to a click model; each raises UserError for input that is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from schemas.errors import UserError
from schemas.records import Click
from schemas.words import excerpt, quoted

Clicks = Iterable[tuple[float, float, bool]]
"""(row, col, positive), in pixels of the image, fractions allowed."""


def rgb_image(image: object) -> NDArray[np.uint8]:
    """The image as one piece of memory, (H, W, 3) uint8 RGB; a copy only where it is none yet."""
    try:
        pixels = np.ascontiguousarray(image)
    except ValueError as error:
        raise UserError(f"the image is no array: {error}") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(f"the image must be (H, W, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
    return pixels


def clicks_in(clicks: Clicks, height: int, width: int) -> tuple[Click, ...]:
    """Check the clicks on an image.

    Args:
        clicks: (row, col, positive) each, in pixels; fractions stay.
        height, width: size of the image, in pixels.

    Returns:
        The clicks, in order.

    Raises:
        UserError: there is no click, or there are more than ``limits.GIVEN_CLICKS``, or one is malformed or lies
            outside of the image.
    """
    most = limits.GIVEN_CLICKS
    try:
        given = tuple(islice(clicks, most + 1))
        made = tuple(Click(float(row), float(col), _sign(sign)) for row, col, sign in given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        what = excerpt(str(error))
        raise UserError(f"clicks are (row, col, positive), two numbers and True or False: {what}") from error
    if not made:
        raise UserError("at least one click is needed")
    if len(made) > most:
        raise UserError(f"there are more than {most:,} clicks on one mask")
    for click in made:
        if not (0 <= click.row < height and 0 <= click.col < width):
            raise UserError(f"click {tuple(click)} lies outside of the image of {height}x{width}")
    return made


def _sign(positive: object) -> bool:
    """True and False, and the numbers that stand for them in an array of clicks."""
    if not isinstance(positive, np.bool_ | Real) or positive not in (0, 1):
        raise ValueError(f"{quoted(positive)} is neither True nor False")
    return bool(positive)


def granularity_in(granularity: float | None, has_table: bool) -> float | None:
    """Check a granularity.

    Args:
        granularity: in [0, 1], or None.
        has_table: whether the model has a granularity table.

    Raises:
        UserError: it is out of range, or the model has no table for it.
    """
    if granularity is None:
        return None
    if not has_table:
        raise UserError("the model has no granularity table; load it with an adapter")
    if not isinstance(granularity, Real) or not 0 <= granularity <= 1:
        raise UserError(f"the granularity is {quoted(granularity)}; it must be a number in [0, 1]")
    return float(granularity)


def probabilities(mask: object, height: int, width: int) -> NDArray[np.float32]:
    """Check a previous mask.

    Args:
        mask: (height, width), boolean or probabilities in [0, 1].
        height, width: size of the image, in pixels.

    Returns:
        A copy, (height, width) float32 in [0, 1].

    Raises:
        UserError: the mask has another shape, or other values.
    """
    try:
        values = np.array(mask)
    except ValueError as error:
        raise UserError(f"the previous mask is no array: {error}") from error
    if values.shape != (height, width):
        raise UserError(f"the previous mask is {values.shape}, the image {(height, width)}")
    if values.dtype.kind not in "bfiu" or not (values.min() >= 0 and values.max() <= 1):
        raise UserError("the previous mask must hold probabilities in [0, 1], or be boolean")
    return values.astype(np.float32)
