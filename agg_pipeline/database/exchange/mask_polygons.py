"""Masks as polygons along the edges of their pixels, which rasterise to the same masks again."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.crop import MaskCrop

Corners = list[tuple[int, int]]
"""Corners (x, y) of a closed line; x and y count the edges between pixels, from 0."""


def polygons(mask: MaskCrop) -> list[list[int]]:
    """The polygons of a mask, as COCO has them: x, y, x, y, ...

    There is one for each 4-connected component. A hole is reached by a line from the outside and back, which bounds no
    pixel. pycocotools, OpenCV and whoever fills polygons by the even-odd rule get exactly the mask back.

    Args:
        mask: the mask; not empty.
    """
    values = mask.values
    count, labels = cv2.connectedComponents(values.view(np.uint8), connectivity=4)
    found = []
    for number in range(1, count):
        outer, *holes = _outlines(labels == number)
        line = list(outer)
        for hole in holes:
            line += [outer[0], *hole, hole[0]]
        if holes:
            line.append(outer[0])
        found.append([side for x, y in line for side in (x + mask.box.left, y + mask.box.top)])
    return found


def _outlines(values: NDArray[np.bool_]) -> list[Corners]:
    """The closed lines between the pixels of a mask and others; the outermost line is the first.

    A corner lies where an odd number of the four pixels around it is in the mask; where two pixels meet only in their
    corner, there are two corners. Along each row and column of edges, every second stretch between corners is a line.
    """
    padded = np.pad(values, 1).astype(np.int8)
    around = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    total = around[0] + around[1] + around[2] + around[3]
    touching = (total == 2) & (around[0] == around[3])
    times = (total % 2) + 2 * touching
    rows, cols = np.nonzero(times)
    repeats = times[rows, cols]
    rows, cols = np.repeat(rows, repeats), np.repeat(cols, repeats)
    across = _pairs(np.lexsort((cols, rows)))
    down = _pairs(np.lexsort((rows, cols)))
    x, y = cols.tolist(), rows.tolist()
    left = [True] * len(x)
    lines = []
    for start in range(len(x)):
        if not left[start]:
            continue
        line, place = [], start
        while left[place]:
            other = across[place]
            left[place] = left[other] = False
            line += [(x[place], y[place]), (x[other], y[other])]
            place = down[other]
        lines.append(line)
    return lines


def _pairs(order: NDArray[np.intp]) -> list[int]:
    """For each corner the other end of its line, where each two in this order are the ends of one."""
    partner = np.empty(len(order), np.intp)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    found: list[int] = partner.tolist()
    return found
