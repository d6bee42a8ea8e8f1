"""The data sets by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from agg_pipeline.datasets import coco, generated, paired, partimagenet, pascal_part, pascal_voc, sa1b, sbd
from agg_pipeline.datasets.dataset import About, Dataset
from agg_pipeline.datasets.file_listing import ALL
from agg_pipeline.datasets.image_formats import header_notes
from agg_pipeline.datasets.images import file_sha256, read_image
from agg_pipeline.datasets.naming import NOTHING_SAID, Naming, named
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.records import ImageEntry, Pixels
from schemas.words import possible


def image_notes(store: Store, entry: ImageEntry) -> Sequence[str]:
    """What the header of an entry's image says that may surprise whoever drew its masks."""
    return header_notes(store, entry.path)


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A data set that the command line knows by name.

    Attributes:
        about: description of the set.
        splits: names of the splits that a root holds.
        open: lists a split, given the root and the split's name.
        default_split: split that is used if none is given, except in evaluation.
        evaluation_split: split that evaluation uses if none is given.
        pixels: reads an image without its annotations, given the root and the image's path; returns the pixels and
            the sha256 that the image's record has.
        sha256: the same sha256 alone, without decoding the image.
        notes: says what may surprise whoever drew an image's masks, given the root and the entry; a line per note.
    """

    about: About
    splits: Callable[[Store], tuple[str, ...]]
    open: Callable[[Store, str], Dataset]
    default_split: str
    evaluation_split: str
    pixels: Callable[[Store, str], tuple[Pixels, str]] = read_image
    sha256: Callable[[Store, str], str] = file_sha256
    notes: Callable[[Store, ImageEntry], Sequence[str]] = image_notes

    @property
    def built_in(self) -> bool:
        """Whether the set has no files and so needs no root."""
        return not self.about.layout


DATASETS: dict[str, KnownDataset] = {
    known.about.name: known
    for known in (
        KnownDataset(
            *(generated.ABOUT, generated.splits, generated.open_demo, "train", "val"),
            pixels=generated.read_pixels,
            sha256=generated.scene_sha256,
        ),
        KnownDataset(sbd.ABOUT, sbd.splits, sbd.open_sbd, "train", "val"),
        KnownDataset(coco.ABOUT, coco.splits, coco.open_coco, "train2017", "val2017"),
        KnownDataset(paired.GRABCUT, paired.splits, paired.open_grabcut, ALL, ALL, notes=paired.marked_notes),
        KnownDataset(paired.BERKELEY, paired.splits, paired.open_berkeley, ALL, ALL, notes=paired.marked_notes),
        KnownDataset(paired.DAVIS, paired.splits, paired.open_davis, ALL, ALL, notes=paired.marked_notes),
        KnownDataset(pascal_voc.ABOUT, pascal_voc.splits, pascal_voc.open_pascal_voc, "train", "val"),
        KnownDataset(pascal_part.ABOUT, pascal_part.splits, pascal_part.open_pascal_part, "train", "val"),
        KnownDataset(partimagenet.ABOUT, partimagenet.splits, partimagenet.open_partimagenet, "train", "val"),
        KnownDataset(sa1b.ABOUT, sa1b.splits, sa1b.open_sa1b, ALL, sa1b.EVAL),
        KnownDataset(paired.FOLDER, paired.splits, paired.open_folder, ALL, ALL, notes=paired.folder_notes),
    )
}
"""Every known data set, by name."""


def known_dataset(name: str) -> KnownDataset:
    """Look up a data set.

    Raises:
        UserError: the name is unknown.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; {possible(name, sorted(DATASETS))}")
    return DATASETS[name]


def root_of(name: str, root: str, how: str = "--data FOLDER (with make: DATA=folder)") -> Store:
    """Open the root folder of a data set.

    Args:
        name: name of the data set.
        root: path or URL of the folder; may be empty for a built-in set.
        how: how the command takes the root, for the error.

    Raises:
        UserError: the name is unknown, or the set needs a root and none is given.
    """
    if not root and not known_dataset(name).built_in:
        raise UserError(f"data set {name} needs its root folder; give it as {how}")
    return Store(root).anchored() if root else Store("")


def open_dataset(name: str, root: str, split: str | None, naming: Naming = NOTHING_SAID) -> Dataset:
    """List a split of a data set.

    Args:
        name: name of the data set.
        root: path or URL of its root folder; may be empty for a built-in set.
        split: name of a split, or path of a list file; None for the default split.
        naming: what the user says of the data.

    Raises:
        UserError: the data set or the split is unknown or incomplete.
    """
    known = known_dataset(name)
    store = root_of(name, root)
    listed = named(known.open(store, split or known.default_split), store, naming)
    listed = replace(listed, pixels=partial(known.pixels, store))
    return listed if known.built_in else replace(listed, notes=partial(known.notes, store))
