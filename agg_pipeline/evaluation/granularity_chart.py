"""The chart of an evaluation over granularities: IoU curves (Fig. 4) and the optimal granularity (Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agg_pipeline.report.plots import new_figure, png
from schemas.canonical import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#2f8cff", "#f59a00", "#1fae54", "#b05cff", "#e5323b", "#6a6d72")
"""Colours of the curves; at most as many classes are shown."""


def granularity_chart(figures: Json, by_class: Json, level: str) -> bytes:
    """Draw the chart of one level.

    Args:
        figures: metrics of all masks of the level.
        by_class: metrics by class.
        level: object or part.

    Returns:
        Bytes of a PNG file: mean IoU by granularity and click; IoU after one click by class, if there are several
        classes; how often each granularity was the best.
    """
    granularity = figures["granularity"]
    values = granularity["values"]
    classes = _most_frequent(by_class)
    figure = new_figure(13, 3.8)
    left, *middle, right = figure.subplots(1, 3 if classes else 2)
    _draw_curves(left, values, {f"IoU@{k}": curve for k, curve in granularity["iou"].items()}, "mean IoU")
    for axes in middle:
        curves = {kind: own["granularity"]["iou"]["1"] for kind, own in classes}
        _draw_curves(axes, values, curves, "mean IoU@1")
    shares = np.array(granularity["chosen"]) / max(1, sum(granularity["chosen"]))
    right.bar(values, shares, width=0.07, color=COLOURS[0])
    right.set_xlabel("optimal granularity")
    right.set_ylabel(f"share of the {level}s")
    for axes in (left, *middle, right):
        axes.set_xticks(values)
        axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def _most_frequent(by_class: Json) -> list[tuple[str, Json]]:
    """The classes with the most masks, with their metrics; empty if there are not two known classes."""
    named = [(kind, figures) for kind, figures in by_class.items() if kind]
    if len(named) < 2:
        return []
    return sorted(named, key=lambda item: -item[1]["masks"])[: len(COLOURS)]


def _draw_curves(axes: Axes, values: Sequence[float], curves: dict[str, list[float]], label: str) -> None:
    """One line per curve, with a star at its maximum."""
    for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
        axes.plot(values, curve, "o-", color=colour, label=name, markersize=4)
        top = int(np.argmax(curve))
        axes.plot(values[top], curve[top], "*", color="#e5323b", markersize=12)
    axes.set_xlabel("granularity")
    axes.set_ylabel(label)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
