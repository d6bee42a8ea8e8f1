"""A database from a file of another format: its plan, and the rows of what that format knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agg_pipeline.database.derived import Piece
from agg_pipeline.database.exchange.own_facts import tables_of
from agg_pipeline.database.proposal_rows import object_row
from agg_pipeline.datasets.images import file_sha256
from agg_pipeline.datasets.naming import UNKNOWN, Naming
from agg_pipeline.storage.rle import encode
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.canonical import Json, Row, content_hash
from schemas.crop import MaskCrop, area
from schemas.devices import CPU
from schemas.errors import ImageError, UserError
from schemas.presets import PRESETS
from schemas.records import ImageSummary, ObjectMask, Target
from schemas.resolve import override
from schemas.tables import FORMAT_MINOR, FORMAT_VERSION, SOURCE
from schemas.words import excerpt

ANY_FOLDER = "folder"
"""Name of the data set whose reader finds images by their paths alone."""
SEVERAL = 25
"""Images of a piece."""


def foreign_plan(
    kind: str,
    path: Path,
    sha256: str,
    images: int,
    naming: Naming,
    layout: str,
    preset: str,
    *,
    annotated: bool,
    hashed: bool = False,
    split: str = UNKNOWN,
    fingerprint: str | None = None,
) -> Json:
    """The plan of a database with rows that no run of this program has made.

    Args:
        kind: the format.
        path: path of the file or folder.
        sha256: hash of its content, in hex.
        images: number of its images.
        naming: what the user says of the data; its name is that of the file if there is none.
        layout: name of the data set whose reader finds the images.
        preset: preset that is closest to how the masks were made.
        annotated: whether people made the masks.
        hashed: whether the sha256 of the images was taken.
        split, fingerprint: of the data set that has the objects; None if they are in the file.
    """
    imported = {"format": kind, "file": path.name, "sha256": sha256}
    # The identity covers the configuration, which must not depend on this machine.
    config = override(PRESETS[preset], {"source": "gt" if annotated else "agg", "predictor": {"device": CPU}})
    source = {
        "id": sha256,
        "seed": 0,
        "imported": imported | ({"hashed": True} if hashed else {}),
        "dataset": {
            "name": naming.name or path.stem,
            "split": split,
            "fingerprint": fingerprint or sha256[:32],
            "images": images,
            "selection": {},
            "layout": layout,
            "licence": naming.licence or UNKNOWN,
            "citation": naming.citation or UNKNOWN,
            "homepage": naming.homepage,
        },
        "model": {"architecture": UNKNOWN, "granularity": False, "input_size": 0, "sha256": UNKNOWN},
        "environment": {"device": UNKNOWN, "torch": UNKNOWN},
        "config": asdict(config),
    }
    return imported_plan(FORMAT_VERSION, FORMAT_MINOR, [source], [], kind, [sha256], sha256)


def imported_plan(
    version: int, minor: int, sources: Sequence[Json], history: Sequence[Json], kind: str, of: list[str], sha256: str
) -> Json:
    """The plan of an imported database, without the images of its shards.

    Args:
        version, minor: version of the format.
        sources: what has made the rows.
        history: the commands before the import.
        kind: format of the file.
        of: identity of the database that was exported, or hash of the file.
        sha256: hash of the file. It is not a part of the identity, but of the plan: a file that was changed is another
            one, whatever it says of the database that it was exported from.
    """
    entry = {"command": "import", "options": {"format": kind, "sha256": sha256}, "parents": of}
    facts = {
        "format_version": version,
        "format_minor": minor,
        "sources": list(sources),
        "history": [*history, entry],
    }
    return facts | {"config_hash": content_hash(facts), "shards": []}


@dataclass(frozen=True)
class ImageRows:
    """The rows of one image.

    Attributes:
        image_id: its id.
        proposals, images, rejects: its rows in the tables.
    """

    image_id: str
    proposals: Sequence[Row]
    images: Sequence[Row]
    rejects: Sequence[Row]


def pieces_of(found: Iterator[ImageRows]) -> Iterator[Piece]:
    """Images with their rows as pieces of a database."""
    some: list[ImageRows] = []
    for image in found:
        some.append(image)
        if len(some) == SEVERAL:
            yield _piece(some)
            some = []
    if some:
        yield _piece(some)


def _piece(some: Sequence[ImageRows]) -> Piece:
    rows = {
        name: [row for image in some for row in getattr(image, name)] for name in ("proposals", "images", "rejects")
    }
    return Piece(tuple(image.image_id for image in some), tables_of(rows))


def sha256_below(data: str, path: str) -> str:
    """The sha256 of an image, in hex.

    Args:
        data: folder or URL around the images; "" if they are not there.
        path: path of the image below it, which stays in it.

    Returns:
        The hash, "" without a folder.

    Raises:
        UserError: the image is missing.
    """
    if not data:
        return ""
    try:
        return file_sha256(Store(data), path)
    except ImageError as error:
        raise UserError(
            f"{data.rstrip('/')}: {error.detail}; --data is the folder around the paths of the file"
        ) from None


def refuse_images(data: str, where: str) -> None:
    """UserError if a folder of images is named for an export of this program, ``where``, which says their sha256."""
    if data:
        raise UserError(f"{where} was exported by agg and says the sha256 of its images; leave --data out")


def foreign_object(image: ImageSummary, number: int, category: str | None, mask: MaskCrop) -> Row:
    """The row of an object that another program has made."""
    return object_row(Target(image, ObjectMask(number, category, mask))) | {SOURCE.name: 0}


def reject(image_id: str, number: int | None, reason: str, detail: str) -> Row:
    """The row of what an importer drops."""
    row = {"image_id": image_id, "instance_id": number, "step": None, "stage": "load", "reason": reason}
    return row | {"detail": excerpt(detail, limits.TEXT_LENGTH), SOURCE.name: 0}


def mask_row(columns: Row, image_id: str, mask: MaskCrop, rle: bytes | None = None) -> Row:
    """The row of a mask from its other columns; ``rle`` are its run lengths, which are made if there are none."""
    box = mask.box
    return {
        **columns,
        "image_id": image_id,
        "height": mask.height,
        "width": mask.width,
        "rle": encode(mask) if rle is None else rle,
        "area": area(mask),
        "bbox": {"x": box.left, "y": box.top, "w": box.width, "h": box.height},
    }


def image_row(image: ImageSummary) -> Row:
    """The row of ``images`` of an image."""
    names = ("image_id", "path", "height", "width", "sha256", "licence")
    return {name: getattr(image, name) for name in names} | {"source": 0}
