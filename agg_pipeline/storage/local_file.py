"""Files of this machine: opened only if they are files, and replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BufferedWriter
from pathlib import Path

from agg_pipeline.storage.attempts import attempt, cause
from agg_pipeline.storage.disk import check_size, open_regular, put, writing
from schemas.errors import StorageError, UnusableFileError
from schemas.words import printable


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
    with open_file(path, limit) as (stream, _):
        return stream.read(limit)


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


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The error for a file or folder that cannot be written, made or deleted."""
    return StorageError(f"cannot write {printable(str(path))}: {cause(error)}")
