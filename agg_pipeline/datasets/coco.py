"""COCO and other sets in its instance format: crowd regions are ignored pixels, all other annotations objects."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from agg_pipeline.datasets.broken_objects import rejects_of
from agg_pipeline.datasets.coco_entries import id_text
from agg_pipeline.datasets.coco_file import Instances, read_instances
from agg_pipeline.datasets.coco_masks import read_segmentation
from agg_pipeline.datasets.coco_paths import image_paths, name_of_file, shared_files
from agg_pipeline.datasets.dataset import About, Dataset, Published, fingerprint
from agg_pipeline.datasets.file_listing import check_layout, listed, split_name
from agg_pipeline.datasets.image_stems import found_files
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.instances import TOO_MANY, in_order
from agg_pipeline.datasets.label_maps import check_size, ignore_mask
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask
from schemas.words import plural, possible, printable

LOG = logging.getLogger(__name__)
IDS = r"\d{1,6}"
"""Form of the image ids."""
ABOUT = About(
    name="coco",
    title="COCO, or any set in its instance format",
    levels=("object",),
    licence="images: Flickr terms of use, see each image; annotations: CC BY 4.0",
    citation="Lin et al.: Microsoft COCO: Common Objects in Context. ECCV 2014",
    homepage="https://cocodataset.org",
    layout=("annotations",),
    download="train2017.zip, val2017.zip and annotations_trainval2017.zip, unpacked side by side",
    published={"train2017": Published(118287, IDS), "val2017": Published(5000, IDS)},
)


def splits(store: Store) -> tuple[str, ...]:
    """Names of the splits that are there."""
    names = store.names("annotations")
    return tuple(
        name.removeprefix("instances_").removesuffix(".json")
        for name in names
        if name.startswith("instances_") and name.endswith(".json")
    )


def open_coco(store: Store, split: str) -> Dataset:
    """List a split of a COCO set.

    Entries of the file that cannot be used become images or objects that say so; warnings count annotations of no
    listed image and of no listed category.

    Args:
        store: root of the data set.
        split: name of a split, read from ``annotations/instances_<split>.json``, or the path of a JSON file below
            the root, with or without the root itself.

    Raises:
        UserError: the file or the image folder is missing, or the file is not an instance file.
    """
    path = _below(store, split)
    if not path.endswith(".json"):
        check_layout(store, ABOUT)
        path = f"annotations/instances_{split}.json"
    where = printable(f"{store.url}/{path}")
    try:
        content = store.read(path, limits.DATASET_JSON_BYTES)
    except FileNotFoundError:
        there = splits(store)
        known = f"{possible(split, there)}, or the path of" if there else "name"
        known += f" a JSON file below {store.url}"
        raise UserError(f"unknown split {split!r}, because {where} does not exist; {known}") from None
    truth = read_instances(content, where)
    paths = image_paths(store, path, truth.images)
    shared = shared_files(paths)
    remarks = [*truth.remarks]
    if shared:
        remarks.append(
            f"{plural(len(shared), 'file')} {'is' if len(shared) == 1 else 'are'} shared by several images: {shared[0]}"
        )
    for remark in remarks:
        LOG.warning("%s: %s", where, remark)
    entries = [*_entries(store, path, truth, paths)]
    entries += [
        ImageEntry(image_id, path, 0, None, ("unreadable_annotation", f"{path}: {problem}"))
        for image_id, problem in truth.broken
    ]
    entries.sort(key=lambda entry: entry.image_id)
    return Dataset(
        about=ABOUT,
        split=split_name(split),
        entries=tuple(entries),
        fingerprint=fingerprint(entries, [content]),
        reader=partial(_read, store),
        classes=truth.categories,
        strays=partial(tuple, [f"{path}: {stray}" for stray in (*truth.strays, *shared)]),
    )


def _below(store: Store, split: str) -> str:
    """The path of a JSON file below the root, which may also be given with the root; a name as it is."""
    if not split.endswith(".json") or store.exists(split):
        return split
    root, whole = (f"{each.anchored().url.rstrip('/')}" for each in (store, Store(split)))
    if whole.startswith(f"{root}/"):
        return whole.removeprefix(f"{root}/")
    if split.startswith("/"):
        raise UserError(f"{printable(split)} does not lie below {store.url}, the root of the data set")
    return split


def _entries(store: Store, path: str, truth: Instances, paths: Mapping[str, str | None]) -> Iterator[ImageEntry]:
    """The entries of the images that can be used, with everything that ``_read`` needs."""
    found = found_files(store, [each for each in paths.values() if each is not None])
    for image_id, image in truth.images.items():
        file = paths[image_id]
        if file is None:
            problem = f"{printable(name_of_file(image))} is no path in the data set"
            yield ImageEntry(image_id, path, 0, None, ("unreadable_image", problem))
            continue
        instances = truth.annotations.get(image_id, ())
        if len(instances) > limits.OBJECTS_PER_IMAGE:
            yield ImageEntry(image_id, path, 0, None, ("unreadable_annotation", f"{path}: {TOO_MANY}"))
            continue
        licence = None if image.license is None else truth.licences.get(id_text(image.license))
        annotation = (image.height, image.width), licence or "", tuple(instances)
        there, size = found.get(file, (file, None))
        yield listed(image_id, there, size, annotation)


def _read(store: Store, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path, entry.size)
    size, licence, instances = entry.annotation
    height, width = pixels.shape[:2]
    check_size(size, (height, width), f"the size given for image {entry.image_id}")
    objects: list[ObjectMask] = []
    broken: list[tuple[int | None, ImageError]] = []
    crowd = np.zeros((height, width), np.bool_)
    for instance in in_order(instances):
        try:
            if instance.problem or instance.number is None:
                raise ImageError("unreadable_annotation", instance.problem)
            what = f"annotation {instance.number}"
            mask = read_segmentation(instance.segmentation, height, width, what)
        except ImageError as error:
            broken.append((instance.number, error))
            continue
        if instance.crowd:
            crowd |= mask.full()
        else:
            objects.append(ObjectMask(instance.number, instance.category, mask))
    ignore = ignore_mask(crowd)
    rejects = rejects_of(entry.image_id, broken, usable=bool(objects) or ignore is not None)
    return ImageRecord(entry.image_id, entry.path, sha256, licence, pixels, tuple(objects), ignore, rejects)
