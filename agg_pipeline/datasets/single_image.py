"""Reading one photograph, and the mask of one object in it, that belong to no data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from agg_pipeline.datasets.image_formats import ORIENTATION, is_lossy, opened_content
from agg_pipeline.datasets.images import TURNS, upright, upright_pixels
from agg_pipeline.datasets.label_maps import check_size
from agg_pipeline.datasets.mask_images import marked_pixels
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.crop import MaskCrop, area, crop_mask
from schemas.errors import ImageError, UnusableFileError, UserError
from schemas.records import ImageRecord, ObjectMask, Pixels

INSTANCE = 1
"""Id of the object in its image, as a label image that marks it with 1 would have it."""
TURNED = (
    "The photograph is turned as its EXIF data says. A run takes the pixels as they are stored: store it turned before "
    "you make a data set of it."
)
LOSSY = "The mask has lossy compression, which changes values along the border of the object; store it as PNG."


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph.

    Attributes:
        path: its file, as it was given.
        sha256: of the file, hex.
        pixels: (H, W, 3) uint8 RGB, turned as its EXIF data says.
        notes: what may surprise whoever made the file, a line each.
    """

    path: str
    sha256: str
    pixels: Pixels
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the file."""
        return PurePosixPath(self.path).name

    def record(self, mask: MaskCrop) -> ImageRecord:
        """The photograph with one object, as the data set ``folder`` would have it; its id is the stem of its name."""
        stem = PurePosixPath(self.name).stem
        return ImageRecord(stem, self.name, self.sha256, "", self.pixels, (ObjectMask(INSTANCE, None, mask),))


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """The mask of an object.

    Attributes:
        path: its file, as it was given.
        mask: the object's pixels.
        notes: what may surprise whoever made the file, a line each.
    """

    path: str
    mask: MaskCrop
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the file."""
        return PurePosixPath(self.path).name


def read_photograph(path: str) -> Photograph:
    """Read a photograph, and turn it as its EXIF data says.

    Args:
        path: an image file, or a URL that fsspec knows.

    Raises:
        UserError: the file is missing, too large, or no image.
    """
    with _opened(path, "unreadable_image") as (image, content):
        pixels = upright_pixels(image, path)
        notes = (TURNED,) if image.getexif().get(ORIENTATION) in TURNS else ()
        return Photograph(path, hashlib.sha256(content).hexdigest(), pixels, notes)


def read_object_mask(path: str, photograph: Photograph) -> DrawnMask:
    """Read the mask of an object: the pixels of an image that are not black.

    Args:
        path: an image file, or a URL that fsspec knows. It is turned as its EXIF data says.
        photograph: the photograph whose object it is.

    Raises:
        UserError: the file is missing, too large, or no image, or its mask is empty or of another size.
    """
    height, width = photograph.pixels.shape[:2]
    with _opened(path, "unreadable_annotation") as (image, content):
        marked: NDArray[np.bool_] = upright(marked_pixels(image, content, path).view(np.uint8), image).view(np.bool_)
        check_size(marked.shape, (height, width), path)
        notes = (LOSSY,) if is_lossy(image, content) else ()
    mask = crop_mask(marked, height, width)
    if area(mask) == 0:
        raise UserError(f"{path} marks no object: all its pixels are black")
    return DrawnMask(path, mask, notes)


@contextmanager
def _opened(path: str, reason: str) -> Iterator[tuple[Image, bytes]]:
    """Open an image file, and say as UserError what is wrong with it; the content of the block raises ImageError."""
    store, name = Store.of_file(path)
    try:
        content = store.read(name, limits.IMAGE_FILE_BYTES)
        with opened_content(content, path, reason) as image:
            yield image, content
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UnusableFileError as error:
        raise UserError(f"{path} {error.what}") from error
    except ImageError as error:
        raise UserError(error.detail) from error
