"""PASCAL-Part: ``Annotations_Part/<id>.mat`` with every object's mask and parts; nested parts have a parent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.datasets.file_listing import list_files, listed, need_layout, read_split
from agg_pipeline.datasets.images import check_size, read_image
from agg_pipeline.datasets.matfile import read_mat
from agg_pipeline.datasets.sbd import CATEGORIES
from agg_pipeline.storage.store import Store
from schemas.crop import MaskCrop, area, crop_mask, intersection
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask

ABOUT = About(
    name="pascal_part",
    title="PASCAL-Part",
    levels=("object", "part"),
    licence="images: Flickr terms of use (PASCAL VOC 2010); annotations: research use",
    citation="Chen et al.: Detect What You Can: Detecting and Representing Objects using Holistic Models and Body "
    "Parts. CVPR 2014",
    homepage="https://roozbehm.info/pascal-parts/pascal-parts.html",
    layout=("JPEGImages", "Annotations_Part", "ImageSets/Main"),
    download="trainval.tar.gz (Annotations_Part) into VOCdevkit/VOC2010 of VOCtrainval_03-May-2010.tar, the root",
)
LISTS = "ImageSets/Main/"
ANNOTATION = "Annotations_Part/{}.mat"
TEST = "test"
NESTED = 0.9
"""A part that lies in a larger one with at least this share of its pixels is a part of it."""

WORDS = {
    "bliplate": "back licence plate",
    "fliplate": "front licence plate",
    "handlebar": "handlebar",
    "headlight": "headlight",
    "chainwheel": "chain wheel",
    "bwheel": "back wheel",
    "fwheel": "front wheel",
    "screen": "screen",
    "lwing": "left wing",
    "rwing": "right wing",
    "lebrow": "left eyebrow",
    "rebrow": "right eyebrow",
    "lear": "left ear",
    "rear": "right ear",
    "leye": "left eye",
    "reye": "right eye",
    "lhorn": "left horn",
    "rhorn": "right horn",
    "lhand": "left hand",
    "rhand": "right hand",
    "lfoot": "left foot",
    "rfoot": "right foot",
    "llarm": "left lower arm",
    "luarm": "left upper arm",
    "rlarm": "right lower arm",
    "ruarm": "right upper arm",
    "llleg": "left lower leg",
    "luleg": "left upper leg",
    "rlleg": "right lower leg",
    "ruleg": "right upper leg",
    "lleg": "left leg",
    "rleg": "right leg",
}
_LIMB = re.compile(r"(?P<side>[lr])(?P<end>[fb])(?P<piece>leg|uleg|lleg|pa|ho)")
_SIDE = re.compile(r"(?P<of>[hc]?)(?P<side>front|left|right|back|roof)(?P<what>side|mirror)")
_PIECES = {"leg": "leg", "uleg": "upper leg", "lleg": "lower leg", "pa": "paw", "ho": "hoof"}


def part_name(label: str) -> str:
    """A published part name in readable words: ``lfuleg`` is the left front upper leg, ``wheel_2`` wheel 2."""
    stem, _, number = label.partition("_")
    limb, side = _LIMB.fullmatch(stem), _SIDE.fullmatch(stem)
    if stem in WORDS:
        words = WORDS[stem]
    elif limb:
        ends = {"l": "left", "r": "right", "f": "front", "b": "back"}
        words = f"{ends[limb['side']]} {ends[limb['end']]} {_PIECES[limb['piece']]}"
    elif side:
        of = {"h": "head ", "c": "coach ", "": ""}[side["of"]]
        words = f"{of}{side['side']} {side['what']}"
    else:
        words = stem
    return f"{words} {number}".strip()


def splits(store: Store) -> tuple[str, ...]:
    """Names of the splits that are there, without single classes and without the test images, which have no parts."""
    of_classes = tuple(f"{category}_" for category in CATEGORIES)
    return tuple(name for name in list_files(store, LISTS) if name != TEST and not name.startswith(of_classes))


def open_pascal_part(store: Store, split: str) -> Dataset:
    """List a split; reads the annotations' bytes for the fingerprint, and no pixels."""
    need_layout(store, ABOUT)
    ids = read_split(store, split, LISTS, flags=True)
    # So are PASCAL's test images.
    if not store.sizes(ANNOTATION.format(image_id) for image_id in ids):
        raise UserError(f"no image of split {split} has a part annotation in {store.url}/Annotations_Part")
    return listed(store, ABOUT, split, ids, "JPEGImages/{}.jpg", ANNOTATION, partial(_read, store), CATEGORIES)


def _read(store: Store, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path)
    size = pixels.shape[0], pixels.shape[1]
    path = entry.annotation
    annotation = read_mat(store, path, "anno")
    try:
        found = np.ravel(annotation[0, 0]["objects"])
        objects = tuple(_object(number, item, size, path) for number, item in enumerate(found, start=1))
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise ImageError("unreadable_annotation", f"{path}: anno is not as published: {error}") from error
    return ImageRecord(entry.image_id, entry.path, sha256, ABOUT.licence, pixels, objects)


def _object(number: int, item: Any, size: tuple[int, int], path: str) -> ObjectMask:
    category = str(np.ravel(item["class"])[0])
    what = f"{path}: {category} {number}"
    mask = _mask(item["mask"], size, what)
    parts: list[tuple[str, MaskCrop]] = []
    for part in np.ravel(item["parts"]):
        label = str(np.ravel(part["part_name"])[0])
        parts.append((label, _mask(part["mask"], size, f"{what}, {label}")))
    return ObjectMask(number, category, mask, nested(parts))


def _mask(values: NDArray[Any], size: tuple[int, int], what: str) -> MaskCrop:
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{what} is of type {type(values).__name__}, no array")
    check_size(values.shape, size, what)
    return crop_mask(values != 0, *size)


def nested(parts: Sequence[tuple[str, MaskCrop]]) -> tuple[PartMask, ...]:
    """(label, mask) pairs as parts; the parent of each is the smallest larger part that holds at least 0.9 of it.

    A label that is there twice gets a running number in its part_id.
    """
    ids: list[str] = []
    for label, _ in parts:
        again = sum(other == label for other, _ in parts[: len(ids)])
        ids.append(f"{label}#{again + 1}" if again else label)
    found = []
    for number, (label, mask) in enumerate(parts):
        around = [
            (area(other), n)
            for n, (_, other) in enumerate(parts)
            if 0 < area(mask) < area(other) and intersection(other, mask) >= NESTED * area(mask)
        ]
        parent = ids[min(around)[1]] if around else None
        found.append(PartMask(ids[number], label, part_name(label), mask, parent))
    return tuple(found)
