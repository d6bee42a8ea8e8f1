"""The checkpoint of a training: put in place as a whole, and only ever gone on with by the training that made it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agg_pipeline.training.training_folder import CHECKPOINT
from schemas.errors import StorageError, UserError

GO_ON = "--resume goes on from the last checkpoint"


def save_checkpoint(
    out: Path, identity: Mapping[str, Any], step: int, learning: Mapping[str, Tensor], optimizer: Any
) -> None:
    """Put the checkpoint in place as a whole or not at all; StorageError if it cannot be written."""
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
    """``identity``, ``step``, ``state`` and ``optimizer`` of a folder's checkpoint; UserError if there is none."""
    path = out / CHECKPOINT
    if not path.exists():
        raise UserError(f"{out} has no checkpoint to resume; leave --resume out")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"identity", "step", "state", "optimizer"} - set(content)
        missing |= {"identity"} if not isinstance(content.get("identity"), dict) else set()
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{path} is damaged or no checkpoint; --overwrite starts afresh") from error
    if missing:
        raise UserError(f"{path} is no checkpoint: it lacks {sorted(missing)[0]}; --overwrite starts afresh")
    return content


def restore_checkpoint(out: Path, identity: Mapping[str, Any], learning: Mapping[str, Tensor], optimizer: Any) -> int:
    """Take over the last checkpoint's state; the step it was made after. UserError if it is of another training."""
    content = read_checkpoint(out)
    changed = sorted(key for key in identity if content["identity"].get(key) != identity[key])
    if changed:
        raise UserError(
            f"{out / CHECKPOINT} is of another training: {', '.join(changed)} changed; use another output folder"
        )
    try:
        with torch.no_grad():
            for name, value in learning.items():
                value.copy_(content["state"][name])
        optimizer.load_state_dict(content["optimizer"])
        return int(content["step"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{out / CHECKPOINT} is damaged: {error}; --overwrite starts afresh") from error


def diverged(out: Path, what: str) -> UserError:
    """The error of a training whose numbers are not finite."""
    kept = out / CHECKPOINT
    good = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
    return UserError(f"{what}; {good}; a lower learning rate (lr) may help")
