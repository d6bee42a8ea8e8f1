"""COCO's instance files: entries are checked one by one, so that a broken one costs only itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from agg_pipeline.datasets.json_entries import most_entries
from schemas import limits
from schemas.checked_json import Name, decode, mended
from schemas.errors import UserError
from schemas.words import plural, printable

T = TypeVar("T")

Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | Name
"""An id as files give it; ids that differ only in their type are the same."""
InstanceId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""An annotation's id: a column of the database holds it."""
Pixels = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class InstanceFile(Struct, frozen=True):
    """What makes a file one of instances; its entries are not decoded."""

    images: list[Raw]
    annotations: list[Raw]
    categories: list[Raw] = []
    licenses: list[Raw] = []


class Image(Struct, frozen=True):
    """An image; LVIS has only the URL of its file."""

    id: Id
    height: Pixels
    width: Pixels
    file_name: Name | None = None
    coco_url: Name | None = None
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


class Numbered(Struct, frozen=True):
    """What of a broken annotation names it."""

    id: InstanceId


class Named(Struct, frozen=True):
    """A category or a licence."""

    id: Id
    name: Name | int | float


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


@dataclass(frozen=True, slots=True)
class Instances:
    """The entries of an instance file.

    Attributes:
        images: the images that can be used, by their ids as texts.
        broken: id and problem of the images that cannot.
        annotations: the annotations of each image, by its id.
        categories: names of the categories.
        licences: name of each licence, by its id.
        strays: one line per entry that belongs to nothing.
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

    Raises:
        UserError: the file is not an instance file, lists no image, or gives two images the same id.
    """
    _check_entries(content, where)
    file = tolerant(content, InstanceFile, where, "a COCO instance file")
    if not file.images:
        raise UserError(f"{where} lists no image")
    images, broken = _images(file.images, where)
    if not images:
        raise UserError(f"{where} is not a COCO instance file: {broken[0][1]}")
    strays: list[str] = []
    remarks: list[str] = []
    names = {part: _named(getattr(file, part), part, where, strays) for part in ("categories", "licenses")}
    known = {*images, *(image_id for image_id, _ in broken)}
    annotations = _annotations(file.annotations, where, known, names["categories"], strays, remarks)
    categories = tuple(names["categories"].values())
    return Instances(images, broken, annotations, categories, names["licenses"], tuple(strays), tuple(remarks))


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


def _check_broken(broken: int, part: str, where: str, error: UserError) -> None:
    """UserError if a file has more broken entries than can be told one by one."""
    if broken > limits.BROKEN_ENTRIES:
        raise UserError(
            f"{where} is not a COCO instance file: more than {limits.BROKEN_ENTRIES:,} of its {part} cannot be used, "
            f"for example {_problem(error)}"
        )


def tolerant(content: bytes, kind: type[T], where: str, what: str) -> T:
    """Decode a document whose entries are decoded later; NaN and lone surrogates in it do not make it unreadable."""
    try:
        return decode(content, kind, where)
    except UserError:
        try:
            return decode(mended(content), kind, where)
        except UserError as error:
            if "is not JSON" in str(error):
                raise
            detail = str(error).removeprefix(f"{where}: ")
            raise UserError(f"{where} is not {what}: {detail}") from None


def text_of(number: Id) -> str:
    """An id as a text: 1, 1.0 and "1" are the same."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def _problem(error: UserError) -> str:
    return printable(str(error))


def readable(raw: Raw, kind: type[T]) -> T | None:
    """The part of a broken entry that can be read."""
    try:
        return decode(bytes(raw), kind, "")
    except UserError:
        return None


def _images(entries: Sequence[Raw], where: str) -> tuple[dict[str, Image], list[tuple[str, str]]]:
    images: dict[str, Image] = {}
    broken: list[tuple[str, str]] = []
    for place, raw in enumerate(entries):
        try:
            image = decode(bytes(raw), Image, f"images[{place}]", strict=False)
            image_id = text_of(image.id)
            if image_id in images:
                raise UserError(f"{where} gives two images the same id {printable(image_id)}")
            images[image_id] = image
        except UserError as error:
            if str(error).startswith(where):
                raise
            _check_broken(len(broken) + 1, "images", where, error)
            named = readable(raw, Identified)
            broken.append((f"images[{place}]" if named is None else text_of(named.id), _problem(error)))
    free = {image_id for image_id, _ in broken}
    if len(free) < len(broken) or free & images.keys():
        twice = next(image_id for image_id, count in Counter((*images, *(i for i, _ in broken))).items() if count > 1)
        raise UserError(f"{where} gives two images the same id {printable(twice)}")
    return images, broken


def _named(entries: Sequence[Raw], part: str, where: str, strays: list[str]) -> dict[str, str]:
    """The names of categories or licences, by id."""
    names = {}
    for place, raw in enumerate(entries):
        try:
            item = decode(bytes(raw), Named, f"{part}[{place}]", strict=False)
            names[text_of(item.id)] = str(item.name)
        except UserError as error:
            strays.append(_problem(error))
            _check_broken(len(strays), part, where, error)
    return names


def _annotations(
    entries: Sequence[Raw],
    where: str,
    known: set[str],
    categories: Mapping[str, str],
    strays: list[str],
    remarks: list[str],
) -> dict[str, list[Instance]]:
    """The annotations of the listed images; those of no image or category are told in strays and remarks."""
    found: dict[str, list[Instance]] = {}
    seen: set[tuple[str, int]] = set()
    homeless, nameless, broken = 0, Counter[str](), 0
    for place, raw in enumerate(entries):
        what = f"annotations[{place}]"
        try:
            each = decode(bytes(raw), Annotation, what, strict=False)
            image_id = text_of(each.image_id)
            category = None if each.category_id is None else text_of(each.category_id)
            instance = Instance(each.id, categories.get(category or ""), bool(each.iscrowd), bytes(each.segmentation))
            if (image_id, each.id) in seen:
                instance = Instance(None, problem=f"annotation id {each.id} occurs twice in image {image_id}")
            seen.add((image_id, each.id))
        except UserError as error:
            broken += 1
            _check_broken(broken, "annotations", where, error)
            owner, number = readable(raw, Owned), readable(raw, Numbered)
            image_id = "" if owner is None else text_of(owner.image_id)
            category, instance = None, Instance(None, problem=_problem(error))
            if number is not None:
                problem = instance.problem.replace(what, f"annotation {number.id}", 1)
                instance = Instance(number.id, problem=problem)
        if image_id not in known:
            homeless += 1
            name = what if instance.number is None else f"annotation {instance.number}"
            strays.append(
                f"{name} belongs to image {printable(image_id)}, which is not listed" if image_id else instance.problem
            )
            continue
        if category is not None and category not in categories:
            nameless[category] += 1
        found.setdefault(image_id, []).append(instance)
    if homeless:
        remarks.append(f"{plural(homeless, 'annotation')} {_belong(homeless)} to no listed image")
    if nameless and categories:
        total = sum(nameless.values())
        listed = ", ".join(map(printable, sorted(nameless)[:3]))
        remarks.append(
            f"{plural(total, 'annotation')} {'names' if total == 1 else 'name'} no listed category: {listed}"
        )
        strays += [
            f"category {printable(name)} of {plural(count, 'annotation')} is not listed"
            for name, count in sorted(nameless.items())
        ]
    return found


def _belong(count: int) -> str:
    return "belongs" if count == 1 else "belong"
