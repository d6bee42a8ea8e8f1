"""Writing files as torch does, with the true cause of a failure."""

from __future__ import annotations

from io import BufferedWriter
from pathlib import Path
from typing import IO, Any, cast

import torch

from agg_pipeline.storage.local_file import replacing


def write_stored(path: Path, content: Any) -> None:
    """Replace a file by what torch writes for a content, as a whole or not at all.

    Args:
        path: of the file.
        content: nested dicts, lists and tuples of tensors and plain values.

    Raises:
        StorageError: the file cannot be written.
    """
    failed: list[OSError] = []
    with replacing(path) as file:
        try:
            torch.save(content, cast(IO[bytes], _Remembering(file, failed)))
        except RuntimeError as error:
            # torch reports a failed write in words of its own.
            raise (failed[0] if failed else OSError(str(error))) from error


class _Remembering:
    """A file that keeps an error of writing.

    Args:
        file: the file.
        failed: where the error is put.
    """

    def __init__(self, file: BufferedWriter, failed: list[OSError]) -> None:
        self._file = file
        self._failed = failed
        self.flush = file.flush

    def write(self, content: bytes) -> int:
        """Write to the file."""
        try:
            return self._file.write(content)
        except OSError as error:
            self._failed.append(error)
            raise
