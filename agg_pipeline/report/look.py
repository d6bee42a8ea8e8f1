"""The look of all pages: one style sheet, with their colours."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from agg_pipeline.figures.colours import COLOURS


@cache
def style_sheet() -> str:
    """The style of every page, CSS."""
    light = "".join(f"--{name}: {colour.light}; " for name, colour in COLOURS.items())
    dark = "".join(f"--{name}: {colour.dark}; " for name, colour in COLOURS.items())
    rules = files("agg_pipeline.report").joinpath("pages/look.css").read_text(encoding="utf-8")
    return (
        f":root {{ color-scheme: light dark; {light}}}\n"
        # Paper is light, whatever the screen is.
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"
        # Bright lines are seen on dark and on most light photographs.
        f"figure > svg {{ {dark}}}\n{rules}"
    )
