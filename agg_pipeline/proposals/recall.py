"""How many annotated parts the proposals meet, against random partitions of the same objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline.database.reader import ProposalDatabase, mask_of
from agg_pipeline.datasets.parts import AnnotatedPart, PartsOf
from schemas.canonical import Json
from schemas.errors import UserError
from stages.draws import index, uniforms

Mask = NDArray[np.bool_]

THRESHOLDS = (0.5, 0.75)
MIN_SHARES = (0.0, 0.1)
"""All parts, and those that are a tenth of their object: many annotated parts are smaller than proposals ever are."""
REPEATS = 10


@dataclass(frozen=True)
class Recall:
    """Recall of annotated parts. best: mean best IoU; at: share of the parts met at each of ``THRESHOLDS``."""

    parts: int
    best: float
    at: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """Recall of proposals and of as many random cells, over the parts that ``which`` names."""

    which: str
    proposals: Recall
    random: Recall


@dataclass(frozen=True)
class PartRecall:
    """The comparison over all parts of ``objects`` objects with ``masks`` proposals, the large ones, and each class."""

    objects: int
    masks: int
    by_size: tuple[Comparison, ...]
    by_class: tuple[Comparison, ...]


def part_recall(database: ProposalDatabase, parts_of: PartsOf, limit_objects: int | None, seed: int) -> PartRecall:
    """Compare proposals (parts and complements) and random cells with the annotated parts of their objects.

    A part belongs to the object that covers most of it. limit_objects: a seeded choice among the objects with parts.
    The random masks of an object are as many as its proposals; their recall is the mean of 10 repetitions.
    """
    objects = _objects(database, parts_of)
    if not objects:
        raise UserError(f"no object of {database.store.url} has an annotated part there")
    if limit_objects is not None:
        order = uniforms(seed, "recall", "", 0, "objects", 0, len(objects)).argsort(kind="stable")
        objects = [objects[n] for n in sorted(order[:limit_objects])]
    of_object = _proposals(database)
    if not of_object:
        raise UserError(f"{database.store.url} holds no proposals to compare with annotated parts")
    kinds: list[str] = []
    shares: list[float] = []
    found: list[float] = []
    chance: list[list[float]] = [[] for _ in range(REPEATS)]
    masks = 0
    for image_id, row, parts in objects:
        proposals = [mask_of(proposal) for proposal in of_object.get((image_id, row["instance_id"]), [])]
        masks += len(proposals)
        mask = mask_of(row)
        kinds += [part.kind for part in parts]
        shares += [np.count_nonzero(part.mask) / row["area"] for part in parts]
        found += _best_ious(parts, proposals)
        for repeat in range(REPEATS):
            cells = random_cells(mask, len(proposals), seed, row["proposal_id"], repeat)
            chance[repeat] += _best_ious(parts, cells)
    ious, random = np.array(found), np.array(chance)

    def compared(which: str, chosen: NDArray[np.bool_]) -> Comparison:
        return Comparison(which, _recall(ious[chosen]), _mean([_recall(repeat[chosen]) for repeat in random]))

    sizes = {
        f"parts with at least {share:.0%} of their object" if share else "all parts": share for share in MIN_SHARES
    }
    large = {which: np.array(shares) >= share for which, share in sizes.items()}
    classes = {kind: np.array(kinds) == kind for kind in sorted(set(kinds))}
    return PartRecall(
        len(objects),
        masks,
        tuple(compared(which, chosen) for which, chosen in large.items() if chosen.any()),
        tuple(compared(kind, chosen) for kind, chosen in classes.items()),
    )


def _mean(recalls: Sequence[Recall]) -> Recall:
    at = np.array([recall.at for recall in recalls]).mean(axis=0)
    return Recall(recalls[0].parts, float(np.mean([recall.best for recall in recalls])), tuple(map(float, at)))


def _objects(database: ProposalDatabase, parts_of: PartsOf) -> list[tuple[str, Json, list[AnnotatedPart]]]:
    table = database.proposals(["proposal_id", "image_id", "instance_id", "kind", "rle", "height", "width", "area"])
    of_image: dict[str, list[Json]] = {}
    for row in table.filter(pc.equal(table["kind"], "object")).to_pylist():
        of_image.setdefault(row["image_id"], []).append(row)
    objects = []
    for image_id, candidates in of_image.items():
        parts = parts_of(image_id)
        if not parts:
            continue
        masks = [mask_of(row) for row in candidates]
        if any(part.mask.shape != masks[0].shape for part in parts):
            raise UserError(f"the annotated parts of image {image_id} have another size than the image")
        owners = [int(np.argmax([np.count_nonzero(part.mask & mask) for mask in masks])) for part in parts]
        for number, row in enumerate(candidates):
            own = [part for part, owner in zip(parts, owners, strict=True) if owner == number]
            if own:
                objects.append((image_id, row, own))
    return objects


def _proposals(database: ProposalDatabase) -> dict[tuple[str, int], list[Json]]:
    """The rows of every object's parts and complements."""
    table = database.proposals(["image_id", "instance_id", "kind", "rle", "height", "width"])
    of_object: dict[tuple[str, int], list[Json]] = {}
    for row in table.filter(pc.is_in(table["kind"], pa.array(["part", "complement"]))).to_pylist():
        of_object.setdefault((row["image_id"], row["instance_id"]), []).append(row)
    return of_object


def random_cells(mask: Mask, count: int, seed: int, object_id: str, repeat: int) -> list[Mask]:
    """``count`` cells of Voronoi partitions of a (H, W) mask, each partition with 2 to 6 random seeds in the mask."""
    pixels = np.argwhere(mask)
    cells: list[Mask] = []
    partition = 0
    while len(cells) < count:
        draws = uniforms(seed, "recall", object_id, repeat, "cells", partition, 7)
        # Seeds that fall on the same pixel are one, so that no cell is empty.
        seeds = pixels[sorted({index(draw, len(pixels)) for draw in draws[1 : 3 + index(draws[0], 5)]})]
        nearest = np.square(pixels[:, None] - seeds[None]).sum(axis=2).argmin(axis=1)
        for number in range(len(seeds)):
            cell = np.zeros_like(mask)
            cell[tuple(pixels[nearest == number].T)] = True
            cells.append(cell)
        partition += 1
    return cells[:count]


def _best_ious(parts: Sequence[AnnotatedPart], masks: Sequence[Mask]) -> list[float]:
    return [max((_iou(part.mask, mask) for mask in masks), default=0.0) for part in parts]


def _iou(a: Mask, b: Mask) -> float:
    return int(np.count_nonzero(a & b)) / max(1, int(np.count_nonzero(a | b)))


def _recall(ious: NDArray[np.float64]) -> Recall:
    return Recall(len(ious), float(ious.mean()), tuple(float((ious >= level).mean()) for level in THRESHOLDS))
