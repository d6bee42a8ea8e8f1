"""A Dask cluster whose workers hold the model of a run, and the messages that its tasks send.

In every worker process, two named executors take a run's tasks: ``model`` (one thread, which owns the network) and
``cpu`` (one thread), so that the model never waits for run lengths or Parquet.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import cv2
import dask
import torch
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, Worker, WorkerPlugin, get_worker
from distributed.comm import CommClosedError
from distributed.utils import get_mp_context

from agg_pipeline.datasets.all_cores import interrupts_blocked
from agg_pipeline.execution.chain import TimedModel
from schemas.config import PredictorConfig
from schemas.errors import UserError

SHARDS_IN_FLIGHT = 2
"""Shards of one worker: one is in the model while another one loads or writes."""

LEAVE_SECONDS = 10
"""Time that workers of an existing cluster have to forget the run at its end."""
SAME_PACKAGE = "every worker needs the same version of agg-pipeline; its log says more"

OpenModel = Callable[[], TimedModel]
"""Makes the model in a worker process. Must be picklable."""


class ModelPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed is not typed
    """Gives every worker its model and the two executors, also a worker that replaces a dead one.

    Args:
        run: unique name of the run, so that several runs can share a cluster.
        open_model: makes the model.
        threads: number of torch threads of the model.
    """

    def __init__(self, run: str, open_model: OpenModel, threads: int) -> None:
        self.name = run
        self.open_model = open_model
        self.threads = threads

    def setup(self, worker: Worker) -> None:
        """Called by Dask in every new worker process."""
        cv2.setNumThreads(1)
        set_threads = torch.set_num_threads
        model_thread = ThreadPoolExecutor(1, "agg-model", initializer=set_threads, initargs=(self.threads,))
        worker.executors[f"model-{self.name}"] = model_thread
        worker.executors[f"cpu-{self.name}"] = ThreadPoolExecutor(1, "agg-cpu", initializer=set_threads, initargs=(1,))
        self.model = model_thread.submit(self.open_model).result()

    def teardown(self, worker: Worker) -> None:
        """Called by Dask at the end of the run or of the worker."""
        for kind in ("model", "cpu"):
            executor = worker.executors.pop(f"{kind}-{self.name}", None)
            if executor is not None:
                executor.shutdown(wait=False)


@dataclass(frozen=True)
class Workers:
    """A Dask cluster whose workers all hold the model of a run."""

    client: Client
    run: str

    def addresses(self) -> list[str]:
        """Addresses of the workers that are there now."""
        return list(self.client.nthreads())

    def count(self) -> int:
        """Number of workers that are there now."""
        return len(self.addresses())

    def signs_of_life(self) -> dict[str, float]:
        """When each worker was last heard of, by the scheduler's clock: when it joined, then at each heartbeat."""
        found = self.client.sync(self.client.scheduler.identity)["workers"]
        return {address: float(worker["last_seen"]) for address, worker in found.items()}

    def submit(
        self, name: str, executor: str, function: Callable[..., Any], *args: Any, place: str | None = None
    ) -> Future:
        """Submit a task.

        Args:
            name: of the task; a number is added.
            executor: ``model`` or ``cpu``.
            function: what the task runs.
            args: its arguments; futures among them become their results.
            place: address of the worker that takes it if it is still there; None for any worker.
        """
        where = {} if place is None else {"workers": [place], "allow_other_workers": True}
        with dask.annotate(executor=f"{executor}-{self.run}"):
            key = f"{name}-{self.run}-{next(_attempts)}"
            return self.client.submit(function, *args, key=key, pure=False, **where)

    def listen(self) -> SimpleQueue[Any]:
        """A queue of the messages that tasks ``send`` from now on."""
        messages: SimpleQueue[Any] = SimpleQueue()
        self.client.subscribe_topic(self.run, lambda event: messages.put(event[1]))
        return messages


def send(run: str, message: Any) -> None:
    """Send a message from a task to the process that started the run. It is lost if the worker dies."""
    get_worker().log_event(run, message)


def model_of(run: str) -> TimedModel:
    """The model of the worker that runs this task."""
    model: TimedModel = get_worker().plugins[run].model
    return model


_attempts = itertools.count()


def default_workers(config: PredictorConfig) -> int:
    """Number of worker processes: on a CPU, as many as the available cores allow; on a GPU, one."""
    return 1 if config.device != "cpu" else max(1, CPU_COUNT // config.threads)


@contextmanager
def cluster(scheduler: str | None, workers: int, threads: int, open_model: OpenModel) -> Iterator[Workers]:
    """A cluster for a run.

    Args:
        scheduler: address of an existing Dask cluster; None for local worker processes.
        workers: number of local worker processes.
        threads: number of torch threads of each model.
        open_model: makes the model in a worker.

    Raises:
        UserError: no scheduler answers at the address, or a worker of the cluster cannot open the model.
    """
    run = f"agg-{uuid.uuid4().hex}"
    with dask.config.set(_settings(threads)), ExitStack() as stack:
        if scheduler is None:
            local = _local_cluster(workers)
            stack.callback(local.close, timeout=5)
            client = Client(local)
        else:
            client = _connect(scheduler)
        stack.callback(_leave, client, run)
        _open_models(client, ModelPlugin(run, open_model, threads))
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


def _local_cluster(workers: int) -> LocalCluster:
    # Otherwise, distributed chooses the modules that the first process imports.
    get_mp_context().set_forkserver_preload([__name__])
    with interrupts_blocked():
        return LocalCluster(
            n_workers=workers,
            # Every thread holds one task.
            threads_per_worker=SHARDS_IN_FLIGHT,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        )


def _connect(scheduler: str) -> Client:
    try:
        return Client(scheduler, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(f"no Dask scheduler answers at {scheduler}; check --scheduler ({error})") from error


def _open_models(client: Client, plugin: ModelPlugin) -> None:
    """Open the model in every worker; UserError if a worker has no such package, or another version of it."""
    try:
        client.register_plugin(plugin)
    except Exception as error:
        # A bare exception is how Dask passes on an error inside a worker, as text.
        if type(error) is Exception or isinstance(error, (ImportError, AttributeError, CommClosedError)):
            raise UserError(f"a worker of the Dask cluster cannot open the model ({error}); {SAME_PACKAGE}") from error
        raise


def _leave(client: Client, run: str) -> None:
    # There is nothing to clean up if the scheduler is gone. A worker that could not start never answers.
    with suppress(CancelledError, CommClosedError, TimeoutError, OSError, ValueError, KeyError):
        client.sync(client.scheduler.unregister_worker_plugin, name=run, callback_timeout=LEAVE_SECONDS)
    client.close()
