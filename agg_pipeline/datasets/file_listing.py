"""Finding a data set's files: its layout below the root, its splits, and files that belong together by their stem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise

from agg_pipeline.datasets.dataset import About, Dataset, fingerprint
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.records import ImageEntry, ImageRecord

ALL = "all"
"""The split of a set that has none."""
SHOWN = 8
TRIED = 64
"""Names in a wrong root that a message shows, and folders in it that are tried."""


def need_layout(store: Store, about: About) -> None:
    """UserError, saying what was expected and found and which folder nearby would fit, if the layout is not there."""
    if not store.exists():
        raise UserError(f"data root {store.url} does not exist; {about.name} is looked for there")
    if _fits(store, about):
        return
    names = store.names()
    if store.is_file():
        raise UserError(f"{store.url} is a file; the root of {about.name} is a folder with {', '.join(about.layout)}")
    near = (store.below(name) for name in names[:TRIED])
    found = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    better = next((other.url for other in (store.above(), *near) if other is not None and _fits(other, about)), None)
    hint = f"; {better} would fit" if better else ""
    raise UserError(
        f"{store.url} is no root of {about.name}: expected {', '.join(about.layout)}, found {found or 'nothing'}{hint}"
    )


def _fits(store: Store, about: About) -> bool:
    return all(store.exists(path) for path in about.layout)


def split_name(split: str) -> str:
    """The name of a split in the plan: of a list file its stem, so that no path of this machine gets there."""
    return split.rsplit("/", 1)[-1].removesuffix(".txt").removesuffix(".json")


def is_list_file(split: str) -> bool:
    """Whether a split is given by the path of a list file."""
    return split.endswith(".txt") or "/" in split


def list_files(store: Store, folder: str = "") -> tuple[str, ...]:
    """Names of the splits that have a list file in a folder of the set."""
    return tuple(name.removesuffix(".txt") for name in store.names(folder) if _is_list(name))


def _is_list(name: str) -> bool:
    return name.endswith(".txt") and not name.startswith(".")


def read_list(path: str, flags: bool = False) -> list[str]:
    """The sorted image ids of a list file given by its path, one in each line.

    flags: as in PASCAL's lists of a class, -1 after an id says that the image is not one of the list.
    """
    return _ids(*Store.of_file(path), flags)


def read_split(store: Store, split: str, folder: str = "", flags: bool = False) -> list[str]:
    """Sorted image ids of a split: of ``<folder><split>.txt`` in the set, or of a list file; see ``read_list``."""
    if is_list_file(split):
        return read_list(split, flags)
    if not store.exists(f"{folder}{split}.txt"):
        known = ", ".join(list_files(store, folder)) or "none"
        raise UserError(
            f"split file {store.url}/{folder}{split}.txt does not exist; it lists one image id per line. "
            f"Splits that are there: {known}"
        )
    return _ids(store, f"{folder}{split}.txt", flags)


def _ids(store: Store, path: str, flags: bool) -> list[str]:
    where = f"split file {store.url}/{path}"
    try:
        text = store.read(path).decode("utf-8-sig")
    except OSError:
        raise UserError(f"{where} does not exist; it lists one image id per line") from None
    except UnicodeDecodeError:
        raise UserError(f"{where} is not a text file; it lists one image id per line") from None
    ids = [line.strip() for line in text.splitlines() if line.strip()]
    if flags:
        ids = [line.split()[0] for line in ids if line.split()[-1] != "-1"]
    if not ids:
        raise UserError(f"{where} lists no image")
    ids.sort()
    for one, following in pairwise(ids):
        if one == following:
            raise UserError(f"{where} lists {one} more than once")
    return ids


def listed(
    store: Store,
    about: About,
    split: str,
    ids: Sequence[str],
    image: str,
    annotation: str,
    read: Callable[[ImageEntry], ImageRecord],
    classes: tuple[str, ...],
) -> Dataset:
    """The data set of the images with these ids; reads the annotations' bytes for the fingerprint, and no pixels.

    image, annotation: paths below the root, with ``{}`` for the id.
    """
    paths = {image_id: image.format(image_id) for image_id in ids}
    sizes = store.sizes(paths.values())
    entries = tuple(
        ImageEntry(image_id, path, sizes.get(path, 0), annotation.format(image_id)) for image_id, path in paths.items()
    )
    contents = (read_or_empty(store, entry.annotation) for entry in entries)
    strays = partial(stray_stems, store, annotation.rpartition("/")[0], image.rpartition("/")[0])
    return Dataset(about, split_name(split), entries, fingerprint(entries, contents), read, classes, strays)


def only_all(split: str, name: str) -> None:
    """UserError if a set without splits is asked for one, other than by a list file."""
    if split != ALL and not is_list_file(split):
        raise UserError(f"unknown split {split!r} of {name}; it has one, {ALL!r}, and takes a list file (*.txt)")


def by_stem(store: Store, folder: str) -> dict[str, tuple[str, int]]:
    """The files of a folder: stem -> (path, bytes), in order of the stems; UserError if two have the same stem."""
    found: dict[str, tuple[str, int]] = {}
    for name, size in sorted(store.listing(folder)):
        stem = _stem(name)
        if name.startswith("."):
            continue
        if stem in found:
            raise UserError(f"{store.url}/{folder} has two files of the name {stem}: {found[stem][0]} and {name}")
        found[stem] = f"{folder}/{name}", size
    return found


def chosen(stems: Iterable[str], split: str, where: str) -> list[str]:
    """Those of the sorted stems that a split means: all, or those of a list file, which must be there."""
    known = list(stems)
    if not is_list_file(split):
        return known
    ids = read_list(split)
    missing = sorted(set(ids) - set(known))
    if missing:
        others = f" (nor are {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise UserError(f"{split} lists {missing[0]}, which is not in {where}{others}")
    return ids


def stray_stems(store: Store, annotations: str, images: str) -> Sequence[str]:
    """A line for every annotation file without an image of its stem."""
    return tuple(_strays(store, annotations, images))


def _strays(store: Store, annotations: str, images: str) -> Iterator[str]:
    known = {_stem(name) for name, _ in store.listing(images)}
    for name, _ in sorted(store.listing(annotations)):
        if not name.startswith(".") and _stem(name) not in known:
            yield f"{annotations}/{name} belongs to no image in {images}"


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def read_or_empty(store: Store, path: str) -> bytes:
    """A file's bytes; nothing for one that cannot be read, which is reported when its image is read."""
    try:
        return store.read(path)
    except OSError:
        return b""
