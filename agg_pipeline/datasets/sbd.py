"""SBD: ``img/<id>.jpg``, ``inst/<id>.mat`` (GTinst.Segmentation), ``<split>.txt``; every instance id is an object."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.dataset import About, Dataset, Published
from agg_pipeline.datasets.file_listing import check_layout, list_files, read_split
from agg_pipeline.datasets.image_stems import dataset_of_ids
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.label_maps import check_size, instance_masks
from agg_pipeline.datasets.matfile import read_mat
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord, ObjectMask

IDS = r"20(08|09|10|11)_\d{6}"
"""Form of the image ids, those of PASCAL VOC 2011."""
ABOUT = About(
    name="sbd",
    title="Semantic Boundaries Dataset",
    levels=("object",),
    licence="images: Flickr terms of use (PASCAL VOC 2011); annotations: research use",
    citation="Hariharan, Arbelaez, Bourdev, Maji, Malik: Semantic Contours from Inverse Detectors. ICCV 2011",
    homepage="http://home.bharathh.info/pubs/codes/SBD/download.html",
    layout=("img", "inst"),
    download="benchmark.tgz; the root is its folder dataset/ (img, inst, train.txt, val.txt)",
    published={"train": Published(8498, IDS), "val": Published(2857, IDS)},
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
    pixels, sha256 = read_image(store, entry.path, entry.size)
    instances, codes = _instances(store, entry.annotation, (pixels.shape[0], pixels.shape[1]))
    objects = tuple(
        ObjectMask(instance_id, _category(codes, instance_id), mask) for instance_id, mask in instance_masks(instances)
    )
    return ImageRecord(entry.image_id, entry.path, sha256, "", pixels, objects)


def _instances(store: Store, path: str, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The map of instance ids, of the size of the image, and the published class numbers of the ids from 1."""
    content = read_mat(store, path, "GTinst")
    try:
        truth = content[0, 0]
        instances = np.asarray(truth["Segmentation"])
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise ImageError("unreadable_annotation", f"{path}: GTinst has no Segmentation") from error
    what = f"{path}: GTinst.Segmentation is not a map of integers"
    if instances.ndim != 2 or instances.dtype.kind not in "iuf":
        raise ImageError("unreadable_annotation", what)
    # Before the conversion, which takes eight bytes per number.
    check_size(instances.shape, size, f"GTinst.Segmentation of {path}")
    whole = _whole_numbers(instances)
    if whole is None:
        raise ImageError("unreadable_annotation", what)
    return whole, np.ravel(truth["Categories"]) if "Categories" in truth.dtype.names else np.empty(0)


def _whole_numbers(values: NDArray[Any]) -> NDArray[np.int64] | None:
    """The values as int64; None if one of them is not a whole number."""
    with np.errstate(invalid="ignore"):  # not a number
        whole = np.asarray(values, np.int64)
    return whole if np.array_equal(values, whole) else None


def _category(codes: NDArray[Any], instance_id: int) -> str | None:
    """The category of an instance; None if its class number is missing or unknown."""
    if codes.dtype.kind not in "iuf" or instance_id > len(codes):
        return None
    code = codes[instance_id - 1]
    return CATEGORIES[int(code) - 1] if code in range(1, len(CATEGORIES) + 1) else None
