"""Databases that were exported and are imported again: their plan and their rows, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from msgspec import Meta, Raw

from agg_pipeline.database.derived import Piece
from agg_pipeline.database.exchange.coco_index import OwnImage
from agg_pipeline.database.exchange.imported_database import imported_plan, mask_row
from agg_pipeline.database.exchange.own_facts import DatabaseFacts, MaskFacts, mask_columns
from agg_pipeline.database.row_checks import checked_run, wrong_rows
from agg_pipeline.datasets.coco_masks import RunLengths, read_segmentation
from agg_pipeline.datasets.json_entries import readable_part
from agg_pipeline.datasets.naming import NOTHING_SAID, Naming
from schemas.canonical import Json, Row
from schemas.errors import ImageError, UserError
from schemas.paths import stays_inside
from schemas.tables import FORMAT_MINOR, FORMAT_VERSION, KINDS, SOURCE
from schemas.words import excerpt


class OwnMask(MaskFacts, frozen=True, kw_only=True):
    """An annotation of a database that was exported."""

    id: int
    segmentation: Raw
    area: Annotated[float, Meta(ge=0)]


def own_plan(facts: DatabaseFacts, document: Json, kind: str, where: str, naming: Naming, sha256: str) -> Json:
    """The plan of a database that was exported and is imported again.

    Args:
        facts: what the file says of the database, checked.
        document: the same as it is in the file.
        kind: the format.
        where: path of the file, for messages.
        naming: what the user says of the data: nothing.
        sha256: hash of the content, in hex.

    Raises:
        UserError: the format or a configuration is unknown, or the user names data that the file names.
    """
    if naming != NOTHING_SAID:
        raise UserError(
            f"{where} was exported from a database and says whose data it has; leave out --name, --licence, --citation "
            "and --homepage, and correct them afterwards with agg database describe"
        )
    if facts.format_version != FORMAT_VERSION:
        raise UserError(f"{where} has format {facts.format_version}, and this version of agg reads {FORMAT_VERSION}")
    for source in document["sources"]:
        try:
            checked_run(source)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    minor = max(FORMAT_MINOR, facts.format_minor)
    sources, history = document["sources"], document["history"]
    return imported_plan(facts.format_version, minor, sources, history, kind, [facts.id], sha256)


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


def own_image_row(image: OwnImage) -> Row:
    """The row of ``images`` of an image that was exported."""
    row = {name: getattr(image, name) for name in ("path", "height", "width", "sha256", "licence", "source")}
    return row | {"image_id": image.agg_id}


def own_mask_row(facts: MaskFacts, shape: Raw, image: OwnImage, stated_area: float, sources: int, what: str) -> Row:
    """The row of a mask that was exported.

    Args:
        facts: its columns.
        shape: its segmentation, JSON.
        image: its image.
        stated_area: area that the file says.
        sources: number of the database's sources.
        what: name of the mask, for messages.

    Raises:
        UserError: the mask is damaged, or another one than was exported.
    """
    try:
        mask = read_segmentation(bytes(shape), image.height, image.width, what)
    except ImageError as error:
        raise UserError(str(error.detail)) from None
    row = mask_row(mask_columns(facts), image.agg_id, mask, _stored(shape))
    check_own_row(row, stated_area, sources, what)
    return row


def _stored(shape: Raw) -> bytes | None:
    """The run lengths of a segmentation as a database stores them, after they were checked; None for polygons."""
    found = readable_part(shape, RunLengths)
    return found.counts.encode() if found is not None and isinstance(found.counts, str) else None


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
