"""PASCAL VOC: ``JPEGImages``, ``SegmentationObject``, ``ImageSets/Segmentation/<split>.txt``; every id is an object."""

from __future__ import annotations

from functools import partial

import numpy as np

from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.datasets.file_listing import list_files, listed, need_layout, read_split
from agg_pipeline.datasets.images import check_size, instance_masks, read_image, read_labels
from agg_pipeline.datasets.sbd import CATEGORIES
from agg_pipeline.storage.store import Store
from schemas.crop import crop_mask
from schemas.records import ImageEntry, ImageRecord, ObjectMask

ABOUT = About(
    name="pascal_voc",
    title="PASCAL VOC 2012, segmentation",
    levels=("object",),
    licence="images: Flickr terms of use; annotations: research use",
    citation="Everingham et al.: The PASCAL Visual Object Classes (VOC) Challenge. IJCV 2010",
    homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012",
    layout=("JPEGImages", "SegmentationObject", "ImageSets/Segmentation"),
    download="VOCtrainval_11-May-2012.tar; the root is its folder VOCdevkit/VOC2012",
)
LISTS = "ImageSets/Segmentation/"
IGNORED = 255


def splits(store: Store) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return list_files(store, LISTS)


def open_pascal_voc(store: Store, split: str) -> Dataset:
    """List a split of PASCAL VOC's segmentation images; reads the annotations' bytes, and no pixels."""
    need_layout(store, ABOUT)
    ids = read_split(store, split, LISTS)
    return listed(
        store, ABOUT, split, ids, "JPEGImages/{}.jpg", "SegmentationObject/{}.png", partial(_read, store), CATEGORIES
    )


def _read(store: Store, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path)
    height, width = pixels.shape[:2]
    # Palette indices, not grey levels: as grey levels the ids 1 and 16 are the same.
    labels = read_labels(store, entry.annotation)
    check_size(labels.shape, (height, width), entry.annotation)
    ignored = labels == IGNORED
    classes = _classes(store, entry.annotation.replace("SegmentationObject", "SegmentationClass"), labels.shape)
    objects = []
    for instance, mask in instance_masks(np.where(ignored, 0, labels)):
        box = mask.box
        inside = classes[box.top : box.bottom + 1, box.left : box.right + 1][mask.values] if classes is not None else ()
        numbers = np.bincount(inside, minlength=1) if len(inside) else np.zeros(1)
        number = int(numbers.argmax())
        objects.append(ObjectMask(instance, CATEGORIES[number - 1] if 1 <= number <= len(CATEGORIES) else None, mask))
    ignore = crop_mask(ignored, height, width) if ignored.any() else None
    return ImageRecord(entry.image_id, entry.path, sha256, ABOUT.licence, pixels, tuple(objects), ignore)


def _classes(store: Store, path: str, size: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    """The (H, W) class numbers beside the instances, if the set has them."""
    if not store.exists(path):
        return None
    labels = read_labels(store, path)
    check_size(labels.shape, (size[0], size[1]), path)
    return labels
