"""Where the annotations of each image lie in a COCO instance file, so that they can be read image by image."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from msgspec import Raw
from numpy.typing import NDArray

from agg_pipeline.database.exchange.json_entry_stream import Entry, entries
from agg_pipeline.database.exchange.own_facts import KEY, REJECTS, DatabaseFacts, ImageFacts
from agg_pipeline.datasets.coco_entries import Id, Identified, Image, Named, Owned, check_broken, id_text
from agg_pipeline.datasets.instances import SidePixels
from agg_pipeline.datasets.json_entries import readable_part
from agg_pipeline.storage.local_file import open_file
from schemas import limits
from schemas.canonical import Json
from schemas.checked_json import JsonError, checked, decode
from schemas.errors import UserError
from schemas.words import excerpt, printable

WHAT = "a COCO instance file"
LISTS = ("images", "annotations", "categories", "licenses", REJECTS)


class OwnImage(ImageFacts, frozen=True, kw_only=True):
    """An image of a database that was exported."""

    id: Id
    height: SidePixels
    width: SidePixels


@dataclass(eq=False)
class CocoIndex:
    """What a file says of all its images, and where their annotations lie.

    Attributes:
        own: what the file says of the database that it was exported from; None if it is of another program.
        document: the same as it is in the file.
        images: the entries of the images that can be used, by their ids as texts.
        broken: id and problem of those that cannot; the place in the file stands for an id that cannot be used.
        unusable_ids: such ids.
        categories, licences: names by the ids as texts.
        rejects: entries of the exported rows of ``rejects``.
        homeless: number of annotations of no listed image.
        of_broken: number of annotations of listed images that cannot be used.
        sha256: hash of the file, in hex.
    """

    own: DatabaseFacts | None = None
    document: Json = field(default_factory=dict)
    images: dict[str, Image | OwnImage] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    unusable_ids: set[str] = field(default_factory=set)
    categories: dict[str, str] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    rejects: list[bytes] = field(default_factory=list)
    homeless: int = 0
    of_broken: int = 0
    sha256: str = ""
    _numbers: dict[str, int] = field(default_factory=dict)
    _images: array[int] = field(default_factory=lambda: array("i"))
    _starts: array[int] = field(default_factory=lambda: array("q"))
    _lengths: array[int] = field(default_factory=lambda: array("i"))
    _order: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    _ends: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))

    def add(self, key: str) -> int:
        """The number of an image by its id."""
        return self._numbers.setdefault(key, len(self._numbers))

    def place(self, key: str, entry: Entry) -> None:
        """Note where an annotation of an image lies."""
        self._images.append(self.add(key))
        self._starts.append(entry.start)
        self._lengths.append(len(entry.content))

    def sort(self) -> None:
        """Bring the annotations into the order of their images."""
        numbers = np.frombuffer(self._images, np.int32) if self._images else np.empty(0, np.int32)
        self._order = np.argsort(numbers, kind="stable")
        self._ends = np.searchsorted(numbers[self._order], np.arange(len(self._numbers) + 1))
        listed = sum(map(self.annotations_of, self.images))
        self.of_broken = sum(map(self.annotations_of, {*self.broken, *self.unusable_ids}.difference(self.images)))
        self.homeless += len(numbers) - listed - self.of_broken

    def annotations_of(self, key: str) -> int:
        """The number of an image's annotations."""
        number = self._numbers.get(key)
        return 0 if number is None else int(self._ends[number + 1] - self._ends[number])

    def read(self, file: IO[bytes], key: str) -> Iterator[bytes]:
        """The annotations of an image in the order of the file."""
        number = self._numbers.get(key)
        if number is None:
            return
        for place in self._order[self._ends[number] : self._ends[number + 1]]:
            file.seek(self._starts[place])
            yield file.read(self._lengths[place])


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self.hash.update(content)
        return content

    def seek(self, place: int) -> int:
        self.hash = hashlib.sha256()
        return self._file.seek(place)


def coco_index(path: Path) -> CocoIndex:
    """Read a file once, and note where its annotations lie.

    Raises:
        UserError: it is no instance file, has too many entries, or lists no image.
    """
    where = printable(str(path))
    index = CocoIndex()
    waiting: list[tuple[int, bytes]] = []
    with open_file(path, limits.EXCHANGE_FILE_BYTES) as (opened, _):
        file: Any = _Hashing(opened)
        bad = 0
        for entry in entries(file, where, WHAT):
            if entry.key == KEY and not entry.listed:
                index.document = decode(entry.content, dict[str, Any], f"{where}: {KEY}")
                index.own = checked(index.document, DatabaseFacts, f"{where}: {KEY}")
            elif entry.key in LISTS and not entry.listed:
                raise UserError(f"{where} is not {WHAT}: {entry.key} is no list")
            elif entry.key == "images":
                # Whether they are ours is known only when the key agg was read.
                _count(len(waiting) < limits.EXCHANGE_IMAGES, where, "images")
                waiting.append((len(waiting), entry.content))
            elif entry.key == "annotations":
                _count(len(index._starts) < limits.EXCHANGE_MASKS, where, "annotations")
                owner = _owner(entry.content)
                if owner is None:
                    bad += 1
                    index.homeless += 1
                    check_broken(bad, "annotations", where, excerpt(entry.content[:80].decode("utf-8", "replace")))
                else:
                    index.place(owner, entry)
            elif entry.key == REJECTS:
                _count(len(index.rejects) < limits.EXCHANGE_IMAGES, where, REJECTS)
                index.rejects.append(entry.content)
            elif entry.key in ("categories", "licenses"):
                _name(index.categories if entry.key == "categories" else index.licences, entry, where)
        index.sha256 = file.hash.hexdigest()
    for place, content in waiting:
        _image(index, place, content, where)
    if not index.images and not index.broken:
        raise UserError(f"{where} is not {WHAT}: it lists no image")
    index.sort()
    return index


def _owner(content: bytes) -> str | None:
    """Id of the image of an annotation, also of one that holds what is no JSON, such as NaN; None if it has none."""
    owner = readable_part(Raw(content), Owned)
    return _any_id(content, "image_id") if owner is None else id_text(owner.image_id)


def _any_id(content: bytes, key: str) -> str | None:
    """An id of an entry, also one that no image may have, such as a text with a control character."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    number = found.get(key) if isinstance(found, dict) else None
    return id_text(number) if isinstance(number, int | str) and not isinstance(number, bool) else None


def _count(fits: bool, where: str, what: str) -> None:
    if not fits:
        most = limits.EXCHANGE_MASKS if what == "annotations" else limits.EXCHANGE_IMAGES
        raise UserError(f"{where} has more than {most:,} {what}; cut it into several files, and merge their databases")


def _name(names: dict[str, str], entry: Entry, where: str) -> None:
    """Note the name of a category or licence; one that cannot be read has none."""
    named = readable_part(Raw(entry.content), Named)
    if named is not None:
        names.setdefault(id_text(named.id), str(named.name))
        _count(len(names) <= limits.EXCHANGE_IMAGES, where, entry.key)


def _image(index: CocoIndex, place: int, content: bytes, where: str) -> None:
    what = f"images[{place}]"
    kind: Any = Image if index.own is None else OwnImage
    try:
        image = decode(content, kind, what, strict=False)
    except JsonError as error:
        if index.own is not None:
            raise UserError(f"{where}: {error}") from None
        named = readable_part(Raw(content), Identified)
        key = what if named is None else id_text(named.id)
        if named is None:
            index.unusable_ids |= {_any_id(content, "id") or key}
        check_broken(len(index.broken) + 1, "images", where, printable(str(error)))
        _once(key not in index.images and key not in index.broken, where, key)
        index.broken[key] = printable(str(error))
        return
    key = id_text(image.id)
    _once(key not in index.images and key not in index.broken, where, key)
    index.images[key] = image


def _once(new: bool, where: str, key: str) -> None:
    if not new:
        raise UserError(f"{where} gives two images the same id {excerpt(key)}")
