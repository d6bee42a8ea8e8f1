"""SimpleClick: a plain vision transformer, a simple feature pyramid and a small head (protocol, section 1).

Between the patch embedding and the last resize, maps are pixel-major: (B, pixels, channels). 1x1 and 2x2 stride-2
convolutions are then plain matrix products, and the order of the pixels matters only where neighbours are joined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import Architecture
from agg_pipeline.models.layers import Block, ConvReLU, MapNorm, Merge, PatchEmbed, PixelLinear, Split, unsplit
from schemas.errors import UserError

CLICK_RADIUS = 5
"""Radius of the disk of a click, in pixels of the input."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, RGB in [0, 1]; the input is normalised with them."""
CHUNK = 400
"""Tokens whose pyramid is built at a time on a CPU."""


def draw_disks(maps: NDArray[np.float32], clicks: Sequence[tuple[float, float, bool]]) -> None:
    """Draw clicks as disks of radius 5 px, in place (protocol, section 1).

    Args:
        maps: (2, height, width) float32, of positive and negative clicks. Pixels in a disk become 1, others stay.
        clicks: (row, col, positive) in pixels of the network's input, fractions allowed. A click whose two coordinates
            are negative is not drawn.
    """
    _, height, width = maps.shape
    reach = CLICK_RADIUS + 1
    for row, col, positive in clicks:
        if row < 0 and col < 0:
            continue
        top, left = max(0, math.floor(row) - reach), max(0, math.floor(col) - reach)
        rows = np.arange(top, min(height, math.ceil(row) + reach + 1), dtype=np.float32) - np.float32(row)
        cols = np.arange(left, min(width, math.ceil(col) + reach + 1), dtype=np.float32) - np.float32(col)
        distance = np.add.outer(rows * rows, cols * cols)
        window = maps[0 if positive else 1, top : top + len(rows), left : left + len(cols)]
        window[distance <= CLICK_RADIUS**2] = 1


class Backbone(nn.Module):
    """Patch embedding of the image, position embedding and transformer blocks."""

    def __init__(self, arch: Architecture, grid: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(arch.dim, arch.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, arch.dim))  # entry 0 is the class token's, unused
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(Block(arch.dim, arch.heads) for _ in range(arch.depth))


class Neck(nn.Module):
    """Simple feature pyramid: from the pixel-major map of 1/16 to those of 1/4, 1/8, 1/16 and 1/32."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        dim, out = arch.dim, arch.neck_out
        c4, c8, c32 = max(2 * out[0], dim // 2), max(out[1], dim // 2), max(out[3], 2 * dim)
        self.down_4 = nn.Sequential(
            Split(dim, c4),
            MapNorm(c4),
            nn.GELU(),
            Split(c4, c4 // 2),
            MapNorm(c4 // 2),
            PixelLinear(c4 // 2, out[0]),
            MapNorm(out[0]),
            nn.GELU(),
        )
        self.down_8 = nn.Sequential(Split(dim, c8), MapNorm(c8), PixelLinear(c8, out[1]), MapNorm(out[1]), nn.GELU())
        self.down_16 = nn.Sequential(PixelLinear(dim, out[2]), MapNorm(out[2]), nn.GELU())
        self.down_32 = nn.Sequential(
            Merge(dim, c32), MapNorm(c32), PixelLinear(c32, out[3]), MapNorm(out[3]), nn.GELU()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.down_4(x), self.down_8(x), self.down_16(x), self.down_32(x)


class Head(nn.Module):
    """From the pyramid to logits at 1/4 of the input, (B, 1, 4 grid, 4 grid)."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        channels = arch.head_channels
        self.conv_seg = PixelLinear(channels, 1)
        self.convs = nn.ModuleList(ConvReLU(c_in, channels) for c_in in arch.neck_out)
        self.fusion_conv = ConvReLU(4 * channels, channels)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, pyramid: Sequence[Tensor], grid: int) -> Tensor:
        # A 1x1 convolution commutes with bilinear resizing: fuse each scale at its own resolution, then add.
        fusion = self.fusion_conv.conv
        weights = fusion.weight.flatten(1).chunk(4, dim=1)
        fused = [F.linear(conv(x), weight) for x, conv, weight in zip(pyramid, self.convs, weights, strict=True)]
        coarse = grid // 2
        maps = [
            unsplit(fused[0], grid, 2),
            unsplit(fused[1], grid, 1),
            unsplit(fused[2], grid, 0),
            unsplit(fused[3], coarse, 0),
        ]
        total = maps[0].add_(fusion.bias)
        for x in maps[1:]:
            resized = F.interpolate(x.permute(0, 3, 1, 2), size=total.shape[1:3], mode="bilinear", align_corners=False)
            total += resized.permute(0, 2, 3, 1)
        total = F.relu(total, inplace=True)
        total = self.dropout(total.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        logits: Tensor = self.conv_seg(total)
        return logits.permute(0, 3, 1, 2)


class SimpleClick(nn.Module):
    """The click model; its key names are those of released checkpoints without the unused tensors.

    Args:
        arch: its sizes.
        input_size: side of the square input, in pixels. Defaults to the side that the architecture is published for.

    Raises:
        ValueError: the architecture cannot take the input size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, arch: Architecture, input_size: int | None = None) -> None:
        super().__init__()
        self.arch = arch
        self.input_size = input_size or arch.input_size
        self.grid = arch.grid(self.input_size)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.adapter: Adapter | None = None
        self.patch_embed_coords = PatchEmbed(arch.dim, arch.patch)
        self.backbone = Backbone(arch, self.grid)
        self.neck = Neck(arch)
        self.head = Head(arch)

    @property
    def has_granularity(self) -> bool:
        """Whether there is an adapter with a granularity table."""
        return self.adapter is not None and self.adapter.table is not None

    def forward(self, image: Tensor, coords: Tensor, bins: Tensor | None = None) -> Tensor:
        """Predict the foreground.

        Args:
            image: (B, 3, S, S) float, RGB in [0, 1]; S is ``input_size``.
            coords: (B, 3, S, S) float: previous mask (probability), positive disks, negative disks.
            bins: (B,) int64, rows of the adapter's granularity table, 0..9; -1 for no granularity. None: none at all.

        Returns:
            Logits, (B, 1, S, S).

        Raises:
            ValueError: the input has another size, or there is a granularity but no granularity table.
        """
        if image.shape[2:] != (self.input_size, self.input_size):
            raise ValueError(
                f"input of shape {tuple(image.shape)}, but the model takes {self.input_size}x{self.input_size}"
            )
        features = self.encode(self.embed(image, coords, bins))
        # A few images at a time, the large maps stay in the cache; on a GPU or with gradients nothing is gained.
        whole = image.device.type != "cpu" or torch.is_grad_enabled()
        step = len(image) if whole else max(1, CHUNK // self.grid**2)
        chunks = [features[start : start + step] for start in range(0, len(image), step)]
        logits = torch.cat([self.head(self.neck(chunk), self.grid) for chunk in chunks])
        return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=True)

    def embed(self, image: Tensor, coords: Tensor, bins: Tensor | None) -> Tensor:
        """Turn the input into patch tokens with positions and granularity.

        Args:
            image: (B, 3, S, S) float, RGB in [0, 1]; S is ``input_size``.
            coords: (B, 3, S, S) float: previous mask (probability), positive disks, negative disks.
            bins: (B,) int64, rows of the granularity table; -1 for no granularity. None: none at all.

        Returns:
            (B, grid * grid, dim), row-major.

        Raises:
            ValueError: there are granularities but no granularity table.
        """
        patches = self.backbone.patch_embed((image - self.mean) / self.std) + self.patch_embed_coords(coords)
        tokens: Tensor = patches.flatten(2).transpose(1, 2).contiguous() + self.backbone.pos_embed[:, 1:]
        if bins is None:
            return tokens
        if self.adapter is None:
            raise ValueError("a granularity needs an adapter")
        return tokens + self.adapter.embed(bins)

    def encode(self, tokens: Tensor) -> Tensor:
        """Run the blocks: from (B, grid * grid, dim) to the same shape, row-major."""
        # Tokens stay in window order throughout: attention to the whole grid does not depend on their order.
        shape = tokens.shape
        side = self.arch.windows(self.grid)
        inner = self.grid // side
        x = tokens.view(-1, side, inner, side, inner, shape[2]).transpose(2, 3).reshape(shape)
        for index, block in enumerate(self.backbone.blocks):
            update = None if self.adapter is None else self.adapter.update(index)
            x = block(x, 1 if index in self.arch.global_blocks else side * side, update)
        return x.view(-1, side, side, inner, inner, shape[2]).transpose(2, 3).reshape(shape)


def attach_adapter(model: SimpleClick, adapter: Adapter | None) -> None:
    """Let a model run with an adapter, or without one.

    Args:
        model: its weights stay as they are; LoRA's update is added to them in every forward.
        adapter: becomes the model's submodule ``adapter``; None removes it.

    Raises:
        UserError: the adapter is for another width or depth.
    """
    if adapter is not None:
        depth = adapter.depth if adapter.rank else model.arch.depth
        ours, theirs = (model.arch.depth, model.arch.dim), (depth, adapter.dim)
        if ours != theirs:
            raise UserError(
                f"the adapter is for {theirs[0]} blocks of width {theirs[1]}, "
                f"but {model.arch.name} has {ours[0]} of width {ours[1]}"
            )
    model.adapter = adapter


def merge_lora(model: SimpleClick) -> None:
    """Add LoRA's updates to the weights of a model, in place; only the granularity table is left of its adapter.

    The model predicts the same to the bit (in float32), and no longer computes the updates in every forward.
    """
    adapter = model.adapter
    if adapter is None:
        return
    with torch.no_grad():
        for index in range(model.arch.depth):
            update = adapter.update(index)
            if update is not None:
                model.get_parameter(f"backbone.blocks.{index}.attn.qkv.weight").add_(update)
    kept = Adapter(adapter.dim, adapter.depth, 0, adapter.projections, granularity=adapter.table is not None)
    kept.table = adapter.table
    attach_adapter(model, kept)
