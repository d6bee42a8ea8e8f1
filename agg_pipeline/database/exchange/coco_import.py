"""A database from COCO's instance file: one that was exported, or one of another program, whose masks are objects."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from msgspec import Raw, structs

from agg_pipeline.database.derived import write_derived
from agg_pipeline.database.exchange.coco_index import CocoIndex, OwnImage, coco_index
from agg_pipeline.database.exchange.exported_rows import (
    OwnMask,
    check_own_image,
    check_own_reject,
    checked_pieces,
    own_image_row,
    own_mask_row,
    own_plan,
)
from agg_pipeline.database.exchange.imported_database import (
    ANY_FOLDER,
    ImageRows,
    foreign_object,
    foreign_plan,
    image_row,
    pieces_of,
    refuse_images,
    reject,
    sha256_below,
)
from agg_pipeline.database.exchange.own_facts import RejectFacts
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.coco_entries import Annotation, Image, id_text
from agg_pipeline.datasets.coco_masks import read_segmentation
from agg_pipeline.datasets.coco_paths import name_of_file
from agg_pipeline.datasets.instances import TOO_MANY, check_exact
from agg_pipeline.datasets.naming import UNKNOWN, Naming
from agg_pipeline.storage.local_file import open_file
from schemas import limits
from schemas.canonical import Row
from schemas.checked_json import JsonError, decode
from schemas.crop import area
from schemas.errors import ImageError, UserError
from schemas.paths import stays_inside
from schemas.records import ImageSummary
from schemas.words import excerpt, plural, printable

LOG = logging.getLogger(__name__)


def import_coco(path: Path, out: str, naming: Naming, overwrite: bool = False, data: str = "") -> ProposalDatabase:
    """Make a database from COCO's instance file.

    Args:
        path: the file.
        out: folder of the new database.
        naming: how the data is called; only for files of other programs.
        overwrite: whether to replace another database in the folder.
        data: folder of the images, to take their sha256; "" if they are not there. Only for files of other programs.

    Raises:
        UserError: the file is no instance file, its masks were changed after the export, or an image is missing.
    """
    index = coco_index(path)
    where = printable(str(path))
    for number, of in ((index.homeless, "no listed image"), (index.of_broken, "images that cannot be used")):
        if number:
            LOG.warning("%s: %s left out, of %s", where, plural(number, "annotation"), of)
    with open_file(path, limits.EXCHANGE_FILE_BYTES) as (file, _):
        if index.own is None:
            count = len(index.images) + len(index.broken)
            about = ("coco", path, index.sha256, count, naming, ANY_FOLDER, "paper")
            plan = foreign_plan(*about, annotated=True, hashed=bool(data))
            made = pieces_of(_foreign(index, file, naming, where, data))
        else:
            refuse_images(data, where)
            plan = own_plan(index.own, index.document, "coco", where, naming, index.sha256)
            made = checked_pieces(pieces_of(_own(index, file, where)), plan, where)
        return write_derived(out, plan, made, overwrite=overwrite)


def _foreign(index: CocoIndex, file: IO[bytes], naming: Naming, where: str, data: str) -> Iterator[ImageRows]:
    crowds = 0
    for key in sorted({*index.images, *index.broken}):
        if key in index.broken:
            yield _fallen(key, index.broken[key])
            continue
        image = index.images[key]
        assert isinstance(image, Image)
        path = name_of_file(image)
        if not stays_inside(path):
            yield _fallen(key, f"{excerpt(path)} is no path in the data set")
            continue
        if index.annotations_of(key) > limits.OBJECTS_PER_IMAGE:
            yield _fallen(key, TOO_MANY)
            continue
        if image.height * image.width > limits.IMAGE_PIXELS:
            yield _fallen(key, f"an image of more than {limits.IMAGE_PIXELS:,} pixels")
            continue
        licence = None if image.license is None else index.licences.get(id_text(image.license))
        sha256 = sha256_below(data, path)
        summary = ImageSummary(key, path, image.height, image.width, sha256, licence or naming.licence or UNKNOWN)
        found = _objects(index, file, summary)
        crowds += found[2]
        yield ImageRows(key, found[0], [image_row(summary)], found[1])
    if crowds:
        LOG.warning("%s: %s left out; they mark no object", where, plural(crowds, "crowd region"))


def _fallen(key: str, problem: str) -> ImageRows:
    return ImageRows(key, (), (), [reject(key, None, "unreadable_annotation", problem)])


def _objects(index: CocoIndex, file: IO[bytes], image: ImageSummary) -> tuple[list[Row], list[Row], int]:
    """The rows of an image's objects and of those that cannot be used, and the number of its crowd regions."""
    rows: dict[int, Row] = {}
    rejects: list[Row] = []
    crowds = 0
    for content in index.read(file, image.image_id):
        number = None
        try:
            each = decode(content, Annotation, "an annotation", strict=False)
            check_exact(each.id, Raw(content), "an annotation")
            number = each.id
            if each.iscrowd:
                crowds += 1
                continue
            if number in rows:
                raise ImageError("unreadable_annotation", f"annotation id {number} occurs twice")
            mask = read_segmentation(bytes(each.segmentation), image.height, image.width, f"annotation {number}")
        except ImageError as error:
            rejects.append(reject(image.image_id, number, "unreadable_object", error.detail))
        except JsonError as error:
            rejects.append(reject(image.image_id, None, "unreadable_object", str(error)))
        else:
            if not area(mask):
                rejects.append(reject(image.image_id, number, "empty_object", "its mask has no pixel"))
                continue
            category = None if each.category_id is None else index.categories.get(id_text(each.category_id))
            rows[number] = foreign_object(image, number, category, mask)
    if not rows and not rejects:
        rejects.append(reject(image.image_id, None, "no_object", "it has no annotation"))
    return [rows[number] for number in sorted(rows)], rejects, crowds


def _own(index: CocoIndex, file: IO[bytes], where: str) -> Iterator[ImageRows]:
    assert index.own is not None
    sources = len(index.own.sources)
    rejects: dict[str, list[Row]] = {}
    for place, content in enumerate(index.rejects):
        row = structs.asdict(decode(content, RejectFacts, f"{where}: agg_rejects[{place}]"))
        check_own_reject(row, sources, f"{where}: agg_rejects[{place}]")
        rejects.setdefault(row["image_id"], []).append(row)
    keys = {image.agg_id: key for key, image in index.images.items() if isinstance(image, OwnImage)}
    if len(keys) < len(index.images):
        raise UserError(f"{where} has two images with the same agg_id")
    for image_id in sorted({*keys, *rejects}):
        if image_id not in keys:
            yield ImageRows(image_id, (), (), rejects[image_id])
            continue
        image = index.images[keys[image_id]]
        assert isinstance(image, OwnImage)
        row = own_image_row(image)
        check_own_image(row, sources, f"{where}: image {excerpt(image_id)}")
        masks = [_own_mask(content, image, sources, where) for content in index.read(file, keys[image_id])]
        yield ImageRows(image_id, masks, [row], rejects.get(image_id, ()))


def _own_mask(content: bytes, image: OwnImage, sources: int, where: str) -> Row:
    try:
        each = decode(content, OwnMask, "an annotation")
    except JsonError as error:
        raise UserError(f"{where}: {error}; it was exported by agg, and changed") from None
    return own_mask_row(each, each.segmentation, image, each.area, sources, f"{where}: annotation {each.id}")
