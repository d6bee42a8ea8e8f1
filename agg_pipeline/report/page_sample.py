"""Which images a page shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.draws import uniforms


def sample_images(image_ids: Sequence[str], dataset: str, purpose: str, count: int, seed: int) -> list[int]:
    """Draw images for a page; the draw of an image depends on its id alone, so a larger sample contains a smaller one.

    Args:
        image_ids: ids to draw from.
        dataset: name of the data set, part of the random numbers' key.
        purpose: name of the page, part of the key.
        count: images to draw; all if there are fewer.
        seed: seed of the draw.

    Returns:
        Positions in ``image_ids``, in order.
    """
    draws = [uniforms(seed, dataset, image_id, 0, purpose, 0, 1)[0] for image_id in image_ids]
    return sorted(int(position) for position in np.argsort(draws, kind="stable")[:count])
