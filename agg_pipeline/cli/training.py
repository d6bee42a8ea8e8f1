"""Options of ``agg finetune`` and ``agg pretrain``, and what both do with a training."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import click

from agg_pipeline.cli.options import check_start, finite, read_toml
from agg_pipeline.storage.lock import owned
from agg_pipeline.storage.store import Store
from agg_pipeline.training.run import Prepared, run_training
from agg_pipeline.training.training_folder import CHECKPOINT
from agg_pipeline.training.training_monitor import Monitor
from agg_pipeline.training.training_options import TrainingOptions
from schemas.config import PredictorConfig
from schemas.errors import UserError
from schemas.resolve import override, validated
from schemas.training import FinetuneConfig, PretrainConfig, TrainingConfig

Config = TypeVar("Config", FinetuneConfig, PretrainConfig)

RECIPES = files("agg_pipeline") / "recipes"
"""Folders of TOML files, one for each command."""

TRAINING_OPTIONS = (
    click.option("--epochs", type=int, help="How long."),
    click.option("--batch", type=int, help="Samples of a step."),
    click.option("--accumulate", type=int, help="Parts in which a batch goes through the network."),
    click.option("--lr", type=float, help="Learning rate."),
    click.option("--precision", type=click.Choice(["32-true", "bf16-mixed"]), help="Arithmetic."),
    click.option("--device", help="cpu, cuda or cuda:N."),
    click.option("--devices", type=int, help="Processes (cpu) or GPUs (cuda) that share each batch."),
    click.option("--threads", type=int, help="Of each process, on the CPU."),
    click.option("--loaders", type=int, help="Processes that prepare samples, 0 for none."),
    click.option("--seed", type=int, help="Seed of every random choice."),
    click.option(
        "--max-minutes", type=click.FloatRange(min=0), callback=finite, help="End cleanly after so many minutes."
    ),
    click.option(
        "--checkpoint-minutes", default=5.0, type=click.FloatRange(min=0), callback=finite, help="Between checkpoints."
    ),
    click.option(
        "--look-minutes",
        default=2.0,
        type=click.FloatRange(min=0),
        callback=finite,
        help="Between looks at validation.",
    ),
    click.option("--validation-masks", default=8, type=click.IntRange(min=0), help="Of each level, 0 for no looks."),
    click.option("--resume", is_flag=True, help="Go on from the last checkpoint."),
    click.option("--overwrite", is_flag=True, help="Delete another training's files first."),
)


@contextmanager
def own_folder(out: str) -> Iterator[Path]:
    """A local output folder, owned until the run ends; UserError if it cannot be, or another run owns it."""
    check_start(out)
    store = Store(out)
    if not store.is_local():
        raise UserError(f"--out {out}: this command writes to a folder of this machine")
    folder = Path(store.anchored().url).resolve()
    with owned(Store(str(folder))):
        yield folder


def recipe_path(command: str, recipe: str) -> Path:
    """The TOML file of a command's recipe by its name, or the file itself; UserError if it is neither."""
    folder = RECIPES / command
    known = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    path = Path(str(folder / f"{recipe}.toml")) if recipe in known else Path(recipe)
    if path.suffix != ".toml":
        raise UserError(f"unknown recipe {recipe!r}; possible: {', '.join(known)}, or a .toml file")
    return path


def resolve_recipe(default: Config, command: str, recipe: str, settings: dict[str, Any]) -> Config:
    """Recipe (a name, or a TOML file) < command line. settings: fields of the configuration; None if not given."""
    path = recipe_path(command, recipe)
    config: Config = override(default, {**read_toml(path), "recipe": path.stem})
    given = {name: value for name, value in settings.items() if value is not None}
    learning = {each.name: given.pop(each.name) for each in fields(TrainingConfig) if each.name in given}
    config = override(config, {**given, "training": learning})
    return validated(config)


def run_prepared(
    config: FinetuneConfig | PretrainConfig,
    options: TrainingOptions,
    prepared: Prepared,
    look_minutes: float,
) -> None:
    """Run a training, and say what it leaves; exits with 130 when it is interrupted."""
    for note in prepared.notes:
        click.echo(f"note: {note}")
    predictor = PredictorConfig(device=config.training.device, threads=config.training.threads)
    monitor = Monitor(options.out, prepared.validation, predictor, look_minutes)
    try:
        done, path = run_training(prepared, monitor, monitor.validate)
    except KeyboardInterrupt:
        there = (options.out / CHECKPOINT).exists()
        how = "with --resume goes on from the last checkpoint" if there else "starts again: there was no checkpoint yet"
        click.echo(f"stopped; the same command {how}", err=True)
        sys.exit(130)
    except OSError as error:
        raise UserError(f"cannot write {options.out}: {error.strerror}") from error
    finally:
        monitor.close()
    how = "" if done.step == done.steps else f" after {done.step} of {done.steps} steps; --resume goes on"
    click.echo(f"{path} is what was learnt{how}")
