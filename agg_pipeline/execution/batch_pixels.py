"""The pixels of a shard's images: kept where they are few, else read again by the batches that need them.

A shard may have more pixels than fit into memory: 32 photographs of 24 megapixels are 2.3 GB. What is kept of them, and
what a batch reads, is bounded by ``batch_pixels``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from agg_pipeline.execution.shard_task import ShardState, ShardTask
from schemas.config import BatchConfig
from schemas.errors import ImageError, StoppedError
from schemas.records import ImageRecord, ImageSummary, Pixels

KEPT_BATCHES = 2
"""A shard keeps the pixels of images that would fill so many batches; 32 photographs of 640 x 480 pixels do not."""


def keep(kept: dict[str, Pixels], record: ImageRecord, config: BatchConfig) -> None:
    """Keep the pixels of an image unless a shard would keep too many.

    Args:
        kept: pixels of the shard's images that are kept, by image id.
        record: the image that may be added.
        config: its ``batch_pixels`` bounds what is kept.
    """
    pixels = sum(height * width for height, width, _ in (each.shape for each in kept.values()))
    if pixels + record.height * record.width <= KEPT_BATCHES * config.batch_pixels:
        kept[record.image_id] = record.pixels


class BatchPixels:
    """Gives each batch of a shard the pixels of its images, and holds those that it has read until the next batch.

    Consecutive batches often need the same large image, which is read once for all of them.

    Args:
        read: reads the pixels of an image again.
        kept: pixels of the images that the shard keeps, by image id.
    """

    def __init__(self, read: Callable[[ImageSummary], Pixels], kept: Mapping[str, Pixels]) -> None:
        self._read = read
        self._kept = kept
        self._held: dict[str, Pixels] = {}

    def of(self, images: Sequence[ImageSummary]) -> list[Pixels]:
        """The pixels of a batch.

        Args:
            images: the image of each item; the same image may occur several times.

        Returns:
            The pixels of each item's image.
        """
        wanted = {image.image_id: image for image in images if image.image_id not in self._kept}
        # What the batch before held is released before anything is read.
        self._held = {image_id: self._held[image_id] for image_id in wanted if image_id in self._held}
        for image_id, image in wanted.items():
            if image_id not in self._held:
                self._held[image_id] = self._read(image)
        found = {**self._kept, **self._held}
        return [found[image.image_id] for image in images]


def pixels_of(state: ShardState) -> BatchPixels:
    """The pixels of a shard's images, for one batch after another.

    Reading an image again raises StoppedError if it is another one now, and StorageError if it cannot be read now.
    """
    return BatchPixels(partial(_read_again, state.task), state.pixels)


def _read_again(task: ShardTask[Any], image: ImageSummary) -> Pixels:
    try:
        pixels, sha256 = _pixels_and_sha256(task, image)
    except ImageError as error:
        raise _changed(image, error.detail) from error
    if sha256 != image.sha256:
        raise _changed(image, "it has another sha256 than before")
    return pixels


def _pixels_and_sha256(task: ShardTask[Any], image: ImageSummary) -> tuple[Pixels, str]:
    if task.read_pixels is not None:
        return task.read_pixels(image.path)
    (entry,) = (entry for entry in task.entries if entry.image_id == image.image_id)
    record = task.read(entry)
    return record.pixels, record.sha256


def _changed(image: ImageSummary, how: str) -> StoppedError:
    return StoppedError(
        f"image {image.path} has changed while the run used it: {how}; leave the data as it is while a run works"
    )
