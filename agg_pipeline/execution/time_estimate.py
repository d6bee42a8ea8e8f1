"""How long a run would take: some of its images go through all its stages on its own workers; the results are dropped.

The workers are those of the run, as many, with the same threads and on the same cores, so that what they cost each
other is measured. Work is counted in masks, because images differ more than masks do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agg_pipeline.execution.chain import Chain, CpuStage, ModelStage
from agg_pipeline.execution.job import Job
from agg_pipeline.execution.local_gpus import worker_count
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.run_workers import model_workers
from agg_pipeline.execution.scheduling import ask, run_shards
from agg_pipeline.execution.shard_files import Stamp
from agg_pipeline.execution.shard_task import ShardTask, images_of
from agg_pipeline.execution.waiting import ready
from agg_pipeline.execution.workers import SHARDS_IN_FLIGHT, Workers
from agg_pipeline.storage.store import Store
from schemas.canonical import Json

COUNTED = 64
"""Images whose masks are counted, spread over the run."""
SECONDS = 8.0
"""Time of the measurement that is aimed at; a worker does one image at least."""
NOWHERE = "memory://dry-run"


@dataclass(frozen=True)
class MaskCount:
    """Masks that a run would do.

    Attributes:
        masks: their number.
        exact: False if they were counted in some of the images alone.
    """

    masks: int
    exact: bool


@dataclass(frozen=True)
class TimeEstimate:
    """How long a run would take.

    Attributes:
        workers: number of workers; 0 if the cluster has none, and nothing was measured.
        start: seconds until the workers have loaded the model and are warm.
        work: seconds of the work, with all workers.
        images: number of images that were measured.
    """

    workers: int
    start: float
    work: float
    images: int

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.start + self.work


def count_masks(chain: Chain, tasks: Sequence[ShardTask[Any]]) -> MaskCount:
    """Count the masks that the first model stage of some shards would get; in a large run in some images alone."""
    pairs = [(task, entry) for task in tasks for entry in task.entries]
    if len(pairs) <= COUNTED:
        return MaskCount(_masks_of(chain, tasks), exact=True)
    per_image = _masks_of(chain, [_alone(*pair) for pair in _spread(pairs, COUNTED)]) / COUNTED
    masks = (min(per_image * len(task.entries), float("inf") if task.limit is None else task.limit) for task in tasks)
    return MaskCount(round(sum(masks)), exact=False)


def estimate_time(job: Job, missing: Sequence[ShardTask[Any]], masks: int, options: RunOptions) -> TimeEstimate:
    """Measure how long the work on some images takes, and scale it to all masks.

    Args:
        job: what the run makes.
        missing: the shards that it would make, at least one.
        masks: number of their masks.
        options: who does the work.

    Raises:
        UserError: the workers cannot do the work.
    """
    images = images_of(missing)
    wanted = worker_count(job.predictor, images, options.workers, options.workers_per_gpu)
    began = time.perf_counter()
    with model_workers(job.model, job.predictor, options, wanted) as running:
        workers = running.count()
        if not workers:
            return TimeEstimate(0, time.perf_counter() - began, 0.0, 0)
        running = ready(running)
        start = time.perf_counter() - began
        chain = replace(job.chain, write=_write_nothing)
        pairs = [(task, entry) for task in missing for entry in task.entries]
        first = _sample(pairs, workers, min(len(missing), workers))
        first_seconds, busy = _measure(running, chain, first)
        # A worker whose image has more masks works longer than the others; in a run they would not wait for it.
        seconds, done = busy / workers, first
        more = min(round(len(pairs) / 2), round(workers * SECONDS / first_seconds))
        if more > workers:
            done = _sample(pairs, more, min(len(missing), SHARDS_IN_FLIGHT * workers))
            seconds, _ = _measure(running, chain, done)
        per_mask = seconds / max(1, _masks_of(chain, done))
        # The first images also pay for what later ones find ready.
        start += max(0.0, first_seconds - per_mask * _masks_of(chain, first))
        began = time.perf_counter()
        if job.last is not None:
            ask(running, job.last)
        start += time.perf_counter() - began
    return TimeEstimate(workers, start, per_mask * masks, images_of(done))


def _measure(workers: Workers, chain: Chain, tasks: Sequence[ShardTask[Any]]) -> tuple[float, float]:
    """Seconds that some shards take, and the busy seconds of all workers in them."""
    began, busy = time.perf_counter(), 0.0
    for done in run_shards(workers, chain, tasks, Store(NOWHERE), Stamp("", {})):
        busy += sum(done.times.stages.values())
    return time.perf_counter() - began, busy


def _write_nothing(_state: Any, _store: Store, _stamp: Stamp) -> Json:
    return {}


def _sample(pairs: Sequence[tuple[ShardTask[Any], Any]], images: int, shards: int) -> list[ShardTask[Any]]:
    """Images that are spread over the run, as so many shards of about the same size."""
    some = _spread(pairs, images)
    groups = [some[first::shards] for first in range(min(shards, len(some)))]
    return [
        replace(group[0][0], index=index, entries=tuple(entry for _, entry in group), limit=None)
        for index, group in enumerate(groups)
    ]


def _spread(items: Sequence[Any], number: int) -> list[Any]:
    """At most so many items, at equal distances."""
    number = min(number, len(items))
    return [items[place * len(items) // number] for place in range(number)]


def _alone(task: ShardTask[Any], entry: Any) -> ShardTask[Any]:
    return replace(task, entries=(entry,), limit=None)


def _masks_of(chain: Chain, tasks: Sequence[ShardTask[Any]]) -> int:
    return sum(_masks(chain, task) for task in tasks)


def _masks(chain: Chain, task: ShardTask[Any]) -> int:
    """Items of the batches of the first model stage."""
    state: Any = task
    for stage in chain.stages:
        if isinstance(stage, ModelStage):
            return sum(map(len, stage.cut(state)))
        assert isinstance(stage, CpuStage)
        state = stage.run(state)
    return 0
