"""SA-1B: ``images/*.jpg``, and per image a JSON file of compressed run lengths in ``annotations``."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from heapq import nsmallest
from operator import attrgetter, itemgetter

from msgspec import Raw, Struct

from agg_pipeline.datasets.broken_objects import rejects_of
from agg_pipeline.datasets.coco_masks import read_segmentation
from agg_pipeline.datasets.dataset import About, Dataset, fingerprint
from agg_pipeline.datasets.file_listing import (
    ALL,
    FOLDER_BYTES,
    check_layout,
    is_list_file,
    listed,
    read_list,
    split_name,
)
from agg_pipeline.datasets.image_stems import not_there
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.instances import TOO_MANY, Instance, InstanceId, Numbered, SidePixels, check_exact, in_order
from agg_pipeline.datasets.json_entries import decode_document, most_entries, readable_part
from agg_pipeline.datasets.label_maps import check_size
from agg_pipeline.datasets.names import entries_of, text_problem
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.checked_json import decode
from schemas.crop import MaskCrop, area, intersection
from schemas.errors import ImageError, StorageError, UnusableFileError, UserError
from schemas.records import ImageEntry, ImageRecord, ObjectMask
from schemas.words import possible, printable
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
    found = (
        listed(stem, f"images/{stem}.jpg", size, None)
        for stem, size in _stems(store, "images", ".jpg")
        if wanted is None or stem in wanted
    )
    by_id = attrgetter("image_id")
    entries = nsmallest(EVAL_IMAGES, found, by_id) if split == EVAL else sorted(found, key=by_id)
    if wanted is not None and len(entries) < len(wanted):
        raise not_there(split, wanted - {entry.image_id for entry in entries}, f"{store.url}/images")
    if not entries:
        raise UserError(f"{store.url}/images has no .jpg file")
    if any(text_problem(entry.image_id) for entry in entries):
        of_stem = {entry.image_id: entry for entry in entries}
        entries = entries_of(of_stem, of_stem.__getitem__, "images/{}.jpg".format)
    missing: list[int] = []
    digest = fingerprint(entries, _annotation_sizes(store, entries, missing))
    for number in missing:
        problem = "unreadable_annotation", f"annotations/{entries[number].image_id}.json does not exist"
        entries[number] = replace(entries[number], problem=entries[number].problem or problem)
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
    found = sorted(f"{stem}/{size}" for stem, size in _stems(store, "annotations", ".json") if size != FOLDER_BYTES)
    for number, entry in enumerate(entries):
        place = bisect_left(found, f"{entry.image_id}/")
        stem, _, size = found[place].partition("/") if place < len(found) else ("", "", "")
        if stem != entry.image_id:
            missing.append(number)
        yield size.encode() if stem == entry.image_id else b""


def _stems(store: Store, folder: str, ending: str) -> Iterator[tuple[str, int]]:
    """(stem, bytes) of what has this ending in a folder, in no order; ``FOLDER_BYTES`` of folders. No hidden ones."""
    for name, size in store.entries(folder):
        if name.endswith(ending) and not name.startswith("."):
            yield name.removesuffix(ending), FOLDER_BYTES if size is None else size


def _strays(store: Store) -> tuple[str, ...]:
    known = {stem for stem, _ in _stems(store, "images", ".jpg")}
    found = sorted(stem for stem, _ in _stems(store, "annotations", ".json") if stem not in known)
    return tuple(printable(f"annotations/{stem}.json belongs to no image in images") for stem in found)


class _Size(Struct, frozen=True):
    height: SidePixels
    width: SidePixels


class _Annotated(Struct, frozen=True):
    """An image's file of annotations; they are not decoded."""

    image: _Size
    annotations: list[Raw]


class _Annotation(Struct, frozen=True):
    id: InstanceId
    segmentation: Raw


def _read(store: Store, choose: bool, entry: ImageEntry) -> ImageRecord:
    """Read an image; with ``choose``, only the masks that the evaluation uses."""
    pixels, sha256 = read_image(store, entry.path, entry.size)
    height, width = pixels.shape[:2]
    path = f"annotations/{entry.image_id}.json"
    masks: list[tuple[int, MaskCrop]] = []
    broken: list[tuple[int | None, ImageError]] = []
    for instance in in_order(_instances(store, path, (height, width))):
        try:
            if instance.number is None or instance.problem:
                raise ImageError("unreadable_annotation", f"{path}: {instance.problem}")
            what = f"{path}: {instance.number}"
            masks.append((instance.number, read_segmentation(instance.segmentation, height, width, what)))
        except ImageError as error:
            broken.append((instance.number, error))
    rejects = rejects_of(entry.image_id, broken, usable=bool(masks))
    if choose:
        masks = separate(masks, entry.image_id)
    objects = tuple(ObjectMask(number, None, mask) for number, mask in masks)
    return ImageRecord(entry.image_id, entry.path, sha256, "", pixels, objects, rejects=rejects)


def _instances(store: Store, path: str, size: tuple[int, int]) -> list[Instance]:
    """The annotations of an image."""
    try:
        content = store.read_listed(path, limits.JSON_BYTES)
        # Before they are held in memory, with a margin for what else is in the file.
        limit = 2 * limits.OBJECTS_PER_IMAGE
        if content.count(b",") > limit and most_entries(content) > limit:
            raise ImageError("unreadable_annotation", f"{path}: {TOO_MANY}")
        truth = decode_document(content, _Annotated, path, "an annotation of SA-1B")
    except UnusableFileError as error:
        raise ImageError("unreadable_annotation", f"{path} {error.what}") from error
    except StorageError:
        raise
    except UserError as error:
        raise ImageError("unreadable_annotation", str(error)) from error
    check_size((truth.image.height, truth.image.width), size, path)
    if len(truth.annotations) > limits.OBJECTS_PER_IMAGE:
        raise ImageError("unreadable_annotation", f"{path}: {TOO_MANY}")
    found: dict[int, Instance] = {}
    broken: list[Instance] = []
    for place, raw in enumerate(truth.annotations):
        try:
            what = f"annotations[{place}]"
            each = decode(bytes(raw), _Annotation, what, strict=False)
            check_exact(each.id, raw, what)
            problem = f"annotation id {each.id} occurs twice" if each.id in found else ""
            instance = Instance(each.id, segmentation=bytes(each.segmentation), problem=problem)
        except UserError as error:
            named = readable_part(raw, Numbered)
            instance = Instance(None if named is None else named.id, problem=printable(str(error)))
        if instance.problem:
            broken.append(instance)
        else:
            found[each.id] = instance
    # A broken annotation has its number only if no other one does.
    unnamed: list[Instance] = []
    for instance in broken:
        if instance.number is None or instance.number in found:
            unnamed.append(Instance(None, problem=instance.problem))
        else:
            found[instance.number] = instance
    return [*found.values(), *unnamed]


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
