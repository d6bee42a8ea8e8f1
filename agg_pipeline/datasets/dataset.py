"""What every data set looks like to the pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.records import ImageEntry, ImageRecord

Level = Literal["object", "part"]


@dataclass(frozen=True, slots=True)
class About:
    """What a person must know of a data set.

    levels: what is annotated; a set of parts alone has the union of an image's parts as its object.
    layout: folders and files below the root without which it cannot be the set. download: what to fetch and where to
    put it.
    """

    name: str
    title: str
    levels: tuple[Level, ...]
    licence: str
    citation: str
    homepage: str
    layout: tuple[str, ...]
    download: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a data set, listed but not read.

    entries: sorted by image id, which is unique. fingerprint: hash of the annotations and of every image's id, path
    and size. read: gives the record of an entry, ImageError if it cannot be used; can be pickled. classes: names of
    the published classes, of objects or, in a set of parts alone, of parts; empty if there are none. strays: looks for
    annotations that no image belongs to, and gives a line for each. selection: what was left out; empty for nothing.
    """

    about: About
    split: str
    entries: tuple[ImageEntry, ...]
    fingerprint: str
    read: Callable[[ImageEntry], ImageRecord]
    classes: tuple[str, ...] = ()
    strays: Callable[[], Sequence[str]] = tuple
    selection: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name by which the registry knows the set."""
        return self.about.name

    @property
    def levels(self) -> tuple[Level, ...]:
        """What there are masks of: objects always, as a set of parts alone has the unions of these."""
        return ("object", "part") if "part" in self.about.levels else ("object",)


def fingerprint(entries: Sequence[ImageEntry], annotations: Iterable[bytes]) -> str:
    """Hex hash (blake2b, 128 bits) of the entries' ids, paths and sizes and of the annotations' bytes, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in entries:
        digest.update(f"{entry.image_id}\x1f{entry.path}\x1f{entry.size}\x1e".encode())
    for content in annotations:
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()
