"""A JSON file per image as SA-1B has it: databases written so, and read from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from agg_pipeline.database.derived import write_derived
from agg_pipeline.database.exchange.coco_index import OwnImage
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
from agg_pipeline.database.exchange.new_files import Stems, new_folder
from agg_pipeline.database.exchange.own_facts import (
    KEY,
    REJECTS,
    DatabaseFacts,
    RejectFacts,
    attributes,
    bbox,
    by_image,
    database_facts,
    image_facts,
    mask_facts,
    rejects_of_database,
    segmentation,
)
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.coco_masks import read_segmentation
from agg_pipeline.datasets.instances import TOO_MANY, InstanceId, SidePixels
from agg_pipeline.datasets.json_entries import decode_document, most_entries
from agg_pipeline.datasets.naming import UNKNOWN, Naming
from agg_pipeline.storage.local_file import read_file
from schemas import limits
from schemas.canonical import Json, Row
from schemas.checked_json import JsonError, PlainName, checked, decode
from schemas.crop import area
from schemas.errors import ImageError, UserError
from schemas.records import ImageSummary
from schemas.words import excerpt, printable

FOLDER, DATABASE_FILE = "annotations", f"{KEY}.json"
WHAT = "an annotation of SA-1B"


def export_sa1b(database: ProposalDatabase, out: Path) -> None:
    """Write a JSON file per image, as SA-1B has it, into the folder ``annotations`` of a new folder.

    ``predicted_iou`` and ``stability_score`` are null, because a database does not know them; ``point_coords`` has the
    click of the estimator. What describes the whole database lies beside the folder, in ``agg.json``.

    Args:
        database: the database.
        out: the new folder.

    Raises:
        UserError: the folder is there already, or the database is damaged.
    """
    stems = Stems()
    with new_folder(out) as folder:
        (folder / FOLDER).mkdir()
        count = 0
        for number, (image, rows) in enumerate(by_image(database), 1):
            annotations = [_annotation(count + place, row) for place, row in enumerate(rows, 1)]
            count += len(rows)
            document = {"image": _image(number, image), "annotations": annotations}
            stem = stems.of(image["image_id"], image["path"])
            (folder / FOLDER / f"{stem}.json").write_bytes(msgspec.json.encode(document))
        facts = {KEY: database_facts(database), REJECTS: list(rejects_of_database(database))}
        (folder / DATABASE_FILE).write_bytes(msgspec.json.encode(facts))


def _image(number: int, row: Row) -> Json:
    name = PurePosixPath(row["path"]).name
    size = {"width": row["width"], "height": row["height"]}
    return {"image_id": number, **size, "file_name": name, **image_facts(row)}


def _annotation(number: int, row: Row) -> Json:
    click = row["click"]
    return {
        "id": number,
        "segmentation": segmentation(row),
        "bbox": bbox(row),
        "area": row["area"],
        "predicted_iou": None,
        "stability_score": None,
        "crop_box": [0, 0, row["width"], row["height"]],
        "point_coords": [] if click is None else [[click["col"], click["row"]]],
        **mask_facts(row),
        "attributes": attributes(row),
    }


class _Image(Struct, frozen=True):
    height: SidePixels
    width: SidePixels
    file_name: PlainName | None = None


class _File(Struct, frozen=True):
    """The file of an image; its annotations are not decoded."""

    image: Raw
    annotations: list[Raw]


class _Annotation(Struct, frozen=True):
    id: InstanceId
    segmentation: Raw


class _OwnImage(Struct, frozen=True):
    agg_id: str


class _OwnHead(Struct, frozen=True):
    """The image of a file that was exported."""

    image: _OwnImage


def import_sa1b(path: Path, out: str, naming: Naming, overwrite: bool = False, data: str = "") -> ProposalDatabase:
    """Make a database from a folder with JSON files as SA-1B has them in its folder ``annotations``.

    Args:
        path: the folder. If it was exported, the file ``agg.json`` lies in it.
        out: folder of the new database.
        naming: how the data is called; only for files of other programs.
        overwrite: whether to replace another database in the folder.
        data: folder around the folder ``images``, to take their sha256; "" if they are not there. Only for files of
            other programs.

    Raises:
        UserError: an image is missing, or the folder has no such files, or what was exported is damaged or changed.
    """
    files = _files(path)
    if (path / DATABASE_FILE).is_file():
        where = printable(str(path / DATABASE_FILE))
        document = read_file(path / DATABASE_FILE, limits.PLAN_BYTES)
        content = decode(document, dict[str, Any], where)
        facts = checked(content.get(KEY), DatabaseFacts, where)
        found = checked(content.get(REJECTS), list[RejectFacts], where)
        rejects: dict[str, list[Row]] = {}
        for place, each in enumerate(found):
            row = structs.asdict(each)
            check_own_reject(row, len(facts.sources), f"{where}: {REJECTS}[{place}]")
            rejects.setdefault(row["image_id"], []).append(row)
        refuse_images(data, where)
        sha256 = hashlib.sha256(document + _hash(files).encode()).hexdigest()
        plan = own_plan(facts, content[KEY], "sa1b", where, naming, sha256)
        own = pieces_of(_own(files, rejects, len(facts.sources)))
        made = checked_pieces(own, plan, printable(str(path)))
    else:
        about = ("sa1b", path, _hash(files), len(files), naming, ANY_FOLDER, "paper")
        plan = foreign_plan(*about, annotated=False, hashed=bool(data))
        made = pieces_of(_foreign(file, naming, data) for file in files)
    return write_derived(out, plan, made, overwrite=overwrite)


def _files(path: Path) -> list[Path]:
    try:
        files = sorted(each for each in (path / FOLDER).iterdir() if each.suffix == ".json" and each.name[0] != ".")
    except OSError:
        files = []
    if not files:
        raise UserError(f"{printable(str(path))} has no JSON files in its folder {FOLDER}, as SA-1B has them")
    return files


def _hash(files: Sequence[Path]) -> str:
    """A hash of names and contents."""
    hasher = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(read_file(file, limits.JSON_BYTES)).hexdigest()
        hasher.update(f"{content}  {file.name}\n".encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def _read(file: Path) -> _File:
    where = printable(str(file))
    content = read_file(file, limits.JSON_BYTES)
    limit = 2 * limits.OBJECTS_PER_IMAGE
    if content.count(b",") > limit and most_entries(content) > limit:
        raise UserError(f"{where}: {TOO_MANY}")
    return decode_document(content, _File, where, WHAT)


def _foreign(file: Path, naming: Naming, data: str) -> ImageRows:
    image_id = printable(file.stem)
    try:
        read = _read(file)
        size = decode(bytes(read.image), _Image, "image")
        if len(read.annotations) > limits.OBJECTS_PER_IMAGE or size.height * size.width > limits.IMAGE_PIXELS:
            raise UserError(TOO_MANY if len(read.annotations) > limits.OBJECTS_PER_IMAGE else "the image is too large")
    except UserError as error:
        return ImageRows(image_id, (), (), [reject(image_id, None, "unreadable_annotation", str(error))])
    name = PurePosixPath(size.file_name or f"{file.stem}.jpg").name
    file_path = printable(f"images/{name}")
    sha256 = sha256_below(data, file_path)
    image = ImageSummary(image_id, file_path, size.height, size.width, sha256, naming.licence or UNKNOWN)
    rows: dict[int, Row] = {}
    rejects = []
    for place, raw in enumerate(read.annotations):
        number = None
        try:
            each = decode(bytes(raw), _Annotation, f"annotations[{place}]")
            number = each.id
            if number in rows:
                raise ImageError("unreadable_annotation", f"annotation id {number} occurs twice")
            mask = read_segmentation(bytes(each.segmentation), size.height, size.width, f"annotation {number}")
        except JsonError as error:
            rejects.append(reject(image_id, None, "unreadable_object", str(error)))
        except ImageError as error:
            rejects.append(reject(image_id, number, "unreadable_object", error.detail))
        else:
            if not area(mask):
                rejects.append(reject(image_id, number, "empty_object", "its mask has no pixel"))
                continue
            rows[number] = foreign_object(image, number, None, mask)
    if not rows and not rejects:
        rejects.append(reject(image_id, None, "no_object", "it has no annotation"))
    return ImageRows(image_id, [rows[number] for number in sorted(rows)], [image_row(image)], rejects)


def _own(files: Sequence[Path], rejects: dict[str, list[Row]], sources: int) -> Iterator[ImageRows]:
    of_image: dict[str, Path] = {}
    for file in files:
        where = printable(str(file))
        image_id = decode(read_file(file, limits.JSON_BYTES), _OwnHead, where).image.agg_id
        if image_id in of_image:
            raise UserError(f"{where} is of image {excerpt(image_id)}, as {printable(of_image[image_id].name)} is")
        of_image[image_id] = file
    for image_id in sorted({*of_image, *rejects}):
        if image_id in of_image:
            yield _own_image(of_image[image_id], rejects.get(image_id, ()), sources)
        else:
            yield ImageRows(image_id, (), (), rejects[image_id])


def _own_image(file: Path, rejects: Sequence[Row], sources: int) -> ImageRows:
    where = printable(str(file))
    read = _read(file)
    entry = decode(bytes(read.image), dict[str, Any], where)
    image = checked({**entry, "id": entry.get("image_id")}, OwnImage, where)
    row = own_image_row(image)
    check_own_image(row, sources, where)
    masks = []
    for place, raw in enumerate(read.annotations):
        what = f"{where}: annotations[{place}]"
        each = decode(bytes(raw), OwnMask, what)
        masks.append(own_mask_row(each, each.segmentation, image, each.area, sources, what))
    return ImageRows(image.agg_id, masks, [row], rejects)
