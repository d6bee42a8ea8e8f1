"""The identity of a database: one hash of its rows and of what made them, which a paper can cite.

It is independent of shards, workers, compression, split lists and the order of the rows.
``docs/reference/database-format.md`` says how to compute it without this program.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.canonical import Json, canonical_json
from schemas.tables import SOURCE

ORDER = {
    "images": ("image_id",),
    "proposals": ("image_id", "proposal_id"),
    "rejects": ("image_id", "instance_id", "step", "stage", "reason", "detail"),
}
"""The columns by which the rows of each table are sorted; nulls come last. Rows that agree in them are sorted by their
content, the largest first."""
ABOUT_IMAGES = ("split", "fingerprint", "images", "selection")
"""Keys of a data set in a plan that say which images it has, as the rows of ``images`` do."""

Leaf = tuple[memoryview, NDArray[np.int64]]
"""Bytes of a column, and the place (n + 1,) where those of each of its n rows begin."""


class Tables(Protocol):
    """What the identity of a database needs of it."""

    @property
    def sources(self) -> Sequence[Json]:
        """The plans of the runs that have made its rows."""

    @property
    def sidecars(self) -> Mapping[int, Json]:
        """Its finished shards."""

    def table(self, name: str, columns: None = None, shards: Sequence[int] | None = None) -> pa.Table:
        """A table of some shards."""


def database_id(database: Tables) -> str:
    """The identity of a database, 64 hex digits; its shards are read one by one."""
    recipes = recipe_hashes(database.sources)
    images = [
        digest
        for index in database.sidecars
        for digest in image_digests({name: database.table(name, shards=[index]) for name in ORDER}, recipes)
    ]
    return combined(images)


def combined(images: Sequence[bytes]) -> str:
    """The identity of a database with these digests of its images."""
    return hashlib.sha256(b"".join(sorted(images))).hexdigest()


def recipe_hashes(sources: Sequence[Json]) -> NDArray[np.uint8]:
    """(sources, 32) hashes of what decides the rows of each run, except its images and how they are cut into shards."""
    hashes = [hashlib.sha256(canonical_json(recipe(source)).encode()).digest() for source in sources]
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(len(sources), -1)


def recipe(source: Json) -> Json:
    """What decides the rows of a run, except its images and how they are cut into shards."""
    keys = ("algorithm_version", "model", "environment", "seed")
    dataset = {key: value for key, value in source["dataset"].items() if key not in ABOUT_IMAGES}
    config = source["config"]
    batch = {key: value for key, value in config.get("batch", {}).items() if key != "images_per_shard"}
    found = {key: source[key] for key in keys if key in source}
    return found | {"dataset": dataset, "config": {**config, "batch": batch}}


def image_digests(tables: Mapping[str, pa.Table], recipes: NDArray[np.uint8]) -> Iterator[bytes]:
    """The digest of every image that has rows in the tables of a shard.

    Args:
        tables: all tables of the shard, by name, with all columns.
        recipes: (sources, 32) uint8, hash of each source.
    """
    hashers: dict[str, hashlib._Hash] = {}
    for name, order in ORDER.items():
        table = _sorted(tables[name], order, recipes)
        ids = table["image_id"].to_pylist()
        leaves = _columns(table, recipes)
        ends = [row for row in range(1, len(ids)) if ids[row] != ids[row - 1]]
        for first, last in zip([0, *ends], [*ends, len(ids)], strict=True):
            if first == last:
                continue
            hasher = hashers.setdefault(ids[first], hashlib.sha256())
            hasher.update(f"{name} {last - first}\n".encode())
            for column in sorted(leaves):
                hasher.update(f"{column}\n".encode())
                hasher.update(_content(leaves[column], first, last))
    return (hasher.digest() for hasher in hashers.values())


def _sorted(table: pa.Table, order: Sequence[str], recipes: NDArray[np.uint8]) -> pa.Table:
    """The rows in the order in which they are hashed, whatever their order in the file."""
    table = table.combine_chunks()
    rows, keys = table.select(order), [(column, "ascending") for column in order]
    if table.group_by(list(order), use_threads=False).aggregate([]).num_rows < table.num_rows:
        leaves = [of for _, of in sorted(_columns(table, recipes).items())]
        contents = [b"".join(_content(of, row, row + 1) for of in leaves) for row in range(table.num_rows)]
        rows = rows.append_column("content", pa.array(contents, pa.binary()))
        keys.append(("content", "descending"))
    return table.take(pc.sort_indices(rows, keys))


def _columns(table: pa.Table, recipes: NDArray[np.uint8]) -> dict[str, list[Leaf]]:
    """What is hashed of the columns of a table, by name: all but ``source``, and the hashes of the runs."""
    columns = {column: table[column].combine_chunks() for column in table.column_names if column != SOURCE.name}
    leaves = {column: list(_leaves(values)) for column, values in columns.items()}
    return leaves | {"recipe": [_fixed(recipes[table[SOURCE.name].to_numpy()])]}


def _content(leaves: Sequence[Leaf], first: int, last: int) -> bytes:
    """What is hashed of a column in the rows from ``first`` to before ``last``."""
    return b"".join(content[places[first] : places[last]] for content, places in leaves)


def _leaves(values: pa.Array) -> Iterator[Leaf]:
    """A column as bytes: for every value whether it is there; then the value, or its length and what it holds.

    Numbers are little-endian, texts are UTF-8, and lengths are int64. What is not there is 0, or has length 0.
    """
    yield _fixed(values.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8)[:, None])
    kind = values.type
    if pa.types.is_struct(kind):
        for child in values.flatten():
            yield from _leaves(child)
    elif pa.types.is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy().astype("<i8")
        yield _fixed(lengths[:, None])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        yield from ((content, places[starts]) for content, places in _leaves(values.flatten()))
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        texts = values.cast(pa.binary())
        lengths = pc.fill_null(pc.binary_length(texts), 0).to_numpy().astype("<i8")
        yield _fixed(lengths[:, None])
        content = b"".join(text for text in texts.to_pylist() if text)
        yield memoryview(content), np.concatenate([[0], np.cumsum(lengths)])
    else:
        numbers = pc.fill_null(values, False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
        yield _fixed(numbers.astype(numbers.dtype.newbyteorder("<"))[:, None])


def _fixed(rows: NDArray[np.generic]) -> Leaf:
    """The leaf of (n, m) values, m for each row."""
    return memoryview(rows.tobytes()), np.arange(len(rows) + 1, dtype=np.int64) * rows[:1].nbytes
