"""``agg eval run``: from a data set and a model to its metrics (protocol, section 3), resumable at every shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from agg_pipeline.database.fallen_images import check_rejects
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.evaluation.evaluation_tables import EVALUATION_LAYOUT, chosen_masks, collect, write
from agg_pipeline.evaluation.interactions import stages
from agg_pipeline.evaluation.latency import measure_latency
from agg_pipeline.evaluation.mask_choice import limited, nothing_to_evaluate, sampled
from agg_pipeline.evaluation.result_rows import DamagedRowsError
from agg_pipeline.evaluation.results_folder import RESULTS, RUN, SUMMARY, TIMINGS, Evaluation, Tables, with_checksums
from agg_pipeline.evaluation.summary import summarise
from agg_pipeline.evaluation.timings import read_timings, timings_of
from agg_pipeline.execution.chain import Chain
from agg_pipeline.execution.job import Job, Progress, check_end, make_shards, resume, tasks_of
from agg_pipeline.execution.parquet_files import REMAKE, parquet_bytes
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.run_workers import chosen_device, environment
from agg_pipeline.execution.shard_files import PLAN, file_facts
from agg_pipeline.execution.shard_task import ShardTask, images_of
from agg_pipeline.models.chosen_model import ChosenModel, describe_chosen
from agg_pipeline.models.model_files import ModelFiles
from agg_pipeline.models.other_models import NamedModel
from agg_pipeline.storage.lock import Ownership, owned
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.config import EvaluationConfig
from schemas.errors import UserError
from schemas.resolve import of_other_model, on_device
from schemas.words import plural

LARGER_INPUTS = {("davis", 448): 672}
"""Side of the input, in pixels, by data set and the checkpoint's own side, where another one is customary (protocol,
section 2)."""
SAMPLED_IMAGES = 8
"""Images from which the masks of the latency are taken."""


def check_lost_images(evaluation: Evaluation, most: float) -> None:
    """UserError with the most frequent reasons if more than this share of the images fell out."""
    where = f"{evaluation.store.url}/rejects.parquet"
    check_rejects(evaluation.tables["rejects"], evaluation.images, most, where)


def prepare(
    dataset: Dataset,
    model: ChosenModel,
    adapter: str,
    config: EvaluationConfig,
    options: RunOptions,
    say: Callable[[str], None] = lambda _line: None,
) -> tuple[Store, Job]:
    """Describe an evaluation over all masks; nothing is written.

    Args:
        dataset: the data set.
        model: path of the click model, or another model.
        adapter: path of a click model's adapter, "" for none.
        config: configuration of the evaluation.
        options: output folder, limits and workers.
        say: called with a line to be shown while workers are waited for.

    Returns:
        The folder of the shards, and the job that makes them.

    Raises:
        UserError: device, level, model or output folder cannot be used.
    """
    device = chosen_device(config.predictor, options, say)
    config = on_device(config, device.name)
    _check_level(dataset, config)
    if config.sample and options.limit_images is not None:
        raise UserError("--sample draws from all images; leave --limit-images out")
    if isinstance(model, NamedModel):
        config = of_other_model(config)
    files, described = _describe_model(dataset, model, adapter, config)
    _check_mode(described, config)
    place = Store(options.out).anchored()
    store = place.below(RUN)
    _refuse_foreign_results(place, store)
    job = Job(
        layout=EVALUATION_LAYOUT,
        plan=make_plan(EVALUATION_LAYOUT, dataset, described, environment(device), config),
        tasks=tasks_of(dataset, config, config.batch.images_per_shard, options.limit_images),
        chain=Chain(stages(config), write),
        model=files,
        predictor=config.predictor,
        device=str(device),
        finished=_is_finished,
        drop=partial(place.remove_all, RESULTS),
    )
    return store, job


def run(
    dataset: Dataset,
    model: ChosenModel,
    adapter: str,
    config: EvaluationConfig,
    limit_objects: int | None,
    options: RunOptions,
    progress: Progress,
    report: Callable[[Evaluation, Callable[[], None]], None] = lambda _evaluation, _check: None,
) -> Evaluation:
    """Evaluate what is missing of the masks, and write tables and summary into ``options.out``.

    Args:
        dataset: the split that is evaluated.
        model: path of the click model, or another model.
        adapter: path of a click model's adapter, "" for none.
        config: of the evaluation.
        limit_objects: only the first masks, None for all.
        options: where the results go, and who does the work.
        progress: called with the progress so far.
        report: writes what shows the results, while the run still owns their folder. Called with the results, and with
            a check to call before each change, which raises UserError if the folder is another run's by now.

    Raises:
        UserError: for everything that a user can mend. Finished shards stay, and the same call resumes.
    """
    store, job = prepare(dataset, model, adapter, config, options, progress.say)
    plan, place = job.plan, Store(options.out).anchored()
    with owned(store, unseen=options.scheduler is not None) as ownership:
        found = resume(ownership, EVALUATION_LAYOUT, plan, options, progress)
        job, images = choose_masks(job, dataset, config, limit_objects, progress.say)
        made = make_shards(ownership, job, found, options, progress)
        tables = collect(store, job.tasks)
        if not tables["targets"].num_rows:
            raise nothing_to_evaluate(dataset, tables["rejects"].to_pylist())
        try:
            summary = summarise(tables, plan)
        except DamagedRowsError as error:
            raise UserError(f"the shards in {store.url} are damaged (together, {error}); {REMAKE}") from error
        # A run that has made nothing has read the folder a moment ago.
        if made.shards or ownership.disputed:
            check_end(ownership, EVALUATION_LAYOUT, plan, found | made.sidecars)
        _write(ownership, place, tables, summary)
        if made.shards:
            ownership.check()
            place.write_json(TIMINGS, timings_of(made))
        evaluation = Evaluation(place, tables, summary, read_timings(place), images)
        report(evaluation, ownership.check)
    return evaluation


def _describe_model(
    dataset: Dataset, model: ChosenModel, adapter: str, config: EvaluationConfig
) -> tuple[ModelFiles | NamedModel, dict[str, Any]]:
    """Describe the model at the configured input size, which defaults to the one customary for the data set.

    Returns:
        What workers make the model from, and its entry in the plan.
    """
    found, described = describe_chosen(model, adapter, config.predictor.input_size or None)
    if isinstance(found, ModelFiles) and not config.predictor.input_size:
        larger = LARGER_INPUTS.get((dataset.name, found.input_size))
        if larger:
            return describe_chosen(model, adapter, larger)
    return found, described


def choose_masks(
    job: Job, dataset: Dataset, config: EvaluationConfig, limit_objects: int | None, say: Callable[[str], None]
) -> tuple[Job, int]:
    """The job of the masks that are evaluated, and the number of images that are read for them.

    Args:
        job: the job of all masks.
        dataset: the split that is evaluated.
        config: of the evaluation.
        limit_objects: only the first masks, None for all.
        say: called with a line before images are read.

    Raises:
        UserError: there is no mask to draw.
    """
    tasks = list(job.tasks)
    images = images_of(tasks)
    if config.sample:
        say(f"reading {plural(images, 'image')} to draw {plural(config.sample, 'mask')} per level")
        tasks = sampled(dataset, tasks, config)
    if limit_objects is not None:
        tasks = limited(tasks, limit_objects)
    job = replace(job, tasks=tasks, last=partial(measure_latency, _few_images(tasks)))
    return job, images if config.sample else images_of(tasks)


def _few_images(tasks: Sequence[ShardTask[Any]]) -> ShardTask[Any]:
    return replace(tasks[0], entries=tasks[0].entries[:SAMPLED_IMAGES], limit=None)


def _refuse_foreign_results(place: Store, store: Store) -> None:
    """UserError if the folder holds files under the names of results that no evaluation has left there."""
    foreign = [name for name in RESULTS if place.exists(name)]
    if foreign and not store.exists(PLAN):
        raise UserError(f"{place.url} holds {foreign[0]}, which no evaluation has written; choose another folder")


def _check_level(dataset: Dataset, config: EvaluationConfig) -> None:
    if config.level != "all" and config.level not in dataset.levels:
        raise UserError(
            f"data set {dataset.name} has no masks for --level {config.level}; possible: {', '.join(dataset.levels)}"
        )


def _check_mode(model: Json, config: EvaluationConfig) -> None:
    if config.mode in ("fixed", "per_class", "optimal", "curves") and not model["granularity"]:
        if "name" in model:
            raise UserError(f"{model['architecture']} has no granularity; leave the options of granularity out")
        raise UserError(
            "the model has no granularity table, which --granularity and --curves need; give an adapter with --adapter"
        )


def _is_finished(task: ShardTask[Any], sidecar: Json) -> bool:
    enough = sidecar["whole"] or (task.limit is not None and sidecar["masks"] >= task.limit)
    # The same sample may be another if images cannot be read, or can be read again.
    same = sidecar.get("chosen", "") == chosen_masks(task)
    return bool(enough and same and sidecar["images"] >= len(task.entries))


def _write(ownership: Ownership, place: Store, tables: Tables, summary: Json) -> None:
    files = {}
    for name, table in tables.items():
        path, content = f"{name}.parquet", parquet_bytes(table)
        ownership.check()
        place.write(path, content)
        files[path] = file_facts(table, content)
    ownership.check()
    place.write_json(SUMMARY, with_checksums(summary, files))
