"""A database from a file of another format: its plan, and the rows of what that format knows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agg_pipeline.database.derived import Piece
from agg_pipeline.database.exchange.own_facts import DatabaseFacts, tables_of
from agg_pipeline.database.proposal_rows import object_row
from agg_pipeline.database.row_checks import checked_run, wrong_rows
from agg_pipeline.datasets.naming import NOTHING_SAID, UNKNOWN, Naming
from agg_pipeline.storage.rle import encode
from schemas import limits
from schemas.canonical import Json, Row, content_hash
from schemas.config import PRESETS
from schemas.crop import MaskCrop, area
from schemas.errors import UserError
from schemas.paths import stays_inside
from schemas.records import ImageSummary, ObjectMask, Target
from schemas.tables import FORMAT_MINOR, FORMAT_VERSION, KINDS, SOURCE
from schemas.words import excerpt

ANY_FOLDER = "folder"
"""Name of the data set whose reader finds images by their paths alone."""
CHUNK = 1 << 20
"""Bytes that are hashed at a time."""
SEVERAL = 25
"""Images of a piece."""


def file_hash(path: Path) -> str:
    """The sha256 of a file, in hex."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while content := file.read(CHUNK):
            hasher.update(content)
    return hasher.hexdigest()


def foreign_plan(
    kind: str, path: Path, sha256: str, images: int, naming: Naming, layout: str, preset: str, annotated: bool
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
    """
    source = {
        "id": sha256,
        "seed": 0,
        "imported": {"format": kind, "file": path.name, "sha256": sha256},
        "dataset": {
            "name": naming.name or path.stem,
            "split": UNKNOWN,
            "fingerprint": sha256[:32],
            "images": images,
            "selection": {},
            "layout": layout,
            "licence": naming.licence or UNKNOWN,
            "citation": naming.citation or UNKNOWN,
            "homepage": naming.homepage,
        },
        "model": {"architecture": UNKNOWN, "granularity": False, "input_size": 0, "sha256": UNKNOWN},
        "environment": {"device": UNKNOWN, "torch": UNKNOWN},
        "config": asdict(PRESETS[preset]) | {"source": "gt" if annotated else "agg"},
    }
    return _plan(FORMAT_VERSION, FORMAT_MINOR, [source], [], kind, [sha256])


def own_plan(facts: DatabaseFacts, document: Json, kind: str, where: str, naming: Naming) -> Json:
    """The plan of a database that was exported and is imported again.

    Args:
        facts: what the file says of the database, checked.
        document: the same as it is in the file.
        kind: the format.
        where: path of the file, for messages.
        naming: what the user says of the data: nothing.

    Raises:
        UserError: the format or a configuration is unknown, or the user names data that the file names.
    """
    if naming != NOTHING_SAID:
        raise UserError(
            f"{where} was exported from a database and says whose data it has; leave --name, --licence, --citation and "
            "--homepage out, and correct them afterwards with agg database describe"
        )
    if facts.format_version != FORMAT_VERSION:
        raise UserError(f"{where} has format {facts.format_version}, and this version of agg reads {FORMAT_VERSION}")
    for source in document["sources"]:
        try:
            checked_run(source)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    minor = max(FORMAT_MINOR, facts.format_minor)
    return _plan(facts.format_version, minor, document["sources"], document["history"], kind, [facts.id])


def _plan(version: int, minor: int, sources: Sequence[Json], history: Sequence[Json], kind: str, of: list[str]) -> Json:
    entry = {"command": "import", "options": {"format": kind}, "parents": of}
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


def checked_pieces(some: Iterable[Piece], plan: Json, where: str) -> Iterator[Piece]:
    """Pieces of a database that was exported; UserError for the first one with an inconsistency.

    Args:
        some: the pieces.
        plan: the plan of the database, as of ``own_plan``.
        where: the file, for messages.
    """
    runs = [checked_run(source) for source in plan["sources"]]
    seen: set[str] = set()
    for piece in some:
        paths = dict.fromkeys(piece.tables, where)
        for finding in wrong_rows(runs, piece.images, piece.tables, paths, seen, plan["format_minor"]):
            raise UserError(
                f"{excerpt(finding.where)}: {excerpt(finding.what)}; the file was changed after it was exported"
            )
        yield piece


def _piece(some: Sequence[ImageRows]) -> Piece:
    rows = {
        name: [row for image in some for row in getattr(image, name)] for name in ("proposals", "images", "rejects")
    }
    return Piece(tuple(image.image_id for image in some), tables_of(rows))


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


def check_own_row(row: Row, stated_area: float, sources: int, what: str) -> None:
    """Check a row that was exported, as far as reading the database relies on it.

    Args:
        row: the row.
        stated_area: area that the file says.
        sources: number of the database's sources.
        what: name of the row, for messages.

    Raises:
        UserError: the row says something impossible, or its mask is another one than was exported.
    """
    if row["kind"] not in KINDS:
        raise UserError(f"{what} has the unknown kind '{excerpt(row['kind'])}'")
    _check_source(row, sources, what)
    if row["area"] != stated_area or not row["area"]:
        raise UserError(
            f"{what} has another mask than was exported ({row['area']} pixels, not {stated_area:g}), and its "
            "granularity is that of the old one; to import the file as one of another program, delete its key agg"
        )


def check_own_image(row: Row, sources: int, what: str) -> None:
    """Check a row of ``images`` that was exported; UserError if it says something impossible."""
    _check_source(row, sources, what)
    if not stays_inside(row["path"]):
        raise UserError(f"{what} names the file '{excerpt(row['path'])}', which is no path in the data set")


def check_own_reject(row: Row, sources: int, what: str) -> None:
    """Check a row of ``rejects`` that was exported; UserError if it says something impossible."""
    _check_source(row, sources, what)


def _check_source(row: Row, sources: int, what: str) -> None:
    if row[SOURCE.name] >= sources:
        raise UserError(f"{what} is of source {row[SOURCE.name]}, and the file lists {sources} from 0")
