"""What the pages of a Parquet column take when they are unpacked, and how their values are encoded.

The footer of a file says so, too, but no reader compares it with the pages. Arrow takes as much memory as the header of
a page claims. The headers are Thrift structs in the compact protocol
(https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any

import pyarrow.parquet as pq

from schemas import limits

ENCODINGS = {0: "plain", 2: "plain dictionary", 3: "run lengths", 8: "dictionary"}
"""Encodings that the tables of this project have. Others may unpack a few bytes into texts of any length."""
BY_NUMBER = (2, 8)
"""Encodings in which a value is the number of an entry of the dictionary page."""
DICTIONARY = 7
"""Field of the part of a header that only a dictionary page has."""
PARTS = {5: 2, DICTIONARY: 2, 8: 4}
"""Fields of the parts of a header for data, a dictionary and data of version 2, with the fields of their encodings."""
FIRST_READ = 1 << 12
"""Bytes that are read to find the header of a page; few headers are longer."""
MOST_LEVELS = 4
"""Levels of structs in a header; there are two."""


@dataclass(frozen=True)
class ColumnPages:
    """The pages of a column of a row group.

    Attributes:
        size: bytes of all pages, unpacked.
        by_number: whether values may be numbers of entries of a dictionary.
    """

    size: int
    by_number: bool


def pages_of(file: IO[bytes], column: pq.ColumnChunkMetaData) -> ColumnPages:
    """Read the headers of the pages of a column of a row group; the pages themselves are passed over.

    Args:
        file: the Parquet file.
        column: what its footer says of the column.

    Raises:
        ValueError: a header is damaged, claims another number of values than the footer or the page can hold, or its
            page has an encoding that is not among ``ENCODINGS``.
    """
    if column.num_values == 0:
        # No page is read, and the places of pages are not those of pages.
        return ColumnPages(0, by_number=False)
    place, end = range_of(column)
    size, values, by_number = 0, 0, False
    while place < end:
        header, length = _header(file, place, end)
        unpacked, packed = header.get(2), header.get(3)
        if not isinstance(unpacked, int) or not isinstance(packed, int) or min(unpacked, packed) < 0:
            raise ValueError("the header of a page is damaged")
        encoding = _encoding(header)
        if encoding not in ENCODINGS:
            raise ValueError(f"a page has the encoding {encoding}; this format has {', '.join(ENCODINGS.values())}")
        size += unpacked
        values += _values(header, unpacked)
        by_number |= encoding in BY_NUMBER or DICTIONARY in header
        place += length + packed
    if place != end:
        raise ValueError("a page ends outside of its column")
    if values != column.num_values:
        raise ValueError(f"the pages of a column hold {values:,} values, and the footer says {column.num_values:,}")
    return ColumnPages(size, by_number)


def range_of(column: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """Where Arrow begins to read a column of a row group, and where it ends."""
    start = int(column.data_page_offset)
    dictionary = column.dictionary_page_offset if column.has_dictionary_page else None
    start = int(dictionary) if dictionary is not None and 0 < dictionary < start else start
    return start, start + column.total_compressed_size


def _values(header: dict[int, Any], size: int) -> int:
    """The number of values of a page of data; 0 for a dictionary, whose entries take a byte at least."""
    for part in PARTS:
        if isinstance(header.get(part), dict):
            found = header[part].get(1)
            if not isinstance(found, int) or found < 0 or (part == DICTIONARY and found > size):
                break
            return 0 if part == DICTIONARY else found
    raise ValueError("the header of a page is damaged")


def _encoding(header: dict[int, Any]) -> int | None:
    """The encoding of a page, from the part of its header for data, for a dictionary, or for data of version 2."""
    for part, field in PARTS.items():
        if isinstance(header.get(part), dict):
            found = header[part].get(field)
            return found if isinstance(found, int) else None
    return None


def _header(file: IO[bytes], place: int, end: int) -> tuple[dict[int, Any], int]:
    """The header of a page as the values of its fields by their numbers, and its length in bytes."""
    for most in (FIRST_READ, limits.PAGE_HEADER_BYTES):
        file.seek(place)
        content = file.read(min(most, end - place))
        try:
            return _struct(content, 0, MOST_LEVELS)
        except IndexError:
            # It is longer than what was read.
            continue
    raise ValueError("the header of a page is damaged")


def _struct(content: bytes, place: int, levels: int) -> tuple[dict[int, Any], int]:
    """A struct, and the place behind it; IndexError if it is cut off."""
    if not levels:
        raise ValueError("the header of a page is nested too deep")
    values: dict[int, Any] = {}
    field = 0
    while content[place]:
        kind, step = content[place] & 15, content[place] >> 4
        place += 1
        if step:
            field += step
        else:
            field, place = _integer(content, place)
        values[field], place = _value(content, place, kind, levels)
    return values, place + 1


def _value(content: bytes, place: int, kind: int, levels: int) -> tuple[Any, int]:
    """A value of a type of the compact protocol, and the place behind it."""
    if kind in (1, 2):
        return kind == 1, place
    if kind in (4, 5, 6):
        return _integer(content, place)
    if kind == 12:
        return _struct(content, place, levels - 1)
    length = {3: 1, 7: 8}.get(kind)
    if kind == 8:
        length, place = _varint(content, place)
    if length is None:
        raise ValueError("the header of a page holds what no header has")
    if place + length > len(content):
        raise IndexError
    return None, place + length


def _integer(content: bytes, place: int) -> tuple[int, int]:
    """An integer with a sign, and the place behind it."""
    number, place = _varint(content, place)
    return (number >> 1) ^ -(number & 1), place


def _varint(content: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError("the header of a page is damaged")
