"""JSON documents of many entries, which are counted before they are held in memory and decoded one by one."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from msgspec import Raw

from schemas.checked_json import JsonError, MismatchError, decode, mended
from schemas.errors import UserError

T = TypeVar("T")

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
        UserError: the content is not JSON or not of this type.
    """
    try:
        return decode(content, kind, where)
    except JsonError:
        try:
            return decode(mended(content), kind, where)
        except MismatchError as error:
            raise UserError(f"{where} is not {what}{error.problem}") from None


def readable_part(entry: Raw, kind: type[T]) -> T | None:
    """The part of a broken entry that can be read; None if it cannot."""
    try:
        return decode(bytes(entry), kind, "")
    except JsonError:
        return None
