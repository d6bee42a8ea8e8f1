"""The gallery of a proposal database: one HTML page with a sample of its images and all their proposals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline.database.counts import finished_counts
from agg_pipeline.database.manifest import make_manifest
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.figures.svg import View, less_narrow, view_of, widened
from agg_pipeline.report.index_page import index_links
from agg_pipeline.report.templates import filled
from agg_pipeline.storage.store import Store
from schemas.canonical import Row
from schemas.crop import Box, MaskCrop
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord
from stages.draws import drawn_order

PHOTOGRAPH = (420, 320)
"""Largest height and width of the drawing of an image, CSS pixels."""
THUMBNAIL = (210, 210)
"""Largest height and width of the drawing of a proposal, CSS pixels."""
MARGIN = 0.1
"""Margin around an object, as a share of its longer side."""
NARROWEST = 1.5
"""Largest ratio of the sides of the drawing of a proposal, where the image is large enough."""
MAX_OBJECTS = 6
"""Objects per image whose proposals are shown, the largest ones."""
MARK_RADIUS = 5.0
"""Radius of a click's mark, CSS pixels."""
PROPOSAL_KINDS = {
    "part": "a part of the object: what the model predicts for the clicks",
    "complement": "the object without that part",
    "annotated": "a part as people annotated it",
}
"""Kinds of proposals, in words."""


@dataclass(frozen=True)
class Mark:
    """A click in a drawing.

    Attributes:
        role: positive, negative or estimator.
        x: place from the left, CSS pixels.
        y: place from the top, CSS pixels.
        inside: False if the click lies outside the drawing; it is then drawn at the nearest border.
    """

    role: str
    x: float
    y: float
    inside: bool


@dataclass(frozen=True)
class ProposalFigure:
    """A proposal as drawn.

    Attributes:
        row: its row of the table ``proposals``.
        outline: SVG path of the mask.
        marks: its clicks.
    """

    row: Row
    outline: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Section:
    """An object with its proposals.

    Attributes:
        row: its row of the table ``proposals``.
        view: part of the image that is drawn.
        photograph: data URI of that part.
        outline: SVG path of the object.
        figures: its proposals from fine to coarse.
    """

    row: Row
    view: View
    photograph: str
    outline: str
    figures: tuple[ProposalFigure, ...]


@dataclass(frozen=True)
class ObjectOutline:
    """An object in the drawing of its image.

    Attributes:
        instance_id: id of the object.
        path: SVG path of its outline.
        x: place of its number from the left, CSS pixels.
        y: place of its number from the top, CSS pixels.
        shown: whether its proposals are shown.
    """

    instance_id: int
    path: str
    x: float
    y: float
    shown: bool


@dataclass(frozen=True)
class Picture:
    """An image as drawn.

    Attributes:
        row: its row of the table ``images``.
        view: part of the image that is drawn: all of it.
        photograph: data URI of the image.
        outlines: its objects, the largest first.
        sections: the objects whose proposals are shown.
    """

    row: Row
    view: View
    photograph: str
    outlines: tuple[ObjectOutline, ...]
    sections: tuple[Section, ...]

    @property
    def left_out(self) -> int:
        """Number of objects whose proposals are not shown."""
        return len(self.outlines) - len(self.sections)


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be drawn.

    Attributes:
        row: its row of the table ``images``.
        problem: why it cannot be drawn.
    """

    row: Row
    problem: str


def write_gallery(
    database: ProposalDatabase,
    dataset: Dataset,
    store: Store,
    path: str,
    images: int,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write the gallery of a database, a self-contained page; it shows images of finished shards.

    An image that cannot be read any more, or that has changed, becomes a line that says so.

    Args:
        database: the database.
        dataset: data set that it was made from.
        store: folder of the page.
        path: file name of the page.
        images: most images.
        seed: seed by which they are drawn.
        check: called before the page is written; raises UserError if the folder is another run's by now. Drawing takes
            a while.

    Returns:
        Number of images that are drawn.

    Raises:
        StorageError: the page cannot be written.
        UserError: the rows of an image that is drawn are damaged.
    """
    entries = {entry.image_id: entry for entry in dataset.entries}
    sample = _sample(database, dataset.name, images, seed)
    pictures = [_picture(database, dataset, row, entries.get(row["image_id"])) for row in sample]
    manifest = make_manifest(database.plan, database.sidecars)
    by_bin = finished_counts(database)
    page = filled(
        "gallery.html.j2",
        links=index_links(store, {"stats.html": "Statistics"}),
        plan=manifest["plan"],
        totals=manifest["totals"],
        histogram={kind: counts for kind, counts in by_bin.items() if kind != "object"},
        pictures=pictures,
        seed=seed,
        radius=MARK_RADIUS,
        kinds=PROPOSAL_KINDS,
        classes=sorted({row["category"] for row in _objects_shown(pictures) if row["category"]}),
    )
    check()
    store.write(path, page.encode())
    return sum(isinstance(picture, Picture) for picture in pictures)


def _objects_shown(pictures: Sequence[Picture | Unreadable]) -> list[Row]:
    return [section.row for picture in pictures if isinstance(picture, Picture) for section in picture.sections]


def _sample(database: ProposalDatabase, dataset: str, count: int, seed: int) -> list[Row]:
    """Rows of the images with the smallest draws, in the order of the plan: a larger sample holds the smaller one.

    Only the shards of these images are read.
    """
    planned = [(index, image_id) for index in database.sidecars for image_id in database.images_of_shard(index)]
    found: dict[int, Row] = {}
    for place in drawn_order([image_id for _, image_id in planned], dataset, "gallery", seed) if count else ():
        index, image_id = planned[place]
        images = database.table("images", shards=[index])
        # An image that could not be read has no row.
        for row in images.filter(pc.equal(images["image_id"], image_id)).to_pylist():
            found[place] = row
        if len(found) >= count:
            break
    return [row for _, row in sorted(found.items())]


def _picture(database: ProposalDatabase, dataset: Dataset, row: Row, entry: ImageEntry | None) -> Picture | Unreadable:
    if entry is None:
        return Unreadable(row, "the data set does not list it any more")
    try:
        image = dataset.read(entry)
    except ImageError as error:
        return Unreadable(row, error.detail)
    if image.sha256 != row["sha256"]:
        return Unreadable(row, "the image has changed since its proposals were made")
    return _drawn(image, row, database.of_image(row["image_id"]).to_pylist(), database)


def _drawn(image: ImageRecord, row: Row, rows: Sequence[Row], database: ProposalDatabase) -> Picture:
    """Draw an image; ``rows`` are its rows of ``proposals``."""
    if any((other["height"], other["width"]) != (image.height, image.width) for other in rows):
        raise database.damaged(image.image_id, f"has masks of another size than image {image.image_id}")
    objects = [other for other in rows if other["kind"] == "object"]
    objects.sort(key=lambda row: -row["area"])
    view = view_of(Box(0, 0, image.height, image.width), *PHOTOGRAPH)
    outlines = tuple(
        _object_outline(view, owner, database.crop(owner), n < MAX_OBJECTS) for n, owner in enumerate(objects)
    )
    sections = []
    for owner in objects[:MAX_OBJECTS]:
        own = [other for other in rows if other["instance_id"] == owner["instance_id"] and other is not owner]
        sections.append(_section(image.pixels, owner, own, database))
    return Picture(row, view, view.photograph(image.pixels), outlines, tuple(sections))


def _object_outline(view: View, row: Row, mask: MaskCrop, shown: bool) -> ObjectOutline:
    box = row["bbox"]
    x, y, _ = view.position(box["y"] + box["h"] // 2, box["x"] + box["w"] // 2, 10)
    return ObjectOutline(row["instance_id"], view.outline(mask), x, y, shown)


def _section(pixels: NDArray[np.uint8], row: Row, proposals: Sequence[Row], database: ProposalDatabase) -> Section:
    box = Box(row["bbox"]["y"], row["bbox"]["x"], row["bbox"]["h"], row["bbox"]["w"])
    height, width = row["height"], row["width"]
    view = view_of(less_narrow(widened(box, MARGIN, height, width), NARROWEST, height, width), *THUMBNAIL)
    ordered = sorted(proposals, key=lambda proposal: proposal["granularity"])
    figures = tuple(
        ProposalFigure(proposal, view.outline(database.crop(proposal)), _marks(view, proposal)) for proposal in ordered
    )
    return Section(row, view, view.photograph(pixels), view.outline(database.crop(row)), figures)


def _marks(view: View, row: Row) -> tuple[Mark, ...]:
    """The simulated clicks in their order, then the estimator's click."""
    clicks: list[tuple[str, dict[str, Any]]] = [
        ("positive" if click["positive"] else "negative", click) for click in row["clicks"] or ()
    ]
    if row["click"] is not None:
        clicks.append(("estimator", row["click"]))
    return tuple(Mark(role, *view.position(click["row"], click["col"], MARK_RADIUS)) for role, click in clicks)
