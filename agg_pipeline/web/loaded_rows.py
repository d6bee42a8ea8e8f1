"""Reading the rows of a database into DuckDB, all files together: a million of them in about a second."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.execution.shard_files import shard_name
from schemas.tables import FILES, KINDS, stored_schema

COLUMNS = {
    "proposals": ("image_id", "category", "kind", "area", "granularity", "source"),
    "images": ("image_id", "height", "width"),
    "rejects": ("image_id", "reason"),
}
"""Columns that are read, by table."""
TYPES = {pa.string(): "varchar", pa.int32(): "integer", pa.int64(): "bigint", pa.float32(): "float"}
"""DuckDB's names of the types of these columns."""
POSSIBLE = (
    f"image_id is not null and kind in {KINDS} and area >= 1 and granularity between 0 and 1 and source between 0 and ?"
)
"""What holds for every row of ``proposals``, with the largest number of a source."""


def loaded_rows(database: ProposalDatabase) -> duckdb.DuckDBPyConnection:
    """The rows of a database, without masks.

    Args:
        database: read once, its finished shards alone.

    Returns:
        A connection with the tables ``given_proposals``, ``given_images``, ``given_rejects`` with the columns of
        ``COLUMNS``, and ``planned``: the images of finished shards with their ``place`` in the plan, from 0.

    Raises:
        UserError: a file is missing or damaged, or holds values that cannot be used.
    """
    connection = _read_together(database) if database.store.is_local() else None
    if connection is None:
        # The reader of databases takes ten times as long; it names the file that is damaged.
        connection = _read_one_by_one(database)
    images = [image for shard in database.sidecars for image in database.images_of_shard(shard)]
    _create(connection, "planned", pa.table({"place": range(len(images)), "image_id": pa.array(images, pa.string())}))
    return connection


def _read_together(database: ProposalDatabase) -> duckdb.DuckDBPyConnection | None:
    """The rows as DuckDB reads Parquet; None if a file is not as its sidecar says, or has impossible values."""
    connection = duckdb.connect(config={"temp_directory": ""})
    try:
        usable = all(_rows_read(connection, database, name) for name in COLUMNS)
        # A comparison with null is neither true nor false.
        wrong = f"select count(*) from given_proposals where ({POSSIBLE}) is not true"
        if usable and connection.execute(wrong, [len(database.sources) - 1]).fetchall() == [(0,)]:
            connection.execute("set enable_external_access = false")
            return connection
    except duckdb.Error:
        pass
    connection.close()
    return None


def _rows_read(connection: duckdb.DuckDBPyConnection, database: ProposalDatabase, name: str) -> bool:
    """Read a table; whether it has as many rows as the sidecars say."""
    paths = {f"{name}/{shard_name(shard)}.parquet": sidecar for shard, sidecar in database.sidecars.items()}
    rows = {path: sidecar["files"][path]["rows"] for path, sidecar in paths.items()}
    types = [f"{column} {TYPES[FILES[name].field(column).type]}" for column in COLUMNS[name]]
    connection.execute(f"create table given_{name} ({', '.join(types)})")
    # A name that DuckDB takes for a pattern finds other files, or none, and the counts differ.
    root = database.store.anchored().url
    files = [f"{root}/{path}" for path, count in rows.items() if count]
    if files:
        # Format 1.0 has no sources, because one run has made all rows.
        stored = stored_schema(name, database.minor).names
        values = [column if column in stored else "0" for column in COLUMNS[name]]
        connection.execute(f"insert into given_{name} select {', '.join(values)} from read_parquet(?)", [files])
    return connection.execute(f"select count(*) from given_{name}").fetchall() == [(sum(rows.values()),)]


def _read_one_by_one(database: ProposalDatabase) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"enable_external_access": "false"})
    for name, columns in COLUMNS.items():
        _create(connection, f"given_{name}", database.table(name, columns))
    return connection


def _create(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    connection.register("read", table)
    connection.execute(f"create table {name} as select * from read")
    connection.unregister("read")
