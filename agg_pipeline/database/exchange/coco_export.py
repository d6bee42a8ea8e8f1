"""A database as COCO's instance file, written image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from io import BufferedWriter
from pathlib import Path

import msgspec

from agg_pipeline.database.description import description
from agg_pipeline.database.exchange.mask_polygons import polygons
from agg_pipeline.database.exchange.new_files import new_file
from agg_pipeline.database.exchange.own_facts import (
    KEY,
    REJECTS,
    attributes,
    bbox,
    by_image,
    database_facts,
    image_facts,
    images_of,
    mask_facts,
    rejects_of_database,
    segmentation,
)
from agg_pipeline.database.reader import ProposalDatabase
from schemas.canonical import Json, Row

UNNAMED = "object"
"""Category of masks whose class is unknown."""


class _Numbers:
    """Numbers of names from 1, in the order in which they come."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self.of.setdefault(name, len(self.of) + 1)

    def entries(self, **more: str) -> Iterator[Json]:
        """An entry for each name."""
        return ({"id": number, "name": name, **more} for name, number in self.of.items())


def export_coco(database: ProposalDatabase, out: Path, outlines: bool = False) -> None:
    """Write a database as COCO's instance file.

    Args:
        database: the database.
        out: path of the new file.
        outlines: whether masks are polygons instead of run lengths.

    Raises:
        UserError: the file is there already, or the database is damaged.
    """
    about = description(database.plan)
    licences, categories, numbers = _Numbers(), _Numbers(), _Numbers()
    info = {
        "description": f"Proposals of {about.data}",
        "url": "; ".join(about.homepages),
        "contributor": about.citation,
    }
    with new_file(out) as file:
        file.write(b'{"info": ' + msgspec.json.encode(info))
        file.write(f',\n"{KEY}": '.encode() + msgspec.json.encode(database_facts(database)))
        _list(file, "images", (_image(row, numbers, licences) for row in images_of(database)))
        _list(file, "annotations", _annotations(database, numbers, categories, outlines))
        _list(file, REJECTS, rejects_of_database(database))
        _list(file, "licenses", licences.entries(url=""))
        _list(file, "categories", categories.entries(supercategory=""))
        file.write(b"}\n")


def _list(file: BufferedWriter, key: str, entries: Iterable[Json]) -> None:
    file.write(f',\n"{key}": ['.encode())
    for place, entry in enumerate(entries):
        file.write((b",\n" if place else b"\n") + msgspec.json.encode(entry))
    file.write(b"]")


def _image(row: Row, numbers: _Numbers, licences: _Numbers) -> Json:
    return {
        "id": numbers(row["image_id"]),
        "file_name": row["path"],
        "height": row["height"],
        "width": row["width"],
        "license": licences(row["licence"]),
        **image_facts(row),
    }


def _annotations(
    database: ProposalDatabase, numbers: Callable[[str], int], categories: Callable[[str], int], outlines: bool
) -> Iterator[Json]:
    count = 0
    for image, rows in by_image(database):
        for row in rows:
            count += 1
            shape = polygons(database.crop(row)) if outlines else segmentation(row)
            yield {
                "id": count,
                "image_id": numbers(image["image_id"]),
                "category_id": categories(row["category"] or UNNAMED),
                "segmentation": shape,
                "area": row["area"],
                "bbox": bbox(row),
                "iscrowd": 0,
                **mask_facts(row),
                "attributes": attributes(row),
            }
