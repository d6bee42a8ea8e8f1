"""Runs shards on a Dask cluster: the only module that knows Dask; what the tasks do is in their ``Chain``.

Each shard is a chain of tasks. In every worker process two named executors take them: ``model`` (one thread, which owns
the network) and ``cpu``, so that the model never waits for run lengths or Parquet. A chain stays in the process that
loaded its images, because Dask runs a task where its input is, and arrays are passed on by reference.
"""

from __future__ import annotations

import ctypes
import itertools
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from typing import Any, Self

import cv2
import dask
import torch
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, Worker, WorkerPlugin, get_worker, wait
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.utils import get_mp_context

from agg_pipeline.chain import Chain, Done, ShardTask, Stage, TimedModel, Times
from agg_pipeline.sharded import Json
from agg_pipeline.storage import Store
from schemas.config import PredictorConfig
from schemas.errors import UserError

SHARDS_IN_FLIGHT = 2
POLL_SECONDS = 5.0
NO_WORKER_SECONDS = 120.0

OpenModel = Callable[[], TimedModel]
"""Makes the model in a worker process; must be picklable."""


class ModelPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed is not typed
    """Gives a worker its model and the two executors, also when Dask has just replaced a dead one.

    run: unique name of the run, so that several runs can share a cluster.
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
        """Called by Dask when the run is over, or the worker."""
        for kind in ("model", "cpu"):
            executor = worker.executors.pop(f"{kind}-{self.name}", None)
            if executor is not None:
                executor.shutdown(wait=False)


@dataclass(frozen=True)
class Workers:
    """A Dask cluster that has this run's model in every worker."""

    client: Client
    run: str

    def count(self) -> int:
        """Worker processes that are there now."""
        return len(self.client.nthreads())

    def submit(self, name: str, executor: str, function: Callable[..., Any], *args: Any) -> Future:
        """Submit one task to the ``model`` or the ``cpu`` executor."""
        with dask.annotate(executor=f"{executor}-{self.run}"):
            return self.client.submit(function, *args, key=f"{name}-{self.run}-{next(_attempts)}", pure=False)


def _model_of(run: str) -> TimedModel:
    model: TimedModel = get_worker().plugins[run].model
    return model


def _run_stage(run: str, stage: Stage, before: tuple[Any, Times]) -> tuple[Any, Times]:
    state, times = before
    model = _model_of(run) if stage.executor == "model" else None
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


_attempts = itertools.count()


def _ask(run: str, question: Callable[[TimedModel], Any]) -> Any:
    return question(_model_of(run))


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


def default_workers(config: PredictorConfig) -> int:
    """On the CPU as many processes as the cores that this process may use allow; on a GPU one."""
    return 1 if config.device != "cpu" else max(1, CPU_COUNT // config.threads)


@contextmanager
def cluster(scheduler: str | None, workers: int, threads: int, open_model: OpenModel) -> Iterator[Workers]:
    """An existing Dask cluster (``scheduler``: its address), or one of local worker processes, with the run's model."""
    run = f"agg-{uuid.uuid4().hex}"
    settings = {
        # Stealing would move a chain away from its arrays.
        "distributed.scheduler.work-stealing": False,
        # Its profiler keeps the call stacks of an hour, tens of megabytes.
        "distributed.worker.profile.enabled": False,
        # One process imports torch and what else takes long; workers are its copies, and a new one is soon there.
        "distributed.worker.multiprocessing-method": "forkserver",
        # A worker that dies several times in a row is still to be replaced.
        "distributed.deploy.lost-worker-timeout": "1000 days",
        "distributed.nanny.pre-spawn-environ": {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": 1,
            # Dask's own setting gives memory back after every forward, and a forward then takes twice the time. The
            # largest arrays get pages of their own, so that they leave no holes.
            "MALLOC_TRIM_THRESHOLD_": 1 << 30,
            "MALLOC_MMAP_THRESHOLD_": 1 << 22,
        },
    }
    with dask.config.set(settings):
        if scheduler is not None:
            client = _connect(scheduler)
        else:
            # Distributed would have its own choice of modules imported.
            get_mp_context().set_forkserver_preload([__name__])
            with _interrupts_blocked():
                local = LocalCluster(
                    n_workers=workers,
                    # Every thread holds one task: one shard is in the model while another loads or writes.
                    threads_per_worker=SHARDS_IN_FLIGHT,
                    memory_limit=0,
                    dashboard_address="127.0.0.1:0",
                    silence_logs="CRITICAL",
                )
            client = Client(local)
        try:
            client.register_plugin(ModelPlugin(run, open_model, threads))
            yield Workers(client, run)
        finally:
            _leave(client, run)
            if scheduler is None:
                local.close(timeout=5)


def _leave(client: Client, run: str) -> None:
    # A scheduler that is gone has nothing to clean up.
    with suppress(CancelledError, CommClosedError, TimeoutError, OSError, ValueError):
        client.unregister_worker_plugin(run)
    client.close()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C from the threads and processes that start here, and from those that they start: it is the main
    thread's, which then stops the others."""
    # Started first, because its start would unblock the signals.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _connect(scheduler: str) -> Client:
    try:
        return Client(scheduler, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(f"no Dask scheduler answers at {scheduler}: {error}") from error
