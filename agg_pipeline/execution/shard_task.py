"""The task of a shard: its images, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from schemas.errors import ImageError, UserError, out_of_memory
from schemas.records import ImageEntry, ImageRecord, Pixels, Reject
from schemas.words import printable

C = TypeVar("C")


@dataclass(frozen=True, eq=False)
class ShardTask(Generic[C]):
    """Everything that a worker needs to make a shard.

    Attributes:
        index: number of the shard in the plan.
        dataset: name of the data set.
        entries: images of the shard.
        read: reads an image and its masks.
        config: configuration of the run.
        excluded: ids of images that killed their worker; they become rejects unread.
        chosen: ids of the masks to use; None for all.
        limit: use only the first so many masks; None for all.
        read_pixels: reads an image by its path, without its masks: the pixels, and the sha256 that its record has; None
            to read it with its masks.
    """

    index: int
    dataset: str
    entries: tuple[ImageEntry, ...]
    read: Callable[[ImageEntry], ImageRecord]
    config: C
    excluded: frozenset[str] = frozenset()
    chosen: frozenset[str] | None = None
    limit: int | None = None
    read_pixels: Callable[[str], tuple[Pixels, str]] | None = None


class ShardState(Protocol):
    """What every state of a shard has once its images have been read."""

    @property
    def task(self) -> ShardTask[Any]:
        """What the shard is made from."""

    @property
    def pixels(self) -> Mapping[str, Pixels]:
        """Pixels of the images that the shard keeps, by image id; those of others are read again."""


def images_of(tasks: Iterable[ShardTask[Any]]) -> int:
    """Number of images of some shards."""
    return sum(len(task.entries) for task in tasks)


def read_entry(task: ShardTask[Any], entry: ImageEntry) -> ImageRecord | Reject:
    """The record of one of a task's images, or why it cannot be used.

    Raises:
        StorageError: it cannot be read now.
        UserError: there is not enough memory to read it, which says nothing about the image.
    """
    if entry.image_id in task.excluded:
        return Reject(entry.image_id, None, None, "load", "killed_worker")
    try:
        return task.read(entry)
    except ImageError as error:
        return Reject(entry.image_id, None, None, "load", error.reason, error.detail)
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            f"there is not enough memory to read image {printable(entry.image_id)}; use fewer --workers, or leave the "
            "image out with --exclude-list"
        ) from error
