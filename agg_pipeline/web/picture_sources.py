"""Where the images of a page come from: a data set, a folder of photographs, or a visitor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.image_formats import ENDINGS, opened_content
from agg_pipeline.datasets.images import upright_pixels
from agg_pipeline.web.visits import Picture, resized, shown
from schemas.errors import ImageError, UserError
from schemas.words import excerpt, printable, quoted

UPLOAD_BYTES = 40_000_000
"""Largest file that a visitor may bring."""
UPLOAD_PIXELS = 50_000_000
"""Most pixels of an image that a visitor may bring, or of one in a folder."""
LISTED = 200
"""Images of a data set or folder that a page offers."""


@dataclass(frozen=True)
class PictureSource:
    """Images that a page offers.

    Attributes:
        names: what they are called.
        open: gives one of them.
    """

    names: tuple[str, ...]
    open: Callable[[str], Picture]


def of_dataset(dataset: Dataset) -> PictureSource:
    """The first images of a data set, with their masks as ground truth."""
    entries = {printable(entry.image_id): entry for entry in dataset.entries[:LISTED]}

    def opened(name: str) -> Picture:
        if name not in entries:
            raise UserError(f"there is no image {quoted(name)}")
        try:
            record = dataset.read(entries[name])
        except ImageError as error:
            raise UserError(f"this image cannot be used: {error.detail}") from error
        return shown(name, record.pixels, [each.mask for each in record.objects])

    return PictureSource(tuple(entries), opened)


def of_folder(folder: Path) -> PictureSource:
    """The first photographs of a folder, in the order of their names; UserError if it has none."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower().removeprefix(".") in ENDINGS)
    if not files:
        raise UserError(f"{folder} has no image; the names of images end with .jpg, .png or alike")
    listed = {printable(path.name): path for path in files[:LISTED]}

    def opened(name: str) -> Picture:
        if name not in listed:
            raise UserError(f"there is no image {quoted(name)}")
        path = listed[name]
        if not path.is_file() or path.stat().st_size > UPLOAD_BYTES:
            raise UserError(f"{name} is no file of up to {UPLOAD_BYTES:,} bytes")
        return of_content(path.read_bytes(), name)

    return PictureSource(tuple(listed), opened)


def of_content(content: bytes, name: str) -> Picture:
    """A photograph from the bytes of its file, turned as its EXIF data says.

    Args:
        content: bytes of an image file.
        name: what messages call it.

    Raises:
        UserError: it is no image, or too large.
    """
    called = excerpt(printable(name), 80)
    try:
        with opened_content(content, called, "unreadable_image", UPLOAD_PIXELS) as image:
            return shown(called, upright_pixels(image, called))
    except ImageError as error:
        raise UserError(error.detail) from error


def mask_of_content(content: bytes, picture: Picture) -> NDArray[np.bool_]:
    """A mask of a picture from the bytes of an image file: what is not black.

    Args:
        content: bytes of an image file, of the size of the picture as it was given or as it is shown.
        picture: the picture.

    Returns:
        (H, W) bool, of the size of the picture's pixels.

    Raises:
        UserError: it is no image, or of another size.
    """
    try:
        with opened_content(content, "the mask", "unreadable_annotation", UPLOAD_PIXELS) as image:
            mask = np.asarray(upright_pixels(image, "the mask").any(axis=2))
    except ImageError as error:
        raise UserError(error.detail) from error
    if mask.shape == picture.size:
        return mask
    if mask.shape != (picture.height, picture.width):
        raise UserError(f"the mask is {mask.shape[0]}x{mask.shape[1]}, the image {picture.height}x{picture.width}")
    return resized(mask, *picture.size)
