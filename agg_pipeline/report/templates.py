"""Filling the HTML templates beside this module."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("agg_pipeline", "report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )


def filled(template: str, **values: object) -> str:
    """The text of a template; what is inserted is escaped. UndefinedError for a value that is missing."""
    return _environment().get_template(template).render(**values)
