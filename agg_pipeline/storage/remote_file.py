"""A file of an object store that is read in ranges, each of which is fetched once."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

WHOLE = 1 << 18
"""Bytes up to which a file is fetched as a whole when it is opened: a request takes longer than these."""
BLOCK = 1 << 16
"""Fewest bytes that a request asks for, and most bytes between two ranges that are fetched as one."""
STREAM_BLOCK = 1 << 23
"""Fewest bytes that a request asks for where a file is read from its beginning to its end."""
REQUESTS = 8
"""Ranges that are fetched at a time."""


class RemoteFile(io.RawIOBase):
    """A file opened for reading; what was fetched of it is kept until it is closed.

    Its end is fetched at once, because that of a Parquet file says where its columns lie.

    Args:
        size: bytes of the file.
        fetch: gives the bytes from one place to another.
        stream: whether it is read from its beginning to its end: its end is not fetched at once, and what was read is
            forgotten.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], bytes], stream: bool = False) -> None:
        super().__init__()
        self._size, self._fetch, self._place, self._stream = size, fetch, 0, stream
        self._parts: dict[int, bytes] = {}
        if size and not stream:
            self.prefetch([(0 if size <= WHOLE else size - BLOCK, size)])

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from any place."""
        return True

    def tell(self) -> int:
        """The place that is read next."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, as any file does."""
        self._place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence])
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, as any file gives them; those that are missing are fetched."""
        end = self._size if size is None or size < 0 else min(self._size, self._place + size)
        start = self._place
        if start >= end:
            return b""
        if any(self._missing(start, end)):
            block = STREAM_BLOCK if self._stream else BLOCK
            self.prefetch([(start, min(self._size, max(end, start + block)))])
        content = b"".join(self._kept(start, end))
        self._place = end
        if self._stream:
            self._parts = {first: part for first, part in self._parts.items() if first + len(part) > end}
        return content

    def readall(self) -> bytes:
        """All bytes from the place on."""
        return self.read()

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch what is missing of several ranges, several at a time; ranges that lie close together are one.

        Args:
            ranges: first place of each, and the place behind it.
        """
        close: list[tuple[int, int]] = []
        for start, end in sorted((max(0, start), min(end, self._size)) for start, end in ranges):
            if close and start - close[-1][1] <= BLOCK:
                close[-1] = close[-1][0], max(close[-1][1], end)
            else:
                close.append((start, end))
        missing = [each for start, end in close for each in self._missing(start, end)]
        if len(missing) == 1:
            parts = [self._fetch(*missing[0])]
        else:
            with ThreadPoolExecutor(REQUESTS) as pool:
                parts = list(pool.map(lambda each: self._fetch(*each), missing))
        self._parts |= {start: part for (start, _), part in zip(missing, parts, strict=True)}

    def _missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """The ranges of a range that were not fetched."""
        found = []
        for first in sorted(self._parts):
            last = first + len(self._parts[first])
            if last > start and first < end:
                if start < first:
                    found.append((start, first))
                start = last
        return [*found, (start, end)] if start < end else found

    def _kept(self, start: int, end: int) -> Iterable[bytes]:
        """The bytes of a range that was fetched."""
        for first in sorted(self._parts):
            part = self._parts[first]
            if first < end and first + len(part) > start:
                yield part[max(0, start - first) : end - first]
