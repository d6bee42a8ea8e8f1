"""Reading image files of every common colour mode, and label maps as object masks."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy.ndimage import find_objects

from agg_pipeline.storage.store import Store
from schemas.crop import MaskCrop, crop_mask
from schemas.errors import ImageError

MAX_DENSE_ID = 65535
WITH_OPACITY = ("LA", "La", "PA", "RGBA", "RGBa")
"""Pillow's modes whose last channel is the opacity."""
BROKEN_IMAGE = (
    *(OSError, ValueError, SyntaxError, TypeError, NotImplementedError, IndexError, KeyError, OverflowError),
    *(EOFError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow's decoders raise on broken files."""


def read_image(store: Store, path: str) -> tuple[NDArray[np.uint8], str]:
    """The (H, W, 3) uint8 RGB pixels of an image file as stored (no EXIF rotation) and the file's sha256.

    Grey, palette, CMYK and 16-bit images are converted; transparency is dropped. ImageError: unreadable_image.
    """
    with _opened(store, path, "unreadable_image") as (image, content):
        return _rgb(image), hashlib.sha256(content).hexdigest()


def file_sha256(store: Store, path: str) -> str:
    """The sha256 (hex) of an image file, which is not decoded; ImageError: unreadable_image."""
    return hashlib.sha256(_content(store, path, "unreadable_image")).hexdigest()


@contextmanager
def _opened(store: Store, path: str, reason: str) -> Iterator[tuple[Image.Image, bytes]]:
    """An image file and its bytes; ImageError, with this reason, if it cannot be read or decoded."""
    content = _content(store, path, reason)
    try:
        with warnings.catch_warnings():
            # What the decoder remarks does not concern the user; what it cannot decode is an error.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                yield image, content
    except BROKEN_IMAGE as error:
        raise ImageError(reason, f"{path}: {_message(error)}") from error


def _content(store: Store, path: str, reason: str) -> bytes:
    try:
        return store.read(path)
    except FileNotFoundError:
        raise ImageError(reason, f"{path} does not exist") from None
    except OSError as error:
        raise ImageError(reason, f"{path}: {error.strerror}") from error


def _message(error: BaseException) -> str:
    # Pillow's own names an object in memory.
    return "cannot identify the image file" if isinstance(error, UnidentifiedImageError) else str(error)


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        # 16 bits a pixel (or more): the full range is scaled to 8 bits, where PIL would clip it.
        grey = np.asarray(image).astype(np.float64)
        grey8 = np.clip(np.rint(grey / 257.0), 0, 255).astype(np.uint8)
        return np.repeat(grey8[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


def read_array(store: Store, path: str) -> NDArray[Any]:
    """A mask or label image as stored: (H, W) of grey levels or palette indices, 8 or 16 bits, or (H, W, C) colours.

    Opacity is dropped. ImageError: unreadable_annotation.
    """
    with _opened(store, path, "unreadable_annotation") as (image, _):
        return _array(image)


def _array(image: Image.Image) -> NDArray[Any]:
    values = np.array(image)
    return values[..., :-1] if image.mode in WITH_OPACITY else values


def read_grey(store: Store, path: str) -> NDArray[np.uint8]:
    """The (H, W) grey levels, 0 to 255, of a mask image, however it is stored; ImageError: unreadable_annotation."""
    with _opened(store, path, "unreadable_annotation") as (image, _):
        return np.array(image.convert("L"))


def read_labels(store: Store, path: str) -> NDArray[np.int64]:
    """The (H, W) ids of a label image: grey levels or palette indices; colours only where they are all grey."""
    with _opened(store, path, "unreadable_annotation") as (image, _):
        if image.format == "JPEG":
            raise ImageError("unreadable_annotation", f"{path} is a JPEG, which changes ids; store it as PNG")
        values = _array(image)
    if values.ndim == 3:
        grey = values[..., :1]
        if not np.array_equal(values, np.broadcast_to(grey, values.shape)):
            raise ImageError("unreadable_annotation", f"{path} has colours; ids are grey levels or palette indices")
        values = grey[..., 0]
    if values.dtype.kind not in "uib":
        raise ImageError("unreadable_annotation", f"{path} has values of type {values.dtype}, ids are whole numbers")
    return values.astype(np.int64)


def instance_masks(labels: NDArray[np.integer[Any]]) -> list[tuple[int, MaskCrop]]:
    """(id, mask) of every id > 0 in a (H, W) label map, in order of the ids; one pass over the frame.

    ImageError: unreadable_annotation, for an id below 0.
    """
    height, width = labels.shape
    if labels.min(initial=0) < 0:
        raise ImageError("unreadable_annotation", f"an instance id is {labels.min()}, below 0")
    ids: Sequence[int] = range(1, int(labels.max(initial=0)) + 1)
    if len(ids) > MAX_DENSE_ID:
        # Ids are sparse in some sets; the box search below makes a list as long as the largest.
        found = np.unique(labels[labels > 0])
        labels = np.where(labels > 0, np.searchsorted(found, labels) + 1, 0)
        ids = found.tolist()
    boxes = find_objects(labels)
    masks = []
    for label, (instance, box) in enumerate(zip(ids, boxes, strict=True), start=1):
        if box is not None:
            rows, cols = box
            masks.append((instance, crop_mask(labels[box] == label, height, width, rows.start, cols.start)))
    return masks


def check_size(mask_size: tuple[int, ...], image_size: tuple[int, int], what: str) -> None:
    """ImageError (size_mismatch) if a mask's (height, width) is not the image's."""
    if tuple(mask_size) != image_size:
        size, expected = "x".join(map(str, mask_size)), "x".join(map(str, image_size))
        raise ImageError("size_mismatch", f"{what} is {size}, its image {expected} (rows x columns)")
