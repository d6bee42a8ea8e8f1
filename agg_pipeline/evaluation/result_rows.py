"""Checks the rows of an evaluation's tables, and finds its interactions in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.tables import LEVELS
from schemas.words import excerpt, plural

MASKS, CLICKS = "targets.parquet", "objects.parquet"
"""Files of the rows of masks, and of the rows of clicks."""
OF_CLICKS = ("target_id", "attempt", "granularity", "chosen", "click", "iou", "area")
"""Columns of the rows of clicks that the metrics depend on."""


class DamagedRowsError(ValueError):
    """The rows are not those of an evaluation; the text names the file and the first row that is wrong."""

    def __init__(self, file: str, what: str) -> None:
        super().__init__(f"{file} {what}")


@dataclass(frozen=True, eq=False)
class Interactions:
    """The interactions of an evaluation, in the order of their rows.

    Attributes:
        mask: (N,) int, number of each interaction's mask among the rows of masks.
        bounds: (N + 1,) int, first row of each interaction; its last row is before the next one.
        granularity: of each interaction; None if none was given.
        chosen: (N,) bool, whether it is the reported one of its mask.
        ious: (R,) float64, per row of clicks.
        areas: (R,) int64, pixels, per row of clicks.
    """

    mask: NDArray[np.int64]
    bounds: NDArray[np.int64]
    granularity: list[float | None]
    chosen: NDArray[np.bool_]
    ious: NDArray[np.float64]
    areas: NDArray[np.int64]


def check_masks(targets: pa.Table) -> None:
    """DamagedRowsError if the rows of masks are not those of an evaluation."""
    ids = targets["target_id"].to_pylist()
    for name, count in Counter(ids).most_common(1):
        if count > 1:
            raise DamagedRowsError(MASKS, f"has the mask {excerpt(name)} {plural(count, 'time')}")
    levels = pc.is_in(targets["level"], pa.array(LEVELS))
    if not pc.all(levels).as_py():
        number = pc.index(levels, False).as_py()
        level = excerpt(repr(targets["level"][number].as_py()))
        raise DamagedRowsError(MASKS, f"has the level {level} in row {number + 1}; possible: {', '.join(LEVELS)}")
    for name, image, level in zip(ids, targets["image_id"].to_pylist(), targets["level"].to_pylist(), strict=True):
        if not (name.startswith(f"{image}:") and f":{level}:" in name):
            raise DamagedRowsError(MASKS, f"has the mask {excerpt(name)} with another image or level than its id says")
    height, width = (_numbers(targets[side]).astype(np.int64) for side in ("height", "width"))
    for side, values in (("height", height), ("width", width)):
        _check_range(MASKS, side, values, 1, np.inf)
    _check_range(MASKS, "area", _numbers(targets["area"]), 1, height * width)
    _check_range(MASKS, "target", _numbers(targets["target"]), 0, 1)


def interactions_in(targets: pa.Table, clicks: pa.Table) -> Interactions:
    """Find the interactions in the rows of clicks.

    Args:
        targets: rows of ``targets.parquet``, checked.
        clicks: rows of ``objects.parquet``, at least the columns ``OF_CLICKS``: all clicks of an interaction, then
            those of the next one with the same mask.

    Raises:
        DamagedRowsError: the rows are not those of interactions with these masks.
    """
    ids = targets["target_id"].combine_chunks()
    mask = _numbers(pc.fill_null(pc.index_in(clicks["target_id"], value_set=ids), -1)).astype(np.int64)
    if (mask < 0).any():
        name = clicks["target_id"][int(np.argmax(mask < 0))].as_py()
        raise DamagedRowsError(CLICKS, f"has clicks on the mask {excerpt(name)}, which {MASKS} does not have")
    attempt, click = _numbers(clicks["attempt"]), _numbers(clicks["click"])
    ious, areas, chosen = _numbers(clicks["iou"]), _numbers(clicks["area"]), _numbers(clicks["chosen"])
    granularity = _numbers(pc.fill_null(clicks["granularity"], -1.0))
    _check_range(CLICKS, "iou", ious, 0, 1)
    pixels = _numbers(targets["height"]).astype(np.int64) * _numbers(targets["width"])
    _check_range(CLICKS, "area", areas, 0, pixels[mask])
    given = granularity != -1.0
    _check_range(CLICKS, "granularity", granularity[given], 0, 1)
    first = click == 1
    same = np.ones(len(mask), bool)
    for column in (mask, attempt, chosen, granularity):
        same[1:] &= column[1:] == column[:-1]
    next_click = np.zeros(len(mask), bool)
    next_click[1:] = click[1:].astype(np.int64) == click[:-1].astype(np.int64) + 1
    _check_order(first | (same & next_click), "click")
    starts = np.flatnonzero(first)
    mask, attempt, chosen = mask[starts], attempt[starts].astype(np.int64), chosen[starts]
    follows = np.zeros(len(mask), bool)
    follows[1:] = (mask[1:] == mask[:-1]) & (attempt[1:] == attempt[:-1] + 1)
    _check_order((attempt == 0) | follows, "interaction", starts)
    for wrong, what in (
        (np.bincount(mask[attempt == 0], minlength=len(ids)) != 1, "one block of rows"),
        (np.bincount(mask[chosen], minlength=len(ids)) != 1, "exactly one chosen interaction"),
    ):
        if wrong.any():
            name = excerpt(ids[int(np.argmax(wrong))].as_py())
            raise DamagedRowsError(CLICKS, f"does not have {what} for the mask {name}")
    values = clicks["granularity"].take(pa.array(starts)).to_pylist()
    return Interactions(mask, np.append(starts, len(ious)), values, chosen, ious, areas)


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    values: NDArray[Any] = column.to_numpy()
    return values


def _check_range(file: str, name: str, values: NDArray[Any], low: float, high: float | NDArray[np.int64]) -> None:
    """Refuse values out of a range, and NaN; both ends are included."""
    wrong = ~((values >= low) & (values <= high))
    if wrong.any():
        number = int(np.argmax(wrong))
        most = np.broadcast_to(high, values.shape)[number]
        possible = f"at least {low:g}" if most == np.inf else f"from {low:g} to {most:g}"
        raise DamagedRowsError(file, f"has the {name} {values[number]}; it must be {possible}")


def _check_order(fits: NDArray[np.bool_], what: str, rows: NDArray[np.int64] | None = None) -> None:
    if not fits.all():
        number = int(np.argmin(fits))
        row = number if rows is None else int(rows[number])
        raise DamagedRowsError(CLICKS, f"has another {what} in row {row + 1} than follows from the row before")
