"""JSON documents of many entries, which are counted before they are held in memory and decoded one by one."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import numpy as np
from msgspec import Raw, Struct

from schemas.checked_json import BYTE_ORDER_MARK, JsonError, MismatchError, decode, mended
from schemas.errors import UserError

T = TypeVar("T", bound=Struct)

CHUNK = 1 << 22
"""Bytes that are looked at at a time."""
COMMA, QUOTE = ord(","), ord('"')
STEPS = np.zeros(256, np.int8)
"""How much deeper the nesting is behind a byte."""
STEPS[[*b"[{"]] = 1
STEPS[[*b"]}"]] = -1


def most_entries(content: bytes) -> int:
    """Number of entries that the longest list in a document, which is an object, has at most.

    It is that of the commas in all values of the object together, without those in their entries. Nothing of the
    document is checked.

    Args:
        content: the document.
    """
    # The quotes that are left begin and end texts.
    bare = np.frombuffer(content.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    depth = commas = quotes = 0
    for start in range(0, len(bare), CHUNK):
        part = bare[start : start + CHUNK]
        texts = quotes + np.cumsum(part == QUOTE, dtype=np.int32)
        outside = texts % 2 == 0
        depths = depth + np.cumsum(STEPS[part] * outside, dtype=np.int32)
        commas += int(np.count_nonzero((part == COMMA) & (depths == 2) & outside))
        depth, quotes = int(depths[-1]), int(texts[-1]) % 2
    return commas + 1


def decode_document(content: bytes, kind: type[T], where: str, what: str) -> T:
    """Decode a document whose entries are decoded later; NaN and lone surrogates in it do not make it unreadable.

    Args:
        content: the document.
        kind: its type, with ``msgspec.Raw`` for its entries.
        where: its path, for messages.
        what: what it must be, for messages.

    Raises:
        UserError: the content is not JSON or not of this type, or has a key of it twice.
    """
    try:
        document = decode(content, kind, where)
    except JsonError:
        content = mended(content)
        try:
            document = decode(content, kind, where)
        except MismatchError as error:
            raise UserError(f"{where} is not {what}{error.problem}") from None
    check_keys(content, kind, where)
    return document


class _AnyKey:
    """Stands for all keys of an object, so that a dict of them takes no memory."""


def check_keys(content: bytes, kind: type[Struct], where: str) -> None:
    """Check that a document, which is an object, has every key of its type once; decoding would take the last one.

    Args:
        content: the document; it can be decoded.
        kind: its type.
        where: its path, for messages.

    Raises:
        UserError: a key occurs twice, or a key is not UTF-8.
    """
    counts = dict.fromkeys(kind.__struct_fields__, 0)
    any_key = _AnyKey()

    def count(_kind: type, key: str) -> _AnyKey:
        if key in counts:
            counts[key] += 1
        return any_key

    try:
        msgspec.json.decode(content.removeprefix(BYTE_ORDER_MARK), type=dict[_AnyKey, Raw], dec_hook=count)
    except UnicodeError:
        raise JsonError(where, " is not JSON: a key is not UTF-8") from None
    for key, times in counts.items():
        if times > 1:
            raise UserError(f"{where} has the key {key!r} {times:,} times; keep one, because only one would be read")


def readable_part(entry: Raw, kind: type[T]) -> T | None:
    """The part of a broken entry that can be read; None if it cannot."""
    try:
        return decode(bytes(entry), kind, "")
    except JsonError:
        return None
