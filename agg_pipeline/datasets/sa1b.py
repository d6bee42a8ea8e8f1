"""SA-1B: ``images/*.jpg`` and one JSON of compressed run lengths for each in ``annotations``."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from heapq import nsmallest
from operator import attrgetter, itemgetter

from agg_pipeline.datasets.coco import MAX_ID, read_segmentation
from agg_pipeline.datasets.dataset import About, Dataset, fingerprint
from agg_pipeline.datasets.file_listing import ALL, is_list_file, need_layout, read_list, split_name
from agg_pipeline.datasets.images import check_size, read_image
from agg_pipeline.storage.store import Store
from schemas.crop import MaskCrop, area, intersection
from schemas.errors import ImageError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask
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
EVAL_IMAGES = 1000
EVAL_MASKS = 5
EVAL_SEED = 0


def splits(_store: Store) -> tuple[str, ...]:
    """``all``; the split ``eval``, the first 1000 images with five separate masks each, is a part of it."""
    return (ALL,)


def open_sa1b(store: Store, split: str) -> Dataset:
    """List SA-1B. The fingerprint takes the annotations' sizes for their content: there are millions of them."""
    need_layout(store, ABOUT)
    if split not in (ALL, EVAL) and not is_list_file(split):
        raise UserError(f"unknown split {split!r} of sa1b; there are {ALL}, {EVAL}, and list files (*.txt)")
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
        missing = min(wanted - {entry.image_id for entry in entries})
        raise UserError(f"{split} lists {missing}, which is not in {store.url}/images")
    if not entries:
        raise UserError(f"{store.url}/images has no .jpg file")
    return Dataset(
        ABOUT,
        split_name(split),
        tuple(entries),
        fingerprint(entries, _annotation_sizes(store, entries)),
        partial(_read, store, split == EVAL),
        (),
        partial(_strays, store),
    )


def _annotation_sizes(store: Store, entries: Sequence[ImageEntry]) -> Iterator[bytes]:
    """The size of each entry's annotation, nothing for one that is missing."""
    listed = sorted(f"{stem}/{size}" for stem, size in _stems(store, "annotations", ".json"))
    for entry in entries:
        place = bisect_left(listed, f"{entry.image_id}/")
        stem, _, size = listed[place].partition("/") if place < len(listed) else ("", "", "")
        yield size.encode() if stem == entry.image_id else b""


def _stems(store: Store, folder: str, ending: str) -> Iterator[tuple[str, int]]:
    return ((name.removesuffix(ending), size) for name, size in store.listing(folder) if _has(name, ending))


def _has(name: str, ending: str) -> bool:
    return name.endswith(ending) and not name.startswith(".")


def _strays(store: Store) -> tuple[str, ...]:
    known = {stem for stem, _ in _stems(store, "images", ".jpg")}
    found = sorted(stem for stem, _ in _stems(store, "annotations", ".json") if stem not in known)
    return tuple(f"annotations/{stem}.json belongs to no image in images" for stem in found)


def _read(store: Store, choose: bool, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path)
    path = f"annotations/{entry.image_id}.json"
    try:
        truth = json.loads(store.read(path))
        size = truth["image"]["height"], truth["image"]["width"]
        annotations = [(item["id"], item["segmentation"]) for item in truth["annotations"]]
    except FileNotFoundError:
        raise ImageError("unreadable_annotation", f"{path} does not exist") from None
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ImageError("unreadable_annotation", f"{path} is no annotation of SA-1B: {error!r}") from error
    ids = [number for number, _ in annotations]
    if not all(isinstance(number, int) and 0 <= number < MAX_ID for number in ids) or len(set(ids)) < len(ids):
        what = f"{path} has ids that are there twice or are not whole numbers from 0 to 2^63"
        raise ImageError("unreadable_annotation", what)
    height, width = pixels.shape[:2]
    check_size(size, (height, width), path)
    annotations.sort(key=itemgetter(0))
    masks = [(number, read_segmentation(item, height, width, f"{path}: {number}")) for number, item in annotations]
    if choose:
        masks = separate(masks, entry.image_id)
    objects = tuple(ObjectMask(number, None, mask) for number, mask in masks)
    return ImageRecord(entry.image_id, entry.path, sha256, ABOUT.licence, pixels, objects)


def separate(masks: list[tuple[int, MaskCrop]], image_id: str) -> list[tuple[int, MaskCrop]]:
    """A seeded choice of five (id, mask) pairs, none overlapping another, in order of their ids; fewer if need be."""
    draws = uniforms(EVAL_SEED, ABOUT.name, image_id, 0, "masks", 0, len(masks))
    taken: list[tuple[int, MaskCrop]] = []
    for number in draws.argsort(kind="stable"):
        candidate = masks[number]
        if area(candidate[1]) and not any(intersection(candidate[1], mask) for _, mask in taken):
            taken.append(candidate)
        if len(taken) == EVAL_MASKS:
            break
    return sorted(taken, key=lambda item: item[0])
