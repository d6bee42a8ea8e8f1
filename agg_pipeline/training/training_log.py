"""The logs of a training: CSV files with a row per step, and a row per level of each validation step."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agg_pipeline.storage.local_file import cannot_write, open_to_append, read_file, replace_file
from agg_pipeline.training.training_folder import STEPS, VALIDATION
from schemas.errors import UserError
from schemas.limits import LOG_BYTES
from schemas.numbers import GRANULARITIES

STEP_COLUMNS = ("step", "epoch", "loss", "lr", "samples_per_second", "waiting")
IOU_COLUMNS = tuple(f"iou@1 at {granularity:.1f}" for granularity in GRANULARITIES)
"""Mean IoU after the first click; a model without granularity has a value in the first of these alone."""
VALIDATION_COLUMNS = ("step", "level", "masks", *IOU_COLUMNS)
COLUMNS = {STEPS: STEP_COLUMNS, VALIDATION: VALIDATION_COLUMNS}


def append(path: Path, row: Sequence[Any]) -> None:
    """Add a row to a log; a new log starts with its head.

    Args:
        path: ``steps.csv`` or ``validation.csv`` of a training.
        row: a value per column.

    Raises:
        StorageError: the log cannot be written, or something else lies in its place.
    """
    try:
        with open_to_append(path) as file:
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            if file.tell() == 0:
                writer.writerow(COLUMNS[path.name])
            writer.writerow(row)
            file.write(text.getvalue().encode())
    except OSError as error:
        raise cannot_write(path, error) from error


def read_log(path: Path) -> list[dict[str, str]]:
    """Read a log.

    Args:
        path: ``steps.csv`` or ``validation.csv`` of a training.

    Returns:
        The rows that were written to their end, which the last one may not be after a power failure; no rows if the
        file is missing.

    Raises:
        UserError: the file is no such log.
        StorageError: it cannot be read now.
    """
    try:
        text = read_file(path, LOG_BYTES).decode()
        head, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [list(COLUMNS[path.name])]
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error):
        raise _damaged(path) from None
    if tuple(head) != COLUMNS[path.name]:
        raise _damaged(path)
    padded = (row + [""] * (len(head) - len(row)) for row in rows)
    found = (dict(zip(head, row, strict=True)) for row in padded if len(row) == len(head))
    return [row for row in found if _complete(path.name, row)]


def forget_after(out: Path, step: int) -> None:
    """Delete the rows of later steps from the logs of a folder: a resumed training writes them again.

    Raises:
        UserError: a log is damaged.
        StorageError: a log cannot be read or written.
    """
    for name, columns in COLUMNS.items():
        rows = read_log(out / name)
        if rows:
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            writer.writerow(columns)
            writer.writerows(row.values() for row in rows if int(row["step"]) <= step)
            replace_file(out / name, text.getvalue().encode())


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged; delete it to resume without its earlier rows")


def _complete(name: str, row: dict[str, str]) -> bool:
    """Whether a row was written to its end: all of its values are there, and numbers where they should be."""
    values = list(row.values())
    without_granularity = name == VALIDATION and all(values[:4]) and not any(values[4:])
    numbers = [value for column, value in row.items() if column != "level" and value]
    return (
        re.fullmatch("[0-9]{1,18}", row["step"]) is not None
        and (without_granularity or all(values))
        and all(_is_number(value) for value in numbers)
    )


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
