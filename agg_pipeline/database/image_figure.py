"""All masks of an image of a database as one figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.found_photographs import found_pixels
from agg_pipeline.figures.mask_figure import DrawnMask, Figure, mask_figure
from schemas.canonical import Row
from schemas.crop import MaskCrop
from schemas.errors import UserError
from schemas.words import plural

GREY = 128
"""Of an image whose photograph is not asked for."""


def image_pixels(image: Row, layout: str, data: str | None) -> NDArray[np.uint8]:
    """The photograph of an image, or as many grey pixels.

    Args:
        image: its row of the table ``images``.
        layout: name of the layout of its data set.
        data: root folder of the data set; None for none, which generated scenes do not need.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: the root folder does not have the photograph as it was when the masks were made.
    """
    size = image["height"], image["width"]
    found = found_pixels(layout, image["path"], image["sha256"], size, [] if data is None else [("", data)])
    if found is None and data is not None:
        raise UserError(f"{data} does not have the photograph {image['path']!r} from which the masks were made")
    return np.full((*size, 3), GREY, np.uint8) if found is None else found


def image_figure(image_id: str, pixels: NDArray[np.uint8], rows: Sequence[Row], masks: Sequence[MaskCrop]) -> Figure:
    """Draw all masks of an image from fine to coarse.

    Args:
        image_id: id of the image.
        pixels: (H, W, 3) uint8 RGB.
        rows: its rows of ``proposals``.
        masks: their masks, of the size of the image.
    """
    drawn = [
        (row["granularity"], row["area"], row["proposal_id"], DrawnMask(mask, row["kind"], _text(row), _clicks(row)))
        for row, mask in zip(rows, masks, strict=True)
    ]
    drawn.sort(key=lambda each: each[:3])
    return mask_figure(pixels, [mask for *_, mask in drawn], f"{image_id}: {plural(len(rows), 'mask')}")


def _text(row: Row) -> str:
    return f"{row['granularity']:.2f} {row['kind']} of {row['instance_id']}"


def _clicks(row: Row) -> list[tuple[float, float, bool]]:
    return [(click["row"], click["col"], click["positive"]) for click in row["clicks"] or ()]
