"""``agg pretrain``: a click model for whole objects."""

from __future__ import annotations

from typing import Any

import click

from agg_pipeline.cli.options import finite, named_root, with_options
from agg_pipeline.cli.training import TRAINING_OPTIONS, own_folder, resolve_recipe, run_prepared
from agg_pipeline.datasets.registry import known_dataset
from agg_pipeline.training.pretrain import PretrainInputs, prepare
from agg_pipeline.training.training_options import TrainingOptions
from schemas.errors import UserError
from schemas.training import PretrainConfig

_OWN_OPTIONS = (
    click.option(
        "--data",
        multiple=True,
        default=("demo:20000",),
        help="Data set as NAME:ROOT; demo:N are N generated scenes.",
    ),
    click.option(
        "--weight",
        multiple=True,
        type=click.FloatRange(min=0),
        callback=finite,
        help="Of each --data, in the same order.",
    ),
    click.option("--split", multiple=True, help="Of each --data, in the same order: a name, a list file, or ''."),
    click.option("--checkpoint", default="", help="Click model to start from. Default: from nothing."),
    click.option("--out", required=True, help="Folder of the model, the checkpoint and the log."),
    click.option("--recipe", default="small-sets", help="small-sets, or a TOML file."),
    click.option("--architecture", help="Of a model that starts from nothing."),
    click.option("--size", type=int, help="Side of the input, pixels."),
)


@click.command("pretrain")
@with_options(*_OWN_OPTIONS, *TRAINING_OPTIONS)
def group(
    data: tuple[str, ...],
    weight: tuple[float, ...],
    split: tuple[str, ...],
    checkpoint: str,
    out: str,
    recipe: str,
    size: int | None,
    max_minutes: float | None,
    checkpoint_minutes: float,
    look_minutes: float,
    validation_masks: int,
    resume: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Teach a click model whole objects, from images with object masks."""
    if size is not None:
        settings["augment"] = {"size": size}
    if checkpoint and settings["architecture"] is not None:
        raise UserError("--architecture is of a model that starts from nothing; leave it out, or --checkpoint")
    config = resolve_recipe(PretrainConfig(), "pretrain", recipe, settings)
    if split and len(split) != len(data):
        raise UserError(
            f"{len(split)} splits for {len(data)} data sets; give one to each ('' for the usual one), or none"
        )
    sets = zip(map(_named, data), split or [""] * len(data), strict=True)
    inputs = PretrainInputs(tuple((name, root, own) for (name, root), own in sets), weight, checkpoint)
    with own_folder(out) as folder:
        options = TrainingOptions(folder, resume, overwrite, max_minutes, checkpoint_minutes, validation_masks)
        run_prepared(config, options, prepare(config, inputs, options), look_minutes)


def _named(text: str) -> tuple[str, str]:
    """Name and root of a data set; a name alone is that of a built-in set."""
    name, root = named_root(text)
    if name and not root:
        raise UserError(f"--data {text}: nothing after the colon")
    known_dataset(name or root.partition(":")[0])
    return (name, root) if name else (root, "")
