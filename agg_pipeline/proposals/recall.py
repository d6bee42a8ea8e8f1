"""Recall of annotated parts by proposals, beside random partitions of the same objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.parts import AnnotatedPart, PartsOf
from agg_pipeline.proposals.random_cells import random_cells
from schemas.canonical import Row
from schemas.crop import MaskCrop, area, intersection, iou
from schemas.errors import UserError
from stages.draws import uniforms

THRESHOLDS = (0.5, 0.75)
"""Smallest IoU at which a part counts as covered."""
MIN_SHARES = (0.0, 0.1)
"""Smallest parts that are counted, as a share of their object: many annotated parts are smaller than any proposal."""
REPEATS = 10
"""Repetitions of the random partitions."""


@dataclass(frozen=True)
class Recall:
    """How well a set of masks covers annotated parts.

    Attributes:
        parts: number of annotated parts.
        best: mean over the parts of the largest IoU with any mask.
        at: share of the parts that are covered, at each of ``THRESHOLDS``.
    """

    parts: int
    best: float
    at: tuple[float, ...]

    @property
    def columns(self) -> tuple[float, ...]:
        """The numbers of a row in a table: the covered shares, then the mean best IoU."""
        return (*self.at, self.best)


@dataclass(frozen=True)
class Comparison:
    """Recall of proposals beside that of as many random cells.

    Attributes:
        which: the parts in words.
        proposals: recall of the proposals.
        random: recall of the random cells, the mean of 10 repetitions.
    """

    which: str
    proposals: Recall
    random: Recall


@dataclass(frozen=True)
class PartRecall:
    """Recall of annotated parts by the proposals of a database.

    Attributes:
        objects: number of objects with annotated parts.
        masks: number of their proposals.
        by_size: all parts, and the large ones.
        by_class: parts by class.
    """

    objects: int
    masks: int
    by_size: tuple[Comparison, ...]
    by_class: tuple[Comparison, ...]


@dataclass(frozen=True)
class _ObjectWithParts:
    """An object's row of ``proposals``, and its annotated parts."""

    row: Row
    parts: list[AnnotatedPart]


@dataclass(frozen=True)
class _PartIous:
    """Largest IoU of one annotated part with the proposals, and with the random cells of each repetition."""

    class_name: str
    share: float
    proposals: float
    random: tuple[float, ...]


def part_recall(database: ProposalDatabase, parts_of: PartsOf, limit_objects: int | None, seed: int) -> PartRecall:
    """Compare the proposals (parts and complements) and random cells with the annotated parts of their objects.

    A part belongs to the object that covers most of it. Every object has as many random cells as proposals.

    Args:
        database: the proposals.
        parts_of: annotated parts by image id.
        limit_objects: objects to draw among those with parts; None for all.
        seed: seed of the draw and of the random cells.

    Raises:
        UserError: no object has an annotated part, the database holds no proposals, or a part has another size than
            its image, or masks of the database are damaged.
    """
    objects = _objects(database, parts_of)
    if not objects:
        raise UserError(f"no object of {database.store.url} has a part in --parts; are these the same images?")
    if limit_objects is not None:
        order = uniforms(seed, "recall", "", 0, "objects", 0, len(objects)).argsort(kind="stable")
        objects = [objects[n] for n in sorted(order[:limit_objects])]
    proposals_of = _proposals(database)
    if not proposals_of:
        raise UserError(f"{database.store.url} holds no proposals to compare with annotated parts")
    masks = 0
    ious: list[_PartIous] = []
    for owner in objects:
        rows = proposals_of.get((owner.row["image_id"], owner.row["instance_id"]), [])
        if any((row["height"], row["width"]) != (owner.row["height"], owner.row["width"]) for row in rows):
            image_id = owner.row["image_id"]
            raise database.damaged(image_id, f"has masks of several sizes for image {image_id}")
        masks += len(rows)
        ious += _part_ious(owner, database.crop(owner.row), [database.crop(row) for row in rows], seed)
    by_size = [(_size_name(share), [part for part in ious if part.share >= share]) for share in MIN_SHARES]
    classes = sorted({part.class_name for part in ious})
    by_class = [(name, [part for part in ious if part.class_name == name]) for name in classes]
    return PartRecall(
        objects=len(objects),
        masks=masks,
        by_size=tuple(_compared(which, parts) for which, parts in by_size if parts),
        by_class=tuple(_compared(which, parts) for which, parts in by_class),
    )


def _size_name(share: float) -> str:
    return f"parts with at least {share:.0%} of their object" if share else "all parts"


def _objects(database: ProposalDatabase, parts_of: PartsOf) -> list[_ObjectWithParts]:
    """The objects that have annotated parts, in the order of the database."""
    columns = ["proposal_id", "image_id", "instance_id", "kind", "rle", "height", "width", "area"]
    table = database.proposals(columns)
    rows_of: dict[str, list[Row]] = {}
    for row in table.filter(pc.equal(table["kind"], "object")).to_pylist():
        rows_of.setdefault(row["image_id"], []).append(row)
    objects = []
    for image_id, rows in rows_of.items():
        parts = parts_of(image_id)
        if not parts:
            continue
        masks = [database.crop(row) for row in rows]
        sizes = {(mask.height, mask.width) for mask in masks}
        if any({(part.mask.height, part.mask.width)} != sizes for part in parts):
            raise UserError(
                f"the parts of image {image_id} in --parts have another size than the image; are these the same images?"
            )
        owned: list[list[AnnotatedPart]] = [[] for _ in rows]
        for part in parts:
            owner = int(np.argmax([intersection(part.mask, mask) for mask in masks]))
            owned[owner].append(part)
        objects += [_ObjectWithParts(row, own) for row, own in zip(rows, owned, strict=True) if own]
    return objects


def _proposals(database: ProposalDatabase) -> dict[tuple[str, int], list[Row]]:
    """Rows of the parts and complements, by image id and object id."""
    table = database.proposals(["image_id", "instance_id", "kind", "rle", "height", "width"])
    rows_of: dict[tuple[str, int], list[Row]] = {}
    for row in table.filter(pc.is_in(table["kind"], pa.array(["part", "complement"]))).to_pylist():
        rows_of.setdefault((row["image_id"], row["instance_id"]), []).append(row)
    return rows_of


def _part_ious(owner: _ObjectWithParts, mask: MaskCrop, proposals: Sequence[MaskCrop], seed: int) -> list[_PartIous]:
    found = _best_ious(owner.parts, proposals)
    random = [
        _best_ious(owner.parts, random_cells(mask, len(proposals), seed, owner.row["proposal_id"], repeat))
        for repeat in range(REPEATS)
    ]
    return [
        _PartIous(
            class_name=part.class_name,
            share=area(part.mask) / owner.row["area"],
            proposals=found[number],
            random=tuple(ious[number] for ious in random),
        )
        for number, part in enumerate(owner.parts)
    ]


def _best_ious(parts: Sequence[AnnotatedPart], masks: Iterable[MaskCrop]) -> list[float]:
    """The largest IoU of each part with any of the masks, which are made one at a time; 0 if there are none."""
    best = [0.0] * len(parts)
    for mask in masks:
        best = [max(known, iou(part.mask, mask)) for known, part in zip(best, parts, strict=True)]
    return best


def _compared(which: str, parts: Sequence[_PartIous]) -> Comparison:
    random = [_recall([part.random[repeat] for part in parts]) for repeat in range(REPEATS)]
    return Comparison(which, _recall([part.proposals for part in parts]), _mean(random))


def _recall(ious: Sequence[float]) -> Recall:
    values = np.array(ious)
    return Recall(len(values), float(values.mean()), tuple(float((values >= level).mean()) for level in THRESHOLDS))


def _mean(recalls: Sequence[Recall]) -> Recall:
    at = np.array([recall.at for recall in recalls]).mean(axis=0)
    return Recall(recalls[0].parts, float(np.mean([recall.best for recall in recalls])), tuple(map(float, at)))
