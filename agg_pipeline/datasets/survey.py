"""Reading every image of a data set once: what it holds, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from agg_pipeline.datasets.all_cores import in_all_cores
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.parts import part_class
from schemas.crop import area, intersection
from schemas.errors import ImageError
from schemas.findings import Finding
from schemas.records import ImageEntry, ImageRecord, ObjectMask
from schemas.words import plural

FEWEST_BORDER_IDS = 2
"""So many objects that lie only along the borders of others are taken for an error."""
MIN_SHARE_INSIDE = 0.5
"""A part with a smaller share of its pixels inside its object is taken for an error; parts are drawn roughly."""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """Classes of an object and its parts.

    Attributes:
        category: published class of the object; None if unknown.
        parts: classes of its parts in words.
    """

    category: str | None
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image holds, and what is wrong with it.

    Attributes:
        path: path of the image below the root.
        height: rows, pixels; 0 if the image cannot be read.
        width: columns, pixels; 0 if the image cannot be read.
        objects: the objects in order.
        ignored: number of ignored pixels.
        problems: one line per problem.
    """

    path: str
    height: int
    width: int
    objects: tuple[ObjectFacts, ...]
    ignored: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of a split.

    Attributes:
        images: images that can be read.
        unreadable: images that cannot be read.
        objects: object masks.
        parts: part masks.
        ignoring: images with ignored pixels.
        sizes: number of images by (height, width), pixels.
        per_image: number of images by their number of objects.
        classes: number of objects by class; None for an unknown class.
        part_classes: number of parts by class.
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
    """Read every image of a split, on all cores; yields the facts in the order of the entries."""
    return in_all_cores(partial(facts_of, dataset.read, dataset.notes), dataset.entries, _died)


def _died(entry: ImageEntry, how: str) -> ImageFacts:
    return _unreadable(entry, f"killed_worker: the process that read it did not finish: {how}")


def _unreadable(entry: ImageEntry, problem: str) -> ImageFacts:
    return ImageFacts(entry.path, 0, 0, (), 0, (problem,))


def facts_of(
    read: Callable[[ImageEntry], ImageRecord], notes: Callable[[ImageEntry], Sequence[str]], entry: ImageEntry
) -> ImageFacts:
    """Read one image; an image that cannot be read has one problem."""
    try:
        record = read(entry)
    except ImageError as error:
        return _unreadable(entry, f"{error.reason}: {error.detail}")
    return ImageFacts(
        path=entry.path,
        height=record.height,
        width=record.width,
        objects=tuple(
            ObjectFacts(instance.category, tuple(part_class(instance, part) for part in instance.parts))
            for instance in record.objects
        ),
        ignored=0 if record.ignore is None else area(record.ignore),
        problems=(
            *notes(entry),
            *(f"{each.reason}: {each.detail}" for each in record.rejects),
            *_problems(record),
        ),
    )


def _problems(record: ImageRecord) -> Iterator[str]:
    ids = Counter(instance.instance_id for instance in record.objects)
    for instance_id, count in ids.items():
        if count > 1:
            yield f"object id {instance_id} occurs {plural(count, 'time')}"
        if instance_id < 0:
            yield f"object id {instance_id} is negative"
    for instance in record.objects:
        if area(instance.mask) == 0:
            yield f"object {instance.instance_id} has no pixel"
        yield from _part_problems(instance)
    borders = ids_along_borders(record)
    if len(borders) >= FEWEST_BORDER_IDS:
        named = ", ".join(map(str, borders[:3])) + (", ..." if len(borders) > 3 else "")
        yield (
            f"{len(borders)} of {len(record.objects)} object ids ({named}) lie only along the borders of others, with "
            "a lower and a higher id beside every pixel; interpolation leaves such ids: resize masks without it"
        )


def ids_along_borders(record: ImageRecord) -> list[int]:
    """Ids of objects of which every pixel lies beside a lower and a higher id; the background is 0.

    Resizing a label map with interpolation leaves such ids between its objects, and lossy compression does, too.
    Returns an empty list if objects overlap, because they are then no label map.
    """
    owners = np.zeros((record.height, record.width), np.int64)
    for instance in record.objects:
        owners[instance.mask.box.slices][instance.mask.values] = instance.instance_id
    pixels = sum(area(instance.mask) for instance in record.objects)
    if len(record.objects) < FEWEST_BORDER_IDS or pixels != np.count_nonzero(owners):
        return []
    between = (minimum_filter(owners, 3) < owners) & (owners < maximum_filter(owners, 3))
    return [
        instance.instance_id
        for instance in record.objects
        if area(instance.mask) and between[instance.mask.box.slices][instance.mask.values].all()
    ]


def _part_problems(instance: ObjectMask) -> Iterator[str]:
    ids = Counter(part.part_id for part in instance.parts)
    for part in instance.parts:
        what = f"part {part.part_id} of object {instance.instance_id}"
        pixels = area(part.mask)
        if ids[part.part_id] > 1:
            yield f"{what} occurs {plural(ids[part.part_id], 'time')}"
        if part.parent_id is not None and part.parent_id not in ids:
            yield f"{what} has a parent {part.parent_id} that does not exist"
        if pixels == 0:
            yield f"{what} has no pixel"
        elif intersection(part.mask, instance.mask) < MIN_SHARE_INSIDE * pixels:
            yield f"{what} lies outside its object"


def check(dataset: Dataset) -> Iterator[Finding]:
    """Find everything that is wrong with a split.

    Yields:
        Findings about files that do not open, masks of another size than their image, ids, empty masks, and
        annotations without an image.
    """
    for facts in survey(dataset):
        for problem in facts.problems:
            yield Finding(facts.path, problem)
    for stray in dataset.strays():
        yield Finding(dataset.name, stray)


def counted(found: list[ImageFacts]) -> Counts:
    """Totals over the images that can be read."""
    readable = [facts for facts in found if facts.height]
    objects = [instance for facts in readable for instance in facts.objects]
    return Counts(
        images=len(readable),
        unreadable=len(found) - len(readable),
        objects=len(objects),
        parts=sum(len(instance.parts) for instance in objects),
        ignoring=sum(facts.ignored > 0 for facts in readable),
        sizes=Counter((facts.height, facts.width) for facts in readable),
        per_image=Counter(len(facts.objects) for facts in readable),
        classes=Counter(instance.category for instance in objects),
        part_classes=Counter(part for instance in objects for part in instance.parts),
    )
