"""What our rows say and other formats have no place for: it stands beside their own keys, so that nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta, Struct, field, structs

from agg_pipeline.database.derived import known_id, source_runs
from agg_pipeline.database.reader import ProposalDatabase
from schemas import limits
from schemas.canonical import Json, Row
from schemas.documents import HistoryEntry, SourceRun
from schemas.errors import UserError
from schemas.numbers import BINS
from schemas.tables import FILES

KEY = "agg"
"""Key of a document for what describes the whole database."""
REJECTS = "agg_rejects"
"""Key of a document for the rows of ``rejects``."""
SCALARS = ("kind", "granularity", "scale", "semantic", "bin", "step", "label", "proposal_id", "parent_id")
"""Columns that annotation programs show as attributes."""
BATCH = 4096
"""Rows that are held as Python values at a time."""

Text = Annotated[str, Meta(max_length=limits.STORED_TEXT_LENGTH)]
Share = Annotated[float, Meta(ge=0, le=1)]
Int32 = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Clicks = Annotated[list["Clicked"], Meta(max_length=limits.CLICKS_PER_MASK)]


class Point(Struct, frozen=True):
    """A pixel."""

    row: Int32
    col: Int32


class Clicked(Struct, frozen=True):
    """A click of the simulated interaction."""

    row: Int32
    col: Int32
    positive: bool


class MaskFacts(Struct, frozen=True):
    """The columns of ``proposals`` that other formats have no place for.

    Two have another key, because FiftyOne uses ``label`` and ``instance_id`` for something else.
    """

    proposal_id: Text
    instance_id: Int64 = field(name="object_id")
    category: Text | None
    kind: Text
    step: Int32 | None
    parent_id: Text | None
    label: Text | None = field(name="part_label")
    scale: Share
    peak_proposal: float | None
    peak_object: float | None
    semantic: Share
    granularity: Share
    bin: Annotated[int, Meta(ge=1, le=BINS)]
    click: Point | None
    clicks: Clicks | None
    source: Int32


KEYS = dict(zip(MaskFacts.__struct_fields__, MaskFacts.__struct_encode_fields__, strict=True))
"""Key of each of these columns."""


class ImageFacts(Struct, frozen=True):
    """The columns of ``images`` that other formats have no place for."""

    agg_id: Text
    path: Text
    sha256: Text
    licence: Text
    source: Int32


class RejectFacts(Struct, frozen=True):
    """A row of ``rejects``."""

    image_id: Text
    instance_id: Int64 | None
    step: Int32 | None
    stage: Text
    reason: Text
    detail: Text | None
    source: Int32


class DatabaseFacts(Struct, frozen=True):
    """What describes a whole database."""

    format_version: int
    format_minor: Int32
    id: Text
    sources: Annotated[list[SourceRun], Meta(min_length=1)]
    history: list[HistoryEntry]


def database_facts(database: ProposalDatabase) -> Json:
    """What describes a whole database: its format, its identity, the runs behind it and the commands since."""
    return {
        "format_version": database.plan["format_version"],
        "format_minor": database.minor,
        "id": known_id(database),
        "sources": source_runs(database),
        "history": database.plan.get("history", []),
    }


def mask_facts(row: Row) -> Json:
    """The columns of a row of ``proposals`` that other formats have no place for."""
    return {key: row[name] for name, key in KEYS.items()}


def attributes(row: Row) -> Json:
    """What annotation programs show of a mask; they know no nulls."""
    return {key: row[name] for name, key in KEYS.items() if name in SCALARS and row[name] is not None}


def image_facts(row: Row) -> Json:
    """The columns of a row of ``images`` that other formats have no place for."""
    return {"agg_id": row["image_id"], **{name: row[name] for name in ("path", "sha256", "licence", "source")}}


def mask_columns(facts: MaskFacts) -> Row:
    """The columns of a row of ``proposals`` from its facts."""
    row = {name: getattr(facts, name) for name in MaskFacts.__struct_fields__}
    row["click"] = None if facts.click is None else structs.asdict(facts.click)
    row["clicks"] = None if facts.clicks is None else [structs.asdict(click) for click in facts.clicks]
    return row


def rows_of(table: pa.Table) -> Iterator[Row]:
    """The rows of a table, float32 as the shortest decimal that is read as the same float32."""
    for batch in _shortened(table).to_batches(BATCH):
        yield from batch.to_pylist()


def _shortened(table: pa.Table) -> pa.Table:
    for place, column in enumerate(table.schema):
        if column.type == pa.float32():
            short = pc.cast(pc.cast(table[column.name], pa.string()), pa.float64())
            table = table.set_column(place, column.name, short)
    return table


def by_image(database: ProposalDatabase) -> Iterator[tuple[Row, list[Row]]]:
    """Every image with its masks, in the order of the plan; one shard is in memory, and the rows of one image."""
    for index in database.sidecars:
        proposals = _shortened(database.table("proposals", FILES["proposals"].names, [index])).combine_chunks()
        numbers = proposals["image_id"].combine_chunks().dictionary_encode()
        place = {image_id: number for number, image_id in enumerate(numbers.dictionary.to_pylist())}
        of_row = numbers.indices.to_numpy()
        order = np.argsort(of_row, kind="stable")
        ends = np.searchsorted(of_row[order], np.arange(len(place) + 1))
        for image in rows_of(database.table("images", FILES["images"].names, [index])):
            number = place.get(image["image_id"])
            rows = () if number is None else order[ends[number] : ends[number + 1]]
            yield image, proposals.take(pa.array(rows, pa.int64())).to_pylist()


def images_of(database: ProposalDatabase) -> Iterator[Row]:
    """The rows of ``images``, in the order of the plan."""
    for index in database.sidecars:
        yield from rows_of(database.table("images", FILES["images"].names, [index]))


def rejects_of_database(database: ProposalDatabase) -> Iterator[Row]:
    """The rows of ``rejects``, in the order of the plan."""
    for index in database.sidecars:
        yield from rows_of(database.table("rejects", FILES["rejects"].names, [index]))


def added_columns(database: ProposalDatabase) -> list[str]:
    """Columns that a newer version of the format has added, which are not exported."""
    first = list(database.sidecars)[:1]
    return [
        column
        for name, schema in FILES.items()
        for column in database.table(name, shards=first).column_names
        if column not in schema.names
    ]


def tables_of(rows: Mapping[str, Sequence[Row]]) -> dict[str, pa.Table]:
    """The tables of a piece from their rows, by name."""
    return {name: pa.Table.from_pylist(list(rows.get(name, ())), schema) for name, schema in FILES.items()}


def counts_text(rle: bytes, where: str) -> str:
    """Compressed counts as the text that JSON holds; UserError if they are none."""
    try:
        return rle.decode("ascii")
    except UnicodeDecodeError:
        raise UserError(f"{where} has a damaged mask; agg database validate lists all damage") from None


def segmentation(row: Row) -> dict[str, Any]:
    """The run lengths of a row, as COCO's JSON has them."""
    return {"size": [row["height"], row["width"]], "counts": counts_text(row["rle"], row["proposal_id"])}


def bbox(row: Row) -> list[int]:
    """The box of a row: x, y, width, height."""
    return [row["bbox"][side] for side in ("x", "y", "w", "h")]
