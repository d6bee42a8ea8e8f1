"""SBD: ``img/<id>.jpg``, ``inst/<id>.mat`` (GTinst.Segmentation), ``<split>.txt``; every instance id is an object."""

from __future__ import annotations

import io
import zlib
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from agg_pipeline.datasets.dataset import Dataset, fingerprint, need_folder, read_or_empty, read_split, split_name
from agg_pipeline.datasets.images import check_size, instance_masks, read_image
from agg_pipeline.storage import Store
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord, ObjectMask

LICENCE = "images: Flickr terms of use (PASCAL VOC 2011); annotations: research use"
HOMEPAGE = "http://home.bharathh.info/pubs/codes/SBD/download.html"
CITATION = "Hariharan, Arbelaez, Bourdev, Maji, Malik: Semantic Contours from Inverse Detectors. ICCV 2011"
BROKEN_MAT = (
    MatReadError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    NotImplementedError,
    zlib.error,
)
"""What scipy raises on files that are no .mat files, cut short, or of a newer version."""
CATEGORIES = [
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
]


def open_sbd(root: str, split: str) -> Dataset:
    """List a split of SBD; reads the annotations' bytes for the fingerprint, and no pixels."""
    store = Store(root)
    need_folder(store, "img", "sbd")
    need_folder(store, "inst", "sbd")
    ids = read_split(store, split)
    sizes = store.sizes(f"img/{image_id}.jpg" for image_id in ids)
    entries = tuple(
        ImageEntry(image_id, f"img/{image_id}.jpg", sizes.get(f"img/{image_id}.jpg", 0), f"inst/{image_id}.mat")
        for image_id in ids
    )
    annotations = (read_or_empty(store, entry.annotation) for entry in entries)
    return Dataset(
        "sbd",
        split_name(split),
        LICENCE,
        CITATION,
        HOMEPAGE,
        entries,
        fingerprint(entries, annotations),
        partial(_read, root),
    )


def _read(root: str, entry: ImageEntry) -> ImageRecord:
    store = Store(root)
    pixels, sha256 = read_image(store, entry.path)
    instances, categories = _instances(store, entry.annotation)
    check_size(instances.shape, (pixels.shape[0], pixels.shape[1]), f"GTinst.Segmentation of {entry.annotation}")
    objects = tuple(
        ObjectMask(instance, categories.get(instance), mask) for instance, mask in instance_masks(instances)
    )
    return ImageRecord(entry.image_id, entry.path, sha256, LICENCE, pixels, objects)


def _instances(store: Store, path: str) -> tuple[NDArray[np.integer[Any]], dict[int, str]]:
    """The (H, W) map of instance ids and the category name of each id, where the file gives one."""
    try:
        content = loadmat(io.BytesIO(store.read(path)))
    except FileNotFoundError:
        raise ImageError("unreadable_annotation", f"{path} does not exist") from None
    except BROKEN_MAT as error:
        raise ImageError("unreadable_annotation", f"{path} is no readable .mat file: {error}") from error
    if "GTinst" not in content:
        raise ImageError("unreadable_annotation", f"{path} has no GTinst")
    try:
        truth = content["GTinst"][0, 0]
        instances = np.asarray(truth["Segmentation"])
        codes = [int(code) for code in np.ravel(truth["Categories"])] if "Categories" in truth.dtype.names else []
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise ImageError("unreadable_annotation", f"{path}: GTinst has no Segmentation") from error
    try:
        whole = np.asarray(instances, np.int64) if np.array_equal(instances, np.asarray(instances, np.int64)) else None
    except (TypeError, ValueError, OverflowError):
        whole = None
    if whole is None or whole.ndim != 2:
        raise ImageError("unreadable_annotation", f"{path}: GTinst.Segmentation is no map of integers")
    names = {n + 1: CATEGORIES[code - 1] for n, code in enumerate(codes) if 1 <= code <= len(CATEGORIES)}
    return whole, names
