"""A training from its preparation to what it leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from agg_pipeline.evaluation.shard import Target
from agg_pipeline.models.simpleclick import SimpleClick
from agg_pipeline.sharded import Json
from agg_pipeline.training.log import LOOKS, STEPS, forget_after
from agg_pipeline.training.loop import CHECKPOINT, Trained, Training, Watch, checkpoint_step, train
from agg_pipeline.training.report import PAGE, PICTURES, write_page
from schemas.errors import UserError
from schemas.training import FinetuneConfig, PretrainConfig

ADAPTER, MODEL, PLAN = "adapter.safetensors", "model.safetensors", "training.json"


@dataclass(frozen=True)
class TrainingOptions:
    """What does not change the weights. validation_masks: of each level, to look at meanwhile."""

    out: Path
    resume: bool = False
    overwrite: bool = False
    max_minutes: float | None = None
    checkpoint_minutes: float = 5.0
    validation_masks: int = 12


@dataclass(frozen=True, eq=False)
class Prepared:
    """A training that can begin. save: writes what was learnt, and says where. validation: masks to look at meanwhile.

    notes: what a person should know of it. facts: what its page says.
    """

    training: Training
    save: Callable[[SimpleClick], Path]
    validation: tuple[Target, ...]
    notes: tuple[str, ...]
    facts: Json


Finish = Callable[[int, SimpleClick], None]


def _nothing(_step: int, _network: SimpleClick) -> None:
    pass


def run_training(prepared: Prepared, watch: Watch, finish: Finish = _nothing) -> tuple[Trained, Path]:
    """Train, and write what was learnt and the page; how it ended, and the file.

    finish: called with the last step and the network before the page is written.
    """
    training = prepared.training
    if training.resume:
        forget_after(training.out, checkpoint_step(training.out))
    done = train(training, watch)
    network = training.network
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, value in done.state.items():
            parameters[name].copy_(value)
    network.eval()
    path = prepared.save(network)
    finish(done.step, network)
    write_page(training.out, prepared.facts)
    return done, path


def claim(options: TrainingOptions, identity: Json, config: FinetuneConfig | PretrainConfig) -> None:
    """Make the output folder this training's: refuse another one's, unless it is to be overwritten."""
    out = options.out
    held = [name for name in (CHECKPOINT, PLAN, ADAPTER, MODEL, STEPS, LOOKS, PAGE) if (out / name).exists()]
    if held and not options.resume and not options.overwrite:
        raise UserError(f"{out} holds a training ({held[0]}); --resume goes on with it, --overwrite starts afresh")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not options.resume:
            for name in held:
                (out / name).unlink()
            for strip in (out / PICTURES).glob("step-*.png"):
                strip.unlink()
            (out / PLAN).write_text(json.dumps({"identity": identity, "config": asdict(config)}, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
