"""The checkpoint of a training: written as a whole, and resumed only by the training that made it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agg_pipeline.models.inert_pickle import DamagedPickleError
from agg_pipeline.models.stored_tensors import NUMBERS, read_stored
from agg_pipeline.models.torch_writing import write_stored
from agg_pipeline.storage.local_file import open_file
from agg_pipeline.training.checkpoint_content import (
    Checkpoint,
    OptimizerState,
    check_numbers,
    check_tensors,
    checked_types,
)
from agg_pipeline.training.training_folder import CHECKPOINT
from schemas.errors import UserError
from schemas.limits import CHECKPOINT_BYTES
from schemas.words import excerpt

AFRESH = "use --overwrite to start afresh"


def save_checkpoint(
    out: Path, identity: Mapping[str, Any], step: int, learning: Mapping[str, Tensor], optimizer: Any
) -> None:
    """Replace the checkpoint of a folder, as a whole or not at all.

    Args:
        out: output folder.
        identity: what the training is made of.
        step: steps that were made.
        learning: the parameters that are trained, by name.
        optimizer: their optimiser.

    Raises:
        StorageError: the file cannot be written.
    """
    content = {
        "identity": dict(identity),
        "step": step,
        "state": {name: value.detach().cpu() for name, value in learning.items()},
        "optimizer": optimizer.state_dict(),
    }
    write_stored(out / CHECKPOINT, content | {"checksum": checksum(content)})


def read_checkpoint(
    out: Path, identity: Mapping[str, Any], steps: int, learning: Mapping[str, Tensor], optimizer: Any
) -> Checkpoint:
    """Read the checkpoint of a folder; nothing in it runs.

    Its content is compared with the training before its numbers are read.

    Args:
        out, identity, learning, optimizer: as in ``save_checkpoint``.
        steps: steps of the whole training.

    Returns:
        The checkpoint, with tensors on the CPU.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it belongs to another training.
        StorageError: it cannot be read now.
    """
    path = out / CHECKPOINT
    try:
        with open_file(path, CHECKPOINT_BYTES) as (stream, size):
            stored = read_stored(stream, size, _check_name)
            _check_described(path, stored.value, identity, steps, learning, optimizer)
            content = stored.read_all()
    except FileNotFoundError:
        raise UserError(f"{out} has no checkpoint to resume; run without --resume") from None
    except DamagedPickleError as error:
        raise UserError(f"{path} is damaged or not a checkpoint ({error}); {AFRESH}") from error
    if content.pop("checksum") != checksum(content):
        raise _damaged(path, "its checksum is another one than that of its content")
    found = Checkpoint(**content | {"checksum": "", "optimizer": OptimizerState(**content["optimizer"])})
    try:
        check_numbers(found)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    return found


def _check_described(
    path: Path,
    content: Any,
    identity: Mapping[str, Any],
    steps: int,
    learning: Mapping[str, Tensor],
    optimizer: Any,
) -> None:
    """Check what a checkpoint says of its content; UserError as of ``read_checkpoint``."""
    lacking = {each.name for each in fields(Checkpoint)} - set(content if isinstance(content, dict) else ())
    if lacking:
        raise UserError(f"{path} is not a checkpoint, because it lacks {min(lacking)}; {AFRESH}")
    try:
        found = checked_types(content)
    except UserError as error:
        raise _damaged(path, str(error)) from error
    changed = sorted(key for key in identity if found.identity.get(key) != identity[key])
    if changed:
        raise UserError(f"{path} belongs to another training: {', '.join(changed)} changed; use another output folder")
    try:
        check_tensors(found, steps, learning, optimizer)
    except (LookupError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, problem: str) -> UserError:
    return UserError(f"{path} is damaged ({excerpt(problem)}); {AFRESH}")


def restore_checkpoint(
    out: Path, identity: Mapping[str, Any], steps: int, learning: Mapping[str, Tensor], optimizer: Any
) -> int:
    """Load the checkpoint of a folder into parameters and optimiser, in place.

    Args:
        out, identity, steps, learning, optimizer: as in ``read_checkpoint``.

    Returns:
        The steps that were made.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it belongs to another training.
        StorageError: it cannot be read now.
    """
    found = read_checkpoint(out, identity, steps, learning, optimizer)
    with torch.no_grad():
        for name, value in learning.items():
            value.copy_(found.state[name])
    optimizer.load_state_dict(vars(found.optimizer))
    return found.step


def checksum(content: Mapping[str, Any]) -> str:
    """Hex sha256 of nested dicts, lists and tuples of tensors, numbers, texts and None; UserError for other values."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        match value:
            case Tensor():
                digest.update(f"{value.dtype} {tuple(value.shape)}\n".encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            case dict():
                digest.update(f"dict {len(value)}\n".encode())
                for key, each in value.items():
                    add(key)
                    add(each)
            case list() | tuple():
                digest.update(f"{type(value).__name__} {len(value)}\n".encode())
                for each in value:
                    add(each)
            case None | bool() | int() | float() | str():
                digest.update(f"{type(value).__name__} {value!r}\n".encode())
            case _:
                raise UserError(f"it holds a value of type {type(value).__name__}")

    add(content)
    return digest.hexdigest()


def _check_name(name: str) -> None:
    if not NUMBERS.fullmatch(name):
        raise DamagedPickleError(f"it names {excerpt(name)}, which is no part of a training")
