"""Options that several commands have, and how configuration is resolved from preset, TOML file and command line."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from agg_pipeline.datasets.registry import DATASETS
from agg_pipeline.execution.interrupts import watch_interrupts
from agg_pipeline.storage.store import Store
from schemas.config import EvaluationConfig, ProposalsConfig
from schemas.errors import UserError
from schemas.resolve import override, validated

Config = TypeVar("Config", ProposalsConfig, EvaluationConfig)
Option = Callable[[Callable[..., None]], Callable[..., None]]


def finite(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A number, or several, neither NaN nor infinite: a range of floats lets these pass."""
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, float) and not math.isfinite(each):
            raise click.BadParameter(f"{each} is no number", param=parameter)
    return value


DATA_OPTIONS = (
    click.option("--dataset", default="demo", type=click.Choice(sorted(DATASETS)), help="Data set."),
    click.option("--data", default="", help="Root folder of the data set (any path or URL that fsspec knows)."),
    click.option("--split", help="Name of a split, or a list file. Default: the one that the command is for."),
    click.option("--exclude-list", default="", help="File with ids of images to leave out, one in each line."),
    click.option(
        "--class", "classes", multiple=True, help="Only this class (name, or its place in the set's list from 0)."
    ),
    click.option("--skip-class", "skip_classes", multiple=True, help="Not this class."),
)
MODEL_OPTIONS = (
    click.option(
        "--checkpoint", type=click.Path(dir_okay=False), help="Click model. Default: the one that is built in."
    ),
    click.option("--input-size", type=int, help="Side of the model's input, pixels. Default: the checkpoint's."),
    click.option("--flip/--no-flip", default=None, help="Average with the mirrored image."),
    click.option("--device", help="cpu, cuda or cuda:N."),
    click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Arithmetic of the model."),
)
RUN_OPTIONS = (
    click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file over the preset."),
    click.option("--seed", type=int, help="Seed of every random choice."),
    click.option("--images-per-shard", type=int, help="Images in a shard."),
    click.option("--batch-objects", type=int, help="Objects in a batch of the model."),
    click.option("--limit-images", type=click.IntRange(min=1), help="Only the plan's first N images."),
    click.option(
        "--workers", type=click.IntRange(min=1), help="Worker processes. Default: one per core; on a GPU one."
    ),
    click.option("--scheduler", help="Address of an existing Dask cluster, tcp://..."),
    click.option(
        "--max-reject-share",
        default=0.01,
        type=click.FloatRange(0, 1),
        callback=finite,
        help="Above it, the exit code is 1.",
    ),
    click.option("--overwrite", is_flag=True, help="Delete what another run left there first."),
    click.option("--verify", is_flag=True, help="Compare the checksums of all finished files, not only their sizes."),
)
SETTINGS = {
    "seed": ("seed",),
    "images_per_shard": ("batch", "images_per_shard"),
    "batch_objects": ("batch", "batch_objects"),
    "input_size": ("predictor", "input_size"),
    "rounds": ("loop", "rounds"),
    "contrast": ("loop", "contrast"),
    "flip": ("predictor", "flip"),
    "device": ("predictor", "device"),
    "dtype": ("predictor", "dtype"),
    "level": ("level",),
    "sample": ("sample",),
    "mode": ("mode",),
    "granularity": ("granularity",),
    "granularities": ("granularities",),
    "attempts": ("attempts",),
    "max_clicks": ("clicks", "max_clicks"),
    "object_target": ("clicks", "object_target"),
    "part_target": ("clicks", "part_target"),
    "threshold": ("clicks", "threshold"),
    "early_stop": ("clicks", "early_stop"),
    "carry_roi": ("clicks", "carry_roi"),
}
"""Where the options of the command line lie in the configuration."""


def with_options(*options: Option) -> Option:
    """A decorator that gives a command all these options, in this order in its help."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorated


def check_start(out: str) -> None:
    """Let SIGTERM end a run as Ctrl-C does; UserError if the output folder has no name."""
    watch_interrupts()
    if not out:
        raise UserError("--out is empty; name the output folder")
    if Store(out).is_file():
        raise UserError(f"--out {out} is a file; name a folder")


def named_root(text: str) -> tuple[str, str]:
    """Name of a data set, "" for none, and its root, from NAME:ROOT or ROOT."""
    name, colon, root = text.partition(":")
    return (name, root) if colon and name in DATASETS else ("", text)


def how_to_go_on(overwrite: bool) -> str:
    """What to do after a run that was stopped."""
    without = ", without --overwrite," if overwrite else ""
    return f"what is finished stays, the same command{without} goes on from there"


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file; UserError if it is missing or broken."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"configuration file {path} does not exist") from None
    except OSError as error:
        raise UserError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"configuration file {path} is not TOML: {error}") from error


def resolve(presets: Mapping[str, Config], preset: str | None, path: Path | None, settings: dict[str, Any]) -> Config:
    """Preset < TOML file < command line. settings: by the names of ``SETTINGS``; None for what was not given."""
    written = {} if path is None else read_toml(path)
    name = preset or written.get("preset", "paper")
    if name not in list(presets):
        raise UserError(f"unknown preset {name!r}; possible: {', '.join(sorted(presets))}")
    written.pop("preset", None)
    config: Config = override(presets[name], written)
    for option, value in settings.items():
        if value is not None:
            *table, key = SETTINGS[option]
            config = override(config, {table[0]: {key: value}} if table else {key: value})
    return validated(config)
