"""Random numbers that depend on what they are for, never on the order in which they are drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.crop import MaskCrop


def uniforms(
    seed: int, dataset: str, image_id: str, instance_id: int, purpose: str, step: int, count: int
) -> NDArray[np.float64]:
    """Uniform random numbers for one purpose; everything that enters a database or a result is drawn by them.

    They are scaled from raw Philox words, so that they do not depend on NumPy's distributions.

    Args:
        seed: seed of the run.
        dataset: name of the data set.
        image_id: id of the image.
        instance_id: id of the object.
        purpose: what the numbers are for, such as "click".
        step: step of the object's loop, or another counter.
        count: how many numbers.

    Returns:
        (count,) float64 in [0, 1). All arguments but ``count`` form the key; the first numbers are the same whatever
        the count.
    """
    words = _philox(seed, dataset, image_id, instance_id, purpose, step).random_raw(count)
    return np.asarray((words >> np.uint64(11)) * 2.0**-53, np.float64)


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """A NumPy generator for one purpose, for training, which needs distributions that ``uniforms`` does not offer.

    Args:
        seed: seed of the run.
        purpose: what the numbers are for; the parts form the key.
    """
    return np.random.Generator(_philox(seed, *purpose))


def index(uniform: float, count: int) -> int:
    """Turn a uniform number in [0, 1) into an index below ``count``: floor(uniform * count)."""
    return min(int(uniform * count), count - 1)


def drawn_order(image_ids: Sequence[str], dataset: str, purpose: str, seed: int) -> list[int]:
    """The order in which images are drawn for one purpose: of a larger sample, the smaller one is the beginning.

    Args:
        image_ids: ids of all images.
        dataset: name of the data set.
        purpose: what the images are for, so that purposes draw independently of each other.
        seed: seed of the draw.

    Returns:
        Places in ``image_ids``.
    """
    draws = [uniforms(seed, dataset, image_id, 0, purpose, 0, 1)[0] for image_id in image_ids]
    return [int(place) for place in np.argsort(draws, kind="stable")]


def drawn_pixels(mask: MaskCrop, numbers: Iterable[float]) -> Iterator[tuple[int, int]]:
    """The pixels of a mask that uniform numbers choose.

    Args:
        mask: a non-empty mask.
        numbers: uniform numbers in [0, 1).

    Yields:
        (row, col) per number.
    """
    pixels = np.flatnonzero(mask.values)
    for number in numbers:
        row, col = divmod(int(pixels[index(number, pixels.size)]), mask.box.width)
        yield row + mask.box.top, col + mask.box.left


def _philox(*key: object) -> np.random.Philox:
    """Philox keyed by the 128-bit blake2b hash of all parts."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, dtype="<u8"))
