"""MATLAB files of level 5 written by hand, so that they can claim what is not there."""

import struct

HEADER = struct.pack("<116s8sHH", b"MATLAB 5.0 MAT-file", bytes(8), 0x0100, 0x4D49)
BIG_HEADER = struct.pack(">116s8sHH", b"MATLAB 5.0 MAT-file", bytes(8), 0x0100, 0x4D49)
EMPTY = struct.pack("<II", 14, 0)
"""An array without content, as MATLAB stores empty cells."""
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 12: 8, 13: 8}
"""Bytes of integers, by the number of their type."""


def element(kind, data, order="<"):
    """A data element, padded to 8 bytes."""
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def sizes_of(sides, kind=5, order="<"):
    """The data element that gives the sides of an array as integers of a type; those that do not fit are cut off."""
    width = WIDTHS[kind]
    way = "little" if order == "<" else "big"
    return element(kind, b"".join((side % (1 << 8 * width)).to_bytes(width, way) for side in sides), order)


def array(kind, shape, name, content, order="<", flags=0, integers=5):
    """An array of a class, with the content that follows its header; its sides are integers of a type."""
    body = element(6, struct.pack(f"{order}II", kind | flags, 0), order)
    body += sizes_of(shape, integers, order)
    body += element(1, name.encode(), order) + content
    return struct.pack(f"{order}II", 14, len(body)) + body


def names(*fields, order="<"):
    """Names of the fields of a struct."""
    joined = b"".join(field.encode().ljust(32, b"\0") for field in fields)
    return element(5, struct.pack(f"{order}i", 32), order) + element(1, joined, order)
