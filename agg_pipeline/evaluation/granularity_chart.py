"""The chart of an evaluation over granularities: IoU curves (Fig. 4) and the optimal granularity (Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from agg_pipeline.report.plots import bare_frame, inline_svg, line_colours, line_styles, new_figure
from schemas.canonical import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 6
"""Classes with a curve; more could not be told apart."""


def granularity_chart(figures: Json, by_class: Json, level: str) -> Markup:
    """Draw the chart of one level.

    Args:
        figures: metrics of all masks of the level.
        by_class: metrics by class.
        level: object or part.

    Returns:
        SVG elements: mean IoU by granularity and click; IoU after one click by class, if there are several classes;
        how often each granularity was the best.
    """
    granularity = figures["granularity"]
    values = granularity["values"]
    charts = [_curves(values, {f"IoU@{k}": curve for k, curve in granularity["iou"].items()}, level, "mean IoU")]
    classes = _most_frequent(by_class)
    if classes:
        curves = {kind: own["granularity"]["iou"]["1"] for kind, own in classes}
        known = sum(1 for kind in by_class if kind)
        some = "" if len(curves) == known else f"; {len(curves)} of {known} classes"
        charts.append(_curves(values, curves, f"{level} classes", f"mean IoU@1{some}"))
    charts.append(_chosen(values, granularity["chosen"], level))
    return Markup("\n").join(charts)


def _most_frequent(by_class: Json) -> list[tuple[str, Json]]:
    """The classes with the most masks, with their metrics; empty if there are not two known classes."""
    named = [(kind, figures) for kind, figures in by_class.items() if kind]
    if len(named) < 2:
        return []
    return sorted(named, key=lambda item: -item[1]["masks"])[:MOST_CLASSES]


def _curves(values: Sequence[float], curves: dict[str, list[float]], name: str, label: str) -> Markup:
    """One line per curve, with a star at its maximum."""
    figure = new_figure(4.6, 3.4)
    axes = figure.subplots()
    tops = {kind: int(np.argmax(curve)) for kind, curve in curves.items()}
    for (colour, marker), (curve_name, curve) in zip(line_styles(), curves.items(), strict=False):
        top = tops[curve_name]
        axes.plot(values, curve, f"{marker}-", color=colour, label=f"{curve_name} (best at {values[top]:.1f})", ms=4)
        axes.plot(values[top], curve[top], "*", color=colour, markersize=12)
    axes.set_ylabel(label)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    _granularity_axis(axes, values, "granularity")
    said = "; ".join(f"{kind}: {curves[kind][top]:.2f} at {values[top]:.1f}" for kind, top in tops.items())
    return inline_svg(figure, f"curves of {name}", f"{label} by granularity; best of {said}")


def _chosen(values: Sequence[float], counts: Sequence[int], level: str) -> Markup:
    """How often each granularity was the best."""
    shares = np.array(counts) / max(1, sum(counts))
    figure = new_figure(4.6, 3.4)
    axes = figure.subplots()
    axes.bar(values, shares, width=0.07, color=line_colours()[0])
    axes.set_ylabel(f"share of the {level}s")
    _granularity_axis(axes, values, "optimal granularity")
    said = ", ".join(f"{value:.1f}: {share:.0%}" for value, share in zip(values, shares, strict=True))
    return inline_svg(figure, f"optimal of {level}s", f"Share of the {level}s by their optimal granularity: {said}")


def _granularity_axis(axes: Axes, values: Sequence[float], label: str) -> None:
    axes.set_xticks(values)
    axes.set_xlabel(label)
    bare_frame(axes)
