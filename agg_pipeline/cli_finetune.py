"""``agg finetune``: granularity-controllable learning."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from agg_pipeline.cli_options import check_start, read_toml
from agg_pipeline.datasets.registry import DATASETS
from agg_pipeline.finetune import FinetuneOptions, finetune, prepare
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.training.monitor import Monitor
from schemas.config import FinetuneConfig, PredictorConfig, override, validated
from schemas.errors import UserError

RECIPES = files("agg_pipeline") / "recipes"


@click.command("finetune")
@click.option("--proposals", multiple=True, required=True, help="Proposal database, or a run's output folder.")
@click.option("--data", multiple=True, help="Root of its data set, or NAME:ROOT where there are several sets.")
@click.option("--checkpoint", type=click.Path(dir_okay=False), help="Click model. Default: the one that is built in.")
@click.option("--out", required=True, help="Folder of the adapter, the checkpoint and the log.")
@click.option("--recipe", default="paper", help="paper, demo, or a TOML file.")
@click.option("--source", type=click.Choice(["agg", "gt", "gt+agg", "object"]), help="Masks to learn from.")
@click.option("--sampling", type=click.Choice(["image", "global"]), help="Draw a mask of each image, or of all.")
@click.option("--granularity-definition", type=click.Choice(["both", "scale"]), help="Eq. 6, or the scale alone.")
@click.option("--epochs", type=int, help="Each draws one mask of every image.")
@click.option("--batch", type=int, help="Samples of a step.")
@click.option("--accumulate", type=int, help="Parts in which a batch goes through the network.")
@click.option("--lr", type=float, help="Learning rate.")
@click.option("--lora/--no-lora", default=None, help="Without: all weights are trained.")
@click.option("--granularity/--no-granularity", default=None, help="Without: no granularity table.")
@click.option("--rank", type=int, help="Of LoRA.")
@click.option("--lora-targets", type=click.Choice(["q,k", "q,v"]), help="Projections that LoRA updates.")
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed"]), help="Arithmetic.")
@click.option("--device", help="cpu, cuda or cuda:N.")
@click.option("--devices", type=int, help="Processes (cpu) or GPUs (cuda) that share each batch.")
@click.option("--threads", type=int, help="Of each process, on the CPU.")
@click.option("--loaders", type=int, help="Processes that prepare samples, 0 for none.")
@click.option("--seed", type=int, help="Seed of every random choice.")
@click.option("--max-minutes", type=click.FloatRange(min=0), help="End cleanly after so many minutes.")
@click.option("--checkpoint-minutes", default=10.0, type=click.FloatRange(min=0), help="At least between checkpoints.")
@click.option("--look-minutes", default=2.0, type=click.FloatRange(min=0), help="Between looks at validation masks.")
@click.option("--validation-masks", default=8, type=click.IntRange(min=0), help="Of each level, 0 for no looks.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint.")
@click.option("--overwrite", is_flag=True, help="Delete another training's files first.")
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
    check_start(out)
    settings["lora_targets"] = None if lora_targets is None else lora_targets.replace(",", "")
    config = _resolve(recipe, settings)
    options = FinetuneOptions(
        proposals,
        dict(_root(each) for each in data),
        checkpoint or str(default_checkpoint()),
        Path(out).resolve(),
        resume,
        overwrite,
        max_minutes,
        checkpoint_minutes,
        validation_masks,
    )
    prepared = prepare(config, options)
    for note in prepared.notes:
        click.echo(note)
    predictor = PredictorConfig(device=config.device, threads=config.threads)
    monitor = Monitor(options.out, prepared.validation, predictor, look_minutes)
    try:
        done, path = finetune(prepared, monitor, monitor.finish)
    except KeyboardInterrupt:
        click.echo("stopped; the same command with --resume goes on from the last checkpoint", err=True)
        sys.exit(130)
    finally:
        monitor.close()
    how = "" if done.step == done.steps else f" after {done.step} of {done.steps} steps; --resume goes on"
    click.echo(f"{path} is what was learnt{how}")


def _root(text: str) -> tuple[str, str]:
    """Name of a data set, "" for none, and its root."""
    name, colon, root = text.partition(":")
    return (name, root) if colon and name in DATASETS else ("", text)


def _resolve(recipe: str, settings: dict[str, Any]) -> FinetuneConfig:
    """Recipe < command line."""
    known = sorted(entry.name.removesuffix(".toml") for entry in RECIPES.iterdir() if entry.name.endswith(".toml"))
    path = Path(str(RECIPES / f"{recipe}.toml")) if recipe in known else Path(recipe)
    if recipe not in known and path.suffix != ".toml":
        raise UserError(f"unknown recipe {recipe!r}; possible: {', '.join(known)}, or a .toml file")
    config: FinetuneConfig = override(FinetuneConfig(recipe=path.stem), read_toml(path))
    config = override(config, {name: value for name, value in settings.items() if value is not None})
    return validated(config)
