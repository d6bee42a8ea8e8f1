"""Files of this machine: opened only if they are files, and replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path

from agg_pipeline.storage.attempts import attempt, cause
from agg_pipeline.storage.disk import NO_FILE, check_size, file_in_the_way, open_regular, put, temporary_beside, writing
from schemas.errors import StorageError, UnusableFileError
from schemas.words import printable

IN_PLACE = {errno.ENXIO: NO_FILE, errno.ELOOP: "a link lies there"}
"""What lies in the place of a file that is added to, by the error of opening it."""


@contextmanager
def open_file(path: Path, limit: int) -> Iterator[tuple[BufferedReader, int]]:
    """Open a regular file for reading, without waiting for anybody.

    Args:
        path: of the file.
        limit: most bytes that it may have.

    Yields:
        Its bytes, and their number.

    Raises:
        FileNotFoundError: there is no file.
        UnusableFileError: it is a folder, a pipe, a device, a loop of links, or larger than the limit.
        StorageError: it cannot be opened or read now.
    """
    where = str(path)
    with attempt(printable(where), lambda: open_regular(where)) as stream:
        size = os.fstat(stream.fileno()).st_size
        check_size(where, size, limit)
        try:
            yield stream, size
        except OSError as error:
            if error.errno == errno.EINVAL:
                # The content asked for a place that no file has.
                raise UnusableFileError(printable(where), "is damaged") from error
            raise StorageError(f"cannot read {printable(where)}: {cause(error)}") from error


def read_file(path: Path, limit: int) -> bytes:
    """The bytes of a regular file; raises as ``open_file`` does."""
    with open_file(path, limit) as (stream, size):
        # Not ``limit``: the memory for so many bytes would be asked for.
        return stream.read(size)


@contextmanager
def replacing(path: Path) -> Iterator[BufferedWriter]:
    """Write a file that takes the place of another one when the block is left without an error.

    Args:
        path: of the file.

    Yields:
        The new file, open for writing.

    Raises:
        StorageError: the file cannot be written; what was there before is unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # Not written into: it may be a link that somebody put there.
        temporary.unlink(missing_ok=True)
        with writing(temporary) as file:
            yield file
        put(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in the place of another one.

    Args:
        path: of the file.
        content: its bytes.

    Raises:
        StorageError: the file cannot be written; what was there before is unchanged.
    """
    with replacing(path) as file:
        file.write(content)


@contextmanager
def filled_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a new name, which it changes for its own when the block is left without an error.

    Args:
        path: of the folder, which is missing or empty then.

    Yields:
        The folder under the other name; after an error it is deleted.
    """
    around = [each for each in path.parents if not each.exists()]
    temporary = temporary_beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for each in around:
            with suppress(OSError):
                each.rmdir()
        raise


def open_to_append(path: Path) -> BufferedWriter:
    """Open a regular file to add to its end, without waiting for anybody; it is made if there is none.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be opened, or something else lies in its place. A link is not followed: it could lead to a
            file of somebody else.
    """
    # A pipe would be waited for without O_NONBLOCK.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in IN_PLACE:
            raise OSError(error.errno, IN_PLACE[error.errno]) from error
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.ENXIO, NO_FILE)
    return os.fdopen(number, "ab")


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The error for a file or folder that cannot be written, made or deleted."""
    in_the_way = isinstance(error, FileExistsError | NotADirectoryError) and file_in_the_way(path.parent)
    return StorageError(f"cannot write {printable(str(path))}: {printable(in_the_way or cause(error))}")
