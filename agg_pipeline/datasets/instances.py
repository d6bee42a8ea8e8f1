"""Annotations of objects as COCO and SA-1B give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Raw, Struct

from schemas import limits
from schemas.checked_json import MismatchError, decode

EXACT = 2**53 - 1
"""Largest integer that, written as a fraction such as 1.0, stands for no other one."""
InstanceId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""An annotation's id: a column of the database holds it."""
SidePixels = Annotated[int, Meta(ge=1, le=2**31 - 1)]
"""Height or width of an image."""
TOO_MANY = f"more than {limits.OBJECTS_PER_IMAGE:,} annotations, the most that an image may have"
"""What is wrong with an image of so many."""


class Numbered(Struct, frozen=True):
    """What of a broken annotation names it."""

    id: InstanceId


class _Identified(Struct, frozen=True):
    id: Raw


def check_exact(number: int, annotation: Raw, what: str) -> None:
    """Check that an annotation's id was read as it was written.

    Args:
        number: the id.
        annotation: the annotation.
        what: name of the annotation, for the error message.

    Raises:
        MismatchError: the id is written as a fraction so large that several integers would be read as this one.
    """
    if number > EXACT and not bytes(decode(bytes(annotation), _Identified, what).id).strip(b'"').isdigit():
        raise MismatchError(what, ": expected int, got float, at id")


class Instance(Struct, frozen=True):
    """An annotation of a listed image.

    Attributes:
        number: id of the annotation; None if it is broken.
        category: name of its category; None if it has none.
        crowd: whether it marks ignored pixels.
        segmentation: its JSON.
        problem: why it cannot be used; "" if nothing is wrong.
    """

    number: int | None
    category: str | None = None
    crowd: bool = False
    segmentation: bytes = b""
    problem: str = ""


def in_order(instances: Iterable[Instance]) -> list[Instance]:
    """Annotations by their ids; those without one are the last."""
    return sorted(instances, key=lambda each: (each.number is None, each.number or 0))
