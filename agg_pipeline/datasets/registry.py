"""The data sets that are known by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agg_pipeline.datasets.coco import open_coco
from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.generated import open_demo
from agg_pipeline.datasets.sbd import open_sbd
from agg_pipeline.storage import Store
from schemas.errors import UserError


@dataclass(frozen=True, slots=True)
class Known:
    """How to open a data set: from its root and a split's name; the split that is taken when none is named.

    built_in: it has no files, so no root is needed.
    """

    open: Callable[[str, str], Dataset]
    default_split: str
    built_in: bool = False


DATASETS: dict[str, Known] = {
    "demo": Known(lambda _root, split: open_demo(split), "train", built_in=True),
    "sbd": Known(open_sbd, "train"),
    "coco": Known(open_coco, "train2017"),
}


def open_dataset(name: str, root: str, split: str | None) -> Dataset:
    """List a split (default: the training split) of a data set; UserError if it is unknown or incomplete."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; possible: {', '.join(sorted(DATASETS))}")
    known = DATASETS[name]
    if not root and not known.built_in:
        raise UserError(f"data set {name} needs its root folder; give it with --data")
    return known.open(root and Store(root).anchored().url, split or known.default_split)
