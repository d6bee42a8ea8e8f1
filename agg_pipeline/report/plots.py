"""Figures of matplotlib, which takes half a second to load and so is loaded with the first of them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure. width, height: in inches."""
    from matplotlib import figure

    return figure.Figure(figsize=(width, height), layout="constrained")


def png(figure: Figure, dpi: int = 130) -> bytes:
    """The figure as a PNG file, without the version of the library that matplotlib would write down."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=dpi, metadata={"Software": None})
    return sink.getvalue()


def png_uri(encoded: bytes) -> str:
    """A PNG file as the address of a picture inside a page."""
    return "data:image/png;base64," + base64.b64encode(encoded).decode()
