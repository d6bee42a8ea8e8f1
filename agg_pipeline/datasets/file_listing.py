"""Finding a data set's files: its layout below the root, its splits, and its list files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

from agg_pipeline.datasets.dataset import FIRST_READING, About, fingerprint
from agg_pipeline.datasets.names import text_problem
from agg_pipeline.storage.store import Store
from agg_pipeline.storage.text_files import text_of
from schemas import limits
from schemas.errors import UnusableFileError, UserError
from schemas.records import ImageEntry
from schemas.words import possible, printable

ALL = "all"
"""The one split of a data set that publishes no splits."""
MAX_NAMES_SHOWN = 8
"""Names in a wrong root that the error message lists."""
MAX_FOLDERS_TRIED = 64
"""Folders in a wrong root that are searched for the layout, to suggest one."""
FOLDER_BYTES = -1
"""What stands for the bytes of a folder in the place of an image file."""


def check_layout(store: Store, about: About) -> None:
    """Check that a folder is the root of a data set.

    Raises:
        UserError: the layout is missing; the message names what was expected, what was found, and a folder nearby
            that fits.
    """
    expected = ", ".join(about.layout)
    if not store.exists():
        raise UserError(
            f"{store.url} does not exist; name the root folder of {about.name}, which holds {expected} "
            "(with make: DATA=folder)"
        )
    if _fits(store, about):
        return
    names = store.names()
    if store.is_file():
        raise UserError(f"{store.url} is a file; the root of {about.name} is a folder with {expected}")
    found = ", ".join(names[:MAX_NAMES_SHOWN]) or "nothing"
    if len(names) > MAX_NAMES_SHOWN:
        found += ", ..."
    better = _fitting_folder(store, names, about)
    hint = f"; {better.url} would fit" if better else ""
    raise UserError(f"{store.url} is not the root of {about.name}: expected {expected}, found {found}{hint}")


def _fits(store: Store, about: About) -> bool:
    return all(store.exists(path) for path in about.layout)


def _fitting_folder(store: Store, names: Sequence[str], about: About) -> Store | None:
    """The folder above or a folder below that has the layout."""
    above = store.above()
    if above is not None and _fits(above, about):
        return above
    for name in names[:MAX_FOLDERS_TRIED]:
        below = store.below(name)
        if _fits(below, about):
            return below
    return None


def split_name(split: str) -> str:
    """Name of a split in the plan; of a list file its stem, so that no path of this machine enters the plan."""
    return split.rsplit("/", 1)[-1].removesuffix(".txt").removesuffix(".json")


def is_list_file(split: str) -> bool:
    """Whether a split is the path of a list file."""
    return split.endswith(".txt") or "/" in split


def list_files(store: Store, folder: str = "") -> tuple[str, ...]:
    """Names of the splits that have a list file (``<split>.txt``) in a folder of the data set."""
    names = (name for name in store.names(folder) if name.endswith(".txt") and not name.startswith("."))
    return tuple(name.removesuffix(".txt") for name in names)


def read_list(path: str, flags: bool = False) -> list[str]:
    """Read the image ids of a list file.

    Args:
        path: path of the file; one image id per line.
        flags: lines may end with a number, as in PASCAL's lists of a class; -1 means that the image is not listed.

    Returns:
        The ids, sorted.

    Raises:
        UserError: the file is missing or empty, is not text, or lists an id twice.
    """
    store, name = Store.of_file(path)
    return _read_ids(store, name, flags)


def read_split(store: Store, split: str, folder: str = "", flags: bool = False) -> list[str]:
    """Read the image ids of a split.

    Args:
        store: root of the data set.
        split: name of a split, read from ``<folder><split>.txt``, or the path of a list file.
        folder: folder of the data set's list files, with a slash at its end.
        flags: see ``read_list``.

    Returns:
        The ids, sorted.

    Raises:
        UserError: the split does not exist, or ``read_list`` refuses its file.
    """
    if is_list_file(split):
        return read_list(split, flags)
    if not store.exists(f"{folder}{split}.txt"):
        there = list_files(store, folder)
        known = f"{possible(split, there)}, or a list file (*.txt)" if there else "name a list file (*.txt)"
        raise UserError(f"unknown split {split!r}, because {store.url}/{folder}{split}.txt does not exist; {known}")
    return _read_ids(store, f"{folder}{split}.txt", flags)


def _read_ids(store: Store, path: str, flags: bool) -> list[str]:
    where = f"list file {store.url.rstrip('/')}/{path}"
    try:
        # Bytes that are not UTF-8 become surrogates, as in names of files.
        text = text_of(store.read(path, limits.LIST_FILE_BYTES), "surrogateescape")
    except FileNotFoundError:
        raise UserError(f"{where} does not exist; it lists one image id per line") from None
    except UnicodeDecodeError:
        raise UserError(f"{where} is not a text file; it lists one image id per line") from None
    ids = [line.strip(" \t\v\f") for line in re.split("\r\n|\r|\n", text) if line.strip(" \t\v\f")]
    broken = sum(text_problem(line) is not None for line in ids)
    # A few broken names cost only their images.
    if broken * 2 > len(ids):
        raise UserError(f"{where} is not a text file in UTF-8; it lists one image id per line")
    there = len(ids)
    if flags:
        ids = [line.split()[0] for line in ids if line.split()[-1] != "-1"]
    if not ids:
        raise UserError(f"{where} lists no image" + (": every line ends with -1" if there else ""))
    ids.sort()
    for image_id, following in pairwise(ids):
        if image_id == following:
            raise UserError(f"{where} lists {printable(image_id)} more than once")
    return ids


def listed(image_id: str, path: str, size: int | None, annotation: Any) -> ImageEntry:
    """The entry of an image.

    Args:
        image_id: id of the image.
        path: path of the image below the root.
        size: bytes of the image file, as listed; None if it was not there, ``FOLDER_BYTES`` for a folder in its place.
        annotation: as of ``ImageEntry``.
    """
    if size is None or size == FOLDER_BYTES:
        what = "does not exist" if size is None else "is a folder"
        return ImageEntry(image_id, path, 0, annotation, ("unreadable_image", f"{path} {what}"))
    return ImageEntry(image_id, path, size, annotation)


def check_only_split(split: str, name: str) -> None:
    """Check the split of a data set that publishes none.

    Raises:
        UserError: the split is neither ``all`` nor a list file.
    """
    if split != ALL and not is_list_file(split):
        raise UserError(f"unknown split {split!r} of {name}; {possible(split, [ALL])}, or a list file (*.txt)")


def read_optional(
    store: Store, path: str, limit: int, listing: Callable[[str], Mapping[str, int]] | None = None
) -> bytes:
    """Read a file that may be missing; an object store can say for an instant that a file is not there.

    Args:
        store: root of the data set.
        path: path of the file.
        limit: most bytes that it may have.
        listing: gives the files of a folder by name; by default it is listed.

    Raises:
        FileNotFoundError: its folder does not have it either.
        UnusableFileError: it is no regular file, or it is too large.
        StorageError: it cannot be read now, or its folder has it.
    """
    try:
        return store.read(path, limit)
    except FileNotFoundError:
        folder, _, name = path.rpartition("/")
        if name not in (listing(folder) if listing else dict(store.listing(folder))):
            raise
        return store.read_listed(path, limit)


def read_annotations(
    store: Store,
    entries: Sequence[ImageEntry],
    paths: Callable[[ImageEntry], Sequence[str]] = lambda entry: (entry.annotation,) if entry.annotation else (),
    reading: int = FIRST_READING,
) -> tuple[tuple[ImageEntry, ...], str]:
    """Read the annotation files of listed images, for the fingerprint.

    Args:
        store: root of the data set.
        entries: the images, sorted by id.
        paths: paths of the annotation files of an image.
        reading: version of the reading, as of ``fingerprint``.

    Returns:
        The entries, marked where an annotation file does not exist or can never be read, and the fingerprint.

    Raises:
        StorageError: a file cannot be read now. A fingerprint without it would be that of other data.
    """
    marked = []
    listing = cache(lambda folder: dict(store.listing(folder)))

    def contents() -> Iterator[bytes]:
        for entry in entries:
            problem = entry.problem
            for path in paths(entry):
                try:
                    yield read_optional(store, path, limits.IMAGE_FILE_BYTES, listing)
                except (FileNotFoundError, UnusableFileError) as error:
                    what = error.what if isinstance(error, UnusableFileError) else "does not exist"
                    problem = problem or ("unreadable_annotation", f"{path} {what}")
                    yield b""
            marked.append(replace(entry, problem=problem))

    digest = fingerprint(entries, contents(), reading)
    return tuple(marked), digest
