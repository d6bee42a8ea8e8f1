"""What workers run: the Dask tasks of a shard, each around a stage of its chain. They measure, and report progress."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any, Self

from agg_pipeline.execution.chain import Advance, Chain, CpuStage, ModelStage, TimedModel, Times, run_batches
from agg_pipeline.execution.cluster import model_of, send
from agg_pipeline.storage.store import Store
from schemas.canonical import Json

REPORT_SECONDS = 0.5

Timed = tuple[Any, Times]
"""A state of a shard and the busy seconds up to it, or results of a model stage and the seconds that they took."""


def run_cpu_stage(stage: CpuStage, before: Timed) -> Timed:
    """The state after a stage."""
    state, times = before
    with _Task() as task:
        state = stage.run(state)
    return state, times.plus(Times({stage.name: task.seconds}))


def run_part(run: str, stage: ModelStage, part: int, parts: int, report: Report, before: Timed) -> Timed:
    """The results of one of several parts of a model stage; see ``run_batches``."""
    state, _ = before
    model = model_of(run)
    forwards = model.forward_seconds
    with _Task() as task:
        results = run_batches(stage, state, model, part, parts, report.update)
        report.send()
    return results, Times({stage.name: task.seconds}, model.forward_seconds - forwards)


def join_parts(stage: ModelStage, before: Timed, *parts: Timed) -> Timed:
    """The state after a model stage, from the state before it and the results of all parts in order."""
    state, times = before
    for _, seconds in parts:
        times = times.plus(seconds)
    return stage.fill(state, [result for results, _ in parts for result in results]), times


def write(chain: Chain, store: Store, config_hash: str, last: Timed) -> tuple[Json, Times]:
    """Write a shard; its sidecar and its times."""
    state, times = last
    with _Task() as task:
        sidecar = chain.write(state, store, config_hash)
    return sidecar, times.plus(Times({"write": task.seconds}))


def forget(last: Timed) -> None:
    """The end of a chain that leaves no trace."""
    del last


def ask(run: str, question: Callable[[TimedModel], Any]) -> Any:
    """What a function of the worker's model returns."""
    return question(model_of(run))


class Report:
    """Reports how far a part of a model stage is, at most every half second and when it is asked to.

    A report is a tuple: shard, part, share of the shard that the part has done, and the number of batches.

    Args:
        run: name of the run.
        shard: index of the shard.
        part: unique name of stage and part within the shard.
        weight: share of the shard's work in the whole stage.
    """

    def __init__(self, run: str, shard: int, part: str, weight: float) -> None:
        self._run, self._shard, self._part, self._weight = run, shard, part, weight
        self._advance = Advance(0.0, 0)
        self._next = 0.0

    def update(self, advance: Advance) -> None:
        """Take in how far the part is, and report it if it is time."""
        self._advance = advance
        if time.monotonic() >= self._next:
            self.send()

    def send(self) -> None:
        """Report now."""
        self._next = time.monotonic() + REPORT_SECONDS
        share = self._weight * self._advance.share
        send(self._run, (self._shard, self._part, share, self._advance.batches))


class _Task:
    """A task's bookkeeping: its seconds; and at its end, free memory goes back to the system."""

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
