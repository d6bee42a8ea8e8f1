"""Random numbers that depend on what they are for, never on the order in which they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def uniforms(
    seed: int, dataset: str, image_id: str, instance_id: int, purpose: str, step: int, count: int
) -> NDArray[np.float64]:
    """Uniform numbers of one purpose, for what goes into a database or a result.

    Raw Philox words are scaled here, so that the numbers do not depend on NumPy's distribution streams.

    Args:
        seed, dataset, image_id, instance_id, purpose, step: what the numbers are for; together they are the key.
        count: how many numbers.

    Returns:
        (count,) float64 in [0, 1).
    """
    words = _philox(seed, dataset, image_id, instance_id, purpose, step).random_raw(count)
    return np.asarray((words >> np.uint64(11)) * 2.0**-53, np.float64)


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """NumPy's generator for one purpose, for training: it needs distributions that ``uniforms`` does not offer."""
    return np.random.Generator(_philox(seed, *purpose))


def index(uniform: float, count: int) -> int:
    """A uniform index below ``count``: floor(uniform * count)."""
    return min(int(uniform * count), count - 1)


def _philox(*key: object) -> np.random.Philox:
    """Philox keyed by the 128-bit blake2b hash of all parts."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, dtype="<u8"))
