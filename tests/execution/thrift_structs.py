"""Parquet files taken apart, so that any number in their footers and in the headers of their pages can be changed.

Both are Thrift structs in the compact protocol. A struct is a dict from the number of a field to its type and value.
"""

from collections.abc import Iterator
from typing import Any

INTEGERS = (4, 5, 6)
BOOLEANS = (1, 2)
TEXT, LISTS, STRUCT = 8, (9, 10), 12
MAGIC = b"PAR1"

Struct = dict[int, list[Any]]


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def take(self, count: int = 1) -> bytes:
        self.place += count
        return self.content[self.place - count : self.place]

    def unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self.take()[0]
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def integer(self) -> int:
        number = self.unsigned()
        return (number >> 1) ^ -(number & 1)

    def value(self, kind: int) -> Any:
        if kind in INTEGERS:
            return self.integer()
        if kind == TEXT:
            return self.take(self.unsigned())
        if kind == STRUCT:
            return self.struct()
        if kind in LISTS:
            head = self.take()[0]
            inner, count = head & 15, head >> 4
            count = self.unsigned() if count == 15 else count
            return [inner, [self.take() if inner in BOOLEANS else self.value(inner) for _ in range(count)]]
        return self.take({3: 1, 7: 8}[kind])

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while head := self.take()[0]:
            kind, step = head & 15, head >> 4
            number = number + step if step else self.integer()
            fields[number] = [kind, None if kind in BOOLEANS else self.value(kind)]
        return fields


def unsigned(number: int) -> bytes:
    """An integer without a sign."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _integer(number: int) -> bytes:
    return unsigned(number << 1 if number >= 0 else (-number << 1) - 1)


def _value(kind: int, value: Any) -> bytes:
    if kind in INTEGERS:
        return _integer(value)
    if kind == TEXT:
        return unsigned(len(value)) + value
    if kind == STRUCT:
        return _struct(value)
    if kind in LISTS:
        inner, values = value
        head = bytes([0xF0 | inner]) + unsigned(len(values))
        return head + b"".join(each if inner in BOOLEANS else _value(inner, each) for each in values)
    return b"" if value is None else bytes(value)


def _struct(fields: Struct) -> bytes:
    found = b""
    for number, (kind, value) in sorted(fields.items()):
        found += bytes([kind]) + _integer(number) + _value(kind, value)
    return found + b"\0"


class ParquetParts:
    """A file whose columns lie in a row group after the other, as Arrow writes them.

    Attributes:
        footer: what it says of itself.
        pages: of every column of every row group, the header and the content of each page.
    """

    def __init__(self, content: bytes) -> None:
        length = int.from_bytes(content[-8:-4], "little")
        self.footer = _Reader(content[-8 - length : -8]).struct()
        self.pages = [self._pages(content, column) for column in self.columns()]

    def columns(self) -> list[Struct]:
        """What the footer says of each column of each row group."""
        groups = self.footer[4][1][1]
        return [column[3][1] for group in groups for column in group[1][1][1]]

    def named(self, name: str) -> int:
        """The place of a column of the first row group, such as ``clicks.list.element.row``."""
        return [b".".join(column[3][1][1]).decode() for column in self.columns()].index(name)

    def _pages(self, content: bytes, column: Struct) -> list[tuple[Struct, bytes]]:
        start = min(column[field][1] for field in (9, 11) if field in column)
        reader = _Reader(content)
        reader.place, found = start, []
        while reader.place < start + column[7][1]:
            header = reader.struct()
            found.append((header, reader.take(header[3][1])))
        return found

    def numbers(self) -> list[list[Any]]:
        """All integers, each as the list of its type and value, which may be changed."""
        structs = [self.footer, *(header for pages in self.pages for header, _ in pages)]
        return [field for struct in structs for field in _integers(struct)]

    def content(self) -> bytes:
        """The file, with pages and headers as long as before or not; the places in the footer stay as they are."""
        found = MAGIC
        for pages in self.pages:
            for header, body in pages:
                found += _struct(header) + body
        footer = _struct(self.footer)
        return found + footer + len(footer).to_bytes(4, "little") + MAGIC

    def place_anew(self) -> None:
        """Let the footer say where the columns are."""
        place = len(MAGIC)
        for column, pages in zip(self.columns(), self.pages, strict=True):
            start = place
            for header, body in pages:
                header[3][1] = len(body)
                field = 11 if 7 in header else 9
                if field == 11 or place == start or 7 in pages[0][0]:
                    column[field] = [6, place]
                place += len(_struct(header)) + len(body)
            column[7][1] = place - start


def _integers(struct: Struct) -> Iterator[list[Any]]:
    for field in struct.values():
        kind, value = field
        if kind in INTEGERS:
            yield field
        elif kind == STRUCT:
            yield from _integers(value)
        elif kind in LISTS and value[0] == STRUCT:
            for each in value[1]:
                yield from _integers(each)
