"""One image in several databases: which objects and masks are the same."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Literal

import pyarrow as pa

from agg_pipeline.database.derived import Piece
from agg_pipeline.database.image_licences import joint_licence
from agg_pipeline.database.reader import crop_of
from agg_pipeline.database.recomputing import granularities
from schemas.canonical import Row
from schemas.config import GranularityConfig
from schemas.crop import Box, MaskCrop, area, intersection, iou, iou_above
from schemas.errors import UserError
from schemas.tables import FILES
from schemas.words import excerpt

Duplicates = Literal["keep", "drop"]
"""What to do with masks of an object that repeat one of an earlier database."""
SAME_OBJECT, SAME_MASK = 0.98, 0.95
"""Above this IoU, two objects, and two masks of one object, are the same."""
GROUPS = {"object": "object", "part": "proposed", "complement": "proposed", "annotated": "annotated"}
"""Masks are compared with those of their group: what people drew is kept beside what a model has proposed."""
OF_OBJECTS = ("proposals", "rejects")
"""Tables that number objects."""


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
        licence: licence of its data.
    """

    recipe: bytes
    granularity: GranularityConfig
    licence: str


def merged_image(pieces: Sequence[Piece], duplicates: Duplicates, runs: Sequence[SourceRun]) -> Piece:
    """The rows of one image from several databases.

    The rows of the first stay as they are. An object of a later one that is the same as one before is that object, and
    the granularities of its masks become those of masks of that object; any other gets a new number if its own is
    taken. Two objects of one database stay two. An id that is taken gets ``~`` and the number of the row's source, and
    if that is taken as well, a further number.

    Args:
        pieces: the rows of the image, one piece for each database, under the same image id.
        duplicates: whether masks that repeat one of an earlier database are dropped, and rejects that repeat one of a
            run of the same recipe.
        runs: the run of each source.

    Raises:
        UserError: the image has other sizes in the databases, or a mask is damaged.
    """
    used = {
        number for piece in pieces for name in OF_OBJECTS for number in piece.tables[name]["instance_id"].to_pylist()
    }
    merged = _Merged([run.granularity for run in runs], used)
    rejects = []
    for piece in pieces:
        numbers = merged.add(piece.tables["proposals"].to_pylist(), duplicates == "drop")
        rejects.append(_renumbered(piece.tables["rejects"], numbers))
    dropped = pa.concat_tables(rejects)
    found = pa.concat_tables([piece.tables["images"] for piece in pieces])
    tables = {
        "proposals": pa.Table.from_pylist(merged.rows, pieces[0].tables["proposals"].schema),
        "images": _licensed(found, [run.licence for run in runs]),
        "rejects": _each_once(dropped, [run.recipe for run in runs]) if duplicates == "drop" else dropped,
    }
    return Piece(pieces[0].images, {name: tables[name] for name in FILES})


class _Merged:
    """The rows of an image so far.

    Args:
        configs: how each source has combined scale and semantic granularity.
        used: numbers of objects that no other object gets: those of all databases, of rejects as well.

    Attributes:
        rows: rows of ``proposals``.
    """

    def __init__(self, configs: Sequence[GranularityConfig], used: Collection[int]) -> None:
        self.rows: list[Row] = []
        self._configs = configs
        self._used = set(used)
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
        self._check_size(rows)
        objects = {row["instance_id"]: masks[row["proposal_id"]] for row in rows if row["kind"] == "object"}
        numbers = self._numbers(objects)
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

    def _check_size(self, rows: Sequence[Row]) -> None:
        """UserError if rows of one more database are of an image of another size than those so far."""
        for row in rows if self.rows else ():
            mine, other = ((of["height"], of["width"]) for of in (row, self.rows[0]))
            if mine != other:
                raise UserError(
                    f"image {excerpt(row['image_id'])} has {mine[0]} x {mine[1]} pixels in one database and "
                    f"{other[0]} x {other[1]} in another"
                )

    def _numbers(self, objects: Mapping[int, MaskCrop]) -> dict[int, int]:
        """The number of each object: that of the same one so far, else its own, or a free one if that is taken."""
        numbers = same_objects(objects, self._objects)
        free = (number for number in count(1) if number not in self._used)
        for number in objects:
            if number not in numbers:
                numbers[number] = next(free) if number in self._objects else number
        self._used.update(numbers.values())
        return numbers

    def _same(self, row: Row, number: int, mask: MaskCrop) -> str | None:
        """The id of the most similar earlier row of the same object, if its mask is the same."""
        level = SAME_OBJECT if row["kind"] == "object" else SAME_MASK
        earlier = self._masks.get((number, GROUPS[row["kind"]]), ())
        for other, of in earlier:
            if _pixels(of) == _pixels(mask):
                return other
        alike = [(iou(mask, of), other) for other, of in earlier if iou_above(mask, of, level)]
        return max(alike, key=lambda each: each[0])[1] if alike else None

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


def same_objects(objects: Mapping[int, MaskCrop], earlier: Mapping[int, MaskCrop]) -> dict[int, int]:
    """Pair the objects of an image with the same ones of an earlier database, one to one.

    Identical masks come first, of these such with the same number, and then the pairs with the largest IoU.

    Args:
        objects: masks of the objects by their numbers.
        earlier: masks of the earlier objects by their numbers.

    Returns:
        The number of the earlier object by that of the object, for those that have one.
    """
    pixels, others = ({number: _pixels(mask) for number, mask in some.items()} for some in (objects, earlier))
    found = {number: number for number, of in pixels.items() if others.get(number) == of}
    identical: dict[tuple[Box, bytes], deque[int]] = defaultdict(deque)
    for number, of in others.items():
        if number not in found:
            identical[of].append(number)
    for number, of in pixels.items():
        if number not in found and identical.get(of):
            found[number] = identical[of].popleft()
    taken = set(found.values())
    left = [number for number in objects if number not in found]
    rest = [number for number in earlier if number not in taken]
    for number, other in _alike(objects, earlier, left, rest):
        if number not in found and other not in taken:
            found[number] = other
            taken.add(other)
    return found


def _alike(
    objects: Mapping[int, MaskCrop], earlier: Mapping[int, MaskCrop], left: Sequence[int], rest: Sequence[int]
) -> list[tuple[int, int]]:
    """Pairs of numbers of objects that may be the same, the most similar ones first."""
    areas = {number: area(objects[number]) for number in left}
    other_areas = {number: area(earlier[number]) for number in rest}
    pairs = []
    for number, size in areas.items():
        for other, other_size in other_areas.items():
            # The IoU is at most the ratio of the areas.
            if min(size, other_size) > SAME_OBJECT * max(size, other_size):
                both = intersection(objects[number], earlier[other])
                pairs.append((both / (size + other_size - both), number, other))
    same = [pair for pair in pairs if pair[0] > SAME_OBJECT]
    return [pair[1:] for pair in sorted(same, key=lambda pair: (-pair[0], pair[1] != pair[2], *pair[1:]))]


def _pixels(mask: MaskCrop) -> tuple[Box, bytes]:
    """Equal for masks of the same pixels."""
    return mask.box, mask.bits.tobytes()


def _licensed(images: pa.Table, of_runs: Sequence[str]) -> pa.Table:
    """The first row of an image, with the licences that all its rows state.

    Args:
        images: rows of ``images``.
        of_runs: licence of the data of each source.
    """
    stated = [row["licence"] or of_runs[row["source"]] for row in images.select(["licence", "source"]).to_pylist()]
    first = images.slice(0, 1)
    joint = joint_licence(stated)
    if not stated or joint == stated[0]:
        return first
    place = images.schema.get_field_index("licence")
    return first.set_column(place, images.schema.field(place), pa.array([joint], pa.string()))


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
