"""Choosing masks: the rows of proposal databases that a training draws from, and the draws by inverse frequency."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.training.training_images import UsedImage
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.numbers import BINS, granularity_bin
from schemas.tables import KINDS
from schemas.training import TrainingSource
from stages.sampler import draw_probabilities, row_weights

KINDS_OF: dict[TrainingSource, tuple[str, ...]] = {
    "agg": ("object", "part", "complement"),
    "gt": ("object", "annotated"),
    "gt+agg": KINDS,
    "object": ("object",),
}
"""Kinds of rows that a source draws from."""
_PROPOSED, _ANNOTATED = ("part", "complement"), ("annotated",)
NEEDED: dict[TrainingSource, tuple[tuple[str, ...], ...]] = {
    "agg": (_PROPOSED,),
    "gt": (_ANNOTATED,),
    "gt+agg": (_PROPOSED, _ANNOTATED),
    "object": (("object",),),
}
"""Kinds that a source must have: at least one kind of each group."""
COLUMNS = {"image": "i", "bin": "b", "database": "b", "shard": "i", "row": "i"}
"""Columns of ``MaskRows`` and their types, as ``array`` names them."""


@dataclass(frozen=True, eq=False)
class MaskRows:
    """The n rows that a training draws from, without their masks: 38 bytes per row.

    Attributes:
        images: the images that have a row, in the order of their numbers.
        image: (n,) int32, number of the row's image.
        bin: (n,) int8, bin of its granularity, 1 to 10.
        database, shard, row: (n,), where it lies: number of the database, shard, row of the shard's table.
        weights: (n,) float64, 1 / share of the row's bin among all rows.
        summed: (n,) float64, cumulative sum of the weights.
        by_image: (n,) int64, the rows' numbers sorted by image.
        first: (images + 1,) int64, where each image starts in ``by_image``.
    """

    images: tuple[UsedImage, ...]
    image: NDArray[np.int32]
    bin: NDArray[np.int8]
    database: NDArray[np.int8]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]
    weights: NDArray[np.float64]
    summed: NDArray[np.float64]
    by_image: NDArray[np.int64]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)

    def bins(self) -> list[int]:
        """Number of rows per bin 1 to 10."""
        return [int(count) for count in np.bincount(self.bin, minlength=BINS + 1)[1:]]

    def of_image(self, image: int) -> NDArray[np.int64]:
        """Numbers of an image's rows."""
        return self.by_image[self.first[image] : self.first[image + 1]]

    def draw(self, image: int, rng: np.random.Generator) -> int:
        """Draw a row of an image, by inverse frequency (Section 3.3)."""
        own = self.of_image(image)
        return int(own[rng.choice(len(own), p=draw_probabilities(self.bin[own], self.weights[own]))])

    def draw_any(self, rng: np.random.Generator) -> int:
        """Draw one of all rows, by inverse frequency: every bin that has rows is as likely."""
        return int(np.searchsorted(self.summed, rng.random() * self.summed[-1], side="right"))


def choose_rows(databases: Sequence[ProposalDatabase], source: TrainingSource, by_scale: bool) -> MaskRows:
    """List the rows of databases that a source draws from.

    An object that several databases of one data set hold counts once. Images of two data sets are different images,
    even if they show the same.

    Args:
        databases: the databases, whose finished shards are read.
        source: which kinds of rows.
        by_scale: the scale is the granularity, instead of Eq. 6.

    Raises:
        UserError: the databases lack a kind of row that the source needs.
    """
    numbers: dict[tuple[str, str], int] = {}
    images: list[UsedImage] = []
    objects: set[tuple[int, int]] = set()
    kinds: set[str] = set()
    columns: dict[str, array[Any]] = {name: array(code) for name, code in COLUMNS.items()}
    for number, database in enumerate(databases):
        name = database.plan["dataset"]["name"]
        facts = {row["image_id"]: (row["path"], row["sha256"]) for row in database.images().to_pylist()}
        for shard in database.sidecars:
            rows = database.table("proposals", ["image_id", "instance_id", "kind", "bin", "area"], [shard]).to_pylist()
            bins = _scale_bins(rows) if by_scale else [row["bin"] for row in rows]
            for position, (row, bin_) in enumerate(zip(rows, bins, strict=True)):
                if row["kind"] not in KINDS_OF[source]:
                    continue
                key = name, row["image_id"]
                if key not in numbers:
                    numbers[key] = len(images)
                    images.append(UsedImage(*facts[row["image_id"]], number))
                image = numbers[key]
                if row["kind"] == "object":
                    if (image, row["instance_id"]) in objects:
                        continue
                    objects.add((image, row["instance_id"]))
                kinds.add(row["kind"])
                for column, value in zip(columns.values(), (image, bin_, number, shard, position), strict=True):
                    column.append(value)
    _check_kinds(databases, source, kinds)
    return _indexed(images, {name: np.asarray(values) for name, values in columns.items()})


def _scale_bins(rows: Sequence[Json]) -> list[int]:
    """Bins of the scales of a shard's rows, in full precision: float32, as stored, may lie in the bin beside it."""
    areas = {(row["image_id"], row["instance_id"]): row["area"] for row in rows if row["kind"] == "object"}
    scales = (row["area"] / areas[row["image_id"], row["instance_id"]] for row in rows)
    return [granularity_bin(min(1.0, scale)) for scale in scales]


def _check_kinds(databases: Sequence[ProposalDatabase], source: TrainingSource, kinds: set[str]) -> None:
    lacking = [group for group in NEEDED[source] if not kinds & set(group)]
    if lacking:
        held = Counter(kind for database in databases for kind in database.proposals(["kind"])["kind"].to_pylist())
        there = ", ".join(f"{count} {kind}" for kind, count in held.items()) or "nothing"
        wanted = " or ".join(lacking[0])
        raise UserError(f"source {source!r} has no mask of kind {wanted} to learn from: the database holds {there}")


def _indexed(images: Sequence[UsedImage], columns: dict[str, NDArray[Any]]) -> MaskRows:
    """The rows with their weights, and sorted by image."""
    image, weights = columns["image"], row_weights(columns["bin"])
    by_image = np.argsort(image, kind="stable")
    first = np.asarray(np.searchsorted(image[by_image], np.arange(len(images) + 1)), np.int64)
    return MaskRows(
        tuple(images), **columns, weights=weights, summed=np.cumsum(weights), by_image=by_image, first=first
    )


def empty_bin_notes(rows: MaskRows) -> list[str]:
    """A note on the granularities that no mask has, if there are any."""
    empty = [f"{number / BINS:.1f}" for number, count in enumerate(rows.bins(), start=1) if not count]
    return [f"no mask has granularity {', '.join(empty)}: the model cannot learn it"] if empty else []
