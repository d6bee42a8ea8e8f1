"""``agg database diff``: in what two databases differ; their shards are read one by one.

Databases of one identity (``identity.py``) have no difference, and databases without a difference have one identity,
unless the run lengths of a mask are written in two ways.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import pyarrow as pa

from agg_pipeline.database.difference_counts import LEVEL_OF, Differences, Example, Examples, Tally
from agg_pipeline.database.identity import recipe
from agg_pipeline.database.matching import ImagePlace, RowPair, image_pairs, places_of, row_pairs
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.database.used_sources import used_sources, with_numbers
from agg_pipeline.execution.plan import layout_of
from agg_pipeline.storage.recent import Recent
from schemas.canonical import Json, Row, differences
from schemas.tables import FILES, SOURCE

OPEN_SHARDS = 8
"""Shards of the second database that are kept in memory."""
COMPARED = ("proposal_id", "image_id", "instance_id", "kind", "height", "width", "rle", "area", "granularity")
"""Columns by which rows are matched and shown."""
APART = ("rle", "area", "bbox", "granularity")
"""Columns of masks and granularities, whose differences are counted apart from those of other columns."""

EMPTY = {name: schema.empty_table() for name, schema in FILES.items()}
"""The tables of an image without rows."""


def compare(a: ProposalDatabase, b: ProposalDatabase, examples: int = 0) -> Differences:
    """Compare two databases.

    Args:
        a, b: the databases.
        examples: number of the largest differences that are kept, of each kind.

    Raises:
        UserError: a database is damaged.
    """
    runs = _runs(a), _runs(b)
    found = Differences(
        configuration_differences(list(runs[0].values()), list(runs[1].values())),
        changed=Examples(examples),
        regraded=Examples(examples),
        only_a=Examples(examples),
        only_b=Examples(examples),
    )
    numbers = _run_numbers(*runs)
    tables = _Tables(a, numbers[0], 1), _Tables(b, numbers[1], OPEN_SHARDS)
    for place, other in image_pairs(places_of(a), places_of(b)):
        _count(found.images, place is not None, other is not None)
        _compare_image(found, tables[0].of(place), tables[1].of(other))
    return found


def _count(tally: Tally, in_a: bool, in_b: bool) -> None:
    tally.both += in_a and in_b
    tally.only_a += not in_b
    tally.only_b += not in_a


def configuration_differences(a: Sequence[Json], b: Sequence[Json]) -> list[str]:
    """What differs between the runs that have made the rows of two databases, except their images; a line each."""
    recipes = [_each_once(map(recipe, sources)) for sources in (a, b)]
    left, right = ([run for run in own if run not in other] for own, other in (recipes, reversed(recipes)))
    several = max(map(len, recipes)) > 1
    lines = []
    for number, (before, after) in enumerate(zip_longest(left, right), start=1):
        if before is None or after is None:
            run = before or after or {}
            where = "first" if after is None else "second"
            lines.append(f"a run on {run['dataset']['name']} with {run['model']['architecture']}: only in the {where}")
        else:
            start = f"run {number}, " if several else ""
            lines += [f"{start}{line}" for line in differences(before, after)]
    return lines


def _each_once(runs: Iterable[Json]) -> list[Json]:
    found: list[Json] = []
    found.extend(run for run in runs if run not in found)
    return found


def _runs(database: ProposalDatabase) -> dict[int, Json]:
    """The sources that rows of a database are from, by their numbers; the identity does not depend on others."""
    return {number: database.sources[number] for number in used_sources(database)}


def _run_numbers(a: Mapping[int, Json], b: Mapping[int, Json]) -> tuple[dict[int, int], dict[int, int]]:
    """For each source of two databases a number, the same for runs that differ in their images alone.

    If each has one run, they have one number: in what they differ is said once, not for each row.
    """
    first, second = ({number: recipe(run) for number, run in own.items()} for own in (a, b))
    if all(len(_each_once(own.values())) == 1 for own in (first, second)):
        return dict.fromkeys(a, 0), dict.fromkeys(b, 0)
    known = _each_once([*first.values(), *second.values()])
    return (
        {number: known.index(run) for number, run in first.items()},
        {number: known.index(run) for number, run in second.items()},
    )


@dataclass(frozen=True)
class _Image:
    """An image of a database: its rows in each table, by name of the table, and the name of its data set."""

    tables: Mapping[str, pa.Table]
    dataset: str

    @cached_property
    def _picture(self) -> tuple[str, str]:
        """Path and sha256 of its file."""
        rows = self.tables["images"].select(["path", "sha256"]).to_pylist()
        return (rows[0]["path"], rows[0]["sha256"]) if rows else ("", "")

    def example(self, size: float, a: Row | None, b: Row | None, iou: float = 0.0) -> Example:
        """A mask of the image that differs; arguments are those of ``Example``."""
        return Example(size, a, b, iou, *self._picture, self.dataset)


class _Tables:
    """The rows of the images of a database; some shards stay in memory.

    Args:
        database: the database.
        numbers: the new numbers of its sources, as of ``_run_numbers``; they take the place of those in its rows.
        open_shards: number of shards that stay in memory.
    """

    def __init__(self, database: ProposalDatabase, numbers: Mapping[int, int], open_shards: int) -> None:
        self._database = database
        self._numbers = numbers
        self._datasets = {new: layout_of(database.sources[old]) for old, new in numbers.items()}
        self._kept: Recent[int, dict[str, dict[str, pa.Table]]] = Recent(open_shards, lambda _tables: 1)

    def of(self, place: ImagePlace | None) -> _Image:
        """An image with its rows; without rows if it is missing."""
        if place is None:
            return _Image(EMPTY, "")
        shard = self._kept.get(place.shard, lambda: {name: self._read(name, place.shard) for name in FILES})
        tables = {name: shard[name].get(place.image_id, EMPTY[name]) for name in FILES}
        numbers = tables["images"][SOURCE.name].to_pylist()
        return _Image(tables, self._datasets.get(numbers[0], "") if numbers else "")

    def _read(self, name: str, shard: int) -> dict[str, pa.Table]:
        """The rows of a table by image."""
        table = self._database.table(name, shards=[shard])
        # Columns that a newer version has added come after the others, in any order.
        table = table.select([*FILES[name].names, *sorted(set(table.column_names).difference(FILES[name].names))])
        return dict(_by_image(with_numbers(table, self._numbers).combine_chunks()))


def _by_image(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of every image."""
    ids = table["image_id"].to_pylist()
    ends = [row for row in range(1, len(ids)) if ids[row] != ids[row - 1]]
    parts: dict[str, list[pa.Table]] = defaultdict(list)
    for first, last in zip([0, *ends], [*ends, len(ids)], strict=True):
        if first < last:
            parts[ids[first]].append(table.slice(first, last - first))
    return ((image_id, pa.concat_tables(own)) for image_id, own in parts.items())


def _compare_image(found: Differences, a: _Image, b: _Image) -> None:
    """Count the differences of an image; in one of the databases it may be missing."""
    for name, row_differences in (("images", _compare_pictures), ("rejects", _compare_rejects)):
        if not a.tables[name].equals(b.tables[name]):
            row_differences(found, a.tables[name], b.tables[name])
        elif name == "rejects":
            found.rejects.both += a.tables[name].num_rows
    tables = a.tables["proposals"], b.tables["proposals"]
    if tables[0].equals(tables[1]):
        for kind in tables[0]["kind"].to_pylist():
            found.rows[LEVEL_OF[kind]].both += 1
    else:
        _compare_proposals(found, a, b)


def _compare_pictures(found: Differences, a: pa.Table, b: pa.Table) -> None:
    """The rows of an image in ``images``."""
    if a.num_rows == b.num_rows == 1:
        _compare_columns(found.columns, "images", a, b)


def _compare_rejects(found: Differences, a: pa.Table, b: pa.Table) -> None:
    """The rejects of an image."""
    counts = [_each_reject(table.drop_columns(["image_id"])) for table in (a, b)]
    found.rejects.both += (counts[0] & counts[1]).total()
    found.rejects.only_a += (counts[0] - counts[1]).total()
    found.rejects.only_b += (counts[1] - counts[0]).total()


def _each_reject(rejects: pa.Table) -> Counter[str]:
    """The number of each row, as a text with the types of its values."""
    return Counter(f"{rejects.schema.types} {row}" for row in rejects.to_pylist())


def _compare_proposals(found: Differences, a: _Image, b: _Image) -> None:
    """The masks of an image."""
    tables = a.tables["proposals"], b.tables["proposals"]
    rows_a, rows_b = (table.select(COMPARED).to_pylist() for table in tables)
    pairs = row_pairs(rows_a, rows_b)
    for pair in pairs:
        _compare_masks(found, a, rows_a[pair.a], rows_b[pair.b], pair)
    paired = (
        tables[0].take(pa.array([pair.a for pair in pairs], pa.int64())),
        tables[1].take(pa.array([pair.b for pair in pairs], pa.int64())),
    )
    _compare_columns(found.columns, "proposals", *(table.drop_columns(APART) for table in paired))
    for number in set(range(len(rows_a))).difference(pair.a for pair in pairs):
        row = rows_a[number]
        _count(found.rows[LEVEL_OF[row["kind"]]], True, False)
        found.only_a.add(a.example(row["area"], row, None))
    for number in set(range(len(rows_b))).difference(pair.b for pair in pairs):
        row = rows_b[number]
        _count(found.rows[LEVEL_OF[row["kind"]]], False, True)
        found.only_b.add(b.example(row["area"], None, row))


def _compare_masks(found: Differences, image: _Image, a: Row, b: Row, pair: RowPair) -> None:
    """Two rows that belong together."""
    _count(found.rows[LEVEL_OF[a["kind"]]], True, True)
    if pair.iou < 1:
        found.ious.add(pair.iou)
        found.changed.add(image.example(1 - pair.iou, a, b, pair.iou))
    if a["granularity"] != b["granularity"]:
        change = abs(a["granularity"] - b["granularity"])
        found.granularities.add(change)
        found.regraded.add(image.example(change, a, b, pair.iou))


def _compare_columns(found: Counter[tuple[str, str]], name: str, a: pa.Table, b: pa.Table) -> None:
    """Count the rows in which each column differs: all rows, if one database lacks it or has it with another type."""
    for column in dict.fromkeys([*a.column_names, *b.column_names]):
        values, others = (table[column] if column in table.column_names else None for table in (a, b))
        if values is None or others is None or values.type != others.type:
            differing = a.num_rows
        elif values.equals(others):
            continue
        else:
            # Texts, because a value that is no number (nan) is not equal to itself.
            pairs = zip(values.to_pylist(), others.to_pylist(), strict=True)
            differing = sum(repr(value) != repr(other) for value, other in pairs)
        if differing:
            found[name, column] += differing
