"""PartImageNet: ``images/<split>/*``, ``annotations/<split>/<stem>.png`` (class index), ``class_names.json``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from agg_pipeline.datasets.dataset import About, Dataset, fingerprint
from agg_pipeline.datasets.file_listing import (
    by_stem,
    chosen,
    is_list_file,
    need_layout,
    read_list,
    read_or_empty,
    split_name,
    stray_stems,
)
from agg_pipeline.datasets.images import check_size, instance_masks, read_image, read_labels
from agg_pipeline.storage.store import Store
from schemas.crop import crop_mask
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask

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
)
BACKGROUND = 40
"""Background in the published masks; every other index is a part class, 0 among them."""


def splits(store: Store) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return tuple(store.folders("images"))


def open_partimagenet(store: Store, split: str) -> Dataset:
    """List a split (a folder, or a list file of stems of one of the folders); reads no pixels."""
    need_layout(store, ABOUT)
    names = _class_names(store)
    folder = _folder_of(store, read_list(split)) if is_list_file(split) else split
    if folder not in splits(store):
        raise UserError(f"unknown split {split!r} of {store.url}; there are: {', '.join(splits(store))}")
    images, masks = by_stem(store, f"images/{folder}"), by_stem(store, f"annotations/{folder}")
    if not images:
        raise UserError(f"{store.url}/images/{folder} has no file")
    entries = tuple(
        ImageEntry(stem, *images[stem], f"annotations/{folder}/{stem}.png")
        for stem in chosen(images, split, f"{store.url}/images/{folder}")
    )
    annotations = (read_or_empty(store, entry.annotation) for entry in entries if entry.image_id in masks)
    return Dataset(
        ABOUT,
        split_name(split),
        entries,
        fingerprint(entries, annotations),
        partial(_read, store, names),
        tuple(names.values()),
        partial(stray_stems, store, f"annotations/{folder}", f"images/{folder}"),
    )


def _folder_of(store: Store, stems: list[str]) -> str:
    for split in splits(store):
        if stems[0] in by_stem(store, f"images/{split}"):
            return split
    raise UserError(f"no folder of {store.url}/images has an image {stems[0]}")


def _class_names(store: Store) -> dict[int, str]:
    content = store.read_json("class_names.json")
    try:
        names = {int(category["id"]): str(category["name"]) for category in content["categories"]}
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{store.url}/class_names.json has no list of categories with id and name: {error}") from error
    return dict(sorted(names.items()))


def _read(store: Store, names: Mapping[int, str], entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path)
    height, width = pixels.shape[:2]
    labels = read_labels(store, entry.annotation)
    check_size(labels.shape, (height, width), entry.annotation)
    # From 1, because 0, too, is a class.
    numbered = np.where(labels == BACKGROUND, 0, labels + 1)
    parts = []
    for number, mask in instance_masks(numbered):
        if number - 1 not in names:
            what = f"{entry.annotation} has class index {number - 1}, which class_names.json does not name"
            raise ImageError("unreadable_annotation", what)
        label = names[number - 1]
        parts.append(PartMask(str(number - 1), label, label.lower(), mask))
    objects = (ObjectMask(1, _category(parts), crop_mask(numbered > 0, height, width), tuple(parts)),) if parts else ()
    return ImageRecord(entry.image_id, entry.path, sha256, ABOUT.licence, pixels, objects)


def _category(parts: list[PartMask]) -> str | None:
    """The first of two words, if all parts share it: ``Quadruped`` of Quadruped Head and Quadruped Tail."""
    first = {part.label.partition(" ")[0] if " " in part.label else None for part in parts}
    return first.pop() if len(first) == 1 else None
