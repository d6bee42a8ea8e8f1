"""The layers of SimpleClick. Maps are pixel-major, (B, pixels, channels); ``simpleclick.py`` says why."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Convolution whose kernel and stride are a patch: (B, 3, H, W) to (B, dim, grid, grid)."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        patches: Tensor = self.proj(x)
        return patches


class PixelLinear(nn.Module):
    """1x1 convolution of a pixel-major map: (B, P, c_in) to (B, P, c_out)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Conv2d(c_in, c_out, 1).weight.detach())
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.flatten(1), self.bias)


class Split(nn.Module):
    """Transposed 2x2 stride-2 convolution: (B, P, c_in) to (B, 4 P, c_out).

    The four pixels that a pixel is split into follow each other; ``unsplit`` puts them in their places.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.ConvTranspose2d(c_in, c_out, 2, 2).weight.detach())
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return F.linear(x, weight, self.bias.repeat(4)).view(x.shape[0], -1, len(self.bias))


class Merge(nn.Module):
    """2x2 stride-2 convolution of a square map in row-major order: (B, P, c_in) to (B, P / 4, c_out)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Conv2d(c_in, c_out, 2, 2).weight.detach())
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor) -> Tensor:
        half = math.isqrt(x.shape[1]) // 2
        quads = x.reshape(x.shape[0], half, 2, half, 2, -1).transpose(2, 3).reshape(x.shape[0], half * half, -1)
        return F.linear(quads, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)


class MapNorm(nn.Module):
    """GroupNorm(1, C) with eps 1e-5: one mean and variance over all pixels and channels of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        # Seen as (B, C, 1, P) in channels-last order, for which torch has its fastest kernel.
        normed = F.group_norm(x.unsqueeze(1).permute(0, 3, 1, 2), 1, self.weight, self.bias, 1e-5)
        return normed.permute(0, 2, 3, 1).squeeze(1)


class Attention(nn.Module):
    """Multi-head self-attention: (B, N, dim) to the same shape.

    ``forward`` takes an update of the fused qkv weight, (3 dim, dim), or None.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, update: Tensor | None) -> Tensor:
        weight = self.qkv.weight if update is None else self.qkv.weight + update
        qkv = F.linear(x, weight, self.qkv.bias).view(x.shape[0], x.shape[1], 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class Mlp(nn.Module):
    """Two layers with GELU between them, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block: (B, N, dim) to the same shape."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor, windows: int, update: Tensor | None) -> Tensor:
        """Run the block.

        Args:
            x: tokens, (B, N, dim).
            windows: number of runs of equal length that the tokens are cut into; attention stays within each run.
            update: added to the fused qkv weight, (3 dim, dim); None for nothing.

        Returns:
            Tokens, (B, N, dim).
        """
        batch, tokens, dim = x.shape
        inner = self.norm1(x).view(batch * windows, tokens // windows, dim)
        x = x + self.attn(inner, update).view(batch, tokens, dim)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ConvReLU(nn.Module):
    """1x1 convolution and ReLU: (B, P, c_in) to (B, P, c_out)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = PixelLinear(c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x), inplace=True)


def unsplit(x: Tensor, grid: int, levels: int) -> Tensor:
    """Put the pixels of a split map in their places.

    Args:
        x: (B, P, C), a grid x grid map after ``levels`` times ``Split``; P is (grid * 2^levels)^2.
        grid: side of the map before it was split, in pixels.
        levels: number of times that it was split; 0 for a plain row-major map.

    Returns:
        (B, grid * 2^levels, grid * 2^levels, C).
    """
    nested = x.view(x.shape[0], grid, grid, *(2 * levels * (2,)), -1)
    last = nested.ndim - 1
    order = (0, *range(1, last, 2), *range(2, last, 2), last)
    return nested.permute(order).reshape(x.shape[0], grid << levels, grid << levels, -1)
