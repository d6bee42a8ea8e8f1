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
from schemas import limits
from schemas.crop import MaskCrop, crop_mask
from schemas.errors import ImageError, UnusableFileError

MAX_DENSE_ID = 65535
"""Largest instance id of a label map that is searched directly; larger ids are renumbered first."""
MODES_WITH_OPACITY = ("LA", "La", "PA", "RGBA", "RGBa")
"""Pillow's colour modes whose last channel is the opacity."""
DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    NotImplementedError,
    IndexError,
    KeyError,
    OverflowError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on broken files."""


def read_image(store: Store, path: str) -> tuple[NDArray[np.uint8], str]:
    """Read an image file as RGB.

    Grey, palette, CMYK and 16-bit images are converted, transparency is dropped, EXIF rotation is not applied.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        The (H, W, 3) uint8 RGB pixels, and the sha256 of the file in hex.

    Raises:
        ImageError: ``unreadable_image``, the file is missing or broken.
    """
    with _opened(store, path, "unreadable_image") as (image, content):
        return _rgb(image), hashlib.sha256(content).hexdigest()


def file_sha256(store: Store, path: str) -> str:
    """The sha256 (hex) of an image file, which is not decoded; ImageError: unreadable_image."""
    try:
        return hashlib.sha256(store.read(path, limits.IMAGE_FILE_BYTES)).hexdigest()
    except FileNotFoundError:
        raise ImageError("unreadable_image", f"{path} does not exist") from None
    except UnusableFileError as error:
        raise ImageError("unreadable_image", f"{path} {error.what}") from error


@contextmanager
def _opened(store: Store, path: str, reason: str) -> Iterator[tuple[Image.Image, bytes]]:
    """The image in a file, and the file's bytes; errors inside the block become ImageError with this reason."""
    content = _content(store, path, reason)
    try:
        with warnings.catch_warnings():
            # The decoder's warnings do not concern the user; what it cannot decode is an error.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                yield image, content
    except DECODER_ERRORS as error:
        raise ImageError(reason, f"{path}: {_message(error)}") from error


def _content(store: Store, path: str, reason: str) -> bytes:
    try:
        return store.read_listed(path, limits.IMAGE_FILE_BYTES)
    except UnusableFileError as error:
        raise ImageError(reason, f"{path} {error.what}") from error


def _message(error: BaseException) -> str:
    # Pillow's own message names an object in memory.
    return "cannot identify the image file" if isinstance(error, UnidentifiedImageError) else str(error)


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        # 16 bits per pixel or more: scale the full range to 8 bits, where PIL would clip it.
        grey = np.asarray(image).astype(np.float64)
        grey8 = np.clip(np.rint(grey / 257.0), 0, 255).astype(np.uint8)
        return np.repeat(grey8[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


def read_array(store: Store, path: str) -> NDArray[Any]:
    """Read a mask or label image as stored, without its opacity.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        (H, W) grey levels or palette indices, 8 or 16 bits, or (H, W, C) colours.

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing or broken.
    """
    with _opened(store, path, "unreadable_annotation") as (image, _):
        return _values(image)


def _values(image: Image.Image) -> NDArray[Any]:
    values = np.array(image)
    return values[..., :-1] if image.mode in MODES_WITH_OPACITY else values


def read_grey(store: Store, path: str) -> NDArray[np.uint8]:
    """Read a mask image of any colour mode as grey levels.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        (H, W) uint8 grey levels.

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing or broken.
    """
    with _opened(store, path, "unreadable_annotation") as (image, _):
        return np.array(image.convert("L"))


def read_labels(store: Store, path: str) -> NDArray[np.int64]:
    """Read the ids of a label image: grey levels or palette indices.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        (H, W) int64 ids. A colour image is accepted if all its colours are grey.

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing or broken, is a JPEG, or has colours.
    """
    with _opened(store, path, "unreadable_annotation") as (image, _):
        if image.format == "JPEG":
            raise ImageError("unreadable_annotation", f"{path} is a JPEG, which changes ids; store it as PNG")
        values = _values(image)
    if values.ndim == 3:
        grey = values[..., :1]
        if not np.array_equal(values, np.broadcast_to(grey, values.shape)):
            raise ImageError("unreadable_annotation", f"{path} has colours; ids are grey levels or palette indices")
        values = grey[..., 0]
    if values.dtype.kind not in "uib":
        raise ImageError("unreadable_annotation", f"{path} has values of type {values.dtype}, ids are whole numbers")
    return values.astype(np.int64)


def instance_masks(labels: NDArray[np.integer[Any]]) -> list[tuple[int, MaskCrop]]:
    """Split a label map into one mask per id, in one pass over the frame.

    Args:
        labels: (H, W) instance ids; 0 is the background.

    Returns:
        (id, mask) pairs, sorted by id.

    Raises:
        ImageError: ``unreadable_annotation``, an id is negative.
    """
    height, width = labels.shape
    if labels.min(initial=0) < 0:
        raise ImageError("unreadable_annotation", f"an instance id is {labels.min()}, below 0")
    ids: Sequence[int] = range(1, int(labels.max(initial=0)) + 1)
    if len(ids) > MAX_DENSE_ID:
        # Ids are sparse in some sets; find_objects makes a list as long as the largest id.
        found = np.unique(labels[labels > 0])
        labels = np.where(labels > 0, np.searchsorted(found, labels) + 1, 0)
        ids = found.tolist()
    boxes = find_objects(labels)
    masks = []
    for label, (instance_id, box) in enumerate(zip(ids, boxes, strict=True), start=1):
        if box is not None:
            rows, cols = box
            masks.append((instance_id, crop_mask(labels[box] == label, height, width, rows.start, cols.start)))
    return masks


def ignore_mask(ignored: NDArray[np.bool_]) -> MaskCrop | None:
    """The mask of the (H, W) ignored pixels of an image; None if there are none."""
    return crop_mask(ignored, *ignored.shape) if ignored.any() else None


def check_size(mask_size: tuple[int, ...], image_size: tuple[int, ...], what: str) -> None:
    """Check that a mask has the size of its image.

    Args:
        mask_size: (height, width) of the mask, pixels.
        image_size: (height, width) of the image, pixels.
        what: name of the mask, for the error message.

    Raises:
        ImageError: ``size_mismatch``.
    """
    if tuple(mask_size) != tuple(image_size):
        size, expected = "x".join(map(str, mask_size)), "x".join(map(str, image_size))
        raise ImageError("size_mismatch", f"{what} is {size}, its image {expected} (rows x columns)")
