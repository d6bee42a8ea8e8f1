"""The data sets of a training: chosen by name, root and split, and mixed by weight for pre-training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import attrgetter

import numpy as np

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import known_dataset, open_dataset
from agg_pipeline.storage.recent import Recent
from agg_pipeline.training.training_images import IMAGE_CACHE_BYTES
from schemas.errors import ImageError, UserError
from schemas.records import ImageRecord
from schemas.words import plural

DatasetChoice = tuple[str, str, str]
"""Name, root and split of a data set. The split "" is the set's usual one. A built-in set has no root; its split may
stand in the root's place."""
TRIES = 100
"""Images drawn at most until one holds an object."""


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
        raise UserError(f"--data {name}:{root} names a split already; leave --split out, or give '' for this set")
    return split or (root if known.built_in else "") or known.default_split


class DatasetMixture:
    """Data sets and how often each is drawn from; can be sent to other processes.

    Args:
        datasets: the data sets; each has objects.
        weights: a weight per data set; none at all for equal weights.
        cache_bytes: bytes of decoded images that a process keeps; their masks are small beside them.

    Raises:
        UserError: the weights do not fit, or a data set has no objects.
    """

    def __init__(
        self, datasets: Sequence[Dataset], weights: Sequence[float] = (), cache_bytes: int = IMAGE_CACHE_BYTES
    ) -> None:
        if weights and len(weights) != len(datasets):
            counts = f"{plural(len(weights), 'weight')} for {plural(len(datasets), 'data set')}"
            raise UserError(f"{counts}; give --weight once per --data, or not at all")
        if weights and sum(weights) <= 0:
            raise UserError("all weights are 0; give at least one --weight above 0")
        for dataset in datasets:
            if "object" not in dataset.about.levels:
                raise UserError(f"data set {dataset.name} has no objects, which pre-training needs; leave it out")
        self.datasets = tuple(datasets)
        self.weights = tuple(weights) or (1.0,) * len(datasets)
        self.cache_bytes = cache_bytes
        self._records: Recent[tuple[int, int], ImageRecord] = Recent(cache_bytes, attrgetter("pixels.nbytes"))

    def draw(self, rng: np.random.Generator) -> ImageRecord:
        """Draw an image with an object.

        Raises:
            UserError: an image cannot be used, or a data set seems to have no objects.
        """
        shares = np.cumsum(self.weights)
        number = int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
        dataset = self.datasets[number]
        for _ in range(TRIES):
            entry = int(rng.integers(len(dataset.entries)))
            record = self._records.get((number, entry), partial(_read, dataset, entry))
            if record.objects:
                return record
        raise UserError(
            f"none of {TRIES} images drawn from {dataset.name} holds an object; agg data check says what is wrong"
        )


def _read(dataset: Dataset, entry: int) -> ImageRecord:
    try:
        return dataset.read(dataset.entries[entry])
    except ImageError as error:
        name = f"{dataset.name} image {dataset.entries[entry].image_id}"
        raise UserError(f"{name} cannot be used: {error.detail}; agg data check lists all such images") from error
