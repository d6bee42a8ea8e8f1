"""Opening image files: a closed list of formats, limits that are checked before decoding, and what a header says."""

from __future__ import annotations

import ctypes
import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Pillow would import all its formats to find those that are named here.
from PIL import Image, Jpeg2KImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from agg_pipeline.datasets.stored_pixels import as_stored
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import ImageError, UnusableFileError, out_of_memory
from schemas.words import printable

FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "PPM",
    TiffImagePlugin.TiffImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    Jpeg2KImagePlugin.Jpeg2KImageFile.format,
)
"""Pillow's names of the formats that are read. The content of a file decides, not its name.

JPEG (with the MPO of phones) and PNG are what data sets and cameras hold; BMP and GIF are masks of older sets, such as
GrabCut; PPM stands for PBM, PGM and PPM (BSDS, Middlebury); TIFF comes from microscopes and scanners, JPEG 2000 from
satellites, WebP from the web. Other formats of Pillow are never opened: EPS starts Ghostscript, and many are old
containers."""
ENDINGS = frozenset(
    (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "bmp", "dib", "gif", "pbm", "pgm", "ppm", "pnm"),
        *("tif", "tiff", "webp", "jp2", "j2k", "jpf", "jpx", "jpc"),
    )
)
"""Endings of the names of such files, in small letters."""
OTHER_PICTURES = frozenset(
    (
        *("heic", "heif", "avif", "jxl", "tga", "psd", "ico", "icns", "pcx", "sgi", "dds", "exr", "hdr", "pfm"),
        *("svg", "eps", "ps", "pdf", "dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf"),
    )
)
"""Endings of pictures that are not read. An image of such a name is refused, not passed over."""
LOSSLESS_TIFF = frozenset(
    (
        *("raw", "tiff_ccitt", "group3", "group4", "tiff_lzw", "tiff_adobe_deflate", "tiff_raw_16", "packbits"),
        *("tiff_deflate", "lzma", "zstd"),
    )
)
"""Pillow's names of the compressions of TIFF that keep every value."""
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF files."""
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
    AttributeError,
    RecursionError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on broken files."""
ORIENTATION = 0x0112
"""EXIF tag of the way a picture is to be turned before it is shown."""
UPRIGHT = 1
"""Value of that tag for a picture that is shown as it is stored."""
ON_ITS_SIDE = (5, 6, 7, 8)
"""Values of that tag that swap height and width."""
TURNED = {2: "mirrored", 3: "upside down", 4: "mirrored, upside down"}
"""Values of that tag that keep height and width."""


def silence_decoders() -> None:
    """Keep decoders from printing on the error output, past the messages and the progress display of this program.

    libtiff prints a line per broken row, and what Pillow logs is printed where nobody handles it. A file that cannot be
    decoded is an error all the same. Where Pillow has no libtiff of its own to ask, libtiff is left as it is.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with suppress(AttributeError, OSError):
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)  # type: ignore[attr-defined]  # Pillow's C module


silence_decoders()


@contextmanager
def opened(store: Store, path: str, reason: str, size: int = 0) -> Iterator[tuple[Image.Image, bytes]]:
    """Open an image file of one of ``FORMATS``, within the limits on images.

    Args:
        store: root of the data set.
        path: path of the file below the root.
        reason: reason of the ImageError.
        size: bytes that the file had when it was listed; 0 if that is not known.

    Yields:
        The image, of which the header is read, and the bytes of the file.

    Raises:
        ImageError: the file is broken, of another format or too large; errors of decoding it inside the block, too.
        StorageError: it cannot be read now, or has another size.
    """
    try:
        content = store.read_listed(path, limits.IMAGE_FILE_BYTES, size)
    except UnusableFileError as error:
        raise ImageError(reason, f"{path} {error.what}") from error
    with opened_content(content, path, reason) as image:
        yield image, content


@contextmanager
def opened_content(content: bytes, name: str, reason: str, most_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open an image of one of ``FORMATS`` whose file is in memory.

    Args:
        content: bytes of the file.
        name: what messages call it.
        reason: reason of the ImageError.
        most_pixels: largest number of its pixels; None for ``limits.IMAGE_PIXELS``.

    Yields:
        The image, of which the header is read.

    Raises:
        ImageError: the file is broken, of another format or too large; errors of decoding it inside the block, too.
    """
    most = limits.IMAGE_PIXELS if most_pixels is None else most_pixels
    try:
        with warnings.catch_warnings():
            # The decoder's warnings do not concern the user; what it cannot decode is an error.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_content(image, content, most)
                yield as_stored(image, content)
    except Image.DecompressionBombError as error:
        raise ImageError(reason, f"{name} is too large: images have up to {most:,} pixels") from error
    except UnidentifiedImageError as error:
        # Pillow's own message names an object in memory.
        raise ImageError(reason, f"{name} is {_unidentified(content)}") from error
    except DECODER_ERRORS as error:
        if out_of_memory(error):
            # It is about the machine, not about the image.
            raise
        raise ImageError(reason, f"{name}: {printable(str(error) or type(error).__name__)}") from error


def _unidentified(content: bytes) -> str:
    """What a file is that Pillow does not recognise."""
    if content.startswith(TIFF_STARTS):
        return "a broken TIFF, or one whose kind of pixels is not read; store it as PNG"
    return "no JPEG, PNG, TIFF, WebP, BMP, GIF, PPM or JPEG 2000 image"


def _check_content(image: Image.Image, content: bytes, most_pixels: int) -> None:
    width, height = image.size
    if width * height > most_pixels:
        raise Image.DecompressionBombError
    # Inside the data of a scan these two bytes cannot follow each other.
    if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > limits.JPEG_SCANS:
        raise ValueError(f"a JPEG of more than {limits.JPEG_SCANS} scans")
    # Pillow turns its black into a colour.
    if image.mode == "LAB":
        raise ValueError("its colours are CIELab; store it in RGB")


def is_lossy(image: Image.Image, content: bytes) -> bool:
    """Whether the compression of an image changes values.

    Args:
        image: the image, as opened.
        content: bytes of its file.
    """
    if image.format == "TIFF":
        return image.info.get("compression", "raw") not in LOSSLESS_TIFF
    if image.format == "WEBP":
        return _webp_is_lossy(content)
    if image.format == "JPEG2000":
        return _jpeg_2000_is_lossy(content)
    return image.format in ("JPEG", "MPO")


def _webp_is_lossy(content: bytes) -> bool:
    """Whether the first picture of a WebP file is stored in the lossy format VP8, not in VP8L."""
    place = 12
    while place + 8 <= len(content):
        kind, size = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        # The pictures of an animation lie inside of chunks; 16 bytes of place and time come first.
        place += 24 if kind == b"ANMF" else 8 + size + size % 2
    return True


def _jpeg_2000_is_lossy(content: bytes) -> bool:
    """Whether JPEG 2000 uses the irreversible wavelet, by the main header's marker COD."""
    start = content.find(b"\xff\x4f\xff\x51")
    place = start + 2
    while start >= 0 and place + 14 <= len(content) and content[place + 1] != 0x90:
        if content[place + 1] == 0x52:
            return content[place + 13] == 0
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return True


def header_notes(store: Store, path: str) -> tuple[str, ...]:
    """What the header of an image file says that may surprise whoever drew its masks, one line each.

    A file that cannot be read has no notes; reading it tells why.
    """
    try:
        with opened(store, path, "unreadable_image") as (image, _):
            return tuple(_notes(image))
    except ImageError:
        return ()


def _notes(image: Image.Image) -> Iterator[str]:
    # Pillow turns TIFF files when it decodes them.
    turned = UPRIGHT if image.format == "TIFF" else image.getexif().get(ORIENTATION, UPRIGHT)
    if turned in ON_ITS_SIDE:
        yield f"EXIF orientation {turned}: other programs show the picture on its side, with height and width swapped"
    elif turned in TURNED:
        yield f"EXIF orientation {turned}: other programs show the picture {TURNED[turned]}; its masks may lie that way"
    # The JPEG files of phones hold a second, smaller picture.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        yield "the file holds several pictures; the first one is used"
