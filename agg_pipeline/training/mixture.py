"""Whole objects to learn from, drawn from a weighted mixture of data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

import numpy as np
from torch.utils.data import Dataset as Numbered

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.training.recent import Recent
from agg_pipeline.training.samples import Sample, generator, make_sample
from agg_pipeline.training.source import Drawn
from schemas.errors import ImageError, UserError
from schemas.numbers import BINS
from schemas.records import ImageRecord
from schemas.training import PretrainConfig
from stages.pretrain import fit_mask, paste

KEPT_BYTES = 1 << 30
"""Of the images that a process keeps."""
MIN_SEEN = 0.25
TRIES = 100
"""Images that are drawn until one holds an object."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Data sets and how often each is drawn from; can be sent to other processes."""

    datasets: tuple[Dataset, ...]
    weights: tuple[float, ...]
    _records: Recent[tuple[int, int], ImageRecord] = field(
        init=False, default_factory=lambda: Recent(KEPT_BYTES, attrgetter("pixels.nbytes"))
    )

    def draw(self, rng: np.random.Generator) -> ImageRecord:
        """A random image with an object; UserError if a data set seems to have none."""
        shares = np.cumsum(self.weights)
        for _ in range(TRIES):
            number = int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
            dataset = self.datasets[number]
            entry = int(rng.integers(len(dataset.entries)))
            record = self._records.get((number, entry), partial(_read, dataset, entry))
            if record.objects:
                return record
        raise UserError(f"of {TRIES} images none holds an object; see agg data check")


def draw_object(record: ImageRecord, rng: np.random.Generator) -> Drawn:
    """One of an image's objects, with the pixels of the others that are not its own, for training."""
    chosen = int(rng.integers(len(record.objects)))
    masks = [each.mask.full() for each in record.objects]
    others = np.zeros_like(masks[chosen])
    for number, mask in enumerate(masks):
        if number != chosen:
            others |= mask
    return Drawn(record.pixels, masks[chosen], others & ~masks[chosen], masks[chosen], BINS)


def composed(front: Drawn, behind: Drawn, rng: np.random.Generator) -> Drawn:
    """An object pasted on another one's image, to find either: the one in front, or what can be seen of that behind.

    The other one is among ``others``. The one behind is only to be found if at least a quarter of it can be seen.
    """
    whole = fit_mask(behind.mask, front.mask.shape)
    seen = whole & ~front.mask
    others = fit_mask(behind.others, front.mask.shape) & ~front.mask
    pixels = paste(front.pixels, front.mask, behind.pixels)
    if rng.random() < 0.5 and np.count_nonzero(seen) >= MIN_SEEN * np.count_nonzero(whole) > 0:
        return Drawn(pixels, seen, others | front.mask, seen, BINS)
    return Drawn(pixels, front.mask, others | seen, front.mask, BINS)


class ObjectSamples(Numbered[Sample]):
    """The samples of a pre-training, by (epoch, number)."""

    def __init__(self, mixture: Mixture, config: PretrainConfig) -> None:
        self.mixture = mixture
        self.config = config

    def __len__(self) -> int:
        """Samples of an epoch."""
        return self.config.epoch

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        rng = generator(self.config.training.seed, "object", *index)
        drawn = draw_object(self.mixture.draw(rng), rng)
        if rng.random() < self.config.paste:
            drawn = composed(drawn, draw_object(self.mixture.draw(rng), rng), rng)
        config = self.config
        return make_sample(drawn, config.augment, config.training.click_decay, rng, parted=config.parted)


def _read(dataset: Dataset, entry: int) -> ImageRecord:
    try:
        return dataset.read(dataset.entries[entry])
    except ImageError as error:
        name = f"{dataset.name} image {dataset.entries[entry].image_id}"
        raise UserError(f"{name} cannot be used: {error.detail}; agg data check names all of these") from error


def weighted(datasets: Sequence[Dataset], weights: Sequence[float]) -> Mixture:
    """A mixture; no weights at all are equal ones. UserError if the numbers do not fit."""
    if weights and len(weights) != len(datasets):
        raise UserError(f"{len(weights)} weights for {len(datasets)} data sets; give one to each, or none at all")
    if weights and sum(weights) <= 0:
        raise UserError("all weights are 0")
    for dataset in datasets:
        if "object" not in dataset.about.levels:
            raise UserError(f"data set {dataset.name} has no objects, which pre-training is about")
    return Mixture(tuple(datasets), tuple(weights) or (1.0,) * len(datasets))
