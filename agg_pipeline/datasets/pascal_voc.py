"""PASCAL VOC: ``JPEGImages``, ``SegmentationObject``, ``ImageSets/Segmentation/<split>.txt``; every id is an object."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.dataset import About, Dataset, Published
from agg_pipeline.datasets.file_listing import (
    check_layout,
    list_files,
    listed,
    read_annotations,
    read_split,
    split_name,
)
from agg_pipeline.datasets.image_stems import found_files, listed_files, stray_stems
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.label_maps import check_size, ignore_mask, instance_masks
from agg_pipeline.datasets.mask_images import read_labels
from agg_pipeline.datasets.names import entries_of, id_problem
from agg_pipeline.datasets.sbd import CATEGORIES
from agg_pipeline.storage.store import Store
from schemas.crop import MaskCrop
from schemas.records import ImageEntry, ImageRecord, ObjectMask

IDS = r"20(07|08|09|10|11)_\d{6}"
"""Form of the image ids."""
ABOUT = About(
    name="pascal_voc",
    title="PASCAL VOC 2012, segmentation",
    levels=("object",),
    licence="images: Flickr terms of use; annotations: research use",
    citation="Everingham et al.: The PASCAL Visual Object Classes (VOC) Challenge. IJCV 2010",
    homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012",
    layout=("JPEGImages", "SegmentationObject", "ImageSets/Segmentation"),
    download="VOCtrainval_11-May-2012.tar; the root is its folder VOCdevkit/VOC2012",
    published={"train": Published(1464, IDS), "val": Published(1449, IDS), "trainval": Published(2913, IDS)},
)
LISTS = "ImageSets/Segmentation/"
"""Folder of the list files."""
IMAGE = "JPEGImages/{}.jpg"
"""Path of an image, by its id."""
OBJECTS = "SegmentationObject/{}.png"
"""Path of the instance map, by image id."""
CLASSES = "SegmentationClass/{}.png"
"""Path of the class map, by image id; it may be missing, and then no object has a class."""
IGNORED = 255
"""Palette index of ignored pixels."""


def splits(store: Store) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return list_files(store, LISTS)


def open_pascal_voc(store: Store, split: str) -> Dataset:
    """List a split of the segmentation images; reads the annotations' bytes for the fingerprint, but no pixels.

    Args:
        store: root of the data set.
        split: name of a split, read from ``ImageSets/Segmentation/<split>.txt``, or the path of a list file.

    Raises:
        UserError: the layout or the split is not there.
    """
    check_layout(store, ABOUT)
    ids = read_split(store, split, LISTS)
    images = listed_files(store, split, ids, IMAGE)
    maps = found_files(store, [each.format(image_id) for image_id in images for each in (OBJECTS, CLASSES)])

    def entry(image_id: str) -> ImageEntry:
        path, size = images.get(image_id, (IMAGE.format(image_id), None))
        objects, classes = OBJECTS.format(image_id), CLASSES.format(image_id)
        # The map of classes may be missing.
        there = maps.get(objects, (objects, 0))[0], maps.get(classes, (None, 0))[0]
        return listed(image_id, path, size, there)

    entries, digest = read_annotations(
        store,
        entries_of(ids, entry, IMAGE.format, id_problem),
        lambda entry: [path for path in entry.annotation or () if path is not None],
    )
    strays = partial(stray_stems, store, "SegmentationObject", "JPEGImages")
    return Dataset(ABOUT, split_name(split), entries, digest, partial(_read, store), CATEGORIES, strays)


def _read(store: Store, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path, entry.size)
    # Palette indices, not grey levels: as grey levels the ids 1 and 16 are the same.
    objects_path, classes_path = entry.annotation
    labels = read_labels(store, objects_path)
    check_size(labels.shape, pixels.shape[:2], objects_path)
    ignored = labels == IGNORED
    classes = None if classes_path is None else _classes(store, classes_path, labels.shape)
    objects = tuple(
        ObjectMask(instance_id, None if classes is None else _category(mask, classes), mask)
        for instance_id, mask in instance_masks(np.where(ignored, 0, labels))
    )
    return ImageRecord(entry.image_id, entry.path, sha256, "", pixels, objects, ignore_mask(ignored))


def _classes(store: Store, path: str, size: tuple[int, ...]) -> NDArray[np.integer[Any]]:
    """The (H, W) class numbers that the set publishes beside the instances."""
    labels = read_labels(store, path)
    check_size(labels.shape, size, path)
    return labels


def _category(mask: MaskCrop, classes: NDArray[np.integer[Any]]) -> str | None:
    """The most frequent class inside a non-empty mask; None if it is the background or unknown."""
    # A file may claim numbers of any size: no array is as long as the largest of them.
    numbers, counts = np.unique(classes[mask.box.slices][mask.values], return_counts=True)
    number = int(numbers[counts.argmax()])
    return CATEGORIES[number - 1] if 1 <= number <= len(CATEGORIES) else None
