"""Random numbers for a batch: one per sample, from torch's global generators."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Draws numbers for the samples of a batch.

    Attributes:
        count: B, samples of the batch.
        device: that the numbers are drawn on.
    """

    count: int
    device: torch.device

    def uniform(self) -> Tensor:
        """Numbers in [0, 1), (B,)."""
        return torch.rand(self.count, device=self.device)

    def spread(self) -> Tensor:
        """Numbers in [-1, 1), (B,)."""
        return self.uniform() * 2 - 1

    def chance(self, share: float) -> Tensor:
        """True with the given probability, (B,) bool."""
        return self.uniform() < share

    def sign(self) -> Tensor:
        """-1 or 1, (B,)."""
        return torch.where(self.chance(0.5), -1.0, 1.0)


def per_sample(values: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1), to be spread over images."""
    return values.view(-1, 1, 1, 1)


def pick(region: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a pixel per sample, uniformly over a region.

    Args:
        region: (B, H, W) bool.

    Returns:
        The pixels, (B,) int64, row * W + col, and whether the sample has one, (B,) bool.
    """
    flat = region.flatten(1)
    value, pixel = (torch.rand(flat.shape, device=region.device) * flat).max(1)
    return pixel, value > 0
