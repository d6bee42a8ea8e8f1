"""Random numbers that depend on what they are for, never on the order in which they are drawn."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def uniforms(
    seed: int, dataset: str, image_id: str, instance_id: int, purpose: str, step: int, count: int
) -> NDArray[np.float64]:
    """``count`` numbers in [0, 1) from Philox, keyed by blake2b of all the other arguments.

    Raw Philox words are scaled here, so that the numbers do not depend on NumPy's distribution streams.
    """
    text = "\x1f".join((str(seed), dataset, image_id, str(instance_id), purpose, str(step)))
    key = np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), dtype="<u8")
    words = np.random.Philox(key=key).random_raw(count)
    return np.asarray((words >> np.uint64(11)) * 2.0**-53, np.float64)


def index(uniform: float, count: int) -> int:
    """A uniform index below ``count``: floor(uniform * count)."""
    return min(int(uniform * count), count - 1)
