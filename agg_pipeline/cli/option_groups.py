"""Groups of options: each group is a small dataclass and reaches the command as one argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
import cloup

if TYPE_CHECKING:
    from click.types import OptionHelpExtra

Command = Callable[..., None]
Decorator = Callable[[Command], Command]


class Option(cloup.Option):
    """An option whose default may be put in words; click would put these in parentheses."""

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """What stands in brackets after the help."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        return extra


def option(*names: str, cls: type[Option] = Option, **attributes: Any) -> Decorator:
    """As ``click.option``."""
    return cloup.option(*names, cls=cls, **attributes)


def given(*names: str, **attributes: Any) -> Any:
    """A field of a group of options: the names and attributes of its ``option``."""
    return field(metadata={"option": (names, attributes)})


def options_of(kind: type, *chosen: str) -> list[Decorator]:
    """The options of a group, in the order of its fields. chosen: names of fields; none for all."""
    made = []
    for each in fields(kind):
        if not chosen or each.name in chosen:
            names, attributes = each.metadata["option"]
            made.append(option(*names, each.name, **attributes))
    return made


def gathered(**groups: type) -> Callable[[Command], Command]:
    """A decorator: the options of each group reach the command as one argument of this name."""

    def decorated(command: Command) -> Command:
        @wraps(command)
        def called(**values: Any) -> None:
            made = {
                name: kind(**{each.name: values.pop(each.name) for each in fields(kind)})
                for name, kind in groups.items()
            }
            command(**values, **made)

        return called

    return decorated


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n".join(("\b", "Examples:", *(f"  {command}" for command in commands)))
