"""What belongs together in two databases: images, the objects of an image, and the masks of an object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from agg_pipeline.database.reader import ProposalDatabase, crop_of
from agg_pipeline.database.same_image import GROUPS, SAME_OBJECT
from schemas.canonical import Row
from schemas.crop import MaskCrop, area, intersection

MATCHED = 0.5
"""Two masks of an object belong together only above this IoU, even if their ids are equal."""


Key = Callable[[Row], object]
"""What is compared of two rows."""


@dataclass(frozen=True)
class ImagePlace:
    """Where an image lies in its database.

    Attributes:
        shard: number of its shard.
        image_id: its id.
        sha256: hash of its file; "" if it could not be read.
    """

    shard: int
    image_id: str
    sha256: str


@dataclass(frozen=True)
class RowPair:
    """Two masks that belong together.

    Attributes:
        a, b: numbers of their rows in each database.
        iou: their IoU; 1 for the same mask.
    """

    a: int
    b: int
    iou: float


def places_of(database: ProposalDatabase) -> list[ImagePlace]:
    """The images of the finished shards, in the order of the plan."""
    columns = database.table("images", ["image_id", "sha256"]).to_pydict()
    hashes = dict(zip(columns["image_id"], columns["sha256"], strict=True))
    return [
        ImagePlace(index, image_id, hashes.get(image_id, ""))
        for index in database.sidecars
        for image_id in database.images_of_shard(index)
    ]


def image_pairs(
    a: Sequence[ImagePlace], b: Sequence[ImagePlace]
) -> Iterator[tuple[ImagePlace | None, ImagePlace | None]]:
    """The images of two databases, each with that of the other database which it belongs to.

    Images belong together by the sha256 of their files; the others by their ids.

    Returns:
        Pairs in the order of the first database; then the images of the second that are left, with None.
    """
    of_a: dict[ImagePlace, ImagePlace] = {}
    left = dict.fromkeys(b)
    for key in (_content_and_id, _content, _id):
        free: dict[object, list[ImagePlace]] = defaultdict(list)
        for place in reversed(left):
            free[key(place)].append(place)
        for place in a:
            found = free[key(place)] if place not in of_a and key(place) is not None and key(place) in free else None
            if found:
                of_a[place] = found.pop()
                del left[of_a[place]]
    yield from ((place, of_a.get(place)) for place in a)
    yield from ((None, place) for place in left)


def _content_and_id(place: ImagePlace) -> object:
    return (place.sha256, place.image_id)


def _content(place: ImagePlace) -> object:
    return place.sha256 or None


def _id(place: ImagePlace) -> object:
    return place.image_id


def row_pairs(a: Sequence[Row], b: Sequence[Row]) -> list[RowPair]:
    """The masks of an image in two databases that belong together.

    Objects belong together if their IoU is above 0.98. Of the masks of two such objects, equal ones come first: those
    with the same end of their ids (``kind:step`` or ``annotated:part``), then those of the same kind, then any. Of the
    others, those belong together whose IoU is above 0.5: first if the ends of their ids are equal, then by the largest
    IoU. Each mask is in one pair at most.

    Args:
        a, b: rows of ``proposals`` of the image, with proposal_id, image_id, instance_id, kind, height, width and rle.

    Raises:
        UserError: a mask is damaged.
    """
    masks = _Masks(a), _Masks(b)
    objects = [[number for number, row in enumerate(rows) if row["kind"] == "object"] for rows in (a, b)]
    if not all(objects) or masks[0].size != masks[1].size:
        return []
    pairs = _paired(objects[0], objects[1], masks, OBJECT_KEYS, SAME_OBJECT)
    proposals = [_by_object_and_group(rows) for rows in (a, b)]
    found = list(pairs)
    for pair in pairs:
        for group in dict.fromkeys(GROUPS.values()):
            own = (
                proposals[0][a[pair.a]["instance_id"], group],
                proposals[1][b[pair.b]["instance_id"], group],
            )
            found += _paired(*own, masks, MASK_KEYS, MATCHED)
    return found


def _by_object_and_group(rows: Sequence[Row]) -> dict[tuple[int, str], list[int]]:
    found: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row["kind"] != "object":
            found[row["instance_id"], GROUPS[row["kind"]]].append(number)
    return found


def _end_of_id(row: Row) -> str:
    identity: str = row["proposal_id"]
    return identity.removeprefix(f"{row['image_id']}:{row['instance_id']}:")


def _nothing(_row: Row) -> None:
    """All rows are equal by this key."""


OBJECT_KEYS: tuple[Key, ...] = (lambda row: (row["instance_id"], row["rle"]), _nothing)
MASK_KEYS: tuple[Key, ...] = (
    lambda row: (row["rle"], _end_of_id(row)),
    lambda row: (row["rle"], row["kind"]),
    lambda row: row["rle"],
    _end_of_id,
    _nothing,
)
"""Rows that are equal by an earlier key are paired first."""


class _Masks:
    """The masks of an image's rows, decoded when they are asked for."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.size = {(row["height"], row["width"]) for row in rows}
        self._decoded: dict[int, tuple[MaskCrop, int]] = {}

    def get(self, number: int) -> tuple[MaskCrop, int]:
        """Mask and area of a row."""
        if number not in self._decoded:
            row = self.rows[number]
            mask = crop_of(row, f"the row {row['proposal_id']}")
            self._decoded[number] = mask, area(mask)
        return self._decoded[number]


def _paired(
    a: Sequence[int], b: Sequence[int], masks: tuple[_Masks, _Masks], keys: Sequence[Key], level: float
) -> list[RowPair]:
    """Pairs of rows whose IoU is above a level; each row is in one pair at most.

    Args:
        a, b: numbers of the rows in each database.
        masks: the masks of each database.
        keys: what is compared; rows that are equal by an earlier key are paired first.
        level: the IoU.
    """
    left = dict.fromkeys(a), dict.fromkeys(b)
    pairs = []
    for key in keys:
        for pair in _alike(*left, masks, key, level):
            if pair.a in left[0] and pair.b in left[1]:
                pairs.append(pair)
                del left[0][pair.a], left[1][pair.b]
    return pairs


def _alike(a: Iterable[int], b: Iterable[int], masks: tuple[_Masks, _Masks], key: Key, level: float) -> list[RowPair]:
    """All pairs of rows that are equal by a key, with an IoU above a level.

    Returns:
        The pairs with the largest IoU first; of equal IoUs, those of one kind, and then in the order of the rows.
    """
    rows = masks[0].rows, masks[1].rows
    of_key: dict[object, list[int]] = defaultdict(list)
    for y in b:
        of_key[key(rows[1][y])].append(y)
    found = (RowPair(x, y, _iou(masks, x, y, level)) for x in a for y in of_key.get(key(rows[0][x]), ()))

    def order(pair: RowPair) -> tuple[float, bool, int, int]:
        return -pair.iou, rows[0][pair.a]["kind"] != rows[1][pair.b]["kind"], pair.a, pair.b

    return sorted((pair for pair in found if pair.iou > level), key=order)


def _iou(masks: tuple[_Masks, _Masks], a: int, b: int, level: float = 0.0) -> float:
    """The IoU of two rows; 0 if it is clear from their areas that it is not above a level."""
    if masks[0].rows[a]["rle"] == masks[1].rows[b]["rle"]:
        return 1.0
    (mask, size), (other, other_size) = masks[0].get(a), masks[1].get(b)
    if min(size, other_size) <= level * max(size, other_size):
        return 0.0
    both = intersection(mask, other)
    return both / (size + other_size - both)
