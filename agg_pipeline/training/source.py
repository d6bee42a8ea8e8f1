"""Masks to learn from: the rows of proposal databases, drawn by inverse frequency, and the pixels of their images."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline.database.reader import ProposalDatabase, mask_of
from agg_pipeline.execution.shard_files import read_table, shard_name
from agg_pipeline.storage.recent import Recent
from schemas.canonical import Json
from schemas.errors import ImageError, UserError
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
_PROPOSED, _ANNOTATED = ("part", "complement"), ("annotated",)
NEEDED: dict[TrainingSource, tuple[tuple[str, ...], ...]] = {
    "agg": (_PROPOSED,),
    "gt": (_ANNOTATED,),
    "gt+agg": (_PROPOSED, _ANNOTATED),
    "object": (("object",),),
}
"""Kinds without any of which there is nothing to learn from."""
KEPT_IMAGES = 256 << 20
"""Bytes of decoded images that a process keeps."""
KEPT_SHARDS = 8
NAMED = 3

CODES = {"image": "i", "bin": "b", "database": "b", "shard": "i", "row": "i"}
"""Of the columns of ``_Rows``, as ``array`` names types."""

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
ReadPixels = Callable[[str], tuple[Pixels, str]]
"""The (H, W, 3) uint8 RGB pixels of an image by its path, and their sha256 (hex); ImageError if it cannot be read."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A mask of an image, before augmentation. mask: (H, W). others: (H, W), the image's other objects.

    around: (H, W), the object that the mask belongs to. bin: 1..10, of the mask's granularity. ignored: (H, W), pixels
    that count nowhere; None for no pixel.
    """

    pixels: Pixels
    mask: Mask
    others: Mask
    around: Mask
    bin: int
    ignored: Mask | None = None


@dataclass(frozen=True, eq=False)
class _Rows:
    """What is held of every row that can be drawn, 14 bytes; masks stay in the database. image: its number; bin: 1..10.

    database, shard, row: where it lies.
    """

    image: NDArray[np.int32]
    bin: NDArray[np.int8]
    database: NDArray[np.int8]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _Shard:
    """A shard's rows, and those of the objects of each image."""

    table: pa.Table
    objects: Mapping[str, Sequence[Json]]


def _one(_shard: _Shard) -> int:
    return 1


@dataclass(frozen=True, eq=False)
class MaskSource:
    """The masks of proposal databases as training draws them; can be sent to other processes.

    images: path, sha256 and which ``read`` of every image that has a row. weights: of each row, 1 / share of its bin;
    summed: of all rows up to each.
    """

    databases: tuple[ProposalDatabase, ...]
    read: tuple[ReadPixels, ...]
    images: tuple[tuple[str, str, int], ...]
    rows: _Rows
    weights: NDArray[np.float64]
    summed: NDArray[np.float64]
    by_image: NDArray[np.int64]
    first: NDArray[np.int64]
    _images: Recent[tuple[int, str], Pixels] = field(
        init=False, default_factory=lambda: Recent(KEPT_IMAGES, attrgetter("nbytes"))
    )
    _shards: Recent[tuple[int, int], _Shard] = field(init=False, default_factory=lambda: Recent(KEPT_SHARDS, _one))

    def bins(self) -> list[int]:
        """Rows of each bin 1..10."""
        return [int(count) for count in np.bincount(self.rows.bin, minlength=BINS + 1)[1:]]

    def draw(self, image: int, rng: np.random.Generator) -> int:
        """A row of an image."""
        own = self.by_image[self.first[image] : self.first[image + 1]]
        return int(own[rng.choice(len(own), p=draw_probabilities(self.rows.bin[own], self.weights[own]))])

    def draw_any(self, rng: np.random.Generator) -> int:
        """A row of the whole source."""
        return int(np.searchsorted(self.summed, rng.random() * self.summed[-1], side="right"))

    def open(self, row: int) -> Drawn:
        """Read a row's image, decode its mask and those of the image's objects; UserError if the image is another."""
        rows = self.rows
        path, sha256, reader = self.images[rows.image[row]]
        pixels = self._images.get((reader, path), lambda: _read_pixels(self.read[reader], path, sha256))
        database, number = int(rows.database[row]), int(rows.shard[row])
        shard = self._shards.get((database, number), lambda: _read_shard(self.databases[database], number))
        found: Json = shard.table.slice(int(rows.row[row]), 1).to_pylist()[0]
        mask = mask_of(found)
        others, around = np.zeros_like(mask), mask
        for other in shard.objects.get(found["image_id"], ()):
            if other["instance_id"] == found["instance_id"]:
                around = mask_of(other)
            else:
                others |= mask_of(other)
        return Drawn(pixels, mask, others & ~mask, around, int(rows.bin[row]))


def _read_pixels(read: ReadPixels, path: str, sha256: str) -> Pixels:
    try:
        pixels, found = read(path)
    except ImageError as error:
        raise UserError(f"image {path} cannot be read any more: {error.detail}") from error
    if found != sha256:
        raise UserError(f"image {path} is not the one that its masks were made for")
    return pixels


def _read_shard(database: ProposalDatabase, number: int) -> _Shard:
    columns = ("image_id", "instance_id", "kind", "rle", "height", "width")
    table = read_table(database.store, f"proposals/{shard_name(number)}.parquet", columns)
    objects: dict[str, list[Json]] = {}
    for row in table.filter(pc.equal(table["kind"], "object")).to_pylist():
        objects.setdefault(row["image_id"], []).append(row)
    return _Shard(table, objects)


def open_source(
    databases: Sequence[ProposalDatabase], read: Sequence[ReadPixels], source: TrainingSource, by_scale: bool
) -> MaskSource:
    """The masks of a source; UserError if there is none.

    An object that several databases of one data set hold counts once; images of two data sets are two images, though
    they may show the same.

    read: of each database's images. by_scale: the scale is the granularity, instead of Eq. 6.
    """
    images: dict[tuple[str, str], int] = {}
    known: list[tuple[str, str, int]] = []
    objects: set[tuple[int, int]] = set()
    kinds: set[str] = set()
    columns: dict[str, array[Any]] = {name: array(code) for name, code in CODES.items()}
    for number, database in enumerate(databases):
        name = database.plan["dataset"]["name"]
        facts = {row["image_id"]: (row["path"], row["sha256"]) for row in database.images().to_pylist()}
        for shard in database.sidecars:
            table = database.table("proposals", ["image_id", "instance_id", "kind", "bin", "area"], [shard])
            areas: dict[tuple[str, int], int] = {}
            for position, row in enumerate(table.to_pylist()):
                owner = row["image_id"], row["instance_id"]
                if row["kind"] == "object":
                    areas[owner] = row["area"]
                if row["kind"] not in KINDS_OF[source]:
                    continue
                key = name, row["image_id"]
                if key not in images:
                    images[key] = len(known)
                    known.append((*facts[row["image_id"]], number))
                image = images[key]
                if row["kind"] == "object":
                    if (image, row["instance_id"]) in objects:
                        continue
                    objects.add((image, row["instance_id"]))
                # The stored scale is rounded to float32, which can be on the other side of a bin's edge.
                bin_ = granularity_bin(min(1.0, row["area"] / areas[owner])) if by_scale else row["bin"]
                kinds.add(row["kind"])
                for column, value in zip(columns.values(), (image, bin_, number, shard, position), strict=True):
                    column.append(value)
    lacking = [group for group in NEEDED[source] if not kinds & set(group)]
    if lacking:
        held = Counter(kind for database in databases for kind in database.proposals(["kind"])["kind"].to_pylist())
        there = ", ".join(f"{count} {kind}" for kind, count in held.items()) or "nothing"
        wanted = " or ".join(lacking[0])
        raise UserError(f"source {source!r} has no mask of kind {wanted} to learn from: the database holds {there}")
    rows = _Rows(**{name: np.asarray(values) for name, values in columns.items()})
    order = np.argsort(rows.image, kind="stable")
    first = np.searchsorted(rows.image[order], np.arange(len(known) + 1))
    weights = row_weights(rows.bin)
    return MaskSource(
        tuple(databases),
        tuple(read),
        tuple(known),
        rows,
        weights,
        np.cumsum(weights),
        order,
        np.asarray(first, np.int64),
    )


def check_images(source: MaskSource) -> None:
    """UserError that names the first images that are missing or not those that the masks were made for."""
    wrong = []
    for path, sha256, reader in source.images:
        try:
            _, found = source.read[reader](path)
        except ImageError as error:
            wrong.append(f"{path} ({error.detail})")
        else:
            if found != sha256:
                wrong.append(f"{path} (another sha256 than in the database)")
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise UserError(
            f"{len(wrong)} of {len(source.images)} images are not those that the masks were made for: "
            + ", ".join(wrong[:NAMED])
            + f"{more}; is --data the right folder?"
        )
