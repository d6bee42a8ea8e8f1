"""The gallery of a proposal database: one HTML page that shows a sample of its images with all their proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from agg_pipeline.database.counts import finished_counts
from agg_pipeline.database.manifest import make_manifest
from agg_pipeline.database.reader import ProposalDatabase, mask_of
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.report.svg import View, view_of, widened
from agg_pipeline.report.templates import filled
from agg_pipeline.storage.store import Store
from schemas.canonical import Row
from schemas.crop import Box
from schemas.errors import ImageError
from schemas.records import ImageEntry
from stages.draws import uniforms

PHOTOGRAPH = (420, 320)
THUMBNAIL = (190, 200)
"""Largest height and width of a drawing."""
MARGIN = 0.1
MAX_OBJECTS = 6
MARK_RADIUS = 5.0


@dataclass(frozen=True)
class Mark:
    """A click in a drawing. role: positive, negative or estimator; inside: False if it lies outside, off the edge."""

    role: str
    x: float
    y: float
    inside: bool


@dataclass(frozen=True)
class Figure:
    """A proposal as drawn. row: of the table ``proposals``; outline: SVG path of the mask."""

    row: Row
    outline: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Section:
    """An object, its photograph (data URI) and its proposals from fine to coarse."""

    row: Row
    view: View
    photograph: str
    outline: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class ObjectOutline:
    """An object in the photograph. x, y: of its number; shown: whether it has a section of its own."""

    instance_id: int
    path: str
    x: float
    y: float
    shown: bool


@dataclass(frozen=True)
class Picture:
    """An image as drawn, its objects by area. row: of the table ``images``."""

    row: Row
    view: View
    photograph: str
    outlines: tuple[ObjectOutline, ...]
    sections: tuple[Section, ...]

    @property
    def left_out(self) -> int:
        """Objects without a section."""
        return len(self.outlines) - len(self.sections)


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be drawn, and why."""

    row: Row
    problem: str


def write_gallery(database: ProposalDatabase, dataset: Dataset, store: Store, path: str, images: int, seed: int) -> int:
    """Write a self-contained HTML page with a seeded sample of at most ``images`` images of the finished shards.

    dataset: the one that the database was made from. Returns the number of images that are drawn; one that cannot be
    read any more, or that has changed, becomes a line that says so. OSError if the page cannot be written.
    """
    entries = {entry.image_id: entry for entry in dataset.entries}
    sample = _sample(database, dataset.name, images, seed)
    pictures = [_picture(database, dataset, row, entries.get(row["image_id"])) for row in sample]
    manifest = make_manifest(database.plan, database.sidecars)
    by_bin = finished_counts(database)
    page = filled(
        "gallery.html.j2",
        plan=manifest["plan"],
        totals=manifest["totals"],
        histogram={kind: counts for kind, counts in by_bin.items() if kind != "object"},
        pictures=pictures,
        seed=seed,
        radius=MARK_RADIUS,
    )
    store.write(path, page.encode())
    return sum(isinstance(picture, Picture) for picture in pictures)


def _sample(database: ProposalDatabase, dataset: str, count: int, seed: int) -> list[Row]:
    """Rows of the images with the smallest draws, in the order of the plan: a larger sample holds the smaller one.

    Only the shards of these images are read.
    """
    planned = [
        (index, image_id)
        for index, sidecar in database.sidecars.items()
        for image_id in database.plan["shards"][index][: sidecar["images"]]
    ]
    draws = [uniforms(seed, dataset, image_id, 0, "gallery", 0, 1)[0] for _, image_id in planned] if count else []
    found: dict[int, Row] = {}
    for place in np.argsort(draws, kind="stable"):
        index, image_id = planned[place]
        images = database.table("images", shards=[index])
        # An image that could not be read has no row.
        for row in images.filter(pc.equal(images["image_id"], image_id)).to_pylist():
            found[int(place)] = row
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
    rows: list[Row] = database.of_image(row["image_id"]).to_pylist()
    objects = sorted((r for r in rows if r["kind"] == "object"), key=lambda r: -r["area"])
    view = view_of(Box(0, 0, image.height, image.width), *PHOTOGRAPH)
    outlines = tuple(_object_outline(view, r, n < MAX_OBJECTS) for n, r in enumerate(objects))
    sections = tuple(
        _section(image.pixels, r, [p for p in rows if p["instance_id"] == r["instance_id"] and p is not r])
        for r in objects[:MAX_OBJECTS]
    )
    return Picture(row, view, view.photograph(image.pixels), outlines, sections)


def _object_outline(view: View, row: Row, shown: bool) -> ObjectOutline:
    box = row["bbox"]
    x, y, _ = view.position(box["y"] + box["h"] // 2, box["x"] + box["w"] // 2, 10)
    return ObjectOutline(row["instance_id"], view.outline(mask_of(row)), x, y, shown)


def _section(pixels: NDArray[np.uint8], row: Row, proposals: Sequence[Row]) -> Section:
    box = Box(row["bbox"]["y"], row["bbox"]["x"], row["bbox"]["h"], row["bbox"]["w"])
    view = view_of(widened(box, MARGIN, row["height"], row["width"]), *THUMBNAIL)
    ordered = sorted(proposals, key=lambda r: r["granularity"])
    figures = tuple(Figure(r, view.outline(mask_of(r)), _marks(view, r)) for r in ordered)
    return Section(row, view, view.photograph(pixels), view.outline(mask_of(row)), figures)


def _marks(view: View, row: Row) -> tuple[Mark, ...]:
    """The simulated clicks in their order, then the estimator's."""
    clicks: list[tuple[str, dict[str, Any]]] = [
        ("positive" if click["positive"] else "negative", click) for click in row["clicks"] or ()
    ]
    if row["click"] is not None:
        clicks.append(("estimator", row["click"]))
    return tuple(Mark(role, *view.position(click["row"], click["col"], MARK_RADIUS)) for role, click in clicks)
