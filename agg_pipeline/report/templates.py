"""Filling in the HTML templates that lie beside this module."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from schemas.words import plural, speed


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("agg_pipeline", "report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.globals.update(number=_grouped, plural=plural, speed=speed)
    return environment


def _grouped(number: int) -> str:
    """A number with thin spaces between groups of three digits."""
    return f"{number:,}".replace(",", "\u2009")


def filled(template: str, **values: object) -> str:
    """Fill in a template.

    Args:
        template: file name of the template.
        values: values by name; they are escaped.

    Raises:
        jinja2.UndefinedError: a value is missing.
    """
    return _environment().get_template(template).render(**values)
