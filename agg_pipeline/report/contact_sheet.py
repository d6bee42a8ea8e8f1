"""The contact sheet of a data set: one HTML page with its counts and a sample of its images with outlined masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.survey import Counts
from agg_pipeline.figures.svg import View, view_of
from agg_pipeline.report.index_page import index_links
from agg_pipeline.report.templates import filled
from agg_pipeline.storage.store import Store
from schemas.crop import Box, MaskCrop
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord, PartMask
from stages.draws import drawn_order

DRAWING = (300, 380)
"""Largest height and width of a drawing, CSS pixels."""
GOLDEN_ANGLE = 137.508
"""Degrees between the hues of consecutive outlines: neighbours differ, and no hue comes back soon."""


@dataclass(frozen=True)
class Outline:
    """A mask as drawn.

    Attributes:
        name: name in the legend.
        path: SVG path of the outline.
        hue: colour, degrees.
        level: object, part or ignored.
        depth: number of parts that contain it.
    """

    name: str
    path: str
    hue: float
    level: str
    depth: int


@dataclass(frozen=True)
class SheetImage:
    """An image as drawn.

    Attributes:
        image_id: id of the image.
        size: width and height in words.
        view: part of the image that is drawn; None if the image cannot be read.
        photograph: data URI of the image.
        legend: outlines in groups: each object with its parts.
        problem: why the image cannot be read; "" if it can.
    """

    image_id: str
    size: str
    view: View | None
    photograph: str
    legend: tuple[tuple[Outline, ...], ...]
    problem: str

    @property
    def outlines(self) -> list[Outline]:
        """All outlines in drawing order: nested parts come last."""
        outlines = [outline for group in self.legend for outline in group]
        return sorted(outlines, key=lambda outline: (outline.level == "part", outline.depth))


def write_contact_sheet(
    datasets: Sequence[Dataset], counts: Mapping[str, Counts], store: Store, path: str, images: int, seed: int
) -> int:
    """Write the contact sheet of a data set, a self-contained page.

    Args:
        datasets: its splits.
        counts: totals by split.
        store: folder of the page.
        path: file name of the page.
        images: most images per split.
        seed: seed by which they are drawn.

    Returns:
        Number of images that are drawn.
    """
    sheets = {}
    for dataset in datasets:
        ids = [entry.image_id for entry in dataset.entries]
        chosen = sorted(drawn_order(ids, dataset.name, "contact-sheet", seed)[:images])
        sheets[dataset.split] = [_sheet_image(dataset, dataset.entries[position]) for position in chosen]
    page = filled(
        "contact_sheet.html.j2",
        about=datasets[0].about,
        counts=counts,
        sheets=sheets,
        seed=seed,
        links=index_links(store),
    )
    store.write(path, page.encode())
    return sum(image.view is not None for sheet in sheets.values() for image in sheet)


def _sheet_image(dataset: Dataset, entry: ImageEntry) -> SheetImage:
    try:
        record = dataset.read(entry)
    except ImageError as error:
        return SheetImage(entry.image_id, "", None, "", (), error.detail)
    view = view_of(Box(0, 0, record.height, record.width), *DRAWING)
    size = f"{record.width} x {record.height}"
    return SheetImage(entry.image_id, size, view, view.photograph(record.pixels), _legend(record, view), "")


def _legend(record: ImageRecord, view: View) -> tuple[tuple[Outline, ...], ...]:
    drawn = 0

    def outline(name: str, mask: MaskCrop, level: str, depth: int = 0) -> Outline:
        nonlocal drawn
        hue = round(drawn * GOLDEN_ANGLE % 360, 1)
        drawn += 1
        return Outline(name, view.outline(mask), hue, level, depth)

    groups: list[tuple[Outline, ...]] = []
    if record.ignore is not None:
        groups.append((outline("ignored", record.ignore, "ignored"),))
    for instance in record.objects:
        group = [outline(f"{instance.category or 'object'} {instance.instance_id}", instance.mask, "object")]
        group += [outline(part.name, part.mask, "part", _depth(part, instance.parts)) for part in instance.parts]
        groups.append(tuple(group))
    return tuple(groups)


def _depth(part: PartMask, parts: Sequence[PartMask]) -> int:
    """Number of parts that contain a part."""
    parents = {other.part_id: other.parent_id for other in parts}
    depth, parent = 0, part.parent_id
    while parent is not None:
        depth += 1
        parent = parents.get(parent)
    return depth
