"""The data sets that are known by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.datasets import coco, generated, paired, partimagenet, pascal_part, pascal_voc, sa1b, sbd
from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.datasets.file_listing import ALL
from agg_pipeline.datasets.images import file_sha256, read_image
from agg_pipeline.storage.store import Store
from schemas.errors import UserError


@dataclass(frozen=True, slots=True)
class Known:
    """A set that is known: what it is, the splits that a root holds, how to list one, and which is taken by default.

    default_split: for everything but evaluation. pixels: the (H, W, 3) uint8 RGB pixels of an image by its path, and
    their sha256 as in a record, without its annotations. sha256: the same sha256 alone, without decoding the image.
    """

    about: About
    splits: Callable[[Store], tuple[str, ...]]
    open: Callable[[Store, str], Dataset]
    default_split: str
    evaluation_split: str
    pixels: Callable[[Store, str], tuple[NDArray[np.uint8], str]] = read_image
    sha256: Callable[[Store, str], str] = file_sha256

    @property
    def built_in(self) -> bool:
        """Whether it has no files, so that no root is needed."""
        return not self.about.layout


DATASETS: dict[str, Known] = {
    known.about.name: known
    for known in (
        Known(
            *(generated.ABOUT, generated.splits, generated.open_demo, "train", "val"),
            pixels=generated.read_pixels,
            sha256=generated.scene_sha256,
        ),
        Known(sbd.ABOUT, sbd.splits, sbd.open_sbd, "train", "val"),
        Known(coco.ABOUT, coco.splits, coco.open_coco, "train2017", "val2017"),
        Known(paired.GRABCUT, paired.splits, paired.open_grabcut, ALL, ALL),
        Known(paired.BERKELEY, paired.splits, paired.open_berkeley, ALL, ALL),
        Known(paired.DAVIS, paired.splits, paired.open_davis, ALL, ALL),
        Known(pascal_voc.ABOUT, pascal_voc.splits, pascal_voc.open_pascal_voc, "train", "val"),
        Known(pascal_part.ABOUT, pascal_part.splits, pascal_part.open_pascal_part, "train", "val"),
        Known(partimagenet.ABOUT, partimagenet.splits, partimagenet.open_partimagenet, "train", "val"),
        Known(sa1b.ABOUT, sa1b.splits, sa1b.open_sa1b, ALL, sa1b.EVAL),
        Known(paired.FOLDER, paired.splits, paired.open_folder, ALL, ALL),
    )
}


def known_dataset(name: str) -> Known:
    """What is known of a data set; UserError for an unknown name."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; possible: {', '.join(sorted(DATASETS))}")
    return DATASETS[name]


def root_of(name: str, root: str) -> Store:
    """The root folder of a data set; UserError if it needs one and none is given."""
    if not root and not known_dataset(name).built_in:
        raise UserError(f"data set {name} needs its root folder")
    return Store(root).anchored() if root else Store("")


def open_dataset(name: str, root: str, split: str | None) -> Dataset:
    """List a split (default: ``default_split``) of a data set; UserError if it is unknown or incomplete."""
    known = known_dataset(name)
    return known.open(root_of(name, root), split or known.default_split)
