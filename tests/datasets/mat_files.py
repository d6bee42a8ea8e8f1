"""MATLAB files of level 5 written by hand, so that they can claim what is not there."""

import struct

HEADER = struct.pack("<116s8sHH", b"MATLAB 5.0 MAT-file", bytes(8), 0x0100, 0x4D49)
BIG_HEADER = struct.pack(">116s8sHH", b"MATLAB 5.0 MAT-file", bytes(8), 0x0100, 0x4D49)


def element(kind, data, order="<"):
    """A data element, padded to 8 bytes."""
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def array(kind, shape, name, content, order="<", flags=0):
    """An array of a class, with the content that follows its header."""
    body = element(6, struct.pack(f"{order}II", kind | flags, 0), order)
    body += element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    body += element(1, name.encode(), order) + content
    return struct.pack(f"{order}II", 14, len(body)) + body


def names(*fields, order="<"):
    """Names of the fields of a struct."""
    joined = b"".join(field.encode().ljust(32, b"\0") for field in fields)
    return element(5, struct.pack(f"{order}i", 32), order) + element(1, joined, order)
