"""A run over a data set, resumable at every shard: what the making of proposals and evaluation have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, TypeVar

import torch

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.execution.chain import Chain, Done, ShardTask, TimedModel, Times
from agg_pipeline.execution.cluster import cluster, default_workers
from agg_pipeline.execution.interrupts import check_interrupt
from agg_pipeline.execution.resuming import claim
from agg_pipeline.execution.scheduling import ask, estimate_seconds, run_shards
from agg_pipeline.execution.shard_files import Layout, sidecar_path
from agg_pipeline.inference.predictor import open_predictor
from agg_pipeline.models.model_files import ModelFiles, check_gpu
from agg_pipeline.storage.lock import Ownership
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.config import PredictorConfig
from schemas.errors import UserError

C = TypeVar("C")
SAMPLED_IMAGES = 4


@dataclass(frozen=True)
class RunOptions:
    """What does not change the result: where it goes, how much of it, and who does the work.

    overwrite: delete what another run left. verify: compare the checksums of finished shards, and not only sizes.
    """

    out: str
    limit_images: int | None = None
    workers: int | None = None
    scheduler: str | None = None
    overwrite: bool = False
    verify: bool = False


@dataclass(frozen=True)
class RunStart:
    """What is known when the work begins: shards in all, sidecars of the finished ones, images to do, worker processes,
    and the estimated seconds (None if they could not be estimated)."""

    shards: int
    finished: tuple[Json, ...]
    images: int
    workers: int
    estimate: float | None


@dataclass(frozen=True)
class Progress:
    """Called when the work begins, after every shard, and with a line to be shown."""

    started: Callable[[RunStart], None]
    advanced: Callable[[Done], None]
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be made.

    tasks: of all shards. finished: whether a task needs no work any more, by its sidecar. measure: seconds that an
    image of a task takes. drop: deletes what is only true of a finished run; called when there is something to make.
    last: asked of the model of an idle worker in the end.
    """

    plan: Json
    tasks: Sequence[ShardTask[Any]]
    chain: Chain
    model: ModelFiles
    predictor: PredictorConfig
    finished: Callable[[ShardTask[Any], Json], bool]
    measure: Callable[[ShardTask[Any], TimedModel], float]
    drop: Callable[[], None]
    last: Callable[[TimedModel], Any] | None = None


@dataclass(frozen=True)
class Made:
    """The shards that a run has made in how many seconds, and what was asked in the end (None if nothing was)."""

    shards: tuple[Done, ...] = ()
    seconds: float = 0.0
    answer: Any = None

    @property
    def images(self) -> int:
        """Images in them."""
        return sum(len(done.task.entries) for done in self.shards)

    @property
    def sidecars(self) -> dict[int, Json]:
        """Their sidecars, by shard."""
        return {done.task.index: done.sidecar for done in self.shards}

    @property
    def times(self) -> Times:
        """Their times."""
        return reduce(Times.plus, (done.times for done in self.shards), Times())


def environment(config: PredictorConfig) -> Json:
    """What else changes a bit of the result: kind of device, torch version."""
    device = config.device
    if device.startswith("cuda") and torch.cuda.is_available():
        device = torch.cuda.get_device_name(device)
    return {"device": device, "torch": torch.__version__}


def check_device(device: str, options: RunOptions) -> None:
    """UserError if local workers are to use a GPU that is not there."""
    if options.scheduler is None:
        check_gpu(device)


def tasks_of(dataset: Dataset, config: C, images_per_shard: int, limit_images: int | None) -> list[ShardTask[C]]:
    """The shards of the first ``limit_images`` images; the last one may be cut."""
    wanted = len(dataset.entries) if limit_images is None else min(limit_images, len(dataset.entries))
    return [
        ShardTask(n, dataset.name, dataset.entries[first : min(first + images_per_shard, wanted)], dataset.read, config)
        for n, first in enumerate(range(0, wanted, images_per_shard))
    ]


def resume(
    ownership: Ownership, layout: Layout, plan: Json, options: RunOptions, progress: Progress
) -> dict[int, Json]:
    """Make a folder the place of a plan; the sidecars of its finished shards, by shard. See ``claim``."""
    if options.verify:
        progress.say("comparing the checksums of what is finished")
    return claim(ownership.store, layout, plan, options.overwrite, options.verify)


def make_shards(
    ownership: Ownership, job: Job, found: Mapping[int, Json], options: RunOptions, progress: Progress
) -> Made:
    """Make the missing shards of a folder that this run owns.

    Args:
        ownership: the folder. A worker that finds it lost does not write its shard.
        job: what is to be made.
        found: sidecars of the shards that are there, by shard, as ``resume`` has found them.
        options: who does the work.
        progress: told how far it is.

    Raises:
        UserError: for everything that a user can mend; shards that are finished by then stay.
    """
    store = ownership.store
    finished, missing = [], []
    for task in job.tasks:
        sidecar = found.get(task.index)
        if sidecar is not None and job.finished(task, sidecar):
            finished.append(sidecar)
        else:
            missing.append(task)
    images = sum(len(task.entries) for task in missing)
    workers = min(options.workers or default_workers(job.predictor), max(1, len(missing)))
    begin = RunStart(len(job.tasks), tuple(finished), images, workers, None)
    if not missing:
        progress.started(begin)
        return Made()
    ownership.check()
    job.drop()
    job = replace(job, chain=replace(job.chain, write=partial(_write_owned, ownership, job.chain.write)))
    made = []
    open_model = partial(open_predictor, job.model, job.predictor)
    with cluster(options.scheduler, workers, job.predictor.threads, open_model) as running:
        each = estimate_seconds(running, partial(job.measure, _sample(missing)))
        there = max(1, running.count())
        progress.started(replace(begin, workers=there, estimate=None if each is None else each * images / there))
        started = time.perf_counter()
        for done in run_shards(running, job.chain, missing, store, job.plan["config_hash"]):
            _check_arrived(store, done)
            made.append(done)
            progress.advanced(done)
            check_interrupt()
        seconds = time.perf_counter() - started
        return Made(tuple(made), seconds, None if job.last is None else ask(running, job.last))


def _sample(tasks: Sequence[ShardTask[Any]]) -> ShardTask[Any]:
    """A task of a few images, spread over all."""
    entries = [entry for task in tasks for entry in task.entries]
    step = max(1, len(entries) // SAMPLED_IMAGES)
    return replace(tasks[0], entries=tuple(entries[::step][:SAMPLED_IMAGES]), limit=None)


def _write_owned(
    ownership: Ownership, write: Callable[[Any, Store, str], Json], state: Any, store: Store, config_hash: str
) -> Json:
    """Write a shard, in a worker, if the run still owns the folder; its sidecar."""
    ownership.check()
    return write(state, store, config_hash)


def _check_arrived(store: Store, done: Done) -> None:
    """UserError if a shard that a worker has written is not to be seen here."""
    path = sidecar_path(done.task.index)
    if not store.exists(path) or store.read_json(path) != done.sidecar:
        raise UserError(f"a worker wrote {path}, but it is not in {store.url}; do all workers see this folder?")
