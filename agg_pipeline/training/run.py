"""A training from its preparation to what it leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from agg_pipeline.datasets.evaluated_masks import EvaluatedMask
from agg_pipeline.models.backend import set_backend_flags
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.training.loop import Trained, Training, Watch, check_devices, naming_lack_of_memory, train
from agg_pipeline.training.training_checkpoint import read_checkpoint
from agg_pipeline.training.training_folder import (
    ADAPTER,
    CHECKPOINT,
    LOOKS,
    MODEL,
    PAGE,
    PICTURES,
    PLAN,
    STEPS,
    TENSORBOARD,
)
from agg_pipeline.training.training_log import forget_after, read_log
from agg_pipeline.training.training_options import TrainingOptions
from agg_pipeline.training.training_page import write_page
from schemas.canonical import Json, differences
from schemas.devices import device_kind
from schemas.errors import UserError
from schemas.training import FinetuneConfig, PretrainConfig

NAMED = 3
"""Differences that a message names."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A training that can begin. save: writes what was learnt, and says where. validation: masks to look at meanwhile.

    notes: what a person should know of it. facts: what its page says.
    """

    training: Training
    save: Callable[[SimpleClick], Path]
    validation: tuple[EvaluatedMask, ...]
    notes: tuple[str, ...]
    facts: Json


LookAt = Callable[[int, SimpleClick], None]


def _nothing(_step: int, _network: SimpleClick) -> None:
    pass


def run_training(prepared: Prepared, watch: Watch, look: LookAt = _nothing) -> tuple[Trained, Path]:
    """Train, and write what was learnt and the page; how it ended, and the file.

    look: called with step and network before the first step and after the last one, before the page is written.
    """
    training, out = prepared.training, prepared.training.options.out
    set_backend_flags()
    if training.options.resume:
        step = int(read_checkpoint(out)["step"])
        forget_after(out, step)
        for strip in (out / PICTURES).glob("step-*.png"):
            if int(strip.stem.removeprefix("step-")) > step:
                strip.unlink()
    with naming_lack_of_memory(training.config):
        if not training.options.resume:
            look(0, training.network)
        done = train(training, watch)
        network = training.network
        parameters = dict(network.named_parameters())
        with torch.no_grad():
            for name, value in done.state.items():
                parameters[name].copy_(value)
        network.eval()
        path = prepared.save(network)
        # One that was resumed at its end has mostly been looked at.
        if not any(int(row["step"]) == done.step for row in read_log(out / LOOKS)):
            look(done.step, network)
    write_page(out, prepared.facts)
    return done, path


def comparable(config: FinetuneConfig | PretrainConfig) -> Json:
    """What of a configuration decides the weights: not the recipe's name, the loaders, or which GPU of several."""
    training = replace(config.training, loaders=0, device=device_kind(config.training.device))
    return asdict(replace(config, recipe="", training=training))


def _check_same(out: Path, config: FinetuneConfig | PretrainConfig) -> None:
    """UserError with the differences if a folder's training has another configuration."""
    try:
        written = json.loads((out / PLAN).read_text())["config"]
        training = {**written["training"], "loaders": 0, "device": device_kind(written["training"]["device"])}
        changed = differences({**written, "recipe": "", "training": training}, comparable(config))
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{out / PLAN} is damaged; --overwrite starts afresh") from error
    if changed:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        raise UserError(f"{out} holds a training with another configuration: {', '.join(changed[:NAMED])}{more}")


def claim(options: TrainingOptions, identity: Json, config: FinetuneConfig | PretrainConfig) -> None:
    """Make the output folder this training's: refuse another one's, unless it is to be overwritten."""
    out = options.out
    check_devices(config.training)
    if options.resume and options.overwrite:
        raise UserError("--resume goes on with a training, --overwrite deletes it; give one of them")
    begun = any((out / name).exists() for name in (CHECKPOINT, ADAPTER, MODEL))
    if options.resume:
        _check_same(out, config)
    held = [name for name in (CHECKPOINT, PLAN, ADAPTER, MODEL, STEPS, LOOKS, PAGE) if (out / name).exists()]
    # What was stopped before its first checkpoint has left nothing to go on with.
    if begun and not options.resume and not options.overwrite:
        raise UserError(f"{out} holds a training; --resume goes on with it, --overwrite starts afresh")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not options.resume:
            for name in held:
                (out / name).unlink()
            for old in (*(out / PICTURES).glob("step-*.png"), *(out / TENSORBOARD).glob("events.*")):
                old.unlink()
            (out / PLAN).write_text(json.dumps({"identity": identity, "config": asdict(config)}, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
