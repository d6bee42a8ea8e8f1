"""Naming the data sets of a training by name, root and split, and opening them."""

from __future__ import annotations

from collections.abc import Sequence

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import known_dataset, open_dataset
from schemas.errors import UserError

DatasetChoice = tuple[str, str, str]
"""Name, root and split of a data set. The split "" is the set's usual one. A built-in set has no root; its split may
stand in the root's place."""


def open_datasets(choices: Sequence[DatasetChoice]) -> list[Dataset]:
    """List the splits of data sets.

    Raises:
        UserError: a data set or split is unknown or incomplete, or a split is named twice.
    """
    return [
        open_dataset(name, "" if known_dataset(name).built_in else root, _split(name, root, split))
        for name, root, split in choices
    ]


def _split(name: str, root: str, split: str) -> str:
    known = known_dataset(name)
    if known.built_in and root and split:
        raise UserError(f"--data {name}:{root} names a split already; leave --split out, or give it an empty one")
    return split or (root if known.built_in else "") or known.default_split
