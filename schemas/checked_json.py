"""JSON that somebody else may have written: decoded and checked against a type in one go."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
import numpy as np

from schemas.errors import UserError
from schemas.limits import JSON_DEPTH

T = TypeVar("T")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CHUNK = 1 << 20
"""Bytes whose brackets are counted at a time."""
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
LONGEST = 300
"""Most characters of a message that the content may decide."""
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


def decode(content: bytes | str, kind: type[T], what: str) -> T:
    """Decode JSON and check it against a type.

    Integers may not be given as fractions, truth values or texts; NaN, infinity, lone surrogates and numbers out of
    range are refused. Unknown keys are ignored; of keys that occur twice, the last one counts.

    Args:
        content: the JSON document, UTF-8; it may begin with a byte order mark.
        kind: any type that msgspec knows: a dataclass, a TypedDict, a built-in; ``Annotated`` with ``msgspec.Meta``
            gives ranges.
        what: the document in an error message, as its path.

    Returns:
        The value.

    Raises:
        UserError: the content is not JSON, not of this type, or nested deeper than ``limits.JSON_DEPTH``.
    """
    try:
        data = (content.encode() if isinstance(content, str) else content).removeprefix(BYTE_ORDER_MARK)
        if _too_deep(data):
            raise UserError(f"{what} is nested deeper than {JSON_DEPTH} levels")
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{what}: {_one_line(str(error))}") from None
    except msgspec.DecodeError as error:
        detail = str(error).removeprefix("JSON is malformed: ")
        raise UserError(f"{what} is not JSON: {_one_line(detail)}") from None
    except UnicodeError:
        raise UserError(f"{what} is not JSON: it is not UTF-8") from None


def _too_deep(content: bytes) -> bool:
    # Brackets inside of texts are counted too at first: this is fast, and settles nearly all documents.
    return _depth(content) > JSON_DEPTH and _depth(STRING.sub(b"", content)) > JSON_DEPTH


def _depth(content: bytes) -> int:
    """Deepest nesting, as if every bracket were one of the structure."""
    level = deepest = 0
    for start in range(0, len(content), CHUNK):
        levels = np.cumsum(_STEPS[np.frombuffer(content[start : start + CHUNK], np.uint8)], dtype=np.int32)
        deepest = max(deepest, level + int(levels.max()))
        level += int(levels[-1])
    return deepest


def _one_line(detail: str) -> str:
    """msgspec's message without its notation, and without control characters of the content."""
    text = re.sub(r" - at (key in )?`\$\.?(.*)`$", lambda found: f", at {found[1] or ''}{found[2]}", detail)
    text = text.removesuffix(", at ").replace("`", "")
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return text[:1].lower() + text[1:]
