"""Indexed PNG masks, for tools that know nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from agg_pipeline.database.exchange.new_files import Stems, new_folder
from agg_pipeline.database.exchange.own_facts import by_image
from agg_pipeline.database.reader import ProposalDatabase
from schemas.canonical import Row
from schemas.crop import MaskCrop

OF_IMAGE = ("path", "sha256", "licence")
"""Columns of ``masks.csv`` that are of the image."""
COLUMNS = (
    *("file", "index", "image_id", *OF_IMAGE, "proposal_id", "instance_id", "category", "kind", "step", "parent_id"),
    *("label", "area", "x", "y", "w", "h", "scale", "semantic", "granularity", "bin", "source"),
)
"""Columns of ``masks.csv``: where a mask is, and what it is. Its box is four columns."""
INDEXES = 255
"""Most masks of a picture; index 0 is the background."""


def export_png(database: ProposalDatabase, out: Path) -> None:
    """Write indexed PNG masks and a table of them.

    A pixel of a picture belongs to one mask, so masks that overlap lie in different pictures of their image,
    ``masks/<stem>.0.png``, ``masks/<stem>.1.png`` and so on. ``masks.csv`` says which index is which mask.

    Args:
        database: the database.
        out: the new folder.

    Raises:
        UserError: the folder is there already, or the database is damaged.
    """
    stems = Stems()
    with new_folder(out) as folder:
        (folder / "masks").mkdir()
        with (folder / "masks.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            for image, rows in by_image(database):
                stem = stems.of(image["image_id"], image["path"])
                of_image = {name: image[name] for name in OF_IMAGE}
                left: Sequence[tuple[Row, MaskCrop]] = [(row, database.crop(row)) for row in rows]
                layer = 0
                while left:
                    name = f"masks/{stem}.{layer}.png"
                    picture, drawn, left = _layer(left)
                    (folder / name).write_bytes(picture)
                    for index, row in enumerate(drawn, 1):
                        table.writerow({**row, **row["bbox"], **of_image, "file": name, "index": index})
                    layer += 1


def _layer(masks: Sequence[tuple[Row, MaskCrop]]) -> tuple[bytes, list[Row], list[tuple[Row, MaskCrop]]]:
    """A picture of the first masks that don't overlap, their rows in the order of their indexes, and what is left."""
    first = masks[0][1]
    frame = np.zeros((first.height, first.width), np.uint8)
    drawn: list[Row] = []
    left = []
    for row, mask in masks:
        values, place = mask.values, mask.box.slices
        if len(drawn) == INDEXES or frame[place][values].any():
            left.append((row, mask))
        else:
            drawn.append(row)
            frame[place][values] = len(drawn)
    image = Image.fromarray(frame, "P")
    image.putpalette(_palette())
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue(), drawn, left


def _palette() -> list[int]:
    """Colours that differ from index to index, as PASCAL VOC's: the bits of the index, spread over red, green, blue."""
    colours = []
    for index in range(INDEXES + 1):
        colour = [0, 0, 0]
        for bit in range(8):
            colour[bit % 3] |= ((index >> bit) & 1) << (7 - bit // 3)
        colours += colour
    return colours
