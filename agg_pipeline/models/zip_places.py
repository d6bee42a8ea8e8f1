"""Where the entries of a zip archive of torch are: stored as they are, side by side."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from io import BufferedIOBase

from agg_pipeline.models.inert_pickle import DamagedPickleError
from schemas.limits import PICKLE_BYTES, ZIP_DIRECTORY_BYTES

END = 22
"""Bytes of the record at the end of a zip archive without a comment; torch writes none."""
END_64, LOCATOR_64 = 56, 20
"""Bytes of the records before it where sizes need 64 bits."""
LOCAL_NAME = 26
"""Where the header of an entry gives the lengths of its name and of its extra field."""
LOCAL = 30
"""Bytes of that header."""
PICKLE, SCRIPT = "data.pkl", "constants.pkl"


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a file.

    Args:
        start: first byte.
        nbytes: number of bytes.
        crc: their CRC-32; None if it is unknown.
    """

    start: int
    nbytes: int
    crc: int | None


def zip_places(stream: BufferedIOBase, size: int) -> dict[str, Place]:
    """Find the entries of an archive that torch wrote.

    Args:
        stream: of the archive.
        size: of the archive, in bytes.

    Returns:
        The places by name, without the archive's own folder; one of them is ``data.pkl``.

    Raises:
        DamagedPickleError: the archive is damaged, or is not of the kind that torch writes.
        OSError: the file cannot be read.
    """
    _check_directory(stream, size)
    try:
        entries = zipfile.ZipFile(stream).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as error:
        raise DamagedPickleError("its directory is damaged") from error
    if any(entry.filename.endswith(f"/{SCRIPT}") for entry in entries):
        raise DamagedPickleError("it is a TorchScript archive; save the model's state_dict with torch.save")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise DamagedPickleError("its entries are compressed; save it again with torch.save, which compresses nothing")
    if sum(entry.file_size for entry in entries) > size:
        raise DamagedPickleError("its entries claim more bytes than it has")
    tops = {entry.filename.partition("/")[0] for entry in entries}
    found = {entry.filename.partition("/")[2]: _place(stream, size, entry) for entry in entries}
    if len(tops) != 1 or len(found) < len(entries):
        raise DamagedPickleError("entries of it share a name, or lie in several folders")
    if PICKLE not in found or found[PICKLE].nbytes > PICKLE_BYTES:
        raise DamagedPickleError(f"its entry {PICKLE} is missing or larger than {PICKLE_BYTES} bytes")
    return found


def _check_directory(stream: BufferedIOBase, size: int) -> None:
    """DamagedPickleError if the list of entries, which zipfile reads as a whole, is missing or too long."""
    if size < END:
        raise DamagedPickleError("it is truncated")
    start = max(0, size - END - LOCATOR_64 - END_64)
    stream.seek(start)
    tail = stream.read(size - start)
    nbytes = int.from_bytes(tail[-END + 12 : -END + 16], "little")
    if tail[-END - LOCATOR_64 :].startswith(b"PK\x06\x07") and tail.startswith(b"PK\x06\x06"):
        nbytes = int.from_bytes(tail[40:48], "little")
    if not tail[-END:].startswith(b"PK\x05\x06") or nbytes > min(ZIP_DIRECTORY_BYTES, size):
        raise DamagedPickleError("it is truncated, or its directory is too long")


def _place(stream: BufferedIOBase, size: int, entry: zipfile.ZipInfo) -> Place:
    stream.seek(entry.header_offset + LOCAL_NAME)
    name, extra = struct.unpack("<HH", stream.read(LOCAL - LOCAL_NAME).ljust(4, b"\0"))
    start = entry.header_offset + LOCAL + name + extra
    if start + entry.file_size > size:
        raise DamagedPickleError("it is truncated")
    return Place(start, entry.file_size, entry.CRC)
