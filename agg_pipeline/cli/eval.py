"""``agg eval``: evaluate click models and compare results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from agg_pipeline.cli.options import (
    DATA_OPTIONS,
    MODEL_OPTIONS,
    RUN_OPTIONS,
    check_start,
    finite,
    how_to_go_on,
    resolve,
    with_options,
)
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import known_dataset, open_dataset
from agg_pipeline.datasets.selection import Selection, select
from agg_pipeline.evaluation.arms import ARMS, CURVES, TABLES, evaluate_adapted, fitting
from agg_pipeline.evaluation.compare import comparison, same_masks
from agg_pipeline.evaluation.evaluation_page import write_report
from agg_pipeline.evaluation.per_class import class_granularities
from agg_pipeline.evaluation.results import Evaluation, open_results
from agg_pipeline.evaluation.results_table import RunningNoc, print_evaluation
from agg_pipeline.evaluation.run import check_lost_images, run
from agg_pipeline.execution.job import RunOptions
from agg_pipeline.models.checkpoints import default_adapter, default_checkpoint
from agg_pipeline.models.model_files import describe_model
from agg_pipeline.report.progress import RunProgress
from agg_pipeline.report.terminal import print_rows
from agg_pipeline.report.text_table import latex, markdown
from agg_pipeline.storage.store import Store
from schemas.config import EVALUATION_PRESETS, EvaluationConfig
from schemas.errors import StorageError, UserError


class Granularity(click.ParamType[str | float]):
    """none, optimal, or a number in [0, 1]."""

    name = "none|optimal|0..1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | float:
        """The word, or the number."""
        if value in ("none", "optimal"):
            return str(value)
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is neither none nor optimal nor a number", param, ctx)
        if not 0 <= number <= 1:
            self.fail(f"{value} is not in [0, 1]", param, ctx)
        return number


@click.group("eval")
def group() -> None:
    """Evaluate click models by the field's protocol, and compare results."""


BUILT_IN = "built-in"
_OWN_OPTIONS = (
    click.option(
        "--adapter",
        default="",
        help=f"GraCo adapter of the checkpoint: makes granularity an input. {BUILT_IN}: that of the built-in model.",
    ),
    click.option("--out", required=True, help="Folder of the results."),
    click.option("--preset", type=click.Choice(sorted(EVALUATION_PRESETS)), help="Default: paper."),
    click.option("--level", type=click.Choice(["all", "object", "part"]), help="Which masks. Default: all of the set."),
    click.option(
        "--granularity",
        type=Granularity(),
        help="Of every prediction; optimal: the best of 0.1 ... 1.0 for each mask, chosen by the ground truth.",
    ),
    click.option(
        "--granularity-from",
        "other",
        help="One for each class, the best in these results (of --curves, on other images).",
    ),
    click.option("--curves", is_flag=True, help="As optimal, with all ten interactions to their end."),
    click.option(
        "--best-of",
        "attempts",
        type=click.IntRange(min=1),
        help="Without granularity: the best of N interactions with different first clicks. A control for optimal.",
    ),
    click.option(
        "--carry-roi/--no-carry-roi",
        default=None,
        help="Keep the region of interest from one interaction to the next.",
    ),
    click.option("--max-clicks", type=click.IntRange(min=1), help="Clicks after which an interaction ends."),
    click.option(
        "--target",
        type=click.FloatRange(0, 1),
        callback=finite,
        help="IoU at which one ends. Default: 0.9 (objects), 0.85 (parts).",
    ),
    click.option("--threshold", type=float, help="A pixel above this probability is in the mask."),
    click.option("--early-stop/--no-early-stop", default=None, help="End interactions that have reached the target."),
    click.option("--sample", type=click.IntRange(min=1), help="So many masks of each level, drawn by the seed."),
    click.option("--limit-objects", type=click.IntRange(min=1), help="Only the plan's first N masks."),
    click.option(
        "--pictures", default=4, type=click.IntRange(min=0), help="Best, median, worst masks in the report: N of each."
    ),
    click.option("--with-published", is_flag=True, help="Set the paper's rows beside ours in the report."),
)


@group.command("run")
@with_options(*DATA_OPTIONS, *MODEL_OPTIONS, *_OWN_OPTIONS, *RUN_OPTIONS)
def run_command(
    dataset: str,
    data: str,
    split: str | None,
    exclude_list: str,
    classes: tuple[str, ...],
    skip_classes: tuple[str, ...],
    checkpoint: str | None,
    adapter: str,
    out: str,
    preset: str | None,
    config: Path | None,
    granularity: str | float | None,
    other: str | None,
    curves: bool,
    attempts: int | None,
    target: float | None,
    limit_images: int | None,
    limit_objects: int | None,
    workers: int | None,
    scheduler: str | None,
    max_reject_share: float,
    pictures: int,
    with_published: bool,
    overwrite: bool,
    verify: bool,
    **settings: Any,
) -> None:
    """Simulate interactions with every mask of a data set. The same command again goes on where it stopped."""
    check_start(out)
    if curves and settings["early_stop"]:
        raise UserError("--curves runs all interactions to their end; leave --early-stop out")
    if other is not None:
        if curves or attempts is not None or granularity is not None:
            raise UserError("--granularity-from is a mode of its own; leave --granularity, --curves and --best-of out")
        settings |= {"mode": "per_class", "granularities": class_granularities(other)}
    else:
        settings |= _mode(granularity, curves, attempts)
    settings |= {"object_target": target, "part_target": target}
    resolved = resolve(EVALUATION_PRESETS, preset, config, settings)
    listed = select(
        open_dataset(dataset, data, split or known_dataset(dataset).evaluation_split),
        Selection(exclude_list, classes, skip_classes),
    )
    files = checkpoint or str(default_checkpoint()), _adapter_file(adapter)
    options = RunOptions(out, limit_images, workers, scheduler, overwrite, verify)
    with _stopping(overwrite):
        evaluation = _evaluate(listed, files, resolved, limit_objects, options, pictures, with_published)
    check_lost_images(evaluation, max_reject_share)


def _adapter_file(name: str) -> str:
    return str(default_adapter()) if name == BUILT_IN else name


@contextmanager
def _stopping(overwrite: bool) -> Iterator[None]:
    """Says how to go on when an evaluation is stopped or cannot be written."""
    try:
        yield
    except StorageError as error:
        raise UserError(f"{error}; {how_to_go_on(overwrite)}") from error
    except KeyboardInterrupt:
        click.echo(f"stopped; {how_to_go_on(overwrite)}", err=True)
        sys.exit(130)


def _evaluate(
    dataset: Dataset,
    files: tuple[str, str],
    config: EvaluationConfig,
    limit_objects: int | None,
    options: RunOptions,
    pictures: int,
    with_published: bool,
) -> Evaluation:
    """Run an evaluation, and print and write what it found. files: checkpoint and adapter, "" for none."""
    progress = RunProgress(RunningNoc())
    try:
        evaluation = run(dataset, *files, config, limit_objects, options, progress.callbacks())
    finally:
        progress.close()
    print_evaluation(evaluation)
    write_report(evaluation, dataset, pictures, with_published)
    click.echo(f"{evaluation.store.url}/report.html shows it; the tables are beside it")
    return evaluation


@group.command("adapted")
@with_options(*DATA_OPTIONS, *MODEL_OPTIONS)
@click.option(
    "--adapter", default=BUILT_IN, help=f"GraCo adapter of the checkpoint. {BUILT_IN}: that of the built-in model."
)
@click.option("--out", required=True, help="Folder of a folder of results for each evaluation, and the tables.")
@click.option("--only", "names", multiple=True, type=click.Choice(list(ARMS)), help="These alone. Default: all.")
@click.option("--sample", type=click.IntRange(min=1), help="So many masks of each level, drawn by the seed.")
@click.option("--calibrate", default=30, type=click.IntRange(min=1), help="Parts of other images for by-class.")
@click.option("--calibrate-split", help="Where these are. Default: the split that training takes.")
@click.option("--max-clicks", type=click.IntRange(min=1), help="Clicks after which an interaction ends.")
@click.option("--pictures", default=4, type=click.IntRange(min=0), help="In each report: N of each kind.")
@with_options(*RUN_OPTIONS)
def adapted_command(
    dataset: str,
    data: str,
    split: str | None,
    exclude_list: str,
    classes: tuple[str, ...],
    skip_classes: tuple[str, ...],
    checkpoint: str | None,
    adapter: str,
    out: str,
    names: tuple[str, ...],
    calibrate: int,
    calibrate_split: str | None,
    config: Path | None,
    limit_images: int | None,
    workers: int | None,
    scheduler: str | None,
    max_reject_share: float,
    pictures: int,
    overwrite: bool,
    verify: bool,
    **settings: Any,
) -> None:
    """A model with its adapter beside its base: the best granularity of each mask, granularity 1.0 for objects, one for
    each class of parts, and the base with ten attempts. The same command again goes on where it stopped."""
    check_start(out)
    resolved = resolve(EVALUATION_PRESETS, None, config, settings)
    known = known_dataset(dataset)
    selection = Selection(exclude_list, classes, skip_classes)
    listed = select(open_dataset(dataset, data, split or known.evaluation_split), selection)
    chosen, others = fitting(names, listed), None
    if "by-class" in chosen:
        elsewhere = calibrate_split or known.default_split
        try:
            if elsewhere == listed.split:
                raise UserError(f"split {elsewhere} is evaluated; --calibrate-split names other images")
            others = select(open_dataset(dataset, data, elsewhere), selection)
        except UserError as error:
            if names or calibrate_split:
                raise UserError(f"by-class needs other images: {error}") from error
            click.echo(f"by-class is left out, because it needs other images: {error}")
            chosen.remove("by-class")
    model = checkpoint or str(default_checkpoint())
    taught = _adapter_file(adapter)
    if not taught:
        raise UserError("--adapter is empty")
    # What does not fit together is known before the first evaluation, not after those without the adapter.
    used, described = describe_model(model, taught, resolved.predictor.input_size or None)
    models = (
        f"{described['architecture']} at {used.input_size}, sha256 {used.sha256[:16]}, "
        f"adapter {adapter}, sha256 {used.adapter_sha256[:16]}"
    )
    click.echo(models)

    def evaluate(images: Dataset, with_adapter: bool, own: EvaluationConfig, folder: str) -> None:
        name = folder.rpartition("/")[2]
        arm = "by-class" if name == CURVES else name
        what = f"{arm}: granularity per class, from parts of other images" if name == CURVES else arm
        click.echo(f"[{chosen.index(arm) + 1} of {len(chosen)}] {what}")
        # Other images are not those that were limited.
        limit = limit_images if images is listed else None
        options = RunOptions(folder, limit, workers, scheduler, overwrite, verify)
        made = _evaluate(images, (model, taught if with_adapter else ""), own, None, options, pictures, False)
        check_lost_images(made, max_reject_share)

    with _stopping(overwrite):
        tables = evaluate_adapted(listed, others, resolved, chosen, calibrate, out, models, evaluate)
    for table in tables:
        print_rows(table.title, table.head, table.rows, table.rules)
    click.echo(f"{Store(out).anchored().url}/{TABLES} holds these tables")


def _mode(granularity: str | float | None, curves: bool, attempts: int | None) -> dict[str, Any]:
    """What the options say of the configuration's mode; nothing where none of them was given."""
    if attempts is not None:
        if curves or granularity not in (None, "none"):
            raise UserError("--best-of is a control without granularity; leave --granularity and --curves out")
        return {"mode": "best_of", "attempts": attempts}
    if curves:
        if granularity not in (None, "optimal"):
            raise UserError("--curves runs all granularities; leave --granularity out")
        return {"mode": "curves", "early_stop": False}
    if isinstance(granularity, float):
        return {"mode": "fixed", "granularity": granularity}
    return {"mode": granularity}


@group.command("compare")
@click.argument("results", nargs=-1, required=True)
@click.option("--intersect", is_flag=True, help="Compare the masks that all results have.")
@click.option("--with-published", is_flag=True, help="Set the paper's rows beside ours, marked as published.")
@click.option("--format", "form", default="text", type=click.Choice(["text", "markdown", "latex"]))
def compare_command(results: tuple[str, ...], intersect: bool, with_published: bool, form: str) -> None:
    """One table over folders of results: figures, and differences from the first one with paired intervals."""
    opened = same_masks([open_results(path) for path in results], intersect)
    tables = comparison(opened, with_published)
    if form == "text":
        for table in tables:
            print_rows(table.title, table.head, table.rows, table.rules)
    else:
        click.echo((markdown if form == "markdown" else latex)(tables), nl=False)
