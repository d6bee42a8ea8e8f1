"""Reading image files of every common colour mode, and label maps as object masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from scipy.ndimage import find_objects

from agg_pipeline.datasets.image_formats import is_lossy, opened
from agg_pipeline.datasets.stored_pixels import (
    TIFF_BITS,
    is_premultiplied,
    is_signed_tiff,
    largest_stored,
    scaled_from,
    tiff_tags,
    white_is_zero,
)
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.crop import MaskCrop, crop_mask
from schemas.errors import ImageError, UnusableFileError

MAX_DENSE_ID = 65535
"""Largest instance id of a label map that is searched directly; larger ids are renumbered first."""
OPACITY = ("LA", "La", "PA", "RGBA", "RGBa", "RGBX")
"""Pillow's colour modes whose last channel is the opacity, or means nothing."""
SINGLE: dict[str, type[np.integer[Any]]] = {
    **dict.fromkeys(("1", "L", "P"), np.uint8),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), np.uint16),
    "I": np.int32,
}
"""Pillow's colour modes of one channel of whole numbers, and the type that holds their numbers."""
WITH_OTHER_SIGN: dict[tuple[str, bool], type[np.integer[Any]]] = {("L", True): np.int8, ("I", False): np.uint32}
"""The types that hold the numbers of a TIFF, by mode and by whether they have a sign, where ``SINGLE`` has another."""
STRIP = 512
"""Rows of an image that are converted at a time, because Pillow's conversion takes twice the memory of its result."""


def read_image(store: Store, path: str) -> tuple[NDArray[np.uint8], str]:
    """Read an image file as RGB.

    Grey, palette, CMYK and 16-bit images are converted, transparency is dropped, EXIF rotation is not applied.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        The (H, W, 3) uint8 RGB pixels, and the sha256 of the file in hex.

    Raises:
        ImageError: ``unreadable_image``, the file is missing or broken, or has signed or 32-bit pixels.
    """
    with opened(store, path, "unreadable_image") as (image, content):
        return _rgb(image, path), hashlib.sha256(content).hexdigest()


def file_sha256(store: Store, path: str) -> str:
    """The sha256 (hex) of an image file, which is not decoded; ImageError: unreadable_image."""
    try:
        return hashlib.sha256(store.read(path, limits.IMAGE_FILE_BYTES)).hexdigest()
    except FileNotFoundError:
        raise ImageError("unreadable_image", f"{path} does not exist") from None
    except UnusableFileError as error:
        raise ImageError("unreadable_image", f"{path} {error.what}") from error


def _rgb(image: Image, path: str) -> NDArray[np.uint8]:
    if _is_deep(image):
        return np.repeat(_eight_bits(image, path, "unreadable_image")[..., None], 3, axis=2)
    # Some versions of Pillow turn a TIFF, and so change its size, only here.
    image.load()
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        pixels[top : top + STRIP] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return pixels


def _is_deep(image: Image) -> bool:
    """Whether an image has one channel of more than 8 bits, or of numbers with a sign."""
    return image.mode == "F" or image.mode.startswith("I") or is_signed_tiff(image)


def _eight_bits(image: Image, path: str, reason: str) -> NDArray[np.uint8]:
    """The (H, W) grey levels of an image of 12 or 16 bits, scaled to 8 bits; Pillow would clip them."""
    # Pillow has some files of 16 bits as 32-bit numbers, but no TIFF. Of a TIFF nobody knows which number is white.
    if image.mode == "F" or is_signed_tiff(image) or (image.mode == "I" and image.format == "TIFF"):
        what = f"{path} has 32-bit or signed pixels, whose white is unknown; store it with 8 or 16 bits per channel"
        raise ImageError(reason, what)
    white = 4095 if tiff_tags(image).get(TIFF_BITS) == (12,) else 65535
    grey = ((np.asarray(image).astype(np.uint32) * 510 + white) // (2 * white)).astype(np.uint8)
    return ~grey if white_is_zero(image) else grey


def read_marked(store: Store, path: str) -> NDArray[np.bool_]:
    """Read which pixels of a mask image have a colour other than black.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        (H, W) bool: some channel is not 0. Of a palette image the colours count; opacity does not.

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing or broken, or has fractions, colours of more than 8
            bits, or colours that are multiplied with their opacity.
    """
    with opened(store, path, "unreadable_annotation") as (image, content):
        if image.mode == "F":
            raise ImageError("unreadable_annotation", f"{path} has fractions; masks are whole numbers")
        if image.mode in SINGLE and image.mode != "P":
            # Pillow inverts the numbers of 8 bits.
            black = 65535 if image.mode.startswith("I") and white_is_zero(image) else 0
            return np.asarray(np.asarray(image) != black)
        if largest_stored(image, content) > 255:
            what = f"{path} has several channels of more than 8 bits; store it with 8 bits per channel"
            raise ImageError("unreadable_annotation", what)
        _check_opacity(image, path)
        colours: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
        marked: NDArray[np.bool_] = np.bitwise_or.reduce(colours, axis=2).astype(np.bool_)
        return marked


def read_grey(store: Store, path: str) -> NDArray[np.uint8]:
    """Read a mask image of any colour mode as grey levels of 8 bits.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        (H, W) uint8 grey levels; those of 16 bits are scaled.

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing or broken, has signed or 32-bit pixels, or levels
            that are multiplied with their opacity.
    """
    with opened(store, path, "unreadable_annotation") as (image, _):
        if _is_deep(image):
            return _eight_bits(image, path, "unreadable_annotation")
        _check_opacity(image, path)
        return np.array(image.convert("L"))


def _check_opacity(image: Image, path: str) -> None:
    """Refuse a mask whose levels are multiplied with an opacity: the levels cannot be told from the products."""
    if is_premultiplied(image) and image.mode in OPACITY and np.asarray(image)[..., -1].min(initial=255) < 255:
        what = f"{path} has levels that are multiplied with their opacity; store it without opacity"
        raise ImageError("unreadable_annotation", what)


def read_labels(store: Store, path: str) -> NDArray[np.integer[Any]]:
    """Read the ids of a label image: grey levels or palette indices.

    Args:
        store: root of the data set.
        path: path of the file below the root.

    Returns:
        (H, W) ids, of the type that the file needs: uint8, int8, uint16, int32 or uint32. A colour image of 8 bits per
        channel is accepted if all its colours are grey.

    Raises:
        ImageError: ``unreadable_annotation``, the file is missing or broken, its compression changes values, it has
            colours or fractions, or programs disagree about its ids.
    """
    with opened(store, path, "unreadable_annotation") as (image, content):
        if is_lossy(image, content):
            what = f"{path} is a {image.format} with lossy compression, which changes ids; store it as PNG"
            raise ImageError("unreadable_annotation", what)
        if image.mode == "F":
            raise ImageError("unreadable_annotation", f"{path} has values of type float32, ids are whole numbers")
        problem = _id_problem(image, content)
        if problem is not None:
            raise ImageError("unreadable_annotation", f"{path} {problem}")
        if image.mode in SINGLE:
            return _unscaled(image)
        if image.mode not in ("RGB", *OPACITY):
            raise ImageError("unreadable_annotation", _with_colours(path))
        _check_opacity(image, path)
        values = np.asarray(image)
    colours = values[..., :-1] if image.mode in OPACITY else values
    if (colours != colours[..., :1]).any():
        raise ImageError("unreadable_annotation", _with_colours(path))
    return colours[..., 0].copy()


def _id_problem(image: Image, content: bytes) -> str | None:
    """Why the numbers of a file cannot be taken as ids; None if they can."""
    most = largest_stored(image, content)
    if image.mode not in (*SINGLE, "PA") and most != 255:
        return "has several channels of more or fewer than 8 bits; store the ids as grey levels, in one channel"
    if image.mode.startswith("I") and white_is_zero(image):
        # OpenCV, for example, inverts numbers of 8 bits, and no others.
        return "shows 0 in white (WhiteIsZero), so that programs disagree about its ids; store it as PNG"
    if image.format == "JPEG2000" and most not in (255, 65535):
        return f"has grey levels up to {most}, which programs scale; store the ids with 8 or 16 bits"
    return None


def _unscaled(image: Image) -> NDArray[np.integer[Any]]:
    """The (H, W) numbers of an image of one channel; Pillow scales those of some formats to all 8 or 16 bits."""
    # Pillow forgets how a file is stored when it has decoded it.
    most = scaled_from(image)
    held_as = SINGLE[image.mode]
    if image.format == "TIFF":
        # Pillow has the right bits, but does not tell whether they stand for a sign.
        held_as = WITH_OTHER_SIGN.get((image.mode, is_signed_tiff(image)), held_as)
    if most is None:
        return np.asarray(image).astype(held_as)
    scale = 65535 if image.mode.startswith("I") else 255
    # Rounded, in place because the image may be large; 65535 * 65535 + 32767, the largest number, fits.
    values = np.asarray(image).astype(np.uint32)
    values *= most
    values += scale // 2
    values //= scale
    return values.astype(held_as)


def _with_colours(path: str) -> str:
    return f"{path} has colours; ids are grey levels or palette indices"


def lossy_note(store: Store, path: str) -> str | None:
    """That the compression of a mask image changes values, in one line; None if it does not."""
    try:
        with opened(store, path, "unreadable_annotation") as (image, content):
            lossy = is_lossy(image, content)
    except ImageError:
        return None
    return f"{path} has lossy compression, which changes values along the borders; store it as PNG" if lossy else None


def palette_note(store: Store, path: str) -> str | None:
    """What is odd in the palette of a label image, in one line: the background, index 0, is not black; None if not."""
    try:
        with opened(store, path, "unreadable_annotation") as (image, _):
            if image.mode != "P":
                return None
            colours = np.reshape(image.getpalette() or [], (-1, 3))
    except ImageError:
        return None
    black = np.flatnonzero(~colours.any(axis=1))
    if not len(black) or black[0] == 0:
        return None
    first = ", ".join(map(str, colours[0]))
    return (
        f"{path} shows index 0, the background, in the colour ({first}) and index {black[0]} in black; "
        "ids are the indices, so check that the mask is not inverted"
    )


def instance_masks(labels: NDArray[np.integer[Any]]) -> list[tuple[int, MaskCrop]]:
    """Split a label map into one mask per id, in one pass over the frame.

    Args:
        labels: (H, W) instance ids; 0 is the background.

    Returns:
        (id, mask) pairs, sorted by id.

    Raises:
        ImageError: ``unreadable_annotation``, an id is negative, or there are more ids than an image has objects.
    """
    height, width = labels.shape
    if labels.min(initial=0) < 0:
        raise ImageError("unreadable_annotation", f"an instance id is {labels.min()}, below 0")
    ids: Sequence[int] = range(1, int(labels.max(initial=0)) + 1)
    if len(ids) > MAX_DENSE_ID:
        # Ids are sparse in some sets; find_objects makes a list as long as the largest id.
        found = np.unique(labels[labels > 0])
        if len(found) > limits.OBJECTS_PER_IMAGE:
            what = f"{len(found):,} instance ids; images have up to {limits.OBJECTS_PER_IMAGE:,} objects"
            raise ImageError("unreadable_annotation", what)
        labels, ids = _renumbered(labels, found), found.tolist()
    boxes = find_objects(labels)
    masks = []
    for label, (instance_id, box) in enumerate(zip(ids, boxes, strict=True), start=1):
        if box is not None:
            rows, cols = box
            masks.append((instance_id, crop_mask(labels[box] == label, height, width, rows.start, cols.start)))
    return masks


def _renumbered(labels: NDArray[np.integer[Any]], found: NDArray[np.integer[Any]]) -> NDArray[np.uint16]:
    """The labels with the number of their id among the (at most 65,535) ids ``found``, from 1, in place of it."""
    numbers = np.zeros(labels.shape, np.uint16)
    for row, own in zip(numbers, labels, strict=True):
        row[own > 0] = np.searchsorted(found, own[own > 0]) + 1
    return numbers


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
        swapped = "; height and width are swapped" if tuple(mask_size) == tuple(image_size)[::-1] else ""
        raise ImageError("size_mismatch", f"{what} is {size}, its image {expected} (rows x columns){swapped}")
