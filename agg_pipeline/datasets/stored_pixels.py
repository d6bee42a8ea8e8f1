"""How the pixels of an image file are stored, where Pillow reads them in another way or does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImagePalette

TIFF_BITS, TIFF_WHITE, TIFF_FILL, TIFF_PLANES = 258, 262, 266, 284
TIFF_COLOURS, TIFF_EXTRA, TIFF_NUMBERS, TIFF_SUBSAMPLING = 320, 338, 339, 530
"""Tags of TIFF: bits per channel, meaning of 0, order of bits, planes; palette, opacity, sign, subsampled colours."""
WHITE_IS_ZERO, YCBCR = 0, 6
"""Values of ``TIFF_WHITE``: 0 is white; brightness and two differences of colours."""
SIGNED = 2
"""Value of ``TIFF_NUMBERS`` for whole numbers with a sign."""
PREMULTIPLIED = 1
"""Value of ``TIFF_EXTRA`` for an opacity that the colours are multiplied with."""
BMP_MODES = {1: ("1", "P;1"), 4: ("P;4",), 8: ("L", "P")}
"""Bits per pixel of a BMP with a palette -> Pillow's raw modes that fit them; the last one has palette indices."""


def tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    """The tags of a TIFF; of other formats, none."""
    return getattr(image, "tag_v2", {})


def is_signed_tiff(image: Image.Image) -> bool:
    """Whether an image is a TIFF whose numbers have a sign."""
    return SIGNED in tiff_tags(image).get(TIFF_NUMBERS, ())


def white_is_zero(image: Image.Image) -> bool:
    """Whether an image is a TIFF that shows 0 in white."""
    return tiff_tags(image).get(TIFF_WHITE) == WHITE_IS_ZERO


def is_premultiplied(image: Image.Image) -> bool:
    """Whether the colours of a TIFF are stored multiplied with their opacity."""
    return PREMULTIPLIED in tiff_tags(image).get(TIFF_EXTRA, ())


def as_stored(image: Image.Image, content: bytes) -> Image.Image:
    """Mend what Pillow has read wrongly in the header of an image that is not decoded yet.

    Args:
        image: the image, as opened.
        content: bytes of its file.

    Returns:
        ``image``, or another image in place of it, which has no format.

    Raises:
        ValueError: Pillow would give other pixels than the file has.
    """
    if image.format == "TIFF":
        wrong = _wrong_tiff(image, content)
        if wrong is not None:
            raise ValueError(f"{wrong}; store it as PNG")
        _mend_palette(image)
    elif image.format == "JPEG2000":
        bits, signed = _jpeg_2000_numbers(content)
        if signed or bits < 8:
            raise ValueError("JPEG 2000 with a sign or fewer than 8 bits is not read; store it as PNG")
    elif image.format == "BMP":
        return _bmp_with_its_palette(image, content)
    return image


def _wrong_tiff(image: Image.Image, content: bytes) -> str | None:
    """What Pillow would read wrongly in a TIFF, for the error message; None if nothing."""
    tags = tiff_tags(image)
    codec, _ = _codec(image)
    if TIFF_WHITE not in tags:
        return "a TIFF that does not say whether 0 is black or white (PhotometricInterpretation)"
    if image.mode == "La":
        return "a TIFF of grey levels that are multiplied with their opacity is not read"
    if codec == "libtiff" and image.mode == "I" and content.startswith(b"MM"):
        # libtiff puts the bytes in order, and some versions of Pillow swap them once more.
        return "a compressed TIFF of signed numbers in big-endian order is not read"
    if codec != "raw":
        return None
    plain = set(tags.get(TIFF_BITS, (1,))) == {8} and not white_is_zero(image) and tags.get(TIFF_FILL, 1) == 1
    if tags.get(TIFF_PLANES) == 2 and not plain:
        return "an uncompressed TIFF of one plane per channel is only read with 8 bits per channel"
    if tags[TIFF_WHITE] == YCBCR and tuple(tags.get(TIFF_SUBSAMPLING, (2, 2))) != (1, 1):
        return "an uncompressed TIFF of subsampled colours is not read"
    return None


def _codec(image: Image.Image) -> tuple[str, str]:
    """Pillow's decoder of an image, and the raw mode that it decodes; Pillow forgets them when it has decoded."""
    tiles = getattr(image, "tile", ())
    if not tiles:
        return "", ""
    codec, _, _, arguments = tiles[0]
    return codec, str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _mend_palette(image: Image.Image) -> None:
    """Take the palette of a TIFF as one of 8 bits, as libtiff does, if no colour needs the 16 bits of the format."""
    colours = tiff_tags(image).get(TIFF_COLOURS, ())
    if image.mode in ("P", "PA") and max(colours, default=256) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _bmp_with_its_palette(image: Image.Image, content: bytes) -> Image.Image:
    """A BMP with a palette; Pillow takes some palettes of grey levels for another number of bits per pixel."""
    header = int.from_bytes(content[14:18], "little")
    place, entry = (24, 3) if header == 12 else (28, 4)
    bits = int.from_bytes(content[place : place + 2], "little")
    codec, raw_mode = _codec(image)
    if codec == "bmp_rle" and (bits == 4 or image.mode == "1"):
        # Versions of Pillow differ.
        what = "a BMP with run lengths is only read with 8 bits per pixel and more colours than black and white"
        raise ValueError(f"{what}; store it as PNG")
    if codec != "raw" or bits not in BMP_MODES or raw_mode in BMP_MODES[bits]:
        return image
    _, _, start, (_, stride, direction) = image.tile[0]  # type: ignore[attr-defined]  # of an ImageFile
    colours = np.frombuffer(content[14 + header : start][: entry * 2**bits], np.uint8)
    colours = colours[: len(colours) // entry * entry].reshape(-1, entry)[:, 2::-1]
    found = Image.frombytes("P", image.size, content[start:], "raw", BMP_MODES[bits][-1], stride, direction)
    found.putpalette(colours.tobytes())
    return found


def _jpeg_2000_numbers(content: bytes) -> tuple[int, bool]:
    """Bits of the numbers of a JPEG 2000, and whether they have a sign, by the main header's marker SIZ."""
    start = content.find(b"\xff\x4f\xff\x51")
    channels = int.from_bytes(content[start + 40 : start + 42], "big")
    depths = content[start + 42 : start + 42 + 3 * channels : 3]
    return max((depth & 127) + 1 for depth in depths), any(depth & 128 for depth in depths)


def largest_stored(image: Image.Image, content: bytes) -> int:
    """The largest number that a channel of a file may hold.

    Args:
        image: the image, as opened and not decoded yet.
        content: bytes of its file.
    """
    if image.format == "TIFF":
        # Broken files claim any number of bits.
        most = 2 ** min(max(tiff_tags(image).get(TIFF_BITS, (1,))), 32) - 1
    elif image.format == "JPEG2000":
        most = 2 ** _jpeg_2000_numbers(content)[0] - 1
    elif image.format == "PPM":
        most = _largest_of_ppm(image) or 255
    else:
        raw_mode = _codec(image)[1]
        most = 31 if raw_mode.startswith(("BGR;15", "BGR;16")) else 65535 if "16" in raw_mode else 255
    return int(most)


def scaled_from(image: Image.Image) -> int | None:
    """The number that Pillow makes white of, if it scales numbers; None if it does not, or as every program does.

    Args:
        image: the image of one channel, as opened and not decoded yet.
    """
    if image.format == "PPM":
        return _largest_of_ppm(image)
    bits = tiff_tags(image).get(TIFF_BITS)
    return 2 ** bits[0] - 1 if image.mode == "L" and bits in ((2,), (4,)) else None


def _largest_of_ppm(image: Image.Image) -> int | None:
    """The largest number that a file of the PPM family may hold, by its header, where Pillow scales by it."""
    codec, _, _, arguments = image.tile[0]  # type: ignore[attr-defined]  # of an ImageFile
    return int(arguments[-1]) if codec != "raw" and isinstance(arguments, tuple) else None
