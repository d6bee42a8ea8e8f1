"""Files on an object store, through fsspec."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from agg_pipeline.storage.disk import check_size


@dataclass(frozen=True)
class ObjectStore:
    """The files of an object store, each by its whole path; every method raises what the library raises.

    Attributes:
        filesystem: fsspec's. What it remembers of a folder is dropped before a folder is looked into, because other
            processes write there.
    """

    filesystem: Any

    def read(self, place: str, limit: int) -> bytes:
        """The bytes of a file; UnusableFileError if it has more than the limit, OSError if not all of them came."""
        size = self.size(place)
        check_size(self.filesystem.unstrip_protocol(place), size, limit)
        content = self.read_small(place)
        # Some servers and proxies cut an answer short and give the length of what they send. What was stored
        # compressed may come unpacked, with more bytes.
        if len(content) < size:
            raise OSError(f"only {len(content):,} of {size:,} bytes came")
        return content

    def read_small(self, place: str) -> bytes:
        """The bytes of a file whose size is known."""
        return cast(bytes, self.filesystem.cat_file(place))

    def size(self, place: str) -> int:
        """Bytes of a file."""
        return int(self.filesystem.info(place)["size"] or 0)

    def read_range(self, place: str, start: int, end: int) -> bytes:
        """The bytes of a file from one place to another; OSError if not all of them came."""
        if getattr(self.filesystem, "async_impl", False):
            content = cast(bytes, self.filesystem.cat_file(place, start=start, end=end))
        else:
            # Others open the file for it, and would read ahead.
            with self.filesystem.open(place, "rb", cache_type="none") as file:
                file.seek(start)
                content = file.read(end - start)
        if len(content) != end - start:
            raise OSError(f"only {len(content):,} of {end - start:,} bytes came")
        return content

    def exists(self, place: str) -> bool:
        """Whether there is a file or folder."""
        self.filesystem.invalidate_cache()
        return bool(self.filesystem.exists(place))

    def is_folder(self, place: str) -> bool:
        """Whether there is a folder."""
        return bool(self.filesystem.isdir(place))

    def is_file(self, place: str) -> bool:
        """Whether there is a file."""
        return bool(self.filesystem.isfile(place))

    def below(self, place: str) -> list[str]:
        """All files below a folder."""
        self.filesystem.invalidate_cache()
        return cast(list[str], self.filesystem.find(place))

    def entries(self, place: str) -> list[tuple[str, int | None]]:
        """(name, bytes) of what lies directly in a folder; None for folders."""
        return [
            (_name(item["name"]), None if item["type"] == "directory" else int(item["size"] or 0))
            for item in self._listed(place)
        ]

    def names(self, place: str) -> list[str]:
        """Names of the files and folders directly in a folder."""
        return [_name(item["name"]) for item in self._listed(place)]

    def write(self, place: str, content: bytes) -> None:
        """Put a file in place: one put, which is atomic."""
        self.filesystem.pipe_file(place, content)

    def write_parts(self, place: str, parts: Iterable[bytes]) -> None:
        """Put a file in place that is too large for one put; if that fails, there may be a part of it."""
        with self.filesystem.open(place, "wb") as file:
            for part in parts:
                file.write(part)

    def bring(self, source: str, place: str) -> None:
        """Put a copy of a file in place; the store makes it."""
        self.filesystem.cp_file(source, place)

    def create(self, place: str, content: bytes) -> bool:
        """Put a file in place if there is none, where there are conditional puts; whether this content is there now."""
        try:
            self.filesystem.pipe_file(place, content, mode="create")
        except FileExistsError:
            # An earlier attempt may have succeeded although its answer was lost. s3fs takes a file for missing that
            # it has not listed.
            self.filesystem.invalidate_cache()
            try:
                return self.read_small(place) == content
            except FileNotFoundError:
                return False
        return True

    def overwrite(self, place: str, content: bytes) -> None:
        """Put a file in the place of one that is there."""
        if not self.exists(place):
            raise FileNotFoundError(place)
        self.write(place, content)

    def remove(self, place: str) -> None:
        """Delete a file."""
        self.filesystem.rm_file(place)

    def _listed(self, place: str) -> list[dict[str, Any]]:
        self.filesystem.invalidate_cache()
        listed = cast(list[dict[str, Any]], self.filesystem.ls(place or "/", detail=True))
        found: dict[str, dict[str, Any]] = {}
        for item in listed:
            # Some programs mark a folder by an empty object of its name.
            if not item["size"] and item["name"].strip("/") == place.strip("/"):
                continue
            # A key may be a file, and the beginning of others: the file counts.
            if item["type"] != "directory" or _name(item["name"]) not in found:
                found[_name(item["name"])] = item
        return list(found.values())


def _name(place: str) -> str:
    return place.rstrip("/").rpartition("/")[2]
