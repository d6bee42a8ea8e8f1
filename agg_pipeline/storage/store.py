"""Files through fsspec: the one place that knows the difference between a disk and an object store.

A file that cannot be read at the moment (no permission, a lost mount, no network) is tried again several times; writing
is tried again on object stores. Then a ``StorageError`` stops the run; it says nothing about the file. A file that is
not there is a ``FileNotFoundError``, and what can never be read as a file is an ``UnusableFileError``.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from agg_pipeline.storage import attempts, disk
from agg_pipeline.storage.attempts import attempt, cause
from schemas import limits
from schemas.checked_json import checked, decode
from schemas.errors import StorageError, UnusableFileError, UserError
from schemas.words import printable

T = TypeVar("T")
REQUESTS = 32
"""Files of an object store that are read at a time: each waits for the network most of the time."""


@dataclass(frozen=True)
class Store:
    """A folder on any file system that fsspec knows; paths are relative to it, with ``/``."""

    url: str

    def _open(self) -> tuple[Any, str]:
        try:
            filesystem, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UserError(f"cannot open {self.url}: {error}") from error
        return filesystem, root.rstrip("/")

    def _named(self, path: str) -> str:
        """A path for a message."""
        return printable(f"{self.url}/{path}".rstrip("/"))

    def _attempt(
        self, path: str, action: Callable[[], T], doing: str = "read", pauses: Sequence[float] | None = None
    ) -> T:
        return attempt(self._named(path), action, doing, pauses, self.is_local())

    def is_local(self) -> bool:
        """Whether it is a folder of this machine's file system."""
        return isinstance(self._open()[0], LocalFileSystem)

    def anchored(self) -> Store:
        """The same folder for processes with another working directory, as the workers of an existing cluster are."""
        filesystem, root = self._open()
        return Store(root or "/") if isinstance(filesystem, LocalFileSystem) else self

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
        filesystem, root = self._open()
        place = f"{root}/{path}"
        if isinstance(filesystem, LocalFileSystem):
            return self._attempt(path, lambda: disk.read_regular(place, limit))
        size = self._attempt(path, lambda: int(filesystem.info(place)["size"] or 0))
        disk.check_size(self._named(path), size, limit)
        return cast(bytes, self._attempt(path, lambda: filesystem.cat_file(place)))

    def read_listed(self, path: str, limit: int = limits.FILE_BYTES) -> bytes:
        """The bytes of a file that was there when its folder was listed; the errors are those of ``read``.

        Raises:
            StorageError: also if the file is gone, because another process may see it, or this one later.
        """
        for pause in (*attempts.PAUSES, None):
            try:
                return self.read(path, limit)
            except FileNotFoundError:
                if pause is None:
                    break
            time.sleep(pause)
        raise StorageError(f"{self._named(path)} was there when its folder was listed, and is not there now")

    def read_all(self, paths: Sequence[str], limit: int = limits.FILE_BYTES) -> Iterator[bytes]:
        """The bytes of many files, in their order; the errors are those of ``read``.

        On an object store, their sizes are not looked up: the caller knows them from ``listing``.
        """
        filesystem, root = self._open()
        if isinstance(filesystem, LocalFileSystem):
            for path in paths:
                yield self._attempt(path, partial(disk.read_regular, f"{root}/{path}", limit))
            return

        def fetch(path: str) -> bytes:
            return cast(bytes, self._attempt(path, lambda: filesystem.cat_file(f"{root}/{path}")))

        with ThreadPoolExecutor(REQUESTS) as pool:
            yield from pool.map(fetch, paths)

    def open(self, path: str) -> IO[bytes]:
        """A file opened for reading, to be closed by the caller; the errors are those of ``read``."""
        filesystem, root = self._open()
        place = f"{root}/{path}"
        if isinstance(filesystem, LocalFileSystem):
            return self._attempt(path, lambda: disk.open_regular(place))
        return cast(IO[bytes], self._attempt(path, lambda: filesystem.open(place, "rb")))

    def exists(self, path: str = "") -> bool:
        """Whether there is such a file or folder; StorageError if that cannot be found out."""
        filesystem, root = self._open()
        place = f"{root}/{path}".rstrip("/") or "/"
        try:
            if isinstance(filesystem, LocalFileSystem):
                self._attempt(path, lambda: Path(place).stat())
                return True
            filesystem.invalidate_cache()
            return bool(self._attempt(path, lambda: filesystem.exists(place)))
        except (FileNotFoundError, UnusableFileError):
            return False

    def is_file(self) -> bool:
        """Whether there is a file in the place of the folder."""
        filesystem, root = self._open()
        try:
            if isinstance(filesystem, LocalFileSystem):
                return not self._attempt("", lambda: disk.is_folder(root or "/"))
            return bool(self._attempt("", lambda: filesystem.isfile(root)))
        except (FileNotFoundError, UnusableFileError):
            return False

    def is_taken(self, path: str) -> bool:
        """Whether there is something of this name on a disk, even a link to nothing."""
        place = Path(f"{self._open()[1]}/{path}")
        return self.is_local() and (self.exists(path) or self._attempt(path, place.is_symlink))

    def files(self, folder: str = "") -> list[str]:
        """All files below a folder, sorted; empty if there is no such folder. Links to folders are not followed."""
        filesystem, root = self._open()
        place = f"{root}/{folder}".rstrip("/")
        if isinstance(filesystem, LocalFileSystem):
            found = self._attempt(folder, lambda: disk.files_below(place))
        else:
            filesystem.invalidate_cache()
            found = self._attempt(folder, lambda: filesystem.find(place))
        return sorted(path.removeprefix(root).lstrip("/") for path in found)

    def listing(self, folder: str) -> Iterator[tuple[str, int]]:
        """(name, bytes) of the files directly in a folder, in no order; none if there is no such folder.

        What lies in the place of a file (a pipe, a device, a loop of links) is listed with 0 bytes, so that reading it
        says what it is. Names that are not UTF-8 have surrogates, as everywhere in Python.
        """
        filesystem, root = self._open()
        place = f"{root}/{folder}".rstrip("/") or "/"
        try:
            if isinstance(filesystem, LocalFileSystem):
                # fsspec makes a dict of a kilobyte for every file, too much for a folder of a million.
                with self._attempt(folder, lambda: os.scandir(place)) as found:
                    for item in found:
                        size = self._attempt(f"{folder}/{item.name}", partial(disk.file_size, item))
                        if size is not None:
                            yield item.name, size
                return
            filesystem.invalidate_cache()
            listed = self._attempt(folder, lambda: filesystem.ls(place, detail=True))
        except FileNotFoundError:
            return
        for info in listed:
            if info["type"] != "directory":
                yield info["name"].rpartition("/")[2], int(info["size"] or 0)

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders directly in a folder, sorted; none if there is no such folder."""
        filesystem, root = self._open()
        place = f"{root}/{folder}".rstrip("/") or "/"
        try:
            if isinstance(filesystem, LocalFileSystem):
                return self._attempt(folder, lambda: sorted(item.name for item in Path(place).iterdir()))
            filesystem.invalidate_cache()
            listed = self._attempt(folder, lambda: filesystem.ls(place, detail=False))
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in listed)

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted, without hidden ones; none if there is no such folder."""
        filesystem, root = self._open()
        place = f"{root}/{folder}".rstrip("/")
        names = (name for name in self.names(folder) if not name.startswith("."))
        return [
            name for name in names if self._attempt(f"{folder}/{name}", partial(filesystem.isdir, f"{place}/{name}"))
        ]

    def sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """Bytes of those of the files that are there; each of their folders is listed once."""
        wanted = set(paths)
        folders = sorted({path.rpartition("/")[0] for path in wanted})
        found = {f"{folder}/{name}".lstrip("/"): size for folder in folders for name, size in self.listing(folder)}
        return {path: found[path] for path in wanted & found.keys()}

    def write(self, path: str, content: bytes) -> None:
        """Put a file in place as a whole or not at all.

        On a disk: an attempt-unique temporary name, flushed, then a rename. On an object store: one put, which is
        atomic there.

        Raises:
            StorageError: the disk is full, there is no permission, or the store does not answer; no file is left.
        """
        filesystem, root = self._open()
        target = f"{root}/{path}"
        if isinstance(filesystem, LocalFileSystem):
            self._change(path, lambda: disk.replace(Path(target), content))
        else:
            self._change(path, lambda: filesystem.pipe_file(target, content), pauses=attempts.PAUSES)

    def create(self, path: str, content: bytes) -> bool:
        """Put a file in place only if there is none; whether this content is there now.

        It is atomic on a disk, and on the object stores whose fsspec implementation has conditional puts (S3, Google
        Cloud Storage); on others, two runs that start in the same instant are not told apart.
        """
        filesystem, root = self._open()
        target = f"{root}/{path}"
        if isinstance(filesystem, LocalFileSystem):
            return self._change(path, lambda: disk.create(Path(target), content))

        def put() -> bool:
            try:
                filesystem.pipe_file(target, content, mode="create")
            except FileExistsError:
                # An earlier attempt may have succeeded although its answer was lost. s3fs takes a file for missing that
                # it has not listed.
                filesystem.invalidate_cache()
                try:
                    return bool(filesystem.cat_file(target) == content)
                except FileNotFoundError:
                    return False
            return True

        return self._change(path, put, pauses=attempts.PAUSES)

    def rewrite(self, path: str, content: bytes) -> None:
        """Change the content of a small file that is there, never making one on a disk.

        Args:
            path: path of the file.
            content: as many bytes as the file has.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: it cannot be written now.
        """
        filesystem, root = self._open()
        target = f"{root}/{path}"
        if isinstance(filesystem, LocalFileSystem):
            self._attempt(path, lambda: disk.overwrite(target, content), "write")
        elif self.exists(path):
            self._attempt(path, lambda: filesystem.pipe_file(target, content), "write")
        else:
            raise FileNotFoundError(errno.ENOENT, "does not exist", self._named(path))

    def _change(self, path: str, action: Callable[[], T], doing: str = "write", pauses: Sequence[float] = ()) -> T:
        """Change a folder; whatever is in the way is a StorageError."""
        try:
            return self._attempt(path, action, doing, pauses)
        except (FileNotFoundError, UnusableFileError) as error:
            raise StorageError(f"cannot {doing} {self._named(path)}: {cause(error.__cause__ or error)}") from error

    def remove(self, path: str) -> None:
        """Delete a file if it is there; StorageError if it cannot be deleted."""
        filesystem, root = self._open()

        def delete() -> None:
            try:
                if isinstance(filesystem, LocalFileSystem):
                    Path(f"{root}/{path}").unlink()
                else:
                    filesystem.rm_file(f"{root}/{path}")
            except FileNotFoundError:
                return

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
        self.write(path, (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())
