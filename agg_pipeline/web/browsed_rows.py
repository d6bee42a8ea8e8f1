"""The rows of a proposal database in memory, without masks: what the browser filters, counts and sorts."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated, Any, Literal

import msgspec

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.web.loaded_rows import loaded_rows
from schemas.canonical import Json, Row
from schemas.limits import TEXT_LENGTH

LISTED = 200
"""Most classes that a page offers, the most frequent ones."""
PAGE = 200
"""Most images of an answer."""
SORTS = {
    "plan": "place",
    "id": "image_id",
    "most": "masks desc, place",
    "fewest": "masks, place",
    "finest": "lowest, place",
    "coarsest": "highest desc, place",
    "largest": "largest desc, place",
}
"""Order of the images, by its name."""

Unit = Annotated[float, msgspec.Meta(ge=0, le=1)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH)]


@dataclass(frozen=True)
class Wanted:
    """Which images and masks a visitor wants to see.

    Attributes:
        kinds: kinds of masks; empty for all.
        low, high: granularity.
        smallest, largest: area in pixels.
        categories: classes of objects; empty for all.
        search: part of the image's id.
        source: number of the run that made the mask; null for any.
        reason: images with a reject of this reason; "" for any image.
        sort: order of the images.
        offset, limit: which of them.
    """

    kinds: Annotated[list[Text], msgspec.Meta(max_length=10)] = field(default_factory=list)
    low: Unit = 0.0
    high: Unit = 1.0
    smallest: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0
    largest: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 2**62
    categories: Annotated[list[Text], msgspec.Meta(max_length=LISTED)] = field(default_factory=list)
    search: Text = ""
    source: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    reason: Text = ""
    sort: Literal["plan", "id", "most", "fewest", "finest", "coarsest", "largest"] = "plan"
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    limit: Annotated[int, msgspec.Meta(ge=0, le=PAGE)] = 60

    def takes(self, row: Row) -> bool:
        """Whether a mask is wanted, of the images that are."""
        return (
            row["kind"] in (self.kinds or [row["kind"]])
            and self.low <= row["granularity"] <= self.high
            and self.smallest <= row["area"] <= self.largest
            and row["category"] in (self.categories or [row["category"]])
            and self.source in (None, row["source"])
        )


class BrowsedRows:
    """The rows of a database.

    Args:
        database: read once; what is added to it later is not seen.
    """

    def __init__(self, database: ProposalDatabase) -> None:
        self._connection = loaded_rows(database)
        self._lock = Lock()
        self._connection.execute(
            # Images that fell out are in no other table.
            "create table images as select place, image_id, coalesce(height, 0) as height, coalesce(width, 0) as width "
            "from planned left join given_images using (image_id)"
        )
        self._connection.execute(
            "create table masks as select place, category, kind, area, granularity, source, "
            "least(19, floor(granularity * 20))::int as step from given_proposals join images using (image_id)"
        )
        self._connection.execute("create table rejects as select image_id, reason from given_rejects")
        for name in ("planned", "given_proposals", "given_images", "given_rejects"):
            self._connection.execute(f"drop table {name}")

    def facts(self) -> Json:
        """What there is to choose from: kinds, classes, runs and reasons, with their numbers of rows."""
        return {
            "images": self._rows("select count(*) from images")[0][0],
            "masks": self._rows("select count(*) from masks")[0][0],
            "kinds": dict(self._rows("select kind, count(*) from masks group by kind order by kind")),
            "categories": self._rows(
                "select category, count(*) as n from masks where category is not null group by category "
                f"order by n desc, category limit {LISTED}"
            ),
            "sources": dict(self._rows("select source, count(*) from masks group by source order by source")),
            "reasons": dict(self._rows("select reason, count(*) from rejects group by reason order by reason")),
        }

    def found(self, wanted: Wanted) -> Json:
        """The images that have wanted masks, how many there are, and how their granularities are spread.

        Args:
            wanted: which ones.

        Returns:
            ``images``: those of the page, with the number of wanted masks; ``total`` and ``masks``: of all pages;
            ``spread``: masks by twentieths of the granularity, whatever granularity is wanted.
        """
        groups, values = _groups(wanted)
        listed = self._rows(
            f"select image_id, height, width, masks from ({groups}) join images using (place) "
            f"order by {SORTS[wanted.sort]} limit ? offset ?",
            [*values, wanted.limit, wanted.offset],
        )
        ((total, masks),) = self._rows(f"select count(*), coalesce(sum(masks), 0)::bigint from ({groups})", values)
        where, values = _condition(wanted)
        spread = dict(self._rows(f"select step, count(*) from masks where {where} group by step", values))
        return {
            "images": [dict(zip(("id", "height", "width", "masks"), row, strict=True)) for row in listed],
            "total": total,
            "masks": masks,
            "spread": [spread.get(step, 0) for step in range(20)],
        }

    def place(self, wanted: Wanted, image_id: str) -> int | None:
        """Place of an image among those that have wanted masks, from 0; None if it is not among them."""
        groups, values = _groups(wanted)
        rows = self._rows(
            f"select number from (select image_id, row_number() over (order by {SORTS[wanted.sort]}) - 1 as number "
            f"from ({groups}) join images using (place)) where image_id = ?",
            [*values, image_id],
        )
        return rows[0][0] if rows else None

    def first_images(self) -> list[str]:
        """The first image of each run that has made masks."""
        rows = self._rows("select arg_min(image_id, place) from masks join images using (place) group by source")
        return [image for (image,) in rows]

    def _rows(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, values or []).fetchall()


def _groups(wanted: Wanted) -> tuple[str, list[Any]]:
    """A query for the places of the images that have wanted masks, with what they are sorted by, and its values."""
    where, values = _condition(wanted)
    groups = (
        "select place, count(*) as masks, min(granularity) as lowest, max(granularity) as highest, "
        f"max(area) as largest from masks where {where} and granularity between ? and ? group by place"
    )
    values += [wanted.low, wanted.high]
    if not wanted.reason:
        return groups, values
    # Also those of which nothing is left.
    rejected = "select distinct place from images join rejects using (image_id) where reason = ?"
    return (
        "select place, coalesce(masks, 0) as masks, lowest, highest, largest "
        f"from ({rejected}) left join ({groups}) using (place)"
    ), [wanted.reason, *values]


def _condition(wanted: Wanted) -> tuple[str, list[Any]]:
    """All that is wanted but the granularity, as a condition over ``masks`` and its values."""
    parts = ["area between ? and ?"]
    values: list[Any] = [wanted.smallest, wanted.largest]
    for column, chosen in (("kind", wanted.kinds), ("category", wanted.categories)):
        if chosen:
            parts.append(f"{column} in ({', '.join('?' * len(chosen))})")
            values += chosen
    if wanted.source is not None:
        parts.append("source = ?")
        values.append(wanted.source)
    if wanted.search:
        parts.append("place in (select place from images where contains(lower(image_id), lower(?)))")
        values.append(wanted.search)
    return " and ".join(parts), values
