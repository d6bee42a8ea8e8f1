"""``agg eval adapted``: a fine-tuned model beside its base model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import cloup

from agg_pipeline.cli.config_options import config_options, configured, resolve
from agg_pipeline.cli.dry_run import print_dry_run
from agg_pipeline.cli.option_groups import examples, gathered, given, option, options_of
from agg_pipeline.cli.options import CHECKPOINT, FILE, PLACE, Data, Model, Run
from agg_pipeline.cli.start_and_stop import recorded
from agg_pipeline.evaluation.arms import ARMS
from schemas.config import EVALUATION_PRESETS, EvaluationConfig
from schemas.errors import UserError

if TYPE_CHECKING:
    from agg_pipeline.datasets.dataset import Dataset


@dataclass(frozen=True)
class Arms:
    """Which evaluations are compared."""

    names: tuple[str, ...] = given(
        "--only",
        multiple=True,
        type=click.Choice(list(ARMS)),
        show_default="all",
        help="Make only this evaluation. Can be repeated.",
    )
    calibrate: int = given(
        "--calibrate",
        type=click.IntRange(min=1),
        metavar="PARTS",
        default=30,
        help="Parts of other images from which by-class takes the granularity of each class.",
    )
    calibrate_split: str | None = given(
        "--calibrate-split",
        type=PLACE,
        metavar="SPLIT",
        show_default="the set's training split",
        help="Split of these images.",
    )


ADAPTER = option(
    "--adapter",
    type=FILE,
    default="built-in",
    help="GraCo adapter of the checkpoint. built-in: that of the built-in model.",
)
PICTURES = option(
    "--pictures",
    default=4,
    type=click.IntRange(min=0),
    metavar="MASKS",
    help="Masks that each page shows: this many of the best, median and worst ones.",
)
EVALUATION = {"paper": EVALUATION_PRESETS["paper"]}


@cloup.command(
    "adapted",
    epilog=examples(
        "agg eval adapted --sample 30 --out runs/demo/adapted",
        "agg eval adapted --checkpoint base.pth --adapter adapter.safetensors --only optimal --out runs/optimal",
    ),
)
@cloup.option_group("Data set", *options_of(Data), *config_options(EVALUATION, "sample"))
@cloup.option_group("Model", CHECKPOINT, ADAPTER, *config_options(EVALUATION, "predictor"))
@cloup.option_group("Evaluations", *options_of(Arms), *config_options(EVALUATION, "clicks.max_clicks"))
@cloup.option_group("Run", *options_of(Run), *config_options(EVALUATION, "seed", "batch"), PICTURES)
@configured
@gathered(data=Data, model=Model, arms=Arms, run=Run)
def adapted_command(data: Data, model: Model, arms: Arms, pictures: int, run: Run, settings: dict[str, Any]) -> None:
    """Compare a fine-tuned model with its base model.

    There are five evaluations: the base (base); the base, best of ten first clicks (best-of-10); with the adapter, the
    best granularity for each mask (optimal), one granularity for each class of parts (by-class) and granularity 1.0 for
    objects (whole). Run the same command again to resume.
    """
    from agg_pipeline.cli.eval.evaluating import evaluate
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.datasets.registry import known_dataset
    from agg_pipeline.evaluation.run import check_lost_images, prepare
    from agg_pipeline.evaluation.run_arms import CURVES, TABLES, config_of, fitting, run_arms
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
            others = _others(data, dataset, arms)
            if others is None:
                chosen.remove("by-class")
        checkpoint, adapter = model.files
        if not adapter:
            raise UserError("--adapter is empty")
        # Whether the files fit together is known before the first evaluation, not after those without the adapter.
        used, described = describe_model(checkpoint, adapter, config.predictor.input_size or None)
        models = (
            f"{described['architecture']} at {used.input_size}, sha256 {used.sha256[:16]}, "
            f"adapter {model.adapter}, sha256 {used.adapter_sha256[:16]}"
        )
        if run.dry_run:
            for name in chosen:
                own = config_of(ARMS[name], config)
                files = checkpoint, adapter if ARMS[name].fine_tuned else ""
                click.echo(f"# {name}")
                print_dry_run(*prepare(dataset, *files, own, run.into(f"{run.out}/{name}")), own, run.options)
            return
        say(models)

        def evaluate_into(images: Dataset, with_adapter: bool, own: EvaluationConfig, folder: str) -> None:
            name = folder.rpartition("/")[2]
            arm = "by-class" if name == CURVES else name
            what = f"{arm}: granularity per class, from parts of other images" if name == CURVES else arm
            say(f"[{chosen.index(arm) + 1} of {len(chosen)}] {what}")
            # --limit-images is about the evaluated images.
            options = run.into(folder, limit=images is dataset)
            files = checkpoint, adapter if with_adapter else ""
            check_lost_images(evaluate(images, files, own, None, options, pictures, False, log), run.max_reject_share)

        tables = run_arms(dataset, others, config, chosen, arms.calibrate, run.out, models, evaluate_into)
        for table in tables:
            print_rows(table.title, table.head, table.rows, table.rules)
        say(closing_line(run.out, f"{Store(run.out).anchored().url}/{TABLES}"))


def _others(data: Data, dataset: Dataset, arms: Arms) -> Dataset | None:
    """Other images than the evaluated ones, for by-class; None, with a line, if there are none and none were asked for.

    Raises:
        UserError: there are none, and an option asks for them.
    """
    from agg_pipeline.datasets.registry import known_dataset
    from agg_pipeline.report.printed import say

    split = arms.calibrate_split or known_dataset(data.dataset).default_split
    try:
        if split == dataset.split:
            raise UserError(f"split {split} is evaluated; --calibrate-split names other images")
        return data.open(split)
    except UserError as error:
        if arms.names or arms.calibrate_split:
            raise UserError(f"by-class needs other images: {error}") from error
        say(f"by-class is left out, because it needs other images: {error}")
        return None
