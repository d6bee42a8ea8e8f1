"""The samples of fine-tuning: one mask per image and epoch, drawn from proposal databases and opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch.utils.data import Dataset

from agg_pipeline.database.impossible_values import REPAIR
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.storage.recent import Recent
from agg_pipeline.training.mask_rows import MaskRows
from agg_pipeline.training.training_images import IMAGE_CACHE_BYTES, ImageReader, read_pixels
from agg_pipeline.training.training_sample import DrawnMask, Sample, make_sample
from schemas.canonical import Json
from schemas.errors import UserError
from schemas.training import FinetuneConfig
from stages.draws import generator

KEPT_SHARDS = 8
"""Shards whose rows a process keeps."""


class ProposalMasks:
    """The masks of proposal databases by the number of their row; can be sent to other processes.

    Args:
        databases: the databases.
        readers: reader of the images of each data set, by its name.
        rows: the rows that can be drawn.
        cache_bytes: bytes of decoded images that a process keeps.
    """

    def __init__(
        self,
        databases: Sequence[ProposalDatabase],
        readers: Mapping[str, ImageReader],
        rows: MaskRows,
        cache_bytes: int = IMAGE_CACHE_BYTES,
    ) -> None:
        self.databases = tuple(databases)
        self.readers = dict(readers)
        self.rows = rows
        self.cache_bytes = cache_bytes
        self._pixels: Recent[int, NDArray[np.uint8]] = Recent(cache_bytes, attrgetter("nbytes"))
        self._shards: Recent[tuple[int, int], _Shard] = Recent(KEPT_SHARDS, _one)

    def open(self, row: int) -> DrawnMask:
        """Read a row's image and decode its mask and those of the image's objects.

        Raises:
            UserError: the image is unreadable, or image or database were replaced.
        """
        image = int(self.rows.image[row])
        used = self.rows.images[image]
        pixels = self._pixels.get(image, lambda: read_pixels(used, self.readers[used.dataset]))
        place, number = int(self.rows.database[row]), int(self.rows.shard[row])
        database = self.databases[place]
        shard = self._shards.get((place, number), lambda: _read_shard(database, number))
        rows: list[Json] = shard.table.slice(int(self.rows.row[row]), 1).to_pylist()
        if not rows or (rows[0]["height"], rows[0]["width"]) != pixels.shape[:2]:
            raise UserError(f"{database.store.url} is damaged, or was replaced while the training read it; {REPAIR}")
        found = rows[0]
        mask = database.mask(found)
        others, around = np.zeros_like(mask), mask
        for other in shard.objects.get(found["image_id"], ()):
            if other["instance_id"] == found["instance_id"]:
                around = database.mask(other)
            else:
                others |= database.mask(other)
        return DrawnMask(pixels, mask, others & ~mask, around, int(self.rows.bin[row]))


@dataclass(frozen=True, eq=False)
class _Shard:
    """The rows of a shard, and the rows of the objects per image."""

    table: pa.Table
    objects: Mapping[str, Sequence[Json]]


def _one(_shard: _Shard) -> int:
    return 1


def _read_shard(database: ProposalDatabase, number: int) -> _Shard:
    columns = ("image_id", "instance_id", "kind", "rle", "height", "width")
    table = database.table("proposals", columns, [number])
    objects: dict[str, list[Json]] = {}
    for row in table.filter(pc.equal(table["kind"], "object")).to_pylist():
        objects.setdefault(row["image_id"], []).append(row)
    return _Shard(table, objects)


class ProposalSamples(Dataset[Sample]):
    """The samples of fine-tuning by (epoch, image); each depends on these and the seed alone.

    Args:
        masks: the masks that can be drawn.
        config: how masks are drawn, augmentation, clicks and seed.
    """

    def __init__(self, masks: ProposalMasks, config: FinetuneConfig) -> None:
        self.masks = masks
        self.config = config

    def __len__(self) -> int:
        """Samples per epoch: one per image."""
        return len(self.masks.rows.images)

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        config, rows = self.config, self.masks.rows
        epoch, image = index
        rng = generator(config.training.seed, "sample", epoch, image)
        row = rows.draw(image, rng) if config.sampling == "image" else rows.draw_any(rng)
        drawn = self.masks.open(row)
        table_row = drawn.bin - 1 if config.granularity else -1
        return make_sample(drawn, config.augment, config.training.click_decay, rng, row=table_row)
