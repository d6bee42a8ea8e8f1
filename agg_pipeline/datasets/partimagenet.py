"""PartImageNet: ``images/<split>/*``, ``annotations/<split>/<stem>.png`` (class index), ``class_names.json``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial

import numpy as np
from msgspec import Struct

from agg_pipeline.datasets.dataset import About, Dataset, Published
from agg_pipeline.datasets.file_listing import (
    check_layout,
    is_list_file,
    listed,
    read_annotations,
    read_list,
    split_name,
)
from agg_pipeline.datasets.image_stems import files_by_stem, no_picture, stems_of_split, stray_stems
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.instances import InstanceId
from agg_pipeline.datasets.json_entries import check_keys
from agg_pipeline.datasets.label_maps import check_size, instance_masks
from agg_pipeline.datasets.mask_images import read_labels
from agg_pipeline.datasets.names import entries_of, joined, text_problem
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.checked_json import MismatchError, Name, decode
from schemas.crop import crop_mask
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask
from schemas.words import excerpt, possible, printable

IDS = r"n\d{8}_\d+"
"""Form of the image ids, those of ImageNet."""
ABOUT = About(
    name="partimagenet",
    title="PartImageNet",
    levels=("part",),
    licence="images: ImageNet terms (non-commercial research); annotations: Apache-2.0",
    citation="He et al.: PartImageNet: A Large, High-Quality Dataset of Parts. ECCV 2022",
    homepage="https://github.com/TACJu/PartImageNet",
    layout=("images", "annotations", "class_names.json"),
    download="the images to images/<split>/, the index PNGs to annotations/<split>/, and the class names (a COCO list "
    "of categories with id and name) to class_names.json",
    published={"train": Published(16540, IDS), "val": Published(2957, IDS), "test": Published(4598, IDS)},
)
CLASS_NAMES = "class_names.json"
BACKGROUND = 40
"""Class index of the background in the published masks; every other index, 0 included, is a part class."""


class _Category(Struct, frozen=True):
    id: InstanceId
    name: Name


class _ClassNames(Struct, frozen=True):
    """What ``class_names.json`` must hold."""

    categories: list[_Category]


def splits(store: Store) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return tuple(store.folders("images"))


def open_partimagenet(store: Store, split: str) -> Dataset:
    """List a split; reads the annotations' bytes for the fingerprint, but no pixels.

    Args:
        store: root of the data set.
        split: name of a split, which is a folder, or the path of a list file with stems of one of the folders.

    Raises:
        UserError: the layout or the split is not there, two files have the same stem, or the class names are broken.
    """
    check_layout(store, ABOUT)
    names = _class_names(store)
    folder = _folder_of(store, read_list(split)) if is_list_file(split) else split
    if folder not in splits(store):
        raise UserError(f"unknown split {split!r} of {store.url}; {possible(split, splits(store))}")
    images_folder, masks_folder = f"images/{folder}", f"annotations/{folder}"
    images, masks = files_by_stem(store, images_folder), files_by_stem(store, masks_folder)
    if not images:
        raise no_picture(store, images_folder)
    mask_of = joined(images, masks)

    def entry(stem: str) -> ImageEntry:
        path, size = images[stem]
        return listed(stem, path, size, mask_of[stem][0] if stem in mask_of else f"{masks_folder}/{stem}.png")

    stems = stems_of_split(images, split, f"{store.url}/{images_folder}")
    entries = entries_of(stems, entry, lambda stem: images[stem][0])
    marked, digest = read_annotations(store, entries)
    # The names decide labels, and so what another run would make of the same masks.
    digest = hashlib.blake2b(f"{digest}{sorted(names.items())}".encode(), digest_size=16).hexdigest()
    return Dataset(
        about=ABOUT,
        split=split_name(split),
        entries=marked,
        fingerprint=digest,
        reader=partial(_read, store, names),
        classes=tuple(names.values()),
        strays=partial(stray_stems, store, masks_folder, images_folder),
    )


def _folder_of(store: Store, stems: list[str]) -> str:
    for split in splits(store):
        if joined(stems[:1], files_by_stem(store, f"images/{split}")):
            return split
    raise UserError(f"no folder of {store.url}/images has an image {printable(stems[0])}")


def _class_names(store: Store) -> dict[int, str]:
    """Class index -> name, sorted by index; each class has a name of its own."""
    where = f"{store.url}/{CLASS_NAMES}"
    try:
        content = store.read(CLASS_NAMES, limits.JSON_BYTES)
    except FileNotFoundError:
        raise UserError(f"{where} does not exist") from None
    try:
        listed = decode(content, _ClassNames, where, strict=False)
    except MismatchError as error:
        raise UserError(f"{where} has no list of categories with id and name: {error.said}") from error
    check_keys(content, _ClassNames, where)
    names: dict[int, str] = {}
    for index, name in sorted((category.id, category.name) for category in listed.categories):
        if names.setdefault(index, name) != name:
            both = f"'{excerpt(names[index])}' and '{excerpt(name)}'"
            raise UserError(f"{where} gives two classes the same id {index}: {both}")
    first: dict[str, int] = {}
    for index, name in names.items():
        problem = "is blank" if not name.strip() else text_problem(name)
        if problem is not None:
            raise UserError(f"the name of class {index} in {where} {problem}: '{excerpt(name)}'")
        same = first.setdefault(name, index)
        if same != index:
            raise UserError(f"{where} gives classes {same} and {index} the same name '{excerpt(name)}'")
    if BACKGROUND in names and "background" not in names[BACKGROUND].lower():
        raise UserError(
            f"{where} names class {BACKGROUND} '{excerpt(names[BACKGROUND])}', which is the background in the masks of "
            "PartImageNet; give the class another id, in the masks, too"
        )
    return names


def _read(store: Store, names: Mapping[int, str], entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path, entry.size)
    labels = read_labels(store, entry.annotation)
    check_size(labels.shape, pixels.shape[:2], entry.annotation)
    if labels.min(initial=0) < 0:
        raise _unnamed(entry.annotation, int(labels.min()))
    # Class index 0 is a part, too: number the classes from 1, so that 0 is free for the background.
    numbered = np.where(labels == BACKGROUND, 0, labels.astype(np.int64) + 1)
    parts = []
    for number, mask in instance_masks(numbered):
        index = number - 1
        if index not in names:
            raise _unnamed(entry.annotation, index)
        parts.append(PartMask(str(index), names[index], names[index].lower(), mask))
    objects: tuple[ObjectMask, ...] = ()
    if parts:
        union = crop_mask(numbered > 0, *numbered.shape)
        objects = (ObjectMask(1, _category(parts), union, tuple(parts)),)
    return ImageRecord(entry.image_id, entry.path, sha256, "", pixels, objects)


def _unnamed(path: str, index: int) -> ImageError:
    return ImageError("unreadable_annotation", f"{path} has class index {index}, which {CLASS_NAMES} does not name")


def _category(parts: list[PartMask]) -> str | None:
    """The first word of the labels, if all parts share it: ``Quadruped`` of Quadruped Head and Quadruped Tail."""
    first_words = {part.label.partition(" ")[0] if " " in part.label else None for part in parts}
    return first_words.pop() if len(first_words) == 1 else None
