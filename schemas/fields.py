"""Fields of a configuration: what each means, which values it may have, and its option on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, get_type_hints, runtime_checkable

INFINITY = float("inf")
LARGEST = 2**63 - 1
"""Largest seed: what fits into 64 bits with a sign."""
DEVICE = "auto|cpu|cuda(:[0-9]{1,9})?"
"""Names of devices: a regular expression."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a configuration says of a field beside its name, type and default.

    Args:
        help: its meaning; ``--help`` and the reference show it.
        unit: of a number, as "pixels"; "" for a count or a plain number. Of a text, what it names.
        low, high: smallest and largest value of a number.
        pattern: regular expression that a text matches, "" for any text.
        possible: the pattern in words.
        option: the field's option: True for its own name, another name, or False for none. Fields that share a name
            are set together.
        words: what the command line calls the values of a choice, in their order; empty for the values themselves.
    """

    help: str
    unit: str = ""
    low: float = -INFINITY
    high: float = INFINITY
    pattern: str = ""
    possible: str = ""
    option: bool | str = False
    words: tuple[str, ...] = ()


def number(
    default: float, low: float, high: float = INFINITY, *, help: str, unit: str = "", option: bool | str = False
) -> Any:
    """A field for a number.

    Args:
        default: default value.
        low, high: smallest and largest value, both included.
        help, unit, option: see ``Setting``.
    """
    return _field(default, Setting(help, unit, low, high, option=option))


def choice(default: str, *, help: str, option: bool | str = False, words: tuple[str, ...] = ()) -> Any:
    """A field for one of the values that its annotation, a Literal, lists.

    Args:
        default: default value.
        help, option, words: see ``Setting``.
    """
    return _field(default, Setting(help, option=option, words=words))


def flag(default: bool, *, help: str, option: bool | str = False) -> Any:
    """A field that is true or false.

    Args:
        default: default value.
        help, option: see ``Setting``.
    """
    return _field(default, Setting(help, option=option))


def text(default: str, *, help: str, option: bool | str = False, unit: str = "") -> Any:
    """A field for any text.

    Args:
        default: default value.
        help, option, unit: see ``Setting``.
    """
    return _field(default, Setting(help, unit, option=option))


def place(default: str, *, help: str) -> Any:
    """A field for the device of a model, with the option ``--device``."""
    return _field(default, Setting(help, "device", pattern=DEVICE, possible="auto, cpu, cuda, cuda:N", option=True))


def listed(default: tuple[Any, ...], *, help: str) -> Any:
    """A field for several values; a list in TOML."""
    return _field(default, Setting(help))


def _field(default: Any, setting: Setting) -> Any:
    return dataclasses.field(default=default, metadata={"setting": setting})


@runtime_checkable
class Checked(Protocol):
    """A configuration whose values depend on each other."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Dotted key of a value that does not fit the others, and what it must be."""


@dataclass(frozen=True, slots=True)
class Key:
    """A field where it stands in a configuration.

    Args:
        name: dotted, as in "loop.rounds".
        value: its value there.
        hint: the type that it is annotated with.
        setting: what its field says of it.
    """

    name: str
    value: Any
    hint: Any
    setting: Setting

    @property
    def option(self) -> str:
        """Name of its option without the dashes, "" if it has none."""
        if isinstance(self.setting.option, str):
            return self.setting.option
        return self.name.rpartition(".")[2].replace("_", "-") if self.setting.option else ""


def keys_of(config: Any, where: str = "") -> Iterator[Key]:
    """All keys of a (nested) configuration, in their order.

    Args:
        config: the configuration, a dataclass.
        where: prefix of the keys' names.
    """
    hints = get_type_hints(type(config))
    for each in dataclasses.fields(config):
        value, name = getattr(config, each.name), f"{where}{each.name}"
        if dataclasses.is_dataclass(value):
            yield from keys_of(value, f"{name}.")
        else:
            yield Key(name, value, hints[each.name], each.metadata["setting"])
