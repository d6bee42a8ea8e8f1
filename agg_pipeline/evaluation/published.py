"""The rows of the paper's Tables 1 and 2, to show beside our own results."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

LEVELS = {"pascal_part": "part", "partimagenet": "part"}
"""Level of the masks in the paper, by data set; object for all other sets."""


@dataclass(frozen=True)
class Published:
    """A row of the paper's tables.

    Attributes:
        method: name of the method.
        backbone: its backbone.
        table: number of the table.
        values: numbers as printed, by metric: NoC by its IoU (such as "0.85"), or "IoU@1".
    """

    method: str
    backbone: str
    table: int
    values: dict[str, str]


def all_published(table: int) -> tuple[list[tuple[str, str]], list[tuple[str, str, dict[tuple[str, str], str]]]]:
    """One of the paper's tables.

    Args:
        table: its number.

    Returns:
        Its columns, (data set, metric); and its rows: method, backbone, numbers as printed by column.
    """
    rows = [row for row in _rows() if row["table"] == str(table)]
    named = {name: (name.partition(" ")[0], name.partition(" ")[2]) for name in rows[0] if " " in name}
    used = [name for name in named if any(row[name] != "-" for row in rows)]
    return [named[name] for name in used], [
        (row["method"], row["backbone"], {named[name]: row[name] for name in used if row[name] != "-"}) for row in rows
    ]


def _rows() -> list[dict[str, str]]:
    text = files("agg_pipeline.evaluation").joinpath("published.tsv").read_text()
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def published(dataset: str) -> tuple[str, list[Published]]:
    """Look up the paper's numbers for a data set.

    Returns:
        The level of its masks in the paper, and the rows that have a number for it; no rows for an unknown set.
    """
    rows = []
    for row in _rows():
        names = [name for name in row if name.startswith(f"{dataset} ") and row[name] != "-"]
        if names:
            values = {name.partition(" ")[2]: row[name] for name in names}
            rows.append(Published(row["method"], row["backbone"], int(row["table"]), values))
    return LEVELS.get(dataset, "object"), rows
