"""Whole objects to learn from, drawn from a weighted mixture of data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset as Numbered

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.storage.recent import Recent
from agg_pipeline.training.samples import Sample, make_sample
from agg_pipeline.training.source import Drawn
from schemas.crop import tight_box
from schemas.errors import ImageError, UserError
from schemas.numbers import BINS
from schemas.records import ImageRecord
from schemas.training import PretrainConfig
from stages.draws import generator
from stages.pretrain import place

KEPT_BYTES = 2 << 30
"""Of the images' pixels that a process keeps; their masks are small beside them."""
MIN_SEEN = 0.25
MAX_PASTED = 4
SMALLEST = 0.15
"""Side of a pasted object, as a share of the largest that the image can hold."""
NEAR = 0.5
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
        number = int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
        dataset = self.datasets[number]
        for _ in range(TRIES):
            entry = int(rng.integers(len(dataset.entries)))
            record = self._records.get((number, entry), partial(_read, dataset, entry))
            if record.objects:
                return record
        raise UserError(f"of {TRIES} images of {dataset.name} none holds an object; see agg data check")


def draw_object(record: ImageRecord, rng: np.random.Generator) -> Drawn:
    """One of an image's objects, with the pixels of the others that are not its own, for training.

    record: it has objects; ValueError else. All of the image's size, (H, W).
    """
    chosen = int(rng.integers(len(record.objects)))
    masks = [each.mask.full() for each in record.objects]
    others = np.zeros_like(masks[chosen])
    for number, mask in enumerate(masks):
        if number != chosen:
            others |= mask
    return Drawn(record.pixels, masks[chosen], others & ~masks[chosen], masks[chosen], BINS, _ignored(record))


def scene(record: ImageRecord, pasted: Sequence[Drawn], rng: np.random.Generator) -> Drawn:
    """Objects pasted one after another on an image, each at a random size, half of them upon one that is there.

    To find is any of the image's own or the pasted ones of which at least a quarter is still seen; all that is seen of
    the rest is ``others``. That teaches a model which one of several objects is meant, whatever their sizes.

    record: of the image, (H, W), with objects; pasted: of other images, of any size.
    """
    pixels, ignored = record.pixels, _ignored(record)
    height, width = pixels.shape[:2]
    seen = [each.mask.full() for each in record.objects]
    wholes = [np.count_nonzero(mask) for mask in seen]
    for each in pasted:
        box = tight_box(each.mask)
        if box is None:
            continue
        near = np.flatnonzero(seen[int(rng.integers(len(seen)))]) if rng.random() < NEAR else ()
        pixel = int(near[rng.integers(len(near))]) if len(near) else int(rng.integers(height * width))
        share = np.exp(rng.uniform(np.log(SMALLEST), 0))
        scale = share * min(height / box.height, width / box.width)
        pixels, mask = place(each.pixels, each.mask, pixels, scale, divmod(pixel, width))
        if not mask.any():
            continue
        seen = [own & ~mask for own in seen] + [mask]
        ignored = None if ignored is None else ignored & ~mask
        wholes.append(np.count_nonzero(mask))
    found = [own for own, area in zip(seen, wholes, strict=True) if own.any() and own.sum() >= MIN_SEEN * area]
    chosen = found[int(rng.integers(len(found)))]
    return Drawn(pixels, chosen, np.logical_or.reduce(seen) & ~chosen, chosen, BINS, ignored)


def _ignored(record: ImageRecord) -> NDArray[np.bool_] | None:
    return None if record.ignore is None else record.ignore.full()


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
        record = self.mixture.draw(rng)
        if rng.random() < self.config.paste:
            pasted = [draw_object(self.mixture.draw(rng), rng) for _ in range(1 + int(rng.integers(MAX_PASTED)))]
            drawn = scene(record, pasted, rng)
        else:
            drawn = draw_object(record, rng)
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
