"""Which images a page shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.draws import uniforms


def drawn_order(image_ids: Sequence[str], dataset: str, purpose: str, seed: int) -> list[int]:
    """The order in which images are drawn for a page: of a larger sample, the smaller one is the beginning.

    Args:
        image_ids: ids of all images.
        dataset: name of the data set.
        purpose: name of the page, so that pages draw independently of each other.
        seed: seed of the draw.

    Returns:
        Places in ``image_ids``.
    """
    draws = [uniforms(seed, dataset, image_id, 0, purpose, 0, 1)[0] for image_id in image_ids]
    return [int(place) for place in np.argsort(draws, kind="stable")]
