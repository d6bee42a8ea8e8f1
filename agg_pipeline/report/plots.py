"""Figures of matplotlib; it takes half a second to load, so it is loaded with the first figure."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING

from markupsafe import Markup

from agg_pipeline.figures.colours import COLOURS, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Marks of lines."""


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure.

    Args:
        width: inches.
        height: inches.
    """
    from matplotlib import figure

    return figure.Figure(figsize=(width, height), layout="constrained")


def png(figure: Figure, dpi: int = 130) -> bytes:
    """Draw a figure as a PNG file.

    Args:
        figure: the figure.
        dpi: pixels per inch.

    Returns:
        The file's bytes, without matplotlib's version, so that they depend on the picture alone.
    """
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=dpi, metadata={"Software": None})
    return sink.getvalue()


def line_colours() -> tuple[str, ...]:
    """Colours of the lines of a chart, in their order."""
    return tuple(COLOURS[name].light for name in SERIES)


def line_styles() -> Iterator[tuple[str, str]]:
    """Colour and mark of one line of a chart after the other, without end; marks tell lines apart without colours."""
    return zip(cycle(line_colours()), cycle(MARKERS), strict=False)


def bare_frame(axes: Axes) -> None:
    """Leave away the frame's upper and right line."""
    axes.spines[["top", "right"]].set_visible(False)


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """Draw a figure as SVG inside a page, in the page's letters and colours.

    Args:
        figure: the figure; its colours are light ones of ``figures.colours.COLOURS``, or black.
        name: tells the figure's definitions from those of the other figures of the page.
        label: what it shows, in words.

    Returns:
        An ``svg`` element.
    """
    import matplotlib as mpl

    sink = io.StringIO()
    # Letters stay text: it can be read aloud, and takes the page's font. Definitions are named by hashes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(sink, format="svg", transparent=True)
    drawing = sink.getvalue()
    head, _, drawing = drawing[drawing.index("<svg") :].partition(">")
    size = re.search('viewBox="[^"]*"', head)
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|font-family: [^;\"]*;?", "", drawing, flags=re.DOTALL)
    used = set(re.findall(r"#([\w.]+)", drawing))
    drawing = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", drawing)
    for other, colour in COLOURS.items():
        drawing = drawing.replace(colour.light, f"var(--{other})")
    drawing = drawing.replace("#000000", "var(--soft)")
    shown = Markup('<svg class="chart" {} role="img" aria-label="{}">').format(Markup(size[0] if size else ""), label)
    return shown + Markup(drawing)
