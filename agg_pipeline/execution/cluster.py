"""Opens and closes the Dask cluster of a run, whose workers hold its model.

In every worker process, two named executors take a run's tasks: ``model`` (one thread, which owns the network) and
``cpu`` (one thread), so that the model never waits for run lengths or Parquet.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import dask
from distributed import Client, LocalCluster, Security
from distributed.comm import connect
from distributed.protocol.pickle import dumps

from agg_pipeline.execution.interrupts import check_interrupt
from agg_pipeline.execution.local_workers import SILENT, close_local, local_cluster, reason, start_workers
from agg_pipeline.execution.worker_facts import program_facts
from agg_pipeline.execution.worker_logs import collect_logs
from agg_pipeline.execution.worker_plugin import SEE_LOG, ModelPlugin, OpenModel
from agg_pipeline.execution.workers import Workers, addresses, connected, lost
from agg_pipeline.storage.attempts import cause
from schemas.devices import CPU
from schemas.errors import StoppedError, UserError

LOG = logging.getLogger(__name__)
CONNECT_SECONDS = 10
"""Time in which a scheduler must take a connection, and again in which it must answer."""
LEAVE_SECONDS = 10
"""Time that workers of an existing cluster have to forget the run at its end."""
REGISTER_SECONDS = 60.0
"""Time that the workers have to take the plugin of a run."""
ATTEMPTS = 3
"""Attempts to reach all workers."""
NOISY = ("asyncio", "distributed", "distributed.client", "tornado", "tornado.application")
"""Loggers of Dask that are silenced."""


@contextmanager
def cluster(
    scheduler: str | None,
    workers: int,
    threads: int,
    open_model: OpenModel,
    device: str = CPU,
    gpus: Sequence[str] = (),
) -> Iterator[Workers]:
    """A cluster for a run. Its workers are opening their models when it is entered.

    Args:
        scheduler: address of an existing Dask cluster; None for local worker processes.
        workers: number of local worker processes.
        threads: number of torch threads of each model.
        open_model: makes the model in a worker.
        device: device on which the models run, as the workers name it.
        gpus: GPUs that local workers share, as ``CUDA_VISIBLE_DEVICES`` names them; each worker sees one of them.

    Raises:
        UserError: no scheduler answers at the address, no worker can start, or the workers have no such package.
    """
    run = f"agg-{uuid.uuid4().hex}"
    # What fails is one line of ours. Dask would print it too, with tracebacks, and asyncio what a replaced worker did.
    for name in NOISY:
        logging.getLogger(name).setLevel(SILENT)
    with dask.config.set(_settings(threads)), ExitStack() as stack:
        if scheduler is None:
            local = local_cluster(__name__)
            stack.callback(close_local, local)
            client = _connect_to_local(local)
            stack.callback(_leave, client, run)
            start_workers(local, client, workers, gpus)
        else:
            client = _connect(scheduler)
            stack.callback(_leave, client, run)
        with connected():
            collect_logs(client, run)
        _register(client, ModelPlugin(run, open_model, threads, device, program_facts()))
        yield Workers(client, run)


def _settings(threads: int) -> dict[str, Any]:
    """Dask's configuration for a run; most of it only matters to local workers."""
    return {
        # Stealing would move a chain away from its arrays.
        "distributed.scheduler.work-stealing": False,
        # The profiler keeps the call stacks of an hour, tens of megabytes.
        "distributed.worker.profile.enabled": False,
        # One process imports torch and other slow modules. Workers are copies of it and start quickly.
        "distributed.worker.multiprocessing-method": "forkserver",
        # A worker that dies several times in a row is still replaced.
        "distributed.deploy.lost-worker-timeout": "1000 days",
        "distributed.nanny.pre-spawn-environ": {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": 1,
            # Dask's own setting returns memory after every forward, which doubles the time of a forward. The largest
            # arrays get pages of their own, so that they leave no holes.
            "MALLOC_TRIM_THRESHOLD_": 1 << 30,
            "MALLOC_MMAP_THRESHOLD_": 1 << 22,
        },
    }


def _connect_to_local(local: LocalCluster) -> Client:
    try:
        return Client(local.scheduler_address, timeout=CONNECT_SECONDS)
    except Exception as error:
        raise UserError(f"the scheduler of the workers does not answer: {reason(error) or cause(error)}") from error


def _connect(scheduler: str) -> Client:
    other = f"what answers at {scheduler} is no Dask scheduler; check --scheduler"
    try:
        if asyncio.run(asyncio.wait_for(_kind(scheduler), 2 * CONNECT_SECONDS)) in ("Worker", "Nanny"):
            raise UserError(other)
        return Client(scheduler, timeout=CONNECT_SECONDS)
    except UserError:
        raise
    except MemoryError as error:
        # Dask takes the first bytes of another program for the length of a message.
        raise UserError(other) from error
    # An address may name any way to connect that Dask knows, each with errors of its own.
    except Exception as error:
        said = cause(error) if str(error) else f"what is there has said nothing for {2 * CONNECT_SECONDS} s"
        raise UserError(f"no Dask scheduler answers at {scheduler}; check --scheduler ({said})") from error


async def _kind(address: str) -> str:
    """What of Dask answers at an address: Scheduler, Worker or Nanny. ``Client`` would wait without an end."""
    arguments = Security().get_connection_args("client")
    greeted = await connect(address, timeout=CONNECT_SECONDS, **arguments)
    await greeted.write({"op": "identity"})
    kind = str((await greeted.read())["type"])
    await greeted.close()
    return kind


def _register(client: Client, plugin: ModelPlugin) -> None:
    """Send the plugin to every worker; UserError if a worker has no such package or another version of it, or hangs."""
    register = client.scheduler.register_worker_plugin
    for attempt in range(1, ATTEMPTS + 1):
        check_interrupt()
        try:
            client.sync(
                register, plugin=dumps(plugin), name=plugin.name, idempotent=False, callback_timeout=REGISTER_SECONDS
            )
        except (OSError, CancelledError) as error:
            # A worker has died in this instant, or hangs. The next attempt asks those that are left.
            there = addresses(client)
            if attempt < ATTEMPTS:
                time.sleep(1.0)
            elif isinstance(error, TimeoutError):
                raise StoppedError(
                    f"a worker of the Dask cluster has not answered for {ATTEMPTS * REGISTER_SECONDS:.0f} s; end the "
                    f"one that hangs ({', '.join(there)})"
                ) from error
            else:
                raise lost(error) from error
        except Exception as error:
            # Dask passes on an error inside a worker as text.
            raise UserError(f"a worker of the cluster cannot use this package ({error}); {SEE_LOG}") from error
        else:
            return


def _leave(client: Client, run: str) -> None:
    # There is nothing to clean up if the scheduler is gone. A worker that could not start never answers.
    with suppress(Exception, CancelledError):
        client.sync(client.scheduler.unregister_worker_plugin, name=run, callback_timeout=LEAVE_SECONDS)
    with suppress(Exception, CancelledError):
        client.close()
