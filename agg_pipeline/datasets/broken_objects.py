"""Annotations that cannot be used among others that can."""

from __future__ import annotations

from schemas.errors import ImageError
from schemas.records import Reject


def rejects_of(image_id: str, broken: list[tuple[int | None, ImageError]], usable: bool) -> tuple[Reject, ...]:
    """The rejects of the annotations of an image that cannot be used.

    Args:
        image_id: id of the image.
        broken: id of the object, None if it has none, and error of each of them.
        usable: whether the image has other annotations.

    Raises:
        ImageError: that of the first of them, if the image has no other.
    """
    if broken and not usable:
        raise broken[0][1]
    return tuple(Reject(image_id, number, None, "load", "unreadable_object", error.detail) for number, error in broken)
