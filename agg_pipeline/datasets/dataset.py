"""What every data set looks like to the pipeline: its description, and one listed split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord, Pixels

Level = Literal["object", "part"]
"""Kind of mask: a whole object, or an annotated part of one."""
FIRST_READING = 1
"""Version of the reading of a set whose files still give the masks that they gave at first; not in its fingerprint."""


@dataclass(frozen=True, slots=True)
class Published:
    """How a published split is recognised.

    Attributes:
        images: number of its images.
        ids: regular expression that every image id matches.
    """

    images: int
    ids: str


@dataclass(frozen=True, slots=True)
class About:
    """Description of a data set for its users.

    Attributes:
        name: name on the command line and in databases.
        title: name in prose.
        levels: kinds of masks that are annotated. Where only parts are, the reader makes one object per image from
            the union of its parts.
        licence: licence of images and annotations.
        citation: publication to cite.
        homepage: address of the publisher.
        layout: folders and files that must exist below the root.
        download: what to download and where to unpack it.
        published: the published splits, by name; empty if nothing tells them from other data.
    """

    name: str
    title: str
    levels: tuple[Level, ...]
    licence: str
    citation: str
    homepage: str
    layout: tuple[str, ...]
    download: str
    published: Mapping[str, Published] = field(default_factory=dict)


def no_strays() -> Sequence[str]:
    """Stray annotations of a data set that cannot have any."""
    return ()


def no_notes(_entry: ImageEntry) -> Sequence[str]:
    """Notes on the images of a data set without files."""
    return ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a data set, listed but not read.

    Attributes:
        about: description of the whole set.
        split: name of the split; of a list file, its stem.
        entries: the images, sorted by image id; ids are unique.
        fingerprint: hex hash of the annotations and of every image's id, path and size, and of the version of the
            reading where it is not the first.
        reader: reads the image and the masks of an entry without a problem. Can be pickled.
        classes: published class names, of objects or, where only parts are annotated, of parts; may be empty.
        strays: finds annotations of no image, and entries that cannot be used; returns one line per problem.
        notes: says what may surprise whoever drew an entry's masks, such as an orientation tag; one line per note. Can
            be pickled.
        pixels: reads an image by its path, without its masks: the pixels, and the sha256 that its record has. Can be
            pickled. None if images are only read with their masks.
        selection: what ``selection.select`` chose or left out, for the plan; empty if the whole split is used.
        called: name of the data in plans and cards; "" for the name of the set.
    """

    about: About
    split: str
    entries: tuple[ImageEntry, ...]
    fingerprint: str
    reader: Callable[[ImageEntry], ImageRecord]
    classes: tuple[str, ...] = ()
    strays: Callable[[], Sequence[str]] = no_strays
    notes: Callable[[ImageEntry], Sequence[str]] = no_notes
    pixels: Callable[[str], tuple[Pixels, str]] | None = None
    selection: Mapping[str, Any] = field(default_factory=dict)
    called: str = ""

    @property
    def name(self) -> str:
        """Name of the set, which stands for its layout: it finds the reader and keys random numbers."""
        return self.about.name

    @property
    def read(self) -> Callable[[ImageEntry], ImageRecord]:
        """Reads an entry's image and masks; can be pickled.

        It raises ImageError if they cannot be used, and StorageError if they cannot be read now.
        """
        return partial(_read, self.reader, self.notes, self.about.licence)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Kinds of masks that the records hold: always objects, and parts where they are annotated."""
        return ("object", "part") if "part" in self.about.levels else ("object",)


def _read(
    reader: Callable[[ImageEntry], ImageRecord],
    notes: Callable[[ImageEntry], Sequence[str]],
    licence: str,
    entry: ImageEntry,
) -> ImageRecord:
    if entry.problem is not None:
        raise ImageError(*entry.problem)
    try:
        record = reader(entry)
    except ImageError as error:
        if error.reason != "size_mismatch":
            raise
        # An orientation tag is the usual cause.
        raise ImageError(error.reason, "; ".join((error.detail, *notes(entry)))) from error
    return record if record.licence else replace(record, licence=licence)


def fingerprint(entries: Sequence[ImageEntry], annotations: Iterable[bytes], reading: int = FIRST_READING) -> str:
    """Hash of a listed split, by which a run recognises its data.

    Args:
        entries: the images, in order; their ids, paths and sizes are hashed.
        annotations: bytes of the annotation files, in order.
        reading: version of the code that makes masks of the annotations. It must be raised whenever published files
            give other masks than before, so that no run is resumed with them.

    Returns:
        Hex blake2b hash of 128 bits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for entry in entries:
        digest.update(f"{entry.image_id}\x1f{entry.path}\x1f{entry.size}\x1e".encode("utf-8", "surrogatepass"))
    for content in annotations:
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    if reading != FIRST_READING:
        digest.update(f"reading {reading}".encode())
    return digest.hexdigest()
