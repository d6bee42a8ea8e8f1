"""Selecting a part of a data set: without listed images, or only some classes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.file_listing import read_list
from agg_pipeline.datasets.names import joined
from schemas.errors import UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask
from schemas.words import possible, printable

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to use of a data set.

    Attributes:
        exclude_list: path of a file with the ids of images to leave out, one per line; "" for none.
        classes: classes to use, by name or by their number in the set's list (from 0); empty for all.
        skip_classes: classes to leave out, by name or number.
    """

    exclude_list: str = ""
    classes: tuple[str, ...] = ()
    skip_classes: tuple[str, ...] = ()


def select(dataset: Dataset, selection: Selection) -> Dataset:
    """Select a part of a data set.

    A class is one of objects or of parts. An object of a chosen class keeps all its parts. Any other object keeps its
    parts of a chosen class, and is left out if it has none. Objects and parts of a skipped class are left out.

    Args:
        dataset: the listed split.
        selection: what to use of it.

    Returns:
        A data set with another fingerprint, or ``dataset`` itself if everything is selected.

    Raises:
        UserError: no image is left, or a class is unknown.
    """
    if selection == Selection():
        return dataset
    excluded = set(read_list(selection.exclude_list)) if selection.exclude_list else set()
    ids = {entry.image_id: entry.image_id for entry in dataset.entries}
    left_out = set(joined(map(printable, excluded), ids).values())
    entries = tuple(entry for entry in dataset.entries if entry.image_id not in left_out)
    if excluded and not left_out:
        LOG.warning("%s lists no image of %s %s", selection.exclude_list, dataset.name, dataset.split)
    if not entries:
        raise UserError(f"{selection.exclude_list} leaves out every image of {dataset.name} {dataset.split}")
    wanted = frozenset(_class_name(dataset, name) for name in selection.classes)
    skipped = frozenset(_class_name(dataset, name) for name in selection.skip_classes)
    # Another selection is other data: a run must not resume with it.
    described = [dataset.fingerprint, sorted(excluded), sorted(wanted), sorted(skipped)]
    return replace(
        dataset,
        entries=entries,
        fingerprint=hashlib.blake2b(repr(described).encode(), digest_size=16).hexdigest(),
        reader=partial(_read, dataset.reader, wanted, skipped),
        selection={
            "classes": sorted(wanted),
            "skip_classes": sorted(skipped),
            "excluded_images": len(dataset.entries) - len(entries),
        },
    )


def nothing_selected(dataset: Dataset) -> UserError:
    """The error for chosen classes without any mask."""
    return UserError(
        f"{dataset.name} has no mask of the chosen classes there; its classes: {', '.join(dataset.classes)}"
    )


def _class_name(dataset: Dataset, name: str) -> str:
    """The published name of a class that is given by name or number."""
    if not dataset.classes:
        raise UserError(f"{dataset.name} publishes no classes to choose from")
    if name.isdecimal() and int(name) < len(dataset.classes):
        return dataset.classes[int(name)]
    for known in dataset.classes:
        if known.lower() == name.lower():
            return known
    raise UserError(f"{dataset.name} has no class {name!r}; {possible(name, dataset.classes)}")


def _read(
    read: Callable[[ImageEntry], ImageRecord], wanted: frozenset[str], skipped: frozenset[str], entry: ImageEntry
) -> ImageRecord:
    record = read(entry)
    selected = (_selected(instance, wanted, skipped) for instance in record.objects)
    return replace(record, objects=tuple(instance for instance in selected if instance is not None))


def _selected(instance: ObjectMask, wanted: frozenset[str], skipped: frozenset[str]) -> ObjectMask | None:
    """An object with its selected parts; None if it is left out."""
    if instance.category in skipped:
        return None
    object_wanted = not wanted or instance.category in wanted
    parts = tuple(
        part for part in instance.parts if (object_wanted or part.label in wanted) and part.label not in skipped
    )
    if not parts and (instance.parts or not object_wanted):
        return None
    if len(parts) == len(instance.parts):
        return instance
    return replace(instance, parts=_with_remaining_parents(parts, instance.parts))


def _with_remaining_parents(kept: tuple[PartMask, ...], all_parts: tuple[PartMask, ...]) -> tuple[PartMask, ...]:
    """The kept parts; a part whose parent is left out becomes a child of the nearest ancestor that is kept."""
    parents = {part.part_id: part.parent_id for part in all_parts}
    kept_ids = {part.part_id for part in kept}
    adopted = []
    for part in kept:
        parent = part.parent_id
        while parent is not None and parent not in kept_ids:
            parent = parents[parent]
        adopted.append(replace(part, parent_id=parent))
    return tuple(adopted)
