"""What a run would do: its shards and images, those that are finished, and those that are left. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agg_pipeline.execution.chain import ShardTask
from agg_pipeline.execution.plan import refuse_other_plan
from agg_pipeline.execution.resuming import old_plan
from agg_pipeline.execution.shard_files import Layout, sidecars
from agg_pipeline.storage.store import Store
from schemas.canonical import Json


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


def outlook(
    store: Store,
    layout: Layout,
    plan: Json,
    tasks: Sequence[ShardTask[Any]],
    is_finished: Callable[[ShardTask[Any], Json], bool],
    overwrite: bool,
) -> Outlook:
    """Count what a run would do.

    Args:
        store: folder of the run's shards; it may be missing.
        layout: layout of that folder.
        plan: plan of the run.
        tasks: the run's shards.
        is_finished: whether a shard needs no more work, by its sidecar.
        overwrite: whether the run would delete what is there.

    Raises:
        UserError: the run would be refused, because the folder holds another run or somebody's files.
    """
    old = old_plan(store, layout)
    found = {} if overwrite else sidecars(store, layout)
    if found:
        refuse_other_plan(store.url, old, plan)
    finished = [task for task in tasks if task.index in found and is_finished(task, found[task.index])]
    return Outlook(len(tasks), _images(tasks), len(finished), _images(finished))


def _images(tasks: Sequence[ShardTask[Any]]) -> int:
    return sum(len(task.entries) for task in tasks)
