"""Files through fsspec: the one place that knows the difference between a disk and an object store."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from schemas.errors import StorageError, UserError

TEMPORARY = ".tmp-"


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

    def anchored(self) -> Store:
        """The same folder for processes with another working directory, as the workers of an existing cluster are."""
        filesystem, root = self._open()
        return Store(root) if isinstance(filesystem, LocalFileSystem) else self

    def below(self, path: str) -> Store:
        """The store of a folder inside this one."""
        return Store(f"{self.url.rstrip('/')}/{path}")

    def read(self, path: str) -> bytes:
        """The bytes of a file; FileNotFoundError if there is none."""
        filesystem, root = self._open()
        return cast(bytes, filesystem.cat_file(f"{root}/{path}"))

    def open(self, path: str) -> IO[bytes]:
        """A file opened for reading, to be closed by the caller."""
        filesystem, root = self._open()
        return cast(IO[bytes], filesystem.open(f"{root}/{path}", "rb"))

    def exists(self, path: str = "") -> bool:
        """Whether there is such a file or folder."""
        filesystem, root = self._open()
        filesystem.invalidate_cache()
        return bool(filesystem.exists(f"{root}/{path}".rstrip("/")))

    def files(self, folder: str = "") -> list[str]:
        """All files below a folder, sorted; empty if there is no such folder."""
        filesystem, root = self._open()
        filesystem.invalidate_cache()
        return sorted(path.removeprefix(root).lstrip("/") for path in filesystem.find(f"{root}/{folder}".rstrip("/")))

    def sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """Bytes of those of the files that are there; each of their folders is listed once."""
        filesystem, root = self._open()
        filesystem.invalidate_cache()
        wanted = set(paths)
        found: dict[str, int] = {}
        for folder in sorted({path.rpartition("/")[0] for path in wanted}):
            try:
                listed = filesystem.ls(f"{root}/{folder}".rstrip("/"), detail=True)
            except FileNotFoundError:
                continue
            for info in listed:
                path = info["name"].removeprefix(root).lstrip("/")
                if path in wanted and info["type"] != "directory":
                    found[path] = int(
                        filesystem.info(info["name"])["size"] if info.get("islink") else info["size"] or 0
                    )
        return found

    def write(self, path: str, content: bytes) -> None:
        """Put a file in place as a whole or not at all.

        On a disk: an attempt-unique temporary name, flushed, then a rename. On an object store: one put, which is
        atomic there. StorageError (disk full, no permission) leaves no file behind.
        """
        filesystem, root = self._open()
        target = f"{root}/{path}"
        with self._writing(path):
            if not isinstance(filesystem, LocalFileSystem):
                filesystem.pipe_file(target, content)
                return
            temporary = _written(Path(target), content)
            try:
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def create(self, path: str, content: bytes) -> bool:
        """Put a file in place only if there is none; whether it was done."""
        filesystem, root = self._open()
        target = f"{root}/{path}"
        with self._writing(path):
            if not isinstance(filesystem, LocalFileSystem):
                # Not atomic on every store: two runs that start in the same instant are not told apart there.
                if filesystem.exists(target):
                    return False
                filesystem.pipe_file(target, content)
                return True
            temporary = _written(Path(target), content)
            try:
                Path(target).hardlink_to(temporary)
            except FileExistsError:
                return False
            except OSError:
                # A file system without links: another run may see the file before its content is there.
                return _created(Path(target), content)
            finally:
                temporary.unlink()
        return True

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"cannot write {self.url}/{path}: {error.strerror or error}") from error

    def remove(self, path: str) -> None:
        """Delete a file if it is there."""
        filesystem, root = self._open()
        try:
            filesystem.rm_file(f"{root}/{path}")
        except FileNotFoundError:
            return

    def read_json(self, path: str) -> Any:
        """A JSON file; UserError if it is missing or broken."""
        try:
            return json.loads(self.read(path))
        except FileNotFoundError:
            raise UserError(f"{self.url}/{path} does not exist") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UserError(f"{self.url}/{path} is not JSON: {error}") from error

    def write_json(self, path: str, value: Any) -> None:
        """A JSON file with sorted keys, the same bytes for the same value."""
        self.write(path, (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def _written(place: Path, content: bytes) -> Path:
    """A temporary file beside ``place``, with all of the content on disk; no file if that fails."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f"{TEMPORARY}{place.name}-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _created(place: Path, content: bytes) -> bool:
    try:
        with place.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True
