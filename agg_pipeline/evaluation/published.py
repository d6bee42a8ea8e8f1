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


def published(dataset: str) -> tuple[str, list[Published]]:
    """Look up the paper's numbers for a data set.

    Returns:
        The level of its masks in the paper, and the rows that have a number for it; no rows for an unknown set.
    """
    text = files("agg_pipeline.evaluation").joinpath("published.tsv").read_text()
    rows = []
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        names = [name for name in row if name.startswith(f"{dataset} ") and row[name] != "-"]
        if names:
            values = {name.partition(" ")[2]: row[name] for name in names}
            rows.append(Published(row["method"], row["backbone"], int(row["table"]), values))
    return LEVELS.get(dataset, "object"), rows
