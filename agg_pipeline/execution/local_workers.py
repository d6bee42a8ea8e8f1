"""Worker processes on this machine: starting them, replacing those that die while they start, and ending them."""

from __future__ import annotations

import asyncio
import errno
import logging
import multiprocessing
import resource
import time
from collections.abc import Collection, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from distributed import Client, LocalCluster, Status
from distributed.utils import get_mp_context

from agg_pipeline.datasets.all_cores import interrupts_blocked
from agg_pipeline.execution.interrupts import check_interrupt
from agg_pipeline.execution.local_gpus import least_used
from agg_pipeline.execution.workers import SHARDS_IN_FLIGHT, addresses
from agg_pipeline.models.backend import VISIBLE
from agg_pipeline.storage.attempts import cause
from agg_pipeline.storage.temporary_folder import check_temporary_folder
from schemas.errors import UserError
from schemas.words import printable

LOG = logging.getLogger(__name__)
SILENT = logging.CRITICAL + 1
"""Level that no message has. A scheduler calls it critical that a client has left before its last message."""
START_SECONDS = 60.0
"""Time that local workers have to start. The run then begins with those that are there."""
FAILURES = 3
"""So many starts in a row that fail for a reason that is known end the run, if there is no worker."""
LOOK_SECONDS = 0.1
"""Time between two looks at workers that start."""
FEWEST_OPEN_FILES = 64
"""Files that the process of a scheduler with two workers must be allowed to have open."""
MORE_OPEN_FILES = "allow more with ulimit -n 1024"
ENVIRONMENT = "env"
"""Option of a worker: its environment variables."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a folder without room for the files of a worker."""


def local_cluster(preloaded: str) -> LocalCluster:
    """A scheduler in this process, without workers.

    Args:
        preloaded: module that the first process imports, of which workers are copies.

    Raises:
        UserError: the scheduler cannot start, or workers cannot meet in the folder of temporary files.
    """
    check_temporary_folder()
    _check_open_files()
    # Otherwise, distributed chooses the modules that the first process imports.
    get_mp_context().set_forkserver_preload([preloaded])
    try:
        with interrupts_blocked():
            return LocalCluster(
                # Workers that are asked for here would be waited for without an end.
                n_workers=0,
                # Every thread holds one task.
                threads_per_worker=SHARDS_IN_FLIGHT,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
                silence_logs=SILENT,
            )
    except (OSError, RuntimeError) as error:
        raise UserError(f"the scheduler of the workers cannot start: {reason(error) or cause(error)}") from error


def _check_open_files() -> None:
    """UserError if this process may not open enough files: what fails then prints tracebacks of asyncio."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < FEWEST_OPEN_FILES:
        raise UserError(f"no worker process can start: a process may have only {allowed} files open; {MORE_OPEN_FILES}")


def start_workers(local: LocalCluster, client: Client, wanted: int, gpus: Sequence[str]) -> None:
    """Start local workers and wait for them. One that dies while it starts is replaced.

    Args:
        local: the scheduler.
        client: connection to it.
        wanted: number of workers.
        gpus: GPUs that they share, as ``CUDA_VISIBLE_DEVICES`` names them; none if they use none.

    Raises:
        UserError: no worker has started.
    """
    begun = time.monotonic()
    starting = _started(local, wanted, gpus)
    reasons: list[str] = []
    while time.monotonic() - begun < START_SECONDS:
        check_interrupt()
        found = len(addresses(client))
        if found >= wanted:
            return
        if starting.done():
            reasons += filter(None, [reason(starting.exception())])
            if not found and len(reasons) >= FAILURES:
                break
            starting = _started(local, wanted, gpus)
        time.sleep(LOOK_SECONDS)
    why = f" ({reasons[-1]})" if reasons else ""
    if found:
        LOG.warning("only %d of %d worker processes have started within %.0f s%s", found, wanted, START_SECONDS, why)
    elif reasons:
        raise UserError(f"no worker process can start: {reasons[-1]}")
    else:
        raise UserError(f"no worker process has started within {START_SECONDS:.0f} s; is there enough memory?")


def _started(local: LocalCluster, wanted: int, gpus: Sequence[str]) -> Future[None]:
    """Start the workers that are missing; done when none of them is starting any more."""
    return asyncio.run_coroutine_threadsafe(_start(local, wanted, gpus), local.loop.asyncio_loop)


async def _start(local: LocalCluster, wanted: int, gpus: Sequence[str]) -> None:
    """Start the workers that are missing or have failed; raises what keeps one of them from starting."""
    failed = [name for name, worker in local.workers.items() if worker.status == Status.failed]
    there = set(local.worker_spec) - set(failed)
    # The failed ones are forgotten last: a new worker could get the name of one of them, and would count as it.
    for _ in range(wanted - len(there)):
        ((name, spec),) = local.new_worker_spec().items()
        if gpus:
            environment = {VISIBLE: least_used(gpus, _used(local, failed))}
            spec = {**spec, "options": {**spec["options"], ENVIRONMENT: environment}}
        local.worker_spec[name] = spec
    for name in failed:
        local.worker_spec.pop(name, None)
    await local


def _used(local: LocalCluster, failed: Collection[Any]) -> list[str]:
    """The GPU of each worker that has not failed."""
    return [spec["options"][ENVIRONMENT][VISIBLE] for name, spec in local.worker_spec.items() if name not in failed]


def reason(error: BaseException | None) -> str:
    """What the system said when a process could not start, with the file; "" if it said nothing."""
    while error is not None:
        if isinstance(error, OSError):
            where = f": {error.filename}" if error.filename else ""
            full = "; make room there, or set TMPDIR to another folder" if error.errno in FULL else ""
            many = f"; {MORE_OPEN_FILES}" if error.errno == errno.EMFILE else ""
            return printable(f"{cause(error)}{where}{full}{many}")
        error = error.__cause__ or error.__context__
    return ""


def close_local(local: LocalCluster) -> None:
    """End the scheduler and the workers."""
    try:
        local.close(timeout=5)
    except (Exception, CancelledError):
        # While a worker hangs in its start, the cluster closes none, and replaces those that are killed here.
        for nanny in list(local._created):
            nanny.close_gracefully()
    # A worker that hangs takes no other signal, and the interpreter would wait for it at its end.
    for process in multiprocessing.active_children():
        if process.name.startswith("Dask Worker"):
            process.kill()
