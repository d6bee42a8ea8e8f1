"""``agg eval run``: one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import cloup

from agg_pipeline.cli.config_options import config_options, configured, preset_option, resolve
from agg_pipeline.cli.dry_run import NOTHING_WRITTEN, comment, print_config, print_run, seconds_so_far
from agg_pipeline.cli.model_options import Model
from agg_pipeline.cli.option_groups import examples, gathered, given, option, options_of
from agg_pipeline.cli.options import EVALUATION_SPLIT, Count, Data, Run
from agg_pipeline.cli.places import PLACE
from agg_pipeline.cli.start_and_stop import recorded
from schemas.config import EvaluationConfig
from schemas.errors import UserError
from schemas.presets import EVALUATION_PRESETS
from schemas.words import possible

if TYPE_CHECKING:
    from agg_pipeline.datasets.dataset import Dataset

GRANULARITY_WORDS = ("none", "optimal")


def granularity(text: str) -> str | float:
    """none, optimal, or a number in [0, 1]."""
    if text in GRANULARITY_WORDS:
        return text
    try:
        number = float(text)
    except ValueError:
        wrong = f"{text!r} is neither a number nor one of the words"
        raise click.BadParameter(f"{wrong}; {possible(text, GRANULARITY_WORDS)}, or a number from 0 to 1") from None
    if not 0 <= number <= 1:
        raise click.BadParameter(f"{text} is not from 0 to 1")
    return number


@dataclass(frozen=True)
class Mode:
    """Where the granularity of the predictions comes from."""

    granularity: str | float | None = given(
        "--granularity",
        type=granularity,
        metavar="none|optimal|0..1",
        show_default="none",
        help="Granularity of every prediction, from 0 to 1. none: without granularity. optimal: the best of 0.1, 0.2, "
        "..., 1.0 per mask, chosen by the ground truth.",
    )
    others: str | None = given(
        "--granularity-from",
        type=PLACE,
        metavar="FOLDER",
        show_default="none",
        help="Results of --curves on other images: each class gets the granularity that is best in them.",
    )
    curves: bool = given(
        "--curves",
        is_flag=True,
        help="As --granularity optimal, but run the interactions with all ten granularities to their end.",
    )
    attempts: int | None = given(
        "--best-of",
        type=Count(1),
        metavar="INTERACTIONS",
        show_default="none",
        help="Run this many interactions per mask, with different first clicks and without granularity, and keep the "
        "best: the control for --granularity optimal.",
    )

    def changes(self) -> dict[str, Any]:
        """What the options say of the configuration; UserError if they exclude each other."""
        if self.others is not None:
            from agg_pipeline.evaluation.per_class import class_granularities

            if self.curves or self.attempts is not None or self.granularity is not None:
                raise UserError(
                    "--granularity-from cannot be combined with --granularity, --curves or --best-of; leave these out"
                )
            return {"mode": "per_class", "granularities": class_granularities(self.others)}
        if self.attempts is not None:
            if self.curves or self.granularity not in (None, "none"):
                raise UserError("--best-of runs without granularity; leave --granularity and --curves out")
            return {"mode": "best_of", "attempts": self.attempts}
        if self.curves:
            if self.granularity not in (None, "optimal"):
                raise UserError("--curves runs with all granularities; leave --granularity out")
            return {"mode": "curves", "clicks": {"early_stop": False}}
        if isinstance(self.granularity, float):
            return {"mode": "fixed", "granularity": self.granularity}
        return {} if self.granularity is None else {"mode": self.granularity}

    def check(self, dataset: Dataset, config: EvaluationConfig) -> None:
        """UserError if the results of --granularity-from are of other levels or classes than the data set's masks."""
        if self.others is not None:
            from agg_pipeline.evaluation.per_class import check_granularities

            check_granularities(self.others, config.granularities, dataset, config.level)


@dataclass(frozen=True)
class PageOptions:
    """What the page of an evaluation shows."""

    pictures: int = given(
        "--pictures",
        type=Count(0),
        metavar="MASKS",
        default=4,
        help="Masks that the page shows with their clicks: this many of the best, the median and the worst ones.",
    )
    with_published: bool = given(
        "--with-published", is_flag=True, help="Add the paper's rows to the page, marked as published."
    )


LIMIT_OBJECTS = option(
    "--limit-objects",
    type=Count(1),
    metavar="MASKS",
    show_default="all",
    help="Evaluate only this many masks, the first of the plan.",
)


@cloup.command(
    "run",
    epilog=examples(
        "agg eval run --adapter built-in --granularity optimal --sample 20 --out runs/demo/optimal",
        "agg eval run --dataset grabcut --data ~/GrabCut --checkpoint base.pth --out runs/grabcut/base",
    ),
)
@cloup.option_group(
    "Data set",
    *options_of(Data, defaults={"split": EVALUATION_SPLIT}),
    *config_options(EVALUATION_PRESETS, "level", "sample"),
    LIMIT_OBJECTS,
)
@cloup.option_group("Model", *options_of(Model), *config_options(EVALUATION_PRESETS, "predictor"))
@cloup.option_group("Granularity", *options_of(Mode))
@cloup.option_group("Clicks", *config_options(EVALUATION_PRESETS, "clicks"))
@cloup.option_group(
    "Run",
    *options_of(Run),
    preset_option(EVALUATION_PRESETS),
    *config_options(EVALUATION_PRESETS, "seed", "batch"),
    *options_of(PageOptions),
)
@configured
@gathered(data=Data, model=Model, mode=Mode, run=Run, page=PageOptions)
def run_command(
    data: Data,
    limit_objects: int | None,
    model: Model,
    mode: Mode,
    run: Run,
    preset: str | None,
    page: PageOptions,
    settings: dict[str, Any],
) -> None:
    """Simulate interactions with every mask of a data set.

    Run the same command again to resume.
    """
    from agg_pipeline.cli.eval.evaluating import evaluate
    from agg_pipeline.cli.run_log import warn_each
    from agg_pipeline.cli.runs_index import closing_line
    from agg_pipeline.datasets.registry import known_dataset
    from agg_pipeline.datasets.selection import unmatched_classes
    from agg_pipeline.evaluation.published import published
    from agg_pipeline.evaluation.results_folder import REPORT
    from agg_pipeline.evaluation.run import check_lost_images, choose_masks, prepare
    from agg_pipeline.report.printed import say

    if mode.curves and settings.get("early-stop"):
        raise UserError("--curves runs all interactions to their end; leave --early-stop out")
    with recorded(run.out, run.overwrite) as log:
        config = resolve(EVALUATION_PRESETS, preset, run.config, settings, mode.changes())
        dataset = data.open(data.split or known_dataset(data.dataset).evaluation_split)
        mode.check(dataset, config)
        used = model.chosen(settings)
        if run.dry_run:
            print_config(config)
            store, job = prepare(dataset, *used, config, run.options, comment)
            job, _ = choose_masks(job, dataset, config, limit_objects, comment)
            print_run(store, job, run.options, seconds_so_far())
            comment(NOTHING_WRITTEN)
            return
        # Before threads of the run are there, because images are read in copies of this process.
        unmatched = unmatched_classes(dataset, run.limit_images)
        evaluation = evaluate(
            dataset, used, config, limit_objects, run.options, page.pictures, page.with_published, log
        )
        if page.with_published and not published(dataset.name)[1]:
            say(f"--with-published adds nothing, because the paper has no numbers for {dataset.name}")
        warn_each(unmatched)
        say(closing_line(run.out, f"{evaluation.store.url}/{REPORT}"))
        check_lost_images(evaluation, run.max_reject_share)
