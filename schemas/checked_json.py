"""JSON that somebody else may have written: decoded and checked against a type in one go."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from schemas.errors import UserError
from schemas.limits import JSON_DEPTH, TEXT_LENGTH
from schemas.words import excerpt

T = TypeVar("T")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WITHOUT_NUL = r"^[^\x00]*$"
Name = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH, pattern=WITHOUT_NUL)]
"""An id, a path or a name."""
WITHOUT_CONTROL = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z"
PlainName = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH, pattern=WITHOUT_CONTROL)]
"""An id, a path or a name without control characters and ends of lines, as names of files must be."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""How many there are."""
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?Infinity|NaN', re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
_ATOMS = (str, int, float, type(None), msgspec.Raw)


class JsonError(UserError):
    """A document cannot be used.

    Attributes:
        where: the document, as its path.
        problem: what is wrong, as it follows the document's name in the message: ``: expected int, got str, at id``.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}{self.problem}"

    @property
    def said(self) -> str:
        """What is wrong, for a message that has named the document."""
        return self.problem.lstrip(": ")


class MismatchError(JsonError):
    """A document is JSON, but of another type."""


def decode(content: bytes | str, kind: type[T], what: str, strict: bool = True) -> T:
    """Decode JSON and check it against a type.

    Integers may not be given as fractions, truth values or texts; NaN, infinity, lone surrogates and numbers out of
    range are refused. Unknown keys are ignored; of keys that occur twice, the last one counts.

    Args:
        content: the JSON document, UTF-8; it may begin with a byte order mark.
        kind: any type that msgspec knows: a dataclass, a TypedDict, a built-in; ``Annotated`` with ``msgspec.Meta``
            gives ranges.
        what: the document in an error message, as its path.
        strict: whether "1" and 1.0 are no integers; if not, they are 1.

    Returns:
        The value.

    Raises:
        JsonError: the content is not JSON, or nested deeper than ``limits.JSON_DEPTH``; MismatchError: it is not of
            this type.
    """
    try:
        data = (content.encode() if isinstance(content, str) else content).removeprefix(BYTE_ORDER_MARK)
        value = msgspec.json.decode(data, type=kind, strict=strict)
    except msgspec.ValidationError as error:
        raise MismatchError(what, f": {_one_line(str(error))}") from None
    except msgspec.DecodeError as error:
        detail = str(error).removeprefix("JSON is malformed: ")
        raise JsonError(what, f" is not JSON: {_one_line(detail)}") from None
    except UnicodeError:
        raise JsonError(what, " is not JSON: it is not UTF-8") from None
    except RecursionError:
        raise _too_deep(what) from None
    # Few brackets need no further look.
    if data.count(b"[") + data.count(b"{") > JSON_DEPTH and not _is_shallow(value):
        raise _too_deep(what)
    return value


def checked(value: Any, kind: type[T], what: str) -> T:
    """Check a value of plain types against a type, as ``decode`` does with that of a document.

    Args:
        value: dicts, lists, texts, numbers, truth values and None; where the type is ``Any``, anything.
        kind, what: as for ``decode``.

    Returns:
        The value as that type.

    Raises:
        MismatchError: the value is not of this type.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise MismatchError(what, f": {_one_line(str(error))}") from None


def mended(content: bytes) -> bytes:
    """A document without what Python's json writes although JSON does not have it.

    NaN and infinity become null, and lone surrogates become NUL, which no name may hold, so that a check finds the
    value that holds them and not the document.
    """
    return _TOKEN.sub(_mended_token, content)


def _mended_token(found: re.Match[bytes]) -> bytes:
    if not found[0].startswith(b'"'):
        return b"null"
    return _ESCAPE.sub(lambda escape: rb"\u0000" if escape[1] else escape[0], found[0])


def _too_deep(what: str) -> JsonError:
    return JsonError(what, f" is nested deeper than {JSON_DEPTH} levels")


def _is_shallow(value: Any) -> bool:
    """Whether a value is nested as little as may be, so that no function that recurs over it runs out of stack."""
    level = [value]
    for _ in range(JSON_DEPTH):
        level = [inner for each in level for inner in _inside(each) if not isinstance(inner, _ATOMS)]
        if not level:
            return True
    return False


def _inside(value: Any) -> Iterable[Any]:
    """The values in a value."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    return [getattr(value, each.name) for each in fields(value)] if is_dataclass(value) else ()


def _one_line(detail: str) -> str:
    """msgspec's message without its notation, printable and short."""
    text = re.sub(r" - at (key in )?`\$\.?(.*)`$", lambda found: f", at {found[1] or ''}{found[2]}", detail)
    text = text.removesuffix(", at ").replace("`", "")
    for pattern, without in ((WITHOUT_NUL, "NUL"), (WITHOUT_CONTROL, "control characters")):
        text = text.replace(f"matching regex {pattern!r}", f"without {without} and lone surrogates")
    return excerpt(text[:1].lower() + text[1:])
