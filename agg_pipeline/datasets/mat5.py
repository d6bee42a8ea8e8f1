"""Reading MATLAB files of level 5 (versions 5 to 7.2), as far as annotations need it: numbers, texts, cells, structs.

Every size that a file claims is compared with the bytes that are there before memory is taken for it. SciPy's reader
trusts such sizes, and broken files crash it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import limits

HEADER = 128
"""Bytes of the header: a text, and in the last four the version and the order of bytes."""
ORDERS = {b"IM": "<", b"MI": ">"}
"""Order of bytes of numbers, by the mark in the header."""
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of numbers, by the number of the type of a data element."""
MATRIX, COMPRESSED = 14, 15
"""Other types of data elements: an array, and a compressed element."""
CELL, STRUCT, TEXT, OPAQUE = 1, 2, 4, 17
"""Classes of arrays. An opaque one, such as a string or a table of MATLAB, has no size, and a layout of its own."""
NUMERIC = range(6, 16)
"""Classes of arrays of numbers."""
MOST_AXES = 32
"""Most axes of an array, as in NumPy before version 2."""
NAME_LENGTH = 64
"""Longest name of a variable or a field, with the NUL behind it; MATLAB cuts off what is longer."""
COMPLEX = 0x0800
"""Flag of an array of complex numbers."""


class MatError(Exception):
    """A file is not of level 5, is broken, or is larger than annotations are; the message says how."""


@dataclass
class _Budget:
    """What is left of a file's limits; each part of the file is counted before memory is taken for it."""

    arrays: int
    characters: int
    content: int

    def take_arrays(self, count: int) -> None:
        self.arrays -= count
        if self.arrays < 0:
            raise MatError(f"it has more than {limits.MAT_ARRAYS:,} arrays")

    def take_characters(self, count: int) -> None:
        self.characters -= count
        if self.characters < 0:
            raise MatError(f"its texts have more than {limits.MAT_TEXT_LENGTH:,} characters")


@dataclass(frozen=True)
class _Element:
    """A data element: its type, and its bytes."""

    kind: int
    data: memoryview


def read_variable(content: bytes, name: str) -> Any:
    """Read one variable of a file.

    Args:
        content: bytes of the file.
        name: name of the variable.

    Returns:
        As ``scipy.io.loadmat`` gives it: numbers as an array of the type that is stored; a text as an array of strings;
        cells as an array of objects, a struct as a structured array of objects. None in the place of what is none of
        these: sparse and complex arrays, objects, functions.

    Raises:
        MatError: the file is broken or too large.
        KeyError: it has no such variable.
    """
    if len(content) < HEADER or content[126:128] not in ORDERS:
        raise MatError("it has no header of level 5")
    order = ORDERS[content[126:128]]
    budget = _Budget(limits.MAT_ARRAYS, limits.MAT_TEXT_LENGTH, limits.MAT_CONTENT_BYTES)
    for element in _elements(memoryview(content)[HEADER:], order):
        budget.take_arrays(1)
        inner = _inflated(element, order, budget) if element.kind == COMPRESSED else element
        if inner.kind != MATRIX:
            raise MatError(f"it has an element of type {inner.kind} in the place of a variable")
        parts = _elements(inner.data, order)
        header = _header(parts, order)
        if header.name == name:
            return _value(header, parts, order, budget, 0)
    raise KeyError(name)


@dataclass(frozen=True)
class _Header:
    """What comes before the content of an array.

    Attributes:
        kind: class of the array.
        is_complex: whether it holds complex numbers.
        shape: its size.
        name: name of the variable; "" in a cell or a field.
    """

    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """The data elements that follow each other in some bytes."""
    place = 0
    while place < len(data):
        if place + 8 > len(data):
            raise MatError("it ends inside an element")
        kind, size = (int(number) for number in np.frombuffer(data[place : place + 8], f"{order}u4"))
        if kind >> 16:
            # Up to four bytes are stored in the tag itself.
            kind, size, start, step = kind & 0xFFFF, kind >> 16, place + 4, 8
            if size > 4:
                raise MatError("it has a short element of more than 4 bytes")
        else:
            start = place + 8
            step = 8 + (size if kind in (MATRIX, COMPRESSED) else size + -size % 8)
        if start + size > len(data):
            raise MatError("it ends inside an element")
        yield _Element(kind, data[start : start + size])
        place += step


def _inflated(element: _Element, order: str, budget: _Budget) -> _Element:
    """The element inside a compressed one."""
    packer = zlib.decompressobj()
    try:
        # One byte more than is allowed: 0 would mean no limit.
        data = packer.decompress(element.data, budget.content + 1)
    except zlib.error as error:
        raise MatError(f"its compressed data are broken: {error}") from None
    if len(data) > budget.content or packer.unconsumed_tail:
        raise MatError(f"it has more than {limits.MAT_CONTENT_BYTES:,} bytes when it is decompressed")
    if not packer.eof:
        raise MatError("its compressed data are cut off")
    budget.content -= len(data)
    return _next(_elements(memoryview(data), order))


def _next(parts: Iterator[_Element]) -> _Element:
    element = next(parts, None)
    if element is None:
        raise MatError("an array of it lacks its content")
    return element


def _numbers(element: _Element, order: str) -> NDArray[Any]:
    if element.kind not in NUMBERS:
        raise MatError(f"it has an element of type {element.kind} in the place of numbers")
    kind = np.dtype(f"{order}{NUMBERS[element.kind]}")
    if len(element.data) % kind.itemsize:
        raise MatError("it has an element of a broken size")
    return np.frombuffer(element.data, kind)


def _header(parts: Iterator[_Element], order: str) -> _Header:
    flags = _numbers(_next(parts), order)
    if len(flags) < 1 or flags.dtype.kind != "u":
        raise MatError("an array of it has no class")
    flag = int(flags[0])
    shape = () if flag & 0xFF == OPAQUE else _shape(_numbers(_next(parts), order))
    name = bytes(_next(parts).data[:NAME_LENGTH]).rstrip(b"\0").decode("latin-1")
    return _Header(flag & 0xFF, bool(flag & COMPLEX), shape, name)


def _shape(sizes: NDArray[Any]) -> tuple[int, ...]:
    """The size of an array, which is small enough for NumPy even where the array is empty."""
    if sizes.dtype.kind not in "iu":
        raise MatError("an array of it has no size")
    shape = tuple(int(size) for size in sizes[:MOST_AXES])
    if not 2 <= len(sizes) <= MOST_AXES or min(shape) < 0:
        raise MatError(f"an array of it has the size {'x'.join(map(str, shape[:4]))}")
    if math.prod(max(side, 1) for side in shape) > limits.MAT_ELEMENTS:
        limit = f"the limit is {limits.MAT_ELEMENTS:,} elements, where a side of 0 counts as 1"
        raise MatError(f"an array of it has the size {'x'.join(map(str, shape[:4]))}; {limit}")
    return shape


def _value(header: _Header, parts: Iterator[_Element], order: str, budget: _Budget, depth: int) -> Any:
    """The array behind a header."""
    count = math.prod(header.shape)
    if depth > limits.MAT_DEPTH:
        raise MatError(f"its cells are nested more than {limits.MAT_DEPTH} deep")
    if header.kind in NUMERIC and not header.is_complex:
        return _shaped(_numbers(_next(parts), order), header.shape)
    if header.kind == TEXT:
        return _text(_next(parts), header.shape, order, budget)
    if header.kind == CELL:
        budget.take_arrays(count)
        cells = np.empty(count, object)
        for number in range(count):
            cells[number] = _nested(_next(parts), order, budget, depth)
        return cells.reshape(header.shape, order="F")
    if header.kind == STRUCT:
        names = _field_names(parts, order)
        # The structs and their fields are arrays; the names alone take as much memory as one more struct.
        budget.take_arrays((count + 1) * (len(names) + 1))
        structs = np.empty(count, [(name, object) for name in names])
        for number in range(count):
            for name in names:
                structs[name][number] = _nested(_next(parts), order, budget, depth)
        return structs.reshape(header.shape, order="F")
    return None


def _nested(element: _Element, order: str, budget: _Budget, depth: int) -> Any:
    if element.kind != MATRIX:
        raise MatError(f"it has an element of type {element.kind} in the place of an array")
    if not len(element.data):
        return np.empty((1, 0))
    parts = _elements(element.data, order)
    return _value(_header(parts, order), parts, order, budget, depth + 1)


def _shaped(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if len(values) != math.prod(shape):
        raise MatError(f"an array of it has the size {'x'.join(map(str, shape))}, but {len(values)} numbers")
    return values.reshape(shape, order="F")


def _text(element: _Element, shape: tuple[int, ...], order: str, budget: _Budget) -> NDArray[np.str_]:
    """A text as an array of strings; its last axis are the characters."""
    count = math.prod(shape)
    budget.take_characters(count)
    budget.take_arrays(math.prod(shape[:-1]))
    if len(element.data) > 4 * count:
        raise MatError(f"a text of it has the size {'x'.join(map(str, shape))}, but {len(element.data)} bytes")
    letters = _letters(element, count, order)
    if len(letters) != count:
        raise MatError(f"a text of it has the size {'x'.join(map(str, shape))}, but {len(letters)} characters")
    if not letters:
        return np.empty(shape[:-1] if shape[-1] == 0 and 0 not in shape[:-1] else (0,), "U1")
    lines = np.array(letters).reshape(shape, order="F").reshape(-1, shape[-1])
    return np.array([_whole("".join(line)) for line in lines]).reshape(shape[:-1])


def _letters(element: _Element, count: int, order: str) -> list[str]:
    """The characters of a text, ``count`` of them if the text is sound: MATLAB counts two for those above U+FFFF.

    What is in no encoding becomes lone surrogates, so that it matters only to whoever uses the text.
    """
    wide = "le" if order == "<" else "be"
    try:
        if element.kind in (4, 17):
            text = str(element.data, f"utf-16-{wide}", "surrogatepass")
        elif element.kind == 18:
            text = str(element.data, f"utf-32-{wide}", "surrogatepass")
        elif element.kind in (1, 2, 16):
            text = str(element.data, "utf-8", "surrogateescape")
        else:
            raise MatError("it has a text of an unknown encoding")
    except UnicodeDecodeError:
        raise MatError("it has a text of a broken size") from None
    if len(text) == count:
        return list(text)
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    return [chr(unit) for unit in units]


def _whole(line: str) -> str:
    """A text in which the halves of characters above U+FFFF are one again."""
    return line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _field_names(parts: Iterator[_Element], order: str) -> list[str]:
    """Names of the fields of a struct."""
    length = _numbers(_next(parts), order)
    data = _next(parts).data
    if len(length) != 1 or not 1 <= length[0] <= NAME_LENGTH or len(data) % int(length[0]):
        raise MatError("a struct of it has no names of fields")
    width = int(length[0])
    if len(data) > limits.MAT_FIELDS * width:
        raise MatError(f"a struct of it has {len(data) // width:,} fields; the limit is {limits.MAT_FIELDS:,}")
    joined = bytes(data)
    names = [joined[start : start + width].split(b"\0")[0].decode("latin-1") for start in range(0, len(joined), width)]
    if len(set(names)) < len(names) or "" in names:
        raise MatError("a struct of it has fields of the same name")
    return names
