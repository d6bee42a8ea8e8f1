"""Figures of matplotlib; it takes half a second to load, so it is loaded with the first figure."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def png_uri(encoded: bytes) -> str:
    """A PNG file as a data URI, for a picture inside a page."""
    return "data:image/png;base64," + base64.b64encode(encoded).decode()
