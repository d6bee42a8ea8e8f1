"""Configuration: what overrides what, what a device decides, and which values are possible."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from schemas.config import EvaluationConfig, ProposalsConfig
from schemas.devices import CPU, CPU_OBJECTS, GPU_OBJECTS
from schemas.errors import UserError
from schemas.fields import INFINITY, LARGEST, Checked, keys_of
from schemas.words import possible, quoted

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")


def override(config: C, changes: Mapping[str, Any], where: str = "") -> C:
    """A copy of a (nested) frozen dataclass with some fields replaced.

    Args:
        config: the configuration to start from.
        changes: nested like the dataclass, as read from TOML.
        where: prefix of the keys in messages.

    Raises:
        UserError: a key is unknown, or a value has the wrong type.
    """
    hints = get_type_hints(type(config))
    values: dict[str, Any] = {}
    for key, value in changes.items():
        name = f"{where}{key}"
        if key not in hints:
            raise UserError(f"unknown configuration key {quoted(name)}; {possible(key, sorted(hints))}")
        current = getattr(config, key)
        if dataclasses.is_dataclass(current) and not isinstance(current, type):
            if not isinstance(value, dict):
                raise UserError(f"configuration key {name!r} is a table, not {quoted(value)}")
            values[key] = override(current, value, f"{name}.")
        else:
            values[key] = _checked(name, value, current, hints[key])
    return dataclasses.replace(config, **values)


def _checked(name: str, value: Any, current: Any, hint: Any) -> Any:
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices and value not in choices:
        raise UserError(f"configuration key {name!r} is {quoted(value)}; {possible(value, choices)}")
    if isinstance(current, float) and type(value) is int and abs(value) <= LARGEST:
        value = float(value)
    if hint == tuple[str, ...] and isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = tuple(value)
    if type(value) is not type(current):
        expected = "list of texts" if hint == tuple[str, ...] else type(current).__name__
        raise UserError(f"configuration key {name!r} is {quoted(value)}; a value of type {expected} is needed")
    return value


def with_options(config: C, options: Mapping[str, Any]) -> C:
    """A copy of a configuration with the values that were given on the command line.

    Args:
        config: the configuration to start from.
        options: values by the name of their option, without the dashes before it.

    Raises:
        ValueError: the configuration has no such option.
    """
    unknown = set(options) - {key.option for key in keys_of(config)}
    if unknown:
        raise ValueError(f"{type(config).__name__} has no option {sorted(unknown)[0]!r}")
    for key in keys_of(config):
        if key.option in options:
            value, words = options[key.option], key.setting.words
            config = override(config, _nested(key.name, get_args(key.hint)[words.index(value)] if words else value))
    return config


def _nested(name: str, value: Any) -> dict[str, Any]:
    first, _, rest = name.partition(".")
    return {first: _nested(rest, value) if rest else value}


def validated(config: C) -> C:
    """The configuration itself if all of its values are possible; UserError names the first that is not."""
    return _without(config, (*_impossible(config), *_problems(config)))


def in_range(config: C) -> C:
    """The same, where values may contradict each other: another version may have allowed it, or some are missing."""
    return _without(config, _impossible(config))


def _without(config: C, problems: Iterable[tuple[str, str]]) -> C:
    values = {key.name: key.value for key in keys_of(config)}
    for name, problem in problems:
        raise UserError(f"configuration key {name!r} is {_written(values[name])}; {problem}")
    return config


def _written(value: Any) -> str:
    """A value as TOML would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(list(value) if isinstance(value, tuple) else value)


def _impossible(config: Any) -> Iterator[tuple[str, str]]:
    """Keys whose value is not possible whatever the others are, and what it must be."""
    for key in keys_of(config):
        value, setting = key.value, key.setting
        # No table and no array holds larger integers.
        high = min(setting.high, LARGEST) if isinstance(value, int) and value > LARGEST else setting.high
        if isinstance(value, int | float) and (not setting.low <= value <= high or abs(value) == INFINITY):
            yield key.name, f"it must be {bounds(setting.low, high)}"
        if setting.pattern and not re.fullmatch(setting.pattern, value):
            yield key.name, f"possible: {setting.possible}"


def bounds(low: float, high: float) -> str:
    """A range in words."""
    return f"at least {low}" if high == INFINITY else f"from {low} to {high}"


def _problems(config: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """What the dataclasses of a configuration say of their values."""
    if isinstance(config, Checked):
        yield from ((f"{where}{name}", problem) for name, problem in config.problems())
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if dataclasses.is_dataclass(value):
            yield from _problems(value, f"{where}{each.name}.")


Run = TypeVar("Run", ProposalsConfig, EvaluationConfig)


def of_other_model(config: Run) -> Run:
    """The configuration of a run with another model than ours: it does not know the predictor's ways."""
    predictor = dataclasses.replace(config.predictor, flip=False, input_size=0)
    return dataclasses.replace(config, predictor=predictor)


def on_device(config: Run, device: str) -> Run:
    """Complete a configuration by the device that was chosen: everything that decides the result is in it then.

    Args:
        config: its ``batch_objects`` may be 0.
        device: name of the device.
    """
    objects = config.batch.batch_objects or (CPU_OBJECTS if device == CPU else GPU_OBJECTS)
    return dataclasses.replace(
        config,
        batch=dataclasses.replace(config.batch, batch_objects=objects),
        predictor=dataclasses.replace(config.predictor, device=device),
    )
