"""The checkpoint of a training: written as a whole, and resumed only by the training that made it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from agg_pipeline.models.inert_pickle import DamagedPickleError
from agg_pipeline.models.stored_tensors import NUMBERS, read_stored
from agg_pipeline.models.torch_writing import write_stored
from agg_pipeline.storage.local_file import open_file
from agg_pipeline.training.training_folder import CHECKPOINT
from schemas.checked_json import checked
from schemas.errors import UserError
from schemas.limits import CHECKPOINT_BYTES
from schemas.words import excerpt

AFRESH = "use --overwrite to start afresh"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """How far a training is.

    Attributes:
        identity: what the training is made of.
        step: steps that were made.
        state: the parameters that are trained, by name.
        optimizer: state of their optimiser.
    """

    identity: dict[str, Any]
    step: Annotated[int, msgspec.Meta(ge=0)]
    state: dict[str, Any]
    optimizer: dict[str, Any]


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


def read_checkpoint(out: Path) -> Checkpoint:
    """Read the checkpoint of a folder; nothing in it runs.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
        StorageError: it cannot be read now.
    """
    path = out / CHECKPOINT
    try:
        with open_file(path, CHECKPOINT_BYTES) as (stream, size):
            content = read_stored(stream, size, _check_name).read_all()
    except FileNotFoundError:
        raise UserError(f"{out} has no checkpoint to resume; run without --resume") from None
    except DamagedPickleError as error:
        raise UserError(f"{path} is damaged or not a checkpoint ({error}); {AFRESH}") from error
    lacking = {"identity", "step", "state", "optimizer", "checksum"} - set(content if isinstance(content, dict) else ())
    if lacking:
        raise UserError(f"{path} is not a checkpoint, because it lacks {min(lacking)}; {AFRESH}")
    try:
        if content.pop("checksum") != checksum(content):
            raise UserError("its checksum is another one than that of its content")
        return checked(content, Checkpoint, "its content")
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}); {AFRESH}") from error


def restore_checkpoint(
    out: Path, identity: Mapping[str, Any], steps: int, learning: Mapping[str, Tensor], optimizer: Any
) -> int:
    """Load the checkpoint of a folder into parameters and optimiser, in place.

    Args:
        out, identity, learning, optimizer: as in ``save_checkpoint``.
        steps: steps of the whole training.

    Returns:
        The steps that were made.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it belongs to another training.
        StorageError: it cannot be read now.
    """
    found = read_checkpoint(out)
    changed = sorted(key for key in identity if found.identity.get(key) != identity[key])
    if changed:
        raise UserError(
            f"{out / CHECKPOINT} belongs to another training: {', '.join(changed)} changed; use another output folder"
        )
    try:
        if found.step > steps:
            raise ValueError(f"it is at step {found.step} of {steps}")
        _check_tensors(found, learning, optimizer)
        with torch.no_grad():
            for name, value in learning.items():
                value.copy_(found.state[name])
        optimizer.load_state_dict(found.optimizer)
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise UserError(f"{out / CHECKPOINT} is damaged ({excerpt(str(error))}); {AFRESH}") from error
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


def _check_tensors(found: Checkpoint, learning: Mapping[str, Tensor], optimizer: Any) -> None:
    """ValueError if tensors of parameters or optimiser have another shape, or numbers that are not finite."""
    if found.state.keys() != learning.keys():
        raise ValueError("it is for other parameters")
    ours = optimizer.state_dict()["param_groups"]
    if [{**group, "lr": 0} for group in found.optimizer["param_groups"]] != [{**group, "lr": 0} for group in ours]:
        raise ValueError("it is of another optimiser")
    numbers = [number for group in optimizer.param_groups for number in group["params"]]
    kept = [(numbers[number].shape, each) for number, own in found.optimizer["state"].items() for each in own.values()]
    for shape, value in [*((learning[name].shape, value) for name, value in found.state.items()), *kept]:
        if not isinstance(value, Tensor) or value.shape not in (shape, ()):
            raise ValueError(f"a tensor is not of shape {tuple(shape)}")
        if not bool(value.isfinite().all()):
            raise ValueError("it holds numbers that are not finite")
