"""The entries of a large JSON document, one by one as the file is read; nothing but the present one is in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from agg_pipeline.datasets.json_entries import CHUNK, QUOTE, STEPS
from schemas import limits
from schemas.checked_json import BYTE_ORDER_MARK, decode
from schemas.errors import UserError
from schemas.words import excerpt

SPACE = b" \t\r\n"
KEY = re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:', re.DOTALL)
"""A key with its colon."""
MARKS = np.zeros(256, np.bool_)
"""Bytes that may end an entry, or the value of a key."""
MARKS[[*b"[]{},"]] = True


class Entry(NamedTuple):
    """A part of a document.

    Attributes:
        key: key of the document that it belongs to.
        content: its JSON: an entry of the key's list, or the key's whole value if that is no list.
        start: place of its first byte in the file.
        listed: whether it is an entry of a list.
    """

    key: str
    content: bytes
    start: int
    listed: bool


def entries(file: IO[bytes], where: str, what: str) -> Iterator[Entry]:
    """The entries of a document, which is an object, in their order. Empty lists have none.

    The entries themselves are not checked.

    Args:
        file: the document.
        where: its path, for messages.
        what: what it must be, for messages.

    Raises:
        UserError: it is no JSON object, is cut short, has a key twice, or an entry of it is larger than the limit.
    """
    reader = _Reader(where, what)
    start = len(BYTE_ORDER_MARK) if file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK else 0
    file.seek(start)
    reader.place = start
    while chunk := file.read(CHUNK):
        yield from reader.read(chunk)
    yield from reader.read(b"")
    if not reader.ended:
        raise reader.broken("it is cut short")


class _Reader:
    """Where in a document its reader is.

    Attributes:
        place: place in the file of the first byte that waits.
        ended: whether the document is at its end.
    """

    def __init__(self, where: str, what: str) -> None:
        self.place = 0
        self.ended = False
        self._where, self._what = where, what
        self._waiting = b""  # bytes of the part that is not at its end yet
        self._looked = 0  # how many of them have been looked at
        self._depth = self._quotes = 0
        self._key = ""
        self._in_list = False
        self._seen: set[str] = set()

    def broken(self, problem: str) -> UserError:
        """The error about the document."""
        return UserError(f"{self._where} is not {self._what}: {problem}")

    def read(self, chunk: bytes) -> Iterator[Entry]:
        """Go on with more bytes; none at the end of the file."""
        content = self._waiting + chunk
        end = len(content)
        if chunk:
            # A backslash at the end belongs to the byte after it.
            end -= (len(content) - len(content.rstrip(b"\\"))) % 2
        fresh = content[self._looked : end]
        # As long as before, so that places stay what they are. The quotes that are left begin and end texts.
        bare = np.frombuffer(fresh.replace(b"\\\\", b"__").replace(b'\\"', b"__"), np.uint8)
        texts = self._quotes + np.cumsum(bare == QUOTE, dtype=np.int32)
        outside = texts % 2 == 0
        depths = self._depth + np.cumsum(STEPS[bare] * outside, dtype=np.int32)
        before = depths - STEPS[bare] * outside
        marks = np.flatnonzero(MARKS[bare] & outside & (np.minimum(before, depths) < 2 + (bare == ord(","))))
        first = 0
        for mark, old, new in zip(marks.tolist(), before[marks].tolist(), depths[marks].tolist(), strict=True):
            place = mark + self._looked
            piece = content[first:place]
            found, taken = self._mark(fresh[mark], old, piece)
            if found is not None:
                yield Entry(self._key, found, self.place + first + piece.find(found[:1]), self._in_list)
            if taken:
                first = place + 1
            if fresh[mark] == ord("]") and new == 1:
                self._in_list = False
        if len(bare):
            self._depth, self._quotes = int(depths[-1]), int(texts[-1]) % 2
        self._waiting = content[first:]
        self._looked = end - first
        self.place += first
        if len(self._waiting) > limits.EXCHANGE_ENTRY_BYTES:
            raise self.broken(f"a part of it has more than {limits.EXCHANGE_ENTRY_BYTES:,} bytes")
        if self.ended and self._waiting.strip(SPACE):
            raise self.broken("something follows the end of the object")

    def _mark(self, char: int, old: int, piece: bytes) -> tuple[bytes | None, bool]:
        """What a mark ends: the entry or value, and whether the bytes up to it are done with.

        Args:
            char: the mark.
            old: depth before it.
            piece: the bytes before it that were not done with.
        """
        if self.ended:
            raise self.broken("something follows the end of the object")
        if old == 0:
            if char != ord("{") or piece.strip(SPACE):
                raise self.broken("it does not begin with an object")
            return None, True
        if old == 1 and char == ord("["):
            if self._begin(piece):
                raise self.broken("a comma is missing")
            self._in_list = True
            return None, True
        if self._in_list and old == 2 and char in b",]":
            entry = piece.strip(SPACE)
            if not entry and char == ord(","):
                raise self.broken(f"an entry of {excerpt(self._key)} is empty")
            return entry or None, True
        if old == 1 and char in b",}":
            self.ended = char == ord("}")
            value = self._value(piece)
            return value, True
        return None, False

    def _begin(self, piece: bytes) -> bytes:
        """Take the key at the beginning of some bytes; what follows its colon."""
        found = KEY.match(piece)
        if found is None:
            raise self.broken(
                f"'{excerpt(piece.strip(SPACE)[:40].decode('utf-8', 'replace'))}' is in the place of a key"
            )
        key, rest = found[1], piece[found.end() :]
        self._key = decode(key, str, self._where)
        if self._key in self._seen:
            raise UserError(f"{self._where} has the key '{excerpt(self._key)}' twice; keep one")
        if len(self._seen) == limits.EXCHANGE_KEYS:
            raise self.broken(f"it has more than {limits.EXCHANGE_KEYS:,} keys")
        self._seen.add(self._key)
        return rest.strip(SPACE)

    def _value(self, piece: bytes) -> bytes | None:
        """The value of a key that is no list; None behind a list or in an empty object."""
        return self._begin(piece) or None if piece.strip(SPACE) else None
