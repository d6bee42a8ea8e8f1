"""Files on a disk: reading only regular ones, listing, and writing as a whole or not at all.

``Disk`` is what a ``Store`` needs of a disk; the functions are also for files whose place is known to be on one.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from pathlib import Path

from schemas.errors import UnusableFileError
from schemas.words import printable

TEMPORARY = ".tmp-"
"""Beginning of the names of files that are being written."""
NO_FILE = "a device or a pipe lies there"
"""What keeps a file from being written."""
FOLDER, GONE = -1, -2
"""What stands for the size of something that is no file."""


@dataclass(frozen=True)
class Disk:
    """The files of this machine, each by its whole path; every method raises what the system raises."""

    def read(self, place: str, limit: int) -> bytes:
        """The bytes of a regular file."""
        return read_regular(place, limit)

    def open(self, place: str) -> BufferedReader:
        """A regular file opened for reading."""
        return open_regular(place)

    def exists(self, place: str) -> bool:
        """Whether there is a file or folder."""
        Path(place or "/").stat()
        return True

    def is_folder(self, place: str) -> bool:
        """Whether there is a folder."""
        return stat.S_ISDIR(Path(place or "/").stat().st_mode)

    def is_file(self, place: str) -> bool:
        """Whether there is something that is no folder."""
        return not self.is_folder(place)

    def is_link(self, place: str) -> bool:
        """Whether there is a link, even to nothing."""
        return Path(place).is_symlink()

    def below(self, place: str) -> list[str]:
        """All files below a folder; links to folders are not followed."""

        def fail(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise error

        return [f"{folder}/{name}" for folder, _, names in os.walk(place, onerror=fail) for name in names]

    def entries(self, place: str) -> list[tuple[str, int | None]]:
        """(name, bytes) of what lies directly in a folder; None for folders, 0 for pipes, devices, loops of links."""
        # fsspec makes a dict of a kilobyte for every file, too much for a folder of a million.
        with os.scandir(place or "/") as found:
            sizes = ((item.name, _size(item)) for item in found)
            return [(name, None if size == FOLDER else size) for name, size in sizes if size != GONE]

    def names(self, place: str) -> list[str]:
        """Names of the files and folders directly in a folder."""
        return [item.name for item in Path(place or "/").iterdir()]

    def write(self, place: str, content: bytes) -> None:
        """Put a file in place: an attempt-unique temporary name, flushed, then a rename."""
        temporary = _temporary(place)
        with writing(temporary) as file:
            file.write(content)
        put(temporary, Path(place))

    def write_parts(self, place: str, parts: Iterable[bytes]) -> None:
        """Put a file in place, as ``write`` does, whose bytes are not all in memory."""
        temporary = _temporary(place)
        with writing(temporary) as file:
            for part in parts:
                file.write(part)
        put(temporary, Path(place))

    def bring(self, source: str, place: str) -> None:
        """Put a file in place that is there under another name, by a rename."""
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(source).replace(place)

    def create(self, place: str, content: bytes) -> bool:
        """Put a file in place if there is none; whether it was done."""
        temporary = _temporary(place)
        with writing(temporary) as file:
            file.write(content)
        try:
            Path(place).hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:
            # A file system without links: another run may see the file before its content is there.
            return _created_in_place(Path(place), content)
        finally:
            discard(temporary)
        return True

    def overwrite(self, place: str, content: bytes) -> None:
        """Write over the first bytes of a file that is there."""
        # Not Path.open: it would make a file that another run has removed.
        number = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.pwrite(number, content, 0)
        finally:
            os.close(number)

    def remove(self, place: str) -> None:
        """Delete a file."""
        Path(place).unlink()


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


@contextmanager
def writing(temporary: Path) -> Iterator[BufferedWriter]:
    """Write a new file, all of which is on the disk when the block is left; after an error there is no file."""
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        discard(temporary)
        raise


def put(temporary: Path, place: Path) -> None:
    """Rename a file that was written under a temporary name; it is deleted if that fails.

    A device or a pipe is not replaced: other programs need it.
    """
    try:
        if place.exists() and not (place.is_file() or place.is_dir()):
            raise OSError(errno.ENXIO, NO_FILE)
        temporary.replace(place)
    except BaseException:
        discard(temporary)
        raise


def discard(temporary: Path) -> None:
    """Delete a temporary file."""
    # What is in the way of writing is also in the way of deleting; the first error is the one to report.
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def _temporary(place: str) -> Path:
    """A new name beside a file, in a folder that is there."""
    target = Path(place)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        said = broken_link(target.parent) or file_in_the_way(target.parent)
        if said:
            raise OSError(errno.EEXIST, said) from error
        raise
    return temporary_beside(target)


def temporary_beside(place: Path) -> Path:
    """A name beside a file or folder that nobody else has."""
    return place.with_name(f"{TEMPORARY}{place.name}-{uuid.uuid4().hex}")


def _created_in_place(place: Path, content: bytes) -> bool:
    try:
        with place.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _size(item: os.DirEntry[str]) -> int:
    """Bytes of a file in a folder; or that it is a folder, or is a link to nothing or has gone meanwhile."""
    try:
        found = item.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return GONE
        if error.errno == errno.ELOOP:
            return 0
        raise
    if stat.S_ISDIR(found.st_mode):
        return FOLDER
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


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


def file_in_the_way(folder: Path) -> str:
    """The file in the place of a folder or of one that it lies in, in words; "" if there is none."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    return f"{there} is a file, not a folder" if there.is_file() else ""


def _kind(mode: int) -> str:
    """What lies in the place of a file, by its mode."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
