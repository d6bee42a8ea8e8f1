"""Pictures and the page of a training: strips of validation masks by granularity, curves of loss and IoU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.evaluated_masks import EvaluatedMask
from agg_pipeline.report.plots import new_figure, png, png_uri
from agg_pipeline.report.svg import widened
from agg_pipeline.report.templates import filled
from agg_pipeline.training.training_folder import LOOKS, PAGE, PICTURES, STEPS
from agg_pipeline.training.training_log import LOOK_VALUES, read_log
from agg_pipeline.training.validation_masks import Look
from schemas.canonical import Json
from schemas.crop import Box, Crop, MaskCrop
from schemas.numbers import GRANULARITIES
from schemas.records import Click

CELL, GAP, HEAD = 112, 4, 18
"""Side of a picture, pixels between two, height of the line above."""
SHOWN = 4
"""Validation masks of each level that are drawn."""
MARGIN = 0.35
TINT, TRUTH, CLICK = (47, 140, 255), (255, 225, 74), (31, 174, 84)
SMOOTHED = 25
"""Steps over which the loss is averaged in the chart."""

Pixels = NDArray[np.uint8]


def write_strip(folder: Path, step: int, targets: Sequence[EvaluatedMask], seen: Look) -> None:
    """A picture with a row for each of some masks: the photograph with the click, then the mask at each granularity."""
    chosen = [
        n
        for level in ("object", "part")
        for n in [n for n, target in enumerate(targets) if target.level == level][:SHOWN]
    ]
    columns = [_label("click"), *(_label("mask" if g is None else f"{g:.1f}") for g in seen.granularities)]
    rows = [np.hstack(columns)]
    for n in chosen:
        box = _box(targets[n])
        cells = [_cell(targets[n], box, seen.clicks[n]), *(_cell(targets[n], box, mask) for mask in seen.masks[n])]
        rows.append(np.hstack([_framed(cell) for cell in cells]))
    picture = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    folder.mkdir(exist_ok=True)
    _, content = cv2.imencode(".png", picture)
    (folder / f"step-{step:07d}.png").write_bytes(content.tobytes())


def _label(text: str) -> Pixels:
    label = np.full((HEAD, CELL + GAP, 3), 255, np.uint8)
    cv2.putText(label, text, (4, HEAD - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
    return label


def _framed(cell: Pixels) -> Pixels:
    return cv2.copyMakeBorder(cell, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)).astype(np.uint8)


def _box(target: EvaluatedMask) -> Box:
    image = target.image
    return widened(target.subject.truth.box, MARGIN, image.height, image.width)


def _cell(target: EvaluatedMask, box: Box, shown: MaskCrop | Click) -> Pixels:
    """The region around a mask: the truth as an outline; a prediction as a tint, or a click as a dot."""

    def seen(array: NDArray[np.uint8], interpolation: int) -> Pixels:
        return np.asarray(cv2.resize(array, (CELL, CELL), interpolation=interpolation), np.uint8)

    inside = np.s_[box.top : box.bottom + 1, box.left : box.right + 1]
    cell = seen(np.ascontiguousarray(target.image.pixels[inside]), cv2.INTER_AREA)
    if isinstance(shown, Crop):
        tinted = seen(shown.window(box).astype(np.uint8), cv2.INTER_NEAREST) > 0
        cell[tinted] = (0.45 * cell[tinted] + 0.55 * np.array(TINT)).astype(np.uint8)
    truth = seen(target.subject.truth.window(box).astype(np.uint8), cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(truth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(cell, contours, -1, TRUTH, 1)
    if isinstance(shown, Click):
        x, y = CELL * (shown.col - box.left) // box.width, CELL * (shown.row - box.top) // box.height
        cv2.circle(cell, (x, y), 4, CLICK, -1, cv2.LINE_AA)
    return cell


def write_page(out: Path, facts: Json) -> None:
    """Write ``training.html``, self-contained, from a folder's logs and pictures. facts: what was trained, on what."""
    strips = sorted((out / PICTURES).glob("step-*.png"))
    shown = strips if len(strips) <= 3 else [strips[0], strips[len(strips) // 2], strips[-1]]
    page = filled(
        "training.html.j2",
        facts=facts,
        chart=_chart(out),
        strips=[(int(strip.stem.partition("-")[2]), png_uri(strip.read_bytes())) for strip in shown],
    )
    (out / PAGE).write_text(page)


def _chart(out: Path) -> str:
    """Loss by step, and IoU@1 by granularity of the first look and the last one, as a data URI."""
    steps, looks = read_log(out / STEPS), read_log(out / LOOKS)
    levels = list(dict.fromkeys(row["level"] for row in looks))
    figure = new_figure(13, 3.8)
    left, *others = np.atleast_1d(np.asarray(figure.subplots(1, 1 + len(levels)), object))
    losses = np.array([float(row["loss"]) for row in steps])
    width = min(SMOOTHED, len(losses))
    if width:
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        left.plot([int(row["step"]) for row in steps[width - 1 :]], smooth, color="#2f8cff")
    left.set_xlabel("step")
    left.set_ylabel(f"loss, mean of {width} steps")
    for axes, level in zip(others, levels, strict=True):
        own = [row for row in looks if row["level"] == level]
        for number, row in enumerate(own):
            values = [float(row[name]) for name in LOOK_VALUES if row[name]]
            x = GRANULARITIES if len(values) == len(GRANULARITIES) else GRANULARITIES[-1:]
            shade = 0.25 + 0.75 * (number + 1) / len(own)
            axes.plot(x, values, "o-", color="#b02a30", alpha=shade, label=f"step {row['step']}", markersize=3)
        axes.set_xlabel("granularity")
        axes.set_ylabel(f"IoU@1 of {own[-1]['masks']} {level}s")
        axes.legend(frameon=False, fontsize=7)
    for axes in (left, *others):
        axes.spines[["top", "right"]].set_visible(False)
    return png_uri(png(figure))
