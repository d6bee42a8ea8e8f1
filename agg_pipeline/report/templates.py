"""Filling in the HTML templates of the folder ``pages``."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agg_pipeline.report.look import style_sheet
from schemas.words import plural, printable_lines, speed


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("agg_pipeline", "report/pages"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        finalize=_shown,
    )
    # Our own style sheet, which holds no text of anybody else.
    environment.globals.update(number=_grouped, plural=plural, speed=speed, style_sheet=lambda: Markup(style_sheet()))
    return environment


def _shown(value: object) -> object:
    """A value as it is shown: a text of somebody else could turn the order of letters round, or cannot be encoded."""
    return printable_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _grouped(number: int) -> str:
    """A number with thin spaces between groups of three digits."""
    return f"{number:,}".replace(",", "\u2009")


def filled(template: str, **values: object) -> str:
    """Fill in a template.

    Args:
        template: file name of the template.
        values: values by name; they are escaped, and shown as ``printable``.

    Raises:
        jinja2.UndefinedError: a value is missing.
    """
    return _environment().get_template(template).render(**values)
