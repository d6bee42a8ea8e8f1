"""The output folder of a training: whether it may be used, and taking it over."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from agg_pipeline.training.training_folder import (
    ADAPTER,
    CHECKPOINT,
    MODEL,
    PAGE,
    PICTURES,
    PLAN,
    STEPS,
    TENSORBOARD,
    VALIDATION,
)
from agg_pipeline.training.training_identity import comparable
from agg_pipeline.training.training_options import TrainingOptions
from schemas.canonical import Json, differences
from schemas.devices import device_kind
from schemas.errors import UserError
from schemas.training import FinetuneConfig, PretrainConfig

LOG = logging.getLogger(__name__)
NAMED = 3
"""Differences that a message names."""


def check_folder(options: TrainingOptions, config: FinetuneConfig | PretrainConfig) -> None:
    """Check that a training may use its output folder; nothing is changed there.

    Raises:
        UserError: the folder holds a training and neither ``resume`` nor ``overwrite`` is set, or that training has
            another configuration.
    """
    out = options.out
    if options.resume and options.overwrite:
        raise UserError("--resume resumes a training, --overwrite deletes it; give one of them")
    if options.resume:
        _check_same(out, config)
    # A training that was stopped before its first checkpoint left nothing to resume.
    begun = any((out / name).exists() for name in (CHECKPOINT, ADAPTER, MODEL))
    if begun and not options.resume and not options.overwrite:
        raise UserError(
            f"{out} holds a training; use --resume to resume it, or --overwrite to delete it and start afresh"
        )


def claim_folder(options: TrainingOptions, config: FinetuneConfig | PretrainConfig, identity: Json) -> None:
    """Make the folder this training's: unless it resumes, delete the files of another one and write ``training.json``.

    A dry run leaves the folder as it is.

    Raises:
        UserError: as ``check_folder``, or the folder cannot be written.
    """
    check_folder(options, config)
    if options.dry_run:
        return
    LOG.info("made of %s", json.dumps(identity))
    out = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not options.resume:
            for name in (CHECKPOINT, PLAN, ADAPTER, MODEL, STEPS, VALIDATION, PAGE):
                (out / name).unlink(missing_ok=True)
            for old in (*(out / PICTURES).glob("step-*.png"), *(out / TENSORBOARD).glob("events.*")):
                old.unlink()
            (out / PLAN).write_text(json.dumps({"identity": identity, "config": asdict(config)}, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error


def _check_same(out: Path, config: FinetuneConfig | PretrainConfig) -> None:
    """UserError with the differences if the folder's training has another configuration."""
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
