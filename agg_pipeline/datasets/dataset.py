"""What every data set looks like to the pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agg_pipeline.storage import Store
from schemas.errors import UserError
from schemas.records import ImageEntry, ImageRecord


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a data set, listed but not read.

    entries: sorted by image id, which is unique. fingerprint: hash of the annotations and of every image's id, path
    and size. read: gives the record of an entry, ImageError if it cannot be used; can be pickled.
    """

    name: str
    split: str
    licence: str
    citation: str
    homepage: str
    entries: tuple[ImageEntry, ...]
    fingerprint: str
    read: Callable[[ImageEntry], ImageRecord]


def fingerprint(entries: Sequence[ImageEntry], annotations: Iterable[bytes]) -> str:
    """Hex hash (blake2b, 128 bits) of the entries' ids, paths and sizes and of the annotations' bytes, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in entries:
        digest.update(f"{entry.image_id}\x1f{entry.path}\x1f{entry.size}\x1e".encode())
    for content in annotations:
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def read_split(store: Store, split: str) -> list[str]:
    """Image ids of a split: the lines of ``<split>.txt`` in the data root, or of a list file given by its path."""
    listed = split.endswith(".txt")
    folder, name = (Store(split.rsplit("/", 1)[0] if "/" in split else "."), split.rsplit("/", 1)[-1])
    source, path = (folder, name) if listed else (store, f"{split}.txt")
    try:
        text = source.read(path).decode("utf-8-sig")
    except OSError:
        raise UserError(f"split file {source.url}/{path} does not exist; it lists one image id per line") from None
    except UnicodeDecodeError:
        raise UserError(f"split file {source.url}/{path} is not a text file; it lists one image id per line") from None
    ids = [line.strip() for line in text.splitlines() if line.strip()]
    if not ids:
        raise UserError(f"split file {source.url}/{path} lists no image")
    if len(set(ids)) < len(ids):
        twice = next(i for n, i in enumerate(ids) if i in ids[:n])
        raise UserError(f"split file {source.url}/{path} lists {twice} more than once")
    return sorted(ids)


def read_or_empty(store: Store, path: str) -> bytes:
    """A file's bytes; nothing for one that cannot be read, which is reported when its image is read."""
    try:
        return store.read(path)
    except OSError:
        return b""


def split_name(split: str) -> str:
    """The name of a split in the plan: of a list file its stem, so that no path of this machine gets there."""
    return split.rsplit("/", 1)[-1].removesuffix(".txt").removesuffix(".json")


def need_folder(store: Store, folder: str, name: str) -> None:
    """UserError, saying what was looked for, if a data set's folder is missing."""
    if not store.exists():
        raise UserError(f"data root {store.url} does not exist; {name} is looked for there")
    if not store.exists(folder):
        raise UserError(f"{store.url}/{folder} does not exist; {name} keeps its files there")
