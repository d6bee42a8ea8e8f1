"""The logs of a training: CSV files that grow by a row for every step, and for every look at validation masks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agg_pipeline.training.training_folder import LOOKS, STEPS
from schemas.numbers import GRANULARITIES

STEP_COLUMNS = ("step", "epoch", "loss", "lr", "samples_per_second", "waiting")
LOOK_VALUES = tuple(f"iou@1 at {granularity:.1f}" for granularity in GRANULARITIES)
LOOK_COLUMNS = ("step", "level", "masks", *LOOK_VALUES)


def append(path: Path, head: Sequence[str], row: Sequence[Any]) -> None:
    """Add a row to a log, which begins with its head."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(head)
        writer.writerow(row)


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a log, none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file, restval=""))


def forget_after(out: Path, step: int) -> None:
    """Delete what was logged after a step: a resumed training logs it again."""
    for name in (STEPS, LOOKS):
        path = out / name
        rows = read_log(path)
        if rows:
            temporary = path.with_suffix(".tmp")
            with temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(row for row in rows if _whole(name, row) and int(row["step"]) <= step)
            temporary.replace(path)


def _whole(name: str, row: dict[str, str]) -> bool:
    """Whether a row was written to its end, which it was not if the power went. A look at a model without granularities
    has one value only."""
    values = [row[column] for column in (STEP_COLUMNS if name == STEPS else LOOK_COLUMNS)]
    one = name == LOOKS and all(values[:4]) and not any(values[4:])
    return row["step"].isdecimal() and (one or all(values))
