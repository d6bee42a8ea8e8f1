"""A part of a data set: without listed images, or with some classes alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.file_listing import read_list
from schemas.errors import UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask


@dataclass(frozen=True, slots=True)
class Selection:
    """What is taken of a data set.

    exclude_list: path of a file with the ids of images that are left out, one in each line; "" for none.
    classes: only these classes; skip_classes: not these; names, or their numbers in the set's list, from 0.
    """

    exclude_list: str = ""
    classes: tuple[str, ...] = ()
    skip_classes: tuple[str, ...] = ()


def select(dataset: Dataset, selection: Selection) -> Dataset:
    """The selected part of a data set; UserError if no image is left or a class is unknown.

    A class is one of objects, or of parts: an object of a chosen class keeps all its parts, another one the parts of a
    chosen class, and falls out if there are none.
    """
    if selection == Selection():
        return dataset
    excluded = set(read_list(selection.exclude_list)) if selection.exclude_list else set()
    entries = tuple(entry for entry in dataset.entries if entry.image_id not in excluded)
    if not entries:
        raise UserError(f"{selection.exclude_list} leaves out every image of {dataset.name} {dataset.split}")
    wanted = frozenset(_class(dataset, name) for name in selection.classes)
    skipped = frozenset(_class(dataset, name) for name in selection.skip_classes)
    # Other choices make other databases: they must not be mixed up.
    described = [dataset.fingerprint, sorted(excluded), sorted(wanted), sorted(skipped)]
    return replace(
        dataset,
        entries=entries,
        fingerprint=hashlib.blake2b(repr(described).encode(), digest_size=16).hexdigest(),
        read=partial(_read, dataset.read, wanted, skipped),
        selection={
            "classes": sorted(wanted),
            "skip_classes": sorted(skipped),
            "excluded_images": len(dataset.entries) - len(entries),
        },
    )


def nothing_selected(dataset: Dataset) -> UserError:
    """The error for a selection of classes of which there is no mask."""
    return UserError(
        f"{dataset.name} has no mask of the chosen classes there; its classes: {', '.join(dataset.classes)}"
    )


def _class(dataset: Dataset, name: str) -> str:
    """The published name of a class that is given by its name or its number."""
    if not dataset.classes:
        raise UserError(f"{dataset.name} publishes no classes to choose from")
    if name.isdecimal() and int(name) < len(dataset.classes):
        return dataset.classes[int(name)]
    for known in dataset.classes:
        if known.lower() == name.lower():
            return known
    raise UserError(f"{dataset.name} has no class {name!r}; its classes: {', '.join(dataset.classes)}")


def _read(
    read: Callable[[ImageEntry], ImageRecord], wanted: frozenset[str], skipped: frozenset[str], entry: ImageEntry
) -> ImageRecord:
    record = read(entry)
    return replace(record, objects=tuple(_selected(record.objects, wanted, skipped)))


def _selected(objects: tuple[ObjectMask, ...], wanted: frozenset[str], skipped: frozenset[str]) -> Iterator[ObjectMask]:
    for thing in objects:
        whole = not wanted or thing.category in wanted
        parts = tuple(part for part in thing.parts if (whole or part.label in wanted) and part.label not in skipped)
        if thing.category in skipped or not (whole or parts) or (thing.parts and whole and not parts):
            continue
        yield thing if len(parts) == len(thing.parts) else replace(thing, parts=_adopted(thing.parts, parts))


def _adopted(all_parts: tuple[PartMask, ...], kept: tuple[PartMask, ...]) -> tuple[PartMask, ...]:
    """The kept parts; where the part around one is gone, the next one around that takes its place."""
    parents = {part.part_id: part.parent_id for part in all_parts}
    there = {part.part_id for part in kept}

    def parent_of(part: PartMask) -> str | None:
        parent = part.parent_id
        while parent is not None and parent not in there:
            parent = parents[parent]
        return parent

    return tuple(replace(part, parent_id=parent_of(part)) for part in kept)
