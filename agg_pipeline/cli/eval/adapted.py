"""``agg eval adapted``: a fine-tuned model beside its base model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloup

from agg_pipeline.cli.config_options import config_options, configured, resolve
from agg_pipeline.cli.dry_run import NOTHING_WRITTEN, comment, print_config, print_run, seconds_so_far
from agg_pipeline.cli.model_options import CHECKPOINT, adapter_file, model_file
from agg_pipeline.cli.option_groups import examples, gathered, given, option, options_of
from agg_pipeline.cli.options import EVALUATION_SPLIT, TRAINING_SPLIT, Choice, Count, Data, Run
from agg_pipeline.cli.places import FILE, PLACE
from agg_pipeline.cli.start_and_stop import recorded
from agg_pipeline.evaluation.arms import ARMS
from schemas.errors import UserError
from schemas.presets import EVALUATION_PRESETS
from schemas.words import duration

if TYPE_CHECKING:
    from agg_pipeline.datasets.dataset import Dataset
    from agg_pipeline.evaluation.run_arms import PlannedEvaluation


@dataclass(frozen=True)
class Arms:
    """Which evaluations are compared."""

    names: tuple[str, ...] = given(
        "--only",
        multiple=True,
        type=Choice(list(ARMS)),
        show_default="all five",
        help="Make only this evaluation. Can be repeated.",
    )
    calibrate: int = given(
        "--calibrate",
        type=Count(1),
        metavar="PARTS",
        default=30,
        help="Number of parts, in other images, from which by-class takes the granularity of each class.",
    )
    calibrate_split: str | None = given(
        "--calibrate-split",
        type=PLACE,
        metavar="SPLIT",
        show_default=TRAINING_SPLIT,
        help="Split that the parts of --calibrate are taken from.",
    )


ADAPTER = option(
    "--adapter",
    type=FILE,
    default="built-in",
    help="File of a GraCo adapter for the checkpoint. built-in: the adapter of the built-in model.",
)
PICTURES = option(
    "--pictures",
    default=4,
    type=Count(0),
    metavar="MASKS",
    help="Masks that each page shows with their clicks: this many of the best, the median and the worst ones.",
)
EVALUATION = {"paper": EVALUATION_PRESETS["paper"]}


@cloup.command(
    "adapted",
    epilog=examples(
        "agg eval adapted --sample 30 --out runs/demo/adapted",
        "agg eval adapted --checkpoint base.pth --adapter adapter.safetensors --only optimal --out runs/optimal",
    ),
)
@cloup.option_group(
    "Data set", *options_of(Data, defaults={"split": EVALUATION_SPLIT}), *config_options(EVALUATION, "sample")
)
@cloup.option_group("Model", CHECKPOINT, ADAPTER, *config_options(EVALUATION, "predictor"))
@cloup.option_group("Evaluations", *options_of(Arms), *config_options(EVALUATION, "clicks.max_clicks"))
@cloup.option_group("Run", *options_of(Run), *config_options(EVALUATION, "seed", "batch"), PICTURES)
@configured
@gathered(data=Data, arms=Arms, run=Run)
def adapted_command(
    data: Data,
    checkpoint: str | None,
    adapter: str,
    arms: Arms,
    pictures: int,
    run: Run,
    settings: dict[str, Any],
) -> None:
    """Compare a fine-tuned model with its base model.

    There are five evaluations: the base (base); the base, best of ten first clicks (best-of-10); with the adapter, the
    best granularity for each mask (optimal), one granularity for each class of parts (by-class) and granularity 1.0 for
    objects (whole). Run the same command again to resume.
    """
    from agg_pipeline.cli.eval.evaluating import evaluate
    from agg_pipeline.cli.run_log import warn_each
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.datasets.registry import known_dataset
    from agg_pipeline.datasets.selection import unmatched_classes
    from agg_pipeline.evaluation.comparison_page import PAGE
    from agg_pipeline.evaluation.per_class import granularities_or_stand_in
    from agg_pipeline.evaluation.run import check_lost_images
    from agg_pipeline.evaluation.run_arms import evaluations, fitting, run_arms
    from agg_pipeline.models.model_files import describe_model
    from agg_pipeline.report.printed import say
    from agg_pipeline.report.terminal import print_rows
    from agg_pipeline.storage.store import Store

    with recorded(run.out, run.overwrite) as log:
        config = resolve(EVALUATION_PRESETS, None, run.config, settings)
        dataset = data.open(data.split or known_dataset(data.dataset).evaluation_split)
        chosen = fitting(arms.names, dataset)
        others = None
        if "by-class" in chosen:
            others = _others(data, dataset, arms, comment if run.dry_run else say)
            if others is None:
                chosen.remove("by-class")
        base, tuned = model_file(checkpoint), adapter_file(adapter)
        if not tuned:
            raise UserError("--adapter is empty; name an adapter's file, or built-in")
        # Whether the files fit together is known before the first evaluation, not after those without the adapter.
        used, described = describe_model(base, tuned, config.predictor.input_size or None)
        models = (
            f"{described['architecture']} at {used.input_size}, sha256 {used.sha256[:16]}, "
            f"adapter {adapter}, sha256 {used.adapter_sha256[:16]}"
        )
        wanted = dataset, others, config, chosen, arms.calibrate, run.out
        if run.dry_run:
            print_config(config)
            comment(models)
            planned = evaluations(*wanted, granularities_or_stand_in)
            _print_arms(planned, (base, tuned), chosen, run, limited=dataset)
            return
        say(models)
        # Before threads of a run are there, because images are read in copies of this process.
        unmatched = unmatched_classes(dataset, run.limit_images)

        def evaluate_into(planned: PlannedEvaluation) -> None:
            say(_heading(planned, chosen))
            # --limit-images is about the evaluated images.
            options = run.into(planned.folder, limit=planned.dataset is dataset)
            files = base, tuned if planned.fine_tuned else ""
            evaluation = evaluate(planned.dataset, files, planned.config, None, options, pictures, False, log)
            check_lost_images(evaluation, run.max_reject_share)

        tables = run_arms(evaluations(*wanted), run.out, models, evaluate_into)
        for table in tables:
            print_rows(table.title, table.head, table.rows, table.rules)
        warn_each(unmatched)
        say(closing_line(run.out, f"{Store(run.out).anchored().url}/{PAGE}"))


def _print_arms(
    evaluations: Iterable[PlannedEvaluation],
    files: tuple[str, str],
    chosen: Sequence[str],
    run: Run,
    limited: Dataset,
) -> None:
    """Print what each evaluation would do, and the time of all.

    Args:
        evaluations: the evaluations, in their order.
        files: checkpoint and adapter.
        chosen: names of the arms.
        run: where the results go, and who does the work.
        limited: the data set that --limit-images is about.
    """
    from agg_pipeline.evaluation.run import choose_masks, prepare

    seconds = seconds_so_far()
    for planned in evaluations:
        comment("")
        comment(_heading(planned, chosen))
        options = run.into(planned.folder, limit=planned.dataset is limited)
        adapter = files[1] if planned.fine_tuned else ""
        store, job = prepare(planned.dataset, files[0], adapter, planned.config, options, comment)
        job, _ = choose_masks(job, planned.dataset, planned.config, None, comment)
        estimate = print_run(store, job, options)
        seconds += 0.0 if estimate is None else estimate.seconds
    comment("")
    comment(f"time of all evaluations: about {duration(seconds)}")
    comment(NOTHING_WRITTEN)


def _heading(planned: PlannedEvaluation, chosen: Sequence[str]) -> str:
    """An evaluation in words, with the number of its arm among those chosen."""
    calibrates = planned.name != planned.arm
    title = "by-class: granularity per class, from parts of other images" if calibrates else planned.name
    return f"[{chosen.index(planned.arm) + 1} of {len(chosen)}] {title}"


def _others(data: Data, dataset: Dataset, arms: Arms, say: Callable[[str], None]) -> Dataset | None:
    """Open other images than the evaluated ones, for by-class.

    Args:
        data: options of the data set.
        dataset: the split that is evaluated.
        arms: options of the evaluations.
        say: called with why by-class is left out.

    Returns:
        The images; None if there are none and no option asks for them.

    Raises:
        UserError: there are none, and an option asks for them.
    """
    from agg_pipeline.datasets.registry import known_dataset

    split = arms.calibrate_split or known_dataset(data.dataset).default_split
    try:
        if split == dataset.split:
            raise UserError(f"split {split} is evaluated; name another split with --calibrate-split")
        return data.open(split)
    except UserError as error:
        if arms.names or arms.calibrate_split:
            raise UserError(f"by-class needs other images: {error}") from error
        say(f"by-class is left out, because it needs other images: {error}")
        return None
