"""SBD: ``img/<id>.jpg``, ``inst/<id>.mat`` (GTinst.Segmentation), ``<split>.txt``; every instance id is an object."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.datasets.file_listing import check_layout, list_files, read_split
from agg_pipeline.datasets.image_stems import dataset_of_ids
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.label_maps import check_size, instance_masks
from agg_pipeline.datasets.matfile import read_mat
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord, ObjectMask

ABOUT = About(
    name="sbd",
    title="Semantic Boundaries Dataset",
    levels=("object",),
    licence="images: Flickr terms of use (PASCAL VOC 2011); annotations: research use",
    citation="Hariharan, Arbelaez, Bourdev, Maji, Malik: Semantic Contours from Inverse Detectors. ICCV 2011",
    homepage="http://home.bharathh.info/pubs/codes/SBD/download.html",
    layout=("img", "inst"),
    download="benchmark.tgz; the root is its folder dataset/ (img, inst, train.txt, val.txt)",
)
CATEGORIES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Classes of PASCAL VOC, in the order of their numbers from 1."""


def splits(store: Store) -> tuple[str, ...]:
    """Names of the splits that are there."""
    return list_files(store)


def open_sbd(store: Store, split: str) -> Dataset:
    """List a split of SBD; reads the annotations' bytes for the fingerprint, but no pixels.

    Args:
        store: root of the data set.
        split: name of a split, read from ``<split>.txt``, or the path of a list file.

    Raises:
        UserError: the layout or the split is not there.
    """
    check_layout(store, ABOUT)
    ids = read_split(store, split)
    return dataset_of_ids(store, ABOUT, split, ids, "img/{}.jpg", "inst/{}.mat", partial(_read, store), CATEGORIES)


def _read(store: Store, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path)
    instances, categories = _instances(store, entry.annotation)
    check_size(instances.shape, pixels.shape[:2], f"GTinst.Segmentation of {entry.annotation}")
    objects = tuple(
        ObjectMask(instance_id, categories.get(instance_id), mask) for instance_id, mask in instance_masks(instances)
    )
    return ImageRecord(entry.image_id, entry.path, sha256, ABOUT.licence, pixels, objects)


def _instances(store: Store, path: str) -> tuple[NDArray[np.int64], dict[int, str]]:
    """The (H, W) map of instance ids, and the category name by instance id where the file gives one."""
    content = read_mat(store, path, "GTinst")
    try:
        truth = content[0, 0]
        instances = np.asarray(truth["Segmentation"])
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise ImageError("unreadable_annotation", f"{path}: GTinst has no Segmentation") from error
    whole = _whole_numbers(instances)
    if whole is None or whole.ndim != 2:
        raise ImageError("unreadable_annotation", f"{path}: GTinst.Segmentation is not a map of integers")
    return whole, _categories(truth)


def _whole_numbers(values: NDArray[Any]) -> NDArray[np.int64] | None:
    """The values as int64; None if one of them is not a whole number."""
    try:
        with np.errstate(invalid="ignore"):  # not a number
            whole = np.asarray(values, np.int64)
        return whole if np.array_equal(values, whole) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _categories(truth: Any) -> dict[int, str]:
    """Category name by instance id; ids with an unknown class number are left out."""
    if "Categories" not in truth.dtype.names:
        return {}
    numbers = {float(number): name for number, name in enumerate(CATEGORIES, start=1)}
    found = np.ravel(truth["Categories"])
    codes = found.tolist() if found.dtype.kind in "iuf" else []
    return {instance_id: numbers[code] for instance_id, code in enumerate(codes, start=1) if code in numbers}
