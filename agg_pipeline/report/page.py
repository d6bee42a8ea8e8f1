"""Filling the templates beside this module."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment(escape: bool) -> Environment:
    return Environment(
        loader=PackageLoader("agg_pipeline", "report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=escape,
        autoescape=escape,
    )


def filled(template: str, **values: object) -> str:
    """The text of a template; what is inserted into HTML is escaped. UndefinedError for a value that is missing."""
    return _environment(".html" in template).get_template(template).render(**values)
