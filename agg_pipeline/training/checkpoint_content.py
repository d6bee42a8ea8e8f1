"""What the checkpoint of a training must hold, checked against its parameters before and after its numbers are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from agg_pipeline.models.stored_tensors import StoredTensor
from schemas.checked_json import Count, Name, checked
from schemas.errors import UserError

COUNTER = "step"
"""Where Adam keeps how many steps it made for a parameter."""
AVERAGES = ("exp_avg", "exp_avg_sq")
"""Adam's moments: averages of the gradient and of its square."""


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """State of an optimiser, as torch gives it.

    Attributes:
        state: counter and moments per parameter, by its number.
        param_groups: settings, and numbers of the parameters.
    """

    state: dict[Count, dict[str, Any]]
    param_groups: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """How far a training is.

    Attributes:
        identity: what the training is made of.
        step: steps that were made.
        state: the parameters that are trained, by name.
        optimizer: state of their optimiser.
        checksum: of all this, hex.
    """

    identity: dict[Name, Name]
    step: Count
    state: dict[str, Any]
    optimizer: OptimizerState
    checksum: Annotated[str, msgspec.Meta(max_length=64)]


def checked_types(content: Any) -> Checkpoint:
    """Check the types of what a checkpoint holds; tensors may still be in the file.

    Raises:
        UserError: something is missing, unexpected or of another type; it is named.
    """
    checkpoint = checked(content, Checkpoint, "its content")
    if len(content) > len(fields(Checkpoint)) or len(content["optimizer"]) > len(fields(OptimizerState)):
        raise UserError("it holds more than a checkpoint")
    return checkpoint


def check_tensors(found: Checkpoint, steps: int, learning: Mapping[str, Tensor], optimizer: Any) -> None:
    """Check that tensors, whose numbers are still in the file, are those of a training.

    What passes holds no more numbers than the training itself.

    Args:
        found: with ``StoredTensor`` for tensors.
        steps: steps of the whole training.
        learning: the parameters that are trained, by name.
        optimizer: their optimiser.

    Raises:
        ValueError: step, parameters, settings or tensors are none of this training.
    """
    if not 1 <= found.step <= steps:
        raise ValueError(f"it is at step {found.step} of {steps}")
    if found.state.keys() != learning.keys():
        raise ValueError("it is for other parameters")
    ours = optimizer.state_dict()["param_groups"]
    if list(map(_without_rate, found.optimizer.param_groups)) != list(map(_without_rate, ours)):
        raise ValueError("it is of another optimiser")
    if not all(_is_rate(group["lr"]) for group in found.optimizer.param_groups):
        raise ValueError("its learning rate is no number, or not finite")
    # Adam has moments after its first step; plain gradient descent has none.
    if not found.optimizer.state and any("betas" in group for group in ours):
        raise ValueError("it lacks the moments of its optimiser")
    numbered = [each for group in optimizer.param_groups for each in group["params"]]
    if any(number >= len(numbered) for number in found.optimizer.state):
        raise ValueError("it has moments of other parameters")
    for name, value in learning.items():
        _check_tensor(found.state[name], value.dtype, value.shape)
    for number, own in found.optimizer.state.items():
        if own.keys() != {COUNTER, *AVERAGES}:
            raise ValueError("it has other moments than Adam")
        _check_tensor(own[COUNTER], torch.float32, torch.Size())
        for name in AVERAGES:
            _check_tensor(own[name], numbered[number].dtype, numbered[number].shape)


def check_numbers(found: Checkpoint) -> None:
    """Check the numbers in the tensors of a checkpoint, whose types and shapes are checked.

    Raises:
        ValueError: numbers are not finite, squares negative, or the optimiser has made other steps than the training.
    """
    moments = list(found.optimizer.state.values())
    tensors = [*found.state.values(), *(value for own in moments for value in own.values())]
    if not all(bool(value.isfinite().all()) for value in tensors):
        raise ValueError("it holds numbers that are not finite")
    if any(bool((own["exp_avg_sq"] < 0).any()) for own in moments):
        raise ValueError("it holds negative averages of squares")
    # A parameter makes no step where it has no gradient, as the granularity table without granularities.
    made = [float(own[COUNTER]) for own in moments]
    if max(made, default=found.step) != found.step or not all(each >= 1 and each.is_integer() for each in made):
        raise ValueError(f"its optimiser has not made its {found.step} steps")


def _check_tensor(value: Any, dtype: torch.dtype, shape: torch.Size) -> None:
    if not isinstance(value, StoredTensor) or value.shape != shape or value.storage.dtype != dtype:
        raise ValueError(f"a tensor is not of shape {tuple(shape)} and of {dtype}")


def _without_rate(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group of parameters without its learning rate, which is set before every step."""
    return {**group, "lr": 0}


def _is_rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf
