"""The colours of pages and figures, light and dark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """A colour of the pages.

    Attributes:
        light: on a light page, #rrggbb; pictures in files have it, too.
        dark: on a dark page.
    """

    light: str
    dark: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The light one's red, green and blue."""
        red, green, blue = bytes.fromhex(self.light[1:])
        return red, green, blue


COLOURS = {
    "page": Colour("#f6f6f4", "#17181a"),
    "card": Colour("#ffffff", "#212326"),
    "ink": Colour("#1d1e20", "#ececea"),
    "soft": Colour("#5c6066", "#a9adb3"),
    "line": Colour("#d9d9d4", "#3a3d42"),
    "accent": Colour("#0b62a8", "#6db3f2"),
    "on-accent": Colour("#fffffe", "#10151a"),
    "object": Colour("#8a3ba8", "#d3a4ea"),
    "part": Colour("#ad5505", "#fdb863"),
    "complement": Colour("#1a74ae", "#6db3f3"),
    "annotated": Colour("#00795a", "#4fc9a4"),
    "positive": Colour("#1a7f45", "#66bd63"),
    "negative": Colour("#c51b7d", "#f1a6cf"),
}
"""Colours by their name in the style sheet. Text has a contrast of 4.5 to its ground; the kinds of masks, and positive
and negative clicks, differ for the colour-blind, too."""

KINDS = ("object", "part", "complement", "annotated")
"""Kinds of masks, which are the names of their colours."""

SERIES = ("accent", "part", "annotated", "object", "negative", "soft")
"""Colours of the lines of a chart, in their order."""
