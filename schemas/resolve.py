"""Configuration: what overrides what, and which values are possible."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from schemas.config import EvaluationConfig, ProposalsConfig
from schemas.errors import UserError
from schemas.fields import INFINITY
from schemas.training import FinetuneConfig, PretrainConfig

C = TypeVar("C")


def override(config: Any, changes: dict[str, Any], where: str = "") -> Any:
    """A copy of a (nested) frozen dataclass with some fields replaced; unknown keys and wrong types are UserErrors.

    changes: nested like the dataclass, as read from TOML. where: prefix of the key in messages.
    """
    hints = get_type_hints(type(config))
    values: dict[str, Any] = {}
    for key, value in changes.items():
        name = f"{where}{key}"
        if key not in hints:
            raise UserError(f"unknown configuration key {name!r}; possible here: {', '.join(sorted(hints))}")
        current = getattr(config, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise UserError(f"configuration key {name!r} is a table, not {value!r}")
            values[key] = override(current, value, f"{name}.")
        else:
            values[key] = _checked(name, value, current, hints[key])
    return dataclasses.replace(config, **values)


def _checked(name: str, value: Any, current: Any, hint: Any) -> Any:
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices and value not in choices:
        raise UserError(f"configuration key {name!r} is {value!r}; possible: {', '.join(map(repr, choices))}")
    if isinstance(current, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(current):
        raise UserError(f"configuration key {name!r} is {value!r}; a value of type {type(current).__name__} is needed")
    return value


def validated(config: C) -> C:
    """The configuration itself if every number lies in its range; UserError names the first that does not."""
    for name, value, (low, high) in _ranges(config):
        if not low <= value <= high or value == INFINITY:
            bound = f"at least {low}" if high == INFINITY else f"from {low} to {high}"
            raise UserError(f"configuration key {name!r} is {value}; it must be {bound}")
    if isinstance(config, ProposalsConfig):
        loop = config.loop
        if loop.max_negatives < loop.min_negatives:
            raise UserError(
                f"configuration key 'loop.max_negatives' is {loop.max_negatives}; "
                f"it must be from {loop.min_negatives} to 23"
            )
        if loop.contrast > loop.max_draws:
            raise UserError(
                f"configuration key 'loop.contrast' is {loop.contrast}; it must be from 1 to loop.max_draws, "
                f"{loop.max_draws}"
            )
        if config.masks.opening % 2 == 0:
            raise UserError(f"configuration key 'masks.opening' is {config.masks.opening}; it must be odd")
    if isinstance(config, EvaluationConfig):
        _check_mode(config)
    if isinstance(config, ProposalsConfig | EvaluationConfig):
        _check_device("predictor.device", config.predictor.device)
    if isinstance(config, FinetuneConfig | PretrainConfig):
        for name in ("scale", "zoom", "contrast"):
            low, high = (getattr(config.augment, f"{end}_{name}") for end in ("min", "max"))
            if low > high:
                raise UserError(f"configuration key 'augment.min_{name}' is {low}, more than max_{name}, {high}")
        _check_device("training.device", config.training.device)
    return config


def _check_mode(config: EvaluationConfig) -> None:
    """UserError for what contradicts the mode, or is without effect in it."""
    mode, default = config.mode, EvaluationConfig()
    if mode == "curves" and config.clicks.early_stop:
        raise UserError("configuration key 'clicks.early_stop' must be false in the mode 'curves'")
    if mode != "fixed" and config.granularity != default.granularity:
        raise UserError(f"configuration key 'granularity' has no effect in the mode {mode!r}, only in 'fixed'")
    if (mode == "per_class") != bool(config.granularities):
        raise UserError("configuration key 'granularities' belongs to the mode 'per_class', and this mode to it")
    if mode != "best_of" and config.attempts != default.attempts:
        raise UserError(f"configuration key 'attempts' has no effect in the mode {mode!r}, only in 'best_of'")
    if mode in ("none", "fixed", "per_class") and config.clicks.carry_roi and config.preset != "released":
        raise UserError(
            f"configuration key 'clicks.carry_roi' has no effect in the mode {mode!r}: it is about several "
            "interactions with the same mask (optimal, curves, best_of)"
        )


def _check_device(name: str, device: str) -> None:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"configuration key {name!r} is {device!r}; possible: cpu, cuda, cuda:N")


def _ranges(config: Any, where: str = "") -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Dotted name, value, and smallest and largest legal value of every number."""
    for each in dataclasses.fields(config):
        value, name = getattr(config, each.name), f"{where}{each.name}"
        if dataclasses.is_dataclass(value):
            yield from _ranges(value, f"{name}.")
        elif "range" in each.metadata:
            yield name, value, each.metadata["range"]
