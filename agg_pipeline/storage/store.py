"""Files through fsspec: the one place that knows the difference between a disk and an object store.

A file that cannot be read at the moment (no permission, a lost mount, no network) is tried again several times; writing
is tried again on object stores. Then a ``StorageError`` stops the run; it says nothing about the file. A file that is
not there is a ``FileNotFoundError``, and what can never be read as a file is an ``UnusableFileError``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from agg_pipeline.storage import attempts
from agg_pipeline.storage.attempts import attempt, cause
from agg_pipeline.storage.disk import Disk
from agg_pipeline.storage.object_store import ObjectStore
from agg_pipeline.storage.remote_file import RemoteFile
from schemas import limits
from schemas.checked_json import checked, decode
from schemas.errors import StorageError, UnusableFileError, UserError
from schemas.words import plural, printable

T = TypeVar("T")
_OPENED: set[Any] = set()
"""Every file system that was opened, which fsspec keeps as well. In a copy of this process (fork), fsspec forgets them;
if they were then deleted, they would close the connections of the original process, with errors."""
REQUESTS = 32
"""Files of an object store that are read at a time: each waits for the network most of the time."""


@dataclass(frozen=True)
class Store:
    """A folder on any file system that fsspec knows; paths are relative to it, with ``/``."""

    url: str

    def _open(self) -> tuple[Disk | ObjectStore, str]:
        """The file system, and the folder's place in it."""
        try:
            filesystem, root = fsspec.core.url_to_fs(self.url)
        except Exception as error:
            # Each of fsspec's many file systems raises errors of its own; some open an archive, or ask a server.
            raise UserError(f"cannot open {printable(self.url)}: {cause(error)}") from error
        if isinstance(filesystem, LocalFileSystem):
            return Disk(), root.rstrip("/")
        if filesystem.cachable:
            _OPENED.add(filesystem)
        return ObjectStore(filesystem), root.rstrip("/")

    def _named(self, path: str) -> str:
        """A path for a message."""
        return printable(f"{self.url}/{path}".rstrip("/"))

    def _attempt(self, path: str, action: Callable[[Disk | ObjectStore, str], T], doing: str = "read") -> T:
        """Read or look up something, several times if need be.

        Args:
            path: path of the file or folder.
            action: what is done, with the file system and the place in it.
            doing: what is done, for messages.
        """
        files, root = self._open()
        place = f"{root}/{path}".rstrip("/")
        return attempt(self._named(path), lambda: action(files, place), doing, disk=isinstance(files, Disk))

    def _change(self, path: str, action: Callable[[Disk | ObjectStore, str], T], doing: str = "write") -> T:
        """Change a file; whatever is in the way is a StorageError. On a disk there is one attempt."""
        files, root = self._open()
        disk = isinstance(files, Disk)
        pauses = () if disk else attempts.PAUSES
        try:
            return attempt(self._named(path), lambda: action(files, f"{root}/{path}"), doing, pauses, disk)
        except (FileNotFoundError, UnusableFileError) as error:
            raise StorageError(f"cannot {doing} {self._named(path)}: {cause(error.__cause__ or error)}") from error

    def is_local(self) -> bool:
        """Whether it is a folder of this machine's file system."""
        return isinstance(self._open()[0], Disk)

    def anchored(self) -> Store:
        """The same folder for processes with another working directory, as the workers of an existing cluster are."""
        files, root = self._open()
        return Store(root or "/") if isinstance(files, Disk) else self

    def lies_in(self, other: Store) -> bool:
        """Whether it is another folder, or one in it, wherever links lead."""
        (files, place), (others, around) = self._resolved(), other._resolved()
        return files == others and place.startswith(around)

    def _resolved(self) -> tuple[Disk | ObjectStore, str]:
        files, root = self._open()
        return files, (os.path.realpath(root or "/") if isinstance(files, Disk) else root).rstrip("/") + "/"

    def below(self, path: str) -> Store:
        """The store of a folder inside this one."""
        return Store(f"{self.url.rstrip('/')}/{path}")

    def above(self) -> Store | None:
        """The store of the folder around this one, None at the top."""
        parent, _, name = self.url.rstrip("/").rpartition("/")
        return Store(parent) if parent and name and not parent.endswith(("/", ":")) else None

    @classmethod
    def of_file(cls, path: str) -> tuple[Store, str]:
        """The store of the folder that a file lies in, and the file's name."""
        folder, slash, name = path.rpartition("/")
        return cls(folder or slash or "."), name

    def beside(self, name: str) -> Store:
        """The store of a folder next to this one."""
        above = self.above()
        return Store(name) if above is None else above.below(name)

    def read(self, path: str, limit: int = limits.FILE_BYTES) -> bytes:
        """The bytes of a file.

        Args:
            path: path of the file.
            limit: most bytes that it may have.

        Raises:
            FileNotFoundError: there is no such file.
            UnusableFileError: it is no regular file, or it is too large.
            StorageError: it cannot be read now.
        """
        return self._attempt(path, lambda files, place: files.read(place, limit))

    def read_listed(self, path: str, limit: int = limits.FILE_BYTES, size: int = 0) -> bytes:
        """The bytes of a file that was there when its folder was listed; the errors are those of ``read``.

        Args:
            path: path of the file.
            limit: most bytes that it may have.
            size: bytes that it had then; 0 if that is not known.

        Raises:
            StorageError: also if the file is gone or has another size, because another process may see it, or this one
                later.
        """
        for pause in (*attempts.PAUSES, None):
            try:
                content = self.read(path, limit)
            except FileNotFoundError:
                now = "is not there now"
            else:
                if not size or len(content) == size:
                    return content
                now = f"has {plural(len(content), 'byte')} now instead of {size}"
            if pause is not None:
                time.sleep(pause)
        raise StorageError(f"{self._named(path)} was there when its folder was listed, and {now}")

    def read_all(self, paths: Sequence[str], limit: int = limits.FILE_BYTES) -> Iterator[bytes]:
        """The bytes of many files, in their order; the errors are those of ``read``.

        On an object store, their sizes are not looked up: the caller knows them from ``listing``.
        """
        files, _ = self._open()
        if isinstance(files, Disk):
            for path in paths:
                yield self._attempt(path, lambda files, place: files.read(place, limit))
            return

        def fetch(path: str) -> bytes:
            return self._attempt(path, lambda _, place: files.read_small(place))

        with ThreadPoolExecutor(REQUESTS) as pool:
            yield from pool.map(fetch, paths)

    def open(self, path: str, stream: bool = False) -> IO[bytes]:
        """A file opened for reading, to be closed by the caller; the errors are those of ``read``.

        One of an object store is fetched in the ranges that are read, each once.

        Args:
            path: path of the file.
            stream: whether it is read from its beginning to its end; then little of it is in memory.
        """
        files, _ = self._open()
        if isinstance(files, Disk):
            return self._attempt(path, lambda _, place: files.open(place))

        def fetch(start: int, end: int) -> bytes:
            return self._attempt(path, lambda _, place: files.read_range(place, start, end))

        size = self._attempt(path, lambda _, place: files.size(place))
        return cast(IO[bytes], RemoteFile(size, fetch, stream))

    def exists(self, path: str = "") -> bool:
        """Whether there is such a file or folder; StorageError if that cannot be found out."""
        try:
            return self._attempt(path, lambda files, place: files.exists(place))
        except (FileNotFoundError, UnusableFileError):
            return False

    def is_file(self) -> bool:
        """Whether there is a file in the place of the folder."""
        try:
            return self._attempt("", lambda files, place: files.is_file(place))
        except (FileNotFoundError, UnusableFileError):
            return False

    def is_taken(self, path: str) -> bool:
        """Whether there is something of this name on a disk, even a link to nothing."""
        return self._attempt(path, lambda files, place: isinstance(files, Disk) and os.path.lexists(place))

    def files(self, folder: str = "") -> list[str]:
        """All files below a folder, sorted; empty if there is no such folder. Links to folders are not followed."""
        _, root = self._open()
        try:
            found = self._attempt(folder, lambda files, place: files.below(place))
        except FileNotFoundError:
            return []
        return sorted(path.removeprefix(root).lstrip("/") for path in found)

    def listing(self, folder: str) -> list[tuple[str, int]]:
        """(name, bytes) of the files directly in a folder, in no order; none if there is no such folder.

        What lies in the place of a file (a pipe, a device, a loop of links) is listed with 0 bytes, so that reading it
        says what it is. Names that are not UTF-8 have surrogates, as everywhere in Python.
        """
        return [(name, size) for name, size in self.entries(folder) if size is not None]

    def entries(self, folder: str) -> list[tuple[str, int | None]]:
        """As ``listing``, with the folders directly in the folder, too; None stands for their sizes."""
        try:
            return self._attempt(folder, lambda files, place: files.entries(place))
        except FileNotFoundError:
            return []

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders directly in a folder, sorted; none if there is no such folder."""
        try:
            return sorted(self._attempt(folder, lambda files, place: files.names(place)))
        except FileNotFoundError:
            return []

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted, without hidden ones; none if there is no such folder."""

        def is_folder(name: str) -> bool:
            return self._attempt(f"{folder}/{name}", lambda files, place: files.is_folder(place))

        return [name for name in self.names(folder) if not name.startswith(".") and is_folder(name)]

    def sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """Bytes of those of the files that are there; each of their folders is listed once."""
        wanted = set(paths)
        folders = sorted({path.rpartition("/")[0] for path in wanted})
        found = {f"{folder}/{name}".lstrip("/"): size for folder in folders for name, size in self.listing(folder)}
        return {path: found[path] for path in wanted & found.keys()}

    def write(self, path: str, content: bytes) -> None:
        """Put a file in place as a whole or not at all.

        Raises:
            StorageError: the disk is full, there is no permission, or the store does not answer; no file is left.
        """
        self._change(path, lambda files, place: files.write(place, content))

    def write_parts(self, path: str, parts: Callable[[], Iterable[bytes]]) -> None:
        """Put a file in place whose bytes are not all in memory.

        Args:
            path: path of the file.
            parts: gives the bytes, at every attempt anew.

        Raises:
            StorageError: as ``write``. On an object store a part of the file may be left.
        """
        self._change(path, lambda files, place: files.write_parts(place, parts()))

    def create(self, path: str, content: bytes) -> bool:
        """Put a file in place only if there is none; whether this content is there now.

        It is atomic on a disk, and on the object stores whose fsspec implementation has conditional puts (S3, Google
        Cloud Storage); on others, two runs that start in the same instant are not told apart.
        """
        return self._change(path, lambda files, place: files.create(place, content))

    def move(self, path: str, to: str) -> None:
        """Put a file in the place of another one, which may be there; StorageError as for ``write``."""
        _, root = self._open()
        self._change(to, lambda files, place: files.bring(f"{root}/{path}", place))
        self.remove(path)

    def rewrite(self, path: str, content: bytes) -> None:
        """Change the content of a small file that is there, never making one on a disk.

        Args:
            path: path of the file.
            content: as many bytes as the file has.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: it cannot be written now.
        """
        self._attempt(path, lambda files, place: files.overwrite(place, content), "write")

    def remove(self, path: str) -> None:
        """Delete a file if it is there; StorageError if it cannot be deleted."""

        def delete(files: Disk | ObjectStore, place: str) -> None:
            with suppress(FileNotFoundError):
                files.remove(place)

        self._change(path, delete, "delete")

    def remove_all(self, paths: Iterable[str]) -> None:
        """Delete those of the files that are there."""
        for path in paths:
            self.remove(path)

    def read_json(self, path: str, kind: Any = Any, limit: int = limits.JSON_BYTES) -> Any:
        """The plain value of a JSON file.

        Args:
            path: path of the file.
            kind: type that the value must have, as for ``checked_json.decode``; keys that it does not name are kept.
            limit: most bytes that the file may have.

        Raises:
            UserError: the file is missing or broken, or its value is of another type.
        """
        where = self._named(path)
        try:
            value = decode(self.read(path, limit), Any, where)
        except FileNotFoundError:
            raise UserError(f"{where} does not exist") from None
        checked(value, kind, where)
        return value

    def write_json(self, path: str, value: Any) -> None:
        """A JSON file with sorted keys, the same bytes for the same value."""
        self.write(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """The content of a JSON file with sorted keys, the same bytes for the same value."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
