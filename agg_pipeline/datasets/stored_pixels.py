"""How the pixels of an image file are stored, where Pillow reads them in another way or does not tell."""

from __future__ import annotations

import numpy as np
from PIL import Image

BMP_MODES = {1: ("1", "P;1"), 4: ("P;4",), 8: ("L", "P")}
"""Bits per pixel of a BMP with a palette -> Pillow's raw modes that fit them; the last one has palette indices."""


def as_stored(image: Image.Image, content: bytes) -> Image.Image:
    """Mend what Pillow has read wrongly in the header of an image that is not decoded yet.

    Args:
        image: the image, as opened.
        content: bytes of its file.

    Returns:
        ``image``, or another image in place of it, which has no format.
    """
    return _bmp_with_its_palette(image, content) if image.format == "BMP" else image


def _codec(image: Image.Image) -> tuple[str, str]:
    """Pillow's decoder of an image, and the raw mode that it decodes; Pillow forgets them when it has decoded."""
    tiles = getattr(image, "tile", ())
    if not tiles:
        return "", ""
    codec, _, _, arguments = tiles[0]
    return codec, str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _bmp_with_its_palette(image: Image.Image, content: bytes) -> Image.Image:
    """A BMP with a palette; Pillow takes some palettes of grey levels for another number of bits per pixel."""
    header = int.from_bytes(content[14:18], "little")
    place, entry = (24, 3) if header == 12 else (28, 4)
    bits = int.from_bytes(content[place : place + 2], "little")
    codec, raw_mode = _codec(image)
    if codec != "raw" or bits not in BMP_MODES or raw_mode in BMP_MODES[bits]:
        return image
    _, _, start, (_, stride, direction) = image.tile[0]  # type: ignore[attr-defined]  # of an ImageFile
    colours = np.frombuffer(content[14 + header : start][: entry * 2**bits], np.uint8)
    colours = colours[: len(colours) // entry * entry].reshape(-1, entry)[:, 2::-1]
    found = Image.frombytes("P", image.size, content[start:], "raw", BMP_MODES[bits][-1], stride, direction)
    found.putpalette(colours.tobytes())
    return found
