"""SA-1B: ``images/*.jpg``, and per image a JSON file of compressed run lengths in ``annotations``."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from heapq import nsmallest
from operator import attrgetter, itemgetter
from typing import Any

from agg_pipeline.datasets.coco import MAX_ID, read_segmentation
from agg_pipeline.datasets.dataset import About, Dataset, fingerprint
from agg_pipeline.datasets.file_listing import ALL, check_layout, is_list_file, read_list, split_name
from agg_pipeline.datasets.images import check_size, read_image
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.crop import MaskCrop, area, intersection
from schemas.errors import ImageError, UnusableFileError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask
from schemas.words import possible
from stages.draws import uniforms

ABOUT = About(
    name="sa1b",
    title="SA-1B",
    levels=("object",),
    licence="SA-1B Dataset Research License",
    citation="Kirillov et al.: Segment Anything. ICCV 2023",
    homepage="https://ai.meta.com/datasets/segment-anything",
    layout=("images", "annotations"),
    download="any of its archives; their *.jpg to images/, their *.json to annotations/",
)
EVAL = "eval"
"""Split of the protocol's evaluation (section 3)."""
EVAL_IMAGES = 1000
"""Images of the split ``eval``: the first ones by image id."""
EVAL_MASKS = 5
"""Masks per image of the split ``eval``."""
EVAL_SEED = 0
"""Seed by which these masks are drawn."""


def splits(_store: Store) -> tuple[str, ...]:
    """``all``; the split ``eval`` (the first 1000 images, five separate masks per image) is contained in it."""
    return (ALL,)


def open_sa1b(store: Store, split: str) -> Dataset:
    """List a split of SA-1B.

    The fingerprint uses the sizes of the annotations instead of their content, because there are millions of them.

    Args:
        store: root of the data set.
        split: ``all``, ``eval``, or the path of a list file.

    Raises:
        UserError: the layout or the split is not there, or a listed image is missing.
    """
    check_layout(store, ABOUT)
    if split not in (ALL, EVAL) and not is_list_file(split):
        raise UserError(f"unknown split {split!r} of sa1b; {possible(split, (ALL, EVAL))}, or a list file (*.txt)")
    wanted = set(read_list(split)) if is_list_file(split) else None
    # Millions of entries: nothing is held twice, and annotations only as names with sizes.
    listed = (
        ImageEntry(stem, f"images/{stem}.jpg", size, None)
        for stem, size in _stems(store, "images", ".jpg")
        if wanted is None or stem in wanted
    )
    by_id = attrgetter("image_id")
    entries = nsmallest(EVAL_IMAGES, listed, by_id) if split == EVAL else sorted(listed, key=by_id)
    if wanted is not None and len(entries) < len(wanted):
        first = min(wanted - {entry.image_id for entry in entries})
        raise UserError(f"{split} lists {first}, which is not in {store.url}/images")
    if not entries:
        raise UserError(f"{store.url}/images has no .jpg file")
    missing: list[int] = []
    digest = fingerprint(entries, _annotation_sizes(store, entries, missing))
    for number in missing:
        problem = "unreadable_annotation", f"annotations/{entries[number].image_id}.json does not exist"
        entries[number] = replace(entries[number], problem=problem)
    return Dataset(
        about=ABOUT,
        split=split_name(split),
        entries=tuple(entries),
        fingerprint=digest,
        reader=partial(_read, store, split == EVAL),
        strays=partial(_strays, store),
    )


def _annotation_sizes(store: Store, entries: Sequence[ImageEntry], missing: list[int]) -> Iterator[bytes]:
    """The size of each entry's annotation as text; empty if it is missing, and the entry's number is put on a list."""
    # A sorted list of short texts takes less memory than a dict.
    listed = sorted(f"{stem}/{size}" for stem, size in _stems(store, "annotations", ".json"))
    for number, entry in enumerate(entries):
        place = bisect_left(listed, f"{entry.image_id}/")
        stem, _, size = listed[place].partition("/") if place < len(listed) else ("", "", "")
        if stem != entry.image_id:
            missing.append(number)
        yield size.encode() if stem == entry.image_id else b""


def _stems(store: Store, folder: str, ending: str) -> Iterator[tuple[str, int]]:
    """(stem, bytes) of the files of a folder with this ending, in no order; hidden files are left out."""
    for name, size in store.listing(folder):
        if name.endswith(ending) and not name.startswith("."):
            yield name.removesuffix(ending), size


def _strays(store: Store) -> tuple[str, ...]:
    known = {stem for stem, _ in _stems(store, "images", ".jpg")}
    found = sorted(stem for stem, _ in _stems(store, "annotations", ".json") if stem not in known)
    return tuple(f"annotations/{stem}.json belongs to no image in images" for stem in found)


def _read(store: Store, choose: bool, entry: ImageEntry) -> ImageRecord:
    """Read an image; with ``choose``, only the masks that the evaluation uses."""
    pixels, sha256 = read_image(store, entry.path)
    height, width = pixels.shape[:2]
    path = f"annotations/{entry.image_id}.json"
    segmentations = _segmentations(store, path, (height, width))
    masks = [
        (number, read_segmentation(segmentations[number], height, width, f"{path}: {number}"))
        for number in sorted(segmentations)
    ]
    if choose:
        masks = separate(masks, entry.image_id)
    objects = tuple(ObjectMask(number, None, mask) for number, mask in masks)
    return ImageRecord(entry.image_id, entry.path, sha256, ABOUT.licence, pixels, objects)


def _segmentations(store: Store, path: str, size: tuple[int, int]) -> dict[int, Any]:
    """The segmentations of an image, by annotation id."""
    try:
        truth = json.loads(store.read_listed(path, limits.JSON_BYTES))
        given_size = truth["image"]["height"], truth["image"]["width"]
        annotations = [(item["id"], item["segmentation"]) for item in truth["annotations"]]
    except UnusableFileError as error:
        raise ImageError("unreadable_annotation", f"{path} {error.what}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError("unreadable_annotation", f"{path} is not an annotation of SA-1B: {error!r}") from error
    ids = [number for number, _ in annotations]
    if not all(isinstance(number, int) and 0 <= number < MAX_ID for number in ids) or len(set(ids)) < len(ids):
        what = f"{path} has ids that occur twice or are not whole numbers from 0 to 2^63"
        raise ImageError("unreadable_annotation", what)
    check_size(given_size, size, path)
    return dict(annotations)


def separate(masks: list[tuple[int, MaskCrop]], image_id: str) -> list[tuple[int, MaskCrop]]:
    """Draw the masks of an image that the evaluation uses: five that do not overlap.

    Args:
        masks: (id, mask) pairs, sorted by id.
        image_id: id of the image, part of the random numbers' key.

    Returns:
        The drawn pairs, sorted by id; fewer than five if no more non-empty masks are free of overlap.
    """
    draws = uniforms(EVAL_SEED, ABOUT.name, image_id, 0, "masks", 0, len(masks))
    chosen: list[tuple[int, MaskCrop]] = []
    for position in draws.argsort(kind="stable"):
        number, mask = masks[position]
        if area(mask) and not any(intersection(mask, other) for _, other in chosen):
            chosen.append((number, mask))
        if len(chosen) == EVAL_MASKS:
            break
    return sorted(chosen, key=itemgetter(0))
