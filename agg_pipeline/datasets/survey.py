"""One look at every image of a data set: what there is, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from agg_pipeline.datasets.all_cores import in_all_cores
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.parts import part_class
from schemas.crop import area, intersection
from schemas.errors import ImageError
from schemas.findings import Finding
from schemas.records import ImageEntry, ImageRecord, ObjectMask

LEAVES = 0.5
"""A part that lies in its object with less than this share of its pixels is taken for an error; people draw roughly."""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """An object: its class (None if unknown) and the classes of its parts."""

    category: str | None
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image holds. problems: one line for each; height and width are 0 if it cannot be read."""

    path: str
    height: int
    width: int
    objects: tuple[ObjectFacts, ...]
    ignored: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of a split.

    images: that could be read; unreadable: the others. ignoring: images with pixels that count nowhere. sizes: images
    by (height, width). per_image: images by their number of objects. classes: objects by class, None for unknown.
    part_classes: parts by class.
    """

    images: int
    unreadable: int
    objects: int
    parts: int
    ignoring: int
    sizes: Counter[tuple[int, int]]
    per_image: Counter[int]
    classes: Counter[str | None]
    part_classes: Counter[str]


def survey(dataset: Dataset) -> Iterator[ImageFacts]:
    """Read every image, in all cores, and give what is there in the order of the entries."""
    return in_all_cores(partial(facts_of, dataset.read), dataset.entries)


def facts_of(read: Callable[[ImageEntry], ImageRecord], entry: ImageEntry) -> ImageFacts:
    """Read an image and look at it."""
    try:
        record = read(entry)
    except ImageError as error:
        return ImageFacts(entry.path, 0, 0, (), 0, (f"{error.reason}: {error.detail}",))
    objects = tuple(
        ObjectFacts(thing.category, tuple(part_class(thing, part) for part in thing.parts)) for thing in record.objects
    )
    ignored = area(record.ignore) if record.ignore is not None else 0
    problems = tuple(_problems(record))
    return ImageFacts(entry.path, record.height, record.width, objects, ignored, problems)


def _problems(record: ImageRecord) -> Iterator[str]:
    ids = Counter(thing.instance_id for thing in record.objects)
    for instance, count in ids.items():
        if count > 1:
            yield f"object id {instance} is there {count} times"
        if instance < 0:
            yield f"object id {instance} is negative"
    for thing in record.objects:
        if area(thing.mask) == 0:
            yield f"object {thing.instance_id} has no pixel"
        yield from _part_problems(thing)


def _part_problems(thing: ObjectMask) -> Iterator[str]:
    ids = Counter(part.part_id for part in thing.parts)
    for part in thing.parts:
        what = f"part {part.part_id} of object {thing.instance_id}"
        pixels = area(part.mask)
        if ids[part.part_id] > 1:
            yield f"{what} is there {ids[part.part_id]} times"
        if part.parent_id is not None and part.parent_id not in ids:
            yield f"{what} lies in a part {part.parent_id} that is not there"
        if pixels == 0:
            yield f"{what} has no pixel"
        elif intersection(part.mask, thing.mask) < LEAVES * pixels:
            yield f"{what} lies outside of its object"


def check(dataset: Dataset) -> Iterator[Finding]:
    """Everything wrong with a split: files that do not open, sizes that disagree, ids, masks without an image."""
    for facts in survey(dataset):
        yield from (Finding(facts.path, problem) for problem in facts.problems)
    yield from (Finding(dataset.name, stray) for stray in dataset.strays())


def counted(found: list[ImageFacts]) -> Counts:
    """Totals over the images that could be read."""
    readable = [facts for facts in found if facts.height]
    objects = [thing for facts in readable for thing in facts.objects]
    return Counts(
        len(readable),
        len(found) - len(readable),
        len(objects),
        sum(len(thing.parts) for thing in objects),
        sum(facts.ignored > 0 for facts in readable),
        Counter((facts.height, facts.width) for facts in readable),
        Counter(len(facts.objects) for facts in readable),
        Counter(thing.category for thing in objects),
        Counter(part for thing in objects for part in thing.parts),
    )
