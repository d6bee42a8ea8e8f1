"""Reading photographs: image files of every common colour mode as RGB."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from agg_pipeline.datasets.image_formats import ORIENTATION, UPRIGHT, opened
from agg_pipeline.datasets.stored_pixels import TIFF_BITS, is_signed_tiff, tiff_tags, white_is_zero
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import ImageError, UnusableFileError

TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""How pixels are turned to be seen, by the EXIF tag of the orientation."""
STRIP = 512
"""Rows of an image that are converted at a time, because Pillow's conversion takes twice the memory of its result."""


def read_image(store: Store, path: str, size: int = 0) -> tuple[NDArray[np.uint8], str]:
    """Read an image file as RGB.

    Grey, palette, CMYK and 16-bit images are converted, transparency is dropped, EXIF rotation is not applied.

    Args:
        store: root of the data set.
        path: path of the file below the root.
        size: bytes that the file had when it was listed; 0 if that is not known.

    Returns:
        The (H, W, 3) uint8 RGB pixels, and the sha256 of the file in hex.

    Raises:
        ImageError: ``unreadable_image``, the file is missing or broken, or has signed or 32-bit pixels.
        StorageError: it cannot be read now, or has another size.
    """
    with opened(store, path, "unreadable_image", size) as (image, content):
        return rgb_pixels(image, path), hashlib.sha256(content).hexdigest()


def file_sha256(store: Store, path: str) -> str:
    """The sha256 (hex) of an image file, which is not decoded; ImageError: unreadable_image."""
    try:
        return hashlib.sha256(store.read(path, limits.IMAGE_FILE_BYTES)).hexdigest()
    except FileNotFoundError:
        raise ImageError("unreadable_image", f"{path} does not exist") from None
    except UnusableFileError as error:
        raise ImageError("unreadable_image", f"{path} {error.what}") from error


def upright_pixels(image: Image, name: str) -> NDArray[np.uint8]:
    """The pixels of an open image as ``rgb_pixels`` gives them, turned as its EXIF data says."""
    return upright(rgb_pixels(image, name), image)


def upright(pixels: NDArray[np.uint8], image: Image) -> NDArray[np.uint8]:
    """Turn the (H, W) or (H, W, 3) uint8 pixels of an open image as its EXIF data says."""
    turned = TURNS.get(image.getexif().get(ORIENTATION, UPRIGHT))
    return pixels if turned is None else np.ascontiguousarray(turned(pixels))


def rgb_pixels(image: Image, path: str) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 RGB pixels of an open image; ``path`` is what messages call it."""
    if is_deep(image):
        return np.repeat(eight_bits(image, path, "unreadable_image")[..., None], 3, axis=2)
    # Some versions of Pillow turn a TIFF, and so change its size, only here.
    image.load()
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        pixels[top : top + STRIP] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return pixels


def is_deep(image: Image) -> bool:
    """Whether an image has one channel of more than 8 bits, or of numbers with a sign."""
    return image.mode == "F" or image.mode.startswith("I") or is_signed_tiff(image)


def eight_bits(image: Image, path: str, reason: str) -> NDArray[np.uint8]:
    """The (H, W) grey levels of an image of 12 or 16 bits, scaled to 8 bits; Pillow would clip them."""
    # Pillow has some files of 16 bits as 32-bit numbers, but no TIFF. Of a TIFF nobody knows which number is white.
    if image.mode == "F" or is_signed_tiff(image) or (image.mode == "I" and image.format == "TIFF"):
        what = f"{path} has 32-bit or signed pixels, whose white is unknown; store it with 8 or 16 bits per channel"
        raise ImageError(reason, what)
    white = 4095 if tiff_tags(image).get(TIFF_BITS) == (12,) else 65535
    grey = ((np.asarray(image).astype(np.uint32) * 510 + white) // (2 * white)).astype(np.uint8)
    return ~grey if white_is_zero(image) else grey
