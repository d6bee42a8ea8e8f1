"""Images and annotations that belong together because their files have the same stem."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from agg_pipeline.datasets.dataset import FIRST_READING, About, Dataset
from agg_pipeline.datasets.file_listing import (
    FOLDER_BYTES,
    is_list_file,
    listed,
    read_annotations,
    read_list,
    split_name,
)
from agg_pipeline.datasets.image_formats import ENDINGS, OTHER_PICTURES
from agg_pipeline.datasets.names import entries_of, id_problem, joined, normal_path
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.records import ImageEntry, ImageRecord
from schemas.words import excerpt, printable

PICTURES = ENDINGS | OTHER_PICTURES
"""Endings of the names of pictures, in small letters. Other files, such as Thumbs.db, are passed over."""
LONGEST_SHOWN = 200
"""Characters of a line of a list that an error shows."""
NAMES_SHOWN = 3
"""Names in a folder without pictures that the error shows."""


def stem_of(name: str) -> str:
    """The name of a file without its ending."""
    return name.rpartition(".")[0] or name


def has_ending(name: str, endings: Collection[str]) -> bool:
    """Whether a file has one of these endings, or none; hidden files have not."""
    stem, dot, ending = name.rpartition(".")
    return not name.startswith(".") and (not (dot and stem) or ending.lower() in endings)


def files_by_stem(store: Store, folder: str) -> dict[str, tuple[str, int]]:
    """List the pictures of a folder by their stems.

    Returns:
        stem -> (path below the root, bytes), sorted by name; other files and hidden ones are left out. The bytes of a
        folder with the name of a picture are ``FOLDER_BYTES``. Of two pictures of the same stem, one that is not read,
        such as the raw picture of a camera, is left out.

    Raises:
        UserError: two pictures have the same stem.
    """
    found: dict[str, tuple[str, int]] = {}
    for name, size in sorted(store.entries(folder)):
        if not has_ending(name, PICTURES) or (size is None and "." not in name):
            continue
        stem = stem_of(name)
        if stem in found:
            if size is None or not has_ending(name, ENDINGS):
                continue
            other, other_size = found[stem]
            if other_size != FOLDER_BYTES and has_ending(other.rpartition("/")[2], ENDINGS):
                raise UserError(printable(f"{store.url}/{folder} has two files of the name {stem}: {other} and {name}"))
        found[stem] = f"{folder}/{name}", FOLDER_BYTES if size is None else size
    return found


def no_picture(store: Store, folder: str) -> UserError:
    """The error for a folder without pictures."""
    names = [name for name, _ in sorted(store.listing(folder)) if not name.startswith(".")]
    if not names:
        return UserError(f"{store.url}/{folder} has no file")
    shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
    return UserError(printable(f"{store.url}/{folder} has no file that is a picture; it has {shown}"))


def stems_of_split(stems: Iterable[str], split: str, where: str) -> list[str]:
    """The stems that belong to a split.

    Args:
        stems: stems of the image files that are there, sorted.
        split: name of a split, which has all of them, or path of a list file.
        where: folder of the images, for the error message.

    Raises:
        UserError: the list file names an image that is not there.
    """
    known = list(stems)
    if not is_list_file(split):
        return known
    ids = read_list(split)
    found = joined(ids, dict(zip(known, known, strict=True)))
    if len(found) < len(set(ids)):
        raise not_there(split, set(ids) - found.keys(), where)
    return [found[image_id] for image_id in ids]


def not_there(split: str, missing: Collection[str], where: str) -> UserError:
    """The error for a list of which some images are not in their folder; arguments as ``stems_of_split``."""
    others = f" (nor are {len(missing) - 1:,} others)" if len(missing) > 1 else ""
    return UserError(f"{split} lists {excerpt(min(missing))}, which is not in {where}{others}")


def stray_stems(store: Store, annotations: str, images: str, endings: Collection[str] = PICTURES) -> Sequence[str]:
    """List the annotation files that belong to no image.

    Args:
        store: root of the data set.
        annotations: folder of the annotations.
        images: folder of the images.
        endings: endings of annotation files; others are passed over.

    Returns:
        One line per annotation file without an image of the same stem.
    """
    known = {stem_of(name): name for name, _ in store.listing(images)}
    names = [name for name, _ in sorted(store.listing(annotations)) if has_ending(name, endings)]
    found = joined(map(stem_of, names), known)
    return tuple(
        printable(f"{annotations}/{name} belongs to no image in {images}")
        for name in names
        if stem_of(name) not in found
    )


def found_files(store: Store, paths: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Find files below the root, also where an ending is in capitals or an accent is written as a character of its own.

    Returns:
        (path as it is there, bytes) by the wanted path; those that are not there are left out. The bytes of a folder
        are ``FOLDER_BYTES``.
    """
    wanted = list(paths)
    sizes = store.sizes(wanted)
    found = {path: (path, size) for path, size in sizes.items()}
    if len(found) == len(wanted):
        return found
    folders = sorted({path.rpartition("/")[0] for path in wanted})
    there = {
        f"{folder}/{name}".lstrip("/"): FOLDER_BYTES if size is None else size
        for folder in folders
        for name, size in store.entries(folder)
    }
    return joined(wanted, {path: (path, size) for path, size in there.items()}, normal_path)


def dataset_of_ids(
    store: Store,
    about: About,
    split: str,
    ids: Sequence[str],
    image: str,
    annotation: str,
    reader: Callable[[ImageEntry], ImageRecord],
    classes: tuple[str, ...],
    reading: int = FIRST_READING,
) -> Dataset:
    """List a split that has one image file and one annotation file per id.

    Reads the annotations' bytes for the fingerprint, but no pixels.

    Args:
        store: root of the data set.
        about: description of the data set.
        split: name of the split, or path of its list file.
        ids: image ids of the split, sorted.
        image: path of an image below the root, with ``{}`` for the id.
        annotation: path of an annotation below the root, with ``{}`` for the id.
        reader: reads an entry; its ``annotation`` is the annotation's path.
        classes: published class names.
        reading: version of the reading, as of ``fingerprint``.

    Raises:
        UserError: no image of the split is there.
    """
    images = listed_files(store, split, ids, image)
    annotations = found_files(store, map(annotation.format, images))

    def entry(image_id: str) -> ImageEntry:
        path, size = images.get(image_id, (image.format(image_id), None))
        wanted = annotation.format(image_id)
        return listed(image_id, path, size, annotations.get(wanted, (wanted, 0))[0])

    entries, digest = read_annotations(store, entries_of(ids, entry, image.format, id_problem), reading=reading)
    folder, ending = annotation.rpartition("/")[0], annotation.rpartition(".")[2]
    strays = partial(stray_stems, store, folder, image.rpartition("/")[0], frozenset((ending,)))
    return Dataset(about, split_name(split), entries, digest, reader, classes, strays)


def listed_files(store: Store, split: str, ids: Sequence[str], image: str) -> dict[str, tuple[str, int]]:
    """Find the image files of listed ids.

    Args:
        store: root of the data set.
        split: name of the split, or path of its list file, for the error.
        ids: the ids; those that cannot be ids are left out.
        image: path of an image below the root, with ``{}`` for the id.

    Returns:
        (path as it is there, bytes) by id; images that are not there are left out.

    Raises:
        UserError: no image is there, as if the list held something else, such as paths.
    """
    paths = {image_id: image.format(image_id) for image_id in ids if id_problem(image_id) is None}
    found = found_files(store, paths.values())
    # One missing image is a reject.
    if not found and (len(ids) > 1 or "/" in ids[0] or "." in ids[0]):
        raise _no_image(store, split, ids[0], image)
    return {image_id: found[path] for image_id, path in paths.items() if path in found}


def _no_image(store: Store, split: str, first: str, image: str) -> UserError:
    """The error for a list of which no image is there."""
    folder = image.rpartition("/")[0]
    names = sorted(name for name, _ in store.listing(folder) if not name.startswith("."))
    example = f", such as {stem_of(names[0])}" if names else ""
    return UserError(
        printable(
            f"no image that split {split} lists is in {store.url}/{folder}, for example {first[:LONGEST_SHOWN]}; "
            f"a list holds one image id per line{example}"
        )
    )
