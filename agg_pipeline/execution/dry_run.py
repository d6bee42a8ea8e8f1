"""What a run would do: its shards and images, those that are finished, and those that are left. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agg_pipeline.execution.job import Job, kept_shards
from agg_pipeline.execution.resuming import earlier
from agg_pipeline.execution.shard_task import ShardTask, images_of
from agg_pipeline.storage.store import Store


@dataclass(frozen=True)
class Outlook:
    """Counts of a run.

    Attributes:
        shards: number of shards.
        images: number of images in them.
        finished_shards: shards that an earlier run has finished.
        finished_images: images in those.
    """

    shards: int
    images: int
    finished_shards: int
    finished_images: int

    @property
    def missing_shards(self) -> int:
        """Shards that the run would make."""
        return self.shards - self.finished_shards

    @property
    def missing_images(self) -> int:
        """Images in them."""
        return self.images - self.finished_images


def missing_tasks(store: Store, job: Job, overwrite: bool, verify: bool = False) -> list[ShardTask[Any]]:
    """The shards that a run would make: those that are missing, damaged, or have images that can be read only now.

    Args:
        store: folder of the run's shards; it may be missing.
        job: what the run makes.
        overwrite: whether the run would delete what is there.
        verify: whether the run would compare the checksums of all files, not only their sizes.

    Raises:
        UserError: the run would be refused, because the folder holds another run, somebody's files, or files that
            would be read as tables.
    """
    found = earlier(store, job.layout, job.plan, overwrite, verify).found
    kept, _ = kept_shards(store, job, found)
    return [task for task in job.tasks if task.index not in kept]


def outlook(tasks: Sequence[ShardTask[Any]], missing: Sequence[ShardTask[Any]]) -> Outlook:
    """Count all shards of a run and those that it would make."""
    images = images_of(tasks)
    return Outlook(len(tasks), images, len(tasks) - len(missing), images - images_of(missing))
