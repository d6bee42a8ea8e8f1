"""Making shards on a cluster: which worker makes what, how far it is, and what happens when a worker dies.

A shard is a chain of Dask tasks. Usually all of them run in the worker that has loaded the images, because Dask runs a
task where its input is, and arrays are passed on by reference. Each worker has two shards at a time. With fewer shards
than workers, several workers share a shard: each takes a part of the batches of every model stage, and the state of the
shard is copied between them.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

from distributed import Future, wait
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from agg_pipeline.execution import worker_tasks
from agg_pipeline.execution.chain import Chain, CpuStage, Done, ModelStage, ShardTask, TimedModel, Times
from agg_pipeline.execution.cluster import SAME_PACKAGE, SHARDS_IN_FLIGHT, Workers
from agg_pipeline.execution.interrupts import check_interrupt
from agg_pipeline.storage.store import Store
from schemas.errors import UserError

POLL_SECONDS = 0.5
NO_WORKER_SECONDS = 120.0
HEARTBEAT_SECONDS = 5.0
"""Time between two looks at the heartbeats of the workers."""


def run_shards(
    workers: Workers,
    chain: Chain,
    tasks: Sequence[ShardTask[Any]],
    store: Store,
    config_hash: str,
    advanced: Callable[[float, int], None] = lambda _images, _batches: None,
) -> Iterator[Done]:
    """Make shards and yield each as it is finished, in any order.

    A shard whose worker died several times is left for the end. Its images are then tried one by one, and the shard is
    made without those that kill their worker. An exception of a stage ends the run.

    Args:
        workers: the cluster.
        chain: the stages.
        tasks: the shards.
        store: where the shards go.
        config_hash: written into every sidecar.
        advanced: see ``Progress``.
    """
    places = assigned([len(task.entries) for task in tasks], workers.addresses())
    waiting = deque(zip(tasks, places, strict=True))
    in_flight: dict[Future, ShardTask[Any]] = {}
    suspects: list[ShardTask[Any]] = []
    reported = _Reported(workers)
    finished = 0

    def tell() -> None:
        advanced(finished + reported.images(in_flight.values()), reported.batches)

    def check_reports() -> None:
        if reported.update():
            tell()

    while waiting or in_flight:
        while waiting and len(in_flight) < SHARDS_IN_FLIGHT * max(1, workers.count()):
            task, place = waiting.popleft()
            in_flight[_submit(workers, chain, task, store, config_hash, place)] = task
        for future in _first_done(workers, list(in_flight), check_reports):
            task = in_flight.pop(future)
            try:
                done = Done(task, *future.result())
            except KilledWorker:
                suspects.append(task)
                continue
            finished += len(task.entries)
            yield done
            tell()
    for task in suspects:
        yield _without_culprits(workers, chain, task, store, config_hash)
        finished += len(task.entries)
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
    """How far the shards are, as their tasks report it.

    Attributes:
        batches: number of batches that are finished.
    """

    def __init__(self, workers: Workers) -> None:
        self.batches = 0
        self._reports = workers.listen()
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
    """What a function of the model returns in some worker.

    Raises:
        UserError: the worker died several times.
    """
    try:
        return _result(workers, workers.submit("ask", "model", worker_tasks.ask, workers.run, question))
    except KilledWorker:
        raise UserError(
            "the last worker died several times; all shards are finished, the same command resumes"
        ) from None


def _submit(
    workers: Workers,
    chain: Chain,
    task: ShardTask[Any],
    store: Store,
    config_hash: str,
    places: Sequence[str] = (),
    write: bool = True,
) -> Future:
    """Submit a shard's chain; the future of its last task. places: see ``assigned``. write: False leaves no trace."""
    state: worker_tasks.Timed | Future = (task, Times())
    for stage in chain.stages:
        if isinstance(stage, CpuStage):
            state = workers.submit(stage.name, "cpu", worker_tasks.run_cpu_stage, stage, state)
        else:
            parts = _submit_parts(workers, stage, stage.weight / chain.weight, task.index, places, state)
            state = workers.submit(f"{stage.name}-join", "cpu", worker_tasks.join_parts, stage, state, *parts)
    if write:
        return workers.submit("write", "cpu", worker_tasks.write, chain, store, config_hash, state)
    return workers.submit("forget", "cpu", worker_tasks.forget, state)


def _submit_parts(
    workers: Workers, stage: ModelStage, weight: float, shard: int, places: Sequence[str], state: Any
) -> list[Future]:
    parts = []
    for part, place in enumerate(places or (None,)):
        name = f"{stage.name}-{part}"
        report = worker_tasks.Report(workers.run, shard, name, weight)
        arguments = workers.run, stage, part, len(places) or 1, report, state
        parts.append(workers.submit(name, "model", worker_tasks.run_part, *arguments, place=place))
    return parts


def _first_done(
    workers: Workers, futures: Sequence[Future], meanwhile: Callable[[], None] = lambda: None
) -> set[Future]:
    """Wait until some futures are done.

    Args:
        workers: the cluster.
        futures: at least one.
        meanwhile: called about twice a second.

    Raises:
        UserError: no worker of the cluster has given a sign of life for a long time, or the scheduler is gone.
    """
    alive = checked = time.monotonic()
    known: dict[str, float] = {}
    while True:
        check_interrupt()
        meanwhile()
        try:
            return set(wait(futures, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            now = time.monotonic()
            if now - checked < HEARTBEAT_SECONDS:
                continue
            # A worker that cannot start (without this package, say) joins the cluster, and is never heard of again.
            found, checked = workers.signs_of_life(), now
            if any(address in known and known[address] != sign for address, sign in found.items()):
                alive = now
            elif now - alive > NO_WORKER_SECONDS:
                raise UserError(
                    f"no worker of the Dask cluster has worked for {NO_WORKER_SECONDS:.0f} s ({_joined(found)}); "
                    "finished shards stay, the same command resumes"
                ) from None
            known = found
        except (CancelledError, CommClosedError):
            raise UserError("the Dask scheduler is gone; finished shards stay, the same command resumes") from None


def _joined(workers: Collection[str]) -> str:
    if not workers:
        return "it has none"
    return f"{next(iter(workers))} joined it and could not start: {SAME_PACKAGE}"


def _result(workers: Workers, future: Future) -> Any:
    _first_done(workers, [future])
    return future.result()


def _without_culprits(workers: Workers, chain: Chain, task: ShardTask[Any], store: Store, config_hash: str) -> Done:
    """Make a shard without the images that kill their worker."""
    culprits = set()
    for entry in task.entries:
        try:
            _result(workers, _submit(workers, chain, replace(task, entries=(entry,)), store, config_hash, write=False))
        except KilledWorker:
            culprits.add(entry.image_id)
    task = replace(task, excluded=frozenset(culprits))
    try:
        return Done(task, *_result(workers, _submit(workers, chain, task, store, config_hash)))
    except KilledWorker:
        raise UserError(
            f"the worker of shard {task.index} died several times, though each of its images passes alone; "
            "if memory is short, fewer images per shard or smaller batches need less"
        ) from None
