"""Groups of options: each group is a small dataclass and reaches the command as one argument.

::

    @dataclass(frozen=True)
    class Place:
        out: str = given("--out", required=True, help="Output folder.")
        overwrite: bool = given("--overwrite", is_flag=True, help="Replace it.")


    @cloup.command("paint")
    @cloup.option_group("Place", *options_of(Place))
    @gathered(place=Place)
    def paint_command(place: Place) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """An option that always shows its default.

    Words (``show_default``) are shown as they are, where click would put them in parentheses; a flag shows "no", where
    click would show nothing.
    """

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """What the help prints in brackets behind an option."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        elif self.is_flag:
            extra["default"] = "no"
        return extra


def option(*names: str, cls: type[Option] = Option, **attributes: Any) -> Decorator:
    """As ``cloup.option``, for an ``Option``.

    Args:
        names: names of the option, and of the argument that it becomes.
        cls: class of the option.
        attributes: as for ``click.Option``.
    """
    return cloup.option(*names, cls=cls, **attributes)


def given(*names: str, **attributes: Any) -> Any:
    """A field of a group. It takes the arguments of ``option``; the field's name becomes the name of the argument."""
    return field(metadata={"option": (names, attributes)})


def options_of(kind: type, *chosen: str, defaults: Mapping[str, str] | None = None) -> list[Decorator]:
    """The options of a group, in the order of its fields.

    Args:
        kind: the dataclass of the group.
        chosen: names of the fields whose options are wanted; none for all.
        defaults: default in words of fields for which it depends on the command; None for none.
    """
    made = []
    for each in fields(kind):
        if not chosen or each.name in chosen:
            names, attributes = each.metadata["option"]
            shown = {"show_default": defaults[each.name]} if defaults and each.name in defaults else {}
            made.append(option(*names, each.name, **attributes | shown))
    return made


def gathered(**groups: type) -> Decorator:
    """A decorator that hands the options of each group to a command as one argument.

    Args:
        groups: the dataclass of each group, by the name of the argument.
    """

    def decorated(command: Command) -> Command:
        @wraps(command)
        def called(**values: Any) -> None:
            # Apart from the values, because a group may have the name of an option ("data").
            made = {}
            for name, kind in groups.items():
                made[name] = kind(**{each.name: values.pop(each.name) for each in fields(kind)})
            command(**values, **made)

        return called

    return decorated


def examples(*commands: str) -> str:
    """The end of a command's help, with a line per example."""
    return "\n".join(("\b", "Examples:", *(f"  {command}" for command in commands)))
