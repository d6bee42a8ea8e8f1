"""COCO's instance files: entries are checked one by one, so that a broken one costs only itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Raw, Struct

from agg_pipeline.datasets.coco_annotations import Annotations, annotations_by_image, remarks_on, stray_lines
from agg_pipeline.datasets.coco_entries import (
    Identified,
    Image,
    InstanceFile,
    Named,
    check_broken,
    id_text,
)
from agg_pipeline.datasets.instances import Instance
from agg_pipeline.datasets.json_entries import decode_document, most_entries, readable_part
from schemas import limits
from schemas.checked_json import JsonError, decode
from schemas.errors import UserError
from schemas.words import excerpt, printable


@dataclass(frozen=True, slots=True)
class Instances:
    """The entries of an instance file.

    Attributes:
        images: the images that can be used, by their ids as texts.
        broken: id and problem of the images that cannot.
        annotations: the annotations of each image, by its id.
        categories: names of the categories.
        licences: name of each licence, by its id.
        strays: one line per entry that belongs to nothing, and per category or licence that cannot be used; one if no
            annotation can be used.
        remarks: the same in short: one line per kind.
    """

    images: dict[str, Image]
    broken: list[tuple[str, str]]
    annotations: dict[str, list[Instance]]
    categories: tuple[str, ...]
    licences: dict[str, str]
    strays: tuple[str, ...]
    remarks: tuple[str, ...]


def read_instances(content: bytes, where: str) -> Instances:
    """Read an instance file.

    Args:
        content: the file.
        where: its path, for messages.

    Raises:
        UserError: the file is not an instance file, lists no image, or gives two images the same id.
    """
    _check_entries(content, where)
    file = decode_document(content, InstanceFile, where, "a COCO instance file")
    if not file.images:
        raise UserError(f"{where} lists no image")
    images, broken = _images(file.images, where)
    if not images:
        raise UserError(f"{where} is not a COCO instance file: {broken[0][1]}")
    categories, of_categories = _names(file.categories, "categories", where, "its annotations have no class")
    licences, of_licences = _names(file.licenses, "licenses", where, "its images have the licence of the data set")
    known = {*images, *(image_id for image_id, _ in broken)}
    annotations = annotations_by_image(file.annotations, where, known, categories)
    unused = [] if _has_usable(annotations, images) else [_nothing_usable(len(file.annotations))]
    return Instances(
        images=images,
        broken=broken,
        annotations=annotations.by_image,
        categories=tuple(name for name in categories.values() if name is not None),
        licences={number: name for number, name in licences.items() if name is not None},
        strays=(*unused, *of_categories, *of_licences, *stray_lines(annotations)),
        remarks=(
            *unused,
            *_in_short(of_categories, "categories"),
            *_in_short(of_licences, "licenses"),
            *remarks_on(annotations),
        ),
    )


def _has_usable(annotations: Annotations, images: Iterable[str]) -> bool:
    """Whether one of the images has an annotation that can be used, as far as is known before it is read."""
    return any(not each.problem for image_id in images for each in annotations.by_image.get(image_id, ()))


def _nothing_usable(count: int) -> str:
    how = f"none of its annotations ({count:,}) can be used" if count else "it has no annotation"
    return f"{how}, so that no image has an object"


class _Identified(Struct, frozen=True, gc=False):
    id: Raw


class _Owned(Struct, frozen=True, gc=False):
    image_id: Raw


class _Sound(Struct, frozen=True):
    """A file whose entries have at least an id, and therefore some bytes each."""

    images: list[_Identified]
    annotations: list[_Owned]
    categories: list[_Identified] = []
    licenses: list[_Identified] = []


def _check_entries(content: bytes, where: str) -> None:
    """UserError if a file consists of entries that are too small to hold anything, which take far more memory."""
    if content.count(b",") < limits.BROKEN_ENTRIES:
        return
    try:
        msgspec.json.decode(content, type=_Sound)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        most = most_entries(content)
        if most > limits.BROKEN_ENTRIES and len(content) < most * limits.ENTRY_BYTES:
            size = f"its {most:,} entries have {len(content) // most} bytes on average"
            raise UserError(f"{where} is not a COCO instance file: {size}") from None


def _images(entries: Sequence[Raw], where: str) -> tuple[dict[str, Image], list[tuple[str, str]]]:
    """The images that can be used, by their ids; id and problem of those that cannot."""
    images: dict[str, Image] = {}
    broken: list[tuple[str, str]] = []
    for place, raw in enumerate(entries):
        what = f"images[{place}]"
        try:
            image = decode(bytes(raw), Image, what, strict=False)
        except JsonError as error:
            named = readable_part(raw, Identified)
            broken.append((what if named is None else id_text(named.id), printable(str(error))))
            check_broken(len(broken), "images", where, broken[-1][1])
            continue
        image_id = id_text(image.id)
        if image_id in images:
            raise _same_id(where, image_id)
        images[image_id] = image
    for image_id, count in Counter(image_id for image_id, _ in broken).items():
        if count > 1 or image_id in images:
            raise _same_id(where, image_id)
    return images, broken


def _same_id(where: str, image_id: str) -> UserError:
    return UserError(f"{where} gives two images the same id {printable(image_id)}")


def _names(entries: Sequence[Raw], part: str, where: str, outcome: str) -> tuple[dict[str, str | None], list[str]]:
    """The names of categories or licences by id, and one line per entry that cannot be used.

    An id that has several names has none (None), because nothing says which one is meant; outcome tells what follows.
    """
    first: dict[str, str] = {}
    several: dict[str, None] = {}
    problems: list[str] = []
    for place, raw in enumerate(entries):
        what = f"{part}[{place}]"
        try:
            item = decode(bytes(raw), Named, what, strict=False)
        except JsonError as error:
            problems.append(printable(str(error)))
        else:
            number, name = id_text(item.id), str(item.name)
            if first.setdefault(number, name) == name:
                continue
            several[number] = None
            names = f"'{excerpt(first[number])}' and '{excerpt(name)}'"
            problems.append(f"{what}: id {printable(number)} has two names, {names}: {outcome}")
        check_broken(len(problems), part, where, problems[-1])
    return first | several, problems


def _in_short(problems: Sequence[str], part: str) -> Iterator[str]:
    """A line for the log on the categories or licences that cannot be used."""
    if problems:
        yield f"{len(problems):,} of the {part} cannot be used: {problems[0]}{', ...' if len(problems) > 1 else ''}"
