"""Masks to learn from: the rows of proposal databases, drawn by inverse frequency, and the pixels of their images."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline import sharded
from agg_pipeline.reader import ProposalDatabase, mask_of
from agg_pipeline.sharded import Json
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
KEPT_IMAGES = 256 << 20
"""Bytes of decoded images that a process keeps."""
KEPT_SHARDS = 8
NAMED = 3

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
ReadPixels = Callable[[str], tuple[Pixels, str]]
"""The (H, W, 3) uint8 RGB pixels of an image by its path, and their sha256 (hex); ImageError if it cannot be read."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A mask of an image, before augmentation. mask: (H, W). others: (H, W), the image's other objects.

    around: (H, W), the object that the mask belongs to. granularity: of the mask.
    """

    pixels: Pixels
    mask: Mask
    others: Mask
    around: Mask
    granularity: float


@dataclass(frozen=True, eq=False)
class _Rows:
    """What is held of every row that can be drawn; masks stay in the database. image: its number; bin: 1..10.

    database, shard, row: where it lies.
    """

    image: NDArray[np.int32]
    bin: NDArray[np.int8]
    granularity: NDArray[np.float32]
    database: NDArray[np.int8]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class MaskSource:
    """The masks of proposal databases as training draws them; can be sent to other processes.

    images: path, sha256 and which ``read`` of every image that has a row. weights: of each row, 1 / share of its bin.
    """

    databases: tuple[ProposalDatabase, ...]
    read: tuple[ReadPixels, ...]
    images: tuple[tuple[str, str, int], ...]
    rows: _Rows
    weights: NDArray[np.float64]
    by_image: NDArray[np.int64]
    first: NDArray[np.int64]
    _cache: _Cache = field(init=False, default_factory=lambda: _Cache())

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_cache"} | {"_cache": _Cache()}

    def bins(self) -> list[int]:
        """Rows of each bin 1..10."""
        return [int(count) for count in np.bincount(self.rows.bin, minlength=BINS + 1)[1:]]

    def draw(self, image: int, rng: np.random.Generator) -> int:
        """A row of an image."""
        own = self.by_image[self.first[image] : self.first[image + 1]]
        return int(own[rng.choice(len(own), p=draw_probabilities(self.rows.bin[own], self.weights[own]))])

    def draw_any(self, rng: np.random.Generator) -> int:
        """A row of the whole source."""
        return int(rng.choice(len(self.weights), p=self.weights / self.weights.sum()))

    def open(self, row: int) -> Drawn:
        """Read a row's image, decode its mask and those of the image's objects; UserError if the image is another."""
        rows = self.rows
        path, sha256, reader = self.images[rows.image[row]]
        pixels = self._cache.pixels(self.read[reader], reader, path, sha256)
        table = self._cache.shard(self.databases[rows.database[row]], int(rows.database[row]), int(rows.shard[row]))
        found: Json = table.slice(int(rows.row[row]), 1).to_pylist()[0]
        mask = mask_of(found)
        others, around = np.zeros_like(mask), mask
        for other in self._cache.objects(table, found["image_id"], int(rows.database[row]), int(rows.shard[row])):
            if other["instance_id"] == found["instance_id"]:
                around = mask_of(other)
            else:
                others |= mask_of(other)
        return Drawn(pixels, mask, others & ~mask, around, float(rows.granularity[row]))


class _Cache:
    """Images and shards read last, in one process."""

    def __init__(self) -> None:
        self._images: OrderedDict[tuple[int, str], Pixels] = OrderedDict()
        self._bytes = 0
        self._shards: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._objects: dict[tuple[int, int], dict[str, list[Json]]] = {}

    def pixels(self, read: ReadPixels, reader: int, path: str, sha256: str) -> Pixels:
        key = reader, path
        if key not in self._images:
            try:
                pixels, found = read(path)
            except ImageError as error:
                raise UserError(f"image {path} cannot be read any more: {error.detail}") from error
            if found != sha256:
                raise UserError(f"image {path} is not the one that its masks were made for")
            self._images[key] = pixels
            self._bytes += pixels.nbytes
            while self._bytes > KEPT_IMAGES and len(self._images) > 1:
                self._bytes -= self._images.popitem(last=False)[1].nbytes
        self._images.move_to_end(key)
        return self._images[key]

    def shard(self, database: ProposalDatabase, number: int, shard: int) -> pa.Table:
        key = number, shard
        if key not in self._shards:
            columns = ("image_id", "instance_id", "kind", "rle", "height", "width")
            self._shards[key] = sharded.read_table(
                database.store, f"proposals/{sharded.shard_name(shard)}.parquet", columns
            )
            if len(self._shards) > KEPT_SHARDS:
                gone, _ = self._shards.popitem(last=False)
                self._objects.pop(gone, None)
        self._shards.move_to_end(key)
        return self._shards[key]

    def objects(self, table: pa.Table, image_id: str, number: int, shard: int) -> list[Json]:
        """The rows of an image's objects."""
        of_image = self._objects.get((number, shard))
        if of_image is None:
            of_image = self._objects[number, shard] = {}
            for row in table.filter(pc.equal(table["kind"], "object")).to_pylist():
                of_image.setdefault(row["image_id"], []).append(row)
        return of_image.get(image_id, [])


def open_source(
    databases: Sequence[ProposalDatabase], read: Sequence[ReadPixels], source: TrainingSource, by_scale: bool
) -> MaskSource:
    """The masks of a source; objects that several databases hold count once. UserError if there is none.

    read: of each database's images. by_scale: the scale is the granularity, instead of Eq. 6.
    """
    images: dict[tuple[str, str], int] = {}
    known: list[tuple[str, str, int]] = []
    objects: set[tuple[int, int]] = set()
    columns: dict[str, list[float]] = {name: [] for name in ("image", "bin", "granularity", "database", "shard", "row")}
    for number, database in enumerate(databases):
        name = database.plan["dataset"]["name"]
        facts = {row["image_id"]: (row["path"], row["sha256"]) for row in database.images().to_pylist()}
        for shard in database.sidecars:
            wanted = ["image_id", "instance_id", "kind", "bin", "granularity", "scale"]
            table = database.table("proposals", wanted, [shard])
            for position, row in enumerate(table.to_pylist()):
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
                granularity = row["scale"] if by_scale else row["granularity"]
                bin_ = granularity_bin(granularity) if by_scale else row["bin"]
                for column, value in zip(
                    columns.values(), (image, bin_, granularity, number, shard, position), strict=True
                ):
                    column.append(value)
    if not known:
        held = Counter(kind for database in databases for kind in database.proposals(["kind"])["kind"].to_pylist())
        there = ", ".join(f"{count} {kind}" for kind, count in held.items()) or "nothing"
        raise UserError(f"source {source!r} has no mask to learn from: the database holds {there}")
    kinds = {"image": np.int32, "bin": np.int8, "granularity": np.float32, "database": np.int8, "shard": np.int32}
    rows = _Rows(**{name: np.array(values, kinds.get(name, np.int32)) for name, values in columns.items()})
    order = np.argsort(rows.image, kind="stable")
    first = np.searchsorted(rows.image[order], np.arange(len(known) + 1))
    return MaskSource(
        tuple(databases), tuple(read), tuple(known), rows, row_weights(rows.bin), order, np.asarray(first, np.int64)
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
