"""Opening the file of a model: only a regular file within its limit, so that nothing waits or reads for ever."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from schemas.errors import StorageError, UnusableFileError, UserError
from schemas.limits import CHECKPOINT_BYTES

NEVER = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.EINVAL)
"""What the system says of a path that will not become a file by itself."""


@contextmanager
def open_model_file(path: Path) -> Iterator[tuple[BufferedIOBase, int]]:
    """Open a file for reading.

    Args:
        path: of the file.

    Yields:
        Its bytes, and their number.

    Raises:
        UserError: the file does not exist.
        UnusableFileError: it is a folder, a pipe, a device, a loop of links, or larger than ``CHECKPOINT_BYTES``.
        StorageError: it cannot be opened or read now.
    """
    try:
        with open(_descriptor(path), "rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        kind = UnusableFileError if error.errno in NEVER else StorageError
        raise kind(f"{path} cannot be read: {error.strerror or error}") from error


def _descriptor(path: Path) -> int:
    try:
        # A pipe without a writer would hold up an open that blocks.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:
        raise UserError(f"{str(path)!r} is not a path") from None
    found = os.fstat(descriptor)
    problem = ""
    if not stat.S_ISREG(found.st_mode):
        problem = f"{path} cannot be read: it is {_kind(found.st_mode)}, not a file"
    elif found.st_size > CHECKPOINT_BYTES:
        problem = f"{path} cannot be read: it has {found.st_size} bytes, and the limit is {CHECKPOINT_BYTES}"
    if problem:
        os.close(descriptor)
        raise UnusableFileError(problem)
    return descriptor


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device"
