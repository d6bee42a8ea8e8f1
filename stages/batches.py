"""Cutting work into the batches that the model sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from schemas.config import BatchConfig

T = TypeVar("T")


def batches(items: Sequence[T], pixels: Callable[[T], int], config: BatchConfig) -> Iterator[Sequence[T]]:
    """Consecutive runs of items, as long as count and summed image pixels allow; at least one item each.

    The cut depends on the items alone, so that the same shard always has the same batches.
    """
    start, total = 0, 0
    for end, item in enumerate(items):
        size = pixels(item)
        if end > start and (end - start == config.batch_objects or total + size > config.batch_pixels):
            yield items[start:end]
            start, total = end, 0
        total += size
    if items:
        yield items[start:]
