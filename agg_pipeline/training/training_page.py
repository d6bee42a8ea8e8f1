"""The page of a training: curves of loss and IoU, pictures of validation steps, and the configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agg_pipeline.report.plots import new_figure, png, png_uri
from agg_pipeline.report.templates import filled
from agg_pipeline.training.training_folder import PAGE, PICTURES, STEPS, VALIDATION
from agg_pipeline.training.training_log import IOU_COLUMNS, read_log
from agg_pipeline.training.validation_pictures import pictures
from schemas.canonical import Json
from schemas.numbers import GRANULARITIES
from schemas.words import plural

SMOOTHED = 25
"""Steps over which the loss is averaged in the chart."""


def write_page(out: Path, facts: Json) -> None:
    """Write ``training.html``, self-contained, from a folder's logs and pictures.

    Args:
        out: output folder.
        facts: what was trained, and on what.
    """
    drawn = list(pictures(out / PICTURES).items())
    shown = drawn if len(drawn) <= 3 else [drawn[0], drawn[len(drawn) // 2], drawn[-1]]
    page = filled(
        "training.html.j2",
        facts=facts,
        chart=_chart(out),
        strips=[(step, png_uri(path.read_bytes())) for step, path in shown],
    )
    (out / PAGE).write_text(page)


def _chart(out: Path) -> str:
    """Loss by step, and IoU after one click by granularity for every validation step, as a data URI."""
    steps, validations = read_log(out / STEPS), read_log(out / VALIDATION)
    levels = list(dict.fromkeys(row["level"] for row in validations))
    figure = new_figure(13, 3.8)
    left, *others = np.atleast_1d(np.asarray(figure.subplots(1, 1 + len(levels)), object))
    losses = np.array([float(row["loss"]) for row in steps])
    width = min(SMOOTHED, len(losses))
    if width:
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        left.plot([int(row["step"]) for row in steps[width - 1 :]], smooth, color="#2f8cff")
    left.set_xlabel("step")
    left.set_ylabel(f"loss, mean of {plural(width, 'step')}")
    for axes, level in zip(others, levels, strict=True):
        own = [row for row in validations if row["level"] == level]
        for number, row in enumerate(own):
            values = [float(row[name]) for name in IOU_COLUMNS if row[name]]
            x = GRANULARITIES if len(values) == len(GRANULARITIES) else GRANULARITIES[-1:]
            shade = 0.25 + 0.75 * (number + 1) / len(own)
            axes.plot(x, values, "o-", color="#b02a30", alpha=shade, label=f"step {row['step']}", markersize=3)
        axes.set_xlabel("granularity")
        axes.set_ylabel(f"IoU@1 of {own[-1]['masks']} {level}s")
        axes.legend(frameon=False, fontsize=7)
    for axes in (left, *others):
        axes.spines[["top", "right"]].set_visible(False)
    return png_uri(png(figure))
