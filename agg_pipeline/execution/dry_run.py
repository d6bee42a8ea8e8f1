"""What a run would do: its shards and images, those that are finished, and those that are left. Nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.cluster import default_workers
from agg_pipeline.execution.job import Job, images_of
from agg_pipeline.execution.plan import refuse_other_plan
from agg_pipeline.execution.resuming import old_plan
from agg_pipeline.execution.shard_files import sidecars
from agg_pipeline.inference.predictor import open_predictor
from agg_pipeline.storage.store import Store

MEASURED = 5
"""Images by which the time of a run is estimated."""


@dataclass(frozen=True)
class Outlook:
    """Counts of a run.

    Attributes:
        shards: number of shards.
        images: number of images in them.
        finished_shards: shards that an earlier run has finished.
        finished_images: images in those.
    """

    shards: int
    images: int
    finished_shards: int
    finished_images: int

    @property
    def missing_shards(self) -> int:
        """Shards that the run would make."""
        return self.shards - self.finished_shards

    @property
    def missing_images(self) -> int:
        """Images in them."""
        return self.images - self.finished_images


def outlook(store: Store, job: Job, overwrite: bool) -> Outlook:
    """Count what a run would do.

    Args:
        store: folder of the run's shards; it may be missing.
        job: what the run makes.
        overwrite: whether the run would delete what is there.

    Raises:
        UserError: the run would be refused, because the folder holds another run or somebody's files.
    """
    old = old_plan(store, job.layout)
    found = {} if overwrite else sidecars(store, job.layout)
    if found:
        refuse_other_plan(store.url, old, job.plan)
    finished = [task for task in job.tasks if task.index in found and job.finished(task, found[task.index])]
    return Outlook(len(job.tasks), images_of(job.tasks), len(finished), images_of(finished))


def estimated_seconds(job: Job, images: int, workers: int | None) -> float:
    """Time that the work on so many images would take: a few are worked on here, and the result is thrown away.

    Args:
        job: what the run makes.
        images: images to do.
        workers: number of workers; None for the default.
    """
    torch.set_num_threads(job.predictor.threads)
    model = open_predictor(job.model, job.predictor)
    entries = [entry for task in job.tasks for entry in task.entries]
    # The first image also pays for what later ones find ready; it is not counted.
    some = entries[:: max(1, len(entries) // MEASURED)][: MEASURED + 1]
    seconds = []
    for entry in some:
        started = time.perf_counter()
        run_stages(job.chain.stages, replace(job.tasks[0], entries=(entry,)), model)
        seconds.append(time.perf_counter() - started)
    measured = seconds[1:] or seconds
    each = sum(measured) / len(measured)
    return each * images / min(workers or default_workers(job.predictor), max(1, images))
