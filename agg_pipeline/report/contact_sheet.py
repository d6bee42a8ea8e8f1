"""The contact sheet of a data set: one HTML page with its counts and a sample of its images with outlined masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.survey import Counts
from agg_pipeline.report.svg import View, view_of
from agg_pipeline.report.templates import filled
from agg_pipeline.storage.store import Store
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
    """An image as drawn, or why it cannot be. legend: for each object its outline and those of its parts."""

    image_id: str
    size: str
    view: View | None
    photograph: str
    legend: tuple[tuple[Outline, ...], ...]
    problem: str

    @property
    def outlines(self) -> list[Outline]:
        """All outlines; what lies inside of others is drawn last."""
        every = (outline for group in self.legend for outline in group)
        return sorted(every, key=lambda outline: (outline.level == "part", outline.depth))


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


def _sample(dataset: Dataset, images: int, seed: int) -> list[ImageEntry]:
    draws = [uniforms(seed, dataset.name, entry.image_id, 0, "contact-sheet", 0, 1)[0] for entry in dataset.entries]
    return [dataset.entries[n] for n in sorted(np.argsort(draws, kind="stable")[:images])]


def _figure(dataset: Dataset, entry: ImageEntry) -> Figure:
    try:
        record = dataset.read(entry)
    except ImageError as error:
        return Figure(entry.image_id, "", None, "", (), error.detail)
    view = view_of(Box(0, 0, record.height, record.width), *DRAWING)
    size = f"{record.width} x {record.height}"
    return Figure(entry.image_id, size, view, view.photograph(record.pixels), _legend(record, view), "")


def _legend(record: ImageRecord, view: View) -> tuple[tuple[Outline, ...], ...]:
    hues = (round(number * GOLDEN_ANGLE % 360, 1) for number in count())

    def outline(name: str, mask: MaskCrop, level: str, depth: int = 0) -> Outline:
        return Outline(name, view.outline(mask.full()), next(hues), level, depth)

    groups: list[tuple[Outline, ...]] = []
    if record.ignore is not None:
        groups.append((outline("ignored", record.ignore, "ignored"),))
    for thing in record.objects:
        parents = {part.part_id: part.parent_id for part in thing.parts}
        whole = outline(f"{thing.category or 'object'} {thing.instance_id}", thing.mask, "object")
        parts = (outline(part.name, part.mask, "part", _depth(part.part_id, parents)) for part in thing.parts)
        groups.append((whole, *parts))
    return tuple(groups)


def _depth(part_id: str, parents: Mapping[str, str | None]) -> int:
    """How many parts lie around one."""
    parent = parents.get(part_id)
    return 0 if parent is None else 1 + _depth(parent, parents)
