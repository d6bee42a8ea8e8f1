"""Recall of annotated parts by proposals, beside random partitions of the same objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.parts import AnnotatedPart, PartsOf
from schemas.canonical import Row
from schemas.crop import area, intersection
from schemas.errors import UserError
from stages.draws import index, uniforms
from stages.evaluate import counted_iou

Mask = NDArray[np.bool_]
"""(H, W) bool."""

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
        ious += _part_ious(owner, database.mask(owner.row), [database.mask(row) for row in rows], seed)
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


def _part_ious(owner: _ObjectWithParts, mask: Mask, proposals: Sequence[Mask], seed: int) -> list[_PartIous]:
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


def random_cells(mask: Mask, count: int, seed: int, object_id: str, repeat: int) -> list[Mask]:
    """Cells of random Voronoi partitions of a mask, each with 2 to 6 random centres in the mask.

    Args:
        mask: (H, W) bool; not empty if ``count`` is positive.
        count: cells to make.
        seed: seed of the centres.
        object_id: id of the object, part of the random numbers' key.
        repeat: number of the repetition, part of the key.

    Returns:
        ``count`` masks of shape (H, W): the cells of the first partition, then those of the next, and so on.
    """
    pixels = np.argwhere(mask)
    cells: list[Mask] = []
    partition = 0
    while len(cells) < count:
        draws = uniforms(seed, "recall", object_id, repeat, "cells", partition, 7)
        centre_count = 2 + index(draws[0], 5)
        # Centres that fall on the same pixel are one, so that no cell is empty.
        centres = pixels[sorted({index(draw, len(pixels)) for draw in draws[1 : 1 + centre_count]})]
        nearest = np.square(pixels[:, None] - centres[None]).sum(axis=2).argmin(axis=1)
        for number in range(len(centres)):
            cell = np.zeros_like(mask)
            cell[tuple(pixels[nearest == number].T)] = True
            cells.append(cell)
        partition += 1
    return cells[:count]


def _best_ious(parts: Sequence[AnnotatedPart], masks: Sequence[Mask]) -> list[float]:
    frames = (part.mask.full() for part in parts)
    return [max((counted_iou(mask, frame, None) for mask in masks), default=0.0) for frame in frames]


def _compared(which: str, parts: Sequence[_PartIous]) -> Comparison:
    random = [_recall([part.random[repeat] for part in parts]) for repeat in range(REPEATS)]
    return Comparison(which, _recall([part.proposals for part in parts]), _mean(random))


def _recall(ious: Sequence[float]) -> Recall:
    values = np.array(ious)
    return Recall(len(values), float(values.mean()), tuple(float((values >= level).mean()) for level in THRESHOLDS))


def _mean(recalls: Sequence[Recall]) -> Recall:
    at = np.array([recall.at for recall in recalls]).mean(axis=0)
    return Recall(recalls[0].parts, float(np.mean([recall.best for recall in recalls])), tuple(map(float, at)))
