"""COCO and other sets in its instance format: crowd regions are ignored pixels, all other annotations objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from agg_pipeline.datasets.dataset import About, Dataset, fingerprint
from agg_pipeline.datasets.file_listing import check_layout, listed, split_name
from agg_pipeline.datasets.images import check_size, ignore_mask, read_image
from agg_pipeline.storage.rle import decode
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.crop import MaskCrop, crop_mask
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask
from schemas.words import possible

ABOUT = About(
    name="coco",
    title="COCO, or any set in its instance format",
    levels=("object",),
    licence="images: Flickr terms of use, see each image; annotations: CC BY 4.0",
    citation="Lin et al.: Microsoft COCO: Common Objects in Context. ECCV 2014",
    homepage="https://cocodataset.org",
    layout=("annotations",),
    download="train2017.zip, val2017.zip and annotations_trainval2017.zip, unpacked side by side",
)
MAX_ID = 2**63
"""Annotation ids lie below it, so that they fit an int64 column."""
MAX_IMAGES_TRIED = 8
"""Images that are looked for in each candidate folder; several, because some may be missing."""


@dataclass(frozen=True, slots=True)
class _InstanceFile:
    """Checked content of an instance file; images and annotations are JSON objects as published."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: dict[Any, str]
    licences: dict[Any, str]


def splits(store: Store) -> tuple[str, ...]:
    """Names of the splits that are there."""
    names = (name for name in store.names("annotations") if name.startswith("instances_"))
    return tuple(name.removeprefix("instances_").removesuffix(".json") for name in names)


def open_coco(store: Store, split: str) -> Dataset:
    """List a split of a COCO set.

    Args:
        store: root of the data set.
        split: name of a split, read from ``annotations/instances_<split>.json``, or the path of a JSON file below
            the root.

    Raises:
        UserError: the file or the image folder is missing, or the file is not an instance file.
    """
    path = split
    if not split.endswith(".json"):
        check_layout(store, ABOUT)
        path = f"annotations/instances_{split}.json"
    where = f"{store.url}/{path}"
    try:
        content = store.read(path, limits.DATASET_JSON_BYTES)
    except FileNotFoundError:
        known = possible(split, (*splits(store), f"the path of a JSON file below {store.url}"))
        raise UserError(f"unknown split {split!r}, because {where} does not exist; {known}") from None
    truth = _parsed(content, where)
    of_image: dict[Any, list[dict[str, Any]]] = {}
    for annotation in truth.annotations:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    entries = _entries(store, split, truth, of_image)
    if len({entry.image_id for entry in entries}) < len(entries):
        raise UserError(f"{where} gives two images the same id")
    return Dataset(
        about=ABOUT,
        split=split_name(split),
        entries=tuple(entries),
        fingerprint=fingerprint(entries, [content]),
        reader=partial(_read, store),
        classes=tuple(truth.categories.values()),
        strays=partial(tuple, _stray_annotations(truth, of_image)),
    )


def _parsed(content: bytes, where: str) -> _InstanceFile:
    try:
        truth = json.loads(content)
        if not isinstance(truth, dict):
            raise ValueError(f"a {type(truth).__name__}, where an object with images and annotations is expected")
        parsed = _InstanceFile(
            images=truth["images"],
            annotations=truth["annotations"],
            categories={category["id"]: str(category["name"]) for category in truth.get("categories", [])},
            licences={licence["id"]: str(licence["name"]) for licence in truth.get("licenses", [])},
        )
        _check_images(parsed)
        _check_annotations(parsed)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{where} is not JSON: {error}") from error
    except KeyError as error:
        raise UserError(f"{where} is not a COCO instance file: {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where} is not a COCO instance file: {error}") from error
    if not parsed.images:
        raise UserError(f"{where} lists no image")
    return parsed


def _need(item: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if key not in item:
            raise KeyError(key)


def _check_images(truth: _InstanceFile) -> None:
    for image in truth.images:
        _need(image, "file_name", "height", "width")
        truth.licences.get(image.get("license"))  # TypeError if it cannot be a key.
        if not isinstance(image["id"], int | str):
            raise ValueError(f"image id {image['id']!r} is neither a number nor a text")


def _check_annotations(truth: _InstanceFile) -> None:
    seen = set()
    for annotation in truth.annotations:
        _need(annotation, "segmentation")
        truth.categories.get(annotation.get("category_id"))  # TypeError if it cannot be a key.
        image_id, number = annotation["image_id"], annotation["id"]
        if annotation.get("iscrowd", 0) not in (0, 1):
            raise ValueError(f"annotation {number!r} has iscrowd {annotation['iscrowd']!r}, which is neither 0 nor 1")
        if not isinstance(number, int) or not 0 <= number < MAX_ID:
            raise ValueError(f"annotation id {number!r} is not a whole number from 0 to 2^63")
        if (image_id, number) in seen:
            raise ValueError(f"annotation id {number} occurs twice in image {image_id}")
        seen.add((image_id, number))


def _entries(
    store: Store, split: str, truth: _InstanceFile, of_image: dict[Any, list[dict[str, Any]]]
) -> list[ImageEntry]:
    """One entry per image, sorted by id, with everything that ``_read`` needs."""
    folder = _image_folder(store, split, [image["file_name"] for image in truth.images[:MAX_IMAGES_TRIED]])
    sizes = store.sizes(f"{folder}{image['file_name']}" for image in truth.images)
    entries = []
    for image in truth.images:
        path = f"{folder}{image['file_name']}"
        annotation = {
            "size": (image["height"], image["width"]),
            "licence": truth.licences.get(image.get("license"), ABOUT.licence),
            "objects": [_object(each, truth.categories) for each in of_image.get(image["id"], [])],
        }
        entries.append(listed(str(image["id"]), path, sizes.get(path), annotation))
    return sorted(entries, key=lambda entry: entry.image_id)


def _object(annotation: dict[str, Any], categories: dict[Any, str]) -> dict[str, Any]:
    return {
        "id": annotation["id"],
        "category": categories.get(annotation.get("category_id")),
        "crowd": bool(annotation.get("iscrowd", 0)),
        "segmentation": annotation["segmentation"],
    }


def _image_folder(store: Store, split: str, files: Sequence[str]) -> str:
    """The first of the usual folders that holds one of the images."""
    name = split_name(split).removeprefix("instances_")
    candidates = [f"{name}/", f"images/{name}/", "images/", ""]
    for folder in candidates:
        if any(store.exists(f"{folder}{file}") for file in files):
            return folder
    looked = ", ".join(f"{store.url}/{folder}" for folder in candidates)
    raise UserError(f"image {files[0]} was not found; looked in {looked}")


def _stray_annotations(truth: _InstanceFile, of_image: dict[Any, list[dict[str, Any]]]) -> list[str]:
    listed = {image["id"] for image in truth.images}
    return [
        f"annotation {annotation['id']} belongs to image {image_id}, which is not listed"
        for image_id, annotations in of_image.items()
        if image_id not in listed
        for annotation in annotations
    ]


def _read(store: Store, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path)
    truth = entry.annotation
    height, width = pixels.shape[:2]
    check_size(truth["size"], (height, width), f"the size given for image {entry.image_id}")
    objects: list[ObjectMask] = []
    crowd = np.zeros((height, width), np.bool_)
    for annotation in sorted(truth["objects"], key=lambda each: each["id"]):
        mask = read_segmentation(annotation["segmentation"], height, width, f"annotation {annotation['id']}")
        if annotation["crowd"]:
            crowd |= mask.full()
        else:
            objects.append(ObjectMask(annotation["id"], annotation["category"], mask))
    return ImageRecord(entry.image_id, entry.path, sha256, truth["licence"], pixels, tuple(objects), ignore_mask(crowd))


def read_segmentation(segmentation: Any, height: int, width: int, what: str) -> MaskCrop:
    """Decode a segmentation in COCO's JSON.

    Args:
        segmentation: a list of polygons (x, y, x, y, ...), or an object with ``size`` and compressed or uncompressed
            run lengths in ``counts``.
        height: rows of the image.
        width: columns of the image.
        what: name of the annotation, for the error message.

    Raises:
        ImageError: ``unreadable_annotation``, the segmentation is broken; ``size_mismatch``, it has another size.
    """
    try:
        if isinstance(segmentation, dict):
            check_size(tuple(segmentation["size"]), (height, width), what)
        return crop_mask(decode(_compressed(segmentation, height, width), height, width), height, width)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise ImageError("unreadable_annotation", f"{what} has no readable segmentation: {error}") from error


def _compressed(segmentation: Any, height: int, width: int) -> bytes:
    """The segmentation as compressed counts."""
    if isinstance(segmentation, list):
        # pycocotools would take a polygon of four numbers for a box.
        if not segmentation or any(len(polygon) < 6 or len(polygon) % 2 for polygon in segmentation):
            raise ValueError("a polygon of fewer than three points")
        # pycocotools walks along every edge: far points would take all time and memory.
        if not all(abs(number) <= 2 * max(height, width) for polygon in segmentation for number in polygon):
            raise ValueError("a polygon leaves the image by more than its size")
        return bytes(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))["counts"])
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if any(not isinstance(count, int) or count < 0 for count in counts) or sum(counts) != height * width:
            raise ValueError(f"run lengths that do not add up to {height} x {width} pixels")
        return bytes(coco_mask.frPyObjects(segmentation, height, width)["counts"])
    if not isinstance(counts, str):
        raise ValueError(f"counts of type {type(counts).__name__}")
    return counts.encode()
