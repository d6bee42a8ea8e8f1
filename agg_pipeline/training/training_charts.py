"""What the logs of a training say: in a sentence, in numbers, and as charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from agg_pipeline.figures.colours import COLOURS
from agg_pipeline.report.plots import bare_frame, inline_svg, new_figure
from agg_pipeline.training.training_log import IOU_COLUMNS
from schemas.numbers import GRANULARITIES
from schemas.words import plural

Rows = Sequence[Mapping[str, str]]

SMOOTHED = 25
"""Steps over which the loss is averaged."""


NOTICED = 0.01
"""Smallest change of the mean IoU that counts; among a few dozen masks, smaller ones are chance."""


def verdict(validations: Rows) -> str:
    """Whether a training has made its model better, in a sentence.

    Args:
        validations: rows of ``validation.csv``.
    """
    changes = {}
    for level, own in _by_level(validations).items():
        if len(own) > 1:
            changes[level] = _mean_iou(own[-1]) - _mean_iou(own[0])
    if not changes:
        return "Fewer than two validation steps: it cannot be said yet whether the model has become better."
    said = [f"{level}s {change:+.3f}" for level, change in changes.items()]
    if all(abs(change) < NOTICED for change in changes.values()):
        return f"The model is as good as before. Change of the mean IoU after one click: {', '.join(said)}."
    better = [change >= NOTICED for change in changes.values()]
    outcome = "has not become better"
    if any(better):
        outcome = "has become better" if all(better) else "has become better on one level, not on the other"
    return f"The model {outcome}. Change of the mean IoU after one click: {', '.join(said)}."


def figures(steps: Rows, validations: Rows) -> list[tuple[str, str]]:
    """The main numbers of a training with their names.

    Args:
        steps: rows of ``steps.csv``.
        validations: rows of ``validation.csv``.
    """
    found = [("Steps", steps[-1]["step"] if steps else "0")]
    losses = _losses(steps)
    if len(losses) > 1:
        width = min(SMOOTHED, len(losses) // 2)
        name = f"Loss, first and last {plural(width, 'step')}"
        found.append((name, f"{losses[:width].mean():.3f} → {losses[-width:].mean():.3f}"))
    for level, own in _by_level(validations).items():
        best = max(own, key=_mean_iou)
        changed = f"{_mean_iou(own[0]):.3f} → {_mean_iou(own[-1]):.3f}" if len(own) > 1 else f"{_mean_iou(own[0]):.3f}"
        best_of = f" (best {_mean_iou(best):.3f} at step {best['step']})" if len(own) > 1 else ""
        found.append((f"Mean IoU@1 of {own[-1]['masks']} {level}s", changed + best_of))
    return found


def training_charts(steps: Rows, validations: Rows) -> list[Markup]:
    """The charts of a training: loss by step; for each level, IoU after one click by granularity.

    Args:
        steps: rows of ``steps.csv``.
        validations: rows of ``validation.csv``.

    Returns:
        SVG elements.
    """
    drawn = [_loss_chart(steps)] if steps else []
    return drawn + [_iou_chart(level, own) for level, own in _by_level(validations).items()]


def _loss_chart(steps: Rows) -> Markup:
    losses = _losses(steps)
    width = min(SMOOTHED, len(losses))
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    figure = new_figure(4.6, 3.4)
    axes = figure.subplots()
    marker = "o" if len(smooth) == 1 else ""
    axes.plot([int(row["step"]) for row in steps[width - 1 :]], smooth, marker=marker, color=COLOURS["accent"].light)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss, mean of {plural(width, 'step')}")
    bare_frame(axes)
    return inline_svg(figure, "loss", f"Loss by step, from {smooth[0]:.3f} to {smooth[-1]:.3f}")


def _iou_chart(level: str, rows: Rows) -> Markup:
    """IoU by granularity of the first, the best and the last validation step."""
    figure = new_figure(4.6, 3.4)
    axes = figure.subplots()
    drawn = {"first": (rows[0], "soft", ":"), "last": (rows[-1], "accent", "-")}
    best = max(rows, key=_mean_iou)
    if best is not rows[0] and best is not rows[-1]:
        drawn["best"] = (best, "part", "--")
    for name, (row, colour, style) in drawn.items():
        if name == "last" and len(rows) == 1:
            continue
        values = _ious(row)
        x = GRANULARITIES if len(values) == len(GRANULARITIES) else GRANULARITIES[-1:]
        label = f"step {row['step']} ({name})"
        axes.plot(x, values, f"o{style}", color=COLOURS[colour].light, label=label, markersize=4)
    axes.set_xlabel("granularity")
    axes.set_ylabel(f"IoU@1 of {rows[-1]['masks']} {level}s")
    axes.legend(frameon=False, fontsize=8)
    bare_frame(axes)
    said = " and ".join(f"{_mean_iou(row):.3f} at step {row['step']}" for row in (rows[0], rows[-1]))
    return inline_svg(figure, f"IoU of {level}s", f"IoU after one click by granularity, {level}s: mean {said}")


def _by_level(validations: Rows) -> dict[str, list[Mapping[str, str]]]:
    levels = dict.fromkeys(row["level"] for row in validations)
    return {level: [row for row in validations if row["level"] == level] for level in levels}


def _ious(row: Mapping[str, str]) -> list[float]:
    """IoU by granularity; one value for a model without granularity."""
    return [float(row[name]) for name in IOU_COLUMNS if row[name]]


def _mean_iou(row: Mapping[str, str]) -> float:
    return float(np.mean(_ious(row)))


def _losses(steps: Rows) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([float(row["loss"]) for row in steps])
