"""The contact sheet of a data set: one HTML page with its counts and a sample of its images with outlined masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.survey import Counts
from agg_pipeline.report.drawing import View, view_of
from agg_pipeline.report.page import filled
from agg_pipeline.storage import Store
from schemas.crop import Box, MaskCrop
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord
from stages.draws import uniforms

DRAWING = (300, 380)
"""Largest height and width of a drawing."""
GOLDEN_ANGLE = 137.508


@dataclass(frozen=True)
class Outline:
    """A mask as drawn. hue: degrees of the colour circle; level: object, part or ignored; depth: parts around it."""

    name: str
    path: str
    hue: float
    level: str
    depth: int


@dataclass(frozen=True)
class Figure:
    """An image as drawn, or why it cannot be."""

    image_id: str
    size: str
    view: View | None
    photograph: str
    outlines: tuple[Outline, ...]
    problem: str


def write_contact_sheet(
    datasets: Sequence[Dataset], counts: Mapping[str, Counts], store: Store, path: str, images: int, seed: int
) -> int:
    """Write a self-contained page with at most ``images`` images of each split; returns how many are drawn.

    counts: of each split by its name.
    """
    sheets = {
        dataset.split: [_figure(dataset, entry) for entry in _sample(dataset, images, seed)] for dataset in datasets
    }
    page = filled("contact_sheet.html.j2", about=datasets[0].about, counts=counts, sheets=sheets, seed=seed)
    store.write(path, page.encode())
    return sum(figure.view is not None for figures in sheets.values() for figure in figures)


def _sample(dataset: Dataset, count: int, seed: int) -> list[ImageEntry]:
    draws = [uniforms(seed, dataset.name, entry.image_id, 0, "contact-sheet", 0, 1)[0] for entry in dataset.entries]
    return [dataset.entries[n] for n in sorted(np.argsort(draws, kind="stable")[:count])]


def _figure(dataset: Dataset, entry: ImageEntry) -> Figure:
    try:
        record = dataset.read(entry)
    except ImageError as error:
        return Figure(entry.image_id, "", None, "", (), error.detail)
    view = view_of(Box(0, 0, record.height, record.width), *DRAWING)
    outlines = tuple(_outlines(record, view))
    size = f"{record.width} x {record.height}"
    return Figure(entry.image_id, size, view, view.photograph(record.pixels), outlines, "")


def _outlines(record: ImageRecord, view: View) -> list[Outline]:
    drawn: list[Outline] = []

    def draw(name: str, mask: MaskCrop, level: str, depth: int = 0) -> None:
        hue = len(drawn) * GOLDEN_ANGLE % 360
        drawn.append(Outline(name, view.outline(mask.full()), round(hue, 1), level, depth))

    if record.ignore is not None:
        draw("ignored", record.ignore, "ignored")
    for thing in record.objects:
        draw(f"{thing.category or 'object'} {thing.instance_id}", thing.mask, "object")
        parents = {part.part_id: part.parent_id for part in thing.parts}
        for part in thing.parts:
            depth, around = 0, part.parent_id
            while around is not None:
                depth, around = depth + 1, parents.get(around)
            draw(part.name, part.mask, "part", depth)
    # What lies inside of others is drawn last.
    return sorted(drawn, key=lambda outline: (outline.level == "part", outline.depth))
