"""Samples side by side, as a step takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agg_pipeline.training.training_sample import Sample
from schemas.records import Click


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples of side S.

    Attributes:
        pixels: (B, S, S, 3) uint8 RGB.
        target: (B, S, S) int8; 1 object, 0 background, -1 ignored.
        prompt: (B, S, S) bool, the mask prompts.
        clicks: clicks per sample.
        rows: (B,) int64, rows of the granularity table; -1 for none.
    """

    pixels: Tensor
    target: Tensor
    prompt: Tensor
    clicks: tuple[tuple[Click, ...], ...]
    rows: Tensor

    def __len__(self) -> int:
        return len(self.clicks)

    def part(self, start: int, stop: int) -> Batch:
        """The samples from ``start`` to before ``stop``."""
        own = slice(start, stop)
        return Batch(self.pixels[own], self.target[own], self.prompt[own], self.clicks[own], self.rows[own])


def collate(samples: Sequence[Sample]) -> Batch:
    """Put samples of the same size side by side."""
    return Batch(
        torch.from_numpy(np.stack([sample.pixels for sample in samples])),
        torch.from_numpy(np.stack([sample.target for sample in samples])),
        torch.from_numpy(np.stack([sample.prompt for sample in samples])),
        tuple(sample.clicks for sample in samples),
        torch.tensor([sample.row for sample in samples]),
    )
