"""Replacing a file of this machine as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path

from schemas.errors import StorageError


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
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            # Where nothing can be written, nothing can be deleted either; the first error is the one to report.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


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
