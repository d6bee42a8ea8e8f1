"""Parquet files of a known schema: written with the same bytes for the same rows, and read within limits."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import UserError
from schemas.words import excerpt, plural

REMAKE = "run the command that made it again with --verify, which makes damaged shards again"
"""What to do about a damaged table of a shard."""
FILTERED = ("image_id", "kind", "granularity", "bin", "reason")
"""Columns that queries filter by; statistics of the others would only make small files larger."""
TABLE_ERRORS = (OSError, ValueError, pa.ArrowException)
"""What ``parquet_table`` raises for a damaged file."""
TAIL = 8
"""Bytes at the end of a Parquet file: length of its footer, and PAR1."""
NUMBER_BYTES = 8
"""Most bytes of a value that is no text."""


@dataclass(frozen=True)
class TableLimit:
    """What a table may hold at most.

    Attributes:
        rows: number of rows.
        size: bytes of the columns that are read, once they are decoded.
        small: bytes up to which the file may be of any size.
        growth: most bytes of larger columns per byte of the file; None for any number.
    """

    rows: int
    size: int
    small: int = 0
    growth: int | None = None

    def of_file(self, size: int) -> int:
        """Most bytes of the decoded columns of a file, of which a small one must not take much memory."""
        return self.size if self.growth is None else min(self.size, max(self.small, self.growth * size))


OF_SHARD = TableLimit(limits.SHARD_ROWS, limits.SHARD_TABLE_BYTES, limits.SHARD_TABLE_SMALL, limits.SHARD_TABLE_GROWTH)


class OtherSchemaError(ValueError):
    """The file does not have the wanted columns, with their types."""

    def __init__(self) -> None:
        super().__init__("it does not have the columns of this format")


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file: the same bytes for the same rows."""
    sink = io.BytesIO()
    names = set(table.column_names)
    pq.write_table(
        table,
        sink,
        version="2.6",
        # Four fifths of a database are run lengths, which a higher level makes smaller.
        compression="zstd",
        compression_level=9,
        use_dictionary=[field.name for field in table.schema if pa.types.is_string(field.type)],
        write_statistics=[name for name in FILTERED if name in names],
    )
    return sink.getvalue()


def read_table(
    store: Store,
    path: str,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    advice: str = REMAKE,
    limit: TableLimit = OF_SHARD,
) -> pa.Table:
    """Read a Parquet file.

    Args:
        store: the folder.
        path: path of the file in it.
        schema: schema that the file must have.
        columns: columns to read, in order; None for all.
        advice: what to do about a damaged file, in the message.
        limit: what it may hold at most.

    Raises:
        KeyError: the schema does not have a column.
        UserError: the file is missing or damaged, or is another table.
    """
    try:
        return parquet_table(store, path, schema, columns, limit)
    except TABLE_ERRORS as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({first_line(error)})"
        raise UserError(f"{store.url}/{path} {what}; {advice}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's text; Arrow adds others for its developers."""
    return excerpt((str(error).splitlines() or [type(error).__name__])[0])


def parquet_table(
    store: Store, path: str, schema: pa.Schema, columns: Sequence[str] | None = None, limit: TableLimit = OF_SHARD
) -> pa.Table:
    """Read a Parquet file, with Arrow's own errors.

    What the file claims is checked before its rows are decoded: a few bytes may stand for any number of rows.

    Args:
        store: the folder.
        path: path of the file in it.
        schema: schema that the file must have, except for the metadata of its fields.
        columns: columns to read, in order; None for all.
        limit: what it may hold at most.

    Raises:
        KeyError: the schema does not have a column.
        FileNotFoundError: the file is missing.
        TABLE_ERRORS: the file is damaged, is another table, or claims more than a table of this project holds.
    """
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    with store.open(path) as file:
        most = limit.of_file(_check_footer(file))
        # pq.read_table takes three times as long for a small file. Threads that Arrow reads with, or reads ahead with
        # (18 to 23), sometimes abort the interpreter at its end (apache/arrow#34314).
        parquet = pq.ParquetFile(file, pre_buffer=False)
        if columns is None and parquet.schema_arrow.names != schema.names:
            raise OtherSchemaError
        schema = _chosen(parquet.schema_arrow, wanted)
        _check_counts(parquet.metadata, wanted, limit)
        texts = _large_texts(parquet.metadata, wanted, most)
        if texts:
            # Texts that repeat stay as numbers until their size is known.
            file.seek(0)
            parquet = pq.ParquetFile(file, pre_buffer=False, read_dictionary=texts)
        table = parquet.read(columns=wanted.names, use_threads=False).select(wanted.names)
    if texts:
        _check_size(table, most)
        table = table.cast(schema)
    table.validate(full=True)
    _check_texts(table)
    _check_lists(table)
    return table


def _check_footer(file: IO[bytes]) -> int:
    """The size of a file, whose footer must not be too large."""
    size = file.seek(0, os.SEEK_END)
    if size >= TAIL:
        file.seek(-TAIL, os.SEEK_END)
        length = int.from_bytes(file.read(TAIL)[:4], "little")
        # Arrow notices one that is longer than the file.
        if limits.PARQUET_FOOTER_BYTES < length <= size:
            raise ValueError(f"its footer has {length:,} bytes; the limit is {limits.PARQUET_FOOTER_BYTES:,}")
    file.seek(0)
    return size


def _chosen(found: pa.Schema, wanted: pa.Schema) -> pa.Schema:
    """The wanted columns of a file; OtherSchemaError if one is missing, of another type, or may be null."""
    for field in wanted:
        if len(found.get_all_field_indices(field.name)) != 1 or not found.field(field.name).equals(field):
            raise OtherSchemaError
    return pa.schema([found.field(name) for name in wanted.names], found.metadata)


def _columns_of(metadata: pq.FileMetaData, wanted: pa.Schema) -> Iterator[tuple[str, pq.ColumnChunkMetaData]]:
    """The wanted columns of all row groups with their names; a nested column is several."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(metadata.num_columns)):
            name = column.path_in_schema.partition(".")[0]
            if name in wanted.names:
                yield name, column


def _check_counts(metadata: pq.FileMetaData, wanted: pa.Schema, limit: TableLimit) -> None:
    """ValueError if there are too many rows, or values in the lists of the rows."""
    if metadata.num_rows > limit.rows:
        raise ValueError(f"it has {metadata.num_rows:,} rows; the limit is {limit.rows:,}")
    values: Counter[str] = Counter()
    for _, column in _columns_of(metadata, wanted):
        values[column.path_in_schema] += column.num_values
    for path, count in values.items():
        if count > metadata.num_rows * limits.CLICKS_PER_MASK:
            raise ValueError(f"its column {path} has {count:,} values in {plural(metadata.num_rows, 'row')}")


def _large_texts(metadata: pq.FileMetaData, wanted: pa.Schema, most: int) -> list[str]:
    """Check what the columns claim to hold.

    Returns:
        Columns of texts that could be too large once decoded, because a text that repeats is written once.

    Raises:
        ValueError: the columns take more bytes than ``most``.
    """
    total, texts = 0, 0
    repeated = set()
    for name, column in _columns_of(metadata, wanted):
        total += max(column.total_uncompressed_size, 0) + NUMBER_BYTES * column.num_values
        if column.physical_type == "BYTE_ARRAY" and column.has_dictionary_page:
            repeated.add(name)
            texts += column.total_uncompressed_size * column.num_values
    if total > most:
        raise ValueError(f"its columns take {total:,} bytes; the limit is {most:,}")
    return sorted(repeated) if total + texts > most else []


def _check_size(table: pa.Table, most: int) -> None:
    """ValueError if a table is too large once texts take the place of the numbers that stand for them."""
    size = table.nbytes
    for column in table.itercolumns():
        for chunk in column.chunks:
            if pa.types.is_dictionary(chunk.type):
                lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
                size += pc.sum(lengths).as_py() or 0
    if size > most:
        raise ValueError(f"its columns take {size:,} bytes; the limit is {most:,}")


def _check_texts(table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.itercolumns(), strict=True):
        if pa.types.is_string(column.type):
            longest = pc.max(pc.utf8_length(column)).as_py() or 0
            if longest > limits.STORED_TEXT_LENGTH:
                raise ValueError(
                    f"its column {name} has a text of {longest:,} characters; the limit is "
                    f"{limits.STORED_TEXT_LENGTH:,}"
                )


def _check_lists(table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.itercolumns(), strict=True):
        if pa.types.is_list(column.type):
            longest = pc.max(pc.list_value_length(column)).as_py() or 0
            if longest > limits.CLICKS_PER_MASK:
                raise ValueError(
                    f"its column {name} has a list of {longest:,} values; the limit is {limits.CLICKS_PER_MASK}"
                )
