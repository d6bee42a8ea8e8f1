"""The logs of a training: CSV files with a row per step, and a row per level of each validation step."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agg_pipeline.training.training_folder import STEPS, VALIDATION
from schemas.numbers import GRANULARITIES

STEP_COLUMNS = ("step", "epoch", "loss", "lr", "samples_per_second", "waiting")
IOU_COLUMNS = tuple(f"iou@1 at {granularity:.1f}" for granularity in GRANULARITIES)
"""Mean IoU after the first click; a model without granularity has a value in the first of these alone."""
VALIDATION_COLUMNS = ("step", "level", "masks", *IOU_COLUMNS)


def append(path: Path, head: Sequence[str], row: Sequence[Any]) -> None:
    """Add a row to a log; a new log starts with its head.

    Args:
        path: CSV file.
        head: names of the columns.
        row: a value per column.
    """
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(head)
        writer.writerow(row)


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a log; no rows if the file is missing."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file, restval=""))


def forget_after(out: Path, step: int) -> None:
    """Delete the rows of later steps from the logs of a folder: a resumed training writes them again."""
    for name in (STEPS, VALIDATION):
        path = out / name
        rows = read_log(path)
        if rows:
            temporary = path.with_suffix(".tmp")
            with temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(row for row in rows if _complete(name, row) and int(row["step"]) <= step)
            temporary.replace(path)


def _complete(name: str, row: dict[str, str]) -> bool:
    """Whether a row was written to its end, which it may not be after a power failure."""
    values = [row[column] for column in (STEP_COLUMNS if name == STEPS else VALIDATION_COLUMNS)]
    without_granularity = name == VALIDATION and all(values[:4]) and not any(values[4:])
    return row["step"].isdecimal() and (without_granularity or all(values))
