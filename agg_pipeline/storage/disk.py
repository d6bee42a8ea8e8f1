"""Files on a disk: reading only regular ones, listing, and writing as a whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from schemas.errors import UnusableFileError
from schemas.words import printable

TEMPORARY = ".tmp-"
"""Beginning of the names of files that are being written."""


def open_regular(place: str) -> BufferedReader:
    """Open a regular file for reading; UnusableFileError if it is a folder, a pipe or a device."""
    # A pipe would be waited for without O_NONBLOCK.
    number = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise UnusableFileError(printable(place), f"is {_kind(mode)}")
    return os.fdopen(number, "rb")


def read_regular(place: str, limit: int) -> bytes:
    """The bytes of a regular file; UnusableFileError if it is none, or has more bytes than the limit."""
    with open_regular(place) as file:
        check_size(place, os.fstat(file.fileno()).st_size, limit)
        return file.read()


def check_size(where: str, size: int, limit: int) -> None:
    """UnusableFileError if a file has more bytes than the limit."""
    if size > limit:
        raise UnusableFileError(printable(where), f"has {size:,} bytes; the limit of such files is {limit:,}")


def is_folder(place: str) -> bool:
    """Whether a file that exists is a folder."""
    return stat.S_ISDIR(Path(place).stat().st_mode)


def file_size(item: os.DirEntry[str]) -> int | None:
    """Bytes of a file in a folder; None for a folder, a link to nothing, and what has gone meanwhile.

    A pipe, a device and a loop of links have 0 bytes.
    """
    try:
        found = item.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        if error.errno == errno.ELOOP:
            return 0
        raise
    if stat.S_ISDIR(found.st_mode):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def files_below(place: str) -> list[str]:
    """All files below a folder; links to folders are not followed."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    return [f"{folder}/{name}" for folder, _, names in os.walk(place, onerror=fail) for name in names]


def broken_link(place: Path) -> str:
    """The link to nothing in a path, at its end or before it, in words; "" if there is none."""
    for each in (place, *place.parents):
        try:
            each.stat()
        except FileNotFoundError:
            if each.is_symlink():
                return f"{each} is a link to {each.readlink()}, which does not exist"
        except OSError:
            # Whoever opens the path says what else is wrong with it.
            continue
    return ""


def replace(place: Path, content: bytes) -> None:
    """Put a file in place as a whole or not at all; nothing is left of a failure."""
    temporary = _written(place, content)
    try:
        temporary.replace(place)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def create(place: Path, content: bytes) -> bool:
    """Put a file in place if there is none; whether it was done."""
    temporary = _written(place, content)
    try:
        place.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError:
        # A file system without links: another run may see the file before its content is there.
        return _created_in_place(place, content)
    finally:
        with suppress(OSError):
            temporary.unlink()
    return True


def overwrite(place: str, content: bytes) -> None:
    """Write over the first bytes of a file that is there."""
    # Not Path.open: it would make a file that another run has removed.
    number = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.pwrite(number, content, 0)
    finally:
        os.close(number)


def _written(place: Path, content: bytes) -> Path:
    """A temporary file beside ``place``, with all of the content on disk; no file if that fails."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        link = broken_link(place.parent)
        if link:
            raise OSError(errno.EEXIST, link) from error
        raise
    temporary = place.with_name(f"{TEMPORARY}{place.name}-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        # What is in the way of writing may also be in the way of cleaning up; the first is the cause.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def _created_in_place(place: Path, content: bytes) -> bool:
    try:
        with place.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _kind(mode: int) -> str:
    """What lies in the place of a file, by its mode."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
