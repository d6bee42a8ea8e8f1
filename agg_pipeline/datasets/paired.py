"""Sets with one mask image of the same stem per image: GrabCut, Berkeley, DAVIS, and any folder of that kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.dataset import FIRST_READING, About, Dataset
from agg_pipeline.datasets.file_listing import (
    ALL,
    FOLDER_BYTES,
    check_layout,
    check_only_split,
    listed,
    read_annotations,
    split_name,
)
from agg_pipeline.datasets.image_formats import header_notes
from agg_pipeline.datasets.image_stems import files_by_stem, no_picture, stems_of_split, stray_stems
from agg_pipeline.datasets.images import read_image
from agg_pipeline.datasets.label_maps import check_size, ignore_mask, instance_masks
from agg_pipeline.datasets.mask_images import lossy_note, palette_note, read_grey, read_labels, read_marked
from agg_pipeline.datasets.names import entries_of, joined
from agg_pipeline.storage.store import Store
from schemas.errors import ImageError
from schemas.records import ImageEntry, ImageRecord, ObjectMask

GRABCUT = About(
    name="grabcut",
    title="GrabCut",
    levels=("object",),
    licence="research use",
    citation="Rother, Kolmogorov, Blake: GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts. 2004",
    homepage="https://www.microsoft.com/en-us/research/project/image-segmentation",
    layout=("data_GT", "boundary_GT"),
    download="data_GT and boundary_GT of the GrabCut database, side by side",
)
BERKELEY = About(
    name="berkeley",
    title="Berkeley, 100 objects of BSDS images",
    levels=("object",),
    licence="research use (BSDS images)",
    citation="McGuinness, O'Connor: A Comparative Evaluation of Interactive Segmentation Algorithms. 2010",
    homepage="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds",
    layout=("images", "masks"),
    download="the images to images/, their masks to masks/, of the same stem",
)
DAVIS = About(
    name="davis",
    title="DAVIS, 345 frames",
    levels=("object",),
    licence="images: CC BY 4.0 or as published with each sequence; annotations: CC BY 4.0",
    citation="Perazzi et al.: A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation. CVPR 2016",
    homepage="https://davischallenge.org",
    layout=("img", "gt"),
    download="the 345 frames that interactive segmentation evaluates on, to img/, their masks to gt/",
)
FOLDER = About(
    name="folder",
    title="Any folder of images with one mask image each",
    levels=("object",),
    licence="unknown",
    citation="unknown",
    homepage="unknown",
    layout=("images", "masks"),
    download="your images to images/; to masks/ a PNG of the same stem, grey levels (8 or 16 bits) or palette indices "
    "being instance ids, 0 the background",
)
IGNORED = 128
"""Grey level of ignored pixels in GrabCut and Berkeley; higher levels are the object."""

TRIMAP_READING = 2
"""Version of the reading of trimaps (see ``fingerprint``). 2: levels of 16 bits are scaled (version 0.1.0 cut them)."""
COLOUR_READING = 2
"""Version of the reading of any channel. 2: the colours of a palette count (in version 0.1.0, the indices)."""

ReadTruth = Callable[[Store, str], tuple[NDArray[np.integer[Any]], NDArray[np.bool_] | None]]
"""(root, path of a mask image) -> (H, W) instance ids, and the (H, W) ignored pixels, None if there are none."""


@dataclass(frozen=True)
class Pairs:
    """How a set of image pairs is stored.

    Attributes:
        about: description of the data set.
        images: folder of the images.
        masks: folder of the mask images.
        read_truth: reads a mask image.
        reading: version of ``read_truth``.
    """

    about: About
    images: str
    masks: str
    read_truth: ReadTruth
    reading: int = FIRST_READING


def splits(_store: Store) -> tuple[str, ...]:
    """The one split of such a set."""
    return (ALL,)


def open_pairs(pairs: Pairs, store: Store, split: str) -> Dataset:
    """List a set of image pairs.

    Args:
        pairs: how the set is stored.
        store: root of the data set.
        split: ``all``, or the path of a list file with stems.

    Raises:
        UserError: the layout is not there, the split is unknown, or two files have the same stem.
    """
    check_layout(store, pairs.about)
    check_only_split(split, pairs.about.name)
    images, masks = files_by_stem(store, pairs.images), files_by_stem(store, pairs.masks)
    if not images:
        raise no_picture(store, pairs.images)
    mask_of = joined(images, masks)

    def entry(stem: str) -> ImageEntry:
        path, size = images[stem]
        if stem in mask_of or size == FOLDER_BYTES:
            return listed(stem, path, size, mask_of.get(stem, (None, 0))[0])
        return ImageEntry(stem, path, size, None, ("unreadable_annotation", f"{pairs.masks} has no mask for {path}"))

    stems = stems_of_split(images, split, f"{store.url}/{pairs.images}")
    entries = entries_of(stems, entry, lambda stem: images[stem][0])
    marked, digest = read_annotations(store, entries, reading=pairs.reading)
    return Dataset(
        about=pairs.about,
        split=split_name(split),
        entries=marked,
        fingerprint=digest,
        reader=partial(_read, pairs, store),
        strays=partial(stray_stems, store, pairs.masks, pairs.images),
    )


def _read(pairs: Pairs, store: Store, entry: ImageEntry) -> ImageRecord:
    pixels, sha256 = read_image(store, entry.path, entry.size)
    labels, ignored = pairs.read_truth(store, entry.annotation)
    check_size(labels.shape, pixels.shape[:2], entry.annotation)
    objects = tuple(ObjectMask(instance_id, None, mask) for instance_id, mask in instance_masks(labels))
    ignore = None if ignored is None else ignore_mask(ignored)
    return ImageRecord(entry.image_id, entry.path, sha256, "", pixels, objects, ignore)


def _read_trimap(store: Store, path: str) -> tuple[NDArray[np.integer[Any]], NDArray[np.bool_] | None]:
    grey = read_grey(store, path)
    if 0 < grey.max(initial=0) < IGNORED:
        what = f"{path} has no grey level above {grey.max()}; the object is above {IGNORED}"
        raise ImageError("unreadable_annotation", what)
    return (grey > IGNORED).view(np.uint8), grey == IGNORED


def _read_any_channel(store: Store, path: str) -> tuple[NDArray[np.integer[Any]], NDArray[np.bool_] | None]:
    """Every pixel with a non-zero channel is the object."""
    return read_marked(store, path).view(np.uint8), None


def _read_instances(store: Store, path: str) -> tuple[NDArray[np.integer[Any]], NDArray[np.bool_] | None]:
    return read_labels(store, path), None


def mask_notes(note: Callable[[Store, str], str | None], store: Store, entry: ImageEntry) -> list[str]:
    """What the headers of an image and of its mask say that may surprise whoever drew the mask; one line per note.

    Args:
        note: says it of a mask image, given the root and the path.
        store: root of the data set.
        entry: the image.
    """
    of_mask = note(store, entry.annotation) if entry.annotation else None
    return [*header_notes(store, entry.path), *([of_mask] if of_mask else [])]


folder_notes = partial(mask_notes, palette_note)
marked_notes = partial(mask_notes, lossy_note)
open_grabcut = partial(open_pairs, Pairs(GRABCUT, "data_GT", "boundary_GT", _read_trimap, TRIMAP_READING))
open_berkeley = partial(open_pairs, Pairs(BERKELEY, "images", "masks", _read_trimap, TRIMAP_READING))
open_davis = partial(open_pairs, Pairs(DAVIS, "img", "gt", _read_any_channel, COLOUR_READING))
open_folder = partial(open_pairs, Pairs(FOLDER, "images", "masks", _read_instances))
