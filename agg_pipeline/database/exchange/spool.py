"""Values that wait in a temporary file, each under a key."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import msgspec

from agg_pipeline.storage.attempts import cause
from schemas.errors import StorageError


class Spool:
    """The file and where each value lies in it.

    Args:
        file: an empty file, open for reading and writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def put(self, key: str, value: Any) -> None:
        """Keep a value that msgspec can write."""
        content = msgspec.msgpack.encode(value)
        try:
            self._places[key] = self._file.seek(0, 2), len(content)
            self._file.write(content)
        except OSError as error:
            raise StorageError(
                f"cannot write a temporary file: {cause(error)}; set TMPDIR to a folder with room"
            ) from error

    def get(self, key: str) -> Any:
        """The value of a key."""
        start, length = self._places[key]
        self._file.seek(start)
        return msgspec.msgpack.decode(self._file.read(length))


@contextmanager
def spool() -> Iterator[Spool]:
    """An empty spool, which is gone when the block is left."""
    with tempfile.TemporaryFile() as file:
        yield Spool(file)
