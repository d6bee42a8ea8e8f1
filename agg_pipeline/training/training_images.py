"""The images of a proposal database: how they are read and checked, and the memory that decoded images may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets.registry import known_dataset, root_of
from schemas.errors import ImageError, UserError
from schemas.training import TrainingConfig

IMAGE_CACHE_BYTES = 2 << 30
"""Bytes of decoded images that all processes of a training keep together, on one machine.

Images of a larger data set are decoded again in every epoch.
"""
NAMED = 3
"""Images that a message names."""
CHUNK = 64
"""Images that a thread checks at a time."""


@dataclass(frozen=True)
class ImageReader:
    """How the images of a data set are read, by their path in it; both raise ImageError for an unreadable image.

    Attributes:
        pixels: gives the (H, W, 3) uint8 RGB pixels and the sha256 (hex), as the database records it.
        sha256: gives the sha256 alone, which is faster.
    """

    pixels: Callable[[str], tuple[NDArray[np.uint8], str]]
    sha256: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class UsedImage:
    """An image that has a mask to learn.

    Attributes:
        path: path in its data set.
        sha256: sha256 (hex) when its masks were made; "" if another program has made them and did not say it.
        dataset: name of the data set, which has a reader.
    """

    path: str
    sha256: str
    dataset: str


def image_reader(dataset: str, root: str) -> ImageReader:
    """The reader of a data set's images; UserError if the set is unknown or needs a root."""
    known, store = known_dataset(dataset), root_of(dataset, root)
    return ImageReader(partial(known.pixels, store), partial(known.sha256, store))


def read_pixels(image: UsedImage, reader: ImageReader) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 RGB pixels of an image; UserError if it is unreadable or was replaced."""
    try:
        pixels, found = reader.pixels(image.path)
    except ImageError as error:
        raise UserError(f"image {image.path} can no longer be read: {error.detail}") from error
    if image.sha256 and found != image.sha256:
        raise UserError(
            f"image {image.path} is not the one that its masks were made for (another sha256); "
            "is --data the right folder?"
        )
    return pixels


def check_images(images: Sequence[UsedImage], readers: Mapping[str, ImageReader]) -> None:
    """Check that all images are those that the masks were made for, by their sha256, in several threads.

    Args:
        images: the images.
        readers: reader of the images of each data set, by its name.

    Raises:
        UserError: an image is missing or was replaced; the message counts these images and names the first ones.
    """
    chunks = (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))
    with ThreadPoolExecutor() as pool:
        wrong = [text for found in pool.map(partial(_problems, readers), chunks) for text in found]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise UserError(
            f"images are missing or differ from those that the masks were made for ({len(wrong)} of {len(images)}): "
            f"{', '.join(wrong[:NAMED])}{more}; is --data the right folder?"
        )


def _problems(readers: Mapping[str, ImageReader], images: Sequence[UsedImage]) -> list[str]:
    """One text per image that is missing or was replaced."""
    found = []
    for image in images:
        try:
            if readers[image.dataset].sha256(image.path) != image.sha256 and image.sha256:
                found.append(f"{image.path} (another sha256 than in the database)")
        except ImageError as error:
            found.append(error.detail)
    return found


def cache_share(config: TrainingConfig) -> int:
    """Bytes of decoded images that each process that prepares samples may keep.

    Each of ``config.devices`` processes has ``config.loaders`` loaders, or prepares its samples itself.
    """
    return IMAGE_CACHE_BYTES // (config.devices * max(1, config.loaders))
