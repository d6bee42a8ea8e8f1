"""A run over a data set, resumable at every shard: what the making of proposals and evaluation have in common."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, TypeVar

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.execution.chain import Chain, Done, TimedModel, Times
from agg_pipeline.execution.local_gpus import worker_count
from agg_pipeline.execution.plan import refuse_other_plan, stamp_of
from agg_pipeline.execution.rereading import changed_rejects
from agg_pipeline.execution.resuming import (
    claim,
    damaged,
    old_plan,
    refuse_foreign,
    remove_temporary_files,
    unlike_plan,
)
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.run_workers import model_workers
from agg_pipeline.execution.scheduling import ask, run_shards
from agg_pipeline.execution.shard_files import Layout, Stamp, listing, publish, read_sidecars, sidecar_path
from agg_pipeline.execution.shard_task import ShardTask, images_of
from agg_pipeline.execution.waiting import ready, say_if_none
from agg_pipeline.models.model_files import ModelFiles
from agg_pipeline.models.other_models import NamedModel
from agg_pipeline.storage.lock import Ownership
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.config import PredictorConfig
from schemas.errors import StoppedError, UserError
from schemas.words import plural

LOG = logging.getLogger(__name__)
C = TypeVar("C")
SPLIT = (
    "a GPU had too little memory for some batches, so they were split, which takes longer; a smaller --batch-objects "
    "or fewer --workers-per-gpu avoid that"
)
"""What a run says, once, when batches were split."""


@dataclass(frozen=True)
class RunStart:
    """What is known when the work begins.

    Attributes:
        images: number of images of the run.
        finished: sidecars of the finished shards.
        missing: number of images of the other shards.
        workers: number of workers.
        device: what they compute on, and why, in words.
        dashboard: address of the page on which Dask shows what they do; "" if there is none.
    """

    images: int
    finished: tuple[Json, ...]
    missing: int
    workers: int
    device: str
    dashboard: str = ""


@dataclass(frozen=True)
class Progress:
    """What a run calls while it works; nothing by default.

    Attributes:
        started: when the work begins.
        finished: with each finished shard.
        say: with a line to be shown.
        advanced: after each shard, and whenever workers report: with the number of finished images, where half an
            image's work counts half, and the number of finished batches. The number of images becomes smaller when a
            shard is redone after its worker died.
    """

    started: Callable[[RunStart], None] = lambda _start: None
    finished: Callable[[Done], None] = lambda _done: None
    say: Callable[[str], None] = lambda _line: None
    advanced: Callable[[float, int], None] = lambda _images, _batches: None


@dataclass(frozen=True, eq=False)
class Job:
    """What a run makes.

    Attributes:
        layout: layout of the folder.
        plan: plan of the run.
        tasks: all shards.
        chain: stages of every shard.
        model: files of the model, or another model.
        predictor: configuration of the model, with the device that was chosen.
        device: the same device, and why, in words.
        finished: whether a shard needs no more work, by its sidecar.
        drop: deletes what is only true of a finished run; called before the first shard is made.
        last: question to the model of some worker, asked at the end; None for no question.
    """

    layout: Layout
    plan: Json
    tasks: Sequence[ShardTask[Any]]
    chain: Chain
    model: ModelFiles | NamedModel
    predictor: PredictorConfig
    device: str
    finished: Callable[[ShardTask[Any], Json], bool]
    drop: Callable[[], None]
    last: Callable[[TimedModel], Any] | None = None


@dataclass(frozen=True)
class Made:
    """What a run has made.

    Attributes:
        shards: the shards.
        seconds: time that they took together.
        answer: answer to the job's last question; None if there was none.
    """

    shards: tuple[Done, ...] = ()
    seconds: float = 0.0
    answer: Any = None

    @property
    def images(self) -> int:
        """Number of images of the shards."""
        return images_of(done.task for done in self.shards)

    @property
    def sidecars(self) -> dict[int, Json]:
        """Their sidecars, by shard."""
        return {done.task.index: done.sidecar for done in self.shards}

    @property
    def times(self) -> Times:
        """Busy seconds of the shards."""
        return reduce(Times.plus, (done.times for done in self.shards), Times())


def tasks_of(dataset: Dataset, config: C, images_per_shard: int, limit_images: int | None) -> list[ShardTask[C]]:
    """Cut a data set into shards.

    Args:
        dataset: the data set.
        config: configuration, passed on to every task.
        images_per_shard: number of images of a shard.
        limit_images: take only the first so many images, so that the last shard may be cut; None for all.
    """
    wanted = len(dataset.entries) if limit_images is None else min(limit_images, len(dataset.entries))
    shards = (
        dataset.entries[first : min(first + images_per_shard, wanted)] for first in range(0, wanted, images_per_shard)
    )
    return [
        ShardTask(number, dataset.name, entries, dataset.read, config, read_pixels=dataset.pixels)
        for number, entries in enumerate(shards)
    ]


def resume(
    ownership: Ownership, layout: Layout, plan: Json, options: RunOptions, progress: Progress
) -> dict[int, Json]:
    """Make a folder the place of a plan, and find the shards that are finished.

    Args:
        ownership: the folder, which this run owns.
        layout: what lies in it.
        plan: the plan of this run.
        options: whether to overwrite and to verify.
        progress: called while checksums are compared.

    Returns:
        The sidecars of the finished shards, by shard.

    Raises:
        UserError: the folder is somebody else's, or holds another run (see ``claim``).
    """
    LOG.info("configuration hash %s, data fingerprint %s", plan["config_hash"], plan["dataset"]["fingerprint"])
    if options.verify:
        progress.say("comparing the checksums of finished shards")
    return claim(ownership.store, layout, plan, options.overwrite, options.verify)


def make_shards(
    ownership: Ownership, job: Job, found: Mapping[int, Json], options: RunOptions, progress: Progress
) -> Made:
    """Make the missing shards of a folder that this run owns.

    Args:
        ownership: the folder. A worker that finds it lost does not publish its shard.
        job: what is to be made.
        found: sidecars of the shards that are there, by shard, as ``resume`` has found them.
        options: who does the work.
        progress: called with the progress so far.

    Raises:
        UserError: for everything that a user can mend; shards that are finished by then stay.
    """
    store = ownership.store
    kept, again = kept_shards(store, job, found)
    finished = [found[index] for index in sorted(kept)]
    missing = [task for task in job.tasks if task.index not in kept]
    if again:
        progress.say(f"images of {plural(len(again), 'finished shard')} that could not be read can be read now")
    images = images_of(missing)
    workers = worker_count(job.predictor, images, options.workers, options.workers_per_gpu)
    begin = RunStart(images_of(job.tasks), tuple(finished), images, workers, job.device)
    if not missing:
        progress.started(begin)
        return Made()
    ownership.check()
    job.drop()
    job = replace(job, chain=replace(job.chain, write=partial(_write_owned, ownership, job.chain.write)))
    try:
        return _made(job, missing, begin, options, progress, store)
    finally:
        # A worker that died while it wrote has left one.
        remove_temporary_files(ownership, job.layout)


def _made(
    job: Job,
    missing: Sequence[ShardTask[Any]],
    begin: RunStart,
    options: RunOptions,
    progress: Progress,
    store: Store,
) -> Made:
    """Make shards on a cluster."""
    made: list[Done] = []
    with model_workers(job.model, job.predictor, options, begin.workers) as running:
        say_if_none(running, progress.say)
        running = ready(running)
        progress.started(replace(begin, workers=max(1, running.count()), dashboard=running.dashboard()))
        started = time.perf_counter()
        for done in run_shards(running, job.chain, missing, store, stamp_of(job.layout, job.plan), progress.advanced):
            _check_arrived(store, done)
            if done.times.splits and not any(earlier.times.splits for earlier in made):
                progress.say(SPLIT)
            made.append(done)
            progress.finished(done)
        seconds = time.perf_counter() - started
        return Made(tuple(made), seconds, None if job.last is None else ask(running, job.last))


def kept_shards(store: Store, job: Job, found: Mapping[int, Json]) -> tuple[set[int], set[int]]:
    """The shards of a job that need no more work.

    Args:
        store: the folder.
        job: what is to be made.
        found: sidecars of the shards that are there, by shard.

    Returns:
        The shards that are kept, and finished ones that are made again because images of theirs can be read now.

    Raises:
        UserError: see ``changed_rejects``.
    """
    finished = [task for task in job.tasks if task.index in found and job.finished(task, found[task.index])]
    again = changed_rejects(store, finished, found)
    return {task.index for task in finished} - again, again


def check_end(ownership: Ownership, layout: Layout, plan: Json, found: Mapping[int, Json]) -> None:
    """Check, before a run says that it has finished, that the folder still holds this run.

    Args:
        ownership: the folder.
        layout: what lies in it.
        plan: the plan of this run.
        found: sidecars of its shards, by shard.

    Raises:
        UserError: another run owns the folder, has replaced the plan, or shards of this run were changed or removed.
    """
    ownership.check()
    store = ownership.store
    refuse_other_plan(store.url, old_plan(store, layout), plan)
    sizes = listing(store, layout)
    refuse_foreign(store, layout, sizes)
    # What was left of the run before may have written until it noticed that the folder is not its own any more.
    changed = {*damaged(store, found, sizes, plan, verify=ownership.disputed)}
    there, _ = read_sidecars(store, layout, sizes)
    changed |= {index for index, sidecar in found.items() if there.get(index) != sidecar}
    # The run has begun without such ones.
    foreign = {index for index, sidecar in there.items() if unlike_plan(sidecar, plan)}
    if changed or foreign:
        other = ownership.disputed or foreign
        who = "a run that was considered dead has written" if other else "somebody has changed"
        raise StoppedError(
            f"{who} or removed files of {plural(len(changed | foreign), 'shard')} of {store.url} while "
            f"this run worked{'; resume with --verify' if other else ''}"
        )


def _write_owned(
    ownership: Ownership, write: Callable[[Any, Store, Stamp], Json], state: Any, store: Store, stamp: Stamp
) -> Json:
    """Write and publish a shard, in a worker, if the run still owns the folder; its sidecar.

    The tables may take long, and the client may be killed meanwhile, so that another run owns the folder.
    """
    ownership.check()
    sidecar = write(state, store, stamp)
    ownership.check()
    publish(store, sidecar)
    return sidecar


def _check_arrived(store: Store, done: Done) -> None:
    """Raise UserError if a shard that a worker has written cannot be seen from here."""
    path = sidecar_path(done.task.index)
    if not store.exists(path) or store.read_json(path) != done.sidecar:
        raise UserError(
            f"a worker wrote {path}, but it is not in {store.url}; choose an output folder that all workers see"
        )
