"""Tar shards of photographs and JSON, as WebDataset reads them."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path, PurePosixPath

import msgspec

from agg_pipeline.database.exchange.new_files import Stems, new_folder
from agg_pipeline.database.exchange.own_facts import bbox, by_image, mask_facts, segmentation
from agg_pipeline.database.exchange.photographs import NONE, Roots, photographs
from agg_pipeline.database.reader import ProposalDatabase
from schemas.canonical import Json, Row

IMAGES_PER_SHARD = 1000
SHARD_BYTES = 1 << 30
"""Bytes from which on a shard takes no more images."""


def export_webdataset(database: ProposalDatabase, out: Path, roots: Roots = NONE) -> None:
    """Write tar shards ``00000.tar``, ``00001.tar`` and so on, with a JSON and the photograph of every image.

    The same database gives the same bytes: no time, user or machine is in them.

    Args:
        database: the database.
        out: the new folder.
        roots: root folders of the data sets with the photographs; none to leave them out.

    Raises:
        UserError: the folder is there already, or the database or a photograph is damaged.
    """
    photograph = photographs(database, roots)
    stems = Stems()
    images = by_image(database)
    with new_folder(out) as folder:
        first = next(images, None)
        for number in itertools.count():
            if first is None:
                break
            with tarfile.open(folder / f"{number:05d}.tar", "w", format=tarfile.PAX_FORMAT) as shard:
                for count, (image, rows) in enumerate(itertools.chain([first], images), 1):
                    stem = stems.of(image["image_id"], image["path"])
                    if photograph is not None:
                        ending = PurePosixPath(image["path"]).suffix.lower() or ".img"
                        _add(shard, f"{stem}{ending}", photograph(image))
                    _add(shard, f"{stem}.json", msgspec.json.encode(_document(image, rows)))
                    if count == IMAGES_PER_SHARD or shard.offset > SHARD_BYTES:
                        break
            first = next(images, None)


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    shard.addfile(entry, io.BytesIO(content))


def _document(image: Row, rows: list[Row]) -> Json:
    masks = [
        {"segmentation": segmentation(row), "area": row["area"], "bbox": bbox(row), **mask_facts(row)} for row in rows
    ]
    return {**image, "masks": masks}
