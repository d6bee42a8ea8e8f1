"""Values that no run writes into the tables of a database, and that their readers cannot use."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from agg_pipeline.execution.parquet_files import REMAKE
from schemas import limits
from schemas.numbers import BINS
from schemas.paths import stays_inside
from schemas.tables import KINDS
from schemas.words import excerpt, plural

REPAIR = f"agg database validate lists all damage; to repair it, {REMAKE}"
"""What to do about a database with such values."""
SHARES = ("scale", "semantic", "granularity")


def impossible_values(name: str, table: pa.Table, sources: int = 1) -> Iterator[str]:
    """What makes the values of a table unusable for its readers.

    Args:
        name: name of the table.
        table: rows of it, with any columns; the columns that are there are checked.
        sources: number of runs that have made its rows.
    """
    if not table.num_rows:
        return
    columns = set(table.column_names)
    if "bin" in columns:
        ends = pc.min_max(table["bin"]).as_py()
        for number in (ends["min"], ends["max"]):
            if not 1 <= number <= BINS:
                yield f"has the bin {number}, which is not from 1 to {BINS}"
    if "source" in columns:
        yield from impossible_sources(table, sources)
    if name == "images" and "path" in columns:
        for path in pc.unique(table["path"]).to_pylist():
            if not stays_inside(path):
                yield f"names the image {excerpt(path)!r}, which is no path in the data set"
    if name == "proposals":
        yield from _impossible_proposals(table, columns)


def impossible_sources(table: pa.Table, sources: int) -> Iterator[str]:
    """What is wrong with the sources of rows; arguments as for ``impossible_values``."""
    for number in pc.unique(table["source"]).to_pylist():
        if not 0 <= number < sources:
            yield f"has rows of source {number}, and the plan lists {plural(sources, 'source')} from 0"


def _impossible_proposals(table: pa.Table, columns: set[str]) -> Iterator[str]:
    if "kind" in columns:
        for kind in pc.unique(table["kind"]).to_pylist():
            if kind not in KINDS:
                yield f"has the unknown kind '{excerpt(kind)}'"
    if "area" in columns and pc.min(table["area"]).as_py() < 1:
        yield f"has an area of {pc.min(table['area']).as_py()} pixels"
    for name in SHARES:
        if name in columns and not pc.all(_between(table[name], 0.0, 1.0)).as_py():
            yield f"has a {name} that is not from 0 to 1"
    if columns >= {"height", "width"}:
        yield from _impossible_sizes(table, columns)


def _impossible_sizes(table: pa.Table, columns: set[str]) -> Iterator[str]:
    height, width = table["height"].cast(pa.int64()), table["width"].cast(pa.int64())
    if pc.min(height).as_py() < 1 or pc.min(width).as_py() < 1:
        yield "has an image without pixels"
    elif pc.max(pc.multiply(height, width)).as_py() > limits.IMAGE_PIXELS:
        yield f"has an image of more than {limits.IMAGE_PIXELS:,} pixels"
    if "image_id" in columns:
        sizes = table.select(["image_id", "height", "width"]).group_by(["image_id", "height", "width"]).aggregate([])
        if sizes.num_rows > pc.count_distinct(sizes["image_id"]).as_py():
            yield "has masks of several sizes for one image"
    if "bbox" in columns:
        x, y, w, h = (pc.struct_field(table["bbox"], side).cast(pa.int64()) for side in ("x", "y", "w", "h"))
        fits = pc.and_(
            pc.and_(_between(x, 0, pc.subtract(width, w)), _between(y, 0, pc.subtract(height, h))),
            pc.and_(pc.greater(w, 0), pc.greater(h, 0)),
        )
        if not pc.all(fits).as_py():
            yield "has a mask whose box is not in its image"


def _between(values: pa.ChunkedArray, low: float, high: float | pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each value lies between two ends; NaN does not."""
    return pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))
