"""Random partitions of an object, with which proposals are compared."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count as numbers_from
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from schemas.crop import MaskCrop, crop_mask
from stages.draws import index, uniforms


def random_cells(mask: MaskCrop, count: int, seed: int, object_id: str, repeat: int) -> Iterator[MaskCrop]:
    """Cells of random Voronoi partitions of a mask, each with 2 to 6 random centres in the mask.

    Args:
        mask: the mask; not empty if ``count`` is positive.
        count: cells to make.
        seed: seed of the centres.
        object_id: id of the object, part of the random numbers' key.
        repeat: number of the repetition, part of the key.

    Yields:
        ``count`` masks: the cells of the first partition, then those of the next, and so on.
    """
    inside = mask.values
    pixels = np.flatnonzero(inside)

    def cells() -> Iterator[MaskCrop]:
        for partition in numbers_from():
            draws = uniforms(seed, "recall", object_id, repeat, "cells", partition, 7)
            centre_count = 2 + index(draws[0], 5)
            # Centres that fall on the same pixel are one, so that no cell is empty.
            chosen = pixels[sorted({index(draw, len(pixels)) for draw in draws[1 : 1 + centre_count]})]
            centres = np.stack(np.divmod(chosen, mask.box.width), axis=1)
            for number in range(len(centres)):
                cell = inside & _nearest(centres, number, inside.shape)
                yield crop_mask(cell, mask.height, mask.width, mask.box.top, mask.box.left)

    return islice(cells(), count)


def _nearest(centres: NDArray[np.int64], number: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels that are nearest to one of several centres; where two are as near, the first one counts.

    The columns c of a row r that are nearer to centre n than to centre m are those on one side of a line:
    (r - r_n)^2 + (c - c_n)^2 <= (r - r_m)^2 + (c - c_m)^2 is 2 (c_m - c_n) c <= right(r). So each row of the result is
    an interval, and no distance of a pixel is calculated.

    Args:
        centres: (k, 2) different places (row, col).
        number: number of the centre.
        shape: height H and width W of the result.

    Returns:
        (H, W) bool.
    """
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])
    first, last = np.zeros_like(rows), np.full_like(rows, shape[1] - 1)
    row, col = centres[number]
    for other, (other_row, other_col) in enumerate(centres):
        right = (rows - other_row) ** 2 - (rows - row) ** 2 + other_col**2 - col**2 - (other < number)
        factor = 2 * (other_col - col)
        if factor > 0:
            last = np.minimum(last, right // factor)
        elif factor < 0:
            first = np.maximum(first, -(right // -factor))
        else:
            last = np.where(right < 0, -1, last)
    return (first <= columns) & (columns <= last)
