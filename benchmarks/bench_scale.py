"""A run over very many images: whether speed, memory and tasks stay the same from its beginning to its end.

``python -m benchmarks.bench_scale [--images 100000] [--folder F]``: generated entries of tiny images and a stub network
go through all stages and two local workers into a real database. Then it measures how long the same run takes to find
that all is done, and how long a run of the command line takes to stop after Ctrl-C.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from agg_pipeline.database.contents import DATABASE, DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.execution.cluster import cluster
from agg_pipeline.execution.job import Progress, tasks_of
from agg_pipeline.execution.plan import make_plan, stamp_of
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.run_workers import environment
from agg_pipeline.execution.scheduling import run_shards
from agg_pipeline.execution.shard_files import PLAN, publish
from agg_pipeline.execution.waiting import ready
from agg_pipeline.execution.workers import Workers
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.backend import choose_device
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.models.model_files import describe_model
from agg_pipeline.proposals.pipeline import chain, write_shard
from agg_pipeline.proposals.run import run
from agg_pipeline.storage.store import Store
from benchmarks.stub import StubNetwork, stub_predictor
from schemas import limits
from schemas.canonical import Json
from schemas.config import ProposalsConfig
from schemas.crop import crop_mask
from schemas.presets import PRESETS
from schemas.records import ImageEntry, ImageRecord, ObjectMask
from schemas.resolve import on_device, override

SIDE = 64
"""Rows and columns of an image, and of the network's input, in pixels."""
WORKERS = 2
IMAGES_PER_SHARD = 32
PARTS = 10
"""Parts of the run that are compared with each other."""
MIB = 1 << 20


def toy_dataset(images: int) -> Dataset:
    """A data set whose images are made when they are read."""
    about = About("toy", "Toy", ("object",), "a licence", "a citation", "a page", (), "")
    entries = tuple(ImageEntry(f"im_{n:08d}", f"img/im_{n:08d}.png", n, None) for n in range(images))
    return Dataset(about, "train", entries, "f" * 32, _read)


def _read(entry: ImageEntry) -> ImageRecord:
    frame = np.zeros((SIDE, SIDE), np.bool_)
    frame[8:56, 4 + entry.size % 16 : 44 + entry.size % 16] = True
    pixels = np.full((SIDE, SIDE, 3), entry.size % 251, np.uint8)
    objects = (ObjectMask(1, "cat", crop_mask(frame, SIDE, SIDE)),)
    return ImageRecord(entry.image_id, entry.path, f"{entry.size:064x}", "none", pixels, objects)


def open_stub() -> Predictor:
    """The model of a worker."""
    return stub_predictor(StubNetwork(SIDE))


def publish_shard(state: Any, store: Store, stamp: Any) -> Json:
    """Write a shard as a run does that owns its folder."""
    sidecar = write_shard(state, store, stamp)
    publish(store, sidecar)
    return sidecar


@dataclass(frozen=True)
class Sample:
    """What is measured while a run works.

    Attributes:
        seconds: since the first shard was finished.
        images: images of finished shards.
        client: memory of the process with client and scheduler, bytes.
        workers: memory of all workers, bytes.
        tasks: tasks that the scheduler knows.
    """

    seconds: float
    images: int
    client: int
    workers: int
    tasks: int


def known_tasks(dask_scheduler: Any = None) -> int:
    """Number of tasks of a scheduler; runs in its process."""
    return len(dask_scheduler.tasks)


def measure(workers: Workers, seconds: float, images: int) -> Sample:
    """Take a sample now."""
    this = psutil.Process()
    children = [child for child in this.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    memory = sum(child.memory_info().rss for child in children)
    tasks = workers.client.run_on_scheduler(known_tasks)
    return Sample(seconds, images, this.memory_info().rss, memory, tasks)


def make(dataset: Dataset, config: ProposalsConfig, store: Store) -> list[Sample]:
    """Make all shards; one sample for each part of the run."""
    _, described = describe_model(str(default_checkpoint()), "", SIDE)
    plan = make_plan(DATABASE_LAYOUT, dataset, described, environment(choose_device("cpu")), config)
    store.write_json(PLAN, plan)
    tasks = tasks_of(dataset, config, IMAGES_PER_SHARD, None)
    samples: list[Sample] = []
    sidecars: dict[int, Json] = {}
    images, started = 0, 0.0
    with cluster(None, WORKERS, 1, open_stub) as running:
        running = ready(running)
        work = replace(chain(config), write=publish_shard)
        for done in run_shards(running, work, tasks, store, stamp_of(DATABASE_LAYOUT, plan)):
            sidecars[done.task.index] = done.sidecar
            if not samples:
                started = time.perf_counter()
            else:
                images += len(done.task.entries)
            if len(sidecars) * PARTS >= len(tasks) * len(samples):
                samples.append(measure(running, time.perf_counter() - started, images))
    finish(store, plan, dict(sorted(sidecars.items())))
    return samples


def show(samples: list[Sample]) -> None:
    """Print a row for each part of the run."""
    print("images      images/s   client MiB   workers MiB   tasks")
    for before, now in pairwise(samples):
        rate = (now.images - before.images) / (now.seconds - before.seconds)
        row = f"{now.images:8,}  {rate:10.1f}  {now.client / MIB:11.0f}  {now.workers / MIB:12.0f}  {now.tasks:6}"
        print(row, flush=True)


def seconds_to_stop(images: int) -> float:
    """Seconds from Ctrl-C until ``agg proposals run`` over as many generated scenes has ended."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "agg_pipeline.cli", "proposals", "run", "--dataset", "demo", "--device", "cpu"]
        size = ["--split", str(images), "--input-size", str(SIDE), "--workers", str(WORKERS), "--out", folder]
        process = subprocess.Popen([*command, *size], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not any(Path(folder).rglob("shards/*.json")):
            if process.poll() is not None:
                raise click.ClickException(f"the run has ended with exit code {process.returncode} before Ctrl-C")
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        began = time.perf_counter()
        process.wait()
        return time.perf_counter() - began


def show_plan(dataset: Dataset, config: ProposalsConfig, store: Store) -> None:
    """Make, write and read a plan, and print what that takes."""
    _, described = describe_model(str(default_checkpoint()), "", SIDE)
    began = time.perf_counter()
    store.write_json(PLAN, make_plan(DATABASE_LAYOUT, dataset, described, environment(choose_device("cpu")), config))
    written = time.perf_counter()
    store.read_json(PLAN, limit=limits.PLAN_BYTES)
    read = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = store.sizes([PLAN])[PLAN] / MIB
    print(
        f"plan of {len(dataset.entries):,} images: {size:.0f} MiB, made and written in {written - began:.1f} s, ",
        end="",
    )
    print(f"read in {read - written:.1f} s, peak memory of the process {peak:.0f} MiB")


@click.command()
@click.option("--images", default=100_000, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the database here.")
@click.option("--only-plan", is_flag=True, help="Only make, write and read the plan.")
def main(images: int, folder: Path | None, only_plan: bool) -> None:
    """Print what stays the same during a run, and how long resuming and stopping take."""
    changes = {"batch": {"images_per_shard": IMAGES_PER_SHARD}, "predictor": {"input_size": SIDE}}
    config = on_device(override(PRESETS["paper"], changes), "cpu")
    with tempfile.TemporaryDirectory() as temporary:
        out = folder or Path(temporary)
        dataset = toy_dataset(images)
        if only_plan:
            show_plan(dataset, config, Store(str(out / DATABASE)))
            return
        show(make(dataset, config, Store(str(out / DATABASE))))
        began = time.perf_counter()
        run(dataset, str(default_checkpoint()), config, RunOptions(str(out)), Progress())
        print(f"the same run, when all is done: {time.perf_counter() - began:.1f} s", flush=True)
    print(f"from Ctrl-C to the end of a run: {seconds_to_stop(images):.1f} s")


if __name__ == "__main__":
    main()
