"""What workers run: the Dask tasks of a shard, which ``scheduling`` submits.

Each runs a stage of the shard's chain and measures its time; those with the model also report how far they are. A task
takes what the task before it returned (``Timed``), so that the seconds of a shard travel with its state.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pyarrow as pa

from agg_pipeline.execution.chain import Advance, Chain, CpuStage, ModelStage, TimedModel, Times, run_batches
from agg_pipeline.execution.lost_gpu import LostGpuError, gpu_failed
from agg_pipeline.execution.shard_files import Stamp
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.execution.worker_plugin import model_of, send
from agg_pipeline.storage.attempts import cause
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.errors import UserError, out_of_memory
from schemas.words import excerpt

REPORT_SECONDS = 0.5
"""Time between two reports of a task."""

SMALLER = "smaller --batch-objects or --images-per-shard"
"""What takes less memory."""
Timed = tuple[Any, Times]
"""What a task returns: the state of the shard with the busy seconds of all tasks so far; of a part of a model stage,
its results with the busy seconds of this part alone."""


def run_cpu_stage(stage: CpuStage, before: Timed) -> Timed:
    """Run a stage without the model, and return the state after it."""
    state, times = before
    with _told(f"stage {stage.name}", state), _Measured() as task:
        state = stage.run(state)
    return state, times.plus(Times({stage.name: task.seconds}))


def run_part(run: str, stage: ModelStage, part: int, parts: int, report: PartReport, before: Timed) -> Timed:
    """Run one of several parts of a model stage.

    Args:
        run: name of the run, by which the worker finds the model.
        stage: the stage.
        part: number of the part, from 0.
        parts: number of parts.
        report: called with the share of the part that is done.
        before: state before the stage.

    Returns:
        The results of the part's batches, in order.
    """
    state, _ = before
    model = model_of(run)
    forwards, splits = model.forward_seconds, model.splits
    with _told(f"stage {stage.name}", state), _Measured() as task:
        results = run_batches(stage, state, model, part, parts, report.update)
        report.send()
    return results, Times({stage.name: task.seconds}, model.forward_seconds - forwards, model.splits - splits)


def join_parts(stage: ModelStage, before: Timed, *parts: Timed) -> Timed:
    """Put the results of a model stage into the state.

    Args:
        stage: the stage.
        before: state before the stage.
        parts: results of all its parts, in order.

    Returns:
        The state after the stage.
    """
    state, times = before
    for _, seconds in parts:
        times = times.plus(seconds)
    with _told(f"stage {stage.name}", state):
        return stage.fill(state, [result for results, _ in parts for result in results]), times


def write(chain: Chain, store: Store, stamp: Stamp, last: Timed) -> tuple[Json, Times]:
    """Write a shard.

    Args:
        chain: knows how to write it.
        store: where it goes.
        stamp: what its files say of the run.
        last: state after the last stage.

    Returns:
        Its sidecar, and the busy seconds of all its tasks.
    """
    state, times = last
    with _told("writing", state), _Measured() as task:
        sidecar = chain.write(state, store, stamp)
    return sidecar, times.plus(Times({"write": task.seconds}))


def forget(last: Timed) -> None:
    """End a trial of a shard: without a result, its last state is not sent to the process that started the run."""
    del last


def ask(run: str, question: Callable[[TimedModel], Any]) -> Any:
    """Call a function with the worker's model, and return what it returns."""
    return question(model_of(run))


@contextmanager
def _told(what: str, state: Any) -> Iterator[None]:
    """Let what a library raises end the run with one line that names the shard.

    Args:
        what: what is done.
        state: state of the shard.

    Raises:
        UserError: memory is short, or a library has failed.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        task = getattr(state, "task", state)
        where = f"{what} of shard {task.index}" if isinstance(task, ShardTask) else what
        if out_of_memory(error):
            raise UserError(f"there is not enough memory for {where}; use fewer --workers or {SMALLER}") from error
        if gpu_failed(error):
            raise LostGpuError(f"the GPU failed at {where} ({excerpt(str(error).splitlines()[0])})") from error
        # Others are mistakes in this program, which their traceback shows.
        if isinstance(error, OSError | RuntimeError | pa.ArrowException):
            raise UserError(f"{where} failed: {cause(error)}") from error
        raise


class PartReport:
    """Reports how far a part of a model stage is, at most every half second and when ``send`` is called.

    A report is a tuple: shard, part, share of the shard that the part has done, and number of finished batches.

    Args:
        run: name of the run.
        shard: number of the shard.
        part: name of stage and part, unique within the shard.
        weight: share of the shard's work that the whole stage is.
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


class _Measured:
    """Measures the seconds of a task. At its end, freed memory goes back to the system."""

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
