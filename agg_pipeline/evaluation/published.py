"""The rows of the paper's Tables 1 and 2, to be set beside ours."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

LEVELS = {"pascal_part": "part", "partimagenet": "part"}
"""Of the masks of a set in the paper, where it is not objects."""


@dataclass(frozen=True)
class Published:
    """A row of the paper. values: as printed, by metric: the IoU of a NoC, as in "0.85", or "IoU@1"."""

    method: str
    backbone: str
    table: int
    values: dict[str, str]


def published(dataset: str) -> tuple[str, list[Published]]:
    """The level of the masks of a data set in the paper, and the rows with a number for it; none for other sets."""
    text = files("agg_pipeline.evaluation").joinpath("published.tsv").read_text()
    rows = []
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        names = [name for name in row if name.startswith(f"{dataset} ") and row[name] != "-"]
        if names:
            values = {name.partition(" ")[2]: row[name] for name in names}
            rows.append(Published(row["method"], row["backbone"], int(row["table"]), values))
    return LEVELS.get(dataset, "object"), rows
