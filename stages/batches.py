"""Cutting work into the batches that the model sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from schemas.config import BatchConfig

T = TypeVar("T")


def batches(items: Sequence[T], pixels: Callable[[T], int], config: BatchConfig) -> Iterator[Sequence[T]]:
    """Cut items into consecutive batches, each as long as the limits allow but at least one item.

    The cut depends on the items alone, so that the same shard always has the same batches.

    Args:
        items: what is cut, such as the objects of a shard.
        pixels: image pixels of an item.
        config: most items per batch, and most pixels summed over them.

    Yields:
        Slices of ``items``.
    """
    start, total = 0, 0
    for end, item in enumerate(items):
        size = pixels(item)
        full = end - start == config.objects or total + size > config.batch_pixels
        if end > start and full:
            yield items[start:end]
            start, total = end, 0
        total += size
    if items:
        yield items[start:]
