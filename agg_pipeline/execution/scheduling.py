"""Running shards: the chain of tasks of each, at most two per worker at a time, and what to do when a worker dies."""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any, Self

from distributed import Future, wait
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from agg_pipeline.execution.chain import Chain, Done, ShardTask, Stage, TimedModel, Times
from agg_pipeline.execution.cluster import SHARDS_IN_FLIGHT, Workers, model_of
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UserError

POLL_SECONDS = 5.0
NO_WORKER_SECONDS = 120.0


def _run_stage(run: str, stage: Stage, before: tuple[Any, Times]) -> tuple[Any, Times]:
    state, times = before
    model = model_of(run) if stage.executor == "model" else None
    forwards = model.forward_seconds if model else 0.0
    with _Task() as done:
        state = stage.run(state, model) if model else stage.run(state)
    forwards = model.forward_seconds - forwards if model else 0.0
    return state, times.plus(Times({stage.name: done.seconds}, forwards))


def _write(chain: Chain, store: Store, config_hash: str, last: tuple[Any, Times]) -> tuple[Json, Times]:
    state, times = last
    with _Task() as done:
        sidecar = chain.write(state, store, config_hash)
    return sidecar, times.plus(Times({"write": done.seconds}))


class _Task:
    """A task's bookkeeping: its seconds, and at its end it gives the memory back that it left free."""

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        _trim_heap()
        self.seconds = time.perf_counter() - self._started


def _trim_heap() -> None:
    # Freed arrays leave holes between what lives on, and the heap would grow with the run. Only glibc has this.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _submit(
    workers: Workers, chain: Chain, task: ShardTask[Any], store: Store, config_hash: str, write: bool = True
) -> Future:
    """Submit a shard's chain; the future of its last task. Without ``write`` the chain leaves no trace."""
    state: tuple[Any, Times] | Future = (task, Times())
    for stage in chain.stages:
        state = workers.submit(stage.name, stage.executor, _run_stage, workers.run, stage, state)
    if write:
        return workers.submit("write", "cpu", _write, chain, store, config_hash, state)
    return workers.submit("forget", "cpu", _forget, state)


def _forget(state: tuple[Any, Times]) -> None:
    del state


def _ask(run: str, question: Callable[[TimedModel], Any]) -> Any:
    return question(model_of(run))


def ask(workers: Workers, question: Callable[[TimedModel], Any]) -> Any:
    """What a function of the model says in some worker; its exception is raised here, UserError if the worker died."""
    try:
        return _result(workers, workers.submit("ask", "model", _ask, workers.run, question))
    except KilledWorker:
        raise UserError(
            "the last worker died again and again; all shards are finished, the same command goes on"
        ) from None


def estimate_seconds(workers: Workers, measure: Callable[[TimedModel], float]) -> float | None:
    """Seconds that one worker takes per image, as ``measure`` says; None if it fails, which the shards then tell."""
    future = workers.submit("estimate", "model", _ask, workers.run, measure)
    _first_done(workers, [future])
    seconds: float | None = None if future.exception() else future.result()
    return seconds


def run_shards(
    workers: Workers, chain: Chain, tasks: Sequence[ShardTask[Any]], store: Store, config_hash: str
) -> Iterator[Done]:
    """Make shards and yield each as it is finished, in any order, at most two per worker at a time.

    A shard whose worker died again and again is looked into at the end: its images are tried one by one, and the
    shard is made without those that kill their worker. An exception of a stage ends the run.
    """
    waiting = deque(tasks)
    flying: dict[Future, ShardTask[Any]] = {}
    suspects: list[ShardTask[Any]] = []
    while waiting or flying:
        while waiting and len(flying) < SHARDS_IN_FLIGHT * max(1, workers.count()):
            task = waiting.popleft()
            flying[_submit(workers, chain, task, store, config_hash)] = task
        for future in _first_done(workers, list(flying)):
            task = flying.pop(future)
            try:
                yield Done(task, *future.result())
            except KilledWorker:
                suspects.append(task)
    for task in suspects:
        yield _without_culprits(workers, chain, task, store, config_hash)


def _first_done(workers: Workers, futures: list[Future]) -> set[Future]:
    """Wait until some are done; UserError if the cluster has no worker for a long time."""
    last_seen = time.monotonic()
    while True:
        try:
            return set(wait(futures, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            if workers.count():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > NO_WORKER_SECONDS:
                raise UserError(
                    f"the Dask cluster has had no worker for {NO_WORKER_SECONDS:.0f} s; what is finished stays"
                ) from None
        except (CancelledError, CommClosedError):
            raise UserError("the Dask scheduler is gone; what is finished stays, the same command goes on") from None


def _result(workers: Workers, future: Future) -> Any:
    _first_done(workers, [future])
    return future.result()


def _without_culprits(workers: Workers, chain: Chain, task: ShardTask[Any], store: Store, config_hash: str) -> Done:
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
            f"the worker of shard {task.index} dies again and again, though each of its images passes alone; "
            "is there enough memory? Fewer images per shard or smaller batches need less"
        ) from None
