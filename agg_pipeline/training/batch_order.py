"""Which samples form which batch: the order of every epoch, drawn by the seed, and each process's share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from schemas.training import TrainingConfig
from stages.draws import generator


@dataclass(frozen=True)
class BatchOrder:
    """The batches of all epochs, as lists of (epoch, number of the sample in the epoch).

    Attributes:
        samples: samples per epoch.
        config: seed, epochs and size of a batch.
        rank: number of this process, from 0.
        ranks: processes that share each batch.
    """

    samples: int
    config: TrainingConfig
    rank: int = 0
    ranks: int = 1

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.per_epoch * self.config.epochs

    @property
    def per_epoch(self) -> int:
        """Steps per epoch: each sample once; the epoch's first samples fill up its last batch."""
        return -(-self.samples // self.config.batch)

    def epoch_of(self, step: int) -> int:
        """Epoch of a step; both count from 0."""
        return step // self.per_epoch

    def after(self, step: int) -> Iterator[list[tuple[int, int]]]:
        """This process's share of the batches that follow the first ``step`` batches."""
        size = self.config.batch
        for epoch in range(self.epoch_of(step), self.config.epochs):
            order = generator(self.config.seed, "order", epoch).permutation(self.samples)
            order = np.resize(order, self.per_epoch * size)
            first = step - epoch * self.per_epoch if epoch == self.epoch_of(step) else 0
            for number in range(first, self.per_epoch):
                whole = order[number * size : (number + 1) * size]
                yield [(epoch, int(sample)) for sample in whole[self.rank :: self.ranks]]
