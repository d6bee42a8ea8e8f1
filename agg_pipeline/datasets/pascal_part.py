"""PASCAL-Part: ``Annotations_Part/<id>.mat`` with every object's mask and parts; nested parts have a parent."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from agg_pipeline.datasets.broken_objects import rejects_of
from agg_pipeline.datasets.dataset import About, Dataset, Published
from agg_pipeline.datasets.file_listing import check_layout, list_files, read_split
from agg_pipeline.datasets.image_stems import dataset_of_ids, found_files
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.label_maps import check_size
from agg_pipeline.datasets.matfile import read_mat
from agg_pipeline.datasets.names import id_problem, text_problem
from agg_pipeline.datasets.sbd import CATEGORIES
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.crop import MaskCrop, area, crop_mask, intersection
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask

IDS = r"20(07|08|09|10)_\d{6}"
"""Form of the image ids."""
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
    published={"train": Published(4998, IDS), "val": Published(5105, IDS), "trainval": Published(10103, IDS)},
)
LISTS = "ImageSets/Main/"
"""Folder of the list files."""
ANNOTATION = "Annotations_Part/{}.mat"
"""Path of an annotation, by image id."""
READING = 2
"""Version of the reading (see ``fingerprint``). 2: the class ``table`` is ``diningtable``."""
TEST = "test"
"""PASCAL's split without part annotations."""
NESTED = 0.9
"""A part is nested in a larger part that contains at least this share of its pixels."""

WORDS = {
    "bliplate": "back licence plate",
    "fliplate": "front licence plate",
    "chainwheel": "chain wheel",
    "bwheel": "back wheel",
    "fwheel": "front wheel",
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
"""Published part names that follow no rule, in readable words."""
# "lfuleg": left front upper leg; "hfrontside": head front side.
_LIMB = re.compile(r"(?P<side>[lr])(?P<end>[fb])(?P<piece>leg|uleg|lleg|pa|ho)")
_SIDE = re.compile(r"(?P<of>[hc]?)(?P<side>front|left|right|back|roof)(?P<what>side|mirror)")
_PIECES = {"leg": "leg", "uleg": "upper leg", "lleg": "lower leg", "pa": "paw", "ho": "hoof"}


def part_name(label: str) -> str:
    """A published part name in readable words.

    ``lfuleg`` becomes "left front upper leg", ``wheel_2`` becomes "wheel 2".
    """
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
    """Names of the splits that are there; lists of one class and the test images, which have no parts, are left out."""
    class_lists = tuple(f"{category}_" for category in CATEGORIES)
    return tuple(name for name in list_files(store, LISTS) if name != TEST and not name.startswith(class_lists))


def open_pascal_part(store: Store, split: str) -> Dataset:
    """List a split; reads the annotations' bytes for the fingerprint, but no pixels.

    Args:
        store: root of the data set.
        split: name of a split, read from ``ImageSets/Main/<split>.txt``, or the path of a list file.

    Raises:
        UserError: the layout or the split is not there, or no image of the split has a part annotation.
    """
    check_layout(store, ABOUT)
    ids = read_split(store, split, LISTS, flags=True)
    # PASCAL's test images, for example, are listed but have no part annotations.
    if not found_files(store, [ANNOTATION.format(each) for each in ids if id_problem(each) is None]):
        raise UserError(f"no image of split {split} has a part annotation in {store.url}/Annotations_Part")
    image, reader = "JPEGImages/{}.jpg", partial(_read, store)
    return dataset_of_ids(store, ABOUT, split, ids, image, ANNOTATION, reader, CATEGORIES, READING)


def _read(store: Store, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path, entry.size)
    size = pixels.shape[0], pixels.shape[1]
    path = entry.annotation
    annotation = read_mat(store, path, "anno")
    with _as_published(path):
        items = np.ravel(annotation[0, 0]["objects"])
    objects: list[ObjectMask] = []
    broken: list[tuple[int | None, ImageError]] = []
    for number, item in enumerate(items, start=1):
        try:
            instance, errors = _object(number, item, size, path)
        except ImageError as error:
            broken.append((number, error))
            continue
        objects.append(instance)
        broken += [(number, error) for error in errors]
    rejects = rejects_of(entry.image_id, broken, usable=bool(objects))
    return ImageRecord(entry.image_id, entry.path, sha256, "", pixels, tuple(objects), rejects=rejects)


def _object(number: int, item: Any, size: tuple[int, int], path: str) -> tuple[ObjectMask, list[ImageError]]:
    """An object with those of its parts that can be used, and what is wrong with the others."""
    with _as_published(path):
        category = _category(item, f"{path}: object {number}")
        what = f"{path}: {category} {number}"
        mask = _mask(item["mask"], size, what)
        published = np.ravel(item["parts"])
    if len(published) > limits.PARTS_PER_OBJECT:
        detail = f"{what} has {len(published):,} parts; the limit is {limits.PARTS_PER_OBJECT:,}"
        raise ImageError("unreadable_annotation", detail)
    parts: list[tuple[str, MaskCrop]] = []
    broken: list[ImageError] = []
    for part in published:
        try:
            with _as_published(what):
                label = _text(part["part_name"], f"{what}, part_name")
                parts.append((label, _mask(part["mask"], size, f"{what}, {label}")))
        except ImageError as error:
            broken.append(error)
    return ObjectMask(number, category, mask, nested(parts)), broken


@contextmanager
def _as_published(where: str) -> Iterator[None]:
    """Around what takes a published structure apart: ImageError if it is another one."""
    try:
        yield
    except (IndexError, KeyError, ValueError, TypeError) as error:
        # The words of NumPy would not help.
        expected = "objects have class, mask and parts, and parts have part_name and mask"
        raise ImageError("unreadable_annotation", f"{where}: anno is not as published: {expected}") from error


def _category(item: Any, what: str) -> str:
    """The class of an object as the set lists it; the files call a diningtable a table."""
    name = _text(item["class"], f"{what}, class")
    if name in CATEGORIES or "class_ind" not in item.dtype.names:
        return name
    numbers = np.ravel(item["class_ind"])
    known = len(numbers) == 1 and numbers[0] in range(1, len(CATEGORIES) + 1)
    return CATEGORIES[int(numbers[0]) - 1] if known else name


def _text(value: Any, what: str) -> str:
    """A text of a file; ImageError if it is none, or cannot be a name."""
    texts = np.ravel(value)
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise ImageError("unreadable_annotation", f"{what} is not a text")
    problem = text_problem(texts[0])
    if problem is not None:
        raise ImageError("unreadable_annotation", f"{what} {problem}")
    return str(texts[0])


def _mask(values: Any, size: tuple[int, int], what: str) -> MaskCrop:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise ImageError("unreadable_annotation", f"the mask of {what} is not an array of real numbers")
    check_size(values.shape, size, what)
    # What another program left here, such as probabilities, does not say which pixels belong to the object.
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise ImageError("unreadable_annotation", f"the mask of {what} has numbers that are not whole")
    if values.min(initial=0) < 0:
        raise ImageError("unreadable_annotation", f"the mask of {what} has numbers below 0")
    return crop_mask(values != 0, *size)


def nested(parts: Sequence[tuple[str, MaskCrop]]) -> tuple[PartMask, ...]:
    """Turn the labelled masks of one object into parts with their parents.

    The parent is the smallest larger part that contains at least 90 % of the part's pixels.

    Args:
        parts: (published label, mask) pairs, as they are listed.

    Returns:
        The parts in the same order. Their ids are the labels; a repeated label gets a running number (``eye#2``).
    """
    ids = _unique_ids([label for label, _ in parts])
    pixels = [area(mask) for _, mask in parts]
    found = []
    for number, (part_id, (label, mask)) in enumerate(zip(ids, parts, strict=True)):
        around = _smallest_around(number, pixels, parts)
        parent = None if around is None else ids[around]
        found.append(PartMask(part_id, label, part_name(label), mask, parent))
    return tuple(found)


def _unique_ids(labels: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    taken, ids = set(labels), []
    for label in labels:
        seen[label] += 1
        part_id, number = label, seen[label]
        while number > 1 and part_id in taken:
            part_id, number = f"{label}#{number}", number + 1
        taken.add(part_id)
        ids.append(part_id)
    return ids


def _smallest_around(number: int, pixels: Sequence[int], parts: Sequence[tuple[str, MaskCrop]]) -> int | None:
    """Number of the smallest larger part that contains a part; the first one if several are equally small."""
    own, mask = pixels[number], parts[number][1]
    parent, smallest = None, math.inf
    for other, larger in enumerate(pixels):
        if 0 < own < larger < smallest and intersection(parts[other][1], mask) >= NESTED * own:
            parent, smallest = other, larger
    return parent
