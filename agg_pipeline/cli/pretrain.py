"""``agg pretrain``: a click model for whole objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import cloup

from agg_pipeline.cli.config_options import config_options, configured, recipe_option, recipes, resolve_recipe
from agg_pipeline.cli.option_groups import examples, gathered, given, option, options_of
from agg_pipeline.cli.options import TRAINING_SPLIT, finite
from agg_pipeline.cli.places import FILE, PLACE
from agg_pipeline.cli.training import TrainingRun, run_training
from agg_pipeline.cli.training_dry_run import print_training
from schemas.errors import UserError
from schemas.training import PretrainConfig
from schemas.words import plural

if TYPE_CHECKING:
    from agg_pipeline.training.pretrain import PretrainInputs

RECIPES = recipes(PretrainConfig(), "pretrain")


@dataclass(frozen=True)
class Mixture:
    """The data sets of a training, and how often samples come from each."""

    data: tuple[str, ...] = given(
        "--data",
        type=PLACE,
        multiple=True,
        default=("demo:20000",),
        metavar="NAME:FOLDER",
        help="Name and root folder of a data set, or demo:N for N generated scenes. Can be repeated.",
    )
    weight: tuple[float, ...] = given(
        "--weight",
        multiple=True,
        type=click.FloatRange(min=0),
        metavar="RATIO",
        callback=finite,
        show_default="the same for all",
        help="How often samples are drawn from a set, relative to the others. Give it once per --data, in their order.",
    )
    split: tuple[str, ...] = given(
        "--split",
        type=PLACE,
        multiple=True,
        metavar="SPLIT",
        show_default=TRAINING_SPLIT,
        help="Split of a set: its name, a file that lists images, or '' for the default. Give it once per --data, in "
        "their order.",
    )

    def inputs(self, checkpoint: str) -> PretrainInputs:
        """What the training learns from, starting from a checkpoint; "" for none."""
        from agg_pipeline.training.pretrain import PretrainInputs

        if self.split and len(self.split) != len(self.data):
            raise UserError(
                f"{plural(len(self.split), 'split')} for {plural(len(self.data), 'data set')}; "
                "give --split once per --data ('' for the default), or not at all"
            )
        sets = zip(map(_named, self.data), self.split or [""] * len(self.data), strict=True)
        return PretrainInputs(tuple((name, root, own) for (name, root), own in sets), self.weight, checkpoint)


def _named(text: str) -> tuple[str, str]:
    """Name and root of a data set; the built-in set needs no root."""
    from agg_pipeline.datasets.registry import known_dataset

    name, colon, root = text.partition(":")
    built_in = known_dataset(name).built_in
    if not root and not built_in:
        raise UserError(f"data set {name} needs its root folder; give it as --data {name}:FOLDER")
    if colon and not root:
        raise UserError(f"--data {text} lacks a number of scenes after the colon; for example --data {text}1000")
    return name, root


@cloup.command(
    "pretrain",
    epilog=examples(
        "agg pretrain --data demo:1000 --max-minutes 60 --out runs/pretrained",
        "agg pretrain --data sbd:~/sbd --weight 3 --data demo:1000 --weight 1 --device cuda --out runs/pretrained",
    ),
)
@cloup.option_group("Data set", *options_of(Mixture))
@cloup.option_group(
    "Model",
    option(
        "--checkpoint",
        type=FILE,
        default="",
        show_default="none; weights start at random",
        help="File of the click model that the training starts from.",
    ),
    recipe_option("pretrain", "small-sets"),
    *config_options(RECIPES, "architecture", "augment"),
)
@cloup.option_group("Training", *config_options(RECIPES, "training"))
@cloup.option_group("Run", *options_of(TrainingRun))
@configured
@gathered(mixture=Mixture, run=TrainingRun)
def group(mixture: Mixture, checkpoint: str, recipe: str, run: TrainingRun, settings: dict[str, Any]) -> None:
    """Teach a click model to segment whole objects.

    It learns from images with object masks, of one or several data sets. Run the same command with --resume to
    resume.
    """
    from agg_pipeline.training.pretrain import prepare

    if checkpoint and "architecture" in settings:
        raise UserError("--architecture is for a model that is trained from scratch; leave it or --checkpoint out")
    config = resolve_recipe(PretrainConfig(), "pretrain", recipe, settings)
    inputs = mixture.inputs(checkpoint)
    if run.dry_run:
        print_training(config, lambda options: prepare(config, inputs, options), run)
        return
    run_training(run, lambda options, _say: prepare(config, inputs, options))
