"""The entries of COCO's instance files: their types, their ids, and how many may be broken."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct

from agg_pipeline.datasets.instances import EXACT, InstanceId, SidePixels
from schemas import limits
from schemas.checked_json import Name, PlainName
from schemas.errors import UserError

Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[float, Meta(ge=-EXACT, le=EXACT)] | PlainName
"""An id as files give it; ids that differ only in their type are the same. Larger fractions stand for several."""


class InstanceFile(Struct, frozen=True):
    """What makes a file one of instances; its entries are not decoded."""

    images: list[Raw]
    annotations: list[Raw]
    categories: list[Raw] = []
    licenses: list[Raw] = []


class Image(Struct, frozen=True):
    """An image; LVIS has only the URL of its file."""

    id: Id
    height: SidePixels
    width: SidePixels
    file_name: PlainName | None = None
    coco_url: PlainName | None = None
    license: Id | None = None


class Identified(Struct, frozen=True):
    """What of a broken image names it."""

    id: Id


class Annotation(Struct, frozen=True):
    """An annotation; its segmentation is decoded when its image is read."""

    id: InstanceId
    image_id: Id
    segmentation: Raw
    category_id: Id | None = None
    iscrowd: bool | Annotated[int, Meta(ge=0, le=1)] = 0


class Owned(Struct, frozen=True):
    """What of a broken annotation names its image."""

    image_id: Id


class Named(Struct, frozen=True):
    """A category or a licence; whatever shows its name shows control characters in it as escapes."""

    id: Id
    name: Name | int | float


def id_text(number: Id) -> str:
    """An id as a text: 1, 1.0 and "1" are the same."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def check_broken(broken: int, part: str, where: str, problem: str) -> None:
    """UserError if a file has more broken entries than can be told one by one.

    Args:
        broken: entries that cannot be used so far.
        part: the list that holds them.
        where: path of the file.
        problem: what is wrong with the last of them.
    """
    if broken > limits.BROKEN_ENTRIES:
        raise UserError(
            f"{where} is not a COCO instance file: more than {limits.BROKEN_ENTRIES:,} of its {part} cannot be used, "
            f"for example {problem}"
        )
