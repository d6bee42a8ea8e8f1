"""Waiting for tasks on a cluster, and noticing when nothing advances any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial
from typing import Any

from distributed import Future, wait
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from agg_pipeline.execution.interrupts import check_interrupt
from agg_pipeline.execution.lost_gpu import LostGpuError
from agg_pipeline.execution.worker_plugin import SEE_LOG, machine_of
from agg_pipeline.execution.workers import ANSWER_SECONDS, Workers, WorkerState, lost
from schemas.errors import StoppedError

LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.5
"""Time between two checks for interrupts and reports while tasks run."""
HEARTBEAT_SECONDS = 5.0
"""Time between two looks at the workers."""
NO_WORKER_SECONDS = 120.0
"""A run ends if no worker gives a sign of life for this time."""
NONE_LEFT = "no other worker is left; see what nvidia-smi says of the GPUs, or choose others by CUDA_VISIBLE_DEVICES"
"""What a run says, and advises, when its last GPU has failed."""
PAUSED_SECONDS = 60.0
"""A run ends if a worker is paused, and no other one runs a task or reports an advance for this time."""


def first_done(workers: Workers, futures: Sequence[Future], news: Callable[[], bool] = lambda: False) -> set[Future]:
    """Wait until some futures are done.

    Args:
        workers: the cluster.
        futures: at least one.
        news: called about twice a second; whether a task has reported that it advances.

    Raises:
        UserError: no worker of the cluster has given a sign of life for a long time, nothing advances because a worker
            is paused, or the scheduler is gone.
    """
    alive = advanced = checked = time.monotonic()
    known: Mapping[str, WorkerState] = {}
    worked: set[str] = set()
    while True:
        check_interrupt()
        if news():
            alive = advanced = time.monotonic()
        try:
            return set(wait(futures, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            now = time.monotonic()
            if now - checked < HEARTBEAT_SECONDS:
                continue
        except (CancelledError, CommClosedError) as error:
            raise lost(error) from error
        found, checked = workers.states(), now
        # A worker that cannot start (without this package, say) joins the cluster, and is never heard of again.
        heard = {address for address, state in found.items() if known.get(address, state).sign != state.sign}
        worked |= heard
        if heard:
            alive = now
        elif now - alive > NO_WORKER_SECONDS:
            silent = _silent(found, found if workers.machine else worked)
            raise StoppedError(f"no worker of the Dask cluster has worked for {NO_WORKER_SECONDS:.0f} s ({silent})")
        if any(state.tasks and not state.paused for state in found.values()):
            # Not every task reports how far it is.
            advanced = now
        if now - advanced > PAUSED_SECONDS:
            _check_paused(found)
        known = found


def _silent(workers: Collection[str], worked: Collection[str]) -> str:
    """Why nothing is heard of some workers, as far as that is known.

    Args:
        workers: addresses of the workers that are there.
        worked: those that may have worked before.
    """
    if not workers:
        return "it has none"
    address = next(iter(workers))
    if address in worked:
        return f"{address} gives no sign of life; does it hang?"
    return f"{address} joined it and could not start: {SEE_LOG}"


def _check_paused(workers: Mapping[str, WorkerState]) -> None:
    """UserError if a worker starts no task because its memory is nearly full."""
    for address, state in workers.items():
        if state.paused:
            raise StoppedError(
                f"worker {address} is paused, and nothing has advanced for {PAUSED_SECONDS:.0f} s: it uses "
                f"{state.memory >> 20} MiB of its memory limit of {state.limit >> 20} MiB; give it more memory "
                f"(--memory-limit of dask worker), or use smaller --batch-objects or "
                "--images-per-shard"
            )


def result_of(workers: Workers, future: Future, news: Callable[[], bool] = lambda: False) -> Any:
    """Wait for a future, and return its result; raises what its task raised. ``news`` is as in ``first_done``."""
    first_done(workers, [future], news)
    return finished(workers, future)


def result_of_any(workers: Workers, submit: Callable[[], Future], news: Callable[[], bool] = lambda: False) -> Any:
    """The result of a task that another worker does if the GPU of its worker fails.

    Args:
        workers: the cluster.
        submit: submits the task; called again for each worker that is lost.
        news: as in ``first_done``.

    Raises:
        LostGpuError: no worker is left.
    """
    while True:
        try:
            return result_of(workers, submit(), news)
        except LostGpuError as error:
            lose(workers, error)


def lose(workers: Workers, error: LostGpuError) -> None:
    """Give a worker whose GPU has failed no task any more, and wait until another worker can take its tasks.

    Raises:
        LostGpuError: no other worker is left. One that has died may be replaced; it is waited for.
    """
    known = error.address in workers.lost
    workers.lost.add(error.address)
    end = time.monotonic() + NO_WORKER_SECONDS
    while True:
        check_interrupt()
        found = workers.states()
        others = [state for address, state in found.items() if address not in workers.lost]
        if any(not state.paused for state in others):
            break
        if time.monotonic() > end or (not others and len(found) >= workers.began_with):
            raise LostGpuError(f"{error}; {NONE_LEFT}", error.address)
        time.sleep(POLL_SECONDS)
    if not known:
        LOG.warning("%s; the other workers make its shards", error)


def finished(workers: Workers, future: Future) -> Any:
    """The result of a future that is done; raises what its task raised, KilledWorker if its workers died.

    Args:
        workers: the cluster, which is asked for the result.
        future: is done.

    Raises:
        UserError: the scheduler is gone, or does not answer.
    """
    while True:
        try:
            return future.result(timeout=ANSWER_SECONDS)
        except TimeoutError:
            if future.status == "error":
                raise
            # The worker that has the result may hang until the scheduler gives it up. The scheduler itself may not.
            workers.states()
        except (CancelledError, CommClosedError) as error:
            raise lost(error) from error


def say_if_none(workers: Workers, say: Callable[[str], None]) -> None:
    """Say that the first worker is waited for, if there is none yet."""
    if not workers.count():
        say("the Dask cluster has no worker yet; waiting for one")


def ready(workers: Workers) -> Workers:
    """Wait for the first worker that has opened its model; all others must be of its kind.

    Raises:
        UserError: it runs another program, cannot open the model, or dies several times while it opens it.
    """
    try:
        machine = result_of_any(workers, partial(workers.submit, "ready", "model", machine_of, workers.run))
    except KilledWorker:
        raise StoppedError("a worker died several times while it opened the model; is there enough memory?") from None
    LOG.info("the workers have: %s", ", ".join(f"{name} {value}" for name, value in machine.items()))
    return replace(workers, machine=machine, began_with=len(workers.addresses()))
