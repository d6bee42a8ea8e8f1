"""``agg finetune``: granularity-controllable learning."""

from __future__ import annotations

from typing import Any

import click

from agg_pipeline.cli.options import named_root, with_options
from agg_pipeline.cli.training import TRAINING_OPTIONS, own_folder, resolve_recipe, run_prepared
from agg_pipeline.training.finetune import FinetuneInputs, prepare
from agg_pipeline.training.training_options import TrainingOptions
from schemas.errors import UserError
from schemas.training import FinetuneConfig

_OWN_OPTIONS = (
    click.option("--proposals", multiple=True, required=True, help="Proposal database, or a run's output folder."),
    click.option("--data", multiple=True, help="Root of its data set, or NAME:ROOT where there are several sets."),
    click.option("--checkpoint", type=click.Path(dir_okay=False), help="Click model. Default: the one built in."),
    click.option("--out", required=True, help="Folder of the adapter, the checkpoint and the log."),
    click.option("--recipe", default="paper", help="paper, demo, study, or a TOML file."),
    click.option("--source", type=click.Choice(["agg", "gt", "gt+agg", "object"]), help="Masks to learn from."),
    click.option("--sampling", type=click.Choice(["image", "global"]), help="Draw a mask of each image, or of all."),
    click.option("--granularity-definition", type=click.Choice(["both", "scale"]), help="Eq. 6, or the scale alone."),
    click.option("--lora/--no-lora", default=None, help="Without: all weights are trained."),
    click.option("--granularity/--no-granularity", default=None, help="Without: no granularity table."),
    click.option("--rank", type=int, help="Of LoRA."),
    click.option("--lora-targets", type=click.Choice(["q,k", "q,v"]), help="Projections that LoRA updates."),
)


@click.command("finetune")
@with_options(*_OWN_OPTIONS, *TRAINING_OPTIONS)
def group(
    proposals: tuple[str, ...],
    data: tuple[str, ...],
    checkpoint: str | None,
    out: str,
    recipe: str,
    lora_targets: str | None,
    max_minutes: float | None,
    checkpoint_minutes: float,
    look_minutes: float,
    validation_masks: int,
    resume: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Teach a click model to follow a granularity, from a proposal database."""
    settings["lora_targets"] = None if lora_targets is None else lora_targets.replace(",", "")
    config = resolve_recipe(FinetuneConfig(), "finetune", recipe, settings)
    roots = dict(named_root(each) for each in data)
    if len(roots) < len(data):
        raise UserError("--data is given twice for the same data set; name each as NAME:ROOT")
    inputs = FinetuneInputs(proposals, roots, checkpoint or "")
    with own_folder(out) as folder:
        options = TrainingOptions(folder, resume, overwrite, max_minutes, checkpoint_minutes, validation_masks)
        run_prepared(config, options, prepare(config, inputs, options, click.echo), look_minutes)
