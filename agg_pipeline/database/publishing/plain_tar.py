"""Tar files of regular files with short names (POSIX ustar), as any tar program writes and reads them.

Python's tarfile would follow what a header claims of links, sparse files and extensions. Here, a header names a regular
file, or it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

BLOCK = 512
"""Bytes of a header; every file is filled up to a multiple of them."""
LONGEST = 8**11 - 1
"""Most bytes of a file that a header can say."""
REGULAR = (b"0", b"\0")
"""Kinds of regular files in a header."""
FOLDER = b"5"
"""Kind of folders in a header."""
GNU = b"ustar  \0"
"""How a header of GNU tar says that it is one."""
KINDS = {
    **{b"1": "a hard link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "a sparse file"},
    **dict.fromkeys((b"x", b"g", b"L", b"K", b"X"), "an extension of the format"),
}
"""What else a header may name."""


class TarError(ValueError):
    """A file is no tar file, is cut off, or holds something else than regular files; the message says what."""


@dataclass(frozen=True)
class Entry:
    """A header.

    Attributes:
        name: path of the file.
        size: its bytes.
        is_folder: whether it is a folder, which has no bytes.
    """

    name: str
    size: int
    is_folder: bool = False


def header(name: str, size: int) -> bytes:
    """The header of a file, the same for the same name and size: no owner, no time.

    Args:
        name: path of the file, at most 100 ASCII characters.
        size: its bytes, at most ``LONGEST``.
    """
    block = b"".join(
        (
            name.encode("ascii").ljust(100, b"\0"),
            *(b"0000644\0", b"0000000\0", b"0000000\0"),
            b"%011o\0" % size,
            b"%011o\0" % 0,
            b" " * 8,
            b"0",
            bytes(100),
            b"ustar\0" + b"00",
            bytes(64),
            *(b"0000000\0", b"0000000\0"),
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size: int) -> bytes:
    """What stands behind a file of so many bytes."""
    return bytes(-size % BLOCK)


END = bytes(2 * BLOCK)
"""What stands behind the last file."""


def next_entry(file: IO[bytes]) -> Entry | None:
    """Read the next header; None at the end.

    Args:
        file: the tar file, at the place of a header.

    Raises:
        TarError: there is no header of a regular file or folder.
    """
    block = file.read(BLOCK)
    if len(block) < BLOCK:
        raise TarError("it is cut off")
    if not any(block):
        return None
    if block[257:262] != b"ustar" or _octal(block[148:156]) != sum(block[:148]) + 8 * 32 + sum(block[156:]):
        raise TarError("it is no plain tar file, or a header is damaged")
    parts = [part.split(b"\0")[0] for part in (block[345:500], block[:100])]
    if block[257:265] == GNU:
        # GNU tar keeps times in the place of the first part of a long name.
        parts[0] = b""
    raw = b"/".join(part for part in parts if part)
    name = raw.decode("ascii", errors="backslashreplace")
    kind = block[156:157]
    if kind not in (*REGULAR, FOLDER):
        raise TarError(f"{name} is {KINDS.get(kind, 'no regular file')}")
    return Entry(name, 0 if kind == FOLDER else _octal(block[124:136]), kind == FOLDER)


def content(file: IO[bytes], entry: Entry, size: int) -> Iterator[bytes]:
    """The bytes of the entry whose header was read last, so many at a time; TarError if the file is cut off."""
    left = entry.size
    while left:
        part = file.read(min(size, left))
        if not part:
            raise TarError("it is cut off")
        left -= len(part)
        yield part
    fill = len(padding(entry.size))
    if len(file.read(fill)) < fill:
        raise TarError("it is cut off")


def _octal(digits: bytes) -> int:
    text = digits.strip(b" \0")
    if not text or not set(text) <= set(b"01234567"):
        raise TarError("it is no plain tar file, or a header is damaged")
    return int(text, 8)
