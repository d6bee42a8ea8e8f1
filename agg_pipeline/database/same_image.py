"""One image in several databases: which objects and masks are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Literal

import pyarrow as pa

from agg_pipeline.database.derived import Piece
from agg_pipeline.database.reader import crop_of
from agg_pipeline.database.recomputing import granularities
from schemas.canonical import Row
from schemas.config import GranularityConfig
from schemas.crop import MaskCrop, area, iou_above
from schemas.errors import UserError
from schemas.tables import FILES
from schemas.words import excerpt

Duplicates = Literal["keep", "drop"]
"""What to do with masks of an object that repeat one of an earlier database."""
SAME_OBJECT, SAME_MASK = 0.98, 0.95
"""Above this IoU, two objects, and two masks of one object, are the same."""
GROUPS = {"object": "object", "part": "proposed", "complement": "proposed", "annotated": "annotated"}
"""Masks are compared with those of their group: what people drew is kept beside what a model has proposed."""


def renamed(piece: Piece, before: str, after: str) -> Piece:
    """A piece in which an image has another id."""
    tables = {}
    for name, table in piece.tables.items():
        rows = [_with_image(row, before, after) if row["image_id"] == before else row for row in table.to_pylist()]
        tables[name] = pa.Table.from_pylist(rows, table.schema)
    return Piece(tuple(after if image == before else image for image in piece.images), tables)


def _with_image(row: Row, before: str, after: str) -> Row:
    ids = {key: after + row[key][len(before) :] for key in ("proposal_id", "parent_id") if row.get(key)}
    return {**row, "image_id": after, **ids}


@dataclass(frozen=True)
class SourceRun:
    """A run that has made rows.

    Attributes:
        recipe: what decides its rows, as a hash.
        granularity: how it has combined scale and semantic granularity.
    """

    recipe: bytes
    granularity: GranularityConfig


def merged_image(pieces: Sequence[Piece], duplicates: Duplicates, runs: Sequence[SourceRun]) -> Piece:
    """The rows of one image from several databases.

    The rows of the first stay as they are. An object of a later one that is the same as one before is that object, and
    the granularities of its masks become those of masks of that object; any other gets a new number if its own is
    taken. An id that is taken gets ``~`` and the number of the row's source, and if that is taken as well, a further
    number.

    Args:
        pieces: the rows of the image, one piece for each database, under the same image id.
        duplicates: whether masks that repeat one of an earlier database are dropped, and rejects that repeat one of a
            run of the same recipe.
        runs: the run of each source.

    Raises:
        UserError: the image has other sizes in the databases, or a mask is damaged.
    """
    merged = _Merged([run.granularity for run in runs])
    rejects = []
    for piece in pieces:
        numbers = merged.add(piece.tables["proposals"].to_pylist(), duplicates == "drop")
        rejects.append(_renumbered(piece.tables["rejects"], numbers))
    dropped = pa.concat_tables(rejects)
    found = [piece.tables["images"] for piece in pieces if piece.tables["images"].num_rows]
    tables = {
        "proposals": pa.Table.from_pylist(merged.rows, pieces[0].tables["proposals"].schema),
        "images": found[0] if found else pieces[0].tables["images"],
        "rejects": _each_once(dropped, [run.recipe for run in runs]) if duplicates == "drop" else dropped,
    }
    return Piece(pieces[0].images, {name: tables[name] for name in FILES})


class _Merged:
    """The rows of an image so far.

    Args:
        configs: how each source has combined scale and semantic granularity.

    Attributes:
        rows: rows of ``proposals``.
    """

    def __init__(self, configs: Sequence[GranularityConfig]) -> None:
        self.rows: list[Row] = []
        self._configs = configs
        self._ids: set[str] = set()
        self._objects: dict[int, MaskCrop] = {}
        self._masks: dict[tuple[int, str], list[tuple[str, MaskCrop]]] = {}

    def add(self, rows: Sequence[Row], drop: bool) -> dict[int, int]:
        """Add the rows of one more database.

        Args:
            rows: its rows of ``proposals``.
            drop: whether to drop masks that repeat one of the rows so far.

        Returns:
            The number in the merged image of each of its objects.
        """
        masks = {row["proposal_id"]: crop_of(row, row["proposal_id"]) for row in rows}
        numbers = self._numbers([row for row in rows if row["kind"] == "object"], masks)
        new_ids: dict[str, str] = {}
        kept = []
        for row in rows:
            number = numbers[row["instance_id"]]
            same = self._same(row, number, masks[row["proposal_id"]]) if drop or row["kind"] == "object" else None
            new_ids[row["proposal_id"]] = same or self._free_id(row, number)
            if same is None:
                kept.append({**row, "instance_id": number})
        for row in kept:
            mask = masks[row["proposal_id"]]
            row["parent_id"] = new_ids.get(row["parent_id"], row["parent_id"])
            row["proposal_id"] = new_ids[row["proposal_id"]]
            if row["kind"] == "object":
                self._objects[row["instance_id"]] = mask
            self._masks.setdefault((row["instance_id"], GROUPS[row["kind"]]), []).append((row["proposal_id"], mask))
        self.rows += [row if row["kind"] == "object" else row | self._measured(row) for row in kept]
        return numbers

    def _numbers(self, rows: Sequence[Row], masks: Mapping[str, MaskCrop]) -> dict[int, int]:
        """The number of each object: that of an earlier object that is the same, else its own or the next free one."""
        numbers: dict[int, int] = {}
        taken = set(self._objects)
        for row in rows:
            mask = masks[row["proposal_id"]]
            same = [number for number, other in self._objects.items() if _same(mask, other, SAME_OBJECT, row)]
            number = same[0] if same else row["instance_id"]
            while not same and number in taken:
                number = max(taken) + 1
            taken.add(number)
            numbers[row["instance_id"]] = number
        return numbers

    def _same(self, row: Row, number: int, mask: MaskCrop) -> str | None:
        """The id of an earlier row of the same object and mask."""
        level = SAME_OBJECT if row["kind"] == "object" else SAME_MASK
        earlier = self._masks.get((number, GROUPS[row["kind"]]), ())
        return next((other for other, of in earlier if _same(mask, of, level, row)), None)

    def _measured(self, row: Row) -> Row:
        """The granularities of a mask of an object, unless a program without peaks has given them."""
        if row["peak_proposal"] is None or row["peak_object"] is None:
            return {}
        return granularities(row, area(self._objects[row["instance_id"]]), self._configs[row["source"]])

    def _free_id(self, row: Row, number: int) -> str:
        """An id for a row of an object: its own, with the object's number, and with its source if that is taken."""
        place = f"{row['image_id']}:{row['instance_id']}:"
        found = f"{row['image_id']}:{number}:{row['proposal_id'].removeprefix(place)}"
        further = f"{found}~{row['source']}"
        numbered = (f"{further}~{number}" for number in count(2))
        free = next(each for each in chain((found, further), numbered) if each not in self._ids)
        self._ids.add(free)
        return free


def _same(mask: MaskCrop, other: MaskCrop, level: float, row: Row) -> bool:
    if (mask.height, mask.width) != (other.height, other.width):
        raise UserError(
            f"image {excerpt(row['image_id'])} has {mask.height} x {mask.width} pixels in one database and "
            f"{other.height} x {other.width} in another"
        )
    return iou_above(mask, other, level)


def _each_once(rejects: pa.Table, recipes: Sequence[bytes]) -> pa.Table:
    """Rejects without those that repeat one of a run of the same recipe."""
    rows: dict[object, Row] = {}
    for row in rejects.to_pylist():
        rows.setdefault((recipes[row["source"]], *({**row, "source": 0}.values())), row)
    return pa.Table.from_pylist(list(rows.values()), rejects.schema)


def _renumbered(rejects: pa.Table, numbers: Mapping[int, int]) -> pa.Table:
    """Rejects with the new numbers of their objects; those of objects without a row keep theirs."""
    place = rejects.schema.get_field_index("instance_id")
    values = [numbers.get(number, number) for number in rejects["instance_id"].to_pylist()]
    field = rejects.schema.field(place)
    return rejects.set_column(place, field, pa.array(values, field.type))
