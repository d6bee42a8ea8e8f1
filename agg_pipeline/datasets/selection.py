"""Selecting a part of a data set: without listed images, or only some classes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from agg_pipeline.datasets.all_cores import in_all_cores
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.file_listing import read_list
from agg_pipeline.datasets.names import joined, normal_form
from schemas.errors import ImageError, UserError
from schemas.numbers import whole_number
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask
from schemas.words import excerpt, few_of, plural, possible, printable

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to use of a data set.

    Attributes:
        exclude_list: path of a file with the ids of images to leave out, one per line; "" for none.
        classes: classes to use, by name or by their number in the set's list (from 0); empty for all. A text is taken
            as a name first, then as a number, then as a name in another case of letters.
        skip_classes: classes to leave out, by name or number in the same way.
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
        UserError: no image is left, or a class is unknown or may be several ones.
    """
    if selection == Selection():
        return dataset
    excluded = read_list(selection.exclude_list) if selection.exclude_list else []
    left_out = _left_out(dataset, excluded, selection.exclude_list)
    entries = tuple(entry for entry in dataset.entries if entry.image_id not in left_out)
    if not entries:
        raise UserError(f"{selection.exclude_list} leaves out every image of {dataset.name} {dataset.split}")
    wanted = frozenset(_class_name(dataset, name) for name in selection.classes)
    skipped = frozenset(_class_name(dataset, name) for name in selection.skip_classes)
    # Another selection is other data: a run must not resume with it.
    described = [dataset.fingerprint, excluded, sorted(wanted), sorted(skipped)]
    return replace(
        dataset,
        entries=entries,
        fingerprint=hashlib.blake2b(repr(described).encode(), digest_size=16).hexdigest(),
        reader=SelectedReader(dataset.reader, wanted, skipped),
        selection={
            "classes": sorted(wanted),
            "skip_classes": sorted(skipped),
            "excluded_images": len(dataset.entries) - len(entries),
        },
    )


def _left_out(dataset: Dataset, excluded: list[str], path: str) -> set[str]:
    """The images that a list leaves out; a warning names the ids that are those of none."""
    ids = {entry.image_id: entry.image_id for entry in dataset.entries}
    found = joined(map(printable, excluded), ids)
    unknown = [image_id for image_id in excluded if printable(image_id) not in found]
    if unknown:
        LOG.warning(
            "%s: %d of %s %s not in %s %s: %s",
            *(path, len(unknown), plural(len(excluded), "listed image"), "is" if len(unknown) == 1 else "are"),
            *(dataset.name, dataset.split, few_of(unknown)),
        )
    return set(found.values())


def nothing_selected(dataset: Dataset) -> UserError:
    """The error for chosen classes without any mask."""
    return UserError(
        f"{dataset.name} has no mask of the chosen classes there; its classes: {', '.join(dataset.classes)}"
    )


def _class_name(dataset: Dataset, name: str) -> str:
    """The published name of a class that is given by name or number."""
    if not dataset.classes:
        raise UserError(f"{dataset.name} publishes no classes to choose from")
    if name in dataset.classes:
        return name
    number = whole_number(name)
    if number is not None and number < len(dataset.classes):
        return dataset.classes[number]
    alike = sorted({known for known in dataset.classes if _small(known) == _small(name)})
    if len(alike) > 1:
        raise UserError(
            f"class {name!r} may be any of these of {dataset.name}: {', '.join(map(repr, alike))}; "
            "give the name with its capital letters"
        )
    if not alike:
        raise UserError(f"{dataset.name} has no class {excerpt(repr(name))}; {possible(name, dataset.classes)}")
    return alike[0]


def _small(name: str) -> str:
    """A name in small letters, whichever way its accents are written."""
    return normal_form(name).casefold()


@dataclass(frozen=True, slots=True)
class SelectedReader:
    """Reads an entry with the masks of chosen classes alone. Can be pickled.

    Attributes:
        read: reads an entry with all its masks.
        wanted: names of the classes to use; empty for all.
        skipped: names of the classes to leave out.
    """

    read: Callable[[ImageEntry], ImageRecord]
    wanted: frozenset[str]
    skipped: frozenset[str]

    def __call__(self, entry: ImageEntry) -> ImageRecord:
        """The record of an entry; raises what ``read`` raises."""
        record = self.read(entry)
        selected = (_selected(instance, self.wanted, self.skipped) for instance in record.objects)
        return replace(record, objects=tuple(instance for instance in selected if instance is not None))


def unmatched_classes(dataset: Dataset, limit_images: int | None = None) -> list[str]:
    """Find the chosen classes that match no mask; images are read until every class is found.

    Args:
        dataset: as ``select`` returns it.
        limit_images: search only the first so many images; None for all.

    Returns:
        One line per option of --class and --skip-class that changes nothing.
    """
    reader = dataset.reader
    if not isinstance(reader, SelectedReader):
        return []
    left = reader.wanted | reader.skipped
    read = replace(dataset, reader=reader.read).read
    entries = dataset.entries[:limit_images]
    with closing(in_all_cores(partial(_classes_in, read), entries, _died)) as found:
        while left and (names := next(found, None)) is not None:
            left -= names
    where = f"{dataset.name} {dataset.split}"
    if len(entries) < len(dataset.entries):
        where = f"the {plural(len(entries), 'image')} of this run"
    options = (("--class", reader.wanted), ("--skip-class", reader.skipped))
    return [f"{option} {name} matches no mask of {where}" for option, names in options for name in sorted(names & left)]


def _classes_in(read: Callable[[ImageEntry], ImageRecord], entry: ImageEntry) -> frozenset[str]:
    """The classes of the objects and parts of an image; none if it cannot be used."""
    try:
        objects = read(entry).objects
    except ImageError:
        return frozenset()
    names = {instance.category for instance in objects if instance.category is not None}
    return frozenset(names | {part.label for instance in objects for part in instance.parts})


def _died(_entry: ImageEntry, _how: str) -> frozenset[str]:
    """The classes of an image whose process was killed."""
    return frozenset()


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
