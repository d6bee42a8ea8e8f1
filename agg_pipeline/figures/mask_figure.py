"""Masks over their image, side by side in one drawing that Jupyter displays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.figures.colours import COLOURS
from agg_pipeline.figures.svg import View, view_of
from agg_pipeline.storage.attempts import cause
from schemas.crop import Box, MaskCrop
from schemas.errors import UserError
from schemas.words import printable

ONE = (480, 640)
"""Largest height and width of the only picture of a figure, CSS pixels."""
SEVERAL = (180, 200)
"""The same of one of several."""
COLUMNS = 4
"""Most pictures beside each other."""
MOST = 60
"""Most pictures of a figure."""
GAP = 12
"""Space between pictures, CSS pixels."""
LINE = 22
"""Height of a line of text, CSS pixels."""
RADIUS = 5.0
"""Of a click, CSS pixels."""


@dataclass(frozen=True)
class Figure:
    """A drawing; Jupyter displays it where it is the value of a cell.

    Attributes:
        svg: the drawing, SVG with everything in it.
    """

    svg: str = field(repr=False)

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the drawing into an SVG file; UserError if that is not possible."""
        try:
            Path(path).write_text(self.svg, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}: {cause(error)}") from error


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """A mask that a figure shows.

    Attributes:
        mask: the mask, of the size of the image.
        colour: name of its colour in ``COLOURS``.
        text: what stands below it.
        clicks: (row, col, positive) each, in pixels of the image.
    """

    mask: MaskCrop
    colour: str
    text: str
    clicks: Sequence[tuple[float, float, bool]] = ()


def mask_figure(pixels: NDArray[np.uint8], masks: Sequence[DrawnMask], title: str) -> Figure:
    """Draw an image once for each of its masks.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        masks: the masks in their order; those after the first ``MOST`` are left out, and counted in the title.
        title: what stands above all.
    """
    shown = masks[:MOST]
    if len(masks) > MOST:
        title += f", {len(masks) - MOST} more are not shown"
    height, width = pixels.shape[:2]
    view = view_of(Box(0, 0, height, width), *(ONE if len(shown) == 1 else SEVERAL))
    step_x, step_y = view.width + GAP, view.height + LINE + GAP
    columns = max(1, min(COLUMNS, len(shown)))
    photograph = view.photograph(pixels)
    # Several figures of a notebook are in one document, where a name means one thing.
    name = "photograph-" + hashlib.sha256(photograph.encode()).hexdigest()[:16]
    pieces = [
        _picture(view, drawn, name, GAP + number % columns * step_x, LINE + GAP + number // columns * step_y)
        for number, drawn in enumerate(shown)
    ]
    # A title is longer than a narrow picture.
    total_width = max(320.0, columns * step_x + GAP)
    total_height = LINE + GAP + -(-len(shown) // columns) * step_y
    return Figure(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total_width:g}" height="{total_height:g}" '
        f'viewBox="0 0 {total_width:g} {total_height:g}" role="img" font-family="system-ui, sans-serif" font-size="12">'
        f"<title>{_text(title)}</title>"
        f'<defs><image id="{name}" width="{view.width}" height="{view.height}" href="{photograph}"/></defs>'
        f'<rect width="100%" height="100%" fill="{COLOURS["card"].light}"/>'
        f'<text x="{GAP}" y="20" fill="{COLOURS["ink"].light}" font-size="13" font-weight="600">{_text(title)}</text>'
        f"{''.join(pieces)}</svg>"
    )


def _picture(view: View, drawn: DrawnMask, photograph: str, x: float, y: float) -> str:
    """One mask over the photograph, with its clicks and its text, at a place of the drawing."""
    colour, outline = COLOURS[drawn.colour].light, view.outline(drawn.mask)
    below = view.height + 15
    return (
        f'<g transform="translate({x:g} {y:g})"><use href="#{photograph}"/>'
        f'<path d="{outline}" fill="{colour}" fill-opacity=".45" fill-rule="evenodd" stroke="#fff" stroke-width="1.4"/>'
        f"{''.join(_mark(view, *click) for click in drawn.clicks)}"
        f'<rect y="{below - 9:g}" width="10" height="10" rx="2" fill="{colour}"/>'
        f'<text x="15" y="{below:g}" fill="{COLOURS["ink"].light}">{_text(drawn.text)}</text></g>'
    )


def _mark(view: View, row: float, col: float, positive: bool) -> str:
    """A click as a disk with a plus or a minus."""
    x, y, _ = view.position(int(row), int(col), RADIUS)
    sign = f"M{x - 3:g} {y:g}h6" + (f"M{x:g} {y - 3:g}v6" if positive else "")
    colour = COLOURS["positive" if positive else "negative"].light
    return (
        f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS:g}" fill="{colour}" stroke="#fff"/>'
        f'<path d="{sign}" stroke="#fff" stroke-width="1.6"/>'
    )


def _text(text: str) -> str:
    return escape(printable(text))
