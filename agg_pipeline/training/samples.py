"""Samples for training: a drawn mask, augmented, with its first clicks; every draw from the seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from agg_pipeline.training.source import Drawn, MaskSource
from schemas.crop import Box, tight_box
from schemas.records import Click
from schemas.training import AugmentConfig, FinetuneConfig, TrainingConfig
from stages.augment import change_colours, draw_map, warp_mask, warp_pixels
from stages.draws import generator
from stages.finetune import initial_clicks, parting_clicks

TRIES = 50
"""Crops that are drawn until one holds a pixel of the mask."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample: pixels (S, S, 3) uint8 RGB, target (S, S) int8 (1 object, 0 not, -1 not counted), clicks in the crop.

    prompt: (S, S) bool, the mask prompt that it begins with. row: of the granularity table, -1 for none.
    """

    pixels: NDArray[np.uint8]
    target: NDArray[np.int8]
    prompt: NDArray[np.bool_]
    clicks: tuple[Click, ...]
    row: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples side by side: pixels (B, S, S, 3) uint8, target (B, S, S) int8, prompt (B, S, S) bool, clicks of each,
    rows (B,) int64."""

    pixels: Tensor
    target: Tensor
    prompt: Tensor
    clicks: tuple[tuple[Click, ...], ...]
    rows: Tensor

    def __len__(self) -> int:
        return len(self.clicks)

    def part(self, start: int, stop: int) -> Batch:
        """Some of the samples."""
        own = slice(start, stop)
        return Batch(self.pixels[own], self.target[own], self.prompt[own], self.clicks[own], self.rows[own])


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of samples."""
    return Batch(
        torch.from_numpy(np.stack([sample.pixels for sample in samples])),
        torch.from_numpy(np.stack([sample.target for sample in samples])),
        torch.from_numpy(np.stack([sample.prompt for sample in samples])),
        tuple(sample.clicks for sample in samples),
        torch.tensor([sample.row for sample in samples]),
    )


class Samples(Dataset[Sample]):
    """The samples of a training, by (epoch, image)."""

    def __init__(self, source: MaskSource, config: FinetuneConfig) -> None:
        self.source = source
        self.config = config

    def __len__(self) -> int:
        """Samples of an epoch: one of each image."""
        return len(self.source.images)

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        epoch, image = index
        rng = generator(self.config.training.seed, "sample", epoch, image)
        row = self.source.draw(image, rng) if self.config.sampling == "image" else self.source.draw_any(rng)
        drawn = self.source.open(row)
        number = drawn.bin - 1 if self.config.granularity else -1
        return make_sample(drawn, self.config.augment, self.config.training.click_decay, rng, row=number)


def make_sample(
    drawn: Drawn,
    config: AugmentConfig,
    click_decay: float,
    rng: np.random.Generator,
    *,
    row: int = -1,
    parted: float = 0.0,
) -> Sample:
    """A random crop of a drawn mask with its clicks.

    A crop without a pixel of the mask is drawn again, but for a few; what is left of a mask may be too small to count,
    and the sample is then background alone. parted: share of the samples with other objects that begin with a mask
    prompt of all of them, from which clicks part the mask.
    """
    height, width = drawn.mask.shape
    shown = drawn.mask if rng.random() < config.on_mask else drawn.around
    focus = tight_box(shown) or Box(0, 0, height, width)
    ignored = np.zeros_like(drawn.mask) if drawn.ignored is None else drawn.ignored
    own = drawn.mask & ~ignored
    for _ in range(TRIES):
        matrix = draw_map(height, width, focus, config, rng)
        mask = warp_mask(own, matrix, config.size)
        if mask.any() or rng.random() < config.keep_background:
            break
    pixels = change_colours(warp_pixels(drawn.pixels, matrix, config.size), config, rng)
    others = warp_mask(drawn.others & ~ignored, matrix, config.size)
    ignored = warp_mask(ignored, matrix, config.size)
    if np.count_nonzero(mask) < config.min_area:
        mask = np.zeros_like(mask)
    if mask.any() and others.any() and rng.random() < parted:
        prompt, clicks = mask | others, parting_clicks(mask, others, rng, click_decay)
    else:
        prompt, clicks = np.zeros_like(mask), initial_clicks(mask, others, rng, click_decay)
    target = np.where(ignored, np.int8(-1), mask.astype(np.int8))
    return Sample(pixels, target, prompt, tuple(click for click in clicks if not ignored[click.row, click.col]), row)


@dataclass(frozen=True)
class Batches:
    """The batches of all epochs as lists of (epoch, number of the sample in it), for epochs of so many ``samples``.

    rank, ranks: this process's share of each batch.
    """

    samples: int
    config: TrainingConfig
    rank: int = 0
    ranks: int = 1

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.per_epoch * self.config.epochs

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch: each sample once, the last batch filled up with those that come first."""
        return -(-self.samples // self.config.batch)

    def epoch_of(self, step: int) -> int:
        """The epoch that a step, from 0, belongs to."""
        return step // self.per_epoch

    def after(self, step: int) -> Iterator[list[tuple[int, int]]]:
        """The batches after so many steps."""
        size = self.config.batch
        for epoch in range(self.epoch_of(step), self.config.epochs):
            order = generator(self.config.seed, "order", epoch).permutation(self.samples)
            order = np.resize(order, self.per_epoch * size)
            first = step - epoch * self.per_epoch if epoch == self.epoch_of(step) else 0
            for number in range(first, self.per_epoch):
                whole = order[number * size : (number + 1) * size]
                yield [(epoch, int(sample)) for sample in whole[self.rank :: self.ranks]]
