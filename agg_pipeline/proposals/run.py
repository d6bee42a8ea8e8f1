"""``agg proposals run``: from a data set to a proposal database, resumable at every shard."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agg_pipeline.database.contents import DATABASE, DATABASE_LAYOUT
from agg_pipeline.database.fallen_images import check_rejects
from agg_pipeline.database.manifest import finish, finished
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.execution.chain import Times
from agg_pipeline.execution.job import Job, Progress, check_end, make_shards, resume, tasks_of
from agg_pipeline.execution.plan import make_plan
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.run_workers import chosen_device, environment
from agg_pipeline.execution.shard_files import PLAN
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.models.chosen_model import ChosenModel, describe_chosen
from agg_pipeline.models.other_models import NamedModel
from agg_pipeline.proposals.pipeline import chain
from agg_pipeline.storage.lock import owned
from agg_pipeline.storage.store import Store
from schemas.canonical import Json
from schemas.config import ProposalsConfig
from schemas.errors import UserError
from schemas.resolve import of_other_model, on_device
from schemas.tables import IMAGE_REASONS
from schemas.words import excerpt


@dataclass(frozen=True)
class Summary:
    """What a run leaves.

    Attributes:
        database: the database.
        manifest: its manifest.
        images_done: number of images that this run has worked on.
        seconds: duration of the run.
        times: busy seconds of the workers, for the shards that this run made.
    """

    database: ProposalDatabase
    manifest: Json
    images_done: int
    seconds: float
    times: Times = field(default_factory=Times)

    @property
    def reject_share(self) -> float:
        """Share of the images that fell out; those that legitimately have no object do not count as such."""
        totals = self.manifest["totals"]
        return _lost_images(totals) / max(1, int(totals["planned_images"]))


def check_lost_images(summary: Summary, most: float) -> None:
    """UserError with the most frequent reasons if more than this share of the images fell out."""
    if summary.reject_share > most:
        database = summary.database
        shards = [index for index, sidecar in database.sidecars.items() if _lost_images(sidecar)]
        rejects = database.table("rejects", shards=shards)
        images = summary.manifest["totals"]["planned_images"]
        check_rejects(rejects, images, most, f"{database.store.url}/rejects")


def _lost_images(sidecar: Json) -> int:
    return sum(sidecar["rejects"].get(reason, 0) for reason in IMAGE_REASONS)


def prepare(
    dataset: Dataset,
    model: ChosenModel,
    config: ProposalsConfig,
    options: RunOptions,
    say: Callable[[str], None] = lambda _line: None,
) -> tuple[Store, Job]:
    """Describe a run; nothing is written.

    Args:
        dataset: the data set.
        model: path of the click model, or another model.
        config: configuration of the proposals.
        options: output folder, limits and workers.
        say: called with a line to be shown while workers are waited for.

    Returns:
        The folder of the database, and the job that makes its shards.

    Raises:
        UserError: device, model or output folder cannot be used.
    """
    device = chosen_device(config.predictor, options, say)
    config = on_device(config, device.name)
    place = Store(options.out).anchored()
    if place.exists(PLAN):
        raise UserError(f"{place.url} is a proposal database itself; give the folder around it as --out")
    store = place.below(DATABASE)
    if isinstance(model, NamedModel):
        config = of_other_model(config)
        _check_maps(model)
    files, described = describe_chosen(model, "", config.predictor.input_size or None)
    plan = make_plan(DATABASE_LAYOUT, dataset, described, environment(device), config)
    job = Job(
        layout=DATABASE_LAYOUT,
        plan=plan,
        tasks=tasks_of(dataset, config, config.batch.images_per_shard, options.limit_images),
        chain=chain(config),
        model=files,
        predictor=config.predictor,
        device=str(device),
        finished=_is_finished,
        drop=partial(store.remove_all, DATABASE_LAYOUT.summaries),
    )
    return store, job


def run(
    dataset: Dataset,
    model: ChosenModel,
    config: ProposalsConfig,
    options: RunOptions,
    progress: Progress,
    report: Callable[[Summary, Callable[[], None]], None] = lambda _summary, _check: None,
) -> Summary:
    """Make what is missing of the database below ``options.out``, and finish it (manifest, sampling weights, card).

    Args:
        dataset: the data set.
        model: path of the click model, or another model.
        config: configuration of the proposals.
        options: output folder, limits and workers.
        progress: called while the run works.
        report: writes what shows the database, while the run still owns its folder. Called with the summary, and with a
            check to call before each change, which raises UserError if the folder is another run's by now.

    Raises:
        UserError: for everything that a user can mend. Finished shards stay, and the same call resumes.
    """
    store, job = prepare(dataset, model, config, options, progress.say)
    plan = job.plan
    started = time.perf_counter()
    with owned(store, unseen=options.scheduler is not None) as ownership:
        found = resume(ownership, DATABASE_LAYOUT, plan, options, progress)
        made = make_shards(ownership, job, found, options, progress)
        found = dict(sorted((found | made.sidecars).items()))
        # A run that has made nothing has read the folder a moment ago.
        if made.shards or ownership.disputed:
            check_end(ownership, DATABASE_LAYOUT, plan, found)
        manifest = None if options.verify else finished(store, plan, found)
        if manifest is None:
            manifest = finish(store, plan, found, ownership.check)
        database = ProposalDatabase(store, plan, found)
        summary = Summary(database, manifest, made.images, time.perf_counter() - started, made.times)
        report(summary, ownership.check)
    return summary


def _check_maps(model: NamedModel) -> None:
    """UserError if AGG cannot use what a model gives: several maps, or maps that Eq. 4 cannot compare."""
    if model.facts.candidates > 1:
        raise UserError(
            f"{excerpt(model.text)} gives {model.facts.candidates} maps, of which the ground truth has to choose, "
            "and a part has none; use it in agg eval run, or a model with one map"
        )
    if not model.facts.probabilities:
        raise UserError(
            f"{model.facts.architecture} gives no probabilities, which the granularity is estimated from; "
            "use it in agg eval run"
        )


def _is_finished(task: ShardTask[Any], sidecar: Json) -> bool:
    return bool(sidecar["images"] >= len(task.entries))
