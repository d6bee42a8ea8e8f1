"""What a validation step found, and its picture: the photograph with the click, and the mask per granularity."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.evaluated_masks import EvaluatedMask
from agg_pipeline.figures.svg import widened
from agg_pipeline.storage.local_file import cannot_write, replace_file
from schemas.crop import Box, MaskCrop
from schemas.records import Click, Pixels

CELL, GAP, HEAD = 112, 4, 18
"""Side of a cell, gap between two, height of the line above, in pixels."""
SHOWN = 4
"""Validation masks per level that are drawn."""
MARGIN = 0.35
"""Margin around a mask, as a share of its box."""
PICTURE = re.compile(r"step-([0-9]{1,18})\.png")
TINT, TRUTH, CLICK = (47, 140, 255), (255, 225, 74), (31, 174, 84)


@dataclass(frozen=True, eq=False)
class ValidationMask:
    """A mask of the validation steps with the pixels of its image, which stay in memory for the whole training."""

    target: EvaluatedMask
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class Validation:
    """Predictions for T validation masks at G granularities after one click.

    Attributes:
        clicks: the click per validation mask.
        granularities: the G granularities, 0.1 to 1.0; (None,) for a model without granularity.
        masks: predicted masks, T times G.
        ious: (T, G) float64, their IoU with the ground truth.
    """

    clicks: tuple[Click, ...]
    granularities: tuple[float | None, ...]
    masks: tuple[tuple[MaskCrop, ...], ...]
    ious: NDArray[np.float64]


def write_picture(folder: Path, step: int, masks: Sequence[ValidationMask], found: Validation) -> None:
    """Write the picture of a validation step, ``step-0000040.png``, with a row for each of some masks.

    Args:
        folder: folder of the pictures.
        step: step of the training.
        masks: the validation masks.
        found: the predictions for them.

    Raises:
        StorageError: the picture cannot be written.
    """
    chosen = [
        n
        for level in ("object", "part")
        for n in [n for n, mask in enumerate(masks) if mask.target.level == level][:SHOWN]
    ]
    columns = [_label("click"), *(_label("mask" if g is None else f"{g:.1f}") for g in found.granularities)]
    rows = [np.hstack(columns)]
    for n in chosen:
        box = _box(masks[n].target)
        cells = [_cell(masks[n], box, found.clicks[n]), *(_cell(masks[n], box, each) for each in found.masks[n])]
        rows.append(np.hstack([_framed(cell) for cell in cells]))
    picture = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".png", picture)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    replace_file(folder / f"step-{step:07d}.png", content.tobytes())


def pictures(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by their step, in order."""
    found = ((PICTURE.fullmatch(path.name), path) for path in sorted(folder.glob("step-*.png")))
    return {int(name[1]): path for name, path in found if name}


def delete_pictures_after(folder: Path, step: int) -> None:
    """Delete the pictures of later steps: a resumed training draws them again; StorageError if that fails."""
    for number, path in pictures(folder).items():
        if number > step:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(path, error) from error


def _label(text: str) -> Pixels:
    label = np.full((HEAD, CELL + GAP, 3), 255, np.uint8)
    cv2.putText(label, text, (4, HEAD - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
    return label


def _framed(cell: Pixels) -> Pixels:
    return cv2.copyMakeBorder(cell, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)).astype(np.uint8)


def _box(target: EvaluatedMask) -> Box:
    image = target.image
    return widened(target.truth.box, MARGIN, image.height, image.width)


def _cell(mask: ValidationMask, box: Box, shown: MaskCrop | Click) -> Pixels:
    """The region around a mask: the ground truth as an outline; a prediction as a tint, or a click as a dot."""

    def seen(array: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
        return np.asarray(cv2.resize(array, (CELL, CELL), interpolation=interpolation), np.uint8)

    inside = np.s_[box.top : box.bottom + 1, box.left : box.right + 1]
    cell = seen(np.ascontiguousarray(mask.pixels[inside]), cv2.INTER_AREA)
    if isinstance(shown, MaskCrop):
        tinted = seen(shown.window(box).astype(np.uint8), cv2.INTER_NEAREST) > 0
        cell[tinted] = (0.45 * cell[tinted] + 0.55 * np.array(TINT)).astype(np.uint8)
    truth = seen(mask.target.truth.window(box).astype(np.uint8), cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(truth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(cell, contours, -1, TRUTH, 1)
    if isinstance(shown, Click):
        x, y = CELL * (shown.col - box.left) // box.width, CELL * (shown.row - box.top) // box.height
        cv2.circle(cell, (x, y), 4, CLICK, -1, cv2.LINE_AA)
    return cell
