"""``agg proposals run``: from a data set to a proposal database, resumable at every shard."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from agg_pipeline import database
from agg_pipeline.card import dataset_card
from agg_pipeline.dag import Done, Times, cluster, default_workers, estimate_seconds, run_shards
from agg_pipeline.database import Json
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.lock import owned
from agg_pipeline.models.checkpoints import load_click_model
from agg_pipeline.predictor import open_predictor
from agg_pipeline.reader import DATABASE, ProposalDatabase
from agg_pipeline.shard import ShardTask
from agg_pipeline.storage import Store
from schemas.config import PredictorConfig, ProposalsConfig
from schemas.errors import UserError
from schemas.tables import IMAGE_REASONS

SAMPLED_IMAGES = 4


@dataclass(frozen=True)
class RunOptions:
    """What does not change the result: where it goes, how much of it, and who does the work."""

    out: str
    limit_images: int | None = None
    workers: int | None = None
    scheduler: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Start:
    """What is known when the work begins: shards in all and finished, images to do, worker processes, and the
    estimated seconds (None if they could not be estimated)."""

    shards: int
    finished: int
    images: int
    workers: int
    estimate: float | None


@dataclass(frozen=True)
class Summary:
    """What a run leaves. times: of the shards that this run made."""

    database: ProposalDatabase
    manifest: Json
    images_done: int
    seconds: float
    times: Times = field(default_factory=Times)

    @property
    def reject_share(self) -> float:
        """Share of the images that fell out; those that legitimately have no object do not count as such."""
        totals = self.manifest["totals"]
        lost = sum(totals["rejects"].get(reason, 0) for reason in IMAGE_REASONS)
        return float(lost / max(1, totals["planned_images"]))


@dataclass(frozen=True)
class Progress:
    """Called when the work begins, and after every shard with the images in it."""

    started: Callable[[Start], None]
    advanced: Callable[[int], None]


def environment(config: PredictorConfig) -> Json:
    """What else changes a bit of the result: kind of device, torch version."""
    device = config.device
    if device.startswith("cuda") and torch.cuda.is_available():
        device = torch.cuda.get_device_name(device)
    return {"device": device, "torch": torch.__version__}


def run(dataset: Dataset, checkpoint: str, config: ProposalsConfig, options: RunOptions, progress: Progress) -> Summary:
    """Make what is missing of the database below ``options.out`` and finish it (manifest, sampling weights, card).

    Raises UserError for everything a user can mend; shards that are finished by then stay, and the same call goes on.
    """
    _check_device(config.predictor.device, options)
    place = Store(options.out).anchored()
    if place.exists(database.PLAN):
        raise UserError(f"{place.url} is a database itself; name the folder around it as the output folder")
    store = place.below(DATABASE)
    _, info = load_click_model(checkpoint, config.predictor.input_size or None)
    plan = database.make_plan(dataset, asdict(info), environment(config.predictor), config)
    started, times = time.perf_counter(), Times()
    with owned(store):
        _claim(store, plan, options.overwrite)
        tasks = _tasks(dataset, config, options.limit_images)
        found = database.sidecars(store)
        missing = [task for task in tasks if task.index not in found or found[task.index]["images"] < len(task.entries)]
        images = sum(len(task.entries) for task in missing)
        workers = min(options.workers or default_workers(config.predictor), max(1, len(missing)))
        begin = Start(len(tasks), len(tasks) - len(missing), images, workers, None)
        if not missing:
            progress.started(begin)
        else:
            database.drop_summaries(store)
            open_model = partial(open_predictor, str(Path(checkpoint).resolve()), info.sha256, config.predictor)
            with cluster(options.scheduler, workers, config.predictor.threads, open_model) as running:
                each, there = estimate_seconds(running, _sample(missing)), max(1, running.count())
                estimate = None if each is None else each * images / there
                progress.started(replace(begin, workers=there, estimate=estimate))
                for done in run_shards(running, missing, store, plan["config_hash"]):
                    _check_arrived(store, done)
                    times = _added(times, done)
                    progress.advanced(len(done.task.entries))
        manifest = finish(store, plan)
    return Summary(ProposalDatabase(store), manifest, images, time.perf_counter() - started, times)


def _sample(tasks: Sequence[ShardTask]) -> ShardTask:
    """A task of a few images, spread over all."""
    entries = [entry for task in tasks for entry in task.entries]
    step = max(1, len(entries) // SAMPLED_IMAGES)
    return replace(tasks[0], entries=tuple(entries[::step][:SAMPLED_IMAGES]))


def _check_device(device: str, options: RunOptions) -> None:
    """UserError if local workers are to use a GPU that is not there."""
    if device == "cpu" or options.scheduler is not None:
        return
    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) >= count:
        gpus = f"only {count} GPU(s)" if count else "no GPU"
        raise UserError(f"device {device!r} was asked for, but torch finds {gpus} here; use --device cpu")


def _claim(store: Store, plan: Json, overwrite: bool) -> None:
    """Make a folder the place of this plan: refuse what is somebody else's, delete what killed runs left."""
    if overwrite:
        database.overwrite(store)
    database.refuse_foreign_files(store)
    # A plan under which nothing is finished protects nothing: it gives way.
    if database.sidecars(store):
        database.refuse_other_plan(store, plan)
    store.write_json(database.PLAN, plan)
    database.drop_damaged(store, plan["config_hash"])
    database.remove_leftovers(store)


def _check_arrived(store: Store, done: Done) -> None:
    """UserError if a shard that a worker has written is not to be seen here."""
    path = database.sidecar_path(done.task.index)
    if not store.exists(path) or store.read_json(path) != done.sidecar:
        raise UserError(f"a worker wrote {path}, but it is not in {store.url}; do all workers see this folder?")


def finish(store: Store, plan: Json) -> Json:
    """Write manifest, sampling weights and dataset card from the shards that are there; returns the manifest."""
    found = database.sidecars(store)
    manifest = database.make_manifest(plan, found)
    counts: Counter[tuple[str, int]] = Counter()
    for index in found:
        table = database.read_table(store, f"proposals/{database.shard_name(index)}.parquet", ["kind", "bin"])
        counts.update(zip(table["kind"].to_pylist(), table["bin"].to_pylist(), strict=True))
    sampling = database.parquet_bytes(database.sampling_table(counts))
    for path, content in (
        (database.SAMPLING_FILE, sampling),
        (database.CARD, dataset_card(manifest).encode()),
    ):
        store.write(path, content)
    store.write_json(database.MANIFEST, manifest)
    return manifest


def _tasks(dataset: Dataset, config: ProposalsConfig, limit: int | None) -> list[ShardTask]:
    """The shards of the plan's first ``limit`` images; the last one may be cut."""
    wanted = len(dataset.entries) if limit is None else min(limit, len(dataset.entries))
    size = config.batch.images_per_shard
    return [
        ShardTask(n, dataset.name, dataset.entries[first : min(first + size, wanted)], dataset.read, config)
        for n, first in enumerate(range(0, wanted, size))
    ]


def _added(times: Times, done: Done) -> Times:
    stages = {stage: times.stages.get(stage, 0.0) + seconds for stage, seconds in done.times.stages.items()}
    return Times(stages, times.forwards + done.times.forwards)
