"""Annotated parts of a data set, looked up by image id."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import DATASETS, known_dataset, root_of
from schemas.crop import MaskCrop
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ObjectMask, PartMask

_RUNNING_NUMBER = re.compile(r" \d+(?= |$)")


@dataclass(frozen=True, eq=False, slots=True)
class AnnotatedPart:
    """An annotated part of an image.

    Attributes:
        class_name: class of the part, such as "dog left ear".
        mask: the part's pixels.
    """

    class_name: str
    mask: MaskCrop


WITH_PARTS = tuple(sorted(name for name, known in DATASETS.items() if "part" in known.about.levels))
"""Data sets with annotated parts."""
PartsOf = Callable[[str], tuple[AnnotatedPart, ...]]
"""Image id -> annotated parts of the image; empty if it has none or is unknown."""


def part_class(owner: ObjectMask, part: PartMask) -> str:
    """The class of a part in words: its object's category and its name without running numbers."""
    name = _RUNNING_NUMBER.sub("", part.name)
    category = (owner.category or "").lower()
    if not category or f"{name} ".startswith(f"{category} "):
        return name
    return f"{category} {name}"


def open_parts(where: str) -> PartsOf:
    """Open the annotated parts of a data set, of all its splits.

    Args:
        where: ``NAME:FOLDER``, ``demo``, or the root of a set in PartImageNet's layout.

    Returns:
        A function that reads the parts of an image when it is called; it raises UserError if they are broken.

    Raises:
        UserError: the data set is unknown, is not there, or has no annotated parts.
    """
    name, colon, root = where.partition(":")
    if name not in DATASETS and (not colon or root.startswith("//")):
        name, root = "partimagenet", where
    if "part" not in known_dataset(name).about.levels:
        raise UserError(f"--parts: data set {name} has no annotated parts; {', '.join(WITH_PARTS)} have")
    return partial(_read_parts, _entries_of_all_splits(name, root))


def _entries_of_all_splits(name: str, root: str) -> dict[str, tuple[Dataset, ImageEntry]]:
    known = known_dataset(name)
    store = root_of(name, root, f"--parts {name}:FOLDER")
    entries: dict[str, tuple[Dataset, ImageEntry]] = {}
    problems: list[UserError] = []
    for split in known.splits(store) or (known.default_split,):
        try:
            dataset = known.open(store, split)
        except UserError as error:
            # Some splits have no parts, such as PASCAL's test images.
            problems.append(error)
            continue
        entries |= {entry.image_id: (dataset, entry) for entry in dataset.entries}
    if not entries:
        raise problems[0]
    return entries


def _read_parts(entries: Mapping[str, tuple[Dataset, ImageEntry]], image_id: str) -> tuple[AnnotatedPart, ...]:
    if image_id not in entries:
        return ()
    dataset, entry = entries[image_id]
    try:
        record = dataset.read(entry)
    except ImageError as error:
        raise UserError(f"the annotated parts of image {image_id} cannot be read: {error.detail}") from error
    return tuple(
        AnnotatedPart(part_class(instance, part), part.mask) for instance in record.objects for part in instance.parts
    )
