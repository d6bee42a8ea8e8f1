"""Parquet files of a known schema: written with the same bytes for the same rows, and read within limits."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from agg_pipeline.execution.parquet_pages import pages_of, range_of
from agg_pipeline.storage.remote_file import RemoteFile
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
GROUP_BYTES = 1 << 20
"""Bytes of a row group, about, before it is compressed: who looks for one image, perhaps over a network, reads no more.
A row group takes 5 KB in the footer."""
BUFFER_BYTES = 1 << 12
"""Bytes that Arrow would read at a time from columns that are only opened."""


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
    with pq.ParquetWriter(
        sink,
        table.schema,
        version="2.6",
        # Four fifths of a database are run lengths, which a higher level makes smaller.
        compression="zstd",
        compression_level=9,
        use_dictionary=[field.name for field in table.schema if pa.types.is_string(field.type)],
        write_statistics=[name for name in FILTERED if name in names],
    ) as writer:
        # ``datasets`` of Hugging Face does not read a row group without rows.
        if table.num_rows:
            writer.write_table(table, _rows_of_group(table))
    return sink.getvalue()


def _rows_of_group(table: pa.Table) -> int:
    """Rows of a row group. They depend on the values alone, not on how Arrow keeps them."""
    size: int = NUMBER_BYTES * table.num_rows * table.num_columns
    for column in table.itercolumns():
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            size += int(pc.sum(pc.binary_length(column)).as_py() or 0)
    return max(1, int(GROUP_BYTES * table.num_rows // max(1, size)))


def read_table(
    store: Store,
    path: str,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    advice: str = REMAKE,
    limit: TableLimit = OF_SHARD,
    more: bool = False,
    holding: tuple[str, str] | None = None,
) -> pa.Table:
    """Read a Parquet file.

    Args:
        store: the folder.
        path: path of the file in it.
        schema: schema that the file must have.
        columns: columns to read, in order; None for all.
        advice: what to do about a damaged file, in the message.
        limit: what it may hold at most.
        more: whether the file may have other columns after those of the schema; they are read if all columns are.
        holding: a column and a text; row groups whose statistics say that they do not hold it are passed over.

    Raises:
        KeyError: the schema does not have a column.
        UserError: the file is missing or damaged, or is another table.
    """
    try:
        return parquet_table(store, path, schema, columns, limit, more, holding)
    except TABLE_ERRORS as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({first_line(error)})"
        raise UserError(f"{store.url}/{path} {what}; {advice}") from error


def text_metadata(schema: pa.Schema) -> dict[str, str]:
    """What a file says of itself: the texts that were given to ``parquet_bytes`` with its table."""
    return {
        key.decode(errors="replace"): text.decode(errors="replace") for key, text in (schema.metadata or {}).items()
    }


def first_line(error: Exception) -> str:
    """The first line of an error's text; Arrow adds others for its developers."""
    return excerpt((str(error).splitlines() or [type(error).__name__])[0])


def parquet_table(
    store: Store,
    path: str,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    limit: TableLimit = OF_SHARD,
    more: bool = False,
    holding: tuple[str, str] | None = None,
) -> pa.Table:
    """Read a Parquet file, with Arrow's own errors.

    What the file claims is checked before its rows are decoded: a few bytes may stand for any number of rows.

    Args:
        store: the folder.
        path: path of the file in it.
        schema: schema that the file must have, except for the metadata of its fields.
        columns: columns to read, in order; None for all.
        limit: what it may hold at most.
        more: whether the file may have other columns after those of the schema; they are read if all columns are.
        holding: a column and a text; row groups whose statistics say that they do not hold it are passed over.

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
        if columns is None:
            known, names = len(schema), parquet.schema_arrow.names
            if names[:known] != schema.names or (len(names) > known and not more):
                raise OtherSchemaError
            wanted = pa.schema([*schema, *(parquet.schema_arrow.field(place) for place in range(known, len(names)))])
        schema = _chosen(parquet.schema_arrow, wanted)
        if parquet.metadata.num_rows > limit.rows:
            raise ValueError(f"it has {parquet.metadata.num_rows:,} rows; the limit is {limit.rows:,}")
        groups, columns_of_file = _columns_of(file, parquet.metadata, wanted, holding)
        if isinstance(file, RemoteFile):
            file.prefetch(range_of(column) for _, column in columns_of_file)
        _check_counts(columns_of_file, parquet.metadata.num_rows)
        texts = _large_texts(file, columns_of_file, most)
        file.seek(0)
        if texts:
            # Texts that repeat stay as numbers until their size is known.
            parquet = pq.ParquetFile(file, pre_buffer=False, read_dictionary=texts)
        table = parquet.read_row_groups(groups, columns=wanted.names, use_threads=False).select(wanted.names)
    if texts:
        _check_size(table, most)
        table = table.cast(schema)
    table.validate(full=True)
    _check_lengths(table)
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


def _columns_of(
    file: IO[bytes], metadata: pq.FileMetaData, wanted: pa.Schema, holding: tuple[str, str] | None
) -> tuple[list[int], list[tuple[str, pq.ColumnChunkMetaData]]]:
    """The row groups that are read, and their wanted columns with their names; a nested column is several.

    Raises:
        OSError: what the footer says of a column is damaged.
        ValueError: it contradicts what it says of the rows.
    """
    # Asking Arrow's metadata for a column that is damaged ends the process. Its reader raises an error when it opens
    # the column; as no row is asked for, and with a buffer, nothing is read or decoded.
    reader = pq.ParquetFile(file, metadata=metadata, pre_buffer=False, buffer_size=BUFFER_BYTES).reader
    numbers = list(range(metadata.num_columns))
    groups, found = [], []
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        raise ValueError(f"its row groups have {sum(rows):,} rows, and its footer says {metadata.num_rows:,}")
    for number in range(metadata.num_row_groups):
        next(reader.iter_batches(0, row_groups=[number], column_indices=numbers, use_threads=False), None)
        columns = [(each.path_in_schema, each) for each in map(metadata.row_group(number).column, numbers)]
        if holding is not None and any(path == holding[0] and _lacks(each, holding[1]) for path, each in columns):
            continue
        groups.append(number)
        for place, (path, column) in enumerate(columns):
            name = path.partition(".")[0]
            if name not in wanted.names:
                continue
            if not metadata.schema.column(place).max_repetition_level and column.num_values != rows[number]:
                raise ValueError(f"its column {name} has {column.num_values:,} values in {plural(rows[number], 'row')}")
            found.append((name, column))
    return groups, found


def _lacks(column: pq.ColumnChunkMetaData, text: str) -> bool:
    """Whether the statistics of a column of texts say that it does not hold one."""
    said = column.statistics
    return said is not None and said.has_min_max and not said.min <= text <= said.max


def _check_counts(columns: Sequence[tuple[str, pq.ColumnChunkMetaData]], rows: int) -> None:
    """ValueError if there are too many values in the lists of the rows."""
    values: Counter[str] = Counter()
    for _, column in columns:
        values[column.path_in_schema] += column.num_values
    for path, count in values.items():
        if count > rows * limits.CLICKS_PER_MASK:
            raise ValueError(f"its column {path} has {count:,} values in {plural(rows, 'row')}")


def _large_texts(file: IO[bytes], columns: Sequence[tuple[str, pq.ColumnChunkMetaData]], most: int) -> list[str]:
    """Check what the pages of the columns take.

    Returns:
        Columns of texts that could be too large once decoded, because a text that repeats is written once.

    Raises:
        ValueError: the columns take more bytes than ``most``, or a page is damaged or of another encoding.
    """
    total, texts = 0, 0
    repeated = set()
    for name, column in columns:
        pages = pages_of(file, column)
        total += pages.size + NUMBER_BYTES * column.num_values
        if column.physical_type == "BYTE_ARRAY" and pages.by_number:
            repeated.add(name)
            texts += pages.size * column.num_values
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


def _check_lengths(table: pa.Table) -> None:
    """ValueError if a text, the run lengths of a mask, or a list of a table is too long."""
    for name, column in zip(table.column_names, table.itercolumns(), strict=True):
        if pa.types.is_string(column.type):
            what, limit, unit = "text", limits.STORED_TEXT_LENGTH, "characters"
            lengths = pc.utf8_length(column)
        elif pa.types.is_binary(column.type):
            what, limit, unit = "mask", limits.SEGMENTATION_BYTES, "bytes"
            lengths = pc.binary_length(column)
        elif pa.types.is_list(column.type):
            what, limit, unit = "list", limits.CLICKS_PER_MASK, "values"
            lengths = pc.list_value_length(column)
        else:
            continue
        longest = pc.max(lengths).as_py() or 0
        if longest > limit:
            raise ValueError(f"its column {name} has a {what} of {longest:,} {unit}; the limit is {limit:,}")
