"""The checkpoint of a training: written as a whole, and resumed only by the training that made it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agg_pipeline.training.training_folder import CHECKPOINT
from schemas.errors import StorageError, UserError


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
    target = out / CHECKPOINT
    temporary = target.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {target}: {error}") from error


def read_checkpoint(out: Path) -> dict[str, Any]:
    """Read the checkpoint of a folder.

    Returns:
        ``identity``, ``step``, ``state`` and ``optimizer``, as in ``save_checkpoint``.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
    """
    path = out / CHECKPOINT
    if not path.exists():
        raise UserError(f"{out} has no checkpoint to resume; run without --resume")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"identity", "step", "state", "optimizer"} - set(content)
        missing |= {"identity"} if not isinstance(content.get("identity"), dict) else set()
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{path} is damaged or not a checkpoint; use --overwrite to start afresh") from error
    if missing:
        raise UserError(
            f"{path} is not a checkpoint, because it lacks {sorted(missing)[0]}; use --overwrite to start afresh"
        )
    return content


def restore_checkpoint(out: Path, identity: Mapping[str, Any], learning: Mapping[str, Tensor], optimizer: Any) -> int:
    """Load the checkpoint of a folder into parameters and optimiser, in place.

    Args:
        out, identity, learning, optimizer: as in ``save_checkpoint``.

    Returns:
        The steps that were made.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it belongs to another training.
    """
    content = read_checkpoint(out)
    changed = sorted(key for key in identity if content["identity"].get(key) != identity[key])
    if changed:
        raise UserError(
            f"{out / CHECKPOINT} belongs to another training: {', '.join(changed)} changed; use another output folder"
        )
    try:
        with torch.no_grad():
            for name, value in learning.items():
                value.copy_(content["state"][name])
        optimizer.load_state_dict(content["optimizer"])
        return int(content["step"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{out / CHECKPOINT} is damaged ({error}); use --overwrite to start afresh") from error
