"""``comparison.html``: results of several evaluations beside each other, in charts and tables."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from agg_pipeline.evaluation.mask_results import MaskResult, iou_after
from agg_pipeline.evaluation.results_folder import Results
from agg_pipeline.evaluation.summary import levels_of
from agg_pipeline.figures.colours import COLOURS
from agg_pipeline.report.index_page import Link
from agg_pipeline.report.plots import bare_frame, inline_svg, line_styles, new_figure
from agg_pipeline.report.templates import filled
from agg_pipeline.report.text_table import FEWEST_IMAGES, Table
from stages.evaluate import noc
from stages.metrics import bootstrap_means

PAGE = "comparison.html"
LABEL = 24
"""Characters of a line of a name in a chart."""


def comparison_page(results: Sequence[Results], tables: Sequence[Table], links: Sequence[Link], about: str) -> str:
    """Make the page, which is self-contained.

    Args:
        results: over the same masks of each level; their names are those of the rows.
        tables: what ``compare.comparison`` says of them.
        links: to other pages.
        about: what is compared, in words.

    Returns:
        The page, HTML.
    """
    levels = list(dict.fromkeys(level for each in results for level in levels_of(each.masks)))
    charts = {level: _charts(level, results) for level in levels}
    return filled(
        "comparison.html.j2", dataset=results[0].dataset, about=about, links=links, charts=charts, tables=tables
    )


def _charts(level: str, results: Sequence[Results]) -> list[Markup]:
    """How many masks reach their target within so many clicks; the means with their intervals."""
    of_level = [(each, [mask for mask in each.masks if mask.level == level]) for each in results]
    shown = [(each, masks) for each, masks in of_level if masks]
    return [_reached(level, shown), _means(level, shown)]


def _reached(level: str, shown: Sequence[tuple[Results, Sequence[MaskResult]]]) -> Markup:
    """The share of the masks whose IoU has reached their target, by the number of clicks."""
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    said = []
    for (colour, marker), (each, masks) in zip(line_styles(), shown, strict=False):
        clicks = np.arange(1, each.settings.max_clicks + 1)
        first = np.array([_first_reached(mask) for mask in masks])
        share = (first[:, None] <= clicks).mean(axis=0)
        name = fill(each.name, LABEL)
        axes.plot(clicks, share, f"{marker}-", color=colour, label=name, markersize=4)
        said.append(f"{each.name} {share[0]:.0%} after one click, {share[-1]:.0%} after {clicks[-1]}")
    targets = sorted({mask.target for _, masks in shown for mask in masks})
    axes.set_xlabel("clicks")
    axes.set_ylabel(f"share of the {level}s with IoU ≥ {' or '.join(f'{target:g}' for target in targets)}")
    axes.set_ylim(0, 1.02)
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8)
    bare_frame(axes)
    return inline_svg(figure, f"reached {level}s", f"Share of the {level}s that reach their target: {'; '.join(said)}")


def _first_reached(mask: MaskResult) -> float:
    """The click after which a mask has reached its target; infinity if none."""
    reached = [click for click, iou in enumerate(mask.chosen.ious, 1) if iou >= mask.target]
    return float(reached[0]) if reached else np.inf


def _means(level: str, shown: Sequence[tuple[Results, Sequence[MaskResult]]]) -> Markup:
    """NoC at the target and IoU after one click, with 95 % intervals."""
    figure = new_figure(5.6, 1.2 + 0.45 * len(shown))
    left, right = figure.subplots(1, 2, sharey=True)
    said = []
    for number, (each, masks) in enumerate(shown):
        images = [mask.image_id for mask in masks]
        found = bootstrap_means(_values(each, masks), images, each.settings.seed)
        for axes, mean in zip((left, right), found, strict=True):
            few = len(set(images)) < FEWEST_IMAGES
            spread = None if few else [[mean.mean - mean.low], [mean.high - mean.mean]]
            axes.errorbar([mean.mean], [-number], xerr=spread, fmt="o", color=COLOURS["accent"].light, capsize=3)
        said.append(f"{each.name}: {found[0].mean:.2f} clicks, IoU@1 {found[1].mean:.3f}")
    left.set_yticks([-number for number in range(len(shown))], [fill(each.name, LABEL) for each, _ in shown])
    left.set_ylim(0.5 - len(shown), 0.5)
    left.set_xlabel("clicks to the target (fewer is better)")
    right.set_xlabel("IoU@1 (more is better)")
    for axes in (left, right):
        axes.grid(axis="x", color=COLOURS["line"].light)
        axes.set_axisbelow(True)
        axes.locator_params(axis="x", nbins=4)
        bare_frame(axes)
    return inline_svg(figure, f"means of {level}s", f"Means with 95 % intervals, {level}s: {'; '.join(said)}")


def _values(results: Results, masks: Sequence[MaskResult]) -> NDArray[np.float64]:
    """Clicks to the target and IoU after one click, (masks, 2)."""
    limit = results.settings.max_clicks
    return np.array([[noc(mask.chosen.ious, mask.target, limit), iou_after(mask.chosen, 1)] for mask in masks], float)
