"""``agg proposals run``: from a data set to a proposal database, resumable at every shard."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agg_pipeline import database, rows, shard, sharded
from agg_pipeline.card import dataset_card
from agg_pipeline.chain import Chain, ShardTask, Stage, Times
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.estimate import seconds_per_image
from agg_pipeline.lock import owned
from agg_pipeline.models.files import describe_model
from agg_pipeline.reader import DATABASE, ProposalDatabase
from agg_pipeline.runner import Job, Progress, RunOptions, check_device, environment, make_shards, tasks_of
from agg_pipeline.sharded import Json
from agg_pipeline.storage import Store
from schemas.config import ProposalsConfig
from schemas.errors import UserError
from schemas.tables import IMAGE_REASONS


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


def chain(config: ProposalsConfig) -> Chain:
    """The stages of a shard; annotated parts need no mask engine."""
    load, estimate = Stage("load", "cpu", shard.load), Stage("granularity", "model", shard.run_granularity)
    if config.source == "gt":
        return Chain((load, estimate), rows.write)
    engine = Stage("mask_engine", "model", shard.run_mask_engine)
    postprocess = Stage("postprocess", "cpu", shard.run_postprocess)
    complement = Stage("complement", "cpu", shard.run_complement)
    return Chain((load, engine, postprocess, complement, estimate), rows.write)


def run(dataset: Dataset, checkpoint: str, config: ProposalsConfig, options: RunOptions, progress: Progress) -> Summary:
    """Make what is missing of the database below ``options.out`` and finish it (manifest, sampling weights, card).

    Raises UserError for everything a user can mend; shards that are finished by then stay, and the same call goes on.
    """
    check_device(config.predictor.device, options)
    place = Store(options.out).anchored()
    if place.exists(sharded.PLAN):
        raise UserError(f"{place.url} is a database itself; name the folder around it as the output folder")
    store = place.below(DATABASE)
    files, described = describe_model(checkpoint, "", config.predictor.input_size or None)
    plan = sharded.make_plan(database.LAYOUT, dataset, described, environment(config.predictor), config)
    job = Job(
        layout=database.LAYOUT,
        plan=plan,
        tasks=tasks_of(dataset, config, config.batch.images_per_shard, options.limit_images),
        chain=chain(config),
        model=files,
        predictor=config.predictor,
        finished=_is_finished,
        measure=seconds_per_image,
        drop=partial(store.remove_all, database.LAYOUT.summaries),
    )
    started = time.perf_counter()
    with owned(store):
        made = make_shards(store, job, options, progress)
        manifest = finish(store, plan)
    return Summary(ProposalDatabase(store), manifest, made.images, time.perf_counter() - started, made.times)


def _is_finished(task: ShardTask[Any], sidecar: Json) -> bool:
    return bool(sidecar["images"] >= len(task.entries))


def finish(store: Store, plan: Json) -> Json:
    """Write manifest, sampling weights and dataset card from the shards that are there; returns the manifest."""
    manifest = database.make_manifest(plan, sharded.sidecars(store, database.LAYOUT))
    write_sampling(store)
    store.write(database.CARD, dataset_card(manifest).encode())
    store.write_json(database.MANIFEST, manifest)
    return manifest


def write_sampling(store: Store) -> None:
    """Write the sampling weights of the shards that are there."""
    counts: Counter[tuple[str, int]] = Counter()
    for index in sharded.sidecars(store, database.LAYOUT):
        table = sharded.read_table(store, f"proposals/{sharded.shard_name(index)}.parquet", ["kind", "bin"])
        counts.update(zip(table["kind"].to_pylist(), table["bin"].to_pylist(), strict=True))
    store.write(database.SAMPLING_FILE, sharded.parquet_bytes(database.sampling_table(counts)))
