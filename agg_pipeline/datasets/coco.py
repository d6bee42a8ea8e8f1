"""COCO: any instance JSON with its images; crowd regions are ignored pixels, every other annotation is an object."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from agg_pipeline.datasets.dataset import About, Dataset, fingerprint
from agg_pipeline.datasets.file_listing import need_layout, split_name
from agg_pipeline.datasets.images import check_size, read_image
from agg_pipeline.storage.rle import decode
from agg_pipeline.storage.store import Store
from schemas.crop import MaskCrop, crop_mask
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask

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
TRIED = 8
"""Images that are looked for, to find their folder: some may be missing."""


def splits(store: Store) -> tuple[str, ...]:
    """Names of the splits that are there."""
    names = (name for name in store.names("annotations") if name.startswith("instances_"))
    return tuple(name.removeprefix("instances_").removesuffix(".json") for name in names)


def open_coco(store: Store, split: str) -> Dataset:
    """List ``annotations/instances_<split>.json`` below the root, or the JSON file that ``split`` names."""
    path = split
    if not split.endswith(".json"):
        need_layout(store, ABOUT)
        path = f"annotations/instances_{split}.json"
    where = f"{store.url}/{path}"
    try:
        content = store.read(path)
    except OSError:
        known = ", ".join(splits(store)) or "none"
        raise UserError(
            f"{where} does not exist; give a split (there are: {known}) or the JSON file's path below {store.url}"
        ) from None
    images, annotations, categories, licences = _parsed(content, where)
    folder = _image_folder(store, split, [image["file_name"] for image in images[:TRIED]])
    sizes = store.sizes(f"{folder}{image['file_name']}" for image in images)
    of_image: dict[Any, list[dict[str, Any]]] = {}
    for annotation in annotations:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    entries = [
        ImageEntry(
            str(image["id"]),
            f"{folder}{image['file_name']}",
            sizes.get(f"{folder}{image['file_name']}", 0),
            {
                "size": (image["height"], image["width"]),
                "licence": licences.get(image.get("license"), ABOUT.licence),
                "objects": [_payload(annotation, categories) for annotation in of_image.get(image["id"], [])],
            },
        )
        for image in images
    ]
    entries.sort(key=lambda entry: entry.image_id)
    if len({entry.image_id for entry in entries}) < len(entries):
        raise UserError(f"{where} gives two images the same id")
    listed = {image["id"] for image in images}
    strays = [
        f"annotation {annotation['id']} belongs to image {image_id}, which is not listed"
        for image_id, found in of_image.items()
        if image_id not in listed
        for annotation in found
    ]
    return Dataset(
        ABOUT,
        split_name(split),
        tuple(entries),
        fingerprint(entries, [content]),
        partial(_read, store),
        tuple(categories.values()),
        partial(tuple, strays),
    )


def _parsed(content: bytes, path: str) -> tuple[list[Any], list[Any], dict[Any, str], dict[Any, str]]:
    try:
        truth = json.loads(content)
        if not isinstance(truth, dict):
            raise ValueError(f"a {type(truth).__name__}, where an object with images and annotations is expected")
        categories = {category["id"]: str(category["name"]) for category in truth.get("categories", [])}
        licences = {licence["id"]: str(licence["name"]) for licence in truth.get("licenses", [])}
        images, annotations = truth["images"], truth["annotations"]
        for image in images:
            _ = image["file_name"], image["height"], image["width"]
            _ = licences.get(image.get("license"))
            if not isinstance(image["id"], int | str):
                raise ValueError(f"image id {image['id']!r} is neither a number nor a text")
        seen = set()
        for annotation in annotations:
            _ = annotation["segmentation"], categories.get(annotation.get("category_id"))
            number, place = annotation["id"], (annotation["image_id"], annotation["id"])
            if annotation.get("iscrowd", 0) not in (0, 1):
                raise ValueError(
                    f"annotation {number!r} has iscrowd {annotation['iscrowd']!r}, which is neither 0 nor 1"
                )
            if not isinstance(number, int) or not 0 <= number < MAX_ID:
                raise ValueError(f"annotation id {number!r} is not a whole number from 0 to 2^63")
            if place in seen:
                raise ValueError(f"annotation id {number} is there twice in image {place[0]}")
            seen.add(place)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    except KeyError as error:
        raise UserError(f"{path} is no COCO instance file: {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no COCO instance file: {error}") from error
    if not images:
        raise UserError(f"{path} lists no image")
    return images, annotations, categories, licences


def _payload(annotation: dict[str, Any], categories: dict[Any, str]) -> dict[str, Any]:
    return {
        "id": annotation["id"],
        "category": categories.get(annotation.get("category_id")),
        "crowd": bool(annotation.get("iscrowd", 0)),
        "segmentation": annotation["segmentation"],
    }


def _image_folder(store: Store, split: str, files: list[str]) -> str:
    """The first of the usual folders that holds one of the images."""
    name = split_name(split).removeprefix("instances_")
    candidates = [f"{name}/", f"images/{name}/", "images/", ""]
    for folder in candidates:
        if any(store.exists(f"{folder}{file}") for file in files):
            return folder
    looked = ", ".join(f"{store.url}/{folder}" for folder in candidates)
    raise UserError(f"image {files[0]} was not found; looked in {looked}")


def _read(store: Store, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path)
    truth = entry.annotation
    height, width = pixels.shape[:2]
    check_size(truth["size"], (height, width), f"the size given for image {entry.image_id}")
    objects: list[ObjectMask] = []
    crowd = np.zeros((height, width), np.bool_)
    for annotation in sorted(truth["objects"], key=lambda a: a["id"]):
        mask = _mask(annotation, height, width)
        if annotation["crowd"]:
            crowd |= mask.full()
        else:
            objects.append(ObjectMask(annotation["id"], annotation["category"], mask))
    ignore = crop_mask(crowd, height, width) if crowd.any() else None
    return ImageRecord(entry.image_id, entry.path, sha256, truth["licence"], pixels, tuple(objects), ignore)


def _mask(annotation: dict[str, Any], height: int, width: int) -> MaskCrop:
    return read_segmentation(annotation["segmentation"], height, width, f"annotation {annotation['id']}")


def read_segmentation(segmentation: Any, height: int, width: int, what: str) -> MaskCrop:
    """The mask of COCO polygons, or of a compressed or uncompressed RLE; ImageError, naming ``what``, if broken."""
    try:
        if isinstance(segmentation, dict):
            check_size(tuple(segmentation["size"]), (height, width), what)
        return crop_mask(decode(_counts(segmentation, height, width), height, width), height, width)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise ImageError("unreadable_annotation", f"{what} has no readable segmentation: {error}") from error


def _counts(segmentation: Any, height: int, width: int) -> bytes:
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
