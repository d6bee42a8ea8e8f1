"""Annotated parts of a data set's images, looked up by the image's id."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import DATASETS, known_dataset, root_of
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ObjectMask, PartMask

_NUMBER = re.compile(r" \d+(?= |$)")


@dataclass(frozen=True, eq=False, slots=True)
class AnnotatedPart:
    """A part of an image. kind: its class, as in "dog left ear". mask: (H, W) bool."""

    kind: str
    mask: NDArray[np.bool_]


PartsOf = Callable[[str], tuple[AnnotatedPart, ...]]
"""The annotated parts of an image by its id; none for an image without."""


def part_class(owner: ObjectMask, part: PartMask) -> str:
    """The class of a part in words: its object's category and its name without running numbers."""
    name = _NUMBER.sub("", part.name)
    category = (owner.category or "").lower()
    return name if not category or f"{name} ".startswith(f"{category} ") else f"{category} {name}"


def open_parts(where: str) -> PartsOf:
    """The parts of a set, in all of its splits: ``NAME:ROOT``, ``demo``, or the root of a set like PartImageNet."""
    name, colon, root = where.partition(":")
    if name not in DATASETS and (not colon or root.startswith("//")):
        name, root = "partimagenet", where
    known = known_dataset(name)
    if "part" not in known.about.levels:
        raise UserError(f"data set {name} has no annotated parts")
    store = root_of(name, root)
    entries: dict[str, tuple[Dataset, ImageEntry]] = {}
    problems: list[UserError] = []
    for split in known.splits(store) or (known.default_split,):
        try:
            dataset = known.open(store, split)
        except UserError as error:
            # As PASCAL's test images, which have no parts.
            problems.append(error)
            continue
        entries |= {entry.image_id: (dataset, entry) for entry in dataset.entries}
    if not entries:
        raise problems[0]

    def parts_of(image_id: str) -> tuple[AnnotatedPart, ...]:
        if image_id not in entries:
            return ()
        dataset, entry = entries[image_id]
        try:
            record = dataset.read(entry)
        except ImageError as error:
            raise UserError(f"the annotated parts of image {image_id} cannot be read: {error.detail}") from error
        return tuple(AnnotatedPart(part_class(o, part), part.mask.full()) for o in record.objects for part in o.parts)

    return parts_of
