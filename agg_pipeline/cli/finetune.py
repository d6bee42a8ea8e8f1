"""``agg finetune``: granularity-controllable learning."""

from __future__ import annotations

from typing import Any

import cloup

from agg_pipeline.cli.config_options import config_options, configured, recipe_option, recipes, resolve_recipe
from agg_pipeline.cli.dry_run import comment
from agg_pipeline.cli.model_options import CHECKPOINT
from agg_pipeline.cli.option_groups import examples, gathered, option, options_of
from agg_pipeline.cli.places import PLACE, named_roots
from agg_pipeline.cli.training import TrainingRun, run_training
from agg_pipeline.cli.training_dry_run import print_training
from schemas.training import FinetuneConfig

RECIPES = recipes(FinetuneConfig(), "finetune")
OWN = (
    "source",
    "sampling",
    "granularity_definition",
    "lora",
    "granularity",
    "rank",
    "lora_targets",
    "order_weight",
    "augment",
)
"""Keys that are options of this command, beside those of the training."""


@cloup.command(
    "finetune",
    epilog=examples(
        "agg finetune --proposals runs/demo --recipe demo --out runs/demo-adapter",
        "agg finetune --proposals runs/sbd --data ~/sbd --checkpoint base.pth --device cuda --out runs/sbd-adapter",
    ),
)
@cloup.option_group(
    "Data set",
    option(
        "--proposals",
        type=PLACE,
        metavar="FOLDER",
        multiple=True,
        required=True,
        help="Proposal database, or the output folder of a run. Can be repeated.",
    ),
    option(
        "--data",
        type=PLACE,
        multiple=True,
        metavar="FOLDER",
        show_default="none; demo has no files",
        help="Root folder of the database's data set; NAME:FOLDER if databases are of several sets, with "
        "the name of the data or of their layout. Can be repeated.",
    ),
)
@cloup.option_group("Model", CHECKPOINT, recipe_option("finetune", "paper"), *config_options(RECIPES, *OWN))
@cloup.option_group("Training", *config_options(RECIPES, "training"))
@cloup.option_group("Run", *options_of(TrainingRun))
@configured
@gathered(run=TrainingRun)
def group(
    proposals: tuple[str, ...],
    data: tuple[str, ...],
    checkpoint: str | None,
    recipe: str,
    run: TrainingRun,
    settings: dict[str, Any],
) -> None:
    """Teach a click model to follow a granularity (GCL).

    It learns from the masks of one or several proposal databases. Run the same command with --resume to resume.
    """
    from agg_pipeline.training.finetune import FinetuneInputs, prepare

    config = resolve_recipe(FinetuneConfig(), "finetune", recipe, settings)
    inputs = FinetuneInputs(proposals, named_roots(data), checkpoint or "")
    if run.dry_run:
        print_training(config, lambda options: prepare(config, inputs, options, comment), run)
        return
    run_training(run, lambda options, say: prepare(config, inputs, options, say))
