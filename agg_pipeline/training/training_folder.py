"""The output folder of a training: its files, whose it is, whether it may be used, and taking it over."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agg_pipeline.storage.attempts import cause
from agg_pipeline.storage.local_file import cannot_write, read_file, replace_file
from schemas.canonical import MAX_SHOWN, Json, content_hash, differences
from schemas.checked_json import JsonError, decode
from schemas.devices import device_kind
from schemas.errors import StorageError, UnusableFileError, UserError
from schemas.limits import JSON_BYTES
from schemas.training import FinetuneConfig, PretrainConfig
from schemas.words import excerpt

ADAPTER, MODEL = "adapter.safetensors", "model.safetensors"
"""The result: an adapter if LoRA was trained, a whole model if not."""
PLAN = "training.json"
"""Hashes of the inputs, and the configuration."""
CHECKPOINT = "checkpoint.pt"
STEPS, VALIDATION, TENSORBOARD = "steps.csv", "validation.csv", "tensorboard"
PICTURES, PAGE = "pictures", "training.html"
LOG = logging.getLogger(__name__)
NAMED = 3
"""Differences that a message names."""


def not_locked() -> None:
    """The check of a folder that no other run can take over."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training that do not change its weights.

    Attributes:
        out: output folder.
        resume: resume from the last checkpoint in it.
        overwrite: delete the files of another training in it.
        max_minutes: end cleanly after this time; None for no limit.
        checkpoint_minutes: time between checkpoints.
        validation_masks: masks per level for the validation steps; 0 for no validation.
        writes: whether this process changes the folder. A dry run does not, nor does a process of torchrun that only
            helps the first one.
        check_owner: called before anything is written to ``out``; raises UserError if another run owns the folder now.
            Is pickled to the processes of a training on several devices.
    """

    out: Path
    resume: bool = False
    overwrite: bool = False
    max_minutes: float | None = None
    checkpoint_minutes: float = 5.0
    validation_masks: int = 8
    writes: bool = True
    check_owner: Callable[[], None] = not_locked


def comparable(config: FinetuneConfig | PretrainConfig) -> Json:
    """The part of a configuration that decides the weights.

    That is all but the recipe's name, the number of loaders, and which GPU of several is used.
    """
    training = replace(config.training, loaders=0, device=device_kind(config.training.device))
    return asdict(replace(config, recipe="", training=training))


def training_identity(
    config: FinetuneConfig | PretrainConfig, base: str, data: Mapping[str, str], torch_version: str
) -> Json:
    """Hashes of everything that decides the weights.

    Args:
        config: configuration.
        base: sha256 of the file with the first weights; "" for random weights.
        data: name and hash of the data.
        torch_version: version of torch.

    Returns:
        A flat mapping; two trainings with the same one learn the same weights on the same kind of machine.
    """
    return {"config": content_hash(comparable(config)), "base": base, **data, "torch": torch_version}


def check_folder(options: TrainingOptions, config: FinetuneConfig | PretrainConfig) -> None:
    """Check that a training may use its output folder; nothing is changed there.

    Args:
        options: the folder, and whether the training resumes or overwrites.
        config: configuration.

    Raises:
        UserError: the folder holds a training and neither ``resume`` nor ``overwrite`` is set, or that training has
            another configuration.
        StorageError: the folder cannot be read now.
    """
    out = options.out
    if options.resume and options.overwrite:
        raise UserError("--resume and --overwrite exclude each other; give one of them")
    if options.resume:
        _check_same(out, config)
    # A training that was stopped before its first checkpoint left nothing to resume.
    try:
        begun = any((out / name).exists() for name in (CHECKPOINT, ADAPTER, MODEL))
    except OSError as error:
        raise StorageError(f"cannot read {out}: {cause(error)}") from error
    if begun and not options.resume and not options.overwrite:
        raise UserError(
            f"{out} holds a training; use --resume to resume it, or --overwrite to delete it and start afresh"
        )


def claim_folder(options: TrainingOptions, config: FinetuneConfig | PretrainConfig, identity: Json) -> None:
    """Make the folder this training's: unless it resumes, delete the files of another one and write ``training.json``.

    A process that does not write leaves the folder as it is.

    Args:
        options: the folder, and whether the training resumes or overwrites.
        config: configuration.
        identity: of the training (``training_identity``).

    Raises:
        UserError: as ``check_folder``.
        StorageError: the folder cannot be written.
    """
    check_folder(options, config)
    if not options.writes:
        return
    LOG.info("the training is made of %s", json.dumps(identity))
    out = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not options.resume:
            for name in (CHECKPOINT, PLAN, ADAPTER, MODEL, STEPS, VALIDATION, PAGE):
                (out / name).unlink(missing_ok=True)
            for old in (*(out / PICTURES).glob("step-*.png"), *(out / TENSORBOARD).glob("events.*")):
                old.unlink()
    except OSError as error:
        raise cannot_write(Path(error.filename or out), error) from error
    if not options.resume:
        plan = {"identity": identity, "config": asdict(config)}
        replace_file(out / PLAN, (json.dumps(plan, indent=1) + "\n").encode())


@dataclass(frozen=True)
class _Plan:
    config: dict[str, Any]


@dataclass(frozen=True)
class _Training:
    device: str


@dataclass(frozen=True)
class _Config:
    training: _Training


@dataclass(frozen=True)
class _Used:
    """What is used of a plan, beside the comparison as a whole."""

    config: _Config


def _check_same(out: Path, config: FinetuneConfig | PretrainConfig) -> None:
    """UserError with the differences if the folder's training has another configuration."""
    path = out / PLAN
    try:
        content = read_file(path, JSON_BYTES)
        written = decode(content, _Plan, str(path)).config
        device = decode(content, _Used, str(path)).config.training.device
    except FileNotFoundError:
        return
    except (JsonError, UnusableFileError) as error:
        wrong = error.said if isinstance(error, JsonError) else error.what
        raise UserError(f"{path} is damaged ({wrong}); use --overwrite to start afresh") from error
    training = {**written["training"], "loaders": 0, "device": device_kind(device)}
    changed = differences({**written, "recipe": "", "training": training}, comparable(config))
    if changed:
        named = excerpt(", ".join(changed[:NAMED]), NAMED * 2 * MAX_SHOWN)
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        raise UserError(
            f"{out} holds a training with another configuration ({named}{more}); use the same options to resume it, or "
            "another output folder"
        )
