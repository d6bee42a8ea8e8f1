"""Making shards on a cluster: which worker makes what, how far it is, and what happens when a worker dies.

A shard is a chain of Dask tasks (``worker_tasks``), each with the result of the one before it as its input::

    load -> mask_engine-0 -> mask_engine-join -> postprocess -> ... -> write

Usually all of them run in the worker that has loaded the images, because Dask runs a task where its input is, and
arrays are passed on by reference. Each worker has two shards at a time. With fewer shards than workers, several workers
share a shard: each takes a part of the batches of every model stage (``mask_engine-0``, ``mask_engine-1``, ...), and
the state of the shard is copied between them.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from distributed import Future
from distributed.scheduler import KilledWorker

from agg_pipeline.execution import worker_tasks
from agg_pipeline.execution.chain import Chain, CpuStage, Done, ModelStage, TimedModel, Times
from agg_pipeline.execution.lost_gpu import LostGpuError
from agg_pipeline.execution.shard_files import Stamp
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.execution.waiting import finished, first_done, lose, result_of_any
from agg_pipeline.execution.workers import SHARDS_IN_FLIGHT, Workers
from agg_pipeline.storage.store import Store
from schemas.errors import StoppedError, UserError


def run_shards(
    workers: Workers,
    chain: Chain,
    tasks: Sequence[ShardTask[Any]],
    store: Store,
    stamp: Stamp,
    advanced: Callable[[float, int], None] = lambda _images, _batches: None,
) -> Iterator[Done]:
    """Make shards and yield each as it is finished, in any order.

    A shard whose worker's GPU has failed is made by another worker. A shard whose worker died several times is left for
    the end. Its images are then tried one by one, and the shard is made without those that kill their worker. An
    exception of a stage ends the run.

    Args:
        workers: the cluster.
        chain: the stages.
        tasks: the shards.
        store: where the shards go.
        stamp: what every file says of the run.
        advanced: see ``Progress``.

    Raises:
        UserError: the cluster is gone, or a shard kills its worker although none of its images does.
    """
    shards = _Shards(workers, chain, store, stamp)
    places = assigned([len(task.entries) for task in tasks], workers.usable())
    waiting = deque(zip(tasks, places, strict=True))
    in_flight: dict[Future, ShardTask[Any]] = {}
    suspects: list[ShardTask[Any]] = []
    reported = _Reported(workers)
    made = 0  # images of the finished shards

    def tell() -> None:
        advanced(made + reported.images(in_flight.values()), reported.batches)

    def news() -> bool:
        found = reported.update()
        if found:
            tell()
        return found

    while waiting or in_flight:
        while waiting and len(in_flight) < SHARDS_IN_FLIGHT * max(1, workers.count()):
            task, place = waiting.popleft()
            in_flight[shards.submit(task, place)] = task
        for future in first_done(workers, list(in_flight), news):
            task = in_flight.pop(future)
            try:
                done = Done(task, *finished(workers, future))
            except KilledWorker:
                suspects.append(task)
                continue
            except LostGpuError as error:
                lose(workers, error)
                waiting.append((task, ()))
                continue
            made += len(task.entries)
            yield done
            tell()
    for task in suspects:
        yield _without_culprits(shards, task, news)
        made += len(task.entries)
        tell()


def assigned(shards: Sequence[int], workers: Sequence[str]) -> list[tuple[str, ...]]:
    """The workers that share each shard, in proportion to its images; empty if a shard is left to any one worker.

    Args:
        shards: number of images of each shard.
        workers: addresses of the workers.
    """
    all_images = sum(shards)
    counts = [max(1, min(images, round(len(workers) * images / all_images))) for images in shards]
    if max(counts, default=1) == 1:
        return [()] * len(shards)
    turns = itertools.cycle(workers)
    return [tuple(itertools.islice(turns, count)) for count in counts]


class _Reported:
    """How far the shards are, as their tasks report it (``worker_tasks.PartReport``).

    Attributes:
        batches: number of batches that are finished.
    """

    def __init__(self, workers: Workers) -> None:
        self.batches = 0
        self._reports = workers.listen()
        # By shard and part: share of the shard that the part has done, and its finished batches.
        self._parts: dict[int, dict[str, tuple[float, int]]] = {}

    def update(self) -> bool:
        """Take in the reports that have come; False if there are none."""
        found = not self._reports.empty()
        while not self._reports.empty():
            shard, part, share, batches = self._reports.get()
            parts = self._parts.setdefault(shard, {})
            # A part that is redone after its worker died starts from 0 again.
            self.batches += max(0, batches - parts.get(part, (0.0, 0))[1])
            parts[part] = share, batches
        return found

    def images(self, tasks: Collection[ShardTask[Any]]) -> float:
        """How many images of some shards are done."""
        return sum(len(task.entries) * self._share(task.index) for task in tasks)

    def _share(self, shard: int) -> float:
        return sum(share for share, _ in self._parts.get(shard, {}).values())


def ask(workers: Workers, question: Callable[[TimedModel], Any]) -> Any:
    """Call a function with the model of some worker, and return what it returns.

    Args:
        workers: the cluster.
        question: the function; it is called in the worker.

    Raises:
        UserError: the worker died several times.
    """
    try:
        submit = partial(workers.submit, "ask", "model", worker_tasks.ask, workers.run, question)
        return result_of_any(workers, submit)
    except KilledWorker:
        raise StoppedError("a worker died several times when it was asked about its model") from None


@dataclass(frozen=True)
class _Shards:
    """Submits shards to a cluster.

    Attributes:
        workers: the cluster.
        chain: the stages of every shard.
        store: where the shards go.
        stamp: what every file says of the run.
    """

    workers: Workers
    chain: Chain
    store: Store
    stamp: Stamp

    def submit(self, task: ShardTask[Any], places: Sequence[str] = ()) -> Future:
        """Make a shard and write it.

        Args:
            task: the shard.
            places: addresses of the workers that share it; empty if it is left to any one worker.

        Returns:
            The future of its sidecar and times.
        """
        last = self._stages(task, places)
        return self.workers.submit("write", "cpu", worker_tasks.write, self.chain, self.store, self.stamp, last)

    def submit_trial(self, task: ShardTask[Any]) -> Future:
        """Make a shard without writing it, to see whether a worker survives it."""
        return self.workers.submit("forget", "cpu", worker_tasks.forget, self._stages(task, ()))

    def _stages(self, task: ShardTask[Any], places: Sequence[str]) -> Future | worker_tasks.Timed:
        """The state of a shard after its last stage."""
        state: Future | worker_tasks.Timed = (task, Times())
        for stage in self.chain.stages:
            if isinstance(stage, CpuStage):
                state = self.workers.submit(stage.name, "cpu", worker_tasks.run_cpu_stage, stage, state)
            else:
                parts = self._parts(stage, task.index, places, state)
                state = self.workers.submit(f"{stage.name}-join", "cpu", worker_tasks.join_parts, stage, state, *parts)
        return state

    def _parts(
        self, stage: ModelStage, shard: int, places: Sequence[str], state: Future | worker_tasks.Timed
    ) -> list[Future]:
        """The results of a model stage: one part per place, or one part for any worker."""
        weight = stage.weight / self.chain.weight
        parts = []
        for part, place in enumerate(places or (None,)):
            name = f"{stage.name}-{part}"
            report = worker_tasks.PartReport(self.workers.run, shard, name, weight)
            arguments = (self.workers.run, stage, part, len(places) or 1, report, state)
            parts.append(self.workers.submit(name, "model", worker_tasks.run_part, *arguments, place=place))
        return parts


def _without_culprits(shards: _Shards, task: ShardTask[Any], news: Callable[[], bool]) -> Done:
    """Make a shard without the images that kill their worker; these are found by trying each image alone."""
    workers = shards.workers
    culprits = set()
    for entry in task.entries:
        try:
            result_of_any(workers, partial(shards.submit_trial, replace(task, entries=(entry,))), news)
        except KilledWorker:
            culprits.add(entry.image_id)
    task = replace(task, excluded=frozenset(culprits))
    try:
        return Done(task, *result_of_any(workers, partial(shards.submit, task), news))
    except KilledWorker:
        raise UserError(
            f"the worker of shard {task.index} died several times, though each of its images passes alone; "
            f"if memory is short, try {worker_tasks.SMALLER}"
        ) from None
