"""Position embeddings: interpolated to another input size, or made of sines and cosines."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_positions(pos_embed: Tensor, grid: int) -> Tensor:
    """Interpolate a position embedding bicubically; the entry of the class token stays.

    Args:
        pos_embed: (1, 1 + n * n, dim).
        grid: number of patches along a side of the input.

    Returns:
        (1, 1 + grid * grid, dim).
    """
    side = math.isqrt(pos_embed.shape[1] - 1)
    if side == grid:
        return pos_embed
    positions = pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(positions, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat((pos_embed[:, :1], resized.flatten(2).transpose(1, 2)), dim=1)


def wave_positions(dim: int, grid: int) -> Tensor:
    """Position embedding of sines and cosines at falling frequencies.

    Args:
        dim: width, a multiple of 4. The first half is for the row, the second for the column.
        grid: number of patches along a side of the input.

    Returns:
        (grid * grid, dim) float32.
    """
    frequencies = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies
    waves = torch.cat((angles.sin(), angles.cos()), dim=1)
    rows, cols = waves[:, None].expand(-1, grid, -1), waves[None].expand(grid, -1, -1)
    return torch.cat((rows, cols), dim=2).flatten(0, 1).float()
