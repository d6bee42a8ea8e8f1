"""``agg eval run``: from a data set and a model to the figures of section 4, resumable at every shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.evaluated_masks import sample_draw
from agg_pipeline.evaluation.interactions import load, stages
from agg_pipeline.evaluation.latency import measure_latency
from agg_pipeline.evaluation.result_rows import EVALUATION_LAYOUT, write
from agg_pipeline.evaluation.results import RESULTS, RUN, SUMMARY, TIMINGS, Evaluation, Tables
from agg_pipeline.evaluation.summary import summarise
from agg_pipeline.execution.chain import Chain, ShardTask
from agg_pipeline.execution.job import Job, Made, Progress, RunOptions, check_device, environment, make_shards, tasks_of
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.execution.shard_files import PLAN, parquet_bytes, read_table, shard_name
from agg_pipeline.models.model_files import describe_model
from agg_pipeline.storage.lock import owned
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.config import EvaluationConfig
from schemas.errors import UserError
from schemas.tables import EVALUATION_FILES, REASONS

LARGER_INPUTS = {("davis", 448): 672}
"""Side of the input for a set and a checkpoint's own side, where the field takes another one (protocol, section 2)."""
SAMPLED_IMAGES = 8


def run(
    dataset: Dataset,
    checkpoint: str,
    adapter: str,
    config: EvaluationConfig,
    limit_objects: int | None,
    options: RunOptions,
    progress: Progress,
) -> Evaluation:
    """Evaluate what is missing of the masks and write tables and summary into ``options.out``.

    adapter: path, "" for none. limit_objects: only the first masks, None for all. Raises UserError for everything a
    user can mend; shards that are finished by then stay, and the same call goes on.
    """
    check_device(config.predictor.device, options)
    _check_level(dataset, config)
    if config.sample and options.limit_images is not None:
        raise UserError("--sample draws from all images; leave --limit-images out")
    files, described = describe_model(checkpoint, adapter, config.predictor.input_size or None)
    larger = LARGER_INPUTS.get((dataset.name, files.input_size))
    if larger and not config.predictor.input_size:
        files, described = describe_model(checkpoint, adapter, larger)
    _check_mode(described, config)
    plan = make_plan(EVALUATION_LAYOUT, dataset, described, environment(config.predictor), config)
    tasks = tasks_of(dataset, config, config.batch.images_per_shard, options.limit_images)
    images = sum(len(task.entries) for task in tasks)
    if config.sample:
        progress.say(f"reading {images} images to draw {config.sample} masks of each level")
        tasks = sampled(dataset, tasks, config)
    if limit_objects is not None:
        tasks = limited(tasks, limit_objects)
    if not config.sample:
        images = sum(len(task.entries) for task in tasks)
    sample = replace(tasks[0], entries=tasks[0].entries[:SAMPLED_IMAGES], limit=None)
    place = Store(options.out).anchored()
    store = place.below(RUN)
    _refuse_foreign_results(place, store)
    job = Job(
        layout=EVALUATION_LAYOUT,
        plan=plan,
        tasks=tasks,
        chain=Chain(stages(config), write),
        model=files,
        predictor=config.predictor,
        finished=_is_finished,
        drop=partial(place.remove_all, RESULTS),
        last=partial(measure_latency, sample),
    )
    with owned(store):
        made = make_shards(store, job, options, progress)
        tables = collect(store, tasks)
        if not tables["targets"].num_rows:
            raise _nothing(dataset, Counter(tables["rejects"]["reason"].to_pylist()))
        summary = summarise(tables, plan)
        _write(place, tables, summary)
        if made.shards:
            place.write_json(TIMINGS, _timings(made))
        timings = _read_timings(place)
    return Evaluation(place, tables, summary, timings, images)


def _refuse_foreign_results(place: Store, store: Store) -> None:
    """UserError if the folder holds files under the names of results that no evaluation has left there."""
    foreign = [name for name in RESULTS if place.exists(name)]
    if foreign and not store.exists(PLAN):
        raise UserError(f"{place.url} holds {foreign[0]}, which is of no evaluation; choose another folder")


def _check_level(dataset: Dataset, config: EvaluationConfig) -> None:
    if config.level != "all" and config.level not in dataset.levels:
        raise UserError(
            f"data set {dataset.name} has no masks at the level {config.level!r}; it has: {', '.join(dataset.levels)}"
        )


def _check_mode(model: Json, config: EvaluationConfig) -> None:
    if config.mode in ("fixed", "per_class", "optimal", "curves") and not model["granularity"]:
        raise UserError("the model has no granularity table; --granularity and --curves need one (--adapter)")


def sampled(
    dataset: Dataset, tasks: Sequence[ShardTask[EvaluationConfig]], config: EvaluationConfig
) -> list[ShardTask[EvaluationConfig]]:
    """The tasks of the masks that are drawn, and of their images alone. All images are read to know their masks.

    A mask's draw depends on its id alone, so that a larger sample holds the smaller one. UserError if there is no mask.
    """
    draws: dict[str, list[tuple[float, str, str]]] = {}
    rejects: Counter[str] = Counter()
    rejected: set[str] = set()
    for task in tasks:
        loaded = load(task)
        rejects.update(reject.reason for reject in loaded.rejects)
        rejected |= {reject.image_id for reject in loaded.rejects if reject.instance_id is None}
        for target in loaded.targets:
            draw = sample_draw(config.seed, dataset.name, target.target_id)
            draws.setdefault(target.level, []).append((draw, target.target_id, target.image.image_id))
    if not draws:
        raise _nothing(dataset, rejects)
    drawn = [each for of_level in draws.values() for each in sorted(of_level)[: config.sample]]
    # What cannot be used is looked at again, so that it is recorded.
    chosen, images = frozenset(each[1] for each in drawn), {each[2] for each in drawn} | rejected
    kept = [
        replace(task, entries=tuple(entry for entry in task.entries if entry.image_id in images), chosen=chosen)
        for task in tasks
    ]
    return [task for task in kept if task.entries]


def limited(tasks: Sequence[ShardTask[EvaluationConfig]], masks: int) -> list[ShardTask[EvaluationConfig]]:
    """The tasks of the first so many masks. The images are read to count theirs, one after the other."""
    kept = []
    for task in tasks:
        entries = []
        limit = masks
        for entry in task.entries:
            entries.append(entry)
            masks -= len(load(replace(task, entries=(entry,))).targets)
            if masks <= 0:
                break
        kept.append(replace(task, entries=tuple(entries), limit=limit))
        if masks <= 0:
            break
    return kept


def _is_finished(task: ShardTask[Any], sidecar: Json) -> bool:
    enough = sidecar["whole"] or (task.limit is not None and sidecar["masks"] >= task.limit)
    return bool(enough and sidecar["images"] >= len(task.entries))


def collect(store: Store, tasks: Sequence[ShardTask[Any]]) -> Tables:
    """The tables of all shards in one piece, without the masks of shards that hold more than their task asks for."""
    parts: dict[str, list[pa.Table]] = {name: [] for name in EVALUATION_FILES}
    for task in tasks:
        tables = {name: read_table(store, f"{name}/{shard_name(task.index)}.parquet") for name in parts}
        images = pa.array([entry.image_id for entry in task.entries])
        targets = tables["targets"]
        targets = targets.filter(pc.is_in(targets["image_id"], images)).slice(0, task.limit)
        ids = targets["target_id"].combine_chunks()
        for name, table in tables.items():
            column, wanted = ("image_id", images) if name == "rejects" else ("target_id", ids)
            parts[name].append(table.filter(pc.is_in(table[column], wanted)))
    return {name: pa.concat_tables(tables).combine_chunks() for name, tables in parts.items()}


def _nothing(dataset: Dataset, rejects: Counter[str]) -> UserError:
    why = "; ".join(f"{count} times: {REASONS[reason]}" for reason, count in rejects.items())
    classes = f"; its classes: {', '.join(dataset.classes)}" if dataset.selection else ""
    return UserError(f"{dataset.name} has no mask to evaluate there" + (f" ({why})" if why else "") + classes)


def _write(place: Store, tables: Tables, summary: Json) -> None:
    for name, table in tables.items():
        place.write(f"{name}.parquet", parquet_bytes(table))
    place.write_json(SUMMARY, summary)


def _timings(made: Made) -> Json:
    """Throughput of the shards that this run has made, and the latency of single clicks."""
    return {
        "images": made.images,
        "masks": sum(done.sidecar["masks"] for done in made.shards),
        "seconds": made.seconds,
        **asdict(made.times),
        "latency": None if made.answer is None else asdict(made.answer),
    }


def _read_timings(place: Store) -> Json | None:
    """The timings that this run or an earlier one has left, None if there are none that can be used."""
    try:
        timings = place.read_json(TIMINGS)
        numbers = {key: float(timings[key]) for key in ("masks", "seconds")}
        latency = timings["latency"] and {key: float(timings["latency"][key]) for key in ("median", "p95", "clicks")}
    except (UserError, KeyError, TypeError, ValueError):
        return None
    return {**numbers, "latency": latency}
