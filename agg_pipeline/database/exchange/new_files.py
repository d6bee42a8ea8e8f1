"""What an export writes: a file or a folder of this machine that is new, and is there as a whole or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path, PurePosixPath

from agg_pipeline.storage.disk import discard, put, temporary_beside, writing
from agg_pipeline.storage.local_file import cannot_write, filled_folder
from schemas.errors import UserError
from schemas.words import printable

UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
LONGEST = 100
"""Characters of a name that are kept; file systems allow 255 bytes."""
HASHED = 8
"""Characters of the hash that tells apart what would have one name."""


@contextmanager
def new_file(path: Path) -> Iterator[BufferedWriter]:
    """Write a file where there is none.

    Raises:
        UserError: something is there already. StorageError: it cannot be written.
    """
    _refuse_file(path)
    _make(path.parent)
    temporary = temporary_beside(path)
    try:
        with writing(temporary) as file:
            yield file
        # Another export may have written it meanwhile.
        _refuse_file(path)
        put(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        discard(temporary)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that takes its name when the block is left without an error.

    Raises:
        UserError: a file or a filled folder is there already. StorageError: it cannot be written.
    """
    try:
        _refuse_folder(path)
        with filled_folder(path) as temporary:
            yield temporary
            _refuse_folder(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def _refuse_file(path: Path) -> None:
    _refuse(path.exists() or path.is_symlink(), path)


def _refuse_folder(path: Path) -> None:
    _refuse(path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))), path)


def _refuse(taken: bool, path: Path) -> None:
    if taken:
        raise UserError(f"{printable(str(path))} is there already; choose another place, or delete it")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


class Stems:
    """Names of files for images, without their endings: as in the data set, if no other image has the same.

    They hold letters, digits, ``_`` and ``-`` only, so that none leads out of a folder or into another one.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, image_id: str, path: str) -> str:
        """The name of an image."""
        stem = PurePosixPath(path).stem
        name = UNSAFE.sub("_", stem)[:LONGEST]
        if name != stem or not name or name.lower() in self._taken:
            name = f"{name or 'image'}-{hashlib.sha256(image_id.encode('utf-8', 'replace')).hexdigest()[:HASHED]}"
        number, chosen = 1, name
        while chosen.lower() in self._taken:
            number += 1
            chosen = f"{name}-{number}"
        self._taken.add(chosen.lower())
        return chosen
